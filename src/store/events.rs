//! [`FjallStore`]: the log of events on fjall.
//!
//! Three keyspaces: `events-1` holds the JSON of each event under its sequence number, `index-1` holds
//! 16-byte keys without values (see `index`), `meta-1` holds the format version, the last sequence number,
//! the hash key and the tombstones of NIP-09. One batch writes all three, so they cannot tear.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable, Snapshot};
use nostr::{EventId, PublicKey};
use tokio::sync::watch;

use super::{
    Check, Error, EventStore, Hit, Outcome, Query, Record, Stored, check, commit, erase,
    index::{Key, Keyer},
    purge, query, vanish,
    view::{Address, Dead, View, parse},
};

/// The format that this version reads and writes.
pub const FORMAT: u32 = 1;

const MEMTABLE: u64 = 8 << 20;
const JOURNAL: u64 = 64 << 20;
const CACHE: u64 = 32 << 20;

pub(super) const META_VERSION: &str = "version";
pub(super) const META_SEQ: &str = "seq";
const META_HASH: &str = "hash";

/// The event store on fjall.
pub struct FjallStore {
    pub(super) path: PathBuf,
    pub(super) db: Database,
    pub(super) events: Keyspace,
    pub(super) index: Keyspace,
    pub(super) meta: Keyspace,
    pub(super) keyer: Keyer,
    /// Held while a batch is decided and committed.
    pub(super) writer: Mutex<()>,
    pub(super) last: AtomicU64,
    pub(super) changed: watch::Sender<u64>,
}

impl std::fmt::Debug for FjallStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallStore")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl FjallStore {
    /// Opens the store in a directory, or creates it.
    ///
    /// # Errors
    /// [`Error::Locked`] when another program has it open, [`Error::Version`] when another version wrote
    /// it, [`Error::Corrupt`] when it cannot be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| match source {
            fjall::Error::Locked => Error::Locked(path.to_owned()),
            fjall::Error::InvalidVersion(Some(found)) => Error::Version {
                path: path.to_owned(),
                found: format!("{found:?}"),
            },
            fjall::Error::Io(_) => Error::Storage(source),
            source => Error::Corrupt {
                path: path.to_owned(),
                source,
            },
        };
        let db = Database::builder(path)
            .worker_threads(1)
            .cache_size(CACHE)
            .max_journaling_size(JOURNAL)
            .open()
            .map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let meta = db.keyspace("meta-1", options).map_err(failed)?;
        let secret = match meta.get(META_VERSION).map_err(failed)? {
            None => initialise(&db, &meta)?,
            Some(found) if *found == FORMAT.to_be_bytes() => meta
                .get(META_HASH)
                .map_err(failed)?
                .and_then(|value| value.as_ref().try_into().ok())
                .ok_or(Error::Meta(META_HASH))?,
            Some(found) => {
                return Err(Error::Version {
                    path: path.to_owned(),
                    found: match <[u8; 4]>::try_from(found.as_ref()) {
                        Ok(number) => u32::from_be_bytes(number).to_string(),
                        Err(_) => hex::encode(found),
                    },
                });
            }
        };
        let last = match meta.get(META_SEQ).map_err(failed)? {
            None => 0,
            Some(value) => u64::from_be_bytes(
                value
                    .as_ref()
                    .try_into()
                    .map_err(|_| Error::Meta(META_SEQ))?,
            ),
        };
        let store = Self {
            path: path.to_owned(),
            events: db.keyspace("events-1", options).map_err(failed)?,
            index: db.keyspace("index-1", options).map_err(failed)?,
            meta,
            db,
            keyer: Keyer::new(secret),
            writer: Mutex::new(()),
            last: AtomicU64::new(last),
            changed: watch::Sender::new(last),
        };
        vanish::go_on(&store)?;
        Ok(store)
    }

    /// Publishes that everything up to a sequence number is committed.
    pub(super) fn committed(&self, last: u64) {
        self.last.store(last, Ordering::Release);
        self.changed.send_replace(last);
    }

    /// What is stored at this moment.
    pub(super) fn view(&self) -> Frozen<'_> {
        Frozen {
            store: self,
            snapshot: self.db.snapshot(),
        }
    }
}

/// The store as it was at one moment.
pub(super) struct Frozen<'a> {
    store: &'a FjallStore,
    pub(super) snapshot: Snapshot,
}

