//! The rows of one conversation: which leaves next, which are under way, and what became of them.
//!
//! It does no I/O but with the state. What waited before the conversation, or is older than it, leaves only after it was
//! compared with what the relay has; what is new leaves at once. Rows that waited while a connection ended leave last and
//! alone, so that one event that a relay cannot bear holds no other one back.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use nostr::{EventId, Timestamp};

use super::{
    Error,
    answer::{Backoff, REFUSALS, TRIES, Verdict},
};
use crate::{
    nips::kind,
    store::state::{
        State,
        sync::{Entry, RelayId, Remembered, Sending},
    },
};

/// The most that are under way at a time.
const WINDOW: usize = 64;
/// Rows that are read at once.
const PAGE: usize = 256;
/// Changes that are stored together, and how long they may wait for that.
const STORED: usize = 128;
const STORE_AFTER: Duration = Duration::from_millis(200);
/// How long the relay may take for an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How often a connection may end over one event.
const CUTS: u32 = 12;
/// After `rate-limited:` and after a failure of the relay's.
const LIMITED: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(300));
const FAILED: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// An event whose answer is awaited.
struct Flight {
    seq: u64,
    entry: Entry,
    since: Instant,
    /// Which one it was: the oldest is to blame when a connection ends.
    order: u64,
}

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// Nothing that was sent.
    Unknown,
    /// An event that was under way.
    Settled,
    /// Who we are.
    WhoAreYou,
}

/// See the module.
pub(super) struct Queue {
    state: State,
    relay: RelayId,
    pub(super) remembered: Remembered,
    ready: VecDeque<(u64, Entry)>,
    suspects: VecDeque<(u64, Entry)>,
    later: Vec<(Instant, u64, Entry)>,
    flying: HashMap<EventId, Flight>,
    /// All rows above.
    held: HashSet<u64>,
    changed: Vec<(u64, Entry)>,
    changed_since: Option<Instant>,
    remembered_changed: bool,
    window: usize,
    paused: Option<Instant>,
    limited: Backoff,
    failed: Backoff,
    stale: bool,
    flights: u64,
    /// The last row that waited when the conversation began, and when that was, in Unix seconds.
    border: u64,
    began: u64,
    /// Rows up to here were compared with what the relay has.
    looked: Option<u64>,
    /// The next row was not, and is to be.
    unlooked: bool,
    /// What the relay took or had in this conversation.
    pub(super) settled: u64,
    /// A session is known there, and that is stored.
    introduced: bool,
}

impl Queue {
    /// The rows of a relay.
    pub(super) fn new(state: State, relay: RelayId) -> Result<Self, Error> {
        Ok(Self {
            remembered: state.sync_remembered(relay)?,
            border: state.sync_last_waiting(relay)?.unwrap_or(0),
            began: Timestamp::now().as_secs(),
            state,
            relay,
            ready: VecDeque::new(),
            suspects: VecDeque::new(),
            later: Vec::new(),
            flying: HashMap::new(),
            held: HashSet::new(),
            changed: Vec::new(),
            changed_since: None,
            remembered_changed: false,
            window: WINDOW,
            paused: None,
            limited: LIMITED,
            failed: FAILED,
            stale: true,
            flights: 0,
            looked: None,
            unlooked: false,
            settled: 0,
            introduced: false,
        })
    }

    /// There are new rows.
    pub(super) fn refresh(&mut self) {
        self.stale = true;
    }

    /// The next row to leave, if one may now.
    pub(super) fn next(&mut self, now: Instant) -> Result<Option<(u64, Entry)>, Error> {
        if self.paused.is_some_and(|until| until > now) || self.flying.len() >= self.window {
            return Ok(None);
        }
        self.paused = None;
        if let Some(at) = self.later.iter().position(|(due, ..)| *due <= now) {
            let (_, seq, entry) = self.later.swap_remove(at);
            return Ok(Some((seq, entry)));
        }
        // What is behind rows that are to be compared first waits with them.
        if self.ready.is_empty() && self.stale && !self.unlooked {
            self.load()?;
        }
        if let Some(next) = self.ready.pop_front() {
            return Ok(Some(next));
        }
        if self.flying.is_empty() {
            return Ok(self.suspects.pop_front());
        }
        Ok(None)
    }

