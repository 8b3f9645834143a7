//! Writing segments anew without the rows that were removed.
//!
//! Rows keep their sequence numbers. What says that something is not taken any more stays, so that the log alone still
//! tells everything.

use std::{
    io,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::{
    Log,
    disk::File,
    frame::{self, Entry, Payload},
    frames::Frames,
    manifest::{FileKind, SegmentEntry},
    state::{REMOVED, Segment},
    tail::{self, BEGIN},
};
use crate::store::Error;

/// How much of a new segment is one frame.
const FRAME: usize = 1 << 20;
/// How long an erasure waits for who reads.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long between two looks.
const A_MOMENT: Duration = Duration::from_millis(20);

/// A segment that was written anew.
struct Rewritten {
    number: u64,
    salt: u32,
    file: Arc<dyn File>,
    end: u64,
    frame: u32,
    places: Vec<u32>,
    payload: Payload,
    /// Where in the payload the rows begin.
    waiting: Vec<(usize, usize)>,
}

impl Rewritten {
    /// Writes what was collected.
    fn write(&mut self, last: u64) -> Result<(), Error> {
        let payload = std::mem::take(&mut self.payload);
        self.file
            .write_at(&payload.frame(self.salt, self.frame, last), self.end)?;
        let at = self.end + frame::HEADER as u64;
        for (row, offset) in self.waiting.drain(..) {
            self.places[row] = u32::try_from(at + offset as u64).map_err(|_| Error::TooMuch)?;
        }
        self.end = frame::aligned(at + payload.len() as u64);
        self.frame += 1;
        Ok(())
    }
}

impl Log {
    /// Compacts the segments of which more than half is gone.
    pub(super) fn compact_due(&self) -> Result<(), Error> {
        self.compact_where(|segment| segment.dead * 2 > segment.rows())
            .map(drop)
    }

    /// Gives back the disk space of everything that was removed.
    pub(super) fn compact(&self) -> Result<(), Error> {
        self.cover()?;
        self.compact_where(|segment| segment.dead > 0 || segment.torn)?;
        let _working = self.working();
        self.merge_all()
    }

    /// Has no removed row in any file; says whether that is so.
    pub(super) fn erase(&self) -> Result<bool, Error> {
        let deadline = Instant::now() + PATIENCE;
        while self.mourned() > 0 {
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(A_MOMENT);
        }
        self.cover()?;
        let old = self.compact_where(|segment| segment.dead > 0 || segment.torn)?;
        {
            let _working = self.working();
            let runs: Vec<_> = self
                .state()
                .levels
                .runs
                .iter()
                .map(Arc::downgrade)
                .collect();
            self.merge_all()?;
            self.state_mut().recent.clear();
            self.disk.sync()?;
            while runs.iter().any(|run| run.strong_count() > 0) {
                if Instant::now() > deadline {
                    return Ok(false);
                }
                std::thread::sleep(A_MOMENT);
            }
        }
        // Somebody may be in the middle of reading from a file that has no name any more.
        while old.iter().any(|file| file.strong_count() > 0) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(A_MOMENT);
        }
        Ok(!self.has_dead())
    }

    fn has_dead(&self) -> bool {
        let state = self.state();
        state.segments.iter().any(|segment| segment.dead > 0)
    }

    /// How many removed rows somebody may still read.
    fn mourned(&self) -> usize {
        let mut state = self.state_mut();
        state.tidy(&self.readers);
        state.graves()
    }

    /// Ends the segment that is written to if something in it is gone, and has the runs cover everything.
    fn cover(&self) -> Result<(), Error> {
        {
            let mut writer = self.writer();
            let gone = |segment: &Segment| segment.dead > 0 || segment.torn;
            let ends = self.state().segments.last().is_some_and(gone);
            if ends {
                let first = self.state().last + 1;
                self.begin_segment(&mut writer, first)?;
            }
            self.begin_table(&writer);
        }
        self.flush()
    }

    /// Writes complete segments anew; gives the files of before.
    fn compact_where(
        &self,
        wanted: impl Fn(&Segment) -> bool,
    ) -> Result<Vec<Weak<dyn File>>, Error> {
        let _working = self.working();
        let manifest = self.manifest().clone();
        let Some(covered) = manifest.covered else {
            return Ok(Vec::new());
        };
        let whole = manifest
            .segments
            .iter()
            .take_while(|entry| entry.file != covered.segment);
        let mut old = Vec::new();
        for entry in whole {
            let number = entry.file;
            let is_wanted = {
                let state = self.state();
                let mut segments = state.segments.iter();
                segments.any(|segment| segment.number == number && wanted(segment))
            };
            if is_wanted {
                old.extend(self.rewrite(entry)?);
            }
        }
        Ok(old)
    }

    /// Writes a segment anew and puts it in place of the old one.
    fn rewrite(&self, entry: &SegmentEntry) -> Result<Option<Weak<dyn File>>, Error> {
        let file = {
            let state = self.state();
            let mut segments = state.segments.iter();
            let found = segments.find(|segment| segment.number == entry.file);
            found.map(|segment| Arc::clone(&segment.file))
        };
        let Some(file) = file else {
            return Ok(None);
        };
        let end = entry.end.unwrap_or(BEGIN);
        let mut frames = Frames {
            file: Arc::clone(&file),
            salt: entry.salt,
            at: BEGIN,
            frame: 0,
            end,
        };
        let mut new = self.begin_rewrite()?;
        let written = self
            .copy(&mut frames, entry, &mut new)
            .and_then(|()| self.write_rows(new.number, &new.places));
        let rows = match written {
            Ok(rows) => rows,
            Err(error) => {
                self.remove(FileKind::Segment, new.number);
                return Err(error);
            }
        };
        self.replace(entry, new, rows)?;
        self.remove(FileKind::Segment, entry.file);
        Ok(Some(Arc::downgrade(&file)))
    }

    /// Takes what says anything still out of a segment into a new one.
    fn copy(
        &self,
        frames: &mut Frames,
        of: &SegmentEntry,
        new: &mut Rewritten,
    ) -> Result<(), Error> {
        let mut last = 0;
        let damaged = || Error::Damaged(FileKind::Segment.name(of.file));
        while let Some(frame) = frames.next()? {
            for found in frame::entries(&frame.payload) {
                let (_, kept) = found.ok_or_else(damaged)?;
                self.keep(new, of, kept)?;
            }
            last = frame.last;
            if new.payload.len() >= FRAME {
                new.write(last)?;
            }
        }
        if frames.at != frames.end {
            return Err(damaged());
        }
        if !new.payload.is_empty() {
            new.write(last)?;
        }
        Ok(new.file.sync()?)
    }

    fn begin_rewrite(&self) -> Result<Rewritten, Error> {
        let mut salt = [0; 4];
        getrandom::fill(&mut salt).map_err(|_| Error::Random)?;
        let (number, salt) = (self.number(), u32::from_le_bytes(salt) | 1);
        Ok(Rewritten {
            number,
            salt,
            file: tail::create(&*self.disk, number, salt)?,
            end: BEGIN,
            frame: 0,
            places: Vec::new(),
            payload: Payload::default(),
            waiting: Vec::new(),
        })
    }

    /// Takes an entry over, if it says anything still.
    fn keep(&self, new: &mut Rewritten, of: &SegmentEntry, kept: Entry<'_>) -> io::Result<()> {
        match kept {
            Entry::Event { seq, .. } => {
                let stays = {
                    let state = self.state();
                    state.is_there(seq) || (state.is_in_file(seq) && state.is_mourned(seq))
                };
                if !stays {
                    return Ok(());
                }
                let at = seq.saturating_sub(of.first);
                let at = usize::try_from(at).map_err(io::Error::other)?;
                if new.places.len() <= at {
                    new.places.resize(at + 1, 0);
                }
                let offset = new.payload.push(kept);
                new.waiting.push((at, offset));
            }
            // Of a row that is nowhere any more there is nothing to say.
            Entry::Removed { seq } if !self.state().is_in_file(seq) => {}
            kept => {
                new.payload.push(kept);
            }
        }
        Ok(())
    }

    /// Puts a segment in the place of another, with what was removed meanwhile.
    fn replace(&self, old: &SegmentEntry, new: Rewritten, rows: u64) -> Result<(), Error> {
        let empty = new.frame == 0;
        // Nothing is removed while this is held.
        let _writer = self.writer();
        let mut old_rows = None;
        self.amend(|manifest| {
            for entry in &mut manifest.segments {
                if entry.file == old.file {
                    old_rows = entry.rows;
                    *entry = SegmentEntry {
                        file: new.number,
                        salt: new.salt,
                        first: old.first,
                        end: Some(new.end),
                        rows: Some(rows),
                    };
                }
            }
            if empty {
                manifest.segments.retain(|entry| entry.file != new.number);
            }
        })?;
        let mut state = self.state_mut();
        let Some(at) = (state.segments.iter()).position(|segment| segment.number == old.file)
        else {
            return Ok(());
        };
        if empty {
            state.segments.remove(at);
        } else {
            let segment = &mut state.segments[at];
            let before = std::mem::replace(&mut segment.places, new.places);
            segment.dead = 0;
            segment.torn = false;
            for (place, before) in segment.places.iter_mut().zip(before) {
                if *place != 0 && before & REMOVED != 0 {
                    *place |= REMOVED;
                    segment.dead += 1;
                }
            }
            segment.changed = segment.dead > 0;
            segment.number = new.number;
            segment.file = new.file;
        }
        drop(state);
        if empty {
            self.remove(FileKind::Segment, new.number);
            self.remove(FileKind::Rows, rows);
        }
        if let Some(rows) = old_rows {
            self.remove(FileKind::Rows, rows);
        }
        Ok(())
    }
}
