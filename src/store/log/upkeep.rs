//! The work behind the writer's back: complete tables become runs, runs are merged, segments are compacted.
//!
//! One thread does it. What fails, as on a full disk, is tried again later; nothing that was committed depends on it.

use std::{
    io,
    sync::{Arc, PoisonError, atomic::Ordering, mpsc},
    time::Duration,
};

use super::{
    Log,
    keys::{self, Levels, Merged, Word},
    manifest::FileKind,
    rows,
    run::Run,
    state::Full,
};
use crate::store::{Error, index};

/// Runs of a size that are merged together.
const FAN: usize = 4;
/// Keys that are looked at under one lock.
const CHUNK: usize = 1024;
/// When what failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// So many removed rows may be left in the runs, or as many as there are others.
const STALE: usize = 100_000;

/// Works whenever it is woken, until the store is closed.
pub(super) fn run(log: &Log, woken: &mpsc::Receiver<()>) {
    let mut failed = false;
    loop {
        let next = if failed {
            woken.recv_timeout(AGAIN)
        } else {
            woken
                .recv()
                .map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        };
        if log.stopping.load(Ordering::Acquire) || next == Err(mpsc::RecvTimeoutError::Disconnected)
        {
            return;
        }
        let done = log.upkeep();
        failed = done.is_err();
        if let Err(error) = done
            && !log.stopping.load(Ordering::Acquire)
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the event store could not tidy up and will try again"
            );
        }
    }
}

impl Log {
    /// Everything that is due.
    pub(super) fn upkeep(&self) -> Result<(), Error> {
        self.flush()?;
        self.merge_due()?;
        self.compact_due()
    }

    /// Makes runs of the complete tables.
    pub(super) fn flush(&self) -> Result<(), Error> {
        let _working = self.working();
        while self.flush_one()? {}
        Ok(())
    }

    fn flush_one(&self) -> Result<bool, Error> {
        let Some((table, position, last, note)) = self.state().full.front().map(|full| {
            let Full {
                table,
                position,
                last,
                note,
            } = full;
            (Arc::clone(table), *position, *last, note.clone())
        }) else {
            return Ok(false);
        };
        let run = self.write_run(table.range(0, Word::MAX).map(Ok))?;
        self.record_rows(|manifest| {
            manifest.runs.extend(run.as_ref().map(|run| run.number));
            manifest.covered = Some(position);
            manifest.last = last;
            manifest.note = note;
        })?;
        let mut state = self.state_mut();
        state.full.pop_front();
        let mut runs = state.levels.runs.clone();
        runs.extend(run);
        let mut tables = state.levels.tables.clone();
        tables.retain(|known| !Arc::ptr_eq(known, &table));
        state.levels = Arc::new(Levels { tables, runs });
        Ok(true)
    }

    /// Writes where the rows of changed segments are, and the manifest with it.
    fn record_rows(
        &self,
        change: impl FnOnce(&mut super::manifest::Manifest),
    ) -> Result<(), Error> {
        let mut changed = Vec::new();
        for segment in &mut self.state_mut().segments {
            if std::mem::take(&mut segment.changed) {
                changed.push((segment.number, segment.places.clone()));
            }
        }
        let mut written = Vec::new();
        let result = (|| {
            for (segment, places) in &changed {
                written.push((*segment, self.write_rows(*segment, places)?));
            }
            let mut old = Vec::new();
            self.amend(|manifest| {
                for entry in &mut manifest.segments {
                    let file = written.iter().find(|(segment, _)| *segment == entry.file);
                    if let Some((_, file)) = file {
                        old.extend(entry.rows.replace(*file));
                    }
                }
                change(manifest);
            })?;
            old.iter()
                .for_each(|number| self.remove(FileKind::Rows, *number));
            Ok(())
        })();
        if result.is_err() {
            for segment in &mut self.state_mut().segments {
                let known = |(number, _): &(u64, _)| *number == segment.number;
                segment.changed |= changed.iter().any(known);
            }
        }
        result
    }

