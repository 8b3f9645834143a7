//! What left before, whatever the settings say now: for who looks back, and for who deletes what others have.

use std::collections::{BTreeMap, BTreeSet};

use nostr::EventId;

use super::{Cursor, Entry};
use crate::store::state::{State, StateError};

impl State {
    /// The addresses of all relays that something was lined up for by the owner's settings.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn sync_ever(&self) -> Result<Vec<String>, StateError> {
        let held = self.trees();
        let mut found = Vec::new();
        for row in held.sync.scan_prefix(b"c") {
            let (_, value) = row?;
            let cursor: Cursor = serde_json::from_slice(&value)?;
            // The one of all relays that others named has no address.
            if !cursor.url.is_empty() {
                found.push(cursor.url);
            }
        }
        Ok(found)
    }

    /// How many of these events other relays have or may get at any moment, as far as is known, and how many relays that
    /// are.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn sync_with_others<T>(
        &self,
        of: &BTreeMap<EventId, T>,
    ) -> Result<(usize, usize), StateError> {
        let held = self.trees();
        let (mut events, mut relays) = (BTreeSet::new(), BTreeSet::new());
        for row in held.sync.scan_prefix(b"e") {
            let (key, value) = row?;
            let entry: Entry = serde_json::from_slice(&value)?;
            // One that waits may be on its way at this moment.
            if (entry.is_there() || entry.waits()) && of.contains_key(&entry.id) {
                events.insert(entry.id);
                relays.insert(key[1..9].to_vec());
            }
        }
        Ok((events.len(), relays.len()))
    }
}
