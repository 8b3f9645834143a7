//! What leaves for other relays: one row an event and relay, and how far the log was looked through for each relay.
//!
//! A row is made once and never removed: a relay that has a row of an event in any settled state is not sent it again.
//! Rows of a relay lie in the order of the log, so that the oldest leaves first. A change of rows, of the list of those
//! that wait and of the cursor is one batch of one tree: it happens as a whole or not at all.

use std::collections::BTreeMap;

use nostr::{EventId, PublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{State, StateError};

mod back;
mod before;
mod change;
mod named;

pub use self::back::Marked;
pub use self::named::{NamedRelay, Naming, Unplaced};

/// The version of what is stored here.
const VERSION: u32 = 1;
/// Rows of what is not on the log, such as requests to delete, come after everything that is.
const OWN: u64 = 1 << 62;

/// A relay, by the hash of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId([u8; 8]);

impl RelayId {
    /// The relay with an address in its one spelling.
    #[must_use]
    pub fn of(url: &str) -> Self {
        let digest = Sha256::digest(url);
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self(id)
    }
}

/// How far the log was looked through for a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Version of this format.
    pub v: u32,
    /// The relay's address.
    pub url: String,
    /// The last sequence number that was looked at.
    pub seq: u64,
    /// The hash of the settings by which it was looked at: under others, all of it is looked at again.
    pub settings: String,
}

impl Cursor {
    /// A cursor.
    #[must_use]
    pub fn new(url: &str, seq: u64, settings: &str) -> Self {
        Self {
            v: VERSION,
            url: url.to_owned(),
            seq,
            settings: settings.to_owned(),
        }
    }
}

/// What became of an event that was to leave for a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum Sending {
    /// It is to leave.
    Waiting,
    /// The relay took it.
    Sent,
    /// The relay had it already.
    There,
    /// The relay does not want it; nobody asks again.
    Refused {
        /// The relay's words.
        words: String,
    },
    /// The relay failed at it again and again.
    Failed {
        /// What was said last.
        words: String,
    },
    /// It stays here: the last look found something.
    Held {
        /// What.
        why: String,
    },
}

/// One event on its way to one relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Version of this format.
    pub v: u32,
    /// The event.
    pub id: EventId,
    /// Who signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<PublicKey>,
    /// Its kind.
    pub kind: u16,
    /// Its time.
    pub created_at: u64,
    /// What became of it.
    pub state: Sending,
    /// How often the relay failed at it.
    #[serde(default)]
    pub tries: u32,
    /// How often the connection ended while its answer was awaited.
    #[serde(default)]
    pub cuts: u32,
    /// The owner asked for this one, whatever the policy says of its kind.
    #[serde(default)]
    pub asked: bool,
    /// Its JSON, when it is not on the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<String>,
    /// When its state was last changed, in Unix seconds.
    #[serde(default)]
    pub at: u64,
}

impl Entry {
    /// An event of the log that is to leave.
    #[must_use]
    pub fn waiting(event: &nostr::Event, asked: bool, at: u64) -> Self {
        Self {
            v: VERSION,
            id: event.id,
            author: Some(event.pubkey),
            kind: event.kind.as_u16(),
            created_at: event.created_at.as_secs(),
            state: Sending::Waiting,
            tries: 0,
            cuts: 0,
            asked,
            own: None,
            at,
        }
    }

    /// Whether it is still to leave.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.state == Sending::Waiting
    }

    /// Whether the relay has it, as far as is known.
    #[must_use]
    pub fn is_there(&self) -> bool {
        matches!(self.state, Sending::Sent | Sending::There)
    }

    /// Whether it is kept here for this reason.
    #[must_use]
    pub fn is_held_for(&self, reason: &str) -> bool {
        matches!(&self.state, Sending::Held { why } if why == reason)
    }

    /// The same row, kept here.
    #[must_use]
    pub fn held(self, why: String, at: u64) -> Self {
        let state = Sending::Held { why };
        Self { state, at, ..self }
    }
}

/// What is remembered of a relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Version of this format.
    pub v: u32,
    /// Kinds that it does not take, with its words.
    pub refused_kinds: BTreeMap<u16, String>,
    /// How many of a kind it refused in a row, with none taken.
    #[serde(default)]
    pub refusals: BTreeMap<u16, u32>,
    /// When it was last spoken to, in Unix seconds.
    #[serde(default)]
    pub spoken_at: u64,
    /// The time of the newest event that came from it, in Unix seconds.
    #[serde(default)]
    pub heard_until: u64,
}

/// How many rows of a relay are in which state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// To leave.
    pub waiting: u64,
    /// Taken by the relay.
    pub sent: u64,
    /// Had by the relay before.
    pub there: u64,
    /// Not wanted by the relay.
    pub refused: u64,
    /// Failed again and again.
    pub failed: u64,
    /// Kept here.
    pub held: u64,
}

