//! NIP-40: when an event expires.
//! <https://github.com/nostr-protocol/nips/blob/master/40.md>

use nostr::Event;

use super::nip01::first_tag;

/// The unix time at which an event expires; `None` without a readable `expiration` tag.
#[must_use]
pub fn expiration(event: &Event) -> Option<u64> {
    first_tag(event, "expiration")?.parse().ok()
}

/// Whether an event has expired at a unix time.
#[must_use]
pub fn is_expired(event: &Event, now: u64) -> bool {
    expiration(event).is_some_and(|at| at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nips::Draft;
    use nostr::Keys;

    #[test]
    fn expires_at_its_time() {
        let event = Draft::new(1)
            .tag(["expiration", "100"])
            .sign(&Keys::generate(), 1)
            .unwrap();
        assert!(!is_expired(&event, 99));
        assert!(is_expired(&event, 100));
    }

    #[test]
    fn an_unreadable_expiration_is_none() {
        let event = Draft::new(1)
            .tag(["expiration", "soon"])
            .sign(&Keys::generate(), 1)
            .unwrap();
        assert_eq!(expiration(&event), None);
    }
}
