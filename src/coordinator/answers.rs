//! Answers to customers: signed before they are stored, published after.

use std::collections::VecDeque;

use nostr::{Event, EventId, Keys};

use super::{Error, context::Context, executor::Order, publisher::Publisher, saying};
use crate::{
    job::{Effect, Failure, Job, JobRecord},
    nips::{
        Reference, kind,
        nip90::{JobRequest, Reply, Scheme, Status},
    },
};

/// Whether an answer must survive a crash.
pub(super) enum Keep {
    /// Yes: into the outbox.
    Outbox,
    /// No: a part of an answer, soon out of date.
    Not,
}

/// Signs an answer, and notes a result in the job's record.
///
/// # Errors
/// When it cannot be encrypted or signed.
pub(super) fn sign(
    record: &mut JobRecord,
    context: &Context,
    effect: Effect,
) -> Result<(Event, Keep), Error> {
    let keys = context.keyring.coordinator();
    let reply = Reply {
        request: &record.request,
        scheme: record.scheme,
        relay: &context.relay_url,
        keys,
    };
    let clean = |text: &str| context.redactor.redact(text).into_owned();
    let result = match effect {
        Effect::Feedback {
            status,
            sentence,
            code,
            text,
            tags,
        } => {
            let keep = if status == Status::Partial {
                Keep::Not
            } else {
                Keep::Outbox
            };
            let cleaned = |tag: Vec<String>| tag.iter().map(|value| clean(value)).collect();
            let tags = tags.into_iter().map(cleaned).collect();
            let draft = reply.feedback(status, &clean(&sentence), code, &clean(&text), tags)?;
            (context.publisher.sign(draft, keys)?, keep)
        }
        Effect::Result(answer) => {
            // What became of a workspace task is JSON, and each text in it was cleaned by itself: in the whole, one
            // that looks like the beginning of a key would take the rest with it.
            let text = if record.request.kind.as_u16() == kind::WORKSPACE_TASK {
                answer.text
            } else {
                clean(&answer.text)
            };
            let draft = reply.result(&text, answer.inner.as_ref(), answer.tags)?;
            let event = context.publisher.sign(draft, keys)?;
            record.result = Some(event.id);
            (event, Keep::Outbox)
        }
        Effect::Start { .. } | Effect::Stop { .. } => return Err(Error::Ended("answer")),
    };
    Ok(result)
}

/// What the executor needs for an attempt.
///
/// # Errors
/// When the request cannot be read any more.
pub(super) fn order(record: &JobRecord, context: &Context, attempt: u32) -> Result<Order, Failure> {
    let request = JobRequest::parse(&record.request, context.keyring.coordinator())
        .map_err(|error| Failure::new("input", error.to_string()))?;
    Ok(Order {
        attempt,
        event: record.request.clone(),
        request,
        agent: record.agent.clone(),
        stranger: record.stranger,
        continues: record.continues,
    })
}

/// The ledger's first record of a job.
pub(super) fn new_record(request: Event, scheme: Scheme, now: u64) -> JobRecord {
    JobRecord {
        v: JobRecord::VERSION,
        job: Job::new(request.kind),
        request,
        scheme,
        agent: String::new(),
        stranger: false,
        continues: None,
        session: None,
        result: None,
        accepted_at: now,
        outbox: Vec::new(),
    }
}

/// What became of a job's answers.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Those that have to wait: the store failed, so the program ends, and its next start publishes them.
    pub(super) waiting: Vec<Event>,
    /// The relay refused a result for good, and why; nothing after it was published.
    pub(super) refused: Option<String>,
}

/// Publishes a job's answers in order.
pub(super) async fn send_all(publisher: &Publisher, job: &EventId, outbox: Vec<Event>) -> Sent {
    let mut sent = Sent::default();
    let mut outbox = VecDeque::from(outbox);
    while let Some(event) = outbox.front() {
        match publisher.publish(event.clone()).await {
            Err(error) if error.is_temporary() => {
                tracing::warn!(%job, %error, "an answer waits for the next start");
                sent.waiting = outbox.into();
                return sent;
            }
            Err(error) => {
                tracing::error!(%job, %error, "an answer could not be published");
                if kind::is_job_result(event.kind) {
                    sent.refused = Some(error.to_string());
                    return sent;
                }
            }
            Ok(()) => {}
        }
        outbox.pop_front();
    }
    sent
}

/// The thread's last note, which quotes the result that was just signed.
pub(super) fn closing_note(
    record: &JobRecord,
    context: &Context,
    root: &Reference,
    keys: &Keys,
    text: &str,
) -> Option<Event> {
    let result = record
        .outbox
        .iter()
        .find(|event| Some(event.id) == record.result)?;
    let draft = saying::closing_note(root, result, text, &context.relay_url);
    match context.publisher.sign(draft, keys) {
        Ok(note) => Some(note),
        Err(error) => {
            tracing::warn!(%error, "the thread stays without its answer");
            None
        }
    }
}