    /// The next rows to leave, as many as may now and no more than `most`. One over which a connection ended is alone.
    pub(super) fn next_some(
        &mut self,
        now: Instant,
        most: usize,
    ) -> Result<Vec<(u64, Entry)>, Error> {
        let room = self.window.saturating_sub(self.flying.len()).min(most);
        let mut rows = Vec::with_capacity(room);
        while rows.len() < room && (rows.is_empty() || !self.ready.is_empty()) {
            let Some((seq, entry)) = self.next(now)? else {
                break;
            };
            let alone = entry.cuts > 0 && rows.is_empty();
            rows.push((seq, entry));
            if alone {
                break;
            }
        }
        Ok(rows)
    }

    /// Reads rows that wait, the oldest first.
    fn load(&mut self) -> Result<(), Error> {
        // What is settled and not stored yet would be read as waiting.
        self.store()?;
        let mut after = None;
        loop {
            let page = self.state.sync_waiting(self.relay, after, PAGE)?;
            let Some((last, _)) = page.last() else {
                self.stale = false;
                return Ok(());
            };
            after = Some(*last);
            for (seq, entry) in page {
                if self.is_unlooked(seq, &entry) {
                    self.unlooked = true;
                    return Ok(());
                }
                if self.held.insert(seq) {
                    match entry.cuts {
                        0 => self.ready.push_back((seq, entry)),
                        _ => self.suspects.push_back((seq, entry)),
                    }
                }
            }
            // There may be more; the next call reads on.
            if !self.ready.is_empty() {
                return Ok(());
            }
        }
    }

    /// A row was sent.
    pub(super) fn sent(&mut self, seq: u64, entry: Entry, now: Instant) {
        self.flights += 1;
        let flight = Flight {
            seq,
            since: now,
            order: self.flights,
            entry,
        };
        self.flying.insert(flight.entry.id, flight);
    }

    /// A row goes back to its place: it was not taken.
    pub(super) fn put_back(&mut self, seq: u64, entry: Entry) {
        let at = self.ready.partition_point(|(before, _)| *before < seq);
        self.ready.insert(at, (seq, entry));
    }

    /// Something became of a row.
    pub(super) fn settle(&mut self, seq: u64, mut entry: Entry, state: Sending, now: Instant) {
        entry.state = state;
        self.settled += u64::from(entry.is_there());
        entry.at = Timestamp::now().as_secs();
        self.held.remove(&seq);
        self.change(seq, entry, now);
    }

    fn change(&mut self, seq: u64, entry: Entry, now: Instant) {
        self.changed.push((seq, entry));
        self.changed_since.get_or_insert(now);
    }

    /// Why nothing of a kind is sent to this relay.
    pub(super) fn refuses(&self, kind: u16) -> Option<&str> {
        self.remembered.refused_kinds.get(&kind).map(String::as_str)
    }

    /// Takes in an answer to an event.
    pub(super) fn answered(&mut self, id: &EventId, verdict: Verdict, now: Instant) -> Answered {
        let Some(Flight { seq, mut entry, .. }) = self.flying.remove(id) else {
            return Answered::Unknown;
        };
        let kind = entry.kind;
        match verdict {
            Verdict::Sent | Verdict::There => {
                self.window = (self.window + 1).min(WINDOW);
                self.limited.reset();
                self.failed.reset();
                if self.remembered.refusals.remove(&kind).is_some() {
                    self.remembered_changed = true;
                }
                let state = match verdict {
                    Verdict::There => Sending::There,
                    _ => Sending::Sent,
                };
                self.settle(seq, entry, state, now);
            }
            Verdict::Refused(words) => {
                let refusals = self.remembered.refusals.entry(kind).or_default();
                *refusals += 1;
                if *refusals >= REFUSALS {
                    self.remembered.refused_kinds.insert(kind, words.clone());
                }
                self.remembered_changed = true;
                self.settle(seq, entry, Sending::Refused { words }, now);
            }
            Verdict::RefusedKind(words) => {
                self.remembered.refused_kinds.insert(kind, words.clone());
                self.remembered_changed = true;
                self.settle(seq, entry, Sending::Refused { words }, now);
            }
            Verdict::Later => {
                self.window = (self.window / 2).max(1);
                // Those that were under way are refused too; one wait is for all of them.
                if self.paused.is_none() {
                    self.paused = Some(now + self.limited.next());
                }
                self.put_back(seq, entry);
            }
            Verdict::Auth => {
                self.put_back(seq, entry);
                return Answered::WhoAreYou;
            }
            Verdict::Again(words) => {
                entry.tries += 1;
                if entry.tries >= TRIES {
                    self.settle(seq, entry, Sending::Failed { words }, now);
                } else {
                    self.change(seq, entry.clone(), now);
                    self.later.push((now + self.failed.next(), seq, entry));
                }
            }
        }
        Answered::Settled
    }

