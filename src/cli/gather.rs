//! Finding what a person means, and collecting the events that belong to it.
//!
//! Anybody who may write to the relay can publish events of any kind. A session counts only when the
//! coordinator handed it a job (the inner 5870 that names the session's key), and an answer only when the
//! coordinator signed it.

mod meant;

pub use self::meant::{last_session, may_name, named, resolve};

use std::collections::{BTreeMap, BTreeSet, HashSet};

use nostr::{Alphabet, Event, EventId, Filter, Kind, PublicKey, SingleLetterTag, Timestamp};

use super::{
    client::{Client, Error},
    view,
};
use crate::nips::{kind, nip90::Status};

/// How many ids one filter carries.
const IDS_PER_FILTER: usize = 100;

/// What a person named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A session, by its key.
    Session(PublicKey),
    /// A job, by its id.
    Job(EventId),
}

/// The tag `E`, which names the root job.
pub(crate) const ROOT: SingleLetterTag = SingleLetterTag::uppercase(Alphabet::E);
/// The tag `e`, which names the parent.
pub(crate) const PARENT: SingleLetterTag = SingleLetterTag::lowercase(Alphabet::E);
/// The tag `q`, which names what is quoted.
pub(crate) const QUOTE: SingleLetterTag = SingleLetterTag::lowercase(Alphabet::Q);

/// All sessions that the coordinator gave a job.
///
/// # Errors
/// When the relay cannot be asked.
pub async fn sessions(
    client: &mut Client,
    coordinator: PublicKey,
) -> Result<BTreeSet<PublicKey>, Error> {
    let handed = client
        .query(view::of_kind(kind::AGENT_TASK).author(coordinator))
        .await?;
    Ok(handed
        .iter()
        .filter_map(|job| view::people(job).next())
        .collect())
}

/// The sessions to which jobs were given.
///
/// # Errors
/// When the relay cannot be asked.
pub async fn given_to(
    client: &mut Client,
    coordinator: PublicKey,
    jobs: &[EventId],
) -> Result<BTreeMap<EventId, PublicKey>, Error> {
    let mut given = BTreeMap::new();
    for chunk in jobs.chunks(IDS_PER_FILTER) {
        let handed = view::of_kind(kind::AGENT_TASK).author(coordinator);
        let mut handed = client.query(handed.custom_tags(ROOT, hexes(chunk))).await?;
        // After a crash a job may be given to another one: the last counts.
        sort_oldest_first(&mut handed);
        for one in &handed {
            if let Some(session) = view::people(one).next() {
                given.extend(view::ids(one, "E").map(|job| (job, session)));
            }
        }
    }
    Ok(given)
}

/// A customer's job with what was said about it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: EventId,
    /// When it was asked, or first answered.
    pub at: Timestamp,
    /// The request; its customer may have withdrawn it.
    pub event: Option<Event>,
    /// The coordinator's answers and the customer's withdrawal.
    pub answers: Vec<Event>,
}

