//! A key that asked to be forgotten (NIP-62): what it wrote goes, and gift wraps to it; nothing of that comes back.

use nostr::{Event, PublicKey};

use super::{
    Error, index,
    view::{View, parse},
};
use crate::nips::{kind, nip01};

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
pub(super) fn rows(view: &impl View, author: &PublicKey, until: u64) -> Result<Vec<u64>, Error> {
    let mut found = Vec::new();
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
                found.push(seq);
            }
        }
    }
    Ok(found)
}
