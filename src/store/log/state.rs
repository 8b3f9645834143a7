//! What readers look at: where the rows are, the index, and what was committed last.
//!
//! It is locked for moments only. A reader that began before a row was removed goes on to see it: the row's place is
//! kept, marked, until its segment is compacted, and `graves` says when it was removed as long as there is such a reader.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::{disk::File, keys::Levels, manifest::Position, table::Table};

/// Marks the place of a row that was removed.
pub(super) const REMOVED: u32 = 1 << 31;

/// So many sequence numbers without rows may lie between two of the newest rows.
const GAP: u64 = 1024;

/// A part of the log, and where its rows are.
pub(super) struct Segment {
    /// Its file's number.
    pub(super) number: u64,
    pub(super) file: Arc<dyn File>,
    /// The sequence number of the first place.
    pub(super) first: u64,
    /// Where each row's entry begins; 0 where there is none (any more).
    pub(super) places: Vec<u32>,
    /// How many of its rows were removed and are still in the file.
    pub(super) dead: usize,
    /// Whether `places` is not what the manifest leads to.
    pub(super) changed: bool,
    /// Whether a write to it failed, which may have left anything behind its end.
    pub(super) torn: bool,
}

impl Segment {
    pub(super) fn place(&self, seq: u64) -> u32 {
        let at = seq.checked_sub(self.first).map(usize::try_from);
        at.and_then(Result::ok)
            .and_then(|at| self.places.get(at))
            .map_or(0, |place| *place)
    }

    /// Says where a row is.
    pub(super) fn put(&mut self, seq: u64, place: u32) {
        let Ok(at) = usize::try_from(seq.saturating_sub(self.first)) else {
            return;
        };
        if at >= self.places.len() {
            self.places.resize(at + 1, 0);
        }
        if self.places[at] & REMOVED != 0 && place & REMOVED == 0 {
            // The log is read again from before the removal.
            self.dead -= 1;
        }
        self.places[at] = place;
        self.changed = true;
    }

    /// Marks a row as removed; says whether there was one.
    pub(super) fn remove(&mut self, seq: u64) -> bool {
        let place = self.place(seq);
        if place == 0 || place & REMOVED != 0 {
            return false;
        }
        self.put(seq, place | REMOVED);
        self.dead += 1;
        true
    }

    /// How many rows are in the file, removed or not.
    pub(super) fn rows(&self) -> usize {
        self.places.iter().filter(|place| **place != 0).count()
    }
}

/// The JSON of the newest rows, so that what is asked for most is not read from files.
#[derive(Default)]
pub(super) struct Recent {
    first: u64,
    rows: VecDeque<Bytes>,
    bytes: usize,
}

impl Recent {
    pub(super) fn add(&mut self, seq: u64, json: Bytes, most: usize) {
        let next = self.first + self.rows.len() as u64;
        if self.rows.is_empty() || seq.saturating_sub(next) > GAP {
            self.clear();
            self.first = seq;
        }
        // Numbers that are not rows.
        while self.first + (self.rows.len() as u64) < seq {
            self.rows.push_back(Bytes::new());
        }
        self.bytes += json.len();
        self.rows.push_back(json);
        while self.bytes > most {
            let Some(gone) = self.rows.pop_front() else {
                break;
            };
            self.bytes -= gone.len();
            self.first += 1;
        }
    }

