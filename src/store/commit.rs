//! What fjall commits: the changes of a batch, and what expired.

use fjall::{PersistMode, Readable};
use nostr::{
    Event, EventId, PublicKey,
    hashes::{Hash as _, sha256},
};

use super::{
    Error, Outcome, Record,
    append::{self, time},
    events::{FjallStore, META_SEQ},
    index,
    view::{Address, View as _, parse},
};

pub(super) fn append(store: &FjallStore, batch: &[Record]) -> Result<Vec<Outcome>, Error> {
    let before = store.last.load(std::sync::atomic::Ordering::Acquire);
    let view = store.view();
    let changes = append::decide(&view, before, batch)?;
    if changes.last == before {
        return Ok(changes.outcomes);
    }
    let mut batch = store.db.batch().durability(Some(PersistMode::SyncData));
    for (seq, event) in &changes.removed {
        remove(store, &mut batch, *seq, event);
    }
    for (seq, record) in &changes.added {
        for key in store.keyer.keys(&record.event, time(&record.event), *seq) {
            batch.insert(&store.index, key, []);
        }
        batch.insert(&store.events, seq.to_be_bytes(), record.json.as_ref());
    }
    for (id, author) in &changes.dead_ids {
        batch.insert(&store.meta, dead_id_key(id, author), []);
    }
    for (address, until) in &changes.dead_addresses {
        batch.insert(&store.meta, dead_address_key(address), until.to_be_bytes());
    }
    batch.insert(&store.meta, META_SEQ, changes.last.to_be_bytes());
    batch.commit()?;
    store.committed(changes.last);
    Ok(changes.outcomes)
}

pub(super) fn expire(store: &FjallStore, now: u64, max: usize) -> Result<usize, Error> {
    let view = store.view();
    let mut batch = store.db.batch().durability(Some(PersistMode::SyncData));
    let mut count = 0;
    let until = index::expiration_key(now, index::MAX_SEQ);
    let from = index::expiration_key(0, 0);
    for guard in view.snapshot.range(&store.index, from..=until).take(max) {
        let key = guard.key()?;
        let Some((_, seq)) = index::parts(&key) else {
            continue;
        };
        match view.row(seq)? {
            Some(json) => {
                remove(store, &mut batch, seq, &parse(seq, &json)?);
                count += 1;
            }
            None => batch.remove(&store.index, key.as_ref()),
        }
    }
    batch.commit()?;
    Ok(count)
}

pub(super) fn remove(
    store: &FjallStore,
    batch: &mut fjall::OwnedWriteBatch,
    seq: u64,
    event: &Event,
) {
    for key in store.keyer.keys(event, time(event), seq) {
        batch.remove(&store.index, key);
    }
    batch.remove(&store.events, seq.to_be_bytes());
}

pub(super) fn dead_id_key(id: &EventId, author: &PublicKey) -> [u8; 65] {
    let mut key = [b'd'; 65];
    key[1..33].copy_from_slice(id.as_bytes());
    key[33..].copy_from_slice(author.as_bytes());
    key
}

pub(super) fn dead_address_key((kind, author, identifier): &Address) -> [u8; 67] {
    let mut key = [b'a'; 67];
    key[1..3].copy_from_slice(&kind.as_u16().to_be_bytes());
    key[3..35].copy_from_slice(author.as_bytes());
    key[35..].copy_from_slice(sha256::Hash::hash(identifier.as_bytes()).as_byte_array());
    key
}
