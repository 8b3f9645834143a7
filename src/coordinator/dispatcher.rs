//! The dispatcher: follows the log, drives every job's state machine, and runs what it asks for.
//!
//! One closed event enum, a synchronous [`Dispatcher::handle_event`], and a response that is stored before
//! it is run. The ledger and the feed's cursor are one change, so a crash at any point repeats effects and
//! never loses or doubles one: answers are signed before they are stored, and the relay knows an event
//! that it has.

use std::{collections::HashMap, sync::Arc};

use nostr::{Event, EventId, Keys};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    context::{Context, now},
    executor::{Command, ExecutorEvent, Order},
    intake::{self, Accepted, Intake},
    quota::Quota,
    turn,
};
use crate::{
    job::{Effect, Failure, Input, Job, JobRecord, Outcome, Report, State},
    nips::{
        Reference,
        nip90::{JobRequest, Reply, Scheme},
    },
    store::{feed::Feed, state::StateError},
};

/// After how many events the cursor is stored although no job changed.
const CURSOR_EVERY: u64 = 512;

/// Every source of wake-ups.
#[derive(Debug)]
enum InternalEvent {
    /// Events on the log, up to a cursor.
    Feed(u64, Vec<Event>),
    /// An attempt reports.
    Executor(ExecutorEvent),
    /// The program stops.
    Shutdown,
}

/// What an event led to.
#[must_use]
#[derive(Debug, Default)]
struct Response {
    changed: Vec<EventId>,
    cursor: Option<u64>,
    commands: Vec<Command>,
    fleeting: Vec<Event>,
    afterwards: Vec<Event>,
    stop: bool,
}

/// See the module.
pub(super) struct Dispatcher {
    context: Arc<Context>,
    feed: Feed,
    reports: mpsc::Receiver<ExecutorEvent>,
    commands: mpsc::Sender<Command>,
    shutdown: CancellationToken,
    /// Jobs that are not done, or whose answers are not known to be on the relay.
    ledger: HashMap<EventId, JobRecord>,
    quota: Quota,
    cursor: u64,
    stored_cursor: u64,
}

