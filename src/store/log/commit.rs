//! What is written: batches, removals, purges, and how readers come to see them.

use std::collections::HashSet;

use nostr::{EventId, PublicKey};

use super::{
    Log,
    frame::{AddressHash, Entry, Payload},
    keys::{Levels, Word, word},
    state::Full,
    table::Table,
    tail::Writer,
};
use crate::store::{
    Error, Outcome, Record,
    append::{self, Changes, time},
    index::{self, Key, Keyer},
    vanish,
    view::{Dead, View as _},
};
use std::sync::Arc;

/// Complete tables that may wait to be written before a writer has to wait for them.
const WAITING: usize = 4;

/// The key of an entry that says what is not taken any more.
pub(super) fn dead_key(keyer: Keyer, entry: &Entry<'_>) -> Option<Key> {
    let fits = |until: u64| u32::try_from(until).unwrap_or(u32::MAX);
    match entry {
        Entry::DeadId { dead, id, author } => {
            Some(keyer.dead_id(id, author, *dead == Dead::Purged))
        }
        Entry::DeadAddress { address, until } => {
            let AddressHash {
                kind,
                author,
                identifier,
            } = address;
            Some(keyer.dead_address(*kind, author, identifier, fits(*until)))
        }
        Entry::Vanished { author, until } => Some(keyer.vanished(author, fits(*until))),
        Entry::Event { .. } | Entry::Removed { .. } | Entry::Note(_) => None,
    }
}

/// Collects what a commit writes.
pub(super) struct Commit {
    payload: Payload,
    keys: Vec<Word>,
    removed: Vec<u64>,
    /// What is noted from now on, if that changes.
    note: Option<Option<Vec<u8>>>,
}

impl Commit {
    pub(super) fn new() -> Self {
        Self {
            payload: Payload::default(),
            keys: Vec::new(),
            removed: Vec::new(),
            note: None,
        }
    }

    fn remove(&mut self, seq: u64) {
        self.payload.push(Entry::Removed { seq });
        self.removed.push(seq);
    }

    pub(super) fn note(&mut self, note: Option<&[u8]>) {
        self.payload.push(Entry::Note(note));
        self.note = Some(note.map(<[u8]>::to_vec));
    }

    pub(super) fn dead(&mut self, keyer: Keyer, entry: Entry<'_>) {
        self.keys
            .extend(dead_key(keyer, &entry).map(|key| word(&key)));
        self.payload.push(entry);
    }
}

impl Log {
    pub(super) fn append(&self, batch: &[Record]) -> Result<Vec<Outcome>, Error> {
        self.make_room()?;
        let mut writer = self.writer();
        let snapshot = self.snapshot();
        let changes = append::decide(&snapshot, snapshot.last, batch)?;
        if changes.last == snapshot.last {
            return Ok(changes.outcomes);
        }
        drop(snapshot);
        let Changes {
            outcomes,
            last,
            added,
            removed,
            dead_ids,
            dead_addresses,
        } = changes;
        let mut commit = Commit::new();
        removed.iter().for_each(|seq| commit.remove(*seq));
        for (id, author) in dead_ids {
            let dead = Dead::Deleted;
            commit.dead(self.keyer, Entry::DeadId { dead, id, author });
        }
        for (address, until) in &dead_addresses {
            let address = AddressHash::new(address);
            let until = *until;
            commit.dead(self.keyer, Entry::DeadAddress { address, until });
        }
        self.commit(&mut writer, commit, last, &added)?;
        Ok(outcomes)
    }

    pub(super) fn expire(&self, now: u64, max: usize) -> Result<usize, Error> {
        self.make_room()?;
        let mut writer = self.writer();
        let snapshot = self.snapshot();
        let mut commit = Commit::new();
        let until = index::expiration_key(now, index::MAX_SEQ);
        for key in snapshot.keys(index::expiration_key(0, 0), until)? {
            let (_, seq) = index::split(&key?);
            if commit.removed.len() == max {
                break;
            }
            if self.state().is_there(seq) {
                commit.remove(seq);
            }
        }
        let (count, last) = (commit.removed.len(), snapshot.last);
        drop(snapshot);
        self.commit(&mut writer, commit, last, &[])?;
        Ok(count)
    }

