//! Why a store cannot be used, as far as it changes what its owner can do about it.

use std::{error::Error as StdError, io};

use super::Error;
use crate::store::{self, state::StateError};

/// What is wrong with a store of the home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Another version of treefort wrote it, in this format.
    Version(String),
    /// The disk takes no more.
    Full,
    /// The disk takes nothing at all.
    ReadOnly,
    /// Its files are somebody else's.
    Denied,
    /// Another program has it open.
    InUse,
    /// It cannot be read.
    Damaged,
}

impl Error {
    /// What is wrong with the event store or the state, when it is one of them that failed.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Store(store::Error::Version { found, .. }) => {
                return Some(Fault::Version(found.clone()));
            }
            Self::Store(store::Error::Locked(_)) => return Some(Fault::InUse),
            Self::State(StateError::Sled(sled::Error::Io(error))) => return Some(of_io(error)),
            Self::Store(_) | Self::State(_) => {}
            _ => return None,
        }
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref() {
                return Some(of_io(error));
            }
            cause = error.source();
        }
        Some(Fault::Damaged)
    }
}

fn of_io(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Fault::Full
        }
        io::ErrorKind::ReadOnlyFilesystem => Fault::ReadOnly,
        io::ErrorKind::PermissionDenied => Fault::Denied,
        io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy => Fault::InUse,
        _ => Fault::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_says_what_its_owner_can_do_something_about() {
        let version = store::Error::Version {
            path: "events".into(),
            found: "7".to_owned(),
        };
        let io =
            |kind: io::ErrorKind| Error::from(store::Error::Storage(io::Error::from(kind).into()));
        let sled =
            |kind: io::ErrorKind| Error::from(StateError::Sled(io::Error::from(kind).into()));
        for (error, fault) in [
            (version.into(), Fault::Version("7".to_owned())),
            (store::Error::Locked("events".into()).into(), Fault::InUse),
            (store::Error::Meta("seq").into(), Fault::Damaged),
            (io(io::ErrorKind::StorageFull), Fault::Full),
            (io(io::ErrorKind::QuotaExceeded), Fault::Full),
            (io(io::ErrorKind::ReadOnlyFilesystem), Fault::ReadOnly),
            (io(io::ErrorKind::PermissionDenied), Fault::Denied),
            (io(io::ErrorKind::UnexpectedEof), Fault::Damaged),
            (sled(io::ErrorKind::StorageFull), Fault::Full),
            (sled(io::ErrorKind::WouldBlock), Fault::InUse),
        ] {
            assert_eq!(error.fault(), Some(fault), "{error:?}");
        }
        assert_eq!(Error::Broken.fault(), None);
    }
}
