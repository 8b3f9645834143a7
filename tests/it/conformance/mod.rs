//! What NIPs ask of a relay, as tables: one row is one behaviour at the wire, frames sent and frames expected.
//!
//! In the normal run the rows are played against treefort. With `TREEFORT_CONFORMANCE_URL=ws://…` they are played against
//! the relay there, and the outcome is printed as a table.

mod access;
mod counting;
mod deletion;
mod events;
mod filters;
mod information;
mod live;
mod messages;
mod player;
mod script;
mod sync;

use std::time::Duration;

use self::script::Script;
use crate::{
    harness::{NO_DOCKER, Treefort},
    model_server::ModelServer,
};

/// Where another relay is.
const URL: &str = "TREEFORT_CONFORMANCE_URL";

/// One behaviour.
struct Row {
    nip: u16,
    name: &'static str,
    script: fn(&mut Script),
}

const fn row(nip: u16, name: &'static str, script: fn(&mut Script)) -> Row {
    Row { nip, name, script }
}

/// Every table. NIP-50 has a file of its own when it is served.
fn rows() -> impl Iterator<Item = &'static Row> {
    [
        messages::ROWS,
        events::ROWS,
        filters::ROWS,
        live::ROWS,
        deletion::ROWS,
        information::ROWS,
        access::ROWS,
        counting::ROWS,
        sync::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// Plays every row; why those failed that did.
async fn play_all(url: &str, patience: Duration) -> Vec<(&'static Row, Result<(), String>)> {
    let mut outcomes = Vec::new();
    for row in rows() {
        let mut script = Script::new(url);
        (row.script)(&mut script);
        outcomes.push((row, player::play(url, script, patience).await));
    }
    outcomes
}

#[tokio::test]
async fn the_relay_does_what_nips_say() {
    if let Ok(url) = std::env::var(URL) {
        let outcomes = play_all(&url, Duration::from_secs(3)).await;
        for (row, outcome) in &outcomes {
            let verdict = match outcome {
                Ok(()) => "pass".to_owned(),
                Err(reason) => format!("FAIL: {reason}"),
            };
            eprintln!("| {:02} | {} | {verdict} |", row.nip, row.name);
        }
        let passed = outcomes.iter().filter(|(_, outcome)| outcome.is_ok());
        eprintln!("{} of {} pass", passed.count(), outcomes.len());
        return;
    }
    let model = ModelServer::start().await;
    let treefort = Treefort::start_in(&model, &[], "", &[NO_DOCKER]);
    let url = format!("ws://{}/", treefort.address);
    let outcomes = play_all(&url, Duration::from_secs(20)).await;
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|(row, outcome)| {
            let reason = outcome.as_ref().err()?;
            Some(format!("NIP-{:02}, {}: {reason}", row.nip, row.name))
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_row_has_a_name_of_its_own() {
    let mut names: Vec<_> = rows().map(|row| row.name).collect();
    assert!(names.len() > 90, "only {} rows", names.len());
    names.sort_unstable();
    let before = names.len();
    names.dedup();
    assert_eq!(names.len(), before);
}
