//! A session: one agent at work under one key, from its first job to its end.
//!
//! What the agent says is a claim and goes into its record as such; tokens, times and exit codes are what
//! the host saw. Every record is published before the next one is made.

use std::{sync::Arc, time::Duration};

use nostr::{Event, EventId};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    choice,
    context::{Context, now},
    conversation::{self, Said},
    executor::{ExecutorEvent, Order, SessionEvent},
    process::{self, Process},
    publisher::PublishError,
    turn,
};
use crate::{
    agent::acp::SessionId,
    job::{Failure, Report},
    model::{ModelCall, gateway::SessionPolicy, local::ModelInfo},
    nips::{
        Draft, Reference,
        draft::SignError,
        kind, nip10, nip89,
        nip90::Scheme,
        session::{Outcome, Start},
    },
    recorder::{Belonging, Entry, SessionLog},
    store::state::SessionRecord,
};

/// One job for a session.
#[derive(Debug)]
pub(super) struct Turn {
    /// The attempt.
    pub(super) order: Order,
    /// Stops it.
    pub(super) cancel: CancellationToken,
}

/// What a session begins with.
pub(super) struct Opening {
    /// Its place at the executor.
    pub(super) place: u64,
    /// Its first job.
    pub(super) first: Turn,
    /// A process that was kept warm.
    pub(super) process: Option<Process>,
}

/// What a session is connected to.
pub(super) struct Lines {
    /// Further jobs of the conversation.
    pub(super) turns: mpsc::Receiver<Turn>,
    /// To the executor.
    pub(super) events: mpsc::Sender<SessionEvent>,
    /// To the dispatcher.
    pub(super) reports: mpsc::Sender<ExecutorEvent>,
    /// The executor wants the place.
    pub(super) close: CancellationToken,
    /// The program stops.
    pub(super) shutdown: CancellationToken,
}

/// An open session.
pub(super) struct Session {
    pub(super) context: Arc<Context>,
    pub(super) process: Process,
    pub(super) log: SessionLog,
    pub(super) calls: mpsc::Receiver<ModelCall>,
    pub(super) acp: SessionId,
    /// The customer's job that it is on.
    pub(super) root: Reference,
    /// Whether nothing of what is said may be readable on the relay.
    pub(super) private: bool,
    /// The first note of the thread beside the records.
    pub(super) thread: Option<Reference>,
    /// The inner job of the first turn, which the start names.
    pub(super) first_inner: Option<Reference>,
    record: SessionRecord,
}

/// How a turn left the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It can take another one.
    Open,
    /// It is over.
    Over(Outcome, &'static str),
}

