//! What its owner took back: it leaves for nobody until it is shared again.

use nostr::{EventId, PublicKey};

use super::Entry;
use crate::store::state::{State, StateError, sync::RelayId};

const BACK: &[u8] = b"back";
const SHARED: &[u8] = b"shared";

/// An event, or a session, whose mark holds for all of its events that have none of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// One event.
    Event(EventId),
    /// All of a session.
    Session(PublicKey),
}

impl Marked {
    fn key(self) -> Vec<u8> {
        let mut key = vec![b'b'];
        match self {
            Self::Event(id) => key.extend(id.as_bytes()),
            Self::Session(session) => key.extend(session.as_bytes()),
        }
        key
    }
}

impl State {
    /// Marks things as taken back, or as shared again, in one change.
    ///
    /// # Errors
    /// When sled cannot write it; nothing is stored then.
    pub fn sync_set_back(&self, what: &[Marked], back: bool) -> Result<(), StateError> {
        let held = self.trees();
        let mut batch = sled::Batch::default();
        for one in what {
            batch.insert(one.key(), if back { BACK } else { SHARED });
        }
        held.sync.apply_batch(batch)?;
        held.db.flush()?;
        Ok(())
    }

    /// Whether an event was taken back, by itself or with its session.
    ///
    /// # Errors
    /// When sled cannot read it.
    pub fn sync_is_back(
        &self,
        event: EventId,
        session: Option<PublicKey>,
    ) -> Result<bool, StateError> {
        let held = self.trees();
        let marks = [Marked::Event(event)]
            .into_iter()
            .chain(session.map(Marked::Session));
        for mark in marks {
            if let Some(value) = held.sync.get(mark.key())? {
                return Ok(value == BACK);
            }
        }
        Ok(false)
    }

    /// The requests to delete that have not left for a relay.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn sync_own_waiting(&self, relay: RelayId) -> Result<Vec<(u64, Entry)>, StateError> {
        self.sync_waiting(relay, Some(super::OWN - 1), usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_of_an_event_counts_before_that_of_its_session() {
        let home = tempfile::tempdir().unwrap();
        let key = nostr::Keys::generate().public_key();
        let id = |n: u8| EventId::from_byte_array([n; 32]);
        let marks = |state: &State| {
            [
                state.sync_is_back(id(1), None).unwrap(),
                state.sync_is_back(id(1), Some(key)).unwrap(),
                state.sync_is_back(id(2), Some(key)).unwrap(),
            ]
        };
        {
            let state = State::open(home.path()).unwrap();
            assert_eq!(marks(&state), [false; 3]);
            state.sync_set_back(&[Marked::Session(key)], true).unwrap();
            assert_eq!(marks(&state), [false, true, true]);
            state.sync_set_back(&[Marked::Event(id(1))], false).unwrap();
            assert_eq!(marks(&state), [false, false, true]);
            state.sync_set_back(&[Marked::Event(id(1))], true).unwrap();
        }
        let state = State::open(home.path()).unwrap();
        assert_eq!(marks(&state), [true; 3]);
        let both = [Marked::Event(id(1)), Marked::Session(key)];
        state.sync_set_back(&both, false).unwrap();
        assert_eq!(marks(&state), [false; 3]);
    }
}
