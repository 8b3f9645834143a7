//! Images of agents: built from a Dockerfile and named files, once for every content.
//!
//! This file says what an image is and what it is called; `image_build.rs` builds it. The tag is `treefort/<agent>:<12 hex of the content's hash>`, so an image that is there is the
//! right one. On Linux the running program itself goes in ([`Image::with_program`]); on another
//! host the caller's Dockerfile has a stage that builds it from source. A build has no network and
//! fetches no base image unless [`Image::network`] says so.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bollard::Docker;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::Error;
use super::docker::{engine, status};

/// Changes when the same description builds something else.
const FORMAT: &[u8] = b"treefort image 1\n";
/// The name of the program in a build context.
const PROGRAM_FILE: &str = "treefort";
/// The build's argument that names the base.
pub(super) const BASE_ARG: &str = "BASE";
/// Bytes of a file that are read at once.
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

/// What an agent runs from, as [`super::Runtime::find`] gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An image that is there.
    Image {
        /// Its name.
        id: ImageId,
        /// Its size with all that it builds on.
        bytes: u64,
    },
    /// An image that is not built yet.
    NotBuilt,
    /// No image: what is installed on this computer.
    Host {
        /// The agent's program, if it is one of its own.
        program: Option<PathBuf>,
    },
}

/// Where a build's lines go: plain text without control characters. Lines that nobody takes in time
/// are left out, so that a slow reader does not hold up a build.
pub type Progress = mpsc::Sender<String>;

/// A file of a build context.
#[derive(Debug, Clone)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The bytes of this file.
    File(PathBuf),
}

/// How an agent runs without an image, on the programs of this machine: `[embedded]` of its `agent.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// Whether it needs this system's programs and libraries; otherwise it sees treefort's own program only.
    pub system: bool,
    /// The program that stands for the first word of `argv`, looked up on the `PATH`; empty when that word
    /// is right as it is.
    pub program: String,
    /// How to install that program, for the person who does not have it.
    pub install: String,
    /// Files of the agent's folder, and where its image would have them.
    pub files: BTreeMap<String, String>,
    /// Further files and folders of this computer that it may read, each with the path that it has inside.
    pub reads: BTreeMap<String, String>,
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
    /// Whether it must be there already: it is built only when the owner asks for it by name.
    pub prebuilt: bool,
    /// The image that is built first; its name is the build's `ARG BASE`.
    pub base: Option<Box<Image>>,
    /// Further `ARG`s of the build.
    pub args: Vec<(String, String)>,
    /// How it runs without an image; `None` when it needs one.
    pub host: Option<Host>,
}

impl Image {
    /// An image without files.
    pub fn new(agent: impl Into<String>, dockerfile: impl Into<String>) -> Self {
        Self {
            agent: agent.into(),
            dockerfile: dockerfile.into(),
            files: Vec::new(),
            network: false,
            prebuilt: false,
            base: None,
            args: Vec::new(),
            host: None,
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
    /// The hash of one file, read off the async threads.
    #[cfg(target_os = "linux")]
    pub(super) async fn of_file(&mut self, path: &Path) -> Result<String, Error> {
        let mut known = std::mem::take(self);
        let file = path.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let hash = known.of(&file);
            (known, hash)
        });
        let (known, hash) = read.await.map_err(|_| Error::ShuttingDown)?;
        *self = known;
        hash.map(hex::encode)
    }

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
fn content_hash(image: &Image, base: &str, hashes: &mut Hashes) -> Result<String, Error> {
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
    // Without them the hash is what it was before there were any.
    let base = (!base.is_empty()).then_some((BASE_ARG, base));
    let args = image.args.iter();
    for (name, value) in base
        .into_iter()
        .chain(args.map(|(a, b)| (a.as_str(), b.as_str())))
    {
        for part in [name, value] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(hex::encode(hasher.finalize()))
}

/// An image's name, found from its content alone, and how its base is to be given to its build.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) tag: String,
    pub(super) base: Option<Box<Named>>,
}

/// The names of an image and of what it builds on. Nothing is built, and the engine is not asked.
pub(super) async fn name(image: &Image, hashes: &mut Hashes) -> Result<Named, Error> {
    let mut described = Some(image);
    while let Some(image) = described {
        check(image)?;
        described = image.base.as_deref();
    }
    // Hashing the program takes long enough to keep it off the runtime's threads.
    let mut known = std::mem::take(hashes);
    let image = image.clone();
    let job = tokio::task::spawn_blocking(move || {
        let named = name_blocking(&image, &mut known);
        (known, named)
    });
    let (known, named) = job.await.map_err(|_| Error::ShuttingDown)?;
    *hashes = known;
    named
}

fn name_blocking(image: &Image, hashes: &mut Hashes) -> Result<Named, Error> {
    let base = match &image.base {
        Some(base) => Some(Box::new(name_blocking(base, hashes)?)),
        None => None,
    };
    let tag = base.as_ref().map_or("", |base| &base.tag);
    let hash = content_hash(image, tag, hashes)?;
    Ok(Named {
        tag: format!("treefort/{}:{}", image.agent, &hash[..12]),
        base,
    })
}

/// The size in bytes of an image that is on this machine.
pub(super) async fn size(docker: &Docker, tag: &str) -> Result<Option<u64>, Error> {
    Ok(look(docker, tag).await?.map(|(_, size)| size))
}

/// The digest of an image that is there, and its size in bytes. A container is started by the digest: a tag
/// may come to mean something else.
pub(super) async fn look(docker: &Docker, tag: &str) -> Result<Option<(ImageId, u64)>, Error> {
    match docker.inspect_image(tag).await {
        Ok(found) => {
            let size = found.size.and_then(|size| u64::try_from(size).ok());
            let digest = found.id.unwrap_or_else(|| tag.to_owned());
            Ok(Some((ImageId(digest), size.unwrap_or_default())))
        }
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(engine("look for an image")(error)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(image: &Image) -> String {
        content_hash(image, "", &mut Hashes::default()).unwrap()
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
            assert_eq!(content_hash(&from_file, "", &mut hashes).unwrap(), expected);
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
}
