//! One job of a session: the prompt, what comes back, and the answer.

use std::time::Duration;

use nostr::Event;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{
    context::now,
    executor::{ExecutorEvent, Order},
    growing::Growing,
    publisher::PublishError,
    session::{After, Lines, Session, Turn},
    usage::Usage,
};
use crate::{
    agent::{
        acp::{self, StopReason},
        claims::{Claim, Tool, ToolContent},
    },
    job::{Answer, Failure, Report},
    nips::{
        Draft, Reference,
        draft::SignError,
        kind, nip10,
        nip90::Scheme,
        session::{ActionKind, Outcome},
    },
    recorder::Entry,
};

/// How often live text goes out.
const DELTA_EVERY: Duration = Duration::from_millis(80);
/// How long an agent may take to end a turn that was cancelled.
const CANCEL_GRACE: Duration = Duration::from_millis(800);
/// An answer holds at most this many bytes, which NIP-44 can carry; the whole is kept as a blob.
pub(super) const MAX_ANSWER: usize = 60_000;
/// What an agent says about its tools is recorded up to this often in a turn.
const MAX_TOOLS: usize = 1000;
const FIRST_TOO_MANY: usize = MAX_TOOLS + 1;
/// The most that an agent may say in one turn.
const MAX_TEXT: usize = 4 << 20;

/// What ended the wait for the agent.
enum Ended {
    Turn(Result<acp::Turn, acp::Error>),
    Cancelled,
    TimedOut,
    Shutdown,
    TooLong,
    /// A budget is used up.
    Budget(Failure),
}

/// Has the agent do one job, and reports the answer.
pub(super) async fn run(session: &mut Session, turn: &Turn, prompt: &str, lines: &Lines) -> After {
    let order = &turn.order;
    match Box::pin(work(session, turn, prompt, lines)).await {
        Ok(after) => after,
        Err(error) => {
            // The relay or the disk refuses records: going on would leave a gap in the chain.
            tracing::error!(%error, "the session's record could not be written");
            let failure =
                Failure::new("agent", format!("the record could not be written: {error}"));
            report(session, order, lines, Report::Failed(failure)).await;
            After::Over(Outcome::Failed, "record")
        }
    }
}

