//! Following the log by a cursor.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Error, EventStore, Stored};

/// The most events that [`Feed::next`] returns at once.
const BATCH: usize = 256;

/// A consumer's place in the log. A notification only wakes it; what it returns was read from the store,
/// so a slow or restarted consumer misses nothing.
pub struct Feed {
    store: Arc<dyn EventStore>,
    changed: watch::Receiver<u64>,
    cursor: u64,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl Feed {
    /// Follows a store from just after a sequence number; 0 is the beginning.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, after_seq: u64) -> Self {
        Self {
            changed: store.watch(),
            store,
            cursor: after_seq,
        }
    }

    /// The sequence number of the last event that was returned.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The next events, at most 256, in order; waits until there is one. Cancelling this loses nothing.
    ///
    /// # Errors
    /// When the store fails or the program stops.
    pub async fn next(&mut self) -> Result<Vec<Stored>, Error> {
        loop {
            match self.next_now().await? {
                Some(batch) => return Ok(batch),
                None => self.changed.changed().await.map_err(|_| Error::Stopped)?,
            }
        }
    }

    /// As [`Self::next`], without waiting: nothing when there is none.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_now(&mut self) -> Result<Option<Vec<Stored>>, Error> {
        let seen = *self.changed.borrow_and_update();
        if seen <= self.cursor {
            return Ok(None);
        }
        let (store, cursor) = (Arc::clone(&self.store), self.cursor);
        let batch = tokio::task::spawn_blocking(move || store.read_after(cursor, BATCH))
            .await
            .map_err(|_| Error::Stopped)??;
        let Some(last) = batch.last() else {
            // Everything up to `seen` was deleted since.
            self.cursor = seen;
            return Ok(None);
        };
        self.cursor = last.seq;
        Ok(Some(batch))
    }
}
