//! What belongs to a session, and to nobody else.
//!
//! Its records and whatever else its key signed; the jobs that it did, with their requests, feedback and results; what
//! the coordinator handed it; the notes of its jobs' threads, and replies to them; the notes of a comparison that one of
//! its jobs belongs to. With the copy that no other session
//! works on: the sessions of its undos, and every task with it, since a difference quotes files.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use nostr::{Alphabet, Event, EventId, Filter, Kind, PublicKey, SingleLetterTag, Timestamp};

use super::broken;
use crate::{
    coordinator::{context::Context, unnamed},
    job::{Failure, JobRecord},
    nips::{
        kind,
        nip90::{Comparison, JobRequest},
        reference::{named_keys, tag_value},
        workspace::{Purge, Task, Which},
    },
    store::state::SessionRecord,
};

/// Events of one look at the log.
const PAGE: usize = 2000;
/// Ids of one filter.
const IDS: usize = 100;

/// What goes.
#[derive(Debug, Default)]
pub(super) struct Belongings {
    pub(super) sessions: Vec<PublicKey>,
    /// Customers' jobs.
    pub(super) jobs: BTreeSet<EventId>,
    /// Workspace tasks, and requests that were named one by one.
    pub(super) tasks: BTreeSet<EventId>,
    /// Who signed each event, and its kind.
    pub(super) events: BTreeMap<EventId, (PublicKey, u16)>,
    /// Those of them that were named one by one.
    pub(super) named: HashSet<EventId>,
    /// Sessions whose raw journals go, because of a single event of theirs.
    pub(super) journals: Vec<PublicKey>,
    pub(super) copies: Vec<PublicKey>,
    pub(super) copies_kept: usize,
    pub(super) applied: usize,
    pub(super) linked: BTreeSet<PublicKey>,
    pub(super) blobs: BTreeSet<String>,
    /// Whether one of the jobs is not done.
    pub(super) waits: bool,
}

/// What the ledger knows.
struct Ledger {
    jobs: HashMap<EventId, JobRecord>,
    sessions: HashMap<PublicKey, SessionRecord>,
}

impl Ledger {
    fn is_task(&self, job: &EventId) -> bool {
        let job = self.jobs.get(job);
        job.is_some_and(|job| job.request.kind.as_u16() == kind::WORKSPACE_TASK)
    }

    /// All that these go on from and that goes on from them, these included.
    fn conversation(
        &self,
        sessions: &BTreeSet<PublicKey>,
        jobs: &BTreeSet<EventId>,
    ) -> (BTreeSet<PublicKey>, BTreeSet<EventId>) {
        let (mut sessions, mut jobs) = (sessions.clone(), jobs.clone());
        loop {
            let before = (sessions.len(), jobs.len());
            for record in self.jobs.values().filter(|job| !self.is_task(&job.id())) {
                let known = record.session.is_some_and(|key| sessions.contains(&key))
                    || jobs.contains(&record.id())
                    || record.continues.is_some_and(|id| jobs.contains(&id));
                if known {
                    jobs.insert(record.id());
                    jobs.extend(record.continues);
                    sessions.extend(record.session);
                }
            }
            if (sessions.len(), jobs.len()) == before {
                return (sessions, jobs);
            }
        }
    }
}

/// Finds all of it.
///
/// # Errors
/// When something that was named is not there, or the log cannot be read.
pub(super) async fn find(context: &Context, wanted: &Purge) -> Result<Belongings, Failure> {
    let read = |error: &dyn std::fmt::Display| broken(error);
    let state = context.state.clone();
    let ledger =
        tokio::task::spawn_blocking(move || -> Result<Ledger, crate::store::state::StateError> {
            Ok(Ledger {
                jobs: state
                    .all_jobs()?
                    .into_iter()
                    .map(|job| (job.id(), job))
                    .collect(),
                sessions: state
                    .all_sessions()?
                    .into_iter()
                    .map(|one| (one.session, one))
                    .collect(),
            })
        });
    let ledger = ledger
        .await
        .map_err(|error| read(&error))?
        .map_err(|error| read(&error))?;
    let mut found = Belongings::default();
    let (mut sessions, mut jobs) = (BTreeSet::new(), BTreeSet::new());
    for target in &wanted.targets {
        resolve(context, &ledger, target, &mut sessions, &mut jobs).await?;
    }
    let (all, all_jobs) = ledger.conversation(&sessions, &jobs);
    if wanted.conversation {
        (sessions, jobs) = (all, all_jobs);
    } else {
        found.linked = all.difference(&sessions).copied().collect();
    }
    copies(context, &ledger, &mut sessions, &mut found).await;
    for record in ledger.jobs.values() {
        let theirs = record.session.is_some_and(|key| sessions.contains(&key));
        if (theirs || jobs.contains(&record.id())) && !ledger.is_task(&record.id()) {
            jobs.insert(record.id());
        }
    }
    found.jobs = jobs;
    found.sessions = sessions.into_iter().collect();
    tasks(context, &ledger, &mut found).await?;
    let waits = |id: &EventId| ledger.jobs.get(id).is_some_and(|job| !job.job.is_done());
    found.waits = found.jobs.iter().any(waits);
    events(context, &ledger, &mut found).await?;
    for id in &wanted.events {
        one(context, &ledger, id, &mut found).await?;
    }
    for id in found.jobs.iter().chain(&found.tasks) {
        if let Some(job) = ledger.jobs.get(id) {
            blobs(context, &job.request, &mut found.blobs);
        }
    }
    Ok(found)
}