async fn work(
    session: &mut Session,
    turn: &Turn,
    prompt: &str,
    lines: &Lines,
) -> Result<After, PublishError> {
    let order = &turn.order;
    // The session's first job was handed over before its start.
    let inner = match session.first_inner.take() {
        Some(inner) => inner,
        None => {
            let mut events = Vec::new();
            let inner = session.take_job(order, prompt, &mut events)?;
            session.context.publisher.publish_all(events).await?;
            inner
        }
    };
    let began = Instant::now();
    let mut growing = Growing::new(began);
    let mut usage = Usage::default();
    session.forget_claims();
    let ended = listen(session, turn, prompt, lines, &mut growing, &mut usage).await?;
    while let Ok(call) = session.calls.try_recv() {
        usage.add(call);
    }
    session.log.spend(usage.prompt_tokens + usage.output_tokens);
    if usage.truncated {
        let sentence =
            "The prompt was longer than the model's context; the model did not read all of it.";
        let entry = session
            .log
            .error("truncated-prompt", true, sentence, now())?;
        session.publish(entry).await?;
    }

    for sentence in std::mem::take(&mut usage.fell_back) {
        let sentence = session.context.redactor.redact(&sentence).into_owned();
        let entry = session.log.error("fallback", true, &sentence, now())?;
        session.publish(entry).await?;
    }

    if !matches!(ended, Ended::Turn(Ok(_))) && !growing.text.trim().is_empty() {
        // What was shown is on the record, also when it did not become an answer.
        let text = session.context.redactor.redact(&growing.text).into_owned();
        let said = message(
            session,
            &text,
            &usage,
            began.elapsed(),
            "Said before it stopped",
        )?;
        session.publish(said).await?;
    }

    let failure = match ended {
        Ended::Turn(Ok(done)) if done.stop_reason == StopReason::Refusal => {
            Some(Failure::new("agent", "the agent refused the job"))
        }
        Ended::Turn(Ok(done)) if done.stop_reason == StopReason::Cancelled => {
            Some(Failure::new("interrupted", "the agent ended the job early"))
        }
        Ended::Turn(Ok(_)) if growing.text.trim().is_empty() => {
            Some(Failure::new("model", "the model gave an empty answer"))
        }
        Ended::Turn(Ok(_)) => None,
        Ended::Turn(Err(error)) => Some(turn_failed(session, &error, usage.failed.take())),
        Ended::TooLong => Some(Failure::new(
            "agent",
            "the agent said more than an answer may hold",
        )),
        Ended::TimedOut => {
            record_error(session, "timeout", "The job took longer than it may.").await?;
            let failure = Failure::new("timeout", "the job took longer than it may");
            report(session, order, lines, Report::Failed(failure)).await;
            return Ok(After::Over(Outcome::Failed, "timeout"));
        }
        Ended::Budget(failure) => {
            record_error(session, failure.code, &failure.sentence).await?;
            report(session, order, lines, Report::Failed(failure)).await;
            return Ok(After::Over(Outcome::Failed, "budget"));
        }
        Ended::Cancelled => return Ok(After::Over(Outcome::Interrupted, "cancelled")),
        Ended::Shutdown => return Ok(After::Over(Outcome::Interrupted, "stopped")),
    };
    if let Some(failure) = failure {
        let sentence = session
            .context
            .redactor
            .redact(&failure.sentence)
            .into_owned();
        record_error(session, failure.code, &sentence).await?;
        report(
            session,
            order,
            lines,
            Report::Failed(Failure {
                sentence,
                ..failure
            }),
        )
        .await;
        return Ok(After::Over(Outcome::Failed, "error"));
    }
    growing.flush(session, &order.request.customer).await;
    let text = session.context.redactor.redact(&growing.text).into_owned();
    let message = message(session, &text, &usage, began.elapsed(), "Answered")?;
    let message = session.keep_whole(message).await;
    let (answer, result) = answer(session, order, &inner, text).await?;
    session
        .context
        .publisher
        .publish_all(vec![message, result])
        .await?;
    report(session, order, lines, Report::Answered(answer)).await;
    Ok(After::Open)
}

/// Sends the prompt and takes in what the agent says until its turn ends or must end.
async fn listen(
    session: &mut Session,
    turn: &Turn,
    prompt: &str,
    lines: &Lines,
    growing: &mut Growing,
    usage: &mut Usage,
) -> Result<Ended, PublishError> {
    if turn.cancel.is_cancelled() {
        return Ok(Ended::Cancelled);
    }
    if lines.shutdown.is_cancelled() {
        return Ok(Ended::Shutdown);
    }
    let order = &turn.order;
    let deadline = session.deadline(order);
    let peer = session.process.peer.clone();
    let acp = session.acp.clone();
    let blocks = vec![serde_json::json!({"type": "text", "text": prompt})];
    let prompting = peer.prompt(&acp, blocks);
    tokio::pin!(prompting);
    let mut ticks = tokio::time::interval(DELTA_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            biased;
            () = turn.cancel.cancelled() => break Ended::Cancelled,
            () = lines.shutdown.cancelled() => break Ended::Shutdown,
            () = tokio::time::sleep_until(deadline) => break Ended::TimedOut,
            done = &mut prompting => break Ended::Turn(done),
            // The gateway waits when nobody takes its calls in.
            Some(call) = session.calls.recv() => {
                usage.add(call);
                if let Some(failure) = usage.exhausted.take() {
                    break Ended::Budget(failure);
                }
            }
            Some(claim) = session.process.claims.recv() => {
                take(session, growing, claim).await?;
                if growing.text.len() > MAX_TEXT {
                    break Ended::TooLong;
                }
            }
            _ = ticks.tick() => {
                growing.show(session, &order.request.customer, false).await;
                if let Some(text) = growing.partial(&session.context.redactor) {
                    report(session, order, lines, Report::Partial(text)).await;
                }
            }
        }
    };
    if matches!(ended, Ended::Turn(_)) {
        // Everything that the agent said before its answer is in the channel, and no more than it holds:
        // one that goes on talking is not heard for ever.
        for _ in 0..session.process.claims.max_capacity() {
            match session.process.claims.try_recv() {
                Ok(claim) => take(session, growing, claim).await?,
                Err(_) => break,
            }
        }
    } else {
        let stopping = async {
            let _asked = peer.cancel(&acp).await;
            let _ended = prompting.await;
        };
        // The container goes next, whether it obeys or not.
        let _in_time = tokio::time::timeout(CANCEL_GRACE, stopping).await;
    }
    Ok(ended)
}

