//! Signed requests (NIP-98) that count: each once, and only if it was signed since this run began.
//!
//! What an earlier run was asked is remembered by nobody, so what was signed before this one could be a second use of it:
//! whoever has the port while treefort does not run hears what is signed for it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nostr::{Event, Timestamp};

use crate::nips::nip98;

/// A request can be this much older than another one that counts at the same moment.
const LONGEST: Duration = Duration::from_secs(2 * nip98::WINDOW);

/// See the module.
#[derive(Debug)]
pub struct Spent {
    began: u64,
    most: usize,
    taken: Mutex<HashMap<[u8; 64], Instant>>,
}

/// Why a signed request does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unspendable {
    /// It may have counted then.
    #[error("it was signed before this run began")]
    Before,
    /// It was used.
    #[error("it was used before")]
    Again,
    /// There are too many at once.
    #[error("there are too many at once")]
    Full,
}

impl Spent {
    /// Nothing is used yet; so many are remembered at a time.
    #[must_use]
    pub fn from_now(most: usize) -> Self {
        Self {
            began: Timestamp::now().as_secs(),
            most,
            taken: Mutex::default(),
        }
    }

    /// Uses a request up, of which the caller knows that it is for here and now ([`nip98::is_for`]).
    ///
    /// # Errors
    /// When it does not count.
    pub fn take(&self, event: &Event) -> Result<(), Unspendable> {
        self.take_at(event, Instant::now())
    }

    fn take_at(&self, event: &Event, now: Instant) -> Result<(), Unspendable> {
        if event.created_at.as_secs() < self.began {
            return Err(Unspendable::Before);
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // By the signature: who asks the same twice in a second signs the same event twice, and nobody else can.
        let signature = event.sig.serialize();
        if taken.contains_key(&signature) {
            return Err(Unspendable::Again);
        }
        if taken.len() >= self.most {
            // Not by the clock on the wall, which may be set back.
            taken.retain(|_, at| now.saturating_duration_since(*at) <= LONGEST);
        }
        if taken.len() >= self.most {
            return Err(Unspendable::Full);
        }
        taken.insert(signature, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;

    #[test]
    fn a_request_counts_once_and_only_in_the_run_in_which_it_was_signed() {
        let keys = Keys::generate();
        let draft = nip98::draft("http://127.0.0.1:4869/api/sync", "POST");
        let spent = Spent::from_now(2);
        let sign = |at: u64| draft.sign(&keys, at).unwrap();
        let began = Instant::now();
        let first = sign(spent.began);
        assert_eq!(spent.take_at(&first, began), Ok(()));
        assert_eq!(spent.take_at(&first, began), Err(Unspendable::Again));
        assert_eq!(
            spent.take_at(&sign(spent.began - 1), began),
            Err(Unspendable::Before)
        );
        // The same words, signed again.
        assert_eq!(spent.take_at(&sign(spent.began), began), Ok(()));
        let late = sign(spent.began + 1);
        assert_eq!(
            spent.take_at(&late, began + LONGEST),
            Err(Unspendable::Full)
        );
        let later = began + LONGEST + Duration::from_secs(1);
        assert_eq!(spent.take_at(&late, later), Ok(()));
    }
}
