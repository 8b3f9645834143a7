//! The executor: places for sessions, the line before them, and containers kept warm.
//!
//! It owns every session task. Sessions report to the dispatcher themselves, so this loop never waits for
//! it: commands and reports cannot block one another.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::Arc,
    time::Duration,
};

use nostr::{Event, EventId, Keys, PublicKey};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    context::Context,
    operation,
    process::Process,
    session::{self, Turn},
};
use crate::{
    job::{Failure, Report},
    nips::{
        Reference, kind,
        nip90::{
            JobRequest,
            request::{ASK, NETWORK, PERMISSIONS},
        },
    },
};

/// How long after a container was taken the next one is started.
const REFILL: Duration = Duration::from_millis(400);

/// What the dispatcher wants done.
#[derive(Debug)]
pub(super) enum Command {
    /// Start an attempt.
    Start(Box<Order>),
    /// Stop it.
    Stop {
        /// The job.
        job: EventId,
        /// The attempt.
        attempt: u32,
    },
    /// The owner wrote a note.
    Note(Box<Event>),
}

/// One attempt at one job.
#[derive(Debug)]
pub(super) struct Order {
    /// Its number.
    pub(super) attempt: u32,
    /// The request as it was signed.
    pub(super) event: Event,
    /// The request, read.
    pub(super) request: JobRequest,
    /// Which agent.
    pub(super) agent: String,
    /// Whether quotas bind it.
    pub(super) stranger: bool,
    /// The job whose conversation goes on.
    pub(super) continues: Option<EventId>,
}

impl Order {
    /// Whether its agent's requests for permission are put to the owner.
    pub(super) fn asks_its_owner(&self) -> bool {
        self.request.param(PERMISSIONS) == Some(ASK)
    }

    /// Whether it was given a network: then it gets a sandbox of its own, since those that are kept warm have none.
    fn has_network(&self) -> bool {
        self.request.param(NETWORK).is_some()
    }

    /// Whether it is the owner's task with a copy, which no agent does.
    fn is_operation(&self) -> bool {
        self.event.kind.as_u16() == kind::WORKSPACE_TASK
    }
}

/// What an attempt reports, stamped.
#[derive(Debug)]
pub(super) struct ExecutorEvent {
    /// The job.
    pub(super) job: EventId,
    /// The attempt.
    pub(super) attempt: u32,
    /// The note thread that the answer belongs into, and the key that writes it.
    pub(super) thread: Option<Box<(Reference, Keys)>>,
    /// The session.
    pub(super) session: Option<PublicKey>,
    /// What it says.
    pub(super) report: Report,
}

/// What a session tells the executor.
#[derive(Debug)]
pub(super) enum SessionEvent {
    /// It answered and can go on.
    Idle {
        /// Which place.
        place: u64,
        /// The job that it answered.
        job: EventId,
    },
    /// It ended in the moment in which it was handed another job.
    Back(Box<Turn>),
}

/// A session at work, or open for the next turn of its conversation.
struct Active {
    turns: mpsc::Sender<Turn>,
    /// Ends the session.
    close: CancellationToken,
    agent: String,
    /// The parameters that it was opened with: its model and options.
    params: Vec<(String, Vec<String>)>,
    /// Whether its conversation is private.
    private: bool,
    /// The running job, and what stops it.
    running: Option<(EventId, u32, CancellationToken)>,
    /// The job answered last, when it is idle.
    answered: Option<EventId>,
}

/// See the module.
pub(super) struct Executor {
    context: Arc<Context>,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::Sender<ExecutorEvent>,
    shutdown: CancellationToken,
    events: (mpsc::Sender<SessionEvent>, mpsc::Receiver<SessionEvent>),
    sessions: JoinSet<()>,
    /// The place of each session's task.
    places: HashMap<tokio::task::Id, u64>,
    active: HashMap<u64, Active>,
    /// The owner's tasks, and what withdraws those that wait.
    operations: HashMap<tokio::task::Id, (EventId, u32, CancellationToken)>,
    next_place: u64,
    queue: VecDeque<Order>,
    warm: Vec<Process>,
    warming: JoinSet<Result<Process, Failure>>,
    /// Which agent each of them is.
    warming_up: HashMap<tokio::task::Id, String>,
    /// The agent beside the one for conversations that was used last.
    used: Option<String>,
}