async fn take(
    session: &mut Session,
    growing: &mut Growing,
    claim: Claim,
) -> Result<(), PublishError> {
    match claim {
        Claim::Text(text) => growing.text.push_str(&text),
        Claim::ToolCall(tool) | Claim::ToolUpdate(tool)
            if matches!(tool.status.as_deref(), Some("completed" | "failed")) =>
        {
            growing.tools += 1;
            match growing.tools {
                ..=MAX_TOOLS => record_tool(session, &tool).await?,
                FIRST_TOO_MANY => {
                    let sentence = "The agent said more about its tools than a record holds.";
                    let entry = session
                        .log
                        .error("truncated-record", true, sentence, now())?;
                    session.publish(entry).await?;
                }
                _ => {}
            }
        }
        Claim::NotJson(line) => tracing::debug!(
            bytes = line.len(),
            "the agent wrote a line that is no message"
        ),
        // Kept in the journal; nothing of them belongs into the record.
        _ => {}
    }
    Ok(())
}

/// What an agent says that a tool did: a claim, marked as one.
async fn record_tool(session: &mut Session, tool: &Tool) -> Result<(), PublishError> {
    let title = tool.title.clone().unwrap_or_else(|| "a tool".to_owned());
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
    detail.extend(tool.kind.clone().map(|kind| vec!["tool".to_owned(), kind]));
    let content = if session.private {
        String::new()
    } else {
        output.join("\n")
    };
    let title = if session.private {
        "a tool".to_owned()
    } else {
        title
    };
    let alt = format!("Says that it ran {title}: {status}");
    let entry = session
        .log
        .action(ActionKind::Command, detail, alt, &content, now())?;
    session.publish(entry).await
}

/// Why a turn failed: what the host saw of the model before what the agent says.
fn turn_failed(session: &Session, error: &acp::Error, model: Option<Failure>) -> Failure {
    match (error, model) {
        (acp::Error::Rpc { .. }, Some(model)) => model,
        (acp::Error::Rpc { error, .. }, None) => Failure::new("agent", error.message.clone()),
        (error, _) => session.process.agent_failed(error),
    }
}

async fn record_error(
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
fn message(
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
        text
    };
    session
        .log
        .action(ActionKind::Message, detail, alt.to_owned(), content, now())
}

/// The answer, and the session's own result, which the customer's will quote.
async fn answer(
    session: &Session,
    order: &Order,
    inner: &Reference,
    text: String,
) -> Result<(Answer, Event), SignError> {
    let context = &session.context;
    let coordinator = context.keyring.coordinator().public_key();
    let mut tags = Vec::new();
    let text = if text.len() > MAX_ANSWER {
        let blobs = context.blobs.clone();
        let whole = text.clone();
        let kept = tokio::task::spawn_blocking(move || blobs.put(whole.as_bytes())).await;
        if !matches!(kept, Ok(Ok(_))) {
            tracing::error!("the whole of a long answer could not be kept");
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
    let inner = Reference::to(&event, &context.relay_url);
    Ok((Answer { text, inner, tags }, event))
}

async fn report(session: &Session, order: &Order, lines: &Lines, report: Report) {
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

fn tag<const N: usize>(name: &str, values: [String; N]) -> Vec<String> {
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
