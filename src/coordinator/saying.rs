//! What a turn leaves: its records, the session's own result, and reports to the dispatcher.

use std::time::Duration;

use nostr::{Event, EventId};
use sha2::{Digest as _, Sha256};

use super::{
    claimed,
    context::now,
    executor::{ExecutorEvent, Order},
    growing::Growing,
    publisher::PublishError,
    session::{Lines, Session},
    usage::{self, Usage},
};
use crate::{
    agent::claims::{Tool, ToolContent},
    job::{Answer, Report},
    model::ModelCall,
    nips::{Draft, Reference, draft::SignError, kind, nip10, nip90::Scheme, session::ActionKind},
    recorder::Entry,
};

/// An answer holds at most this many bytes, which NIP-44 can carry; the whole is kept as a blob.
pub(super) const MAX_ANSWER: usize = 60_000;

/// What an agent says that a tool did: a claim, marked as one.
pub(super) async fn record_tool(
    session: &mut Session,
    tool: &Tool,
) -> Result<EventId, PublishError> {
    let output: Vec<&str> = tool
        .content
        .iter()
        .filter_map(|content| match content {
            ToolContent::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let status = tool.status.clone().unwrap_or_default();
    let mut detail = vec![vec!["claim".to_owned(), status.clone()]];
    // Names of tools are left out of a private job's record.
    let kind = tool.kind.clone().filter(|_| !session.private);
    detail.extend(kind.map(|kind| vec!["tool".to_owned(), kind]));
    let content = if session.private {
        String::new()
    } else {
        output.join("\n")
    };
    let did = if session.private {
        "used a tool".to_owned()
    } else {
        claimed::did(&session.context.redactor, tool)
    };
    let failed = if status == "failed" {
        ", which failed"
    } else {
        ""
    };
    let alt = format!("Says it {did}{failed}");
    let entry = session
        .log
        .action(ActionKind::Command, detail, alt, &content, now())?;
    let id = entry.event.id;
    // What it changed is recorded next, with one wait for the disk.
    let event = session.keep_whole(entry).await;
    session.held.push(event);
    Ok(id)
}

/// One call of the model: a fact, which the gateway saw.
pub(super) fn take_call(
    session: &mut Session,
    usage: &mut Usage,
    call: ModelCall,
) -> Result<(), PublishError> {
    let agent_ms = usage.agent_ms(&call);
    let (detail, alt) = usage::describe(&call, agent_ms);
    let kind = ActionKind::Other("model".to_owned());
    let entry = session.log.action(kind, detail, alt, "", now())?;
    session.held.push(entry.event);
    usage.add(call);
    Ok(())
}

pub(super) async fn record_error(
    session: &mut Session,
    code: &str,
    sentence: &str,
) -> Result<(), PublishError> {
    // The words of a private job are for its customer alone, and an agent may repeat them in its errors.
    let sentence = if session.private {
        "The job failed."
    } else {
        sentence
    };
    let entry = session.log.error(code, false, sentence, now())?;
    session.publish(entry).await
}

/// The record of the answer, with what it cost.
pub(super) fn message(
    session: &mut Session,
    text: &str,
    usage: &Usage,
    took: Duration,
    alt: &str,
) -> Result<Entry, SignError> {
    let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let mut detail = vec![
        tag(
            "tokens",
            [
                usage.prompt_tokens.to_string(),
                usage.output_tokens.to_string(),
            ],
        ),
        tag("ms", [took.to_string()]),
        tag("model_ms", [usage.model_ms.to_string()]),
        tag(
            "overhead_ms",
            [took.saturating_sub(usage.model_ms).to_string()],
        ),
    ];
    let text = session.context.redactor.redact(text).into_owned();
    detail.extend(
        usage
            .first_ms
            .map(|first| tag("first_ms", [first.to_string()])),
    );
    if !usage.cost_unknown {
        detail.push(tag("microusd", [usage.cost_microusd.to_string()]));
    }
    let content = if session.private {
        detail.push(tag("withheld", [text.len().to_string()]));
        ""
    } else {
        text.as_str()
    };
    session
        .log
        .action(ActionKind::Message, detail, alt.to_owned(), content, now())
}

/// What the agent said until it was told to do something else; what that cost is in the turn's last message.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn record_said(
    session: &mut Session,
    growing: &mut Growing,
) -> Result<(), PublishError> {
    let Some(said) = growing.take_unrecorded() else {
        return Ok(());
    };
    let said = session.context.redactor.redact(&said).into_owned();
    let (detail, content) = match session.private {
        true => (vec![tag("withheld", [said.len().to_string()])], ""),
        false => (Vec::new(), said.as_str()),
    };
    let alt = "Said before it was told to do something else".to_owned();
    let entry = session
        .log
        .action(ActionKind::Message, detail, alt, content, now())?;
    session.publish(entry).await
}

/// The answer, and the session's own result, which the customer's will quote.
pub(super) async fn answer(
    session: &Session,
    order: &Order,
    inner: &Reference,
    text: String,
    mut tags: Vec<Vec<String>>,
) -> Result<(Answer, Event), SignError> {
    let context = &session.context;
    let coordinator = context.keyring.coordinator().public_key();
    let text = if text.len() > MAX_ANSWER {
        // A blob is clear text: what is private goes into none.
        if !session.private {
            let blobs = context.blobs.clone();
            let whole = text.clone();
            let kept = tokio::task::spawn_blocking(move || blobs.put(whole.as_bytes())).await;
            if !matches!(kept, Ok(Ok(_))) {
                tracing::error!("the whole of a long answer could not be kept");
            }
        }
        let hash = hex::encode(Sha256::digest(&text));
        tags.push(tag("truncated", [text.len().to_string(), hash]));
        text[..text.floor_char_boundary(MAX_ANSWER)].to_owned()
    } else {
        text
    };
    let mut draft = Draft::new(kind::AGENT_TASK_RESULT)
        .tags([inner.tag("e"), session.root.tag("E")])
        .tag(["p", &coordinator.to_hex()])
        .tags(tags.clone())
        .tag(["alt", "Result of a session"]);
    draft = if session.private {
        match Scheme::Nip44.encrypt(session.log.keys(), &coordinator, &text) {
            Ok(content) => draft.tag(["encrypted"]).content(content),
            // The customer's own result has it all the same.
            Err(_) => draft
                .tag(["encrypted"])
                .tag(["withheld".to_owned(), text.len().to_string()]),
        }
    } else {
        draft.content(text.clone())
    };
    let event = context.publisher.sign(draft, session.log.keys())?;
    tracing::debug!(job = %order.event.id, result = %event.id, "the session answered");
    let inner = Some(Reference::to(&event, &context.relay_url));
    Ok((Answer { text, inner, tags }, event))
}

pub(super) async fn report(session: &Session, order: &Order, lines: &Lines, report: Report) {
    let thread = session
        .thread
        .clone()
        .map(|root| Box::new((root, session.log.keys().clone())));
    let event = ExecutorEvent {
        job: order.event.id,
        attempt: order.attempt,
        session: Some(session.log.session()),
        thread,
        report,
    };
    if lines.reports.send(event).await.is_err() {
        tracing::debug!("nobody hears a report any more");
    }
}

pub(super) fn tag<const N: usize>(name: &str, values: [String; N]) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(values).collect()
}

/// The last note of a thread: the answer, quoting the result.
pub(super) fn closing_note(thread: &Reference, result: &Event, text: &str, relay: &str) -> Draft {
    const NOTE: usize = 1000;
    let address = nip10::nevent(result.id, result.pubkey, relay);
    let cut = text.floor_char_boundary(NOTE);
    let dots = if cut < text.len() { "…" } else { "" };
    let said = format!("✅ {}{dots}\n\n{address}", &text[..cut]);
    nip10::reply(thread, Some(&Reference::to(result, relay)), &said)
}
