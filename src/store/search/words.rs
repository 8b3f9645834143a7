//! The database of the search: which words are in which events.
//!
//! One keyspace, so that a crash can only take it back to an earlier state of all of it: under `[word's keyed hash]
//! [!created_at][seq]` (16 bytes, as in `super::super::index`) how often the word is there and how many words the event
//! has; under `1, seq` what there is to remove when the event goes; under `0` the version with the hash key, and the
//! cursor with the totals. No word is in it, and with the folder goes the key.

use std::{
    collections::HashMap,
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch,
    compaction::Leveled,
    config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry, PinningPolicy},
};
use nostr::Event;

use super::{
    super::{
        EventStore, Stored,
        index::{self, Keyer, Prefix},
    },
    Error,
};
use crate::nips::nip50;

/// The format that this version reads and writes; others are built anew.
const FORMAT: u32 = 2;
const MEMTABLE: u64 = 2 << 20;
const JOURNAL: u64 = 64 << 20;
const CACHE: u64 = 4 << 20;
/// Bits of a table's filter for each of its rows.
const BITS: f32 = 8.0;
/// How large a table may be. Whoever writes one holds what is looked up in it in memory.
const TABLE: u64 = 8 << 20;

const VERSION: &[u8] = &[0, 0];
const TOTALS: &[u8] = &[0, 1];
const EVENT: u8 = 1;
/// Bytes of an event's row before its words: time, words, the start of its id.
const HEAD: usize = 4 + 2 + 8;
/// Events that are compared with the store when the database is opened.
const SAMPLE: usize = 64;

/// Up to where events are in, and what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) cursor: u64,
    pub(super) events: u64,
    pub(super) words: u64,
}

impl Totals {
    fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.cursor.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.events.to_be_bytes());
        bytes[16..].copy_from_slice(&self.words.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            cursor: number(0)?,
            events: number(8)?,
            words: number(16)?,
        })
    }
}

/// How often a word is in an event, and how many words that has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Posting {
    pub(super) times: u8,
    pub(super) length: u16,
}

impl Posting {
    fn to_bytes(self) -> [u8; 3] {
        let [high, low] = self.length.to_be_bytes();
        [self.times, high, low]
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let &[times, high, low] = bytes else {
            return None;
        };
        Some(Self {
            times,
            length: u16::from_be_bytes([high, low]),
        })
    }
}

pub(super) struct Words {
    pub(super) db: Database,
    pub(super) rows: Keyspace,
    pub(super) keyer: Keyer,
    totals: Mutex<Totals>,
}

impl Words {
    /// Opens the database in a folder that is nobody else's. What is missing, of another version, damaged or of another
    /// store begins anew.
    pub(super) fn open(path: &Path, store: &dyn EventStore) -> Result<Self, Error> {
        match Self::read(path) {
            Ok(Some(words)) if words.is_of(store)? => return Ok(words),
            Ok(Some(words)) => {
                tracing::info!("the search index is of another store; it is built anew");
                drop(words);
            }
            Ok(None) => {}
            Err(Error::Storage(fjall::Error::Locked)) => {
                return Err(Error::Storage(fjall::Error::Locked));
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the search index is damaged; it is built anew"
            ),
        }
        wipe(path)?;
        Self::create(path)
    }

    /// `None` when there is none of this version.
    fn read(path: &Path) -> Result<Option<Self>, Error> {
        if !path.is_dir() {
            return Ok(None);
        }
        let (db, rows) = keyspace(path)?;
        let Some(version) = rows.get(VERSION)? else {
            return Ok(None);
        };
        let Some(secret) = version
            .strip_prefix(&FORMAT.to_be_bytes())
            .and_then(|rest| <[u8; 16]>::try_from(rest).ok())
        else {
            return Ok(None);
        };
        let totals = match rows.get(TOTALS)? {
            None => Totals::default(),
            Some(bytes) => Totals::from_bytes(&bytes).ok_or(Error::Damaged)?,
        };
        Ok(Some(Self {
            db,
            rows,
            keyer: Keyer::new(secret),
            totals: Mutex::new(totals),
        }))
    }