/// The customers' jobs that the coordinator answered or that wait for it, newest first.
///
/// # Errors
/// When the relay cannot be asked.
pub async fn jobs(
    client: &mut Client,
    coordinator: PublicKey,
    limit: Option<usize>,
    tasks: bool,
) -> Result<Vec<Job>, Error> {
    let mut answers = client
        .query(view::of_kind(kind::JOB_FEEDBACK).author(coordinator))
        .await?;
    let mut ids: HashSet<EventId> = answers
        .iter()
        .filter_map(|answer| view::ids(answer, "e").next())
        .collect();
    let mut requests = client
        .query(
            Filter::new()
                .kinds([kind::TEXT_GENERATION, kind::AGENT_TASK].map(Kind::from))
                .pubkey(coordinator),
        )
        .await?;
    for request in &requests {
        ids.remove(&request.id);
    }
    let missing: Vec<EventId> = ids.into_iter().collect();
    for chunk in missing.chunks(IDS_PER_FILTER) {
        requests.extend(client.query(Filter::new().ids(chunk.to_vec())).await?);
    }
    let mut jobs: BTreeMap<EventId, Job> = BTreeMap::new();
    let coordinators: HashSet<EventId> = requests
        .iter()
        .filter(|request| request.pubkey == coordinator)
        .map(|request| request.id)
        .collect();
    for request in requests {
        if kind::is_job_request(request.kind) && request.pubkey != coordinator {
            let job = Job {
                id: request.id,
                at: request.created_at,
                event: Some(request),
                answers: Vec::new(),
            };
            jobs.insert(job.id, job);
        }
    }
    for answer in &answers {
        if let Some(id) = view::ids(answer, "e").next()
            && !coordinators.contains(&id)
        {
            let job = jobs.entry(id).or_insert_with(|| Job {
                id,
                at: answer.created_at,
                event: None,
                answers: Vec::new(),
            });
            if job.event.is_none() {
                job.at = job.at.min(answer.created_at);
            }
        }
    }
    let mut jobs: Vec<Job> = jobs.into_values().collect();
    let is_task = |job: &Job| {
        let kind = job.event.as_ref().map(|event| event.kind.as_u16());
        kind == Some(kind::WORKSPACE_TASK)
    };
    jobs.retain(|job| tasks || !is_task(job));
    jobs.sort_by(|a, b| b.at.cmp(&a.at).then(a.id.cmp(&b.id)));
    jobs.truncate(limit.unwrap_or(usize::MAX));

    let ids: Vec<EventId> = jobs.iter().map(|job| job.id).collect();
    let result_kinds: BTreeSet<Kind> = jobs
        .iter()
        .filter_map(|job| Some(kind::result_of(job.event.as_ref()?.kind)))
        .collect();
    for chunk in ids.chunks(IDS_PER_FILTER) {
        let about = Filter::new().events(chunk.to_vec());
        let results = about.clone().kinds(result_kinds.clone());
        answers.extend(client.query(results.author(coordinator)).await?);
        answers.extend(client.query(about.kind(Kind::from(kind::DELETION))).await?);
    }
    let mut by_job: BTreeMap<EventId, Vec<Event>> = BTreeMap::new();
    for answer in answers {
        let job = view::ids(&answer, "e").next();
        if let Some(job) = job {
            by_job.entry(job).or_default().push(answer);
        }
    }
    for job in &mut jobs {
        job.answers = by_job.remove(&job.id).unwrap_or_default();
    }
    Ok(jobs)
}

/// What belongs to a session or job, oldest first: requests, feedback, records, results, thread.
///
/// # Errors
/// When the relay cannot be asked.
pub async fn story(
    client: &mut Client,
    coordinator: PublicKey,
    target: Target,
) -> Result<Vec<Event>, Error> {
    let mut all = BTreeMap::new();
    let (sessions, roots) = match target {
        Target::Session(key) => {
            let records = client.query(view::records(key)).await?;
            let roots: BTreeSet<EventId> = records
                .iter()
                .flat_map(|record| view::ids(record, "E"))
                .collect();
            keep(&mut all, records);
            (BTreeSet::from([key]), roots)
        }
        Target::Job(id) => (BTreeSet::new(), BTreeSet::from([id])),
    };
    let roots: Vec<EventId> = roots.into_iter().collect();
    for chunk in roots.chunks(IDS_PER_FILTER) {
        keep(
            &mut all,
            client.query(Filter::new().ids(chunk.to_vec())).await?,
        );
        let about = Filter::new().author(coordinator);
        keep(
            &mut all,
            client
                .query(about.clone().custom_tags(PARENT, hexes(chunk)))
                .await?,
        );
        let handed = client
            .query(
                about
                    .kind(Kind::from(kind::AGENT_TASK))
                    .custom_tags(ROOT, hexes(chunk)),
            )
            .await?;
        let named: BTreeSet<PublicKey> = handed.iter().flat_map(view::people).collect();
        let tasks: Vec<EventId> = handed.iter().map(|job| job.id).collect();
        let members: BTreeSet<PublicKey> = if sessions.is_empty() {
            named
        } else {
            sessions.clone()
        };
        // A session's own handed jobs only: other sessions of the same root are other sessions' stories.
        keep(
            &mut all,
            handed
                .into_iter()
                .filter(|job| view::people(job).any(|key| members.contains(&key)))
                .collect(),
        );
        if !members.is_empty() {
            let theirs = Filter::new().authors(members.iter().copied());
            let records = theirs.clone().custom_tags(ROOT, hexes(chunk));
            keep(&mut all, client.query(records).await?);
            for tasks in tasks.chunks(IDS_PER_FILTER) {
                let results = theirs.clone().events(tasks.to_vec());
                keep(&mut all, client.query(results).await?);
            }
        }
        keep(
            &mut all,
            thread(client, coordinator, &members, chunk).await?,
        );
    }
    let mut events: Vec<Event> = all.into_values().collect();
    sort_oldest_first(&mut events);
    Ok(events)
}

