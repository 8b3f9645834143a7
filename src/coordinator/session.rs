//! A session: one agent at work under one key, from its first job to its end.
//!
//! What the agent says is a claim and goes into its record as such; tokens, times and exit codes are what
//! the host saw. Every record is published before the next one is made.

use std::{sync::Arc, time::Duration};

use nostr::Event;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    attend::Stand,
    context::{Context, now},
    desk::{Place, Word},
    executor::{ExecutorEvent, Order, SessionEvent},
    facts::{self, Around, Bench},
    image,
    memory::{self, Known},
    opening::Prepared,
    process::{Process, Talk},
    publisher::PublishError,
    serving,
    shared::Told,
    turn, watch,
};
use crate::{
    agent::acp::SessionId,
    job::{Failure, Report},
    model::{ModelCall, local::ModelInfo},
    nips::{Reference, session::Outcome},
    recorder::{Entry, SessionLog},
    sandbox,
    store::state::SessionRecord,
};

/// The longest that a session stays open after an answer because somebody looks at what it built.
const LOOKED_AT: Duration = Duration::from_secs(4 * 3600);
/// How often it is looked whether somebody does.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

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
    /// The conversation with the agent; a command has none.
    pub(super) acp: Option<SessionId>,
    /// The files that it works on.
    pub(super) bench: Option<Bench>,
    /// What its agent is told in front of the next prompt.
    pub(super) introduction: Option<String>,
    /// How it came to know what was said before it.
    pub(super) known: Option<Known>,
    /// Records that go out with the next ones, so that they wait for the disk once.
    pub(super) held: Vec<Event>,
    /// The customer's job that it is on.
    pub(super) root: Reference,
    /// Whether nothing of what is said may be readable on the relay.
    pub(super) private: bool,
    /// The first note of the thread beside the records.
    pub(super) thread: Option<Reference>,
    /// The inner job of the first turn, which the start names.
    pub(super) first_inner: Option<Reference>,
    pub(super) record: SessionRecord,
    /// The model that it began with.
    pub(super) model: ModelInfo,
    /// Its place among those that its owner can speak to, and what its owner says.
    pub(super) place: Place,
    pub(super) words: mpsc::Receiver<Word>,
    /// How its turn stands.
    pub(super) stand: Stand,
    /// Holds the agent still for its owner.
    pub(super) owners: sandbox::Handle,
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
    let (progress, mut building) = mpsc::channel(64);
    let preparing = Session::prepare(context.clone(), &turn.order, process, progress);
    let prepared = tokio::select! {
        prepared = Box::pin(preparing) => prepared,
        () = image::tell(&mut building, &context.redactor, (&turn.order, &turn.order.agent), &lines.reports) => return,
        () = turn.cancel.cancelled() => return,
        () = lines.shutdown.cancelled() => return,
    };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return report_failure(&lines.reports, &turn.order, failure).await,
    };
    let Prepared {
        mut session,
        mut prompt,
        model,
        imported,
        attached,
    } = prepared;
    // From here on the session has a record, which must come to its end.
    let begun = session.begin(
        &turn.order,
        &prompt,
        &model,
        imported.as_ref(),
        attached.as_ref(),
    );
    if let Err(error) = Box::pin(begun).await {
        let failure = Failure::new("agent", format!("the record could not be written: {error}"));
        report_failure(&lines.reports, &turn.order, failure).await;
        return session.end(Outcome::Failed, "record", &lines).await;
    }
    let (outcome, ending) = 'session: loop {
        let after = Box::pin(turn::run(&mut session, &turn, &prompt, &lines)).await;
        if let After::Over(outcome, ending) = after {
            break 'session (outcome, ending);
        }
        // It stands still and would not hear another job.
        let is_full = |bench: &Bench| bench.store_full;
        if session.bench.as_ref().is_some_and(is_full) {
            break 'session (Outcome::Failed, "store");
        }
        session.place.rests();
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
        let (mut ends, latest) = (
            Instant::now() + Duration::from_secs(idle),
            Instant::now() + LOOKED_AT,
        );
        let shared = session.bench.as_ref().map(|bench| bench.shared.clone());
        let mut wanted = std::pin::pin!(facts::wanted(shared));
        turn = loop {
            tokio::select! {
                next = lines.turns.recv() => match next {
                    Some(next) => break next,
                    None => break 'session (Outcome::Success, "completed"),
                },
                around = facts::around(&mut session.bench) => match around {
                    Around::Told(told) => {
                        if let Err(error) = session.hear(*told).await {
                            tracing::error!(%error, "an undo could not be recorded");
                            break 'session (Outcome::Failed, "record");
                        }
                    }
                    Around::Ports => {
                        if let Err(error) = serving::record(&mut session).await {
                            tracing::error!(%error, "what the agent serves could not be recorded");
                            break 'session (Outcome::Failed, "record");
                        }
                    }
                    // Nobody waits for what it does now: over its quota it ends, and its copy stays.
                    Around::Look => match watch::grew_too_large(&mut session).await {
                        Ok(false) => {}
                        Ok(true) => break 'session (Outcome::Failed, "disk"),
                        Err(error) => {
                            tracing::error!(%error, "an agent over its quota could not be recorded");
                            break 'session (Outcome::Failed, "record");
                        }
                    },
                },
                Some(word) = session.words.recv() => match word {
                    Word::Leave => break 'session (Outcome::Success, "completed"),
                    word => word.nothing_to_do(),
                },
                // What it built runs in its sandbox, and somebody looks at that.
                () = tokio::time::sleep_until(ends) => match session.is_looked_at() && ends < latest {
                    true => ends = Instant::now() + LOOK_AGAIN,
                    false => break 'session (Outcome::Success, "completed"),
                },
                () = lines.close.cancelled() => break 'session (Outcome::Success, "completed"),
                () = &mut wanted => break 'session (Outcome::Success, "completed"),
                () = lines.shutdown.cancelled() => break 'session (Outcome::Interrupted, "stopped"),
            }
        };
        prompt = match session.next_prompt(&turn.order).await {
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
        let event = SessionEvent::Back(Box::new(late));
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
    /// Stores what did not fit into a record, and publishes the record.
    pub(super) async fn publish(&mut self, entry: Entry) -> Result<(), PublishError> {
        let event = self.keep_whole(entry).await;
        self.emit(vec![event]).await
    }

    /// Publishes events after those that were held back for them.
    ///
    /// # Errors
    /// When the relay refuses one.
    pub(super) async fn emit(&mut self, events: Vec<Event>) -> Result<(), PublishError> {
        let mut all = std::mem::take(&mut self.held);
        all.extend(events);
        if all.is_empty() {
            return Ok(());
        }
        let Err(unpublished) = self.context.publisher.publish_chain(all).await else {
            return Ok(());
        };
        // An agent must not be able to make its own record one that cannot be verified.
        self.log.take_back(&unpublished.events);
        if self.log.start_reference().is_some() {
            let sentence = "What comes here could not be recorded: the relay does not take it.";
            let entry = self.log.error("record", false, sentence, now())?;
            if let Err(error) = self.context.publisher.publish(entry.event.clone()).await {
                tracing::error!(%error, "that a record is missing could not be recorded");
                self.log.take_back(&[entry.event]);
            }
        }
        Err(unpublished.error)
    }

    /// Whether somebody looks at what runs in its sandbox.
    fn is_looked_at(&self) -> bool {
        let copy = self.bench.as_ref().map(|bench| bench.shared.id.to_hex());
        copy.is_some_and(|copy| self.context.previews.is_looked_at(&copy))
    }

    /// Takes in what the owner did with the files while no job ran.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(super) async fn hear(&mut self, told: Told) -> Result<String, PublishError> {
        let Told::Restored {
            undone,
            to,
            recorded,
        } = told;
        facts::record_undo(self, &undone, to).await?;
        // The one who asked may have stopped waiting.
        let _ = recorded.send(());
        let sentence = format!(
            "The owner brought the files in /workspace back to an earlier state (checkpoint {to}). What you \
             remember of them may be wrong: read a file again before you change it."
        );
        self.introduction = Some(format!("{sentence}\n\n"));
        Ok(sentence)
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
    async fn end(mut self, outcome: Outcome, ending: &'static str, lines: &Lines) {
        if let Some(bench) = &self.bench {
            bench.held.leaves();
        }
        // What is said to it from here on is said to nobody.
        self.words.close();
        while let Ok(word) = self.words.try_recv() {
            word.nothing_to_do();
        }
        // From here on nobody is told anything: an undo has a record of its own.
        while let Some(told) = self.last_told() {
            if let Err(error) = self.hear(told).await {
                tracing::error!(%error, "an undo could not be recorded");
                break;
            }
        }
        // What it would do after the last checkpoint is on no record, so it ends before. There is nothing for it to
        // save: all that it has outside of the copy goes with its container.
        if self.bench.is_some() {
            self.process.kill().await;
            memory::ends(&self).await;
        }
        if self.log.start_reference().is_some() {
            // What the agent did after its last word counts too. A record that fails is seen below.
            let last = facts::end_turn(&mut self).await;
            let flushed = self.emit(Vec::new()).await;
            if let Err(error) = last.and(flushed) {
                tracing::error!(%error, "the last checkpoint was not recorded");
            }
        }
        if let Some(bench) = &self.bench {
            bench.held.ends(lines.shutdown.cancelled()).await;
        }
        let Self {
            context,
            process,
            bench,
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
        match bench {
            // Its copy is free for others only now.
            Some(bench) => drop(bench),
            None => {
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
        }
    }

    /// What its owner did before nothing was heard any more.
    fn last_told(&mut self) -> Option<Told> {
        let bench = self.bench.as_mut()?;
        bench.told.close();
        bench.told.try_recv().ok()
    }

    /// Says on its copy whether it has nothing more to do, so that nobody takes an open session for one at work.
    pub(super) fn rests(&self, rests: bool) {
        if let Some(bench) = &self.bench {
            bench.held.rests(rests);
        }
    }

    /// What the agent said between two jobs belongs to neither.
    pub(super) fn forget_claims(&mut self) {
        if let Talk::Acp { claims, .. } = &mut self.process.talk {
            while claims.try_recv().is_ok() {}
        }
    }

    /// How many seconds a job may take.
    pub(super) fn seconds(&self, order: &Order) -> u64 {
        if order.stranger {
            self.context.jobs.strangers.seconds
        } else {
            self.context.jobs.timeout_s
        }
    }
}