impl Executor {
    pub(super) fn new(
        context: Arc<Context>,
        commands: mpsc::Receiver<Command>,
        reports: mpsc::Sender<ExecutorEvent>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            context,
            commands,
            reports,
            shutdown,
            events: mpsc::channel(64),
            sessions: JoinSet::new(),
            places: HashMap::new(),
            active: HashMap::new(),
            operations: HashMap::new(),
            next_place: 0,
            queue: VecDeque::new(),
            warm: Vec::new(),
            warming: JoinSet::new(),
            warming_up: HashMap::new(),
            used: None,
        }
    }

    pub(super) async fn run(mut self) {
        self.keep_warm(Duration::ZERO);
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                command = self.commands.recv() => match command {
                    Some(Command::Start(order)) if order.is_operation() => self.operate(*order),
                    Some(Command::Start(order)) => self.queue.push_back(*order),
                    Some(Command::Stop { job, attempt }) => self.stop(&job, attempt),
                    Some(Command::Note(note)) => self.hear_note(*note),
                    None => break,
                },
                Some(event) = self.events.1.recv() => self.hear(event),
                Some(ended) = self.sessions.join_next_with_id() => match ended {
                    Ok((task, ())) => drop(self.ended(task)),
                    Err(error) => self.lost(&error),
                },
                Some(warmed) = self.warming.join_next_with_id() => match warmed {
                    Ok((task, warmed)) => {
                        self.warming_up.remove(&task);
                        match warmed {
                            Ok(process) => self.warm.push(process),
                            Err(failure) => tracing::debug!(reason = failure.sentence, "no warm container"),
                        }
                    }
                    Err(error) => {
                        self.warming_up.remove(&error.id());
                        tracing::error!(%error, "warming a container failed");
                    }
                },
            }
            self.place();
        }
        self.close().await;
    }

    /// What the owner does with a copy needs no place: an agent at work is what it is often about.
    fn operate(&mut self, order: Order) {
        let span = tracing::info_span!("workspace_task", job = %order.event.id);
        let cancel = CancellationToken::new();
        let (job, attempt) = (order.event.id, order.attempt);
        let (context, reports) = (self.context.clone(), self.reports.clone());
        let task = operation::run(context, order, reports, cancel.clone());
        let task = self.sessions.spawn(task.instrument(span));
        self.operations.insert(task.id(), (job, attempt, cancel));
    }

    /// Who is meant by it hears it; this loop does not wait for that.
    fn hear_note(&mut self, note: Event) {
        let span = tracing::info_span!("note", id = %note.id);
        let hearing = operation::note::hear(self.context.clone(), note);
        self.sessions.spawn(hearing.instrument(span));
    }

    fn hear(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Idle { place, job } => {
                if let Some(active) = self.active.get_mut(&place) {
                    active.running = None;
                    active.answered = Some(job);
                }
            }
            // One that was withdrawn meanwhile has its end already.
            SessionEvent::Back(turn) if turn.cancel.is_cancelled() => {}
            SessionEvent::Back(turn) => self.queue.push_front(turn.order),
        }
    }

    /// A session ended; its place is free.
    fn ended(&mut self, task: tokio::task::Id) -> Option<Active> {
        self.operations.remove(&task);
        // What it handed back is in the line again before the token that withdraws it goes.
        while let Ok(event) = self.events.1.try_recv() {
            self.hear(event);
        }
        self.places
            .remove(&task)
            .and_then(|place| self.active.remove(&place))
    }

    /// A task of a session or of the owner died, and its job with it.
    fn lost(&mut self, error: &tokio::task::JoinError) {
        tracing::error!(%error, "a session or a task ended unexpectedly");
        let operation = self.operations.remove(&error.id());
        let running = match operation {
            Some((job, attempt, _)) => {
                let sentence =
                    "the task ended unexpectedly; look at what it did before you try again";
                Some((job, attempt, Failure::new("workspace", sentence)))
            }
            None => self
                .ended(error.id())
                .and_then(|active| active.running)
                .map(|(job, attempt, _)| {
                    let sentence = "the session ended unexpectedly";
                    (job, attempt, Failure::new("agent", sentence))
                }),
        };
        let Some((job, attempt, failure)) = running else {
            return;
        };
        let event = ExecutorEvent {
            job,
            attempt,
            thread: None,
            session: None,
            report: Report::Failed(failure),
        };
        // In a task of its own: this loop must not wait for the dispatcher.
        let reports = self.reports.clone();
        self.sessions.spawn(async move {
            if reports.send(event).await.is_err() {
                tracing::debug!("nobody hears a report any more");
            }
        });
    }

    /// Gives waiting jobs their places, in order.
    fn place(&mut self) {
        while let Some(order) = self.queue.pop_front() {
            let order = match self.go_on(order) {
                None => continue,
                Some(order) => order,
            };
            if self.active.len() < self.context.jobs.max_running.max(1) {
                self.open(order);
                continue;
            }
            // An open conversation makes room for a job that waits.
            let idle = |active: &&Active| active.running.is_none();
            let (leaving, open): (Vec<_>, Vec<_>) =
                (self.active.values().filter(idle)).partition(|active| active.close.is_cancelled());
            if leaving.len() <= self.queue.len()
                && let Some(idle) = open.first()
            {
                idle.close.cancel();
            }
            self.queue.push_front(order);
            return;
        }
    }

    /// Hands the job to the open session of its conversation, or gives it back.
    fn go_on(&mut self, order: Order) -> Option<Order> {
        let Some(before) = order.continues else {
            return Some(order);
        };
        let Some(active) = self.active.values_mut().find(|active| {
            active.running.is_none()
                && active.answered == Some(before)
                && active.agent == order.agent
                && active.params == order.request.lasting()
                && active.private == order.request.scheme.is_private()
                && !active.close.is_cancelled()
        }) else {
            return Some(order);
        };
        let cancel = CancellationToken::new();
        let running = (order.event.id, order.attempt, cancel.clone());
        match active.turns.try_send(Turn { order, cancel }) {
            Ok(()) => {
                active.running = Some(running);
                None
            }
            Err(error) => Some(error.into_inner().order),
        }
    }

    fn open(&mut self, order: Order) {
        let place = self.next_place;
        self.next_place += 1;
        // One that works on files and waits has an empty folder, not that of the conversation before.
        // Nor one that was started before it was known that its project lies in what it is shown.
        let project = order.request.param("workspace").map(Path::new);
        let shows = |process: &Process| {
            let host = process.manifest.embedded.as_ref();
            host.is_some_and(|host| project.is_some_and(|project| host.shows(project)))
        };
        let warm = self.warm.iter().position(|process| {
            process.agent() == order.agent
                && process.is_alive()
                && !order.has_network()
                // What it keeps would be on the disk.
                && !(process.keeps && order.request.scheme.is_private())
                && !(process.manifest.workspace && (order.continues.is_some() || shows(process)))
        });
        let process = warm.map(|at| self.warm.swap_remove(at));
        if self.context.jobs.agent_for(kind::TEXT_GENERATION) != Some(order.agent.as_str()) {
            self.used = Some(order.agent.clone());
        }
        let (turns, inbox) = mpsc::channel(1);
        let (close, cancel) = (CancellationToken::new(), CancellationToken::new());
        let active = Active {
            turns,
            close: close.clone(),
            agent: order.agent.clone(),
            params: order.request.lasting(),
            private: order.request.scheme.is_private(),
            running: Some((order.event.id, order.attempt, cancel.clone())),
            answered: None,
        };
        self.active.insert(place, active);
        let span = tracing::info_span!("session", job = %order.event.id, attempt = order.attempt);
        let session = session::run(
            self.context.clone(),
            session::Opening {
                place,
                first: Turn { order, cancel },
                process,
            },
            session::Lines {
                turns: inbox,
                events: self.events.0.clone(),
                reports: self.reports.clone(),
                close,
                shutdown: self.shutdown.clone(),
            },
        );
        let task = self.sessions.spawn(session.instrument(span));
        self.places.insert(task.id(), place);
        // The session that begins has the processors first.
        self.keep_warm(REFILL);
    }

    fn stop(&mut self, job: &EventId, attempt: u32) {
        self.queue
            .retain(|order| order.event.id != *job || order.attempt > attempt);
        let sessions = self.active.values().filter_map(|it| it.running.as_ref());
        for (running, number, cancel) in sessions.chain(self.operations.values()) {
            if running == job && *number <= attempt {
                cancel.cancel();
            }
        }
    }

    /// Keeps containers ready: for conversations from the start, for another agent once it was used, since a
    /// person who asked for it will again.
    fn keep_warm(&mut self, after: Duration) {
        self.warm.retain(Process::is_alive);
        let chat = self.context.jobs.agent_for(kind::TEXT_GENERATION);
        let wanted: Vec<String> = chat
            .into_iter()
            .chain(self.used.iter().map(String::as_str))
            .filter(|name| {
                let agent = self.context.agents.get(name);
                agent.is_some_and(|agent| agent.manifest.prewarm)
            })
            .map(str::to_owned)
            .collect();
        for agent in wanted {
            let here = self.warm.iter().filter(|warm| warm.agent() == agent);
            let coming = self.warming_up.values().filter(|name| **name == agent);
            let missing = self
                .context
                .sessions
                .warm
                .saturating_sub(here.count() + coming.count());
            for _ in 0..missing {
                let (context, name) = (self.context.clone(), agent.clone());
                let span = tracing::info_span!("warm", agent);
                let warming = async move {
                    tokio::time::sleep(after).await;
                    Process::warm(&context, &name).await
                };
                let task = self.warming.spawn(warming.instrument(span));
                self.warming_up.insert(task.id(), agent.clone());
            }
        }
    }

    /// Every session writes its end and stops its container; they see the shutdown themselves.
    async fn close(mut self) {
        self.warming.abort_all();
        while self.warming.join_next().await.is_some() {}
        let warm = std::mem::take(&mut self.warm);
        futures_util::future::join_all(warm.into_iter().map(Process::discard)).await;
        // Nobody sees what they built any longer than they run.
        self.context.previews.shutdown().await;
        while self.sessions.join_next().await.is_some() {}
    }
}
