//! What somebody who asks may do: how they reached us, and which keys they proved.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use nostr::{Event, Kind, PublicKey};

use super::Rejection;
use crate::{
    keys::Admission,
    nips::{kind, nip01},
};

/// Keys of one connection.
const MAX_KEYS: usize = 16;
/// A gift wrap that is not stored (NIP-59).
const EPHEMERAL_GIFT_WRAP: u16 = 21059;

/// How a connection reached us.
#[derive(Debug, Clone)]
pub(super) struct Reached {
    /// The address of the other end.
    pub(super) peer: IpAddr,
    /// Our end.
    pub(super) local: SocketAddr,
    /// The `Host` header.
    pub(super) host: String,
    /// Whether it comes from a program on this machine, not from another machine or another web page.
    pub(super) trusted: bool,
}

/// The rights of one WebSocket, or of one request over HTTP.
pub(super) struct Rights {
    pub(super) reached: Reached,
    admission: Arc<Admission>,
    read_needs_admission: bool,
    keys: RwLock<Vec<PublicKey>>,
}

impl Rights {
    pub(super) fn new(reached: Reached, admission: Arc<Admission>, read_open: bool) -> Self {
        Self {
            read_needs_admission: !reached.trusted || !read_open,
            reached,
            admission,
            keys: RwLock::default(),
        }
    }

    /// Adds a key that the client proved.
    pub(super) fn authenticated(&self, key: PublicKey) -> Result<(), Rejection> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.contains(&key) {
            return Ok(());
        }
        if keys.len() >= MAX_KEYS {
            return Err(Rejection::TooManyKeys(MAX_KEYS));
        }
        keys.push(key);
        Ok(())
    }

    pub(super) fn keys(&self) -> Vec<PublicKey> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the client may ask and listen.
    pub(super) fn may_read(&self) -> Result<(), Rejection> {
        if self.read_needs_admission {
            self.admitted()
        } else {
            Ok(())
        }
    }

    /// Whether the client may publish.
    pub(super) fn may_write(&self) -> Result<(), Rejection> {
        if self.reached.trusted {
            Ok(())
        } else {
            self.admitted()
        }
    }

    fn admitted(&self) -> Result<(), Rejection> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if keys.iter().any(|key| self.admission.is_admitted(key)) {
            Ok(())
        } else if keys.is_empty() {
            Err(Rejection::AuthRequired)
        } else {
            Err(Rejection::NotAdmitted)
        }
    }

    /// Whether a live event may go to this client now.
    pub(super) fn receives(&self, event: &Event) -> bool {
        self.may_read().is_ok()
            && (!is_private(event.kind)
                || visible_to(
                    event,
                    &self.keys.read().unwrap_or_else(PoisonError::into_inner),
                ))
    }
}

/// Whether only those that an event of a kind names may see it.
pub(super) fn is_private(kind: Kind) -> bool {
    matches!(kind.as_u16(), kind::GIFT_WRAP | EPHEMERAL_GIFT_WRAP)
}

/// Whether an event is for holders of these keys.
pub(super) fn visible_to(event: &Event, keys: &[PublicKey]) -> bool {
    !is_private(event.kind)
        || keys
            .iter()
            .any(|key| nip01::has_tag(event, "p", &key.to_hex()))
}

/// Whether filters ask for nothing but private events.
pub(super) fn only_private(filters: &[nostr::Filter]) -> bool {
    filters.iter().all(|filter| {
        filter
            .kinds
            .as_ref()
            .is_some_and(|kinds| !kinds.is_empty() && kinds.iter().all(|kind| is_private(*kind)))
    })
}
