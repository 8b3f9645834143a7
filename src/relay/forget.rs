//! What goes for good.

use nostr::{Event, EventId};

use super::{Error, Relay, ingest::Origin};
use crate::store::EventStore;

impl Relay {
    /// Removes events for good ([`EventStore::purge`]); gives how many there were.
    ///
    /// # Errors
    /// When the store fails; then nothing is removed.
    pub async fn purge(&self, ids: Vec<EventId>, note: Vec<u8>) -> Result<usize, Error> {
        let purge = move |store: &dyn EventStore| Ok(store.purge(&ids, &note)?);
        self.shared.blocking(purge).await
    }

    /// What the last purge noted, as long as it is not [`Self::purged`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn purging(&self) -> Result<Option<Vec<u8>>, Error> {
        self.shared.blocking(|store| Ok(store.purging()?)).await
    }

    /// Nothing is left to do of the last purge.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn purged(&self) -> Result<(), Error> {
        self.shared.blocking(|store| Ok(store.purged()?)).await
    }

    /// Takes what was removed off the disk ([`EventStore::erase`]); says whether all of it is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn erase(&self) -> Result<bool, Error> {
        let erased = self.shared.blocking(|store| Ok(store.erase()?)).await?;
        // Last, so that nothing of what goes is taken in again.
        if let Some(search) = self.shared.search.get() {
            search.erase().await?;
        }
        Ok(erased)
    }

    /// Whether an event asks this relay to forget its author (NIP-62).
    #[must_use]
    pub fn is_asked_to_forget(&self, event: &Event) -> bool {
        let ingest = &self.shared.ingest;
        ingest.is_asked_to_forget(event, Origin::Internal)
    }
}
