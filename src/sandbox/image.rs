//! Images of agents: built from a Dockerfile and named files, once for every content.
//!
//! The tag is `treefort/<agent>:<12 hex of the content's hash>`, so an image that is there is the
//! right one. On Linux the running program itself goes in ([`Image::with_program`]); on another
//! host the caller's Dockerfile has a stage that builds it from source. A build has no network and
//! fetches no base image unless [`Image::network`] says so.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use bollard::query_parameters::{BuildImageOptions, ListImagesOptions, RemoveImageOptions};
use bollard::{Docker, body_try_stream};
use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::docker::{engine, status};
use super::error::clip;
use super::image_bases::bases;
use super::{Error, LABEL_AGENT, LABEL_HOME};

/// Changes when the same description builds something else.
const FORMAT: &[u8] = b"treefort image 1\n";
/// The name of the program in a build context.
const PROGRAM_FILE: &str = "treefort";
/// Bytes of the context that are on their way at once: this many pieces of this size.
const PIECES: usize = 4;
const PIECE: usize = 256 * 1024;

/// An image's name, as [`super::Runtime::prepare`] gives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageId(String);

impl From<String> for ImageId {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file of a build context.
#[derive(Debug, Clone)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The bytes of this file.
    File(PathBuf),
}

/// What an image is built from.
#[derive(Debug, Clone)]
pub struct Image {
    /// The agent's name: lower case letters, digits and `-`.
    pub agent: String,
    /// The text of the Dockerfile.
    pub dockerfile: String,
    /// The files of the context by their path in it; all are executable.
    pub files: Vec<(String, Content)>,
    /// Whether the build may use the network and fetch base images.
    pub network: bool,
}

impl Image {
    /// An image without files.
    pub fn new(agent: impl Into<String>, dockerfile: impl Into<String>) -> Self {
        Self {
            agent: agent.into(),
            dockerfile: dockerfile.into(),
            files: Vec::new(),
            network: false,
        }
    }

    /// Adds the running program as `treefort` to the context. Linux only: elsewhere it is not a
    /// program that the image could run.
    ///
    /// # Errors
    /// [`Error::ImageFile`] when the system does not say where the program is.
    pub fn with_program(mut self) -> Result<Self, Error> {
        // The link leads to the running program even when its file was replaced by an update.
        let own = Path::new("/proc/self/exe");
        let path = if own.exists() {
            own.to_owned()
        } else {
            std::env::current_exe().map_err(|source| Error::ImageFile {
                path: PROGRAM_FILE.into(),
                source,
            })?
        };
        self.files
            .push((PROGRAM_FILE.to_owned(), Content::File(path)));
        Ok(self)
    }
}

/// Hashes of files that were read before, by path; the program is read once.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    known: HashMap<PathBuf, (u64, Option<SystemTime>, [u8; 32])>,
}

impl Hashes {
    fn of(&mut self, path: &Path) -> Result<[u8; 32], Error> {
        let fail = |source| Error::ImageFile {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        let stamp = (meta.len(), meta.modified().ok());
        if let Some((len, modified, hash)) = self.known.get(path)
            && (*len, *modified) == stamp
        {
            return Ok(*hash);
        }
        let mut hasher = Sha256::new();
        let mut buf = vec![0; PIECE];
        loop {
            let n = file.read(&mut buf).map_err(fail)?;
            if n == 0 {
                break;
            }
            hasher.update(&buf[..n]);
        }
        let hash: [u8; 32] = hasher.finalize().into();
        self.known.insert(path.to_owned(), (stamp.0, stamp.1, hash));
        Ok(hash)
    }
}

/// The hash of all that an image is built from.
fn content_hash(image: &Image, hashes: &mut Hashes) -> Result<String, Error> {
    let mut files = Vec::with_capacity(image.files.len());
    for (name, content) in &image.files {
        let hash = match content {
            Content::Bytes(bytes) => Sha256::digest(bytes).into(),
            Content::File(path) => hashes.of(path)?,
        };
        files.push((name.as_str(), hash));
    }
    files.sort_unstable();
    let mut hasher = Sha256::new();
    hasher.update(FORMAT);
    hasher.update((image.dockerfile.len() as u64).to_le_bytes());
    hasher.update(&image.dockerfile);
    for (name, hash) in files {
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update(hash);
    }
    Ok(hex::encode(hasher.finalize()))
}

/// Builds the image unless it is there, and forgets older ones of the same agent and home.
pub(super) async fn prepare(
    docker: &Docker,
    image: &Image,
    home_id: &str,
    hashes: &mut Hashes,
) -> Result<ImageId, Error> {
    check(image)?;
    let hash = hash_in_background(image, hashes).await?;
    let tag = format!("treefort/{}:{}", image.agent, &hash[..12]);
    match docker.inspect_image(&tag).await {
        Ok(_) => return Ok(ImageId(tag)),
        Err(error) if status(&error) == Some(404) => {}
        Err(error) => return Err(engine("look for an image")(error)),
    }
    if !image.network {
        require_local_bases(docker, image, &tag).await?;
    }
    build(docker, image, home_id, &tag).await?;
    remove_older(docker, image, home_id, &tag).await;
    Ok(ImageId(tag))
}

/// Hashing the program takes long enough to keep it off the runtime's threads.
async fn hash_in_background(image: &Image, hashes: &mut Hashes) -> Result<String, Error> {
    let mut known = std::mem::take(hashes);
    let image = image.clone();
    let job = tokio::task::spawn_blocking(move || {
        let hash = content_hash(&image, &mut known);
        (known, hash)
    });
    let (known, hash) = job.await.map_err(|_| Error::ShuttingDown)?;
    *hashes = known;
    hash
}

fn check(image: &Image) -> Result<(), Error> {
    let refuse = |reason| Err(Error::Spec { reason });
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name = &image.agent;
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) || name.starts_with('-') {
        return refuse("the agent's name is not made of lower case letters, digits and -");
    }
    for (path, _) in &image.files {
        let inside = Path::new(path)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if path.is_empty() || !inside || path == "Dockerfile" {
            return refuse("a file of its image has a path outside the build context");
        }
    }
    Ok(())
}

