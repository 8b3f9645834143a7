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

use serde::{Deserialize, Serialize};

pub(super) use self::walk::{Snapshot, take};

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
}

/// Why a path is not covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A folder that [`Rules::skip_dirs`] names.
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
}