    /// Whether the relay owes an answer for too long.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.flying
            .values()
            .any(|flight| now.duration_since(flight.since) >= ANSWER)
    }

    /// Whether nothing is left to do.
    pub(super) fn is_idle(&self) -> bool {
        self.flying.is_empty()
            && self.ready.is_empty()
            && self.suspects.is_empty()
            && self.later.is_empty()
            && !self.stale
    }

    /// When there is something to do next, if nothing is said until then.
    pub(super) fn due(&self) -> Option<Instant> {
        let answers = self.flying.values().map(|flight| flight.since + ANSWER);
        let room = self.flying.len() < self.window;
        let later = self.later.iter().map(|(due, ..)| *due).filter(|_| room);
        let stored = self.changed_since.map(|since| since + STORE_AFTER);
        answers
            .chain(later)
            .chain(stored)
            .chain(self.paused.filter(|_| room))
            .min()
    }

    /// Stores what changed, if there is enough of it or it waited long enough.
    pub(super) fn store_some(&mut self, now: Instant) -> Result<(), Error> {
        let long = self
            .changed_since
            .is_some_and(|since| now.duration_since(since) >= STORE_AFTER);
        if long || self.changed.len() >= STORED || self.flying.is_empty() {
            self.store()?;
        }
        Ok(())
    }

    /// Stores what changed.
    pub(super) fn store(&mut self) -> Result<(), Error> {
        if self.remembered_changed {
            self.state.sync_remember(self.relay, &self.remembered)?;
            self.remembered_changed = false;
        }
        if !self.changed.is_empty() {
            self.stale |= !self.state.sync_settle(self.relay, &self.changed)?;
            let introduces =
                |(_, entry): &(u64, Entry)| entry.kind == kind::SESSION_START && entry.is_there();
            self.introduced |= self.changed.iter().any(introduces);
            self.changed.clear();
        }
        self.changed_since = None;
        Ok(())
    }

    /// Whether a session became known there since this was last asked: somebody may speak to it now.
    pub(super) fn introduced(&mut self) -> bool {
        std::mem::take(&mut self.introduced)
    }

    /// The connection ended: the oldest that is under way may be the reason.
    pub(super) fn cut(&mut self, now: Instant) -> Result<(), Error> {
        let oldest = self.flying.values().min_by_key(|flight| flight.order);
        if let Some(id) = oldest.map(|flight| flight.entry.id)
            && let Some(Flight { seq, mut entry, .. }) = self.flying.remove(&id)
        {
            entry.cuts += 1;
            if entry.cuts >= CUTS {
                let words = format!("the connection ended {CUTS} times over it");
                self.settle(seq, entry, Sending::Failed { words }, now);
            } else {
                self.change(seq, entry, now);
            }
        }
        self.store()
    }

    fn is_unlooked(&self, seq: u64, entry: &Entry) -> bool {
        let looked = self.looked.is_some_and(|looked| seq <= looked);
        !looked && (seq <= self.border || entry.created_at < self.began)
    }

    /// Whether rows are to be compared with what the relay has before more can leave.
    pub(super) fn wants_look(&self) -> bool {
        self.unlooked
    }

    /// The next rows to compare.
    pub(super) fn to_look_at(&self, max: usize) -> Result<Vec<(u64, Entry)>, Error> {
        Ok(self.state.sync_waiting(self.relay, self.looked, max)?)
    }

    /// Rows up to this one were compared, and what was found is settled.
    pub(super) fn looked(&mut self, seq: u64) {
        self.looked = self.looked.max(Some(seq));
        self.unlooked = false;
    }

    /// Whether a row that was to leave still is, as it was; it is forgotten otherwise, and may be read again.
    pub(super) fn still_waits(&mut self, seq: u64, id: EventId) -> Result<bool, Error> {
        let row = self.state.sync_entry(self.relay, seq)?;
        let waits = row.is_some_and(|row| row.waits() && row.id == id);
        if !waits {
            self.held.remove(&seq);
            self.stale = true;
        }
        Ok(waits)
    }

    /// Remembers something else of the relay.
    pub(super) fn remember(&mut self, change: impl FnOnce(&mut Remembered)) {
        change(&mut self.remembered);
        self.remembered_changed = true;
    }
}

#[cfg(test)]
mod tests;