/// Serves a session from its first job to its end.
pub(super) async fn run(context: Arc<Context>, opening: Opening, mut lines: Lines) {
    let Opening {
        place,
        first,
        process,
    } = opening;
    let idle = if first.order.stranger {
        0
    } else {
        context.sessions.idle_s
    };
    let mut turn = first;
    // Nothing is on the record while this runs: it can be dropped, and what it started goes with it.
    let prepared = tokio::select! {
        prepared = Box::pin(Session::prepare(context.clone(), &turn.order, process)) => prepared,
        () = turn.cancel.cancelled() => return,
        () = lines.shutdown.cancelled() => return,
    };
    let (mut session, mut prompt, model) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return report_failure(&lines.reports, &turn.order, failure).await,
    };
    // From here on the session has a record, which must come to its end.
    if let Err(error) = Box::pin(session.begin(&turn.order, &prompt, &model)).await {
        let failure = Failure::new("agent", format!("the record could not be written: {error}"));
        report_failure(&lines.reports, &turn.order, failure).await;
        return session.end(Outcome::Failed, "record", &lines).await;
    }
    let (outcome, ending) = loop {
        let after = Box::pin(turn::run(&mut session, &turn, &prompt, &lines)).await;
        if let After::Over(outcome, ending) = after {
            break (outcome, ending);
        }
        let answered = turn.order.event.id;
        if idle == 0
            || lines
                .events
                .send(SessionEvent::Idle {
                    place,
                    job: answered,
                })
                .await
                .is_err()
        {
            break (Outcome::Success, "completed");
        }
        turn = tokio::select! {
            next = lines.turns.recv() => match next {
                Some(next) => next,
                None => break (Outcome::Success, "completed"),
            },
            () = tokio::time::sleep(Duration::from_secs(idle)) => break (Outcome::Success, "completed"),
            () = lines.close.cancelled() => break (Outcome::Success, "completed"),
            () = lines.shutdown.cancelled() => break (Outcome::Interrupted, "stopped"),
        };
        prompt = match conversation::prompt(&session.context, &turn.order.request).await {
            Ok(prompt) => prompt,
            Err(failure) => {
                report_failure(&lines.reports, &turn.order, failure).await;
                break (Outcome::Failed, "input");
            }
        };
    };
    lines.turns.close();
    // A job that was handed over in the moment of the end goes back for another session.
    while let Ok(late) = lines.turns.try_recv() {
        let event = SessionEvent::Back(Box::new(late.order));
        if lines.events.send(event).await.is_err() {
            tracing::debug!("nobody takes a job back any more");
        }
    }
    session.end(outcome, ending, &lines).await;
}

async fn report_failure(reports: &mpsc::Sender<ExecutorEvent>, order: &Order, failure: Failure) {
    let event = ExecutorEvent {
        job: order.event.id,
        attempt: order.attempt,
        session: None,
        thread: None,
        report: Report::Failed(failure),
    };
    if reports.send(event).await.is_err() {
        tracing::debug!("nobody hears a report any more");
    }
}

impl Session {
    /// Everything that can fail before the first record: the prompt, the model, the container, the agent.
    async fn prepare(
        context: Arc<Context>,
        order: &Order,
        process: Option<Process>,
    ) -> Result<(Self, String, ModelInfo), Failure> {
        let prompt = conversation::prompt(&context, &order.request).await?;
        let (model, history) = tokio::try_join!(
            choice::model(&context, order),
            conversation::history(&context, order.request.scheme, order.continues)
        )?;
        let mut process = match process {
            Some(process) => process,
            None => Process::start(&context, &order.agent).await?,
        };
        let (calls_in, calls) = mpsc::channel(64);
        process.connect_model(context.gateway.admit(SessionPolicy {
            token: process.token.clone(),
            model: model.name.clone(),
            fallback: choice::fallback(&context, order, &model),
            options: choice::options(&context, order, &model).await,
            budget: choice::budget(&context, order),
            calls: calls_in,
        }));
        let record = SessionRecord {
            v: 1,
            session: process.keys.public_key(),
            agent: order.agent.clone(),
            job: order.event.id,
            started_at: now(),
            ended: false,
        };
        // The session is noted before its first record: a crash in between leaves nothing to end.
        let (acp, noted) = tokio::join!(
            acp_session(&process, &history),
            note(&context, record.clone())
        );
        let acp = match noted.and(acp) {
            Ok(acp) => acp,
            Err(failure) => {
                process.discard().await;
                return Err(failure);
            }
        };
        let root = Reference::to(&order.event, &context.relay_url);
        let belonging = Belonging {
            operator: context.admission.operator(),
            root: Some(root.clone()),
            relay: context.relay_url.clone(),
        };
        let log = SessionLog::new(process.keys.clone(), context.redactor.clone(), belonging);
        let session = Self {
            private: order.request.scheme.is_private(),
            thread: None,
            first_inner: None,
            context,
            process,
            log,
            calls,
            acp,
            root,
            record,
        };
        Ok((session, prompt, model))
    }

