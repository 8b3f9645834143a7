//! A session as a file for others, over HTTP: what `treefort export` writes.

use std::collections::BTreeSet;

use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};
use nostr::{Alphabet, Event, EventId, Filter, Kind, PublicKey, SingleLetterTag};

use super::{
    Page,
    body::Size,
    reply::{self, Refusal},
    share::{Bundle, ShareError},
};
use crate::{
    nips::kind,
    relay::{self, HttpReply, Relay},
};

const ROOT: SingleLetterTag = SingleLetterTag::uppercase(Alphabet::E);
/// Ids in one filter.
const IDS_PER_FILTER: usize = 100;

/// What the file is.
#[derive(Debug, Clone, Copy)]
enum Form {
    Html,
    Lines,
}

/// The file of a session, as a download.
pub(super) async fn get(
    page: &Page,
    session: &str,
    query: Option<&str>,
) -> Result<HttpReply, Refusal> {
    let (form, content_type, ending) = match query {
        Some("form=html") => (Form::Html, "text/html; charset=utf-8", "html"),
        Some("form=jsonl") => (Form::Lines, "application/jsonl", "jsonl"),
        _ => return Err(Refusal::bad("Say `form=html` or `form=jsonl`.")),
    };
    let none = || Refusal::missing("There is no record of this session.");
    let session = PublicKey::from_hex(session).map_err(|_| none())?;
    let _place = page.places.take(Size::File).await?;
    let coordinator = page.keyring.coordinator().public_key();
    let events = gather(&page.relay, coordinator, session)
        .await
        .map_err(|error| Refusal::inside(&error))?;
    let redactor = page.redactor.clone();
    let text = tokio::task::spawn_blocking(move || {
        Bundle::of(session, events, &redactor).map(|bundle| match form {
            Form::Html => bundle.html(),
            Form::Lines => bundle.lines(),
        })
    });
    let text = match text.await.map_err(|error| Refusal::inside(&error))? {
        Ok(text) => text,
        Err(ShareError::NoSession) => return Err(none()),
        Err(error) => {
            let sentence = format!("This cannot be handed on: {error}.");
            return Err(Refusal::new(StatusCode::CONFLICT, "secret", sentence));
        }
    };
    let mut reply = reply::bytes(content_type, text);
    let name = format!(
        "attachment; filename=\"treefort-{}.{ending}\"",
        &session.to_hex()[..8]
    );
    if let Ok(name) = HeaderValue::from_str(&name) {
        reply
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(reply)
}

/// All that may belong to a session; what does belong to it, [`Bundle::of`] knows.
async fn gather(
    relay: &Relay,
    coordinator: PublicKey,
    session: PublicKey,
) -> Result<Vec<Event>, relay::Error> {
    let theirs = Filter::new().author(session);
    let records = (kind::SESSION_START..=kind::SESSION_END).map(Kind::from);
    let mut events = relay.query(theirs.clone().kinds(records)).await?;
    let roots: BTreeSet<EventId> = events.iter().flat_map(roots).collect();
    let roots: Vec<EventId> = roots.into_iter().collect();
    for chunk in roots.chunks(IDS_PER_FILTER) {
        let hexes = || chunk.iter().map(EventId::to_hex);
        let ours = Filter::new().author(coordinator);
        for filter in [
            Filter::new().ids(chunk.iter().copied()),
            ours.clone().events(chunk.iter().copied()),
            ours.kind(Kind::from(kind::AGENT_TASK))
                .custom_tags(ROOT, hexes()),
            theirs
                .clone()
                .kind(Kind::from(kind::AGENT_TASK_RESULT))
                .custom_tags(ROOT, hexes()),
        ] {
            events.extend(relay.query(filter).await?);
        }
    }
    let signers: BTreeSet<PublicKey> = events.iter().map(|event| event.pubkey).collect();
    let names = Filter::new()
        .kind(Kind::from(kind::PROFILE))
        .authors(signers);
    events.extend(relay.query(names).await?);
    Ok(events)
}

/// The jobs that a record belongs to.
fn roots(record: &Event) -> impl Iterator<Item = EventId> {
    record.tags.iter().filter_map(|tag| match tag.as_slice() {
        [name, id, ..] if name == "E" => EventId::from_hex(id).ok(),
        _ => None,
    })
}
