//! The golden vectors: 29 signed events, one of each record, that every version must read and write alike.

use std::collections::BTreeMap;

use nostr::{Event, JsonUtil};
use serde_json::Value;
use treefort::nips::Draft;

/// The vectors by name.
pub(crate) fn vectors() -> BTreeMap<String, Value> {
    serde_json::from_str(include_str!("fixtures/events.json")).unwrap()
}

fn events() -> impl Iterator<Item = (String, Value, Event)> {
    vectors().into_iter().map(|(name, value)| {
        let event = Event::from_json(value.to_string())
            .unwrap_or_else(|error| panic!("{name} does not parse: {error}"));
        (name, value, event)
    })
}

#[test]
fn vectors_are_complete() {
    assert_eq!(vectors().len(), 29);
}

#[test]
fn vectors_verify() {
    for (name, _, event) in events() {
        event
            .verify()
            .unwrap_or_else(|error| panic!("{name} does not verify: {error}"));
    }
}

#[test]
fn vectors_are_written_as_they_were_read() {
    for (name, value, event) in events() {
        let written: Value = serde_json::from_str(&event.as_json()).unwrap();
        assert_eq!(written, value, "{name} changed on its way through");
    }
}

#[test]
fn drafts_of_vectors_have_their_ids() {
    for (name, _, event) in events() {
        let id = Draft::of(&event)
            .id(event.pubkey, event.created_at.as_secs())
            .unwrap();
        assert_eq!(id, event.id, "{name} has another id");
    }
}

#[test]
fn vectors_that_were_tampered_with_do_not_verify() {
    for (name, mut value, _) in events() {
        value["content"] = Value::from("something else");
        let event = Event::from_json(value.to_string()).unwrap();
        assert!(
            event.verify().is_err(),
            "{name} verifies with another content"
        );
    }
}
