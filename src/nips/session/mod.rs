//! Session records: kinds 4781 to 4785, and the live deltas 24135 (`nips/agent-session.md`).
//!
//! A session is one agent at work under one key. Its records form a chain: `seq` counts from 0 without gaps
//! and `prev` names the record before, so that an omission or an insertion shows. Data lives in tags; the
//! content is plain text for people. [`Record::draft`] and [`Record::parse`] are inverse to each other.

mod body;
mod chain;

use nostr::{Event, EventId, PublicKey};

pub use self::{
    body::{Action, ActionKind, Body, Checkpoint, End, Fault, Outcome, Start},
    chain::{ChainError, ChainReport, check_chain},
};
use super::{Draft, Reference, kind, reference::tag_value};

/// The version of the record format.
pub const VERSION: &str = "0";

/// The content of a record holds at most this many bytes; more goes to a blob.
pub const MAX_CONTENT: usize = 32 * 1024;

/// One record of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Place in the session, from 0.
    pub seq: u64,
    /// The record before; absent at 0.
    pub prev: Option<EventId>,
    /// What it belongs to: for a start the job that the session was given, else the start.
    pub parent: Option<Reference>,
    /// The root job of the tree.
    pub root: Option<Reference>,
    /// Content hash of the recipe, if one was used.
    pub recipe: Option<String>,
    /// What happened.
    pub body: Body,
    /// One line that any client can show.
    pub alt: Option<String>,
    /// Plain text for people.
    pub content: String,
}

/// Why an event is no session record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The kind is not 4781–4785.
    #[error("kind {0} is not a session record")]
    Kind(u16),
    /// A tag that every record of this kind has is missing or unreadable.
    #[error("the record has no readable `{0}` tag")]
    Tag(&'static str),
}

impl Record {
    /// The record as it is signed, tags in the order of `nips/agent-session.md`.
    #[must_use]
    pub fn draft(&self) -> Draft {
        let mut draft = Draft::new(self.body.kind())
            .tag(["v", VERSION])
            .tag(["seq".to_owned(), self.seq.to_string()])
            .tag_opt(self.prev.map(|prev| ["prev".to_owned(), prev.to_hex()]))
            .tags(self.parent.as_ref().map(|parent| parent.tag("e")))
            .tags(self.root.as_ref().map(|root| root.tag("E")));
        let recipe = self
            .recipe
            .as_ref()
            .map(|hash| vec!["x".to_owned(), hash.clone(), "content".to_owned()]);
        draft = match &self.body {
            Body::Start(start) => draft
                .tags(start.before_recipe())
                .tags(recipe)
                .tags(start.after_recipe()),
            body => draft.tags(recipe).tags(body.tags()),
        };
        draft
            .tag_opt(self.alt.as_ref().map(|alt| ["alt", alt.as_str()]))
            .content(self.content.clone())
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// When the kind is another one, or a required tag is missing.
    pub fn parse(event: &Event) -> Result<Self, RecordError> {
        Ok(Self {
            seq: tag_value(event, "seq")
                .and_then(|seq| seq.parse().ok())
                .ok_or(RecordError::Tag("seq"))?,
            prev: tag_value(event, "prev").and_then(|id| EventId::from_hex(id).ok()),
            parent: Reference::first(event, "e"),
            root: Reference::first(event, "E"),
            recipe: body::hash(event, "content"),
            body: Body::parse(event)?,
            alt: tag_value(event, "alt").map(str::to_owned),
            content: event.content.clone(),
        })
    }
}

/// Text that is still being written (kind 24135, ephemeral): `e` is the root job, `stream-seq` counts from 0.
#[must_use]
pub fn live_delta(root: &Reference, stream_seq: u64, customer: &PublicKey, text: &str) -> Draft {
    Draft::new(kind::LIVE_DELTA)
        .tags([root.tag("e")])
        .tag(["p", &customer.to_hex()])
        .tag(["stream-seq".to_owned(), stream_seq.to_string()])
        .content(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_records_survive_a_round_trip_to_the_same_id() {
        let vectors: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(include_str!("../../../tests/it/fixtures/events.json")).unwrap();
        let mut seen = 0;
        for (name, value) in vectors {
            let event: Event = serde_json::from_value(value).unwrap();
            if !(kind::SESSION_START..=kind::SESSION_END).contains(&event.kind.as_u16()) {
                assert!(Record::parse(&event).is_err(), "{name}");
                continue;
            }
            let record = Record::parse(&event).unwrap();
            let id = record
                .draft()
                .id(event.pubkey, event.created_at.as_secs())
                .unwrap();
            assert_eq!(record.draft(), Draft::of(&event), "{name}");
            assert_eq!(id, event.id, "{name}");
            seen += 1;
        }
        assert_eq!(seen, 7);
    }
}
