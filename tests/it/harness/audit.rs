//! What must hold whatever happened: every job ends once, every session has its end.

use std::collections::BTreeMap;

use nostr::{Event, EventId};
use serde_json::json;
use treefort::nips::session::check_chain;

use super::{
    Client, Treefort,
    client::{status, tag},
};

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With one result and one `success` after it.
    Delivered,
    /// With one error of this code.
    Failed(String),
}

/// How a job ended by the coordinator's answers so far; `None` while it has neither result nor error.
/// More than one end, or an end of two kinds, fails the test.
pub(crate) fn ending(job: EventId, answers: &[Event]) -> Option<Ending> {
    let of_job: Vec<&Event> = answers
        .iter()
        .filter(|answer| tag(answer, "e").is_some_and(|id| id == job.to_hex()))
        .collect();
    let results = of_job
        .iter()
        .filter(|answer| answer.kind.as_u16() != 7000)
        .count();
    let with = |word: &str| -> Vec<&&Event> {
        of_job
            .iter()
            .filter(|answer| answer.kind.as_u16() == 7000 && status(answer) == word)
            .collect()
    };
    let (errors, successes) = (with("error"), with("success"));
    assert!(
        results <= 1 && errors.len() <= 1 && results + errors.len() <= 1 && successes.len() <= 1,
        "{job} ended more than once: {of_job:?}"
    );
    match (errors.first(), results, successes.len()) {
        (Some(error), ..) => Some(Ending::Failed(tag(error, "code").unwrap())),
        (None, 1, 1) => Some(Ending::Delivered),
        _ => None,
    }
}

/// Waits until each of these jobs has ended, and says how.
pub(crate) async fn endings(
    treefort: &Treefort,
    client: &mut Client,
    jobs: &[EventId],
) -> BTreeMap<EventId, Ending> {
    let kinds = [7000, 6050, 6870];
    let filter =
        json!({"kinds": kinds, "authors": [treefort.coordinator().to_hex()], "limit": 5000});
    client.subscribe("ends", filter.clone()).await;
    let mut answers = Vec::new();
    let mut left: Vec<EventId> = jobs.to_vec();
    while !left.is_empty() {
        answers.push(client.next_event().await);
        left.retain(|job| ending(*job, &answers).is_none());
    }
    client.raw(json!(["CLOSE", "ends"]).to_string()).await;
    let answers = client.query(filter).await;
    jobs.iter()
        .map(|job| (*job, ending(*job, &answers).unwrap()))
        .collect()
}

/// The records of every session, by its key; each is a whole chain with its end.
pub(crate) async fn whole_sessions(client: &mut Client) -> BTreeMap<String, Vec<Event>> {
    let filter = json!({"kinds": [4781, 4782, 4783, 4784, 4785], "limit": 5000});
    let mut sessions: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for record in client.query(filter).await {
        let session = sessions.entry(record.pubkey.to_hex()).or_default();
        session.push(record);
    }
    for (session, records) in &sessions {
        let report = check_chain(records).unwrap_or_else(|error| panic!("{session}: {error}"));
        assert!(report.ended, "session {session} has no end: {records:?}");
        let ends = records
            .iter()
            .filter(|record| record.kind.as_u16() == 4785)
            .count();
        assert_eq!(ends, 1, "session {session}");
    }
    sessions
}
