//! Files that an owner attaches to a job: into the copy for agents that work on files, as text or as a picture for the
//! others, and never left out without a word.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    choice,
    context::{Context, now},
    conversation::{Asked, MAX_PROMPT, asked},
    executor::Order,
    facts,
    publisher::PublishError,
    session::Session,
};
use crate::{
    agent::manifest::{Driver, Manifest},
    job::Failure,
    model::local::ModelInfo,
    nips::nip90::{JobRequest, MAX_FILE_BYTES, MAX_FILES},
    sandbox::WORKSPACE,
    workspace::attach::Given,
};

/// Bytes of all pictures of one prompt, which goes to the agent as one line and to the model as one request.
const PICTURES: usize = 6 << 20;

/// A file that was attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attached {
    /// What it is called.
    pub(super) name: String,
    /// Its address.
    pub(super) sha256: String,
    bytes: Vec<u8>,
}

/// What a file is to an agent that has no files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Text,
    /// With its type.
    Picture(&'static str),
    Other,
}

/// What an agent is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Prompt {
    /// As it is on the record: without what is in attached files.
    pub(super) said: String,
    /// As the agent reads it.
    pub(super) text: String,
    /// Pictures beside it, as ACP's content blocks.
    pub(super) pictures: Vec<Value>,
    /// The attached files: their addresses and names.
    pub(super) files: Vec<(String, String)>,
}

impl Attached {
    fn sort(&self) -> Sort {
        match self.bytes.as_slice() {
            [0x89, b'P', b'N', b'G', ..] => Sort::Picture("image/png"),
            [0xff, 0xd8, 0xff, ..] => Sort::Picture("image/jpeg"),
            [b'G', b'I', b'F', b'8', ..] => Sort::Picture("image/gif"),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Sort::Picture("image/webp"),
            bytes if std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0')) => {
                Sort::Text
            }
            _ => Sort::Other,
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Reads the files that a job names.
///
/// # Errors
/// When one is not there, or they are too many.
pub(super) async fn read(
    context: &Context,
    request: &JobRequest,
) -> Result<Vec<Attached>, Failure> {
    let wanted: Vec<(String, String)> = request
        .blobs()
        .map(|(hash, name)| (hash.to_owned(), name.to_owned()))
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    if request.customer != context.admission.operator() {
        return Err(Failure::new(
            "not-admitted",
            "only the owner of this machine may attach files",
        ));
    }
    if wanted.len() > MAX_FILES {
        let sentence = format!(
            "{} files are attached; at most {MAX_FILES} are taken",
            wanted.len()
        );
        return Err(Failure::new("input", sentence));
    }
    let blobs = context.blobs.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut files = Vec::new();
        for (sha256, name) in wanted {
            let shown = shown(&name);
            let bytes = blobs.get_within(&sha256, MAX_FILE_BYTES as u64).map_err(|error| {
                tracing::warn!(%error, sha256, "an attached file could not be read");
                let mib = MAX_FILE_BYTES >> 20;
                Failure::new(
                    "input",
                    format!("the attached file {shown} is not here, or has more than {mib} MiB; attach it again"),
                )
            })?;
            let name = match shown.as_str() {
                "" => sha256[..12].to_owned(),
                _ => shown,
            };
            files.push(Attached {
                name,
                sha256,
                bytes,
            });
        }
        Ok(files)
    });
    reading
        .await
        .map_err(|_| Failure::new("agent", "the attached files could not be read"))?
}

/// A name in one line.
fn shown(name: &str) -> String {
    let words: Vec<&str> = name
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(200).collect()
}

/// The files as they go into a copy.
pub(super) fn given(asked: &Asked) -> Vec<Given> {
    let files = asked.files.iter();
    files
        .map(|file| Given {
            name: file.name.clone(),
            bytes: file.bytes.clone(),
        })
        .collect()
}

