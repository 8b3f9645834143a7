//! Finding what has all of the words, best first.
//!
//! The rarest word leads, newest first; the others are looked up beside it. The score is Okapi BM25 (Robertson and
//! Zaragoza, 2009) times a bonus for what is recent. A row is read only when its score would still be taken, and is then
//! checked against the filter and the words themselves, since hashes may collide.

use std::{cmp::Ordering, collections::BinaryHeap, time::Instant};

use bytes::Bytes;
use fjall::{Readable, Snapshot};
use nostr::{Event, EventId, Filter, JsonUtil};

use super::{
    super::{EventStore, Hit, Query, index},
    Error,
    words::{Posting, Totals, Words},
};
use crate::nips::{nip01, nip40, nip50};

/// Events with the rarest word that are looked at, the newest; older ones are not found.
pub const CANDIDATES: usize = 100_000;
/// Up to where it is counted how many events have a word.
const COUNTED: usize = 10_000;
/// Okapi BM25's usual ones.
const K1: f32 = 1.2;
const B: f32 = 0.75;
/// What is as old as this has half of the bonus.
const RECENT_S: f32 = 30.0 * 86_400.0;
/// The most that being new adds.
const BONUS: f32 = 0.5;

/// One event that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) score: f32,
    pub(super) seq: u64,
    pub(super) created_at: u64,
    pub(super) id: EventId,
    /// Its JSON, as far as the query's budget goes.
    pub(super) json: Option<Bytes>,
}

impl Found {
    pub(super) fn into_hit(self) -> Hit {
        Hit {
            seq: self.seq,
            created_at: self.created_at,
            id: self.id,
            json: self.json,
        }
    }

    /// The better one is greater: score, then time, then the lowest id.
    fn rank(&self, other: &Self) -> Ordering {
        (self.score.total_cmp(&other.score))
            .then(self.created_at.cmp(&other.created_at))
            .then(other.id.cmp(&self.id))
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Found {}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Found {
    /// The worst is on top of a heap.
    fn cmp(&self, other: &Self) -> Ordering {
        other.rank(self)
    }
}

/// A search over one state of the database.
pub(super) struct Scan<'a> {
    pub(super) words: &'a Words,
    pub(super) store: &'a dyn EventStore,
    pub(super) query: &'a Query<'a>,
    snapshot: Snapshot,
    totals: Totals,
    /// Rows whose events are gone.
    pub(super) gone: Vec<u64>,
}

struct Term {
    prefix: index::Prefix,
    weight: f32,
    count: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(words: &'a Words, store: &'a dyn EventStore, query: &'a Query<'a>) -> Self {
        Self {
            totals: words.totals(),
            snapshot: words.db.snapshot(),
            words,
            store,
            query,
            gone: Vec::new(),
        }
    }

    /// The best `limit` events, best first.
    pub(super) fn best(
        &mut self,
        filter: &Filter,
        search: &nip50::Search,
        limit: usize,
    ) -> Result<Vec<Found>, Error> {
        let mut heap: BinaryHeap<Found> = BinaryHeap::new();
        if limit == 0 {
            return Ok(Vec::new());
        }
        let size = |found: &Found| found.json.as_ref().map_or(0, Bytes::len);
        let mut left = self.query.budget;
        self.each(filter, search, |scan, score, seq| {
            if heap.len() >= limit && heap.peek().is_some_and(|worst| score < worst.score) {
                return Ok(());
            }
            if let Some((event, json)) = scan.read(filter, search, seq)? {
                let found = Found {
                    score,
                    seq,
                    created_at: event.created_at.as_secs(),
                    id: event.id,
                    json: (json.len() <= left).then_some(json),
                };
                left -= size(&found);
                heap.push(found);
                if heap.len() > limit
                    && let Some(worst) = heap.pop()
                {
                    left += size(&worst);
                }
            }
            Ok(())
        })?;
        // Sorted by an order in which the best is least.
        Ok(heap.into_sorted_vec())
    }

    /// Every event, for a count; refuses when there may be more than are looked at.
    pub(super) fn all(
        &mut self,
        filter: &Filter,
        search: &nip50::Search,
        mut each: impl FnMut(u64),
    ) -> Result<(), Error> {
        let seen = self.each(filter, search, |scan, _, seq| {
            if scan.read(filter, search, seq)?.is_some() {
                each(seq);
            }
            Ok(())
        })?;
        match seen < CANDIDATES {
            true => Ok(()),
            false => Err(Error::TooMany),
        }
    }

