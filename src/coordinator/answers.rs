//! Answers to customers, signed before they are stored.

use nostr::Event;

use super::{Error, context::Context, executor::Order};
use crate::{
    job::{Effect, Failure, Job, JobRecord},
    nips::nip90::{JobRequest, Reply, Scheme},
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
        } => {
            let keep = if text.is_empty() {
                Keep::Outbox
            } else {
                Keep::Not
            };
            let draft = reply.feedback(status, &clean(&sentence), code, &clean(&text))?;
            (context.publisher.sign(draft, keys)?, keep)
        }
        Effect::Result(answer) => {
            let draft = reply.result(&clean(&answer.text), Some(&answer.inner), answer.tags)?;
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