/// The classic builder fetches what is not there, whatever it is told; so it is not asked to.
async fn require_local_bases(docker: &Docker, image: &Image, tag: &str) -> Result<(), Error> {
    for base in bases(&image.dockerfile) {
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

async fn build(docker: &Docker, image: &Image, home_id: &str, tag: &str) -> Result<(), Error> {
    let began = Instant::now();
    let labels = HashMap::from([
        (LABEL_AGENT.to_owned(), image.agent.clone()),
        (LABEL_HOME.to_owned(), home_id.to_owned()),
    ]);
    let options = BuildImageOptions {
        dockerfile: "Dockerfile".to_owned(),
        t: Some(tag.to_owned()),
        labels: Some(labels),
        networkmode: (!image.network).then(|| "none".to_owned()),
        rm: true,
        forcerm: true,
        ..BuildImageOptions::default()
    };
    let (pieces, mut context) = mpsc::channel(PIECES);
    let source = image.clone();
    // Ends when the context is written, or when the builder drops the other side.
    let writer = tokio::task::spawn_blocking(move || write_context(&source, pieces));
    let context = futures_util::stream::poll_fn(move |cx| context.poll_recv(cx));

    let mut progress = docker.build_image(options, None, Some(body_try_stream(context)));
    let mut last = String::new();
    let mut failed = None;
    while let Some(step) = progress.next().await {
        match step {
            Ok(info) => {
                if let Some(text) = info.stream.map(|text| clip(&text))
                    && !text.is_empty()
                {
                    tracing::debug!(image = tag, step = text, "building");
                    last = text;
                }
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    drop(progress);
    let written = writer.await.map_err(|_| Error::ShuttingDown)?;
    if let Some(error) = failed {
        // A file that could not be read breaks the build too, and says more.
        written?;
        return Err(Error::ImageBuild {
            image: tag.to_owned(),
            message: clip(&format!("{error} (after: {last})")),
        });
    }
    written?;
    tracing::info!(
        image = tag,
        elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "image built"
    );
    Ok(())
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

    fn hash(image: &Image) -> String {
        content_hash(image, &mut Hashes::default()).unwrap()
    }

    fn image(dockerfile: &str, files: &[(&str, &str)]) -> Image {
        let mut image = Image::new("chat", dockerfile);
        for (name, text) in files {
            let content = Content::Bytes(text.as_bytes().to_vec());
            image.files.push(((*name).to_owned(), content));
        }
        image
    }

    #[test]
    fn the_hash_changes_with_any_content_and_not_with_order() {
        let base = image("FROM scratch", &[("a", "1"), ("b", "2")]);
        assert_eq!(
            hash(&base),
            hash(&image("FROM scratch", &[("b", "2"), ("a", "1")]))
        );
        for other in [
            image("FROM scratch\n", &[("a", "1"), ("b", "2")]),
            image("FROM scratch", &[("a", "2"), ("b", "1")]),
            image("FROM scratch", &[("ab", "1"), ("b", "2")]),
            image("FROM scratch", &[("a", "1")]),
        ] {
            assert_ne!(hash(&base), hash(&other));
        }
    }

    #[test]
    fn a_file_is_hashed_like_its_bytes_and_again_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let mut hashes = Hashes::default();
        let mut from_file = image("FROM scratch", &[]);
        from_file
            .files
            .push(("a".to_owned(), Content::File(path.clone())));
        for text in ["one", "and two"] {
            std::fs::write(&path, text).unwrap();
            let expected = hash(&image("FROM scratch", &[("a", text)]));
            assert_eq!(content_hash(&from_file, &mut hashes).unwrap(), expected);
        }
    }

    #[test]
    fn refuses_names_and_paths_that_lead_elsewhere() {
        for agent in ["", "Chat", "a/b", "-a", "a:b"] {
            assert!(
                check(&Image::new(agent, "FROM scratch")).is_err(),
                "{agent}"
            );
        }
        for path in ["", "/etc/passwd", "../x", "Dockerfile", "a/../../b"] {
            let refused = check(&image("FROM scratch", &[(path, "")]));
            assert!(refused.is_err(), "{path}");
        }
        assert!(check(&image("FROM scratch", &[("bin/agent", "")])).is_ok());
    }

    #[tokio::test]
    async fn the_context_is_a_tar_archive_with_all_files() {
        let (pieces, mut context) = mpsc::channel(PIECES);
        let image = image("FROM scratch", &[("bin/agent", "program")]);
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
