//! The dispatcher: follows the log, drives every job's state machine, and runs what it asks for.
//!
//! One closed event enum, a synchronous [`Dispatcher::handle_event`], and a response that is stored before
//! it is run. The ledger and the feed's cursor are one change, so a crash at any point repeats effects and
//! never loses or doubles one: answers are signed before they are stored, and the relay knows an event
//! that it has.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use nostr::{Event, EventId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    answers::{Keep, closing_note, new_record, order, sign},
    context::{Context, now},
    executor::{Command, ExecutorEvent},
    intake::{self, Accepted, Intake},
    quota::{HOUR, Quota},
};
use crate::{
    job::{Effect, Failure, Input, JobRecord, Outcome, Report, State},
    nips::{
        kind, nip01,
        nip90::{self, JobRequest, Scheme},
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
pub(super) struct Response {
    /// Jobs that changed.
    pub(super) changed: Vec<EventId>,
    /// The cursor, when it is to be stored although no job changed.
    pub(super) cursor: Option<u64>,
    /// For the executor.
    pub(super) commands: Vec<Command>,
    /// To be published, and of no use after a crash.
    pub(super) fleeting: Vec<Event>,
    /// Strangers' jobs that were refused: known from now on, and nothing more is kept of them.
    pub(super) refused: Vec<EventId>,
    /// To be published after the answers.
    pub(super) afterwards: Vec<Event>,
    /// Whether the loop ends.
    pub(super) stop: bool,
}

/// See the module.
pub(super) struct Dispatcher {
    pub(super) context: Arc<Context>,
    feed: Feed,
    reports: mpsc::Receiver<ExecutorEvent>,
    pub(super) commands: mpsc::Sender<Command>,
    shutdown: CancellationToken,
    /// Jobs that are not done, or whose answers are not known to be on the relay.
    pub(super) ledger: HashMap<EventId, JobRecord>,
    quota: Quota,
    pub(super) cursor: u64,
    pub(super) stored_cursor: u64,
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
        for record in context.state.open_jobs(now().saturating_sub(HOUR))? {
            if record.stranger {
                quota.restore(record.id(), record.accepted_at, !record.job.is_done());
            }
            if !record.is_settled() {
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
            let response = self.handle_event(event, now())?;
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
                Some(State::Waiting { on }) => {
                    if let Some(input) = self.look_again(id, on) {
                        self.step(id, input, &mut response);
                    }
                }
                Some(State::Running) => self.step(id, Input::Recovered, &mut response),
                // Its answers are in the outbox still.
                Some(State::Done(_)) => response.changed.push(id),
                None => {}
            }
        }
        response
    }

    fn handle_event(&mut self, event: InternalEvent, now: u64) -> Result<Response, StateError> {
        let mut response = Response::default();
        match event {
            InternalEvent::Feed(cursor, events) => {
                for event in events {
                    self.take_in(event, now, &mut response)?;
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
                    return Ok(response);
                };
                if record.job.attempt == attempt && session.is_some() && record.session != session {
                    // Stored at once: whoever goes on after a crash needs its files.
                    record.session = session;
                    response.changed.push(job);
                }
                let answer = match &report {
                    Report::Answered(answer) => Some(answer.text.clone()),
                    Report::Began
                    | Report::Partial(_)
                    | Report::Notice(_)
                    | Report::Asks { .. }
                    | Report::Failed(_) => None,
                };
                self.step(job, Input::Report { attempt, report }, &mut response);
                if let (Some(text), Some(thread)) = (answer, thread) {
                    let (root, keys) = *thread;
                    if let Some(record) = self.ledger.get(&job) {
                        let note = closing_note(record, &self.context, &root, &keys, &text);
                        response.afterwards.extend(note);
                    }
                }
            }
            InternalEvent::Shutdown => {
                response.stop = true;
                // Who looks at the home without us is to see that nothing waits.
                response.cursor = (self.cursor > self.stored_cursor).then_some(self.cursor);
            }
        }
        Ok(response)
    }

    /// Whether a job was taken or refused before. When that cannot be read nothing is taken in: it might be done
    /// twice.
    fn knows(&self, id: &EventId, response: &Response) -> Result<bool, StateError> {
        Ok(self.ledger.contains_key(id)
            || response.refused.contains(id)
            || self.context.state.knows(id)?)
    }

    fn take_in(
        &mut self,
        event: Event,
        now: u64,
        response: &mut Response,
    ) -> Result<(), StateError> {
        match intake::read(&event, &self.context, now, |id| self.knows(id, response))? {
            Intake::Ignore => {}
            Intake::Note => response.commands.push(Command::Note(Box::new(event))),
            Intake::Allowed(keys) => self.context.admission.set_allowed(keys),
            Intake::Cancel(jobs) => {
                if intake::takes_allowed_back(&event, &self.context) {
                    self.context.admission.set_allowed([]);
                }
                for job in jobs {
                    match self.ledger.get(&job) {
                        // What it does is not undone half way: the executor knows whether it has begun.
                        Some(record)
                            if record.customer() == event.pubkey && is_task_at_work(record) =>
                        {
                            let attempt = record.job.attempt;
                            response.commands.push(Command::Stop { job, attempt });
                        }
                        Some(record) if record.customer() == event.pubkey => {
                            self.step(job, Input::Cancelled, response);
                        }
                        Some(_) => {}
                        None => self.answer_unread(&job, &event, now, response)?,
                    }
                }
            }
            Intake::Accept(accepted) => {
                let Accepted {
                    request,
                    agent,
                    stranger,
                } = *accepted;
                if stranger && let Err(failure) = self.quota.accept(request.id, now) {
                    self.refuse(event, failure, now, response);
                    return Ok(());
                }
                let input = match self.unfinished_input(&request) {
                    Some(on) => Input::AcceptedWaiting { on },
                    None => Input::Accepted,
                };
                let continues = self.conversation_of(&request)?;
                let id = request.id;
                let mut record = new_record(event, request.scheme, now);
                record.agent = agent;
                record.stranger = stranger;
                record.continues = continues;
                self.ledger.insert(id, record);
                self.step(id, input, response);
            }
            Intake::Refuse(failure) => self.refuse(event, failure, now, response),
        }
        Ok(())
    }

    /// A deleted job leaves the log at once, so a quick cancellation may be all that is read of it. When it is
    /// addressed to us, its author gets the end that it waits for.
    fn answer_unread(
        &mut self,
        job: &EventId,
        cancel: &Event,
        now: u64,
        response: &mut Response,
    ) -> Result<(), StateError> {
        let keys = self.context.keyring.coordinator();
        let us = keys.public_key().to_hex();
        if !nip01::has_tag(cancel, "p", &us) || self.knows(job, response)? {
            return Ok(());
        }
        let stranger = !self.context.admission.is_admitted(&cancel.pubkey);
        if stranger && !self.quota.may_refuse(now) {
            return Ok(());
        }
        let draft = nip90::cancelled_unread(job, &cancel.pubkey, &self.context.relay_url);
        match self.context.publisher.sign(draft, keys) {
            Ok(answer) => {
                response.fleeting.push(answer);
                // Kept, so that who looks at the same deletion after a restart answers nothing.
                response.refused.push(*job);
            }
            Err(error) => tracing::error!(%job, %error, "failed to answer a cancellation"),
        }
        Ok(())
    }

    /// Says why a job is not done. Of a stranger's job only the id is kept, and only so many are answered
    /// in an hour: nobody can make us store or sign without end.
    fn refuse(&mut self, event: Event, failure: Failure, now: u64, response: &mut Response) {
        let id = event.id;
        let scheme = Scheme::of(&event);
        let stranger = !self.context.admission.is_admitted(&event.pubkey);
        if stranger && !self.quota.may_refuse(now) {
            tracing::warn!(job = %id, "too many refusals this hour; one was not answered");
            return;
        }
        let mut record = new_record(event, scheme, now);
        if !stranger {
            self.ledger.insert(id, record);
            return self.step(id, Input::Refused(failure), response);
        }
        for effect in record.job.handle(Input::Refused(failure)) {
            match sign(&mut record, &self.context, effect) {
                Ok((event, _)) => response.fleeting.push(event),
                Err(error) => tracing::error!(job = %id, %error, "failed to answer a stranger"),
            }
        }
        response.refused.push(id);
    }

    /// A job of the same customer whose output is asked for and that is not done.
    fn unfinished_input(&self, request: &JobRequest) -> Option<EventId> {
        intake::job_inputs(request).find(|id| {
            self.ledger.get(id).is_some_and(|record| {
                !record.job.is_done() && record.customer() == request.customer
            })
        })
    }

    /// The earlier job of the same customer that the request points at with `e`.
    fn conversation_of(&self, request: &JobRequest) -> Result<Option<EventId>, StateError> {
        for id in &request.earlier {
            let earlier = self.context.state.job_of(id)?;
            if let Some(earlier) = earlier.filter(|it| it.customer() == request.customer) {
                return Ok(Some(earlier.id()));
            }
        }
        Ok(None)
    }

    /// What a job that waits for `on` learns now; nothing as long as that one is not done.
    fn look_again(&self, id: EventId, on: EventId) -> Option<Input> {
        let other = self
            .ledger
            .get(&on)
            .cloned()
            .or_else(|| self.context.state.job(&on).ok().flatten());
        match other.map(|other| other.job.state) {
            Some(State::Waiting { .. } | State::Running) => None,
            Some(State::Done(Outcome::Delivered)) => {
                let record = self.ledger.get(&id)?;
                let request =
                    JobRequest::parse(&record.request, self.context.keyring.coordinator()).ok();
                Some(
                    match request.and_then(|request| self.unfinished_input(&request)) {
                        Some(next) => Input::AcceptedWaiting { on: next },
                        None => Input::InputDone { delivered: true },
                    },
                )
            }
            Some(State::Done(Outcome::Failed { .. })) | None => {
                Some(Input::InputDone { delivered: false })
            }
        }
    }

    /// A step of a job, and of those that waited for it: a list, because a chain of jobs has any length.
    fn step(&mut self, id: EventId, input: Input, response: &mut Response) {
        let mut steps = VecDeque::from([(id, input)]);
        while let Some((id, input)) = steps.pop_front() {
            if !self.one_step(id, input, &mut steps, response) {
                continue;
            }
            self.quota.done(&id);
            let waiting: Vec<EventId> = self
                .ledger
                .iter()
                .filter(|(_, other)| other.job.state == State::Waiting { on: id })
                .map(|(waiting, _)| *waiting)
                .collect();
            for other in waiting {
                steps.extend(self.look_again(other, id).map(|input| (other, input)));
            }
        }
    }

    /// State machine, answers signed into the outbox, commands noted. Says whether the job ended by it.
    fn one_step(
        &mut self,
        id: EventId,
        input: Input,
        steps: &mut VecDeque<(EventId, Input)>,
        response: &mut Response,
    ) -> bool {
        let Some(record) = self.ledger.get_mut(&id) else {
            return false;
        };
        let was_done = record.job.is_done();
        let before = record.job.clone();
        for effect in record.job.handle(input) {
            match effect {
                Effect::Start { attempt } => match order(record, &self.context, attempt) {
                    Ok(order) => response.commands.push(Command::Start(Box::new(order))),
                    Err(failure) => {
                        // What was readable when it was accepted is not any more: the coordinator's key
                        // was replaced in between.
                        let report = Report::Failed(failure);
                        steps.push_back((id, Input::Report { attempt, report }));
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
        let changed = record.job != before || !record.outbox.is_empty();
        if changed && !response.changed.contains(&id) {
            response.changed.push(id);
        }
        !was_done && record.job.is_done()
    }
}

/// Whether it is a task of the owner's with a copy, given to the executor.
fn is_task_at_work(record: &JobRecord) -> bool {
    record.request.kind.as_u16() == kind::WORKSPACE_TASK && record.job.state == State::Running
}
