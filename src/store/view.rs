//! [`View`]: what queries and the writer's decisions read.

use bytes::Bytes;
use nostr::{Event, EventId, JsonUtil, Kind, PublicKey};

use super::{
    Error, Stored,
    index::{self, Key, Keyer, Prefix},
};
use crate::nips::nip01;

/// An address (NIP-01): kind, author and identifier.
pub(super) type Address = (Kind, PublicKey, String);

/// Why an id is not taken any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dead {
    /// Its author deleted it (NIP-09), if its kind is one that can be.
    Deleted,
    /// The owner purged it, whatever its kind.
    Purged,
}

/// A store as it was at one moment.
pub(super) trait View {
    /// Makes the keys of this store.
    fn keyer(&self) -> Keyer;

    /// The index keys from one to another, both included, in order. Those of removed rows may be among them.
    fn keys(&self, from: Key, to: Key) -> Result<impl Iterator<Item = Result<Key, Error>>, Error>;

    /// The JSON of a row; `None` when there is none (any more).
    fn row(&self, seq: u64) -> Result<Option<Bytes>, Error>;

    /// Whether an author's id is not taken any more.
    fn dead_id(&self, id: &EventId, author: &PublicKey) -> Result<Option<Dead>, Error>;

    /// Up to which time versions of an address are deleted.
    fn dead_until(&self, address: &Address) -> Result<Option<u64>, Error>;

    /// Up to which time an author asked to be forgotten.
    fn forgotten_until(&self, author: &PublicKey) -> Result<Option<u64>, Error>;

    /// The first row below a prefix of which something is true.
    fn first(
        &self,
        prefix: &Prefix,
        wanted: impl Fn(u64, &Event) -> bool,
    ) -> Result<Option<Stored>, Error> {
        let (from, to) = index::whole(prefix);
        for key in self.keys(from, to)? {
            let (_, seq) = index::split(&key?);
            if let Some(json) = self.row(seq)? {
                let event = parse(seq, &json)?;
                if wanted(seq, &event) {
                    return Ok(Some(Stored { seq, event }));
                }
            }
        }
        Ok(None)
    }

    /// Finds a stored event by its id.
    fn find(&self, id: &EventId) -> Result<Option<Stored>, Error> {
        self.first(&self.keyer().id(id), |_, event| event.id == *id)
    }

    /// The current version of an address, but for rows that are removed in this moment.
    fn version(
        &self,
        (kind, author, identifier): &Address,
        removed: impl Fn(u64) -> bool,
    ) -> Result<Option<Stored>, Error> {
        let prefix = self.keyer().address(*kind, author, identifier);
        self.first(&prefix, |seq, event| {
            !removed(seq)
                && event.kind == *kind
                && event.pubkey == *author
                && nip01::identifier(event) == Some(identifier)
        })
    }
}

/// Reads a stored row.
pub(super) fn parse(seq: u64, json: &[u8]) -> Result<Event, Error> {
    Event::from_json(json).map_err(|source| Error::Row { seq, source })
}
