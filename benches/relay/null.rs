//! A store that keeps nothing: what is left is the pipeline alone, which is the limit for every store.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use nostr::{EventId, PublicKey};
use tokio::sync::watch;
use treefort::store::{Check, Error, EventStore, Hit, Outcome, Query, Record, Stored};

pub(crate) struct NullStore {
    last: AtomicU64,
    changed: watch::Sender<u64>,
}

impl NullStore {
    pub(crate) fn new() -> Self {
        Self {
            last: AtomicU64::new(0),
            changed: watch::Sender::new(0),
        }
    }
}

impl EventStore for NullStore {
    fn append(&self, batch: &[Record]) -> Result<Vec<Outcome>, Error> {
        let count = batch.len() as u64;
        let before = self.last.fetch_add(count, Ordering::AcqRel);
        self.changed.send_replace(before + count);
        let outcomes = (before + 1..=before + count).map(|seq| Outcome::New { seq });
        Ok(outcomes.collect())
    }

    fn expire(&self, _now: u64, _max: usize) -> Result<usize, Error> {
        Ok(0)
    }

    fn vanish(&self, _author: &PublicKey, _until: u64) -> Result<usize, Error> {
        Ok(0)
    }

    fn purge(&self, _ids: &[EventId], _note: &[u8]) -> Result<usize, Error> {
        Ok(0)
    }

    fn purging(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }

    fn purged(&self) -> Result<(), Error> {
        Ok(())
    }

    fn erase(&self) -> Result<bool, Error> {
        Ok(true)
    }

    fn query(&self, _query: &Query<'_>) -> Result<Vec<Hit>, Error> {
        Ok(Vec::new())
    }

    fn count(&self, _query: &Query<'_>) -> Result<u64, Error> {
        Ok(0)
    }

    fn get(&self, _id: &EventId) -> Result<Option<Stored>, Error> {
        Ok(None)
    }

    fn read(&self, _seq: u64) -> Result<Option<Bytes>, Error> {
        Ok(None)
    }

    fn read_after(&self, _seq: u64, _max: usize) -> Result<Vec<Stored>, Error> {
        Ok(Vec::new())
    }

    fn check(&self) -> Result<Check, Error> {
        Ok(Check::default())
    }

    fn compact(&self) -> Result<(), Error> {
        Ok(())
    }

    fn last_seq(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