/// The names of those who signed these.
///
/// # Errors
/// When the relay cannot be asked.
pub async fn profiles(client: &mut Client, events: &[Event]) -> Result<Vec<Event>, Error> {
    let signers: BTreeSet<PublicKey> = events.iter().map(|event| event.pubkey).collect();
    client
        .query(view::of_kind(kind::PROFILE).authors(signers))
        .await
}

/// The NIP-10 thread: notes that quote the jobs, and the coordinator's and sessions' replies to them.
async fn thread(
    client: &mut Client,
    coordinator: PublicKey,
    members: &BTreeSet<PublicKey>,
    jobs: &[EventId],
) -> Result<Vec<Event>, Error> {
    let notes = view::of_kind(kind::NOTE);
    let mut opened = client
        .query(
            notes
                .clone()
                .author(coordinator)
                .custom_tags(QUOTE, hexes(jobs)),
        )
        .await?;
    let ids: Vec<EventId> = opened.iter().map(|note| note.id).collect();
    for chunk in ids.chunks(IDS_PER_FILTER) {
        let authors = members.iter().copied().chain([coordinator]);
        opened.extend(
            client
                .query(notes.clone().authors(authors).events(chunk.to_vec()))
                .await?,
        );
    }
    Ok(opened)
}

/// Oldest first; within one second, an event after those that it names, requests before results.
pub fn sort_oldest_first(events: &mut Vec<Event>) {
    events.sort_by_key(|event| (event.created_at, rank(event), event.id));
    let mut ordered = Vec::with_capacity(events.len());
    for second in events.chunk_by(|a, b| a.created_at == b.created_at) {
        let mut left: Vec<&Event> = second.iter().collect();
        let mut waiting: HashSet<EventId> = second.iter().map(|event| event.id).collect();
        while !left.is_empty() {
            // A circle of names cannot be signed; if one were here, its first event would break it.
            let next = left
                .iter()
                .position(|event| names(event).all(|id| !waiting.contains(&id)))
                .unwrap_or(0);
            let event = left.remove(next);
            waiting.remove(&event.id);
            ordered.push(event.clone());
        }
    }
    *events = ordered;
}

/// The events that an event names, and so comes after.
fn names(event: &Event) -> impl Iterator<Item = EventId> {
    ["e", "E", "q", "prev"]
        .into_iter()
        .flat_map(|name| view::ids(event, name))
        .filter(|id| *id != event.id)
}

fn rank(event: &Event) -> u8 {
    let over = || {
        view::Feedback::of(event)
            .is_some_and(|said| matches!(said.status, Status::Success | Status::Error))
    };
    match event.kind.as_u16() {
        kind if kind::JOB_REQUESTS.contains(&kind) => 0,
        kind::JOB_FEEDBACK if over() => 5,
        kind::JOB_FEEDBACK => 1,
        kind::SESSION_START..=kind::ERROR => 2,
        kind if kind::JOB_RESULTS.contains(&kind) => 3,
        kind::SESSION_END => 6,
        _ => 4,
    }
}

fn keep(all: &mut BTreeMap<EventId, Event>, events: Vec<Event>) {
    all.extend(events.into_iter().map(|event| (event.id, event)));
}

fn hexes(ids: &[EventId]) -> Vec<String> {
    ids.iter().map(EventId::to_hex).collect()
}
