//! The building of images: what goes to the engine, what it says meanwhile, and which older images go.
//!
//! What a build says is hostile: bounded, and without control characters.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Instant;

use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, ListImagesOptions, RemoveImageOptions};
use bollard::{Docker, body_try_stream};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::docker::status;
use super::error::clip;
use super::image::{BASE_ARG, Content, Image, Named, Progress, size};
use super::image_bases::bases;
use super::{Error, LABEL_AGENT, LABEL_HOME};

/// Bytes of the context that are on their way at once: this many pieces of this size.
const PIECES: usize = 4;
const PIECE: usize = 256 * 1024;
/// Lines of a failed build that are kept.
const LAST_LINES: usize = 12;

/// Builds an image that is not there, its base first, and forgets older ones of the same agent and home.
pub(super) async fn build(
    docker: &Docker,
    image: &Image,
    named: &Named,
    home_id: &str,
    progress: Option<&Progress>,
) -> Result<(), Error> {
    if size(docker, &named.tag).await?.is_some() {
        return Ok(());
    }
    if image.prebuilt {
        return Err(Error::NotBuilt {
            agent: image.agent.clone(),
        });
    }
    // From the base up.
    let mut layers = Vec::new();
    let mut next = Some((image, named));
    while let Some((image, named)) = next {
        layers.push((image, named));
        next = image.base.as_deref().zip(named.base.as_deref());
    }
    for (image, named) in layers.into_iter().rev() {
        let Named { tag, base } = named;
        if size(docker, tag).await?.is_some() {
            continue;
        }
        let base = base
            .as_ref()
            .map(|base| (BASE_ARG.to_owned(), base.tag.clone()));
        let args: HashMap<String, String> = image.args.iter().cloned().chain(base).collect();
        if !image.network {
            require_local_bases(docker, image, &args, tag).await?;
        }
        let began = Instant::now();
        build_one(docker, image, args, home_id, tag, progress).await?;
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(image = tag, elapsed_ms, "image built");
        remove_older(docker, image, home_id, tag).await;
    }
    Ok(())
}

/// The classic builder fetches what is not there, whatever it is told; so it is not asked to.
async fn require_local_bases(
    docker: &Docker,
    image: &Image,
    args: &HashMap<String, String>,
    tag: &str,
) -> Result<(), Error> {
    for base in bases(&image.dockerfile, args) {
        let there =
            !base.is_empty() && !base.contains('$') && docker.inspect_image(&base).await.is_ok();
        if !there {
            return Err(Error::BaseImage {
                image: tag.to_owned(),
                base,
            });
        }
    }
    Ok(())
}

/// The network of a build: none, the engine's usual one, or the host's where the engine has no other.
async fn network(docker: &Docker, image: &Image) -> Option<String> {
    if !image.network {
        return Some("none".to_owned());
    }
    let usual = docker.inspect_network("bridge", None).await;
    let missing = matches!(&usual, Err(error) if status(error) == Some(404));
    missing.then(|| "host".to_owned())
}

