//! Why a store cannot be used, as far as it changes what its owner can do about it.

use std::{error::Error as StdError, io};

use super::Error;
use crate::{
    coordinator, relay,
    store::{self, state::StateError},
};

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
    /// What is wrong with the event store or the state, when it is one of them that failed, wherever it was noticed.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let mut is_store = matches!(self, Self::Store(_) | Self::State(_));
        let mut cause: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(error) = cause {
            // What a transparent wrapper wraps is not in the chain.
            let inner: &(dyn StdError + 'static) =
                if let Some(Self::State(state)) = error.downcast_ref() {
                    state
                } else if let Some(coordinator::Error::State(state)) = error.downcast_ref() {
                    state
                } else if let Some(relay::Error::Store(store)) = error.downcast_ref() {
                    store
                } else {
                    error
                };
            is_store |= inner.is::<StateError>();
            if let Some(store) = inner.downcast_ref() {
                is_store = true;
                match store {
                    store::Error::Version { found, .. } => {
                        return Some(Fault::Version(found.clone()));
                    }
                    store::Error::Locked(_) => return Some(Fault::InUse),
                    store::Error::Stopped | store::Error::Deadline => return None,
                    _ => {}
                }
            }
            if let Some(StateError::Sled(sled::Error::Io(error))) = inner.downcast_ref() {
                return Some(of_io(error));
            }
            if let Some(error) = inner.downcast_ref::<io::Error>()
                && is_store
            {
                return Some(of_io(error));
            }
            cause = inner.source();
        }
        is_store.then_some(Fault::Damaged)
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
        let io = |kind: io::ErrorKind| Error::from(store::Error::Files(kind.into()));
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
        for error in [
            Error::Broken,
            relay::Error::Stopping.into(),
            Error::Home {
                path: "home".into(),
                source: io::ErrorKind::StorageFull.into(),
            },
        ] {
            assert_eq!(error.fault(), None, "{error:?}");
        }
        // Noticed while it was read.
        let read = relay::Error::from(store::Error::Meta("seq"));
        assert_eq!(Error::Relay(read).fault(), Some(Fault::Damaged));
        let read = coordinator::Error::Store(store::Error::Meta("seq"));
        assert_eq!(Error::Coordinator(read).fault(), Some(Fault::Damaged));
        let state = StateError::Folder(io::ErrorKind::StorageFull.into());
        let state = coordinator::Error::State(state);
        assert_eq!(Error::Coordinator(state).fault(), Some(Fault::Full));
    }
}
