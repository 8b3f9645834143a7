//! NIP-62: a key asks relays to forget it.
//! <https://github.com/nostr-protocol/nips/blob/master/62.md>

use nostr::Event;

use super::{kind, nip42};

/// What a request names when it is for every relay.
pub const ALL_RELAYS: &str = "ALL_RELAYS";

/// Whether an event asks this relay to forget its author. `authorities` are the names (`host` or `host:port`) that the
/// relay answers to.
#[must_use]
pub fn asks(event: &Event, authorities: &[&str]) -> bool {
    event.kind.as_u16() == kind::VANISH
        && event.tags.iter().any(|tag| match tag.as_slice() {
            [name, relay, ..] if name == "relay" => {
                relay == ALL_RELAYS || authorities.iter().any(|known| nip42::names(relay, known))
            }
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nips::Draft;
    use nostr::Keys;

    #[test]
    fn only_requests_that_name_this_relay_count() {
        let known = &["127.0.0.1:4869", "relay.example"];
        for (kind, relays, wanted) in [
            (62, &["ALL_RELAYS"][..], true),
            (62, &["wss://other.example", "ws://localhost:4869/"], true),
            (62, &["wss://relay.example"], true),
            (62, &["wss://other.example"], false),
            (62, &["ws://localhost:1"], false),
            (62, &["all_relays"], false),
            (62, &[], false),
            (1, &["ALL_RELAYS"], false),
        ] {
            let draft = relays.iter().fold(Draft::new(kind), |draft, relay| {
                draft.tag(["relay", *relay])
            });
            let event = draft.sign(&Keys::generate(), 1).unwrap();
            assert_eq!(asks(&event, known), wanted, "{relays:?}");
        }
    }
}
