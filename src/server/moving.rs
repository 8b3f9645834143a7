//! A whole home in one file, to move it to another machine or to keep it: written here, read back there.
//!
//! The file is a tar archive, uncompressed, so that it makes nothing larger than itself. First comes what it is
//! ([`About`]), then the keys, each encrypted (NIP-49), then the files, last a code over all of it that only who knows the
//! password can make. Read back, everything is written beside the home and looked at there; the home appears at
//! once, or not at all. Neither side has a job that waits: none is done twice.

mod read;
mod unfinished;
mod write;

use std::{
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use nostr::{
    SecretKey,
    hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256},
};
use serde::{Deserialize, Serialize};

pub use self::{
    read::import,
    unfinished::{
        Cleared, UNFINISHED, UnfinishedFile, clear_imports, is_free, left_exports, left_imports,
    },
    write::{export, may_export},
};
use super::{Error, Offline};
use crate::{keys::KeyringError, store::state::State};

/// The version of the format.
const VERSION: u32 = 1;
/// What the archive is; its first entry.
const ABOUT: &str = "treefort.json";
/// The code over everything; its last entry.
const CODE: &str = "treefort.code";
/// The key that was made for this archive alone: its code is made with it, and the sessions' keys open with it.
const ARCHIVE_KEY: &str = "archive";
/// How a key's name ends in an archive.
const ENCRYPTED: &str = ".ncryptsec";
/// The cost of guessing a password (scrypt, log2 of N), as NIP-49 suggests; and of guessing a whole key.
const LOG_N: u8 = 16;
const LOG_N_OF_A_KEY: u8 = 1;

/// What of a home is moved. The search makes its index again, journals never leave a machine, and the rest is about the
/// program that runs.
const MOVED: [&str; 7] = [
    "treefort.toml",
    "sync.toml",
    "events",
    "blobs",
    "projects",
    "workspaces",
    "agents",
];
/// The state, and what it is written anew into: `state`, `state.1` and so on.
const STATE: &str = "state";

/// Whether something at the top of a home is moved.
fn is_moved(name: &str) -> bool {
    MOVED.contains(&name)
        || name == STATE
        || name.strip_prefix("state.").is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// Whether a link may be at a path of a home: among what agents and their authors made, where none is followed. Everywhere
/// else treefort itself reads and writes, and a link in an archive would lead it to other files of whoever brings it in.
fn may_be_link(path: &Path) -> bool {
    let mut parts = path.iter().map(|part| part.to_str());
    let mut next = || parts.next().flatten();
    match next() {
        Some("workspaces") => {
            let _session = next();
            matches!(next(), Some("tree" | "kept" | "state")) && parts.next().is_some()
        }
        // Below the folder of one agent: what is not followed when its image is built.
        Some("agents") => parts.count() >= 2,
        _ => false,
    }
}

/// Whether a link at a path of a home is followed: those that only its owner can have made, to settings or folders elsewhere.
/// An agent that makes one would have its owner's files in the archive, and in its own folder when that comes in.
fn is_followed(path: &Path) -> bool {
    let deep = if path.starts_with("agents") { 2 } else { 1 };
    path.iter().count() <= deep
}

/// What an archive is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of the format.
    #[serde(rename = "treefort-home")]
    pub v: u32,
    /// The treefort that wrote it.
    pub program: String,
    /// When, in Unix seconds.
    pub made_at: u64,
    /// The owner's key in hexadecimal.
    pub operator: String,
    /// The highest number of its record.
    pub seq: u64,
}

/// What was written out, or brought in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Entries of the record.
    pub entries: u64,
    /// Keys.
    pub keys: u64,
    /// Files and links.
    pub files: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Sockets and the like, which stayed.
    pub left: u64,
}