    fn get(&self, seq: u64) -> Option<&Bytes> {
        let at = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.rows.get(at).filter(|json| !json.is_empty())
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Index keys that are complete, and wait to become a run.
pub(super) struct Full {
    pub(super) table: Arc<Table>,
    /// Where in the log the keys after it begin.
    pub(super) position: Position,
    pub(super) last: u64,
    pub(super) note: Option<Vec<u8>>,
}

/// Where a row is.
pub(super) enum Place {
    Memory(Bytes),
    File(Arc<dyn File>, u64),
}

/// What readers look at.
#[derive(Default)]
pub(super) struct State {
    /// By their first sequence number.
    pub(super) segments: Vec<Segment>,
    pub(super) levels: Arc<Levels>,
    /// Oldest first.
    pub(super) full: VecDeque<Full>,
    pub(super) recent: Recent,
    /// The last sequence number that was committed.
    pub(super) last: u64,
    /// Counts commits.
    pub(super) commit: u64,
    /// Which commit removed a row that somebody may still read.
    graves: HashMap<u64, u64>,
    /// Rows that were removed since all runs were merged.
    pub(super) stale: usize,
}

impl State {
    /// The segment that has the place of a row.
    pub(super) fn segment_of(&mut self, seq: u64) -> Option<&mut Segment> {
        let after = self
            .segments
            .partition_point(|segment| segment.first <= seq);
        self.segments.get_mut(after.checked_sub(1)?)
    }

    fn place(&self, seq: u64) -> Option<(&Segment, u32)> {
        let after = self
            .segments
            .partition_point(|segment| segment.first <= seq);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        Some((segment, segment.place(seq)))
    }

    /// Where a row is, for a reader who began after a commit.
    pub(super) fn locate(&self, seq: u64, commit: u64) -> Option<Place> {
        let (segment, place) = self.place(seq)?;
        let removed = place & REMOVED != 0 && !self.is_seen(seq, commit);
        if place == 0 || removed {
            return None;
        }
        Some(match self.recent.get(seq) {
            // Counting another owner would wait for memory, and the bytes are read anyway.
            Some(json) => Place::Memory(Bytes::copy_from_slice(json)),
            None => Place::File(Arc::clone(&segment.file), u64::from(place & !REMOVED)),
        })
    }

    fn is_seen(&self, seq: u64, commit: u64) -> bool {
        self.graves.get(&seq).is_some_and(|grave| *grave > commit)
    }

    /// Whether a row is there, for whoever begins now.
    pub(super) fn is_there(&self, seq: u64) -> bool {
        let place = self.place(seq).map_or(0, |(_, place)| place);
        place != 0 && place & REMOVED == 0
    }

    /// Whether a row's bytes are in a file, removed or not.
    pub(super) fn is_in_file(&self, seq: u64) -> bool {
        self.place(seq).is_some_and(|(_, place)| place != 0)
    }

    /// Whether somebody may still read a row that was removed.
    pub(super) fn is_mourned(&self, seq: u64) -> bool {
        self.graves.contains_key(&seq)
    }

    pub(super) fn graves(&self) -> usize {
        self.graves.len()
    }

    /// Removes a row, in the commit that is being published.
    pub(super) fn remove(&mut self, seq: u64, readers: &Readers) {
        let commit = self.commit + 1;
        let Some(segment) = self.segment_of(seq) else {
            return;
        };
        if segment.remove(seq) {
            self.stale += 1;
            if readers.oldest().is_some() {
                self.graves.insert(seq, commit);
            }
        }
    }

    /// Forgets graves that nobody can look at.
    pub(super) fn tidy(&mut self, readers: &Readers) {
        if !self.graves.is_empty() {
            let oldest = readers.oldest().unwrap_or(u64::MAX);
            self.graves.retain(|_, commit| *commit > oldest);
        }
    }
}

/// Who reads, by the commit after which they began. Locked after [`State`], never before.
#[derive(Default)]
pub(super) struct Readers(Mutex<BTreeMap<u64, usize>>);

impl Readers {
    pub(super) fn enter(&self, commit: u64) {
        *self.lock().entry(commit).or_default() += 1;
    }

    pub(super) fn leave(&self, commit: u64) {
        let mut readers = self.lock();
        if let Some(count) = readers.get_mut(&commit) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&commit);
            }
        }
    }

    fn oldest(&self) -> Option<u64> {
        self.lock().keys().next().copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
