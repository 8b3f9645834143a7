//! What can go wrong with a store and a workspace.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{ObjectId, objects::Kind};

/// Trouble with a store or a workspace as a whole. Trouble with single paths of an agent's is no error: it is
/// named as [`Uncovered`](super::Uncovered).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of ours could not be read or written.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done, ending so that a path can follow.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An object is not in the store.
    #[error("the store has no object {0}")]
    Missing(ObjectId),
    /// An object's bytes do not have its name, or are not what its kind asks for.
    #[error("object {0} is damaged")]
    Corrupt(ObjectId),
    /// An object is of another kind.
    #[error("object {id} is no {wanted}")]
    Kind {
        /// Which object.
        id: ObjectId,
        /// What was asked for: `blob`, `tree` or `commit`.
        wanted: &'static str,
    },
    /// Bytes are a collision attack on SHA-1, so they cannot have a name.
    #[error("the bytes are a collision attack on SHA-1")]
    Collision,
    /// A reference's name is none that git takes.
    #[error("{0:?} cannot be the name of a reference")]
    RefName(String),
    /// A workspace's folder has a name that cannot be part of a reference's.
    #[error("{} cannot be a workspace's folder: its name is no session's", .0.display())]
    Name(PathBuf),
    /// There is a workspace already.
    #[error("a workspace is at {} already", .0.display())]
    Exists(PathBuf),
    /// There is no workspace.
    #[error("no workspace is at {}", .0.display())]
    None(PathBuf),
    /// An id is none of this workspace's checkpoints.
    #[error("{0} is no checkpoint of this workspace")]
    NotACheckpoint(ObjectId),
    /// A file of ours does not hold what it should.
    #[error("{} cannot be understood", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// Where reading ended.
        #[source]
        source: serde_json::Error,
    },
    /// A checkpoint would take more of the disk than there is room for.
    #[error("the checkpoint would take more of the disk than it may")]
    Full,
    /// The threads that read files ended early.
    #[error("the threads that read files ended early")]
    Readers,
}

impl Error {
    /// Names what was being done when the system refused.
    pub(crate) fn io<'p>(
        doing: &'static str,
        path: &'p Path,
    ) -> impl Fn(io::Error) -> Self + Copy + use<'p> {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// The same for the system's own numbers.
    pub(crate) fn errno<'p>(
        doing: &'static str,
        path: &'p Path,
    ) -> impl Fn(rustix::io::Errno) -> Self + Copy + use<'p> {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn wrong_kind(id: ObjectId, wanted: Kind) -> Self {
        Self::Kind {
            id,
            wanted: wanted.name(),
        }
    }
}
