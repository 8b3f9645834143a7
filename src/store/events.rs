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
use nostr::{Event, EventId, JsonUtil, PublicKey};
use tokio::sync::watch;

use super::{
    Check, Error, EventStore, Hit, Outcome, Query, Record, Stored, append, check, erase,
    index::{self, Keyer},
    purge, query, vanish,
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

    pub(super) fn row(&self, snapshot: &Snapshot, seq: u64) -> Result<Option<fjall::Slice>, Error> {
        Ok(snapshot.get(&self.events, seq.to_be_bytes())?)
    }

    /// Finds a stored event by its id.
    pub(super) fn find(&self, snapshot: &Snapshot, id: &EventId) -> Result<Option<Stored>, Error> {
        for guard in snapshot.prefix(&self.index, self.keyer.id(id)) {
            let key = guard.key()?;
            let Some((_, seq)) = index::parts(&key) else {
                continue;
            };
            if let Some(json) = self.row(snapshot, seq)? {
                let event = parse(seq, &json)?;
                if event.id == *id {
                    return Ok(Some(Stored { seq, event }));
                }
            }
        }
        Ok(None)
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

/// Reads a stored row.
pub(super) fn parse(seq: u64, json: &[u8]) -> Result<Event, Error> {
    Event::from_json(json).map_err(|source| Error::Row { seq, source })
}

impl EventStore for FjallStore {
    fn append(&self, batch: &[Record]) -> Result<Vec<Outcome>, Error> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        append::append(self, batch)
    }

    fn expire(&self, now: u64, max: usize) -> Result<usize, Error> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        append::expire(self, now, max)
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
        query::run(self, query)
    }

    fn count(&self, query: &Query<'_>) -> Result<u64, Error> {
        query::count(self, query)
    }

    fn get(&self, id: &EventId) -> Result<Option<Stored>, Error> {
        self.find(&self.db.snapshot(), id)
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
        check::check(self)
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
