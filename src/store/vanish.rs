//! A key that asked to be forgotten (NIP-62): what it wrote goes, and gift wraps to it; nothing of that comes back.
//!
//! The first commit says who and until when, and from then on nothing is accepted; the rest follows in parts, and a store
//! that is opened after a crash goes on with it before anybody reads.

use fjall::{PersistMode, Readable};
use nostr::{Event, PublicKey};

use super::{
    Error,
    append::remove,
    events::{FjallStore, parse},
    index::{self, Prefix},
};
use crate::nips::{kind, nip01};

/// Where it says what is under way.
const NOTE: &str = "vanishing";
/// Events that one commit removes.
const PART: usize = 500;

pub(super) fn vanish(store: &FjallStore, author: &PublicKey, until: u64) -> Result<usize, Error> {
    let until = until.max(forgotten_until(store, author)?.unwrap_or(0));
    let mut note = [0; 40];
    note[..32].copy_from_slice(author.as_bytes());
    note[32..].copy_from_slice(&until.to_be_bytes());
    let mut batch = store.db.batch().durability(Some(PersistMode::SyncData));
    batch.insert(&store.meta, key(author), until.to_be_bytes());
    batch.insert(&store.meta, NOTE, note);
    batch.commit()?;
    finish(store, author, until)
}

/// Goes on with what a crash cut off.
pub(super) fn go_on(store: &FjallStore) -> Result<(), Error> {
    let Some(note) = store.meta.get(NOTE)? else {
        return Ok(());
    };
    let (author, until) = note.split_at_checked(32).ok_or(Error::Meta(NOTE))?;
    let author = PublicKey::from_slice(author).map_err(|_| Error::Meta(NOTE))?;
    let until = u64::from_be_bytes(until.try_into().map_err(|_| Error::Meta(NOTE))?);
    finish(store, &author, until).map(drop)
}

/// Whether an event is one that somebody asked to be forgotten.
pub(super) fn is_forgotten(
    store: &FjallStore,
    snapshot: &impl Readable,
    event: &Event,
) -> Result<bool, Error> {
    let covers = |author: &PublicKey| -> Result<bool, Error> {
        let until = read(snapshot.get(&store.meta, key(author))?.as_deref())?;
        Ok(until.is_some_and(|until| event.created_at.as_secs() <= until))
    };
    if event.kind.as_u16() == kind::VANISH {
        return Ok(false);
    }
    if covers(&event.pubkey)? {
        return Ok(true);
    }
    if event.kind.as_u16() == kind::GIFT_WRAP {
        for tag in event.tags.iter() {
            if let [name, value, ..] = tag.as_slice()
                && name == "p"
                && let Ok(recipient) = PublicKey::from_hex(value)
                && covers(&recipient)?
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn forgotten_until(store: &FjallStore, author: &PublicKey) -> Result<Option<u64>, Error> {
    read(store.meta.get(key(author))?.as_deref())
}

fn read(value: Option<&[u8]>) -> Result<Option<u64>, Error> {
    let until = |value: &[u8]| value.try_into().map(u64::from_be_bytes);
    value
        .map(until)
        .transpose()
        .map_err(|_| Error::Meta("vanished"))
}

fn key(author: &PublicKey) -> [u8; 33] {
    let mut key = [b'f'; 33];
    key[1..].copy_from_slice(author.as_bytes());
    key
}

fn finish(store: &FjallStore, author: &PublicKey, until: u64) -> Result<usize, Error> {
    let hex = author.to_hex();
    let own = |event: &Event| event.pubkey == *author && event.kind.as_u16() != kind::VANISH;
    let wraps =
        |event: &Event| event.kind.as_u16() == kind::GIFT_WRAP && nip01::has_tag(event, "p", &hex);
    let removed = drop_all(store, store.keyer.author(author), until, own)?
        + drop_all(store, store.keyer.tag(b'p', &hex), until, wraps)?;
    let mut batch = store.db.batch().durability(Some(PersistMode::SyncData));
    batch.remove(&store.meta, NOTE);
    batch.commit()?;
    Ok(removed)
}

/// Removes what an index leads to, up to a time.
fn drop_all(
    store: &FjallStore,
    prefix: Prefix,
    until: u64,
    gone: impl Fn(&Event) -> bool,
) -> Result<usize, Error> {
    let until = u32::try_from(until).unwrap_or(u32::MAX);
    let newest = index::key(&prefix, !until, 0);
    let oldest = index::key(&prefix, u32::MAX, index::MAX_SEQ);
    let snapshot = store.db.snapshot();
    let batch = || store.db.batch().durability(Some(PersistMode::SyncData));
    let (mut part, mut in_part, mut removed) = (batch(), 0, 0);
    for guard in snapshot.range(&store.index, newest..=oldest) {
        let Some((_, seq)) = index::parts(&guard.key()?) else {
            continue;
        };
        let Some(json) = store.row(&snapshot, seq)? else {
            continue;
        };
        let event = parse(seq, &json)?;
        if !gone(&event) {
            continue;
        }
        remove(store, &mut part, seq, &event);
        (in_part, removed) = (in_part + 1, removed + 1);
        if in_part == PART {
            std::mem::replace(&mut part, batch()).commit()?;
            in_part = 0;
        }
    }
    part.commit()?;
    Ok(removed)
}
