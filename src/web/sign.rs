//! The owner's key, for the page: it signs what a person asks for and reads what is for this person alone.

use hyper::{StatusCode, header::HeaderName};
use nostr::{Event, Keys, PublicKey, Timestamp, Url};
use serde::Deserialize;
use serde_json::json;

use super::{
    Page,
    reply::{self, Refusal},
};
use crate::{
    nips::{Draft, kind, nip01::has_tag, nip90::Scheme},
    relay::{HttpReply, Sender},
};

/// What the page may have signed: questions, tasks, their withdrawal, replies in a thread, and who it is to our relay.
const KINDS: [u16; 6] = [
    kind::TEXT_GENERATION,
    kind::AGENT_TASK,
    kind::WORKSPACE_TASK,
    kind::DELETION,
    kind::NOTE,
    kind::CLIENT_AUTH,
];
/// What can be asked in private.
const PRIVATE: [u16; 3] = [
    kind::TEXT_GENERATION,
    kind::AGENT_TASK,
    kind::WORKSPACE_TASK,
];
/// Events that are read at once.
const MAX_EVENTS: usize = 100;
/// Says that something secret was left out of what was signed.
const REDACTED: HeaderName = HeaderName::from_static("treefort-redacted");
/// Tags that the server writes.
const OURS: [&str; 2] = ["encrypted", "request"];

/// An event before it is signed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    kind: u16,
    #[serde(default)]
    tags: Vec<Vec<String>>,
    #[serde(default)]
    content: String,
    /// Tags that nobody but the coordinator may read.
    hidden: Option<Vec<Vec<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Encrypted {
    events: Vec<Event>,
}

/// Signs an event with the owner's key.
pub(super) async fn sign(
    page: &Page,
    wanted: Wanted,
    sender: &Sender,
) -> Result<HttpReply, Refusal> {
    check(&wanted, sender)?;
    let (keyring, redactor) = (page.keyring.clone(), page.redactor.clone());
    blocking(move || {
        let coordinator = keyring.coordinator().public_key();
        let (mut draft, hidden) = parts(wanted);
        let mut redacted = false;
        // A challenge is no text of a person.
        if draft.kind != kind::CLIENT_AUTH {
            redacted = redactor.clean(&mut draft);
        }
        if let Some(mut hidden) = hidden {
            for text in hidden.iter_mut().flat_map(|tag| tag.iter_mut().skip(1)) {
                redacted |= redactor.clean_text(text);
            }
            draft = seal(draft, &hidden, keyring.operator(), &coordinator)?;
        }
        let event = draft
            .sign(keyring.operator(), Timestamp::now().as_secs())
            .map_err(|error| Refusal::inside(&error))?;
        let mut reply = reply::json(&event)?;
        if redacted {
            reply::set(&mut reply, REDACTED, "true");
        }
        Ok(reply)
    })
    .await?
}

/// Reads what the coordinator wrote for the owner, and what the owner asked it.
pub(super) async fn decrypt(page: &Page, encrypted: Encrypted) -> Result<HttpReply, Refusal> {
    if encrypted.events.len() > MAX_EVENTS {
        return Err(Refusal::bad(format!(
            "At most {MAX_EVENTS} events can be read at once."
        )));
    }
    let keyring = page.keyring.clone();
    let plain = blocking(move || {
        let coordinator = keyring.coordinator().public_key();
        encrypted
            .events
            .iter()
            .map(|event| plain(event, keyring.operator(), &coordinator))
            .collect::<Vec<Option<String>>>()
    })
    .await?;
    reply::json(&json!({ "plain": plain }))
}

/// What an event says, if it is between these two.
fn plain(event: &Event, operator: &Keys, coordinator: &PublicKey) -> Option<String> {
    let owner = operator.public_key();
    let answer = event.pubkey == *coordinator
        && (event.kind.as_u16() == kind::JOB_FEEDBACK || kind::is_job_result(event.kind))
        && has_tag(event, "p", &owner.to_hex());
    let request = event.pubkey == owner
        && kind::is_job_request(event.kind)
        && has_tag(event, "p", &coordinator.to_hex());
    if !(answer || request) || event.verify().is_err() {
        return None;
    }
    Scheme::of(event)
        .decrypt(operator, coordinator, &event.content)
        .ok()
}

/// Whether the page may have this signed.
fn check(wanted: &Wanted, sender: &Sender) -> Result<(), Refusal> {
    let refused = |sentence: &str| Err(Refusal::new(StatusCode::FORBIDDEN, "kind", sentence));
    if !KINDS.contains(&wanted.kind) {
        return refused("The page cannot have this kind of event signed.");
    }
    let hidden = wanted.hidden.iter().flatten();
    for tag in wanted.tags.iter().chain(hidden) {
        match tag.first() {
            Some(name) if !name.is_empty() && !OURS.contains(&name.as_str()) => {}
            _ => {
                return Err(Refusal::bad(
                    "A tag has no name, or one that the page cannot set.",
                ));
            }
        }
    }
    if wanted.hidden.is_some() && !PRIVATE.contains(&wanted.kind) {
        return refused("Only a question or a task can be asked in private.");
    }
    if wanted.hidden.is_some() && !wanted.content.is_empty() {
        return Err(Refusal::bad(
            "What is hidden takes the place of the content.",
        ));
    }
    if wanted.kind == kind::CLIENT_AUTH && !is_auth(wanted, &sender.host) {
        return refused("The page proves who it is to this treefort alone.");
    }
    Ok(())
}

/// Whether this answers a challenge of the relay that the page came from (NIP-42), and of no other.
fn is_auth(wanted: &Wanted, host: &str) -> bool {
    let is_ours = |url: &str| {
        let ours = Url::parse(&format!("ws://{host}/"));
        ours.is_ok() && Url::parse(url) == ours
    };
    let [one, two] = wanted.tags.as_slice() else {
        return false;
    };
    wanted.content.is_empty()
        && matches!(
            (one.as_slice(), two.as_slice()),
            ([relay, url], [challenge, _]) | ([challenge, _], [relay, url])
                if relay == "relay" && challenge == "challenge" && is_ours(url)
        )
}

/// The draft, and what of it is hidden.
fn parts(wanted: Wanted) -> (Draft, Option<Vec<Vec<String>>>) {
    let draft = Draft {
        kind: wanted.kind,
        tags: wanted.tags,
        content: wanted.content,
    };
    (draft, wanted.hidden)
}

/// Encrypts what is hidden, as `nips/90.md` says.
fn seal(
    draft: Draft,
    hidden: &[Vec<String>],
    operator: &Keys,
    coordinator: &PublicKey,
) -> Result<Draft, Refusal> {
    let text = json!(hidden).to_string();
    let content = Scheme::Nip44
        .encrypt(operator, coordinator, &text)
        .map_err(|_| {
            Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "This is too long to be asked in private: that takes 64 kB.",
            )
        })?;
    let to = coordinator.to_hex();
    let named = draft
        .tags
        .iter()
        .any(|tag| matches!(tag.as_slice(), [name, key, ..] if name == "p" && *key == to));
    Ok(draft
        .tag(["encrypted"])
        .tag_opt((!named).then_some(["p", &to]))
        .content(content))
}

/// Keys, hashes and patterns over long texts take their time, and others wait on this thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Refusal::inside(&error))
}
