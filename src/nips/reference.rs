//! References from one event to another: `e`, `E` and `q` tags with relay and author (NIP-01, NIP-10, NIP-18).

use nostr::{Event, EventId, PublicKey};

/// An event that a tag points at: `[name, id, relay, author]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reference {
    /// The event pointed at.
    pub id: EventId,
    /// Where it can be read; empty when unknown.
    pub relay: String,
    /// Who signed it.
    pub author: Option<PublicKey>,
}

impl Reference {
    /// Points at an event that can be read at `relay`.
    #[must_use]
    pub fn to(event: &Event, relay: &str) -> Self {
        Self {
            id: event.id,
            relay: relay.to_owned(),
            author: Some(event.pubkey),
        }
    }

    /// The tag `[name, id, relay, author]`, without the parts that are not known.
    #[must_use]
    pub fn tag(&self, name: &str) -> Vec<String> {
        let mut tag = vec![name.to_owned(), self.id.to_hex()];
        if let Some(author) = self.author {
            tag.extend([self.relay.clone(), author.to_hex()]);
        } else if !self.relay.is_empty() {
            tag.push(self.relay.clone());
        }
        tag
    }

    /// The tag with a NIP-10 marker: `[name, id, relay, marker, author]`.
    #[must_use]
    pub fn marked_tag(&self, name: &str, marker: &str) -> Vec<String> {
        let mut tag = vec![
            name.to_owned(),
            self.id.to_hex(),
            self.relay.clone(),
            marker.to_owned(),
        ];
        tag.extend(self.author.map(|author| author.to_hex()));
        tag
    }

    /// Reads a tag of the form that [`Self::tag`] writes.
    #[must_use]
    pub fn parse(tag: &[String]) -> Option<Self> {
        Some(Self {
            id: EventId::from_hex(tag.get(1)?).ok()?,
            relay: tag.get(2).cloned().unwrap_or_default(),
            author: tag
                .get(3)
                .and_then(|author| PublicKey::from_hex(author).ok()),
        })
    }

    /// The first tag of this name in an event.
    #[must_use]
    pub fn first(event: &Event, name: &str) -> Option<Self> {
        event
            .tags
            .iter()
            .map(nostr::Tag::as_slice)
            .find(|tag| tag.first().is_some_and(|n| n == name))
            .and_then(Self::parse)
    }
}

/// The public keys that an event names with `p`.
#[must_use]
pub fn named_keys(event: &Event) -> Vec<PublicKey> {
    event
        .tags
        .iter()
        .map(nostr::Tag::as_slice)
        .filter(|tag| tag[0] == "p")
        .filter_map(|tag| PublicKey::from_hex(tag.get(1)?).ok())
        .collect()
}

/// The second element of an event's first tag of this name.
#[must_use]
pub fn tag_value<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    event
        .tags
        .iter()
        .map(nostr::Tag::as_slice)
        .find(|tag| tag.first().is_some_and(|n| n == name))
        .and_then(|tag| tag.get(1))
        .map(String::as_str)
}
