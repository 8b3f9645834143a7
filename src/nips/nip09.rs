//! NIP-09: what a deletion request asks to delete.
//! <https://github.com/nostr-protocol/nips/blob/master/09.md>

use nostr::{Event, EventId, Kind, PublicKey};

use super::kind;

/// One thing that a deletion request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An event by its id.
    Id(EventId),
    /// Every version of an address up to the request's `created_at`.
    Address {
        /// A replaceable or addressable kind.
        kind: Kind,
        /// The `d` identifier; empty for replaceable kinds.
        identifier: String,
    },
}

/// The targets of a deletion request. Addresses of other authors and malformed values are left out:
/// only an author deletes, and one bad tag does not spoil the rest.
pub fn targets(request: &Event) -> impl Iterator<Item = Target> + '_ {
    request.tags.iter().filter_map(|tag| match tag.as_slice() {
        [name, value, ..] if name == "e" => EventId::from_hex(value).ok().map(Target::Id),
        [name, value, ..] if name == "a" => address(value, &request.pubkey),
        _ => None,
    })
}

fn address(value: &str, author: &PublicKey) -> Option<Target> {
    let mut parts = value.splitn(3, ':');
    let kind = Kind::from(parts.next()?.parse::<u16>().ok()?);
    if PublicKey::from_hex(parts.next()?).ok()? != *author {
        return None;
    }
    let identifier = parts.next().unwrap_or_default();
    if kind.is_replaceable() {
        Some(Target::Address {
            kind,
            identifier: String::new(),
        })
    } else if kind.is_addressable() {
        Some(Target::Address {
            kind,
            identifier: identifier.to_owned(),
        })
    } else {
        None
    }
}

/// Whether a kind can be deleted at all: deletion requests and requests to vanish (NIP-62) cannot, and session records
/// only by the owner's own purge.
#[must_use]
pub fn is_deletable(kind: Kind) -> bool {
    let kind = kind.as_u16();
    kind != kind::DELETION && kind != kind::VANISH && !kind::RECORDS.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nips::Draft;
    use nostr::Keys;

    #[test]
    fn takes_ids_and_own_addresses_only() {
        let keys = Keys::generate();
        let own = keys.public_key().to_hex();
        let other = Keys::generate().public_key().to_hex();
        let id = "a".repeat(64);
        let request = Draft::new(kind::DELETION)
            .tag(["e", id.as_str()])
            .tag(["e", "nonsense"])
            .tag(["a", &format!("30000:{own}:a:b")])
            .tag(["a", &format!("10002:{own}:")])
            .tag(["a", &format!("30000:{other}:x")])
            .tag(["a", &format!("1:{own}:x")])
            .sign(&keys, 1)
            .unwrap();
        assert_eq!(
            targets(&request).collect::<Vec<_>>(),
            vec![
                Target::Id(EventId::from_hex(&id).unwrap()),
                Target::Address {
                    kind: Kind::from(30000),
                    identifier: "a:b".into()
                },
                Target::Address {
                    kind: Kind::from(10002),
                    identifier: String::new()
                },
            ]
        );
    }
}
