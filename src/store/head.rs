//! The head of a row: what an event's canonical JSON begins with, read without parsing the rest.

use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use memchr::memmem::Finder;
use nostr::{EventId, Filter, Kind, PublicKey};

/// How a row begins that [`super::Record::new`] wrote.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) id: EventId,
    author: PublicKey,
    pub(super) kind: Kind,
    rest: &'a [u8],
}

/// A tag that says when an event expires (NIP-40).
static EXPIRATION: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"expiration\""));

impl<'a> Head<'a> {
    /// Reads it; `None` when the JSON is not in our form.
    pub(super) fn of(json: &'a [u8]) -> Option<Self> {
        let (id, rest) = hexadecimal(json.strip_prefix(br#"{"id":""#)?)?;
        let (author, rest) = hexadecimal(rest.strip_prefix(br#"","pubkey":""#)?)?;
        let (_, rest) = number(rest.strip_prefix(br#"","created_at":"#)?)?;
        let (kind, rest) = number(rest.strip_prefix(br#","kind":"#)?)?;
        Some(Self {
            id: EventId::from_byte_array(id),
            author: PublicKey::from_byte_array(author),
            kind: Kind::from(u16::try_from(kind).ok()?),
            rest: rest.strip_prefix(br#","tags":"#)?,
        })
    }

    /// Whether it may have a tag that says when it expires.
    pub(super) fn may_expire(&self) -> bool {
        // Our serialisation escapes no letters.
        EXPIRATION.find(self.rest).is_some()
    }

    /// Whether a filter's ids, authors and kinds match; the times of a row are in its key.
    pub(super) fn matches(&self, filter: &Filter) -> bool {
        let ids = filter.ids.as_ref();
        let authors = filter.authors.as_ref();
        let kinds = filter.kinds.as_ref();
        ids.is_none_or(|ids| ids.contains(&self.id))
            && kinds.is_none_or(|kinds| kinds.contains(&self.kind))
            && authors.is_none_or(|authors| authors.contains(&self.author))
    }
}

fn hexadecimal(text: &[u8]) -> Option<([u8; 32], &[u8])> {
    let (digits, rest) = text.split_at_checked(64)?;
    let mut bytes = [0; 32];
    HEXLOWER.decode_mut(digits, &mut bytes).ok()?;
    Some((bytes, rest))
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(end)?;
    let digits = std::str::from_utf8(digits).ok()?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use nostr::{JsonUtil as _, Keys};

    use super::*;
    use crate::nips::Draft;

    #[test]
    fn a_head_says_what_its_event_says() {
        let event = Draft::new(7)
            .content("x")
            .sign(&Keys::generate(), 12)
            .unwrap();
        let json = event.as_json();
        let head = Head::of(json.as_bytes()).unwrap();
        assert_eq!((head.id, head.kind), (event.id, event.kind));
        assert!(!head.may_expire());
        assert!(head.matches(&Filter::new().author(event.pubkey).kind(event.kind)));
        assert!(!head.matches(&Filter::new().author(Keys::generate().public_key())));
        assert!(!head.matches(&Filter::new().kind(Kind::from(8))));
        assert!(Head::of(json.replace("\"id\"", " \"id\"").as_bytes()).is_none());
    }

    #[test]
    fn what_may_expire_is_not_judged_by_its_head() {
        let event = Draft::new(1)
            .tag(["expiration", "5"])
            .sign(&Keys::generate(), 1)
            .unwrap();
        assert!(Head::of(event.as_json().as_bytes()).unwrap().may_expire());
    }
}
