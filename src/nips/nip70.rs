//! NIP-70: protected events, which only their author may publish.
//! <https://github.com/nostr-protocol/nips/blob/master/70.md>

use nostr::Event;

/// Whether an event carries the tag `["-"]`.
#[must_use]
pub fn is_protected(event: &Event) -> bool {
    event
        .tags
        .iter()
        .any(|tag| tag.as_slice().first().is_some_and(|name| name == "-"))
}
