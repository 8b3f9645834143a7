//! Ephemeral events of the last minute, for subscribers that come late.
//!
//! [`Ring`] is bounded in bytes, number and time, and lives under the hub's lock: a subscription gets what is in it when
//! it begins, and what comes later live, so nothing twice.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use nostr::{Event, EventId, Filter};

use crate::{
    nips::{kind, nip01, nip40},
    store::Record,
};

/// The most events.
const MOST: usize = 4096;
/// What an event takes beside its text, which it holds parsed as well.
const OVERHEAD: usize = 512;

/// The newest ephemeral events, in the order in which they came.
pub(super) struct Ring {
    keep: Duration,
    limit: usize,
    bytes: usize,
    entries: VecDeque<Entry>,
    ids: HashSet<EventId>,
}

struct Entry {
    came: Instant,
    record: Arc<Record>,
}

fn weight(record: &Record) -> usize {
    2 * record.json.len() + OVERHEAD
}

impl Ring {
    pub(super) fn new(keep: Duration, limit: usize) -> Self {
        Self {
            keep,
            limit,
            bytes: 0,
            entries: VecDeque::new(),
            ids: HashSet::new(),
        }
    }

    /// Takes an event; false when it is here already.
    pub(super) fn take(&mut self, record: &Arc<Record>, now: Instant) -> bool {
        self.drop_old(now);
        if self.ids.contains(&record.event.id) {
            return false;
        }
        if self.keep.is_zero() || weight(record) > self.limit {
            return true;
        }
        self.ids.insert(record.event.id);
        self.bytes += weight(record);
        self.entries.push_back(Entry {
            came: now,
            record: Arc::clone(record),
        });
        while self.entries.len() > MOST || self.bytes > self.limit {
            self.drop_first();
        }
        true
    }

    /// What a subscription that begins now missed, in the order in which it came: of each filter its newest, as many
    /// as its `limit`. `unix` is the time for what expires (NIP-40).
    pub(super) fn missed(
        &mut self,
        filters: &[Filter],
        now: Instant,
        unix: u64,
    ) -> Vec<Arc<Record>> {
        self.drop_old(now);
        let mut left: Vec<usize> = filters
            .iter()
            .map(|filter| filter.limit.unwrap_or(usize::MAX))
            .collect();
        let mut found = Vec::new();
        for Entry { record, .. } in self.entries.iter().rev() {
            if nip40::is_expired(&record.event, unix) {
                continue;
            }
            let mut wanted = false;
            for (filter, left) in filters.iter().zip(&mut left) {
                if *left > 0 && nip01::matches(filter, &record.event) {
                    *left -= 1;
                    wanted = true;
                }
            }
            if wanted {
                found.push(Arc::clone(record));
            }
        }
        found.reverse();
        found
    }

    /// What another event makes obsolete: a deletion what its author names, a request to vanish all that its author
    /// wrote, the record of a message the pieces in which it was written.
    pub(super) fn obsolete(&mut self, event: &Event) {
        match event.kind.as_u16() {
            _ if self.entries.is_empty() => {}
            kind::DELETION => self.forget(|old| {
                old.pubkey == event.pubkey && nip01::has_tag(event, "e", &old.id.to_hex())
            }),
            kind::VANISH => {
                self.forget(|old| old.pubkey == event.pubkey && old.created_at <= event.created_at)
            }
            kind::ACTION if nip01::first_tag(event, "l") == Some("message") => self
                .forget(|old| old.pubkey == event.pubkey && old.kind.as_u16() == kind::LIVE_DELTA),
            _ => {}
        }
    }

    /// Drops events.
    pub(super) fn forget(&mut self, gone: impl Fn(&Event) -> bool) {
        let (ids, bytes) = (&mut self.ids, &mut self.bytes);
        self.entries.retain(|entry| {
            let keep = !gone(&entry.record.event);
            if !keep {
                ids.remove(&entry.record.event.id);
                *bytes -= weight(&entry.record);
            }
            keep
        });
    }