/// Why a home was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The home.
    #[error(transparent)]
    Home(#[from] Error),
    /// The keyring.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The archive cannot be read or written.
    #[error("the archive cannot be read or written")]
    Archive(#[source] io::Error),
    /// It is none.
    #[error("this is no archive of a treefort, or it is cut off: {0}")]
    NotOne(String),
    /// Another version wrote it.
    #[error("this archive has format {0}, which this version does not read")]
    Version(u32),
    /// The password does not open it.
    #[error("the password is wrong")]
    Password,
    /// It is not as it was written.
    #[error("the archive is not as it was written: {0}")]
    Changed(String),
    /// There is something in the home that is to be made.
    #[error("there is something in this home already")]
    NotEmpty,
    /// Jobs are not done.
    #[error("there are jobs that are not done")]
    JobsWait,
    /// The backup would be written over something.
    #[error("there is a file {} already, and nothing is written over", .0.display())]
    Exists(PathBuf),
    /// Another one writes at this moment.
    #[error("another treefort is writing {} at this moment", .0.display())]
    Busy(PathBuf),
    /// Something is where the backup is written first.
    #[error("{} is in the way, and treefort did not write it", .0.display())]
    InTheWay(PathBuf),
    /// Whoever waits wants no more of it.
    #[error("it was stopped")]
    Stopped,
}

/// Who waits hears how far it is, and may break off.
pub type Heard<'a> = &'a mut dyn FnMut(&Moved) -> ControlFlow<()>;

/// Says how far it is.
///
/// # Errors
/// [`MoveError::Stopped`] when it is to end.
fn tell(heard: &mut dyn FnMut(&Moved) -> ControlFlow<()>, moved: &Moved) -> Result<(), MoveError> {
    match heard(moved) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(MoveError::Stopped),
    }
}

impl From<io::Error> for MoveError {
    fn from(error: io::Error) -> Self {
        Self::Archive(error)
    }
}

impl From<crate::store::Error> for MoveError {
    fn from(error: crate::store::Error) -> Self {
        Self::Home(error.into())
    }
}

impl From<crate::store::state::StateError> for MoveError {
    fn from(error: crate::store::state::StateError) -> Self {
        Self::Home(error.into())
    }
}

/// What kind of thing an entry is, for the code.
#[derive(Debug, Clone, Copy)]
enum Sort {
    File,
    Folder,
    Link,
}

/// The code over an archive: names, sorts, modes and contents, in their order.
struct Code(HmacEngine<sha256::Hash>);

impl Code {
    fn new(key: &SecretKey) -> Self {
        let mut engine = HmacEngine::new(key.as_secret_bytes());
        engine.input(b"treefort home archive 1");
        Self(engine)
    }

    /// Begins an entry; as many bytes as `len` follow by [`Self::content`].
    fn entry(&mut self, sort: Sort, path: &[u8], mode: u32, len: u64) {
        let sort = match sort {
            Sort::File => 0,
            Sort::Folder => 1,
            Sort::Link => 2,
        };
        self.0.input(&[sort]);
        self.0.input(&(path.len() as u64).to_be_bytes());
        self.0.input(path);
        self.0.input(&mode.to_be_bytes());
        self.0.input(&len.to_be_bytes());
    }

    fn content(&mut self, bytes: &[u8]) {
        self.0.input(bytes);
    }

    fn end(self) -> [u8; 32] {
        Hmac::from_engine(self.0).to_byte_array()
    }
}

/// Nothing is left to do in a home, of which a part would be done twice elsewhere.
///
/// # Errors
/// [`MoveError::JobsWait`] when something is.
fn all_done(offline: &Offline, home: &Path) -> Result<(), MoveError> {
    let state = State::open(&home.join(STATE))?;
    match offline.nothing_waits(&state, u64::MAX) {
        Err(Error::JobsWait) => return Err(MoveError::JobsWait),
        other => other?,
    }
    let open = state.open_jobs(0)?;
    match open.iter().all(crate::job::JobRecord::is_settled) {
        true => Ok(()),
        false => Err(MoveError::JobsWait),
    }
}