impl Dispatcher {
    /// Restores the ledger.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(super) fn restore(
        context: Arc<Context>,
        reports: mpsc::Receiver<ExecutorEvent>,
        commands: mpsc::Sender<Command>,
        shutdown: CancellationToken,
    ) -> Result<Self, StateError> {
        let cursor = context.state.cursor()?;
        let mut quota = Quota::new(context.jobs.strangers.clone());
        let mut ledger = HashMap::new();
        for record in context.state.jobs()? {
            if record.stranger {
                quota.restore(record.id(), record.accepted_at, !record.job.is_done());
            }
            if !record.job.is_done() || !record.outbox.is_empty() {
                ledger.insert(record.id(), record);
            }
        }
        let feed = context.relay.feed(cursor);
        Ok(Self {
            context,
            feed,
            reports,
            commands,
            shutdown,
            ledger,
            quota,
            cursor,
            stored_cursor: cursor,
        })
    }

    /// Runs until the program stops.
    ///
    /// # Errors
    /// When the state or the log cannot be used: nothing can be promised to a customer then.
    pub(super) async fn run(mut self) -> Result<(), super::Error> {
        let response = self.recover();
        self.perform(response).await?;
        loop {
            let event = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => InternalEvent::Shutdown,
                Some(report) = self.reports.recv() => InternalEvent::Executor(report),
                batch = self.feed.next() => {
                    let batch = batch?;
                    let cursor = batch.last().map_or(self.cursor, |stored| stored.seq);
                    InternalEvent::Feed(cursor, batch.into_iter().map(|stored| stored.event).collect())
                }
            };
            let response = self.handle_event(event, now());
            let stop = response.stop;
            self.perform(response).await?;
            if stop {
                return Ok(());
            }
        }
    }

    /// What was going on when the program stopped: unfinished jobs go on or end, waiting ones look again.
    fn recover(&mut self) -> Response {
        let mut response = Response::default();
        let ids: Vec<EventId> = self.ledger.keys().copied().collect();
        for id in ids {
            match self.ledger.get(&id).map(|record| record.job.state.clone()) {
                Some(State::Waiting { on }) => self.look_again(id, on, &mut response),
                Some(State::Running) => self.step(id, Input::Recovered, &mut response),
                // Its answers are in the outbox still.
                Some(State::Done(_)) => response.changed.push(id),
                None => {}
            }
        }
        response
    }

    fn handle_event(&mut self, event: InternalEvent, now: u64) -> Response {
        let mut response = Response::default();
        match event {
            InternalEvent::Feed(cursor, events) => {
                for event in events {
                    self.take_in(event, now, &mut response);
                }
                self.cursor = cursor;
                if cursor >= self.stored_cursor + CURSOR_EVERY {
                    response.cursor = Some(cursor);
                }
            }
            InternalEvent::Executor(ExecutorEvent {
                job,
                attempt,
                session,
                thread,
                report,
            }) => {
                let Some(record) = self.ledger.get_mut(&job) else {
                    return response;
                };
                if record.job.attempt == attempt && session.is_some() {
                    record.session = session;
                }
                let answer = match &report {
                    Report::Answered(answer) => Some(answer.text.clone()),
                    Report::Partial(_) | Report::Failed(_) => None,
                };
                self.step(job, Input::Report { attempt, report }, &mut response);
                if let (Some(text), Some(thread)) = (answer, thread) {
                    let (root, keys) = *thread;
                    response
                        .afterwards
                        .extend(self.closing_note(&job, &root, &keys, &text));
                }
            }
            InternalEvent::Shutdown => response.stop = true,
        }
        response
    }

    /// The thread's last note, which quotes the result that was just signed.
    fn closing_note(
        &self,
        job: &EventId,
        root: &Reference,
        keys: &Keys,
        text: &str,
    ) -> Option<Event> {
        let record = self.ledger.get(job)?;
        let result = record
            .outbox
            .iter()
            .find(|event| Some(event.id) == record.result)?;
        let draft = turn::closing_note(root, result, text, &self.context.relay_url);
        match self.context.publisher.sign(draft, keys) {
            Ok(note) => Some(note),
            Err(error) => {
                tracing::warn!(%error, "the thread stays without its answer");
                None
            }
        }
    }

    fn take_in(&mut self, event: Event, now: u64, response: &mut Response) {
        let known = |id: &EventId| {
            self.ledger.contains_key(id)
                || self.context.state.job(id).is_ok_and(|job| job.is_some())
        };
        match intake::read(&event, &self.context, now, known) {
            Intake::Ignore => {}
            Intake::Allowed(keys) => self.context.admission.set_allowed(keys),
            Intake::Cancel(jobs) => {
                for job in jobs {
                    if self
                        .ledger
                        .get(&job)
                        .is_some_and(|record| record.customer() == event.pubkey)
                    {
                        self.step(job, Input::Cancelled, response);
                    }
                }
            }
            Intake::Accept(Accepted {
                request,
                agent,
                stranger,
            }) => {
                let refused = stranger
                    .then(|| self.quota.accept(request.id, now))
                    .and_then(Result::err);
                let input = match refused {
                    Some(failure) => Input::Refused(failure),
                    None => match self.unfinished_input(&request) {
                        Some(on) => Input::AcceptedWaiting { on },
                        None => Input::Accepted,
                    },
                };
                let continues = self.conversation_of(&request);
                let id = request.id;
                let mut record = new_record(event, request.scheme, now);
                record.agent = agent;
                record.stranger = stranger;
                record.continues = continues;
                self.ledger.insert(id, record);
                self.step(id, input, response);
            }
            Intake::Refuse(failure) => {
                if !self.quota.may_refuse(now) {
                    tracing::warn!(job = %event.id, "too many refusals this hour; one was not answered");
                    return;
                }
                let id = event.id;
                let scheme = Scheme::of(&event);
                self.ledger.insert(id, new_record(event, scheme, now));
                self.step(id, Input::Refused(failure), response);
            }
        }
    }

    /// A job of ours whose output is asked for and that is not done.
    fn unfinished_input(&self, request: &JobRequest) -> Option<EventId> {
        intake::job_inputs(request).find(|id| {
            self.ledger
                .get(id)
                .is_some_and(|record| !record.job.is_done())
        })
    }

    /// The earlier job of the same customer that the request points at with `e`.
    fn conversation_of(&self, request: &JobRequest) -> Option<EventId> {
        request
            .earlier
            .iter()
            .filter_map(|id| self.context.state.job_of(id).ok().flatten())
            .find(|earlier| earlier.customer() == request.customer)
            .map(|earlier| earlier.id())
    }

    fn look_again(&mut self, id: EventId, on: EventId, response: &mut Response) {
        let other = self
            .ledger
            .get(&on)
            .cloned()
            .or_else(|| self.context.state.job(&on).ok().flatten());
        let delivered = match other.map(|other| other.job.state) {
            Some(State::Done(Outcome::Delivered)) => true,
            Some(State::Done(Outcome::Failed { .. })) | None => false,
            Some(State::Waiting { .. } | State::Running) => return,
        };
        self.step(id, Input::InputDone { delivered }, response);
    }

    /// One step of a job: state machine, answers signed into the outbox, commands noted.
    fn step(&mut self, id: EventId, input: Input, response: &mut Response) {
        let Some(record) = self.ledger.get_mut(&id) else {
            return;
        };
        let was_done = record.job.is_done();
        let effects = record.job.handle(input);
        for effect in effects {
            match effect {
                Effect::Start { attempt } => match order(record, &self.context, attempt) {
                    Ok(order) => response.commands.push(Command::Start(Box::new(order))),
                    Err(failure) => {
                        // What was readable when it was accepted is not any more: the coordinator's key
                        // was replaced in between.
                        let report = Report::Failed(failure);
                        return self.step(id, Input::Report { attempt, report }, response);
                    }
                },
                Effect::Stop { attempt } => {
                    response.commands.push(Command::Stop { job: id, attempt })
                }
                answer => match sign(record, &self.context, answer) {
                    Ok((event, Keep::Outbox)) => record.outbox.push(event),
                    Ok((event, Keep::Not)) => response.fleeting.push(event),
                    Err(error) => tracing::error!(job = %id, %error, "failed to answer a customer"),
                },
            }
        }
        if let Some(record) = self.ledger.get(&id)
            && (record.job.is_done() != was_done || !record.outbox.is_empty())
            && !response.changed.contains(&id)
        {
            response.changed.push(id);
        }
        if !was_done
            && self
                .ledger
                .get(&id)
                .is_some_and(|record| record.job.is_done())
        {
            self.quota.done(&id);
            let waiting: Vec<EventId> = self
                .ledger
                .iter()
                .filter(|(_, other)| other.job.state == State::Waiting { on: id })
                .map(|(waiting, _)| *waiting)
                .collect();
            for other in waiting {
                self.look_again(other, id, response);
            }
        }
    }

    /// Stores what changed, then runs the effects.
    async fn perform(&mut self, response: Response) -> Result<(), super::Error> {
        let cursor = if response.changed.is_empty() {
            response.cursor
        } else {
            Some(self.cursor)
        };
        let changed: Vec<JobRecord> = response
            .changed
            .iter()
            .filter_map(|id| self.ledger.get(id).cloned())
            .collect();
        self.store(changed, cursor).await?;

        let publisher = &self.context.publisher;
        for event in response.fleeting {
            if let Err(error) = publisher.publish(event).await {
                tracing::warn!(%error, "failed to publish a part of an answer");
            }
        }
        // Within a job in order (the result before its success), jobs beside one another.
        let outboxes = response.changed.iter().filter_map(|id| {
            let record = self.ledger.get(id)?;
            Some(async move {
                for event in record.outbox.clone() {
                    if let Err(error) = publisher.publish(event).await {
                        tracing::error!(job = %id, %error, "an answer could not be published");
                        // No success without its result.
                        break;
                    }
                }
            })
        });
        futures_util::future::join_all(outboxes).await;
        for event in response.afterwards {
            if let Err(error) = publisher.publish(event).await {
                tracing::warn!(%error, "failed to publish a note");
            }
        }
        for command in response.commands {
            if self.commands.send(command).await.is_err() {
                return Err(super::Error::Ended("executor"));
            }
        }

        // What is published leaves the outbox; the ledger on disk follows with the job's next change. A
        // finished job has no next change, so it is stored once more.
        let mut finished = Vec::new();
        for id in &response.changed {
            let Some(record) = self.ledger.get_mut(id) else {
                continue;
            };
            record.outbox.clear();
            if record.job.is_done() {
                finished.push(record.clone());
            }
        }
        if !finished.is_empty() {
            for record in &finished {
                self.ledger.remove(&record.id());
            }
            self.store(finished, None).await?;
        }
        Ok(())
    }

    async fn store(
        &mut self,
        records: Vec<JobRecord>,
        cursor: Option<u64>,
    ) -> Result<(), super::Error> {
        if records.is_empty() && cursor.is_none() {
            return Ok(());
        }
        let state = self.context.state.clone();
        // sled waits for the disk.
        tokio::task::spawn_blocking(move || state.commit(&records, cursor))
            .await
            .map_err(|_| super::Error::Ended("state"))??;
        if let Some(cursor) = cursor {
            self.stored_cursor = cursor;
        }
        Ok(())
    }
}

/// Whether an answer must survive a crash.
enum Keep {
    Outbox,
    Not,
}

fn sign(
    record: &mut JobRecord,
    context: &Context,
    effect: Effect,
) -> Result<(Event, Keep), super::Error> {
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
        Effect::Start { .. } | Effect::Stop { .. } => return Err(super::Error::Ended("answer")),
    };
    Ok(result)
}

fn order(record: &JobRecord, context: &Context, attempt: u32) -> Result<Order, Failure> {
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

fn new_record(request: Event, scheme: Scheme, now: u64) -> JobRecord {
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
