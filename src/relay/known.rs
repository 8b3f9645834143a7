//! Which events may be stored already, without asking the store for each new one.
//!
//! An event is not stored if it is newer than everything that was when the relay started and did not come since then. What
//! came since is in a Bloom filter, which never misses one. Only for the rest the store is asked, which costs a tenth of a
//! verification, and this a thousandth.

use std::sync::atomic::{AtomicU64, Ordering};

use nostr::{Event, EventId, Filter};

use crate::store::{Error, EventStore, Query};

/// Bits of the filter: 1 MiB. Beyond half a million events the store is asked more often than needed.
const BITS: usize = 1 << 23;
/// Bits of one id.
const EACH: usize = 4;

/// See the module.
pub(super) struct Known {
    /// The time of the newest event that was stored when the relay started.
    before: Option<u64>,
    since: Box<[AtomicU64]>,
}

impl Known {
    /// Looks at what is stored now.
    pub(super) fn new(store: &dyn EventStore) -> Result<Self, Error> {
        let newest = [Filter::new().limit(1)];
        let hits = store.query(&Query::all(&newest, 0))?;
        Ok(Self {
            before: hits.first().map(|hit| hit.created_at),
            since: (0..BITS / 64).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// An event was stored.
    pub(super) fn insert(&self, id: &EventId) {
        for (word, bit) in places(id) {
            self.since[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether the store has to be asked.
    pub(super) fn may_have(&self, event: &Event) -> bool {
        self.before
            .is_some_and(|before| event.created_at.as_secs() <= before)
            || places(&event.id)
                .all(|(word, bit)| self.since[word].load(Ordering::Relaxed) & bit != 0)
    }
}

/// An id is a hash already. Who makes one that collides has the store asked, no more.
fn places(id: &EventId) -> impl Iterator<Item = (usize, u64)> {
    let bytes = id.to_bytes();
    (0..EACH).map(move |at| {
        let part = &bytes[at * 4..at * 4 + 4];
        let number = part
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let place = number % BITS;
        (place / 64, 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        nips::Draft,
        store::{FjallStore, Record},
    };
    use nostr::Keys;

    #[test]
    fn only_what_may_be_there_is_asked_for() {
        let home = tempfile::tempdir().unwrap();
        let store = FjallStore::open(home.path()).unwrap();
        let keys = Keys::generate();
        let note = |at: u64| {
            Draft::new(1)
                .content(at.to_string())
                .sign(&keys, at)
                .unwrap()
        };
        let empty = Known::new(&store).unwrap();
        assert!(!empty.may_have(&note(0)));
        // Also one that has expired since was there.
        let expired = Draft::new(1).tag(["expiration", "5"]);
        let expired = expired.sign(&keys, 100).unwrap();
        let records = [Record::new(note(50)), Record::new(expired)];
        store.append(&records).unwrap();
        let known = Known::new(&store).unwrap();
        assert!(known.may_have(&note(50)) && known.may_have(&note(99)));
        assert!(known.may_have(&note(100)) && !known.may_have(&note(101)));
        known.insert(&note(200).id);
        assert!(known.may_have(&note(200)));
        let others = (201..1201).filter(|at| known.may_have(&note(*at))).count();
        assert!(others < 5, "{others}");
    }
}
