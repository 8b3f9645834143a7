//! A tree of files as objects: byte for byte, with permissions and links, ignored files too.
//!
//! `take` walks by descriptors (see `ladder`), asks every name for its state and reads only the files whose
//! state is not in the cache. What it cannot or must not cover is named in [`Uncovered`], because undo must
//! never pretend. The walker's own thread decides; a few others read, hash and compress.

pub(super) mod cache;
mod flush;
mod read;
mod readers;
mod walk;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use self::cache::{Cache, Stamp};
pub(super) use self::{flush::write_back, walk::take};
use super::ObjectId;

/// What a snapshot leaves out, and its limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Names of folders, at any depth, that are made again by a build or an installation.
    pub skip_dirs: Vec<String>,
    /// A file with more bytes is not covered.
    pub max_file_bytes: u64,
    /// So many files, links and folders are covered.
    pub max_files: usize,
    /// So many bytes of their paths are held: an agent makes them as long as they may be.
    pub max_path_bytes: usize,
    /// So many bytes are covered.
    pub max_bytes: u64,
}

impl Default for Rules {
    fn default() -> Self {
        let skip_dirs = [
            "node_modules",
            "target",
            ".venv",
            "venv",
            "__pycache__",
            ".gradle",
            ".next",
            ".nuxt",
            ".cache",
            ".parcel-cache",
            ".turbo",
            ".tox",
            ".mypy_cache",
            ".pytest_cache",
            ".ruff_cache",
        ];
        Self {
            skip_dirs: skip_dirs.map(str::to_owned).into(),
            max_file_bytes: 64 << 20,
            max_files: 200_000,
            max_path_bytes: 64 << 20,
            max_bytes: 2 << 30,
        }
    }
}

/// A path that a checkpoint does not cover: undo leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncovered {
    /// Its path below the workspace, in bytes.
    pub path: Vec<u8>,
    /// Why it is not covered.
    pub why: Why,
    /// Whether it was made, changed or removed since the copy began.
    pub work: bool,
}

impl Uncovered {
    /// One that was made, changed or removed since the copy began.
    #[must_use]
    pub const fn work(path: Vec<u8>, why: Why) -> Self {
        let work = true;
        Self { path, why, work }
    }

    /// For how many paths it stands.
    #[must_use]
    pub const fn paths(&self) -> u64 {
        match self.why {
            Why::More(count) => count,
            _ => 1,
        }
    }
}

/// Why a path is not covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A folder that [`Rules::skip_dirs`] names and that the project did not have.
    Rule,
    /// A file with so many bytes.
    TooLarge(u64),
    /// A fifo, a socket or a device.
    Special,
    /// It could not be read, or changed with every look.
    Unreadable,
    /// Over [`Rules::max_files`], [`Rules::max_bytes`], or a path that is too long; for a folder, this may
    /// be true of only some of what is in it.
    TooMany,
    /// Its bytes are a collision attack on SHA-1.
    Collision,
    /// It was there when the copy began, was not covered then either, and is gone.
    Gone,
    /// It was in the place of a covered file that was brought back, and was moved aside.
    InTheWay,
    /// So many more that are not named each; the path is that of the whole workspace.
    More(u64),
}

/// A tree as it was.
pub(in crate::workspace) struct Snapshot {
    pub(in crate::workspace) tree: ObjectId,
    pub(in crate::workspace) files: u64,
    pub(in crate::workspace) bytes: u64,
    pub(in crate::workspace) uncovered: Vec<Left>,
    /// Folders that are covered though a rule names them.
    pub(in crate::workspace) named_by_rules: Vec<Vec<u8>>,
    pub(in crate::workspace) cache: Cache,
}

/// A path that is not covered.
pub(in crate::workspace) struct Left {
    pub(in crate::workspace) path: Vec<u8>,
    pub(in crate::workspace) why: Why,
    /// Its state, where a look at it gave one.
    pub(in crate::workspace) stamp: Option<Stamp>,
}

/// What a snapshot is to cover.
pub(in crate::workspace) struct Scope<'s> {
    pub(in crate::workspace) rules: &'s Rules,
    /// Folders that are covered though a rule names them; all of them when there is no list.
    pub(in crate::workspace) folders: Option<&'s BTreeSet<Vec<u8>>>,
}