    /// Calls `each` with score and sequence number of what has all words; gives how many it looked at.
    fn each(
        &mut self,
        filter: &Filter,
        search: &nip50::Search,
        mut each: impl FnMut(&mut Self, f32, u64) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let Some((since, until)) = span(filter) else {
            return Ok(0);
        };
        let mut terms = Vec::new();
        for word in search.words() {
            let prefix = self.words.keyer.word(word);
            let count = self.count(&prefix, since, until)?;
            if count == 0 {
                return Ok(0);
            }
            terms.push(Term {
                prefix,
                weight: self.weight(count),
                count,
            });
        }
        terms.sort_by_key(|term| term.count);
        let Some((first, others)) = terms.split_first() else {
            return Ok(0);
        };
        let mut seen = 0;
        let newest = index::key(&first.prefix, !until, 0);
        let oldest = index::key(&first.prefix, !since, index::MAX_SEQ);
        let rows = self.snapshot.range(&self.words.rows, newest..=oldest);
        for row in rows.take(CANDIDATES) {
            seen += 1;
            if seen % 64 == 0 {
                self.in_time()?;
            }
            let (key, value) = row.into_inner()?;
            let (time, seq) = index::parts(&key).ok_or(Error::Damaged)?;
            if seq > self.query.up_to {
                continue;
            }
            let lead = Posting::from_bytes(&value).ok_or(Error::Damaged)?;
            let mut score = first.weight * self.density(lead);
            let mut has_all = true;
            for term in others {
                let key = index::key(&term.prefix, time, seq);
                let Some(value) = self.snapshot.get(&self.words.rows, key)? else {
                    has_all = false;
                    break;
                };
                let posting = Posting::from_bytes(&value).ok_or(Error::Damaged)?;
                score += term.weight * self.density(posting);
            }
            if has_all {
                let score = score * self.bonus(u64::from(!time));
                each(self, score, seq)?;
            }
        }
        Ok(seen)
    }

    fn in_time(&self) -> Result<(), Error> {
        match self.query.deadline.is_some_and(|at| Instant::now() >= at) {
            true => Err(Error::Deadline),
            false => Ok(()),
        }
    }

    /// How many events have a word, up to a bound.
    fn count(&self, prefix: &index::Prefix, since: u32, until: u32) -> Result<usize, Error> {
        let newest = index::key(prefix, !until, 0);
        let oldest = index::key(prefix, !since, index::MAX_SEQ);
        let rows = self.snapshot.range(&self.words.rows, newest..=oldest);
        let mut count = 0;
        for row in rows.take(COUNTED) {
            row.key()?;
            count += 1;
        }
        self.in_time()?;
        Ok(count)
    }

    /// What a rare word counts more than a common one.
    fn weight(&self, count: usize) -> f32 {
        let (all, with) = (self.totals.events as f32, count as f32);
        (1.0 + ((all - with).max(0.0) + 0.5) / (with + 0.5)).ln()
    }

    /// How much an event is about a word: often counts more, in a long text less.
    fn density(&self, posting: Posting) -> f32 {
        let usual = self.totals.words as f32 / (self.totals.events as f32).max(1.0);
        let length = f32::from(posting.length) / usual.max(1.0);
        let times = f32::from(posting.times);
        times * (K1 + 1.0) / (times + K1 * (1.0 - B + B * length))
    }

    fn bonus(&self, created_at: u64) -> f32 {
        let age = self.query.now.saturating_sub(created_at) as f32;
        1.0 + BONUS / (1.0 + age / RECENT_S)
    }

    /// The event, if it is still there and what was asked for.
    fn read(
        &mut self,
        filter: &Filter,
        search: &nip50::Search,
        seq: u64,
    ) -> Result<Option<(Event, Bytes)>, Error> {
        let Some(json) = self.store.read(seq)? else {
            self.gone.push(seq);
            return Ok(None);
        };
        let event =
            Event::from_json(&json).map_err(|source| super::super::Error::Row { seq, source })?;
        let is_wanted = nip01::fields_match(filter, &event)
            && !nip40::is_expired(&event, self.query.now)
            && (self.query.visible)(&event)
            && search.matches(&event);
        Ok(is_wanted.then_some((event, json)))
    }
}

/// Since when and until when, if that can be.
fn span(filter: &Filter) -> Option<(u32, u32)> {
    let since = filter.since.map_or(0, |since| since.as_secs());
    let until = filter.until.map_or(u64::MAX, |until| until.as_secs());
    let until = u32::try_from(until).unwrap_or(u32::MAX);
    let since = u32::try_from(since).ok()?;
    (since <= until && nip01::is_satisfiable(filter)).then_some((since, until))
}
