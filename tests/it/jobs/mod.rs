//! Jobs from customers, as NIP-90 says and as real customers write them.

mod access;
mod answers;
mod inputs;

use std::time::{Duration, Instant};

use nostr::{Event, JsonUtil as _, Keys};
use serde_json::json;
use treefort::nips::{Draft, nip90::Scheme, session::check_chain};

use crate::{
    foreign::{self, Library, Mode},
    harness::{
        Treefort,
        client::{Client, status, tag},
    },
    model_server::{Behaviour, ModelServer},
};

/// Sessions end with their jobs and nothing is kept warm, so that what is left shows.
pub(crate) const AT_ONCE: &str = "[sessions]\nidle_s = 0\nwarm = 0\n";

pub(crate) fn statuses(answers: &[Event]) -> Vec<String> {
    answers
        .iter()
        .map(|event| match event.kind.as_u16() {
            7000 => status(event),
            kind => kind.to_string(),
        })
        .collect()
}

pub(crate) fn error(answers: &[Event]) -> (String, String) {
    let last = answers.last().unwrap();
    assert_eq!(status(last), "error", "{answers:?}");
    (tag(last, "code").unwrap(), last.content.clone())
}

async fn owner(treefort: &Treefort) -> Client {
    treefort.client(&treefort.operator()).await
}