    /// Profile, thread, inner job, start: what stands before the agent hears its first word.
    async fn begin(
        &mut self,
        order: &Order,
        prompt: &str,
        model: &ModelInfo,
    ) -> Result<(), PublishError> {
        let context = self.context.clone();
        let manifest = self.process.manifest.clone();
        let name = self.name();
        let profile = nip89::profile(
            &name,
            &format!("{} · {}", manifest.title, model.name),
            "A session of an AI agent, under a key of its own; not a person.",
            Some(&context.admission.operator()),
        );
        let mut events = vec![context.publisher.sign(profile, self.log.keys())?];
        let inner = self.take_job(order, prompt, &mut events)?;
        self.first_inner = Some(inner.clone());
        let start = Start {
            operator: Some(context.admission.operator()),
            behavior: None,
            role: manifest.name.clone(),
            model: model.name.to_string(),
            provider: model.provider.clone(),
            tier: if model.local { "local" } else { "cloud" }.to_owned(),
            adapter: manifest.name.clone(),
            image: self.process.image.clone(),
            env: vec![
                format!("linux/{}", std::env::consts::ARCH),
                format!("sandbox={}", context.runtime.kind()),
                "network=none".to_owned(),
            ],
            config: Start::config_of(
                &manifest.name,
                "",
                &model.name.0,
                &model.provider,
                &manifest.name,
            ),
            extra: continued(order),
        };
        let content = format!(
            "{name} started on {} in a container without a network.",
            model.name
        );
        events.push(self.log.start(start, &inner, &content, now())?.event);
        context.publisher.publish_all(events).await
    }

    /// Turns to a job: the records from here on belong to it, a thread opens, the session is handed its
    /// inner job. What is to be published is appended to `events`.
    pub(super) fn take_job(
        &mut self,
        order: &Order,
        prompt: &str,
        events: &mut Vec<Event>,
    ) -> Result<Reference, SignError> {
        let context = self.context.clone();
        self.root = Reference::to(&order.event, &context.relay_url);
        self.private = order.request.scheme.is_private();
        self.log.turn_to(self.root.clone());
        self.thread = None;
        if !self.private {
            // What a guest wrote does not go out under the coordinator's key.
            let asked = if order.stranger {
                "A guest asks something.".to_owned()
            } else {
                excerpt(prompt)
            };
            let text = format!("🧭 {asked}\n{} is on it.", self.name());
            let opening = nip10::opening(&self.root, &[self.log.session()], &text);
            let note = context
                .publisher
                .sign(opening, context.keyring.coordinator())?;
            self.thread = Some(Reference::to(&note, &context.relay_url));
            events.push(note);
        }
        let inner = self.hand_over(prompt)?;
        let reference = Reference::to(&inner, &context.relay_url);
        events.push(inner);
        Ok(reference)
    }

    /// A short name for people, such as `chat-7f3a`.
    fn name(&self) -> String {
        format!(
            "{}-{}",
            self.process.manifest.name,
            &self.log.session().to_hex()[..4]
        )
    }

    /// The inner hop: a job of the coordinator's own for this session (DESIGN.md #4a).
    fn hand_over(&self, prompt: &str) -> Result<Event, SignError> {
        let context = &self.context;
        let keys = context.keyring.coordinator();
        let session = self.log.session();
        let prompt = context.redactor.redact(prompt);
        let input = vec!["i".to_owned(), prompt.to_string(), "text".to_owned()];
        let mut draft = Draft::new(kind::AGENT_TASK);
        if self.private {
            let hidden = serde_json::json!([input]).to_string();
            draft = match Scheme::Nip44.encrypt(keys, &session, &hidden) {
                Ok(content) => draft.tag(["encrypted"]).content(content),
                // Longer than NIP-44 takes: the session has the prompt already, the relay gets its size.
                Err(_) => draft
                    .tag(["encrypted"])
                    .tag(["withheld".to_owned(), prompt.len().to_string()]),
            };
        } else {
            draft = draft.tags([input]);
        }
        draft = draft
            .tag(["p", &session.to_hex()])
            .tags([self.root.tag("E"), self.root.tag("e")])
            .tag(["param", "depth", "1"])
            .tag(["alt", "Job handed to a session"]);
        context.publisher.sign(draft, keys)
    }