async fn build_one(
    docker: &Docker,
    image: &Image,
    args: HashMap<String, String>,
    home_id: &str,
    tag: &str,
    progress: Option<&Progress>,
) -> Result<(), Error> {
    let labels = HashMap::from([
        (LABEL_AGENT.to_owned(), image.agent.clone()),
        (LABEL_HOME.to_owned(), home_id.to_owned()),
    ]);
    let options = BuildImageOptions {
        dockerfile: "Dockerfile".to_owned(),
        t: Some(tag.to_owned()),
        buildargs: (!args.is_empty()).then_some(args),
        labels: Some(labels),
        networkmode: network(docker, image).await,
        rm: true,
        forcerm: true,
        ..BuildImageOptions::default()
    };
    let (pieces, mut context) = mpsc::channel(PIECES);
    let source = image.clone();
    // Ends when the context is written, or when the builder drops the other side.
    let writer = tokio::task::spawn_blocking(move || write_context(&source, pieces));
    let context = futures_util::stream::poll_fn(move |cx| context.poll_recv(cx));

    let mut said = Said::new(progress);
    said.line(&format!("building {tag}"));
    let mut steps = docker.build_image(options, None, Some(body_try_stream(context)));
    let mut failed = None;
    while let Some(step) = steps.next().await {
        match step {
            Ok(info) => said.hear(&info),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    drop(steps);
    let written = writer.await.map_err(|_| Error::ShuttingDown)?;
    if let Some(error) = failed {
        // A file that could not be read breaks the build too, and says more.
        written?;
        let message = match &error {
            bollard::errors::Error::DockerStreamError { error } => clip(error),
            other => clip(&other.to_string()),
        };
        return Err(Error::ImageBuild {
            image: tag.to_owned(),
            message,
            last: said.finish(),
        });
    }
    written
}

/// What a build says, line by line.
struct Said<'a> {
    progress: Option<&'a Progress>,
    last: VecDeque<String>,
    /// The beginning of a line that is not whole yet.
    rest: String,
}

impl<'a> Said<'a> {
    fn new(progress: Option<&'a Progress>) -> Self {
        Self {
            progress,
            last: VecDeque::with_capacity(LAST_LINES),
            rest: String::new(),
        }
    }

    fn hear(&mut self, info: &BuildInfo) {
        if let Some(text) = &info.stream {
            self.stream(text);
        }
        // Of an image that is fetched: its steps, not their bars.
        if let Some(status) = &info.status
            && info
                .progress_detail
                .as_ref()
                .is_none_or(|bar| bar.current.is_none())
        {
            match &info.id {
                Some(id) => self.line(&format!("{id}: {status}")),
                None => self.line(status),
            }
        }
    }

    fn stream(&mut self, text: &str) {
        for piece in text.split_inclusive(['\n', '\r']) {
            // A line without an end is cut like any other.
            if self.rest.len() < PIECE {
                self.rest.push_str(piece);
            }
            if piece.ends_with(['\n', '\r']) {
                let line = std::mem::take(&mut self.rest);
                self.line(&line);
            }
        }
    }

    fn line(&mut self, text: &str) {
        let text = clip(&without_escapes(text));
        if text.is_empty() || self.last.back() == Some(&text) {
            return;
        }
        tracing::debug!(step = text, "building");
        if let Some(progress) = self.progress {
            // Full or closed: nobody reads as fast as the build speaks.
            let _unread = progress.try_send(text.clone());
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(text);
    }

    fn finish(mut self) -> Vec<String> {
        let rest = std::mem::take(&mut self.rest);
        self.line(&rest);
        self.last.into()
    }
}

/// A text without a terminal's colours, whose letters would stay when their control characters go.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';' || c == '?');
        let mut letters = rest.chars();
        letters.next();
        rest = letters.as_str();
    }
    plain + rest
}

/// Sends what is written to it, in pieces, to an async receiver. Blocks when that one is slow.
struct PieceWriter {
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for PieceWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(&buf[..buf.len().min(PIECE)]);
        let n = piece.len();
        self.pieces
            .blocking_send(Ok(piece))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the build context as a tar archive whose bytes depend on its content alone.
fn write_context(image: &Image, pieces: mpsc::Sender<io::Result<Bytes>>) -> Result<(), Error> {
    let failed = pieces.clone();
    let out = io::BufWriter::with_capacity(PIECE, PieceWriter { pieces });
    let mut tar = tar::Builder::new(out);
    let fail = |path: &Path, source: io::Error| match source.kind() {
        // The builder went away, and says itself why.
        io::ErrorKind::BrokenPipe => Ok(()),
        kind => {
            // Breaks the request off: an image must not be built from half of its context.
            let _ = failed.blocking_send(Err(kind.into()));
            Err(Error::ImageFile {
                path: path.to_owned(),
                source,
            })
        }
    };
    let mut add = |name: &str, size: u64, data: &mut dyn Read| {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o755);
        header.set_mtime(0);
        tar.append_data(&mut header, name, data)
    };
    let dockerfile = image.dockerfile.as_bytes();
    if let Err(error) = add("Dockerfile", dockerfile.len() as u64, &mut &*dockerfile) {
        return fail(Path::new("Dockerfile"), error);
    }
    for (name, content) in &image.files {
        let added = match content {
            Content::Bytes(bytes) => add(name, bytes.len() as u64, &mut bytes.as_slice()),
            Content::File(path) => File::open(path).and_then(|mut file| {
                let size = file.metadata()?.len();
                add(name, size, &mut file)
            }),
        };
        if let Err(error) = added {
            return fail(Path::new(name), error);
        }
    }
    let finished = tar.into_inner().and_then(|mut out| out.flush());
    finished.or_else(|error| fail(Path::new("Dockerfile"), error))
}

