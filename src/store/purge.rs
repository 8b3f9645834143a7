//! The owner's purge: events go whatever their kind, with all of their index entries, in one commit.
//!
//! What stays is a tombstone of the id and its author, as a deletion (NIP-09) leaves one, marked so that it also
//! holds for kinds that nobody can delete, and a note of who asked, for a start after a crash.

use fjall::PersistMode;
use nostr::EventId;

use super::{
    Error,
    append::{dead_id_key, remove},
    events::FjallStore,
};

/// The value of a purged event's tombstone; that of a deleted one is empty.
const PURGED: &[u8] = b"p";
/// Where the note is.
const NOTE: &str = "purging";

pub(super) fn purge(store: &FjallStore, ids: &[EventId], note: &[u8]) -> Result<usize, Error> {
    let snapshot = store.db.snapshot();
    let mut batch = store.db.batch().durability(Some(PersistMode::SyncData));
    let mut seen = std::collections::HashSet::new();
    for id in ids {
        if let Some(stored) = store.find(&snapshot, id)?
            && seen.insert(stored.seq)
        {
            remove(store, &mut batch, stored.seq, &stored.event);
            batch.insert(&store.meta, dead_id_key(id, &stored.event.pubkey), PURGED);
        }
    }
    if !note.is_empty() || noted(store)?.is_none() {
        batch.insert(&store.meta, NOTE, note);
    }
    batch.commit()?;
    Ok(seen.len())
}

pub(super) fn noted(store: &FjallStore) -> Result<Option<Vec<u8>>, Error> {
    Ok(store.meta.get(NOTE)?.map(|note| note.to_vec()))
}

pub(super) fn done(store: &FjallStore) -> Result<(), Error> {
    let mut batch = store.db.batch().durability(Some(PersistMode::SyncData));
    batch.remove(&store.meta, NOTE);
    Ok(batch.commit()?)
}