/// What a target names.
async fn resolve(
    context: &Context,
    ledger: &Ledger,
    target: &EventId,
    sessions: &mut BTreeSet<PublicKey>,
    jobs: &mut BTreeSet<EventId>,
) -> Result<(), Failure> {
    if let Ok(key) = PublicKey::from_slice(target.as_bytes())
        && (ledger.sessions.contains_key(&key)
            || matches!(context.keyring.session(&key), Ok(Some(_))))
    {
        sessions.insert(key);
        return Ok(());
    }
    if let Some(job) = ledger.jobs.get(target).filter(|_| !ledger.is_task(target)) {
        match job.session {
            Some(session) => sessions.insert(session),
            None => jobs.insert(*target),
        };
        return Ok(());
    }
    let event = context
        .relay
        .get(*target)
        .await
        .map_err(|error| broken(&error))?;
    match event {
        Some(event)
            if kind::is_job_request(event.kind) && event.kind.as_u16() != kind::WORKSPACE_TASK =>
        {
            jobs.insert(*target);
            Ok(())
        }
        _ => Err(missing(target)),
    }
}

fn missing(id: &EventId) -> Failure {
    Failure::new(
        "input",
        format!("there is no session, job or event {id} here; nothing was deleted"),
    )
}

/// The copies that nobody else works on go, and with them the sessions of their undos.
async fn copies(
    context: &Context,
    ledger: &Ledger,
    sessions: &mut BTreeSet<PublicKey>,
    found: &mut Belongings,
) {
    let of = |key: &PublicKey| ledger.sessions.get(key).and_then(|record| record.workspace);
    let worked_on: BTreeSet<PublicKey> = sessions.iter().filter_map(of).collect();
    for copy in worked_on {
        let on_it = ledger
            .sessions
            .values()
            .filter(|record| record.workspace == Some(copy));
        let (undos, others): (Vec<_>, Vec<_>) =
            on_it.partition(|record| ledger.is_task(&record.job));
        if others
            .iter()
            .any(|record| !sessions.contains(&record.session))
        {
            found.copies_kept += 1;
            continue;
        }
        sessions.extend(undos.iter().map(|record| record.session));
        found.copies.push(copy);
        if let Ok(Some(shared)) = context.workspaces.clone().open_if_there(copy).await {
            found.applied += shared.about().applied.len();
        }
    }
}

/// The workspace tasks with these sessions and copies.
async fn tasks(context: &Context, ledger: &Ledger, found: &mut Belongings) -> Result<(), Failure> {
    let ours = |key: &PublicKey| found.sessions.contains(key) || found.copies.contains(key);
    let mut tasks = BTreeSet::new();
    for record in ledger.jobs.values().filter(|job| ledger.is_task(&job.id())) {
        let asked = JobRequest::parse(&record.request, context.keyring.coordinator()).ok();
        let task = asked.and_then(|request| Task::parse(&request).ok());
        let mut is_ours =
            matches!(task, Some(Task { which: Which::Session(key), .. }) if ours(&key));
        if !is_ours && let Some(result) = record.result {
            let result = context
                .relay
                .get(result)
                .await
                .map_err(|error| broken(&error))?;
            let copy = result
                .as_ref()
                .and_then(|event| tag_value(event, "workspace"));
            let copy = copy.and_then(|key| PublicKey::from_hex(key).ok());
            is_ours = copy.is_some_and(|key| found.copies.contains(&key));
        }
        // What is at work right now has its own end.
        if is_ours && record.job.is_done() {
            tasks.insert(record.id());
        }
    }
    found.tasks = tasks;
    Ok(())
}

