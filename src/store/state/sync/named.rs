//! Relays that others named: who named each, and whether it holds one of the few places.
//!
//! One that something left for is never forgotten, so that it can be asked back from there.

use std::collections::BTreeMap;

use nostr::{EventId, PublicKey};
use serde::{Deserialize, Serialize};

use super::{
    Cursor, Entry, RelayId, VERSION,
    change::{is_open, put},
    key, row_key, seq_of,
};
use crate::store::state::{State, StateError};

/// Of those who named a relay, so many are remembered, the newest.
const REMEMBERED: usize = 8;

/// A relay that others named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRelay {
    /// Version of this format.
    pub v: u32,
    /// Its address, in its one spelling.
    pub url: String,
    /// The key for whose sake it has its place.
    pub holder: PublicKey,
    /// Whether it has a place: only then is anything new lined up for it.
    pub open: bool,
    /// Who named it, the newest last.
    pub by: Vec<Naming>,
}

/// Somebody's word that answers go to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Naming {
    /// The job, or the list of relays (NIP-65).
    pub event: EventId,
    /// Whose it is.
    pub key: PublicKey,
    /// From when on it counts, in Unix seconds: the time of what is answered.
    pub at: u64,
}

/// What is said to somebody and found no place at a relay that was named for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unplaced {
    /// Version of this format.
    pub v: u32,
    /// The event.
    pub id: EventId,
    /// The key for whose sake it wants a place.
    pub key: PublicKey,
}

impl Unplaced {
    /// Wants a place.
    #[must_use]
    pub fn new(id: EventId, key: PublicKey) -> Self {
        Self {
            v: VERSION,
            id,
            key,
        }
    }
}

impl NamedRelay {
    /// A relay with a place, for the sake of who names it.
    #[must_use]
    pub fn new(url: &str, naming: Naming) -> Self {
        Self {
            v: VERSION,
            url: url.to_owned(),
            holder: naming.key,
            open: true,
            by: vec![naming],
        }
    }

    /// Somebody names it again; says whether that is new.
    pub fn name(&mut self, naming: Naming) -> bool {
        if self.by.iter().any(|known| known.event == naming.event) {
            return false;
        }
        self.by.push(naming);
        let over = self.by.len().saturating_sub(REMEMBERED);
        self.by.drain(..over);
        true
    }

    /// When it was last named.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.by.iter().map(|naming| naming.at).max().unwrap_or(0)
    }
}

impl RelayId {
    /// The place of the cursor of all relays that others name; no address is empty.
    #[must_use]
    pub fn of_others() -> Self {
        Self::of("")
    }
}

impl State {
    /// Every relay that others named.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn sync_named(&self) -> Result<Vec<NamedRelay>, StateError> {
        let held = self.trees();
        let mut found = Vec::new();
        for row in held.sync.scan_prefix(b"n") {
            let (_, value) = row?;
            found.push(serde_json::from_slice(&value)?);
        }
        Ok(found)
    }

    /// What found no place, by its place in the log, the oldest first.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn sync_unplaced(&self) -> Result<BTreeMap<u64, Unplaced>, StateError> {
        let held = self.trees();
        let mut found = BTreeMap::new();
        for row in held.sync.scan_prefix(key(b'p', RelayId::of_others())) {
            let (key, value) = row?;
            if let Some(seq) = seq_of(&key) {
                found.insert(seq, serde_json::from_slice(&value)?);
            }
        }
        Ok(found)
    }

    /// Forgets that something found no place; says whether that was so.
    ///
    /// # Errors
    /// When sled cannot write it.
    pub fn sync_forget_unplaced(&self, seq: u64) -> Result<bool, StateError> {
        let held = self.trees();
        let known = held
            .sync
            .remove(row_key(b'p', RelayId::of_others(), seq))?
            .is_some();
        if known {
            held.db.flush()?;
        }
        Ok(known)
    }

    /// Stores relays that others named, new rows for any of them, what found no place or wants none any more, and how far
    /// the log was looked through, as one change. Rows that there are stay as they are, but for those that were kept here.
    ///
    /// # Errors
    /// When sled cannot write it; nothing is stored then.
    pub fn sync_take_named(
        &self,
        relays: &[NamedRelay],
        rows: &[(RelayId, u64, Entry)],
        unplaced: &[(u64, Option<Unplaced>)],
        cursor: &Cursor,
    ) -> Result<(), StateError> {
        let alone = self.changing();
        let held = self.trees();
        let mut batch = sled::Batch::default();
        for relay in relays {
            let at = key(b'n', RelayId::of(&relay.url));
            batch.insert(at, serde_json::to_vec(relay)?);
        }
        for (relay, seq, entry) in rows {
            if is_open(&held.sync, *relay, *seq)? {
                put(&mut batch, *relay, *seq, entry)?;
            }
        }
        for (seq, wants) in unplaced {
            let at = row_key(b'p', RelayId::of_others(), *seq);
            match wants {
                Some(wants) => batch.insert(at, serde_json::to_vec(wants)?),
                None => batch.remove(at),
            }
        }
        batch.insert(key(b'c', RelayId::of_others()), serde_json::to_vec(cursor)?);
        held.sync.apply_batch(batch)?;
        drop(alone);
        if !rows.is_empty() || !relays.is_empty() || !unplaced.is_empty() {
            held.db.flush()?;
        }
        Ok(())
    }
}