    fn drop_old(&mut self, now: Instant) {
        while self
            .entries
            .front()
            .is_some_and(|entry| now.saturating_duration_since(entry.came) >= self.keep)
        {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(Entry { record, .. }) = self.entries.pop_front() {
            self.ids.remove(&record.event.id);
            self.bytes -= weight(&record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nips::Draft;
    use nostr::{Keys, Kind};

    const MINUTE: Duration = Duration::from_secs(60);

    fn delta(keys: &Keys, text: &str) -> Arc<Record> {
        let draft = Draft::new(kind::LIVE_DELTA).content(text);
        Arc::new(Record::new(draft.sign(keys, 1).unwrap()))
    }

    fn texts(ring: &mut Ring, filter: Filter, now: Instant) -> Vec<String> {
        let missed = ring.missed(&[filter], now, 0);
        let text = |record: &Arc<Record>| record.event.content.clone();
        missed.iter().map(text).collect()
    }

    #[test]
    fn keeps_what_came_in_order_for_its_time() {
        let (keys, start) = (Keys::generate(), Instant::now());
        let mut ring = Ring::new(MINUTE, 1 << 20);
        for (n, text) in ["a", "b", "c"].into_iter().enumerate() {
            let at = start + Duration::from_secs(10 * n as u64);
            assert!(ring.take(&delta(&keys, text), at));
        }
        assert!(!ring.take(&delta(&keys, "c"), start), "an id is there once");
        let all = Filter::new();
        assert_eq!(texts(&mut ring, all.clone(), start), ["a", "b", "c"]);
        assert_eq!(texts(&mut ring, all.clone().limit(2), start), ["b", "c"]);
        let none = all.clone().limit(0);
        assert!(texts(&mut ring, none, start).is_empty());
        let notes = all.clone().kind(Kind::TextNote);
        assert!(texts(&mut ring, notes, start).is_empty());
        let later = start + Duration::from_secs(65);
        assert_eq!(texts(&mut ring, all.clone(), later), ["b", "c"]);
        assert!(texts(&mut ring, all, start + 2 * MINUTE).is_empty());
        assert_eq!((ring.bytes, ring.ids.len()), (0, 0));
    }

    #[test]
    fn is_bounded_in_bytes_and_number() {
        let (keys, now) = (Keys::generate(), Instant::now());
        let one = weight(&delta(&keys, "0"));
        let mut ring = Ring::new(MINUTE, 3 * one);
        for n in 0..9 {
            ring.take(&delta(&keys, &n.to_string()), now);
        }
        assert_eq!(texts(&mut ring, Filter::new(), now), ["6", "7", "8"]);
        assert!(ring.bytes <= 3 * one);
        assert!(ring.take(&delta(&keys, &"x".repeat(4 * one)), now));
        assert_eq!(texts(&mut ring, Filter::new(), now), ["6", "7", "8"]);
        let record = delta(&keys, "x");
        let mut ring = Ring::new(MINUTE, usize::MAX);
        for _ in 0..=MOST {
            ring.entries.push_back(Entry {
                came: now,
                record: Arc::clone(&record),
            });
            ring.bytes += weight(&record);
        }
        ring.take(&delta(&keys, "y"), now);
        assert_eq!(ring.entries.len(), MOST);
    }

    #[test]
    fn drops_what_became_obsolete() {
        let (keys, other, now) = (Keys::generate(), Keys::generate(), Instant::now());
        let mut ring = Ring::new(MINUTE, 1 << 20);
        let (a, b) = (delta(&keys, "a"), delta(&keys, "b"));
        for record in [&a, &b, &delta(&other, "other")] {
            ring.take(record, now);
        }
        let delete = |keys: &Keys| {
            let draft = Draft::new(kind::DELETION).tag(["e", &a.event.id.to_hex()]);
            draft.sign(keys, 1).unwrap()
        };
        ring.obsolete(&delete(&other));
        assert_eq!(texts(&mut ring, Filter::new(), now).len(), 3);
        ring.obsolete(&delete(&keys));
        assert_eq!(texts(&mut ring, Filter::new(), now), ["b", "other"]);
        let said = |label| {
            let draft = Draft::new(kind::ACTION).tag(["l", label, "agent.action"]);
            draft.sign(&keys, 1).unwrap()
        };
        ring.obsolete(&said("command"));
        assert_eq!(texts(&mut ring, Filter::new(), now).len(), 2);
        ring.obsolete(&said("message"));
        assert_eq!(texts(&mut ring, Filter::new(), now), ["other"]);
        ring.obsolete(&Draft::new(kind::VANISH).sign(&other, 0).unwrap());
        assert_eq!(texts(&mut ring, Filter::new(), now), ["other"]);
        ring.obsolete(&Draft::new(kind::VANISH).sign(&other, 1).unwrap());
        assert!(texts(&mut ring, Filter::new(), now).is_empty());
    }
}