    fn merge_due(&self) -> Result<(), Error> {
        let _working = self.working();
        while !self.stopping.load(Ordering::Acquire) {
            let (mut runs, stale) = {
                let state = self.state();
                (state.levels.runs.clone(), state.stale)
            };
            runs.sort_by_key(|run| run.len());
            let keys: usize = runs.iter().map(|run| run.len()).sum();
            // A row has some eight keys.
            let all = stale > STALE.max(keys / 16);
            let count = if all { runs.len() } else { due(&runs) };
            if count == 0 {
                return Ok(());
            }
            self.merge(&runs[..count])?;
            if all {
                let mut state = self.state_mut();
                state.stale = state.stale.saturating_sub(stale);
            }
        }
        Ok(())
    }

    /// Merges all runs into one, without the keys of removed rows.
    pub(super) fn merge_all(&self) -> Result<(), Error> {
        let runs = self.state().levels.runs.clone();
        let stale = self.state().stale;
        self.merge(&runs)?;
        let mut state = self.state_mut();
        state.stale = state.stale.saturating_sub(stale);
        Ok(())
    }

    /// Merges runs into one, without the keys of removed rows.
    fn merge(&self, runs: &[Arc<Run>]) -> Result<(), Error> {
        let merged = self.write_run(Living {
            log: self,
            merged: Merged::of(runs)?,
            chunk: Vec::new(),
        })?;
        let is_old = |number: u64| runs.iter().any(|run| run.number == number);
        self.amend(|manifest| {
            manifest.runs.retain(|run| !is_old(*run));
            manifest.runs.extend(merged.as_ref().map(|run| run.number));
        })?;
        {
            let mut state = self.state_mut();
            let mut now = state.levels.runs.clone();
            now.retain(|run| !is_old(run.number));
            now.extend(merged);
            state.levels = Arc::new(Levels {
                tables: state.levels.tables.clone(),
                runs: now,
            });
        }
        runs.iter()
            .for_each(|run| self.remove(FileKind::Run, run.number));
        Ok(())
    }

    /// Writes keys into a new file, which is gone again when that fails; `None` when there are none.
    fn write_run(
        &self,
        keys: impl Iterator<Item = io::Result<Word>>,
    ) -> Result<Option<Arc<Run>>, Error> {
        let number = self.number();
        let run = Run::write(&*self.disk, &FileKind::Run.name(number), number, keys);
        if !matches!(run, Ok(Some(_))) {
            self.remove(FileKind::Run, number);
        }
        Ok(run?.map(Arc::new))
    }

    /// Writes places into a new file, which is gone again when that fails; gives its number.
    pub(super) fn write_rows(&self, segment: u64, places: &[u32]) -> Result<u64, Error> {
        let number = self.number();
        let written = rows::write(&*self.disk, number, segment, places);
        if written.is_err() {
            self.remove(FileKind::Rows, number);
        }
        written?;
        Ok(number)
    }

    /// Removes a file that the manifest does not name any more. One that stays is removed at the next start.
    pub(super) fn remove(&self, kind: FileKind, number: u64) {
        if let Err(error) = self.disk.remove(&kind.name(number))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an old file of the event store could not be removed"
            );
        }
    }

    /// Held by the one who changes what files there are, but for the log's end.
    pub(super) fn working(&self) -> std::sync::MutexGuard<'_, ()> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of the smallest runs are to be merged: as many as are not much smaller than the next.
fn due(by_size: &[Arc<Run>]) -> usize {
    let mut sum = 0;
    let mut count = 0;
    for (at, run) in by_size.iter().enumerate() {
        if at + 1 >= FAN && run.len() <= sum * 2 {
            count = at + 1;
        }
        sum += run.len();
    }
    count
}

/// Keys whose rows are there, and those that are not of rows.
struct Living<'a> {
    log: &'a Log,
    merged: Merged,
    /// Last first.
    chunk: Vec<Word>,
}

impl Iterator for Living<'_> {
    type Item = io::Result<Word>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.chunk.pop() {
                return Some(Ok(key));
            }
            if self.log.stopping.load(Ordering::Acquire) {
                return Some(Err(io::ErrorKind::Interrupted.into()));
            }
            let chunk: io::Result<Vec<Word>> = self.merged.by_ref().take(CHUNK).collect();
            self.chunk = match chunk {
                Ok(chunk) if chunk.is_empty() => return None,
                Ok(chunk) => chunk,
                Err(error) => return Some(Err(error)),
            };
            let state = self.log.state();
            self.chunk.retain(|word| {
                let key = keys::bytes(*word);
                !index::is_rows(&key) || state.is_there(index::split(&key).1)
            });
            self.chunk.reverse();
        }
    }
}