/// Removes this home's other images of the agent; those in use stay. Best effort.
async fn remove_older(docker: &Docker, image: &Image, home_id: &str, keep: &str) {
    let labels = vec![
        format!("{LABEL_AGENT}={}", image.agent),
        format!("{LABEL_HOME}={home_id}"),
    ];
    let options = ListImagesOptions {
        filters: Some(HashMap::from([("label".to_owned(), labels)])),
        ..ListImagesOptions::default()
    };
    let found = match docker.list_images(Some(options)).await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(%error, "cannot list older images");
            return;
        }
    };
    let prefix = format!("treefort/{}:", image.agent);
    for older in found {
        // An untagged one was built twice at once, and lost its tag to the other.
        let untagged = older.repo_tags.iter().all(|tag| tag == "<none>:<none>");
        let name = if untagged {
            older.id
        } else {
            let ours = |tag: &String| tag.starts_with(&prefix) && tag != keep;
            let Some(tag) = older.repo_tags.into_iter().find(ours) else {
                continue;
            };
            tag
        };
        match docker
            .remove_image(&name, None::<RemoveImageOptions>, None)
            .await
        {
            Ok(_) => tracing::debug!(image = name, "older image removed"),
            Err(error) => tracing::debug!(image = name, %error, "older image stays"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_build_says_comes_in_plain_lines() {
        let (progress, mut lines) = mpsc::channel(3);
        let mut said = Said::new(Some(&progress));
        said.stream("Step 1");
        said.stream("/2 : RUN x\n\u{1b}[91mred\u{1b}[0m\r\n\n a\u{7}b \n");
        said.stream("nobody takes this one\nlast");
        let last = said.finish();
        drop(progress);
        let mut seen = Vec::new();
        while let Some(line) = lines.recv().await {
            seen.push(line);
        }
        assert_eq!(seen, ["Step 1/2 : RUN x", "red", "a b"]);
        assert_eq!(last[3..], ["nobody takes this one", "last"]);
    }

    #[test]
    fn only_the_last_lines_are_kept_and_none_is_endless() {
        let mut said = Said::new(None);
        for n in 0..100 {
            said.stream(&format!("{n}\n"));
        }
        for _ in 0..10 {
            said.stream(&"x ".repeat(PIECE / 2));
        }
        let last = said.finish();
        assert_eq!(last.len(), LAST_LINES);
        assert_eq!(last[LAST_LINES - 2], "99");
        // Cut between words.
        assert_eq!(last[LAST_LINES - 1].len(), 599);
    }

    #[tokio::test]
    async fn the_context_is_a_tar_archive_with_all_files() {
        let (pieces, mut context) = mpsc::channel(PIECES);
        let mut image = Image::new("chat", "FROM scratch");
        let program = Content::Bytes(b"program".to_vec());
        image.files.push(("bin/agent".to_owned(), program));
        let writer = tokio::task::spawn_blocking(move || write_context(&image, pieces));
        let mut bytes = Vec::new();
        while let Some(piece) = context.recv().await {
            bytes.extend(piece.unwrap());
        }
        writer.await.unwrap().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let seen: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (entry.path().unwrap().display().to_string(), text)
            })
            .collect();
        let expected = [("Dockerfile", "FROM scratch"), ("bin/agent", "program")];
        assert_eq!(seen, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