    pub(super) fn purge(&self, ids: &[EventId], note: &[u8]) -> Result<usize, Error> {
        self.make_room()?;
        let mut writer = self.writer();
        let snapshot = self.snapshot();
        let mut commit = Commit::new();
        let mut seen = HashSet::new();
        for id in ids {
            if let Some(stored) = snapshot.find(id)?
                && seen.insert(stored.seq)
            {
                commit.remove(stored.seq);
                let (dead, id, author) = (Dead::Purged, *id, stored.event.pubkey);
                commit.dead(self.keyer, Entry::DeadId { dead, id, author });
            }
        }
        if !note.is_empty() || writer.note.is_none() {
            commit.note(Some(note));
        }
        let last = snapshot.last;
        drop(snapshot);
        self.commit(&mut writer, commit, last, &[])?;
        Ok(seen.len())
    }

    pub(super) fn purged(&self) -> Result<(), Error> {
        let mut writer = self.writer();
        let mut commit = Commit::new();
        commit.note(None);
        let last = self.state().last;
        self.commit(&mut writer, commit, last, &[])
    }

    pub(super) fn vanish(&self, author: &PublicKey, until: u64) -> Result<usize, Error> {
        self.make_room()?;
        let mut writer = self.writer();
        let snapshot = self.snapshot();
        let until = until.max(snapshot.forgotten_until(author)?.unwrap_or(0));
        let mut commit = Commit::new();
        for seq in vanish::rows(&snapshot, author, until)? {
            commit.remove(seq);
        }
        let (author, count, last) = (*author, commit.removed.len(), snapshot.last);
        drop(snapshot);
        commit.dead(self.keyer, Entry::Vanished { author, until });
        self.commit(&mut writer, commit, last, &[])?;
        Ok(count)
    }

    /// Writes one frame, and shows it to readers when it is durable.
    pub(super) fn commit(
        &self,
        writer: &mut Writer,
        mut commit: Commit,
        last: u64,
        added: &[(u64, &Record)],
    ) -> Result<(), Error> {
        let mut places = Vec::with_capacity(added.len());
        for (seq, record) in added {
            let json = &record.json;
            places.push(commit.payload.push(Entry::Event { seq: *seq, json }));
            let keys = self.keyer.keys(&record.event, time(&record.event), *seq);
            commit.keys.extend(keys.iter().map(word));
        }
        if commit.payload.is_empty() && added.is_empty() && last == self.state().last {
            return Ok(());
        }
        let first = self.state().last + 1;
        let at = self.write(writer, &commit.payload, last, first)?;
        // What has a higher sequence number than `State::last` is not seen yet.
        let levels = Arc::clone(&self.state().levels);
        if let Some(table) = levels.tables.first() {
            table.add(commit.keys);
        }
        let full = levels.tables.first().map_or(0, |table| table.len()) >= self.options.table;
        {
            let mut state = self.state_mut();
            for ((seq, record), place) in added.iter().zip(places) {
                let place = u32::try_from(at + place as u64).map_err(|_| Error::TooMuch)?;
                if let Some(segment) = state.segments.last_mut() {
                    segment.put(*seq, place);
                }
                let json = record.json.clone();
                state.recent.add(*seq, json, self.options.recent);
            }
            for seq in commit.removed {
                state.remove(seq, &self.readers);
            }
            state.commit += 1;
            state.last = last;
            state.tidy(&self.readers);
        }
        if let Some(note) = commit.note {
            writer.note = note;
        }
        if full {
            self.begin_table(writer);
        }
        self.committed(last);
        Ok(())
    }

    /// Has the keys so far become a run, and begins a new table.
    pub(super) fn begin_table(&self, writer: &Writer) {
        let Some(position) = writer.position() else {
            return;
        };
        let mut state = self.state_mut();
        let Some(table) = state.levels.tables.first().cloned() else {
            return;
        };
        let last = state.last;
        state.full.push_back(Full {
            table,
            position,
            last,
            note: writer.note.clone(),
        });
        let mut tables = vec![Arc::new(Table::default())];
        tables.extend(state.levels.tables.iter().cloned());
        state.levels = Arc::new(Levels {
            tables,
            runs: state.levels.runs.clone(),
        });
        drop(state);
        self.wake();
    }

    /// Waits for complete tables to be written, when many wait.
    pub(super) fn make_room(&self) -> Result<(), Error> {
        if self.state().full.len() >= WAITING {
            self.flush()?;
        }
        Ok(())
    }
}