impl Tally {
    fn count(&mut self, state: &Sending) {
        *match state {
            Sending::Waiting => &mut self.waiting,
            Sending::Sent => &mut self.sent,
            Sending::There => &mut self.there,
            Sending::Refused { .. } => &mut self.refused,
            Sending::Failed { .. } => &mut self.failed,
            Sending::Held { .. } => &mut self.held,
        } += 1;
    }
}

fn key(class: u8, relay: RelayId) -> Vec<u8> {
    let mut key = vec![class];
    key.extend(relay.0);
    key
}

fn row_key(class: u8, relay: RelayId, seq: u64) -> Vec<u8> {
    let mut key = key(class, relay);
    key.extend(seq.to_be_bytes());
    key
}

fn seq_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(9..17)?.try_into().ok()?))
}

impl State {
    /// How far the log was looked through for a relay.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn sync_cursor(&self, relay: RelayId) -> Result<Option<Cursor>, StateError> {
        let value = self.trees().sync.get(key(b'c', relay))?;
        Ok(value
            .map(|value| serde_json::from_slice(&value))
            .transpose()?)
    }

    /// One row.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn sync_entry(&self, relay: RelayId, seq: u64) -> Result<Option<Entry>, StateError> {
        change::row(&self.trees().sync, relay, seq)
    }

    /// At most `max` rows that wait, after a place, the oldest first.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn sync_waiting(
        &self,
        relay: RelayId,
        after: Option<u64>,
        max: usize,
    ) -> Result<Vec<(u64, Entry)>, StateError> {
        let held = self.trees();
        let from = after.map_or(0, |seq| seq.saturating_add(1));
        let range = row_key(b'w', relay, from)..=row_key(b'w', relay, u64::MAX);
        let mut found = Vec::new();
        for key in held.sync.range(range).keys() {
            if found.len() == max {
                break;
            }
            let Some(seq) = seq_of(&key?) else { continue };
            if let Some(value) = held.sync.get(row_key(b'e', relay, seq))? {
                found.push((seq, serde_json::from_slice(&value)?));
            }
        }
        Ok(found)
    }

    /// The last row that waits.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn sync_last_waiting(&self, relay: RelayId) -> Result<Option<u64>, StateError> {
        let mut waiting = self.trees().sync.scan_prefix(key(b'w', relay)).keys();
        let last = waiting.next_back().transpose()?;
        Ok(last.and_then(|key| seq_of(&key)))
    }

    /// Goes through all rows of a relay, the oldest first.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn sync_each(
        &self,
        relay: RelayId,
        mut each: impl FnMut(u64, Entry),
    ) -> Result<(), StateError> {
        let held = self.trees();
        for row in held.sync.scan_prefix(key(b'e', relay)) {
            let (key, value) = row?;
            if let Some(seq) = seq_of(&key) {
                each(seq, serde_json::from_slice(&value)?);
            }
        }
        Ok(())
    }

    /// How many rows of a relay are in which state.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn sync_tally(&self, relay: RelayId) -> Result<Tally, StateError> {
        let mut tally = Tally::default();
        self.sync_each(relay, |_, entry| tally.count(&entry.state))?;
        Ok(tally)
    }

    /// What is remembered of a relay.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn sync_remembered(&self, relay: RelayId) -> Result<Remembered, StateError> {
        let value = self.trees().sync.get(key(b'r', relay))?;
        Ok(value
            .map(|value| serde_json::from_slice(&value))
            .transpose()?
            .unwrap_or_default())
    }

    /// Remembers something of a relay.
    ///
    /// # Errors
    /// When sled cannot write it.
    pub fn sync_remember(&self, relay: RelayId, what: &Remembered) -> Result<(), StateError> {
        let held = self.trees();
        let what = Remembered {
            v: VERSION,
            ..what.clone()
        };
        held.sync
            .insert(key(b'r', relay), serde_json::to_vec(&what)?)?;
        held.db.flush()?;
        Ok(())
    }

    /// Marks an event as come from a relay; the first mark stays. Whether this is it.
    ///
    /// # Errors
    /// When sled cannot write it.
    pub fn sync_mark(&self, id: &EventId, url: &str) -> Result<bool, StateError> {
        let held = self.trees();
        let mut key = vec![b'o'];
        key.extend(id.as_bytes());
        if held.sync.contains_key(&key)? {
            return Ok(false);
        }
        held.sync.insert(key, url.as_bytes())?;
        held.db.flush()?;
        Ok(true)
    }

    /// Takes such a mark away: the event did not come in.
    ///
    /// # Errors
    /// When sled cannot write it.
    pub fn sync_unmark(&self, id: &EventId) -> Result<(), StateError> {
        let held = self.trees();
        let mut key = vec![b'o'];
        key.extend(id.as_bytes());
        held.sync.remove(key)?;
        held.db.flush()?;
        Ok(())
    }

    /// The relay that an event came from, if it came from one.
    ///
    /// # Errors
    /// When sled cannot read it.
    pub fn sync_came_from(&self, id: &EventId) -> Result<Option<String>, StateError> {
        let mut key = vec![b'o'];
        key.extend(id.as_bytes());
        let value = self.trees().sync.get(key)?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }
}

#[cfg(test)]
mod tests;
