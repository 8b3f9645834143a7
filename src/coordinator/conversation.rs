//! What a job says to its agent: its inputs resolved, and the conversation before it.

use nostr::{Event, EventId, Filter, Kind};

use super::{
    attached::{self, Attached},
    context::Context,
};
use crate::{
    job::{Failure, JobRecord},
    nips::{
        kind,
        nip90::{Input, JobRequest, Scheme},
        reference::named_keys,
    },
};

/// A prompt holds at most this many bytes: more than any local model reads.
pub(super) const MAX_PROMPT: usize = 1 << 20;
/// How many turns of a conversation an agent is reminded of.
const MAX_TURNS: usize = 40;
/// How many bytes of a conversation an agent is reminded of.
const MAX_HISTORY: usize = 128 * 1024;

/// What stands for the answer of a job that has none.
const CUT_OFF: &str = "[There was no answer: the work was cut off.]";

/// One thing that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// `user` or `assistant`.
    pub(super) role: &'static str,
    /// The text.
    pub(super) text: String,
}

/// What a job asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// In words.
    pub(super) said: String,
    /// What is attached.
    pub(super) files: Vec<Attached>,
}

/// Resolves a job's inputs with the files that are attached.
///
/// # Errors
/// A sentence for the customer.
pub(super) async fn asked(context: &Context, request: &JobRequest) -> Result<Asked, Failure> {
    Ok(Asked {
        said: said(context, request).await?,
        files: attached::read(context, request).await?,
    })
}

/// Resolves a job's inputs, in order, to what its customer may have.
async fn said(context: &Context, request: &JobRequest) -> Result<String, Failure> {
    let mut parts = Vec::with_capacity(request.inputs.len());
    for input in &request.inputs {
        parts.push(match input {
            Input::Text(text) => text.clone(),
            Input::Event(id) => event_text(context, request, id).await?,
            Input::Job(id) => job_text(context, request, id).await?,
            Input::Blob { .. } => continue,
        });
    }
    let prompt = parts.join("\n\n");
    if prompt.len() > MAX_PROMPT {
        return Err(Failure::new(
            "input",
            format!(
                "the prompt has {} bytes; at most {MAX_PROMPT} are read",
                prompt.len()
            ),
        ));
    }
    if prompt.trim().is_empty() {
        return Err(Failure::new("input", "the prompt is empty"));
    }
    Ok(prompt)
}

async fn event_text(
    context: &Context,
    request: &JobRequest,
    id: &EventId,
) -> Result<String, Failure> {
    // Whether it is missing or private must look the same to a customer.
    let missing = || Failure::new("input", format!("input event {id} was not found"));
    let event = get(context, id).await?.ok_or_else(missing)?;
    if !may_read(context, request, &event) {
        return Err(missing());
    }
    Ok(event.content)
}

async fn job_text(
    context: &Context,
    request: &JobRequest,
    id: &EventId,
) -> Result<String, Failure> {
    let missing = || {
        Failure::new(
            "input",
            format!("job {id} has no result that you could read"),
        )
    };
    if let Some(record) = context.state.job_of(id).ok().flatten()
        && record.customer() == request.customer
        && let Some(answer) = answer_of(context, &record).await?
    {
        return keep_private(&record, request.scheme).map(|()| answer);
    }
    // Somebody else's job: its result, if the customer may have that.
    let filter = Filter::new().event(*id).limit(50);
    let results = context.relay.query(filter).await.map_err(unavailable)?;
    results
        .into_iter()
        .filter(|event| kind::is_job_result(event.kind))
        .find(|event| Scheme::of(event) == Scheme::Plain && may_read(context, request, event))
        .map(|event| event.content)
        .ok_or_else(missing)
}

/// Whether an event may be given to a customer: what it wrote or what names it, and the rest of the record only to who
/// could have read it here.
fn may_read(context: &Context, request: &JobRequest, event: &Event) -> bool {
    if event.kind == Kind::from(kind::GIFT_WRAP) || Scheme::of(event).is_private() {
        return false;
    }
    event.pubkey == request.customer
        || named_keys(event).contains(&request.customer)
        || reads_everything(context, request)
}

/// Whether who asks reads the whole record anyway: the owner, and whom the owner admitted when the job was brought here.
/// One that a relay passed on is answered there, by who may never have been on this machine. Anybody else might be a
/// program or a page that no more than asks: that the record can be read here without a key is no promise to it.
fn reads_everything(context: &Context, request: &JobRequest) -> bool {
    let came_from = context.state.sync_came_from(&request.id);
    request.customer == context.admission.operator()
        || context.admission.is_admitted(&request.customer) && matches!(came_from, Ok(None))
}

/// The conversation before a job, oldest first, within the bounds.
///
/// # Errors
/// When the log cannot be read.
pub(super) async fn history(
    context: &Context,
    scheme: Scheme,
    continues: Option<EventId>,
) -> Result<Vec<Said>, Failure> {
    let mut turns = Vec::new();
    let mut bytes = 0;
    let mut next = continues;
    while let Some(id) = next
        && turns.len() < 2 * MAX_TURNS
    {
        let Some(record) = context.state.job(&id).ok().flatten() else {
            break;
        };
        next = record.continues;
        keep_private(&record, scheme)?;
        // One that was cut off was heard all the same, and what it did is in the files.
        let answer = answer_of(context, &record).await?;
        let answer = answer.unwrap_or_else(|| CUT_OFF.to_owned());
        let Ok(request) = JobRequest::parse(&record.request, context.keyring.coordinator()) else {
            continue;
        };
        let Ok(mut question) = Box::pin(said(context, &request)).await else {
            continue;
        };
        for (_, name) in request.blobs() {
            question.push_str(&format!("\n\n[A file was attached: {name}]"));
        }
        bytes += answer.len() + question.len();
        if bytes > MAX_HISTORY {
            break;
        }
        turns.push(Said {
            role: "assistant",
            text: answer,
        });
        turns.push(Said {
            role: "user",
            text: question,
        });
    }
    turns.reverse();
    Ok(turns)
}

/// What was said in private goes into private jobs only: a plain one would put it on the record.
fn keep_private(earlier: &JobRecord, scheme: Scheme) -> Result<(), Failure> {
    if earlier.scheme.is_private() && !scheme.is_private() {
        return Err(Failure::new(
            "input",
            "the earlier job was encrypted: send this one encrypted too",
        ));
    }
    Ok(())
}

/// The text of a job's result, decrypted if it was private: the coordinator wrote it and can read it.
async fn answer_of(context: &Context, record: &JobRecord) -> Result<Option<String>, Failure> {
    let Some(result) = record.result else {
        return Ok(None);
    };
    let Some(event) = get(context, &result).await? else {
        return Ok(None);
    };
    Ok(record
        .scheme
        .decrypt(
            context.keyring.coordinator(),
            &record.customer(),
            &event.content,
        )
        .ok())
}

async fn get(context: &Context, id: &EventId) -> Result<Option<Event>, Failure> {
    context.relay.get(*id).await.map_err(unavailable)
}

fn unavailable(error: impl std::fmt::Display) -> Failure {
    Failure::new("agent", format!("the log could not be read: {error}"))
}
