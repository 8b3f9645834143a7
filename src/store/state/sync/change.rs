//! Rows are made and changed: by the connection that sends them, by who looks through the log, and by their owner, who
//! shares and takes back meanwhile. Each looks at a row and changes it with nobody between.

use super::{Cursor, Entry, OWN, RelayId, Sending, key, row_key, seq_of};
use crate::store::state::{State, StateError};

pub(super) fn put(
    batch: &mut sled::Batch,
    relay: RelayId,
    seq: u64,
    entry: &Entry,
) -> Result<(), serde_json::Error> {
    batch.insert(row_key(b'e', relay, seq), serde_json::to_vec(entry)?);
    let waits = row_key(b'w', relay, seq);
    if entry.waits() {
        batch.insert(waits, Vec::new());
    } else {
        batch.remove(waits);
    }
    Ok(())
}

/// A row as it is.
pub(super) fn row(
    tree: &sled::Tree,
    relay: RelayId,
    seq: u64,
) -> Result<Option<Entry>, StateError> {
    let value = tree.get(row_key(b'e', relay, seq))?;
    Ok(value
        .map(|value| serde_json::from_slice(&value))
        .transpose()?)
}

/// Whether a row may be made: there is none yet, or it was kept here.
pub(super) fn is_open(tree: &sled::Tree, relay: RelayId, seq: u64) -> Result<bool, StateError> {
    let known = row(tree, relay, seq)?;
    Ok(known.is_none_or(|known| matches!(known.state, Sending::Held { .. })))
}

/// What becomes of a row that a connection settled; nothing, when it stays as it is now.
fn became(entry: &Entry, now: Option<Entry>) -> Option<Entry> {
    let Some(mut now) = now else {
        return Some(entry.clone());
    };
    if now.id != entry.id {
        return None;
    }
    let asked = now.asked || entry.asked;
    if !entry.waits() {
        let renewed = now.waits() && now.asked && !entry.asked;
        return (entry.is_there() || !renewed).then(|| Entry {
            asked,
            ..entry.clone()
        });
    }
    now.waits().then(|| {
        (now.tries, now.cuts) = (entry.tries, entry.cuts);
        now
    })
}

impl State {
    /// Stores new rows and how far the log was looked through, as one change. Rows that there are stay as they are, but
    /// for those that were kept here: under other settings they may leave, and are looked at again before they do.
    ///
    /// # Errors
    /// When sled cannot write it; nothing is stored then.
    pub fn sync_take(
        &self,
        relay: RelayId,
        rows: &[(u64, Entry)],
        cursor: &Cursor,
    ) -> Result<(), StateError> {
        let alone = self.changing();
        let held = self.trees();
        let mut batch = sled::Batch::default();
        for (seq, entry) in rows {
            if is_open(&held.sync, relay, *seq)? {
                put(&mut batch, relay, *seq, entry)?;
            }
        }
        batch.insert(key(b'c', relay), serde_json::to_vec(cursor)?);
        held.sync.apply_batch(batch)?;
        drop(alone);
        // A cursor that is lost in a crash is only looked for again; a row is not, so that it is on the disk first.
        if !rows.is_empty() {
            held.db.flush()?;
        }
        Ok(())
    }

    /// Changes rows, in one change: `to` gets what is wanted of each and the row as it is at this moment, and gives what it
    /// becomes; nothing leaves it.
    ///
    /// # Errors
    /// When sled cannot read or write; nothing is stored then.
    pub fn sync_change<T>(
        &self,
        relay: RelayId,
        rows: impl IntoIterator<Item = (u64, T)>,
        mut to: impl FnMut(T, Option<Entry>) -> Option<Entry>,
    ) -> Result<(), StateError> {
        let alone = self.changing();
        let held = self.trees();
        let mut batch = sled::Batch::default();
        let mut any = false;
        for (seq, wanted) in rows {
            if let Some(entry) = to(wanted, row(&held.sync, relay, seq)?) {
                put(&mut batch, relay, seq, &entry)?;
                any = true;
            }
        }
        if !any {
            return Ok(());
        }
        held.sync.apply_batch(batch)?;
        drop(alone);
        held.db.flush()?;
        Ok(())
    }

    /// Stores what became of rows on a connection, in one change, while their owner may have taken them back or asked for
    /// them: he has the last word, but for what the relay has. Whether all are as they were given here.
    ///
    /// # Errors
    /// When sled cannot read or write; nothing is stored then.
    pub fn sync_settle(&self, relay: RelayId, rows: &[(u64, Entry)]) -> Result<bool, StateError> {
        let mut all = true;
        let rows = rows.iter().map(|(seq, entry)| (*seq, entry));
        self.sync_change(relay, rows, |entry, now| {
            let becomes = became(entry, now);
            all &= becomes.is_some();
            becomes
        })?;
        Ok(all)
    }

    /// Rows as they are to be, whatever they were.
    #[cfg(test)]
    pub(crate) fn sync_put(&self, relay: RelayId, rows: &[(u64, Entry)]) -> Result<(), StateError> {
        self.sync_change(relay, rows.iter().cloned(), |entry, _| Some(entry))
    }

    /// Adds a row of an event that is not on the log. The same event gets no second one.
    ///
    /// # Errors
    /// When sled cannot write it.
    pub fn sync_add_own(&self, relay: RelayId, entry: &Entry) -> Result<(), StateError> {
        let alone = self.changing();
        let held = self.trees();
        let mut next = OWN;
        for row in held
            .sync
            .range(row_key(b'e', relay, OWN)..=row_key(b'e', relay, u64::MAX))
        {
            let (key, value) = row?;
            let known: Entry = serde_json::from_slice(&value)?;
            if known.id == entry.id {
                return Ok(());
            }
            next = seq_of(&key).unwrap_or(next).saturating_add(1);
        }
        let mut batch = sled::Batch::default();
        put(&mut batch, relay, next, entry)?;
        held.sync.apply_batch(batch)?;
        drop(alone);
        held.db.flush()?;
        Ok(())
    }
}
