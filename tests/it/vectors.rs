//! The golden vectors: 29 signed events, one of each record, that every version must read and write alike.

use std::collections::BTreeMap;

use nostr::{Event, JsonUtil, Keys};
use serde_json::Value;
use treefort::nips::{
    Draft, Reference,
    nip90::{Input, JobRequest, Status},
    reference::tag_value,
};

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

#[test]
fn golden_jobs_are_read_as_customers_mean_them() {
    let vectors = vectors();
    let read = |name: &str| {
        let event = Event::from_json(vectors[name].to_string()).unwrap();
        JobRequest::parse(&event, &Keys::generate()).unwrap()
    };
    let root = read("job_root_5870");
    let asked = "Add a --json flag to the status command and a test for it";
    assert_eq!(root.inputs, [Input::Text(asked.into())]);
    assert_eq!(root.output.as_deref(), Some("text/markdown"));
    assert_eq!(root.number::<u32>("timebox_s"), Some(1800));
    assert_eq!(root.number::<u64>("budget_tokens"), Some(200_000));
    assert_eq!(root.providers.len(), 1);

    let child = read("job_child_5870");
    assert!(matches!(child.inputs[1], Input::Event(id) if id == root.id));
    assert_eq!(child.param("role"), Some("builder"));
    assert_eq!(child.earlier, [root.id]);

    let verify = read("job_verify_5870");
    assert_eq!(verify.inputs, [Input::Job(child.id)]);
}

#[test]
fn golden_answers_name_their_job_first() {
    let vectors = vectors();
    let event = |name: &str| Event::from_json(vectors[name].to_string()).unwrap();
    let feedback = event("feedback_processing_7000");
    let status = tag_value(&feedback, "status").and_then(Status::parse);
    assert_eq!(status, Some(Status::Processing));
    let job = Reference::first(&feedback, "e").unwrap();
    assert_eq!(job.id, event("job_root_5870").id);
    let result = event("result_6870");
    let job = Reference::first(&result, "e").unwrap();
    assert_eq!(job.id, event("job_child_5870").id);
    let request = Event::from_json(tag_value(&result, "request").unwrap()).unwrap();
    request.verify().unwrap();
    assert_eq!(request.id, job.id);
}