/// Every event of theirs.
async fn events(context: &Context, ledger: &Ledger, found: &mut Belongings) -> Result<(), Failure> {
    let coordinator = context.keyring.coordinator().public_key();
    let others: HashSet<PublicKey> = ledger.sessions.keys().copied().collect();
    let mut compared = BTreeSet::new();
    for sessions in found.sessions.clone().chunks(IDS) {
        let by = Filter::new().authors(sessions.iter().copied());
        each(context, by, |event| keep(context, found, event)).await?;
        let handed = Filter::new()
            .author(coordinator)
            .pubkeys(sessions.iter().copied());
        each(context, handed, |event| {
            compared.extend(Comparison::of(&event).map(|one| one.id));
            keep(context, found, event);
        })
        .await?;
    }
    let all: Vec<EventId> = found.jobs.iter().chain(&found.tasks).copied().collect();
    let mut threads = Vec::new();
    for ids in all.chunks(IDS) {
        each(context, Filter::new().ids(ids.to_vec()), |event| {
            compared.extend(Comparison::of(&event).map(|one| one.id));
            keep(context, found, event);
        })
        .await?;
        let about = Filter::new().events(ids.to_vec());
        each(context, about, |event| {
            // A follow-up is another job; another attempt is another session's.
            let other = kind::is_job_request(event.kind)
                && !named_keys(&event)
                    .iter()
                    .any(|key| found.sessions.contains(key));
            let customers = ids
                .iter()
                .filter_map(|id| ledger.jobs.get(id))
                .map(JobRecord::customer);
            let said = event.pubkey == coordinator
                || (event.kind.as_u16() == kind::DELETION
                    && customers.into_iter().any(|key| key == event.pubkey));
            if said && !other {
                keep(context, found, event);
            }
        })
        .await?;
        let quote = SingleLetterTag::lowercase(Alphabet::Q);
        let opened = Filter::new()
            .author(coordinator)
            .kind(Kind::from(kind::NOTE))
            .custom_tags(quote, ids.iter().map(EventId::to_hex));
        each(context, opened, |event| {
            let people = named_keys(&event);
            // Another attempt at the same job has a thread of its own.
            if !people
                .iter()
                .any(|key| others.contains(key) && !found.sessions.contains(key))
            {
                threads.push(event.id);
                keep(context, found, event);
            }
        })
        .await?;
    }
    told(context, ledger, found, &compared).await?;
    for ids in threads.chunks(IDS) {
        let replies = Filter::new()
            .kind(Kind::from(kind::NOTE))
            .events(ids.to_vec());
        each(context, replies, |event| {
            if !others.contains(&event.pubkey) || found.sessions.contains(&event.pubkey) {
                keep(context, found, event);
            }
        })
        .await?;
    }
    Ok(())
}

/// The notes in which customers told of comparisons that one of their jobs belongs to: they repeat the question.
async fn told(
    context: &Context,
    ledger: &Ledger,
    found: &mut Belongings,
    compared: &BTreeSet<EventId>,
) -> Result<(), Failure> {
    let customers: BTreeSet<PublicKey> = found
        .jobs
        .iter()
        .filter_map(|id| ledger.jobs.get(id).map(JobRecord::customer))
        .collect();
    if customers.is_empty() {
        return Ok(());
    }
    let compared: Vec<EventId> = compared.iter().copied().collect();
    for ids in compared.chunks(IDS) {
        let notes = Filter::new()
            .kind(Kind::from(kind::NOTE))
            .authors(customers.iter().copied());
        for notes in [notes.clone().ids(ids.to_vec()), notes.events(ids.to_vec())] {
            each(context, notes, |event| keep(context, found, event)).await?;
        }
    }
    Ok(())
}

/// A single event, with what else holds its words: the ledger's copy of a request, its session's journal.
async fn one(
    context: &Context,
    ledger: &Ledger,
    id: &EventId,
    found: &mut Belongings,
) -> Result<(), Failure> {
    let event = context
        .relay
        .get(*id)
        .await
        .map_err(|error| broken(&error))?;
    let event = event.ok_or_else(|| missing(id))?;
    if let Some(job) = ledger.jobs.get(id) {
        found.waits |= !job.job.is_done();
        // The ledger forgets it; its session and its answers stay.
        found.tasks.insert(*id);
    }
    if ledger.sessions.contains_key(&event.pubkey) && !found.journals.contains(&event.pubkey) {
        found.journals.push(event.pubkey);
    }
    found.named.insert(*id);
    keep(context, found, event);
    Ok(())
}

/// What an event names of the files that are kept.
fn blobs(context: &Context, event: &Event, found: &mut BTreeSet<String>) {
    unnamed::each_named(event, context.keyring.coordinator(), &mut |hash| {
        if context.blobs.has(hash) {
            found.insert(hash.to_owned());
        }
    });
}

fn keep(context: &Context, found: &mut Belongings, event: Event) {
    blobs(context, &event, &mut found.blobs);
    found
        .events
        .insert(event.id, (event.pubkey, event.kind.as_u16()));
}

/// Every stored event that matches, a page at a time.
async fn each(
    context: &Context,
    filter: Filter,
    mut take: impl FnMut(Event),
) -> Result<(), Failure> {
    let (mut until, mut page) = (None::<Timestamp>, PAGE);
    let mut seen = HashSet::new();
    loop {
        let mut filter = filter.clone().limit(page);
        filter.until = until;
        let events = context
            .relay
            .query(filter)
            .await
            .map_err(|error| broken(&error))?;
        let (full, last) = (
            events.len() == page,
            events.last().map(|event| event.created_at),
        );
        let before = seen.len();
        for event in events {
            if seen.insert(event.id) {
                take(event);
            }
        }
        if !full {
            return Ok(());
        }
        // More of one second than a page holds.
        if seen.len() == before {
            page *= 2;
        }
        until = last;
    }
}