impl View for Frozen<'_> {
    fn keyer(&self) -> Keyer {
        self.store.keyer
    }

    fn keys(&self, from: Key, to: Key) -> Result<impl Iterator<Item = Result<Key, Error>>, Error> {
        let found = self.snapshot.range(&self.store.index, from..=to);
        Ok(found.map(|guard| {
            let key = guard.key()?;
            key.as_ref().try_into().map_err(|_| Error::Meta("index"))
        }))
    }

    fn row(&self, seq: u64) -> Result<Option<Bytes>, Error> {
        let found = self.snapshot.get(&self.store.events, seq.to_be_bytes())?;
        Ok(found.map(|json| Bytes::copy_from_slice(&json)))
    }

    fn dead_id(&self, id: &EventId, author: &PublicKey) -> Result<Option<Dead>, Error> {
        let key = commit::dead_id_key(id, author);
        let found = self.snapshot.get(&self.store.meta, key)?;
        Ok(found.map(|value| match value.is_empty() {
            true => Dead::Deleted,
            false => Dead::Purged,
        }))
    }

    fn forgotten_until(&self, author: &PublicKey) -> Result<Option<u64>, Error> {
        let found = self.snapshot.get(&self.store.meta, vanish::key(author))?;
        vanish::read(found.as_deref())
    }

    fn dead_until(&self, address: &Address) -> Result<Option<u64>, Error> {
        let key = commit::dead_address_key(address);
        match self.snapshot.get(&self.store.meta, key)? {
            None => Ok(None),
            Some(value) => {
                let bytes = value.as_ref().try_into();
                let bytes = bytes.map_err(|_| Error::Meta("address"))?;
                Ok(Some(u64::from_be_bytes(bytes)))
            }
        }
    }
}

/// Writes the format version and a fresh hash key.
fn initialise(db: &Database, meta: &Keyspace) -> Result<[u8; 16], Error> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(|_| Error::Random)?;
    let mut batch = db.batch().durability(Some(fjall::PersistMode::SyncAll));
    batch.insert(meta, META_VERSION, FORMAT.to_be_bytes());
    batch.insert(meta, META_HASH, secret);
    batch.commit()?;
    Ok(secret)
}

impl EventStore for FjallStore {
    fn append(&self, batch: &[Record]) -> Result<Vec<Outcome>, Error> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        commit::append(self, batch)
    }

    fn expire(&self, now: u64, max: usize) -> Result<usize, Error> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        commit::expire(self, now, max)
    }

    fn vanish(&self, author: &PublicKey, until: u64) -> Result<usize, Error> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        vanish::vanish(self, author, until)
    }

    fn purge(&self, ids: &[EventId], note: &[u8]) -> Result<usize, Error> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        purge::purge(self, ids, note)
    }

    fn purging(&self) -> Result<Option<Vec<u8>>, Error> {
        purge::noted(self)
    }

    fn purged(&self) -> Result<(), Error> {
        purge::done(self)
    }

    fn erase(&self) -> Result<bool, Error> {
        erase::erase(self)
    }

    fn query(&self, query: &Query<'_>) -> Result<Vec<Hit>, Error> {
        query::run(&self.view(), query)
    }

    fn count(&self, query: &Query<'_>) -> Result<u64, Error> {
        query::count(&self.view(), query)
    }

    fn get(&self, id: &EventId) -> Result<Option<Stored>, Error> {
        self.view().find(id)
    }

    fn read(&self, seq: u64) -> Result<Option<Bytes>, Error> {
        Ok(self
            .events
            .get(seq.to_be_bytes())?
            .map(|json| Bytes::copy_from_slice(&json)))
    }

    fn read_after(&self, seq: u64, max: usize) -> Result<Vec<Stored>, Error> {
        let Some(first) = seq.checked_add(1) else {
            return Ok(Vec::new());
        };
        let snapshot = self.db.snapshot();
        let mut rows = Vec::new();
        for guard in snapshot
            .range(&self.events, first.to_be_bytes()..)
            .take(max)
        {
            let (key, json) = guard.into_inner()?;
            let seq =
                u64::from_be_bytes(key.as_ref().try_into().map_err(|_| Error::Meta("events"))?);
            rows.push(Stored {
                seq,
                event: parse(seq, &json)?,
            });
        }
        Ok(rows)
    }

    fn check(&self) -> Result<Check, Error> {
        check::fjall(self)
    }

    fn compact(&self) -> Result<(), Error> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        check::compact(self)
    }

    fn last_seq(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