/// What the agent is told of a job: `placed` are the names of its files in the copy, for an agent that has one.
///
/// # Errors
/// When the agent or its model cannot take a file; the sentence says what can.
pub(super) async fn prompt(
    context: &Context,
    asked: Asked,
    manifest: &Manifest,
    model: &ModelInfo,
    takes_pictures: bool,
    placed: &[String],
) -> Result<Prompt, Failure> {
    let files = asked.files.iter();
    let mut prompt = Prompt {
        files: files
            .map(|file| (file.sha256.clone(), file.name.clone()))
            .collect(),
        text: asked.said.clone(),
        said: asked.said,
        pictures: Vec::new(),
    };
    // A command is run as it stands.
    if asked.files.is_empty() || (manifest.driver == Driver::Exec && manifest.workspace) {
        return Ok(prompt);
    }
    let pictures = asked
        .files
        .iter()
        .filter(|file| matches!(file.sort(), Sort::Picture(_)));
    let pictures: Vec<&Attached> = pictures.collect();
    let size: usize = pictures.iter().map(|file| file.bytes.len()).sum();
    if manifest.workspace {
        // What is asked stands last.
        let named = placed.join(", ");
        prompt.text = format!("Attached, in {WORKSPACE}: {named}\n\n{}", prompt.said);
        // They are in its files in any case.
        if takes_pictures
            && size <= PICTURES
            && !pictures.is_empty()
            && choice::sees(context, model).await
        {
            prompt.pictures = pictures.into_iter().filter_map(block).collect();
        }
        return Ok(prompt);
    }
    let mut before = String::new();
    for file in &asked.files {
        match file.sort() {
            Sort::Text => before.push_str(&format!(
                "Attached file {}:\n\n{}\n\n",
                file.name,
                file.text()
            )),
            Sort::Picture(_) => {
                before.push_str(&format!("Attached picture: {}\n\n", file.name));
            }
            Sort::Other => {
                let sentence = format!(
                    "{} is neither text nor a picture, which only agents that work on files take: \
                     treefort run --agent opencode --attach …",
                    file.name
                );
                return Err(Failure::new("input", sentence));
            }
        }
    }
    prompt.text.insert_str(0, &before);
    if prompt.text.len() > MAX_PROMPT {
        let sentence = format!(
            "the prompt has {} bytes with its attached files; at most {MAX_PROMPT} are read",
            prompt.text.len()
        );
        return Err(Failure::new("input", sentence));
    }
    if let Some(first) = pictures.first() {
        if !takes_pictures {
            let sentence = format!(
                "the agent {} takes no pictures, so {} cannot be shown to it; treefort's own chat agent does, with a \
                 model that sees",
                manifest.name, first.name
            );
            return Err(Failure::new("input", sentence));
        }
        if size > PICTURES {
            let mib = PICTURES >> 20;
            let sentence = format!("the attached pictures have more than {mib} MiB in all");
            return Err(Failure::new("input", sentence));
        }
        if !choice::sees(context, model).await {
            let sentence = format!(
                "the model {} takes no pictures, so {} cannot be shown to it; {}",
                model.name,
                first.name,
                choice::what_sees(context).await
            );
            return Err(Failure::new("input", sentence));
        }
        prompt.pictures = pictures.into_iter().filter_map(block).collect();
    }
    Ok(prompt)
}

/// A picture as ACP has it.
fn block(file: &Attached) -> Option<Value> {
    let Sort::Picture(kind) = file.sort() else {
        return None;
    };
    let data = BASE64_STANDARD.encode(&file.bytes);
    Some(json!({"type": "image", "mimeType": kind, "data": data}))
}

/// A job cannot be done whose record cannot be written.
fn unrecorded(error: PublishError) -> Failure {
    Failure::new("agent", format!("the record could not be written: {error}"))
}

impl Session {
    /// What a further job asks, with its files in the copy.
    ///
    /// # Errors
    /// A sentence for the customer.
    pub(super) async fn next_prompt(&mut self, order: &Order) -> Result<Prompt, Failure> {
        let asked = asked(&self.context, &order.request).await?;
        let mut placed = Vec::new();
        let shared = self.bench.as_ref().map(|bench| bench.shared.clone());
        if let Some(shared) = shared.filter(|_| !asked.files.is_empty()) {
            facts::checkpoint(self, "before its owner attached files")
                .await
                .map_err(unrecorded)?;
            let files = given(&asked);
            let (names, checkpoint) = shared.attach(files, now()).await?;
            placed = names;
            facts::attached(self, &checkpoint)
                .await
                .map_err(unrecorded)?;
        }
        prompt(
            &self.context,
            asked,
            &self.process.manifest,
            &self.model,
            self.process.takes_pictures,
            &placed,
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_its_bytes_are_and_not_what_it_is_called() {
        let of = |bytes: &[u8]| {
            let file = Attached {
                name: "x.png".to_owned(),
                sha256: String::new(),
                bytes: bytes.to_vec(),
            };
            file.sort()
        };
        assert_eq!(of(b"\x89PNG\r\n\x1a\n"), Sort::Picture("image/png"));
        assert_eq!(of(b"\xff\xd8\xff\xe0"), Sort::Picture("image/jpeg"));
        assert_eq!(of(b"GIF89a"), Sort::Picture("image/gif"));
        assert_eq!(of(b"RIFF1234WEBPVP8 "), Sort::Picture("image/webp"));
        assert_eq!(of("grün\n".as_bytes()), Sort::Text);
        assert_eq!(of(b""), Sort::Text);
        assert_eq!(of(b"a\0b"), Sort::Other);
        assert_eq!(of(b"\xff\xfe"), Sort::Other);
    }

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(shown(" a\u{1b}[2J\n b "), "a [2J b");
        assert_eq!(shown(&"x".repeat(999)).len(), 200);
    }
}