    fn create(path: &Path) -> Result<Self, Error> {
        private_folder(path).map_err(fjall::Error::Io)?;
        let (db, rows) = keyspace(path)?;
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|_| Error::Random)?;
        let mut version = FORMAT.to_be_bytes().to_vec();
        version.extend_from_slice(&secret);
        rows.insert(VERSION, version)?;
        Ok(Self {
            db,
            rows,
            keyer: Keyer::new(secret),
            totals: Mutex::default(),
        })
    }

    /// Whether the events in here are those of the store; sequence numbers alone do not tell.
    fn is_of(&self, store: &dyn EventStore) -> Result<bool, Error> {
        if self.totals().cursor > store.last_seq() {
            return Ok(false);
        }
        for row in self.rows.prefix([EVENT]).rev().take(SAMPLE) {
            let (key, value) = row.into_inner()?;
            let seq = seq_of(&key).ok_or(Error::Damaged)?;
            let id = value.get(6..HEAD).ok_or(Error::Damaged)?;
            let stored = seq.checked_sub(1).map(|before| store.read_after(before, 1));
            if let Some(stored) = stored.transpose()?
                && let Some(stored) = stored.first()
                && stored.seq == seq
                && stored.event.id.as_bytes().get(..8) != Some(id)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn totals(&self) -> Totals {
        *self.lock()
    }

    /// Takes in what follows the cursor, which moves to `cursor`.
    pub(super) fn add(&self, events: &[Stored], cursor: u64) -> Result<(), Error> {
        let mut totals = self.lock();
        let mut next = *totals;
        let mut batch = self.db.batch();
        for stored in events.iter().filter(|stored| stored.seq > next.cursor) {
            let Ok(time) = u32::try_from(stored.event.created_at.as_secs()) else {
                continue;
            };
            let (found, length) = self.of_event(&stored.event);
            if length == 0 {
                continue;
            }
            let mut row = Vec::with_capacity(HEAD + 7 * found.len());
            row.extend_from_slice(&time.to_be_bytes());
            row.extend_from_slice(&length.to_be_bytes());
            row.extend_from_slice(&stored.event.id.as_bytes()[..8]);
            for (prefix, times) in found {
                row.extend_from_slice(&prefix);
                let posting = Posting { times, length };
                batch.insert(
                    &self.rows,
                    index::key(&prefix, !time, stored.seq),
                    posting.to_bytes(),
                );
            }
            batch.insert(&self.rows, event_key(stored.seq), row);
            next.events += 1;
            next.words += u64::from(length);
        }
        next.cursor = next.cursor.max(cursor);
        batch.insert(&self.rows, TOTALS, next.to_bytes());
        // Not durable: what a power cut takes is read from the log again.
        batch.commit()?;
        *totals = next;
        Ok(())
    }

    /// Every word of an event with how often it is there, and how many there are.
    fn of_event(&self, event: &Event) -> (HashMap<Prefix, u8>, u16) {
        let mut found: HashMap<Prefix, u8> = HashMap::new();
        let mut length = 0_u16;
        nip50::of_event(event, |word| {
            length = length.saturating_add(1);
            let times = found.entry(self.keyer.word(word)).or_default();
            *times = times.saturating_add(1);
            ControlFlow::Continue(())
        });
        (found, length)
    }

    /// Removes events that are gone.
    pub(super) fn remove(&self, seqs: &[u64]) -> Result<(), Error> {
        let mut totals = self.lock();
        let mut next = *totals;
        let mut batch = self.db.batch();
        for seq in seqs {
            let Some(row) = self.rows.get(event_key(*seq))? else {
                continue;
            };
            let (head, words) = row.split_at_checked(HEAD).ok_or(Error::Damaged)?;
            let &[t0, t1, t2, t3, l0, l1, ..] = head else {
                return Err(Error::Damaged);
            };
            let time = u32::from_be_bytes([t0, t1, t2, t3]);
            for prefix in words.chunks_exact(7) {
                let prefix: Prefix = prefix.try_into().map_err(|_| Error::Damaged)?;
                self.remove_row(&mut batch, index::key(&prefix, !time, *seq));
            }
            self.remove_row(&mut batch, event_key(*seq));
            next.events = next.events.saturating_sub(1);
            next.words = (next.words).saturating_sub(u64::from(u16::from_be_bytes([l0, l1])));
        }
        batch.insert(&self.rows, TOTALS, next.to_bytes());
        batch.commit()?;
        *totals = next;
        Ok(())
    }

    fn remove_row(&self, batch: &mut OwnedWriteBatch, key: impl Into<fjall::UserKey>) {
        batch.remove(&self.rows, key);
    }

    /// At most `max` sequence numbers of events in here, after one.
    pub(super) fn after(&self, seq: u64, max: usize) -> Result<Vec<u64>, Error> {
        let from = event_key(seq.saturating_add(1));
        self.rows
            .range(from..=event_key(u64::MAX))
            .take(max)
            .map(|row| seq_of(&row.key()?).ok_or(Error::Damaged))
            .collect()
    }
}

fn keyspace(path: &Path) -> Result<(Database, Keyspace), Error> {
    let db = Database::builder(path)
        .worker_threads(1)
        .cache_size(CACHE)
        .max_journaling_size(JOURNAL)
        .open()?;
    // What is looked up in tables is in the cache, or on the disk.
    let options = || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(MEMTABLE)
            .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE)))
            .index_block_pinning_policy(PinningPolicy::all(false))
            .filter_block_pinning_policy(PinningPolicy::all(false))
            .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(
                BloomConstructionPolicy::BitsPerKey(BITS),
            )))
    };
    let rows = db.keyspace("words", options)?;
    Ok((db, rows))
}

fn event_key(seq: u64) -> [u8; 9] {
    let mut key = [EVENT; 9];
    key[1..].copy_from_slice(&seq.to_be_bytes());
    key
}

fn seq_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

/// Removes the folder, whatever is in it.
pub(super) fn wipe(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            // Perhaps a file has its name.
            fs::remove_file(path).map_err(|_| Error::Folder(PathBuf::from(path), error))
        }
        _ => Ok(()),
    }
}

fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
