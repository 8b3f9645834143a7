//! A key that asked to be forgotten (NIP-62): what it wrote goes, and gift wraps to it; nothing of that comes back.
//!
//! The first commit says who and until when, and from then on nothing is accepted; the rest follows in parts, and a store
//! that is opened after a crash goes on with it before anybody reads.

use fjall::PersistMode;
use nostr::{Event, PublicKey};

use super::{
    Error,
    commit::remove,
    events::FjallStore,
    index,
    view::{View, parse},
};
use crate::nips::{kind, nip01};

/// Where it says what is under way.
const NOTE: &str = "vanishing";
/// Events that one commit removes.
const PART: usize = 500;

pub(super) fn vanish(store: &FjallStore, author: &PublicKey, until: u64) -> Result<usize, Error> {
    let until = until.max(store.view().forgotten_until(author)?.unwrap_or(0));
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
pub(super) fn is_forgotten(view: &impl View, event: &Event) -> Result<bool, Error> {
    let covers = |author: &PublicKey| -> Result<bool, Error> {
        let until = view.forgotten_until(author)?;
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

/// The rows that go when an author asks to be forgotten up to a time: what it wrote, and gift wraps to it.
pub(super) fn rows(
    view: &impl View,
    author: &PublicKey,
    until: u64,
    mut each: impl FnMut(u64, &Event) -> Result<(), Error>,
) -> Result<(), Error> {
    let hex = author.to_hex();
    let until = u32::try_from(until).unwrap_or(u32::MAX);
    let (own, wraps) = (view.keyer().author(author), view.keyer().tag(b'p', &hex));
    for prefix in [own, wraps] {
        let newest = index::key(&prefix, !until, 0);
        let oldest = index::key(&prefix, u32::MAX, index::MAX_SEQ);
        for key in view.keys(newest, oldest)? {
            let (_, seq) = index::split(&key?);
            let Some(json) = view.row(seq)? else {
                continue;
            };
            let event = parse(seq, &json)?;
            let kind = event.kind.as_u16();
            let goes = if prefix == own {
                event.pubkey == *author && kind != kind::VANISH
            } else {
                // One that it wrote itself is among its own.
                kind == kind::GIFT_WRAP
                    && event.pubkey != *author
                    && nip01::has_tag(&event, "p", &hex)
            };
            if goes {
                each(seq, &event)?;
            }
        }
    }
    Ok(())
}

pub(super) fn read(value: Option<&[u8]>) -> Result<Option<u64>, Error> {
    let until = |value: &[u8]| value.try_into().map(u64::from_be_bytes);
    value
        .map(until)
        .transpose()
        .map_err(|_| Error::Meta("vanished"))
}

pub(super) fn key(author: &PublicKey) -> [u8; 33] {
    let mut key = [b'f'; 33];
    key[1..].copy_from_slice(author.as_bytes());
    key
}

fn finish(store: &FjallStore, author: &PublicKey, until: u64) -> Result<usize, Error> {
    let batch = || store.db.batch().durability(Some(PersistMode::SyncData));
    let (mut part, mut in_part, mut removed) = (batch(), 0, 0);
    rows(&store.view(), author, until, |seq, event| {
        remove(store, &mut part, seq, event);
        (in_part, removed) = (in_part + 1, removed + 1);
        if in_part == PART {
            std::mem::replace(&mut part, batch()).commit()?;
            in_part = 0;
        }
        Ok(())
    })?;
    part.remove(&store.meta, NOTE);
    part.commit()?;
    Ok(removed)
}
