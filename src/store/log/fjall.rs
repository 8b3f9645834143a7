//! Reading a store that fjall holds: what treefort wrote before the log.
//!
//! Three keyspaces: `events-1` has the JSON of each event under its sequence number, `index-1` follows from it, `meta-1`
//! has the version, the last sequence number, what is not taken any more, and what was under way.

use std::path::Path;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use nostr::{EventId, PublicKey};

use super::frame::{AddressHash, Entry};
use crate::store::{Error, view::Dead};

/// The format that fjall's stores had.
const FORMAT: u32 = 1;

/// What fjall holds.
pub(super) struct Old {
    _db: Database,
    events: Keyspace,
    meta: Keyspace,
}

/// Whether it is fjall that has a folder.
pub(super) fn is_there(path: &Path) -> bool {
    path.join("version").is_file() && path.join("keyspaces").is_dir()
}

impl Old {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| match source {
            fjall::Error::Locked => Error::Locked(path.to_owned()),
            source => Error::Old(source),
        };
        let db = Database::builder(path)
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let keyspace = |name| db.keyspace(name, KeyspaceCreateOptions::default);
        let (events, meta) = (keyspace("events-1")?, keyspace("meta-1")?);
        let version = meta.get("version")?;
        if version.as_deref() != Some(&FORMAT.to_be_bytes()) {
            return Err(Error::Version {
                path: path.to_owned(),
                found: version.map_or_else(String::new, hex::encode),
            });
        }
        Ok(Self {
            _db: db,
            events,
            meta,
        })
    }

    /// The last sequence number that was used.
    pub(super) fn last(&self) -> Result<u64, Error> {
        let found = self.meta.get("seq")?;
        found.map_or(Ok(0), |bytes| number(&bytes).ok_or(Error::Meta("seq")))
    }

    /// The rows, in order.
    pub(super) fn rows(&self) -> impl Iterator<Item = Result<(u64, Bytes), Error>> {
        self.events.iter().map(|guard| {
            let (key, json) = guard.into_inner()?;
            let seq = number(&key).ok_or(Error::Meta("events"))?;
            Ok((seq, Bytes::copy_from_slice(&json)))
        })
    }

    /// What is not taken any more.
    pub(super) fn dead(&self) -> impl Iterator<Item = Result<Entry<'static>, Error>> {
        self.meta
            .iter()
            .filter_map(|guard| match guard.into_inner() {
                Ok((key, value)) => dead(&key, &value).map(Ok),
                Err(error) => Some(Err(error.into())),
            })
    }

    /// What the owner was purging.
    pub(super) fn purging(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.meta.get("purging")?.map(|note| note.to_vec()))
    }

    /// Who was being forgotten (NIP-62), and until when.
    pub(super) fn vanishing(&self) -> Result<Option<(PublicKey, u64)>, Error> {
        let Some(note) = self.meta.get("vanishing")? else {
            return Ok(None);
        };
        let (author, until) = note.split_at_checked(32).ok_or(Error::Meta("vanishing"))?;
        let found = PublicKey::from_slice(author).ok().zip(number(until));
        found.map(Some).ok_or(Error::Meta("vanishing"))
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// What a key says is not taken any more.
fn dead(key: &[u8], value: &[u8]) -> Option<Entry<'static>> {
    let author = |bytes: &[u8]| Some(PublicKey::from_byte_array(bytes.try_into().ok()?));
    let (tag, rest) = key.split_first()?;
    match (tag, rest.len()) {
        (b'd', 64) => Some(Entry::DeadId {
            dead: if value.is_empty() {
                Dead::Deleted
            } else {
                Dead::Purged
            },
            id: EventId::from_byte_array(rest[..32].try_into().ok()?),
            author: author(&rest[32..])?,
        }),
        (b'a', 66) => Some(Entry::DeadAddress {
            address: AddressHash {
                kind: u16::from_be_bytes([rest[0], rest[1]]),
                author: author(&rest[2..34])?,
                identifier: rest[34..].try_into().ok()?,
            },
            until: number(value)?,
        }),
        (b'f', 32) => Some(Entry::Vanished {
            author: author(rest)?,
            until: number(value)?,
        }),
        _ => None,
    }
}
