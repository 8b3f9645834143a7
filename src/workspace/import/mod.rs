//! The copy of a project that a session works on.
//!
//! Copied is what git would show: tracked, changed and untracked files, links as links, empty folders. Left out
//! is what git ignores (where secrets like `.env` and build output usually are) unless it is asked for, and every
//! `.git`. The walk is relative to open directories, follows no link, enters no other file system, and opens
//! no FIFO, socket or device. git itself is never started: its rules are read as text.

mod ignored;
mod index;
mod repository;
mod source;
mod walk;
mod weigh;

pub(crate) use self::ignored::Ignored;
pub use self::{
    source::check_source,
    weigh::{Weight, weigh},
};

use std::{
    io,
    path::{Path, PathBuf},
};

use super::beneath;

/// What to copy, and how much at most.
#[derive(Debug, Clone)]
pub struct Options {
    /// Also what git ignores.
    pub ignored: bool,
    /// Also git's own, byte for byte and not run: for a copy of a copy.
    pub git: bool,
    /// The most files and links.
    pub max_files: u64,
    /// The most bytes in all files.
    pub max_bytes: u64,
}

impl Default for Options {
    /// Without ignored files; 200,000 files, 2 GiB.
    fn default() -> Self {
        Self {
            ignored: false,
            git: false,
            max_files: 200_000,
            max_bytes: 2 << 30,
        }
    }
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Files and links.
    pub files: u64,
    /// Bytes in files.
    pub bytes: u64,
    /// What could not be copied, the first [`MAX_SKIPPED`] by name.
    pub skipped: Vec<Skipped>,
    /// How many more could not be copied.
    pub skipped_more: u64,
    /// The branch that the project is on, when `.git/HEAD` names one.
    pub branch: Option<String>,
    /// Entries left out because git ignores them; a folder counts once.
    pub ignored: u64,
}

/// How many skipped entries are named.
pub const MAX_SKIPPED: usize = 1_000;

/// One entry that is not in the copy though git does not ignore it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Relative to the project.
    pub path: Vec<u8>,
    /// Why it is not in the copy.
    pub why: Reason,
}

/// Why an entry is not in the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The git directory of a repository inside the project.
    NestedGit,
    /// A FIFO, socket or device.
    Special,
    /// Another file system is mounted there.
    Mount,
    /// We may not read it.
    Unreadable,
    /// It lies deeper than any source does.
    TooDeep,
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path does not lead to a folder.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// As it was given.
        path: PathBuf,
        /// What the system said, if it was asked in vain.
        #[source]
        source: Option<io::Error>,
    },
    /// The whole file system, the home directory, or something above it.
    #[error("{} is too much to hand to an agent ({why}); go to the folder of one project, or name it with --workspace", path.display())]
    TooWide {
        /// The folder, without links.
        path: PathBuf,
        /// In a few words.
        why: &'static str,
    },
    /// treefort's own home, what lies in it, or what it lies in.
    #[error("{} {relation} treefort's own home {}; choose another folder, or another home with --home", path.display(), home.display())]
    OwnHome {
        /// The folder, without links.
        path: PathBuf,
        /// treefort's home.
        home: PathBuf,
        /// "is", "lies in" or "contains".
        relation: &'static str,
    },
    /// There is more than an agent's copy may hold.
    #[error(
        "the project has more than {max} {unit} that git does not ignore, most of them in {heaviest}; start in a smaller folder, or list what the agent does not need in .gitignore"
    )]
    TooLarge {
        /// The cap.
        max: u64,
        /// "files" or "bytes".
        unit: &'static str,
        /// The entry of the project's top level that holds most of it.
        heaviest: String,
    },
    /// The copy must begin empty.
    #[error("{} is not empty, a copy begins empty", path.display())]
    NotEmpty {
        /// Where the copy should have gone.
        path: PathBuf,
    },
    /// The system refused.
    #[error("could not copy {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Copies a project into an empty folder. `owner` (uid, gid) gets the files, if given.
///
/// `source` should have passed [`check_source`]. What vanishes while it is copied is left out in silence. When
/// this fails, `into` holds a part of the copy; whoever made it removes it.
pub fn copy(
    source: &Path,
    into: &Path,
    options: &Options,
    owner: Option<(u32, u32)>,
) -> Result<Imported, Error> {
    let from = beneath::open_root(source).map_err(|error| Error::NotAFolder {
        path: source.to_owned(),
        source: Some(error),
    })?;
    let io = |error| Error::Io {
        path: into.to_owned(),
        source: error,
    };
    let to = beneath::open_root(into).map_err(io)?;
    if beneath::names(&to, 0).is_err() {
        return Err(Error::NotEmpty {
            path: into.to_owned(),
        });
    }
    // What is too large is refused before gigabytes of it were written.
    weigh(source, options)?;
    let mut imported = walk::Walk::new(source, options, owner, &from)?.run(&from, &to)?;
    imported.branch = repository::branch(source);
    Ok(imported)
}

/// Copies a folder that an agent made into an empty one, as it is: also what git ignores, and git's own. The agent
/// stands still meanwhile, or what it changes is there in part. What could not be read is named and left out.
///
/// # Errors
/// As [`copy`], within the bounds that are given.
pub fn duplicate(
    source: &Path,
    into: &Path,
    (max_files, max_bytes): (u64, u64),
    owner: Option<(u32, u32)>,
) -> Result<Imported, Error> {
    let options = Options {
        ignored: true,
        git: true,
        max_files,
        max_bytes,
    };
    let io = |path: &Path| {
        let path = path.to_owned();
        |source| Error::Io { path, source }
    };
    let from = beneath::open_root(source).map_err(io(source))?;
    let to = beneath::open_root(into).map_err(io(into))?;
    walk::Walk::new(source, &options, owner, &from)?.run(&from, &to)
}

#[cfg(test)]
mod tests;