    /// Stores what did not fit into a record, and publishes the record.
    pub(super) async fn publish(&self, entry: Entry) -> Result<(), PublishError> {
        let event = self.keep_whole(entry).await;
        self.context.publisher.publish(event).await
    }

    /// Stores what did not fit into a record, and gives the record.
    pub(super) async fn keep_whole(&self, entry: Entry) -> Event {
        if let Some(overflow) = entry.overflow {
            let blobs = self.context.blobs.clone();
            let stored = tokio::task::spawn_blocking(move || blobs.put(overflow.as_bytes())).await;
            if !matches!(stored, Ok(Ok(_))) {
                tracing::error!("the whole of a long record could not be kept");
            }
        }
        entry.event
    }

    /// Writes the end, stops the agent, removes its container.
    async fn end(self, outcome: Outcome, ending: &'static str, lines: &Lines) {
        let Self {
            context,
            process,
            log,
            mut record,
            ..
        } = self;
        let started = log.start_reference().is_some();
        let session = log.session();
        let written = if started {
            match log.end(outcome, ending, "", now()) {
                Ok(entry) => context
                    .publisher
                    .publish(entry.event)
                    .await
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        } else {
            Ok(())
        };
        match written {
            Ok(()) => {
                record.ended = true;
                let state = context.state.clone();
                let stored = tokio::task::spawn_blocking(move || state.put_session(&record)).await;
                if !matches!(stored, Ok(Ok(()))) {
                    tracing::error!(%session, "the end of a session could not be noted");
                }
            }
            Err(error) => tracing::error!(%session, error, "the end of a session was not written"),
        }
        let grace = match outcome {
            Outcome::Interrupted => Duration::ZERO,
            _ => Duration::from_secs(process.manifest.grace_s),
        };
        let wanted = async {
            tokio::select! {
                () = lines.shutdown.cancelled() => {}
                () = lines.close.cancelled() => {}
            }
        };
        process.stop(grace, wanted).await;
    }

    /// What the agent said between two jobs belongs to neither.
    pub(super) fn forget_claims(&mut self) {
        while self.process.claims.try_recv().is_ok() {}
    }

    /// When a job has to be done.
    pub(super) fn deadline(&self, order: &Order) -> Instant {
        let seconds = if order.stranger {
            self.context.jobs.strangers.seconds
        } else {
            self.context.jobs.timeout_s
        };
        // A year is as good as never, and can be added to any time.
        Instant::now() + Duration::from_secs(seconds.min(365 * 86_400))
    }
}

async fn note(context: &Context, record: SessionRecord) -> Result<(), Failure> {
    let state = context.state.clone();
    match tokio::task::spawn_blocking(move || state.put_session(&record)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::new(
            "agent",
            format!("the session could not be noted: {error}"),
        )),
        Err(_) => Err(Failure::new("agent", "the session could not be noted")),
    }
}

async fn acp_session(process: &Process, history: &[Said]) -> Result<SessionId, Failure> {
    let failed = |error: crate::agent::acp::Error| process.agent_failed(&error);
    let acp = process
        .peer
        .new_session(crate::sandbox::WORKSPACE, process::meta(history))
        .await
        .map_err(failed)?;
    if let Some(mode) = &process.manifest.session_mode {
        process.peer.set_mode(&acp, mode).await.map_err(failed)?;
    }
    Ok(acp)
}

fn continued(order: &Order) -> Vec<Vec<String>> {
    order
        .continues
        .map(|job: EventId| vec!["continues".to_owned(), job.to_hex()])
        .into_iter()
        .collect()
}

/// The beginning of a text, for a note.
fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(140) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}
