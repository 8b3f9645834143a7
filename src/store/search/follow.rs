//! The thread that fills the index: it follows the log, removes what is gone, and begins anew when it has to.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    super::EventStore,
    Error, Shared,
    words::{self, Words},
};
use crate::nips::kind;

/// Events that are taken in at a time.
const BATCH: usize = 128;
/// How long more events are waited for, so that a batch is worth its commit, unless somebody searches.
const GATHER: Duration = Duration::from_millis(50);
/// When all events are looked at whether they are still there: after a start, how often, and how soon after a deletion.
const SWEEP_FIRST: Duration = Duration::from_secs(60);
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
const SWEEP_SOON: Duration = Duration::from_secs(600);
/// Events that one step of that looks at.
const SWEEP_STEP: usize = 256;
/// How long after a failure it is tried again, at first and at most.
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_MOST: Duration = Duration::from_secs(60);
/// A request that a relay forget its author (NIP-62).
const VANISH: u16 = 62;

pub(super) enum Command {
    /// There are more events.
    More,
    /// Somebody waits for them.
    Hurry,
    /// These are gone from the store.
    Gone(Vec<u64>),
    /// A search found the index damaged.
    Damaged,
    /// Away with all of it.
    Erase(oneshot::Sender<Result<(), Error>>),
    /// The end.
    Stop,
}

/// Why the index is closed.
enum End {
    Stop,
    Erase(oneshot::Sender<Result<(), Error>>),
    Failed(Error),
}

pub(super) struct Follower {
    path: PathBuf,
    store: Arc<dyn EventStore>,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
}

/// How far a sweep is.
struct Sweep {
    /// Where it goes on, while it runs.
    at: Option<u64>,
    last: Instant,
    due: Instant,
}

impl Sweep {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            at: None,
            last: now,
            due: now + SWEEP_FIRST,
        }
    }

    /// Something was deleted.
    fn soon(&mut self) {
        self.due = self.due.min(self.last + SWEEP_SOON);
    }
}

impl Follower {
    pub(super) fn new(
        path: PathBuf,
        store: Arc<dyn EventStore>,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            path,
            store,
            shared,
            commands,
        }
    }

    pub(super) fn run(self) {
        step_back();
        let mut again = AGAIN;
        loop {
            // Files that somebody changed may make the database panic, too.
            let end = catch_unwind(AssertUnwindSafe(|| self.serve(&mut again)));
            self.shared.set(None);
            match end.unwrap_or(End::Failed(Error::Damaged)) {
                End::Stop => return,
                End::Erase(reply) => {
                    // Whoever asked may not wait any more.
                    let _ = reply.send(words::wipe(&self.path));
                }
                End::Failed(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the search index failed; it is opened again"
                    );
                    if matches!(
                        error,
                        Error::Damaged | Error::Storage(fjall::Error::Storage(_))
                    ) && let Err(error) = words::wipe(&self.path)
                    {
                        tracing::error!(error = &error as &dyn std::error::Error, "it stays");
                    }
                    if self.rests(again) {
                        return;
                    }
                    again = (again * 2).min(AGAIN_MOST);
                }
            }
        }
    }

    /// From opening to closing.
    fn serve(&self, again: &mut Duration) -> End {
        let words = match Words::open(&self.path, &*self.store) {
            Ok(words) => Arc::new(words),
            Err(error) => return End::Failed(error),
        };
        self.shared.set(Some(Arc::clone(&words)));
        let end = self.follow(&words, again);
        self.shared.set(None);
        close(words);
        end
    }

    /// Waits while the index is closed; whether the end came.
    fn rests(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            match self
                .commands
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
                Ok(Command::Erase(reply)) => {
                    // Whoever asked may not wait any more.
                    let _ = reply.send(words::wipe(&self.path));
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    fn follow(&self, words: &Words, again: &mut Duration) -> End {
        let mut sweep = Sweep::new();
        loop {
            let pause = match self.step(words, &mut sweep) {
                Ok(pause) => pause,
                Err(error) => return End::Failed(error),
            };
            *again = AGAIN;
            if let Some(end) = self.listen(words, pause) {
                return end;
            }
        }
    }

    /// Does a piece of work; gives how long the next one can wait.
    fn step(&self, words: &Words, sweep: &mut Sweep) -> Result<Duration, Error> {
        let began = Instant::now();
        self.shared.told.store(false, Ordering::Release);
        let cursor = words.totals().cursor;
        let last = self.store.last_seq();
        if cursor < last {
            self.take_in(words, cursor, last, sweep)?;
            // Half of the time is left to others.
            return Ok(began.elapsed().min(GATHER));
        }
        if let Some(at) = sweep.at {
            let seqs = words.after(at, SWEEP_STEP)?;
            let mut gone = Vec::new();
            for seq in &seqs {
                if self.store.read(*seq)?.is_none() {
                    gone.push(*seq);
                }
            }
            if !gone.is_empty() {
                words.remove(&gone)?;
            }
            sweep.at = seqs.last().copied();
            return Ok(began.elapsed().min(GATHER));
        }
        if began >= sweep.due {
            *sweep = Sweep {
                at: Some(0),
                last: began,
                due: began + SWEEP_EVERY,
            };
            return Ok(Duration::ZERO);
        }
        Ok(sweep.due.saturating_duration_since(began))
    }

    fn take_in(
        &self,
        words: &Words,
        cursor: u64,
        last: u64,
        sweep: &mut Sweep,
    ) -> Result<(), Error> {
        let batch = match self.store.read_after(cursor, BATCH) {
            Err(super::super::Error::Row { .. }) => match self.store.read_after(cursor, 1) {
                // One that cannot be read cannot be found.
                Err(super::super::Error::Row { seq, .. }) => {
                    words.add(&[], seq)?;
                    self.shared.reached.send_replace(seq);
                    return Ok(());
                }
                read => read?,
            },
            read => read?,
        };
        // Nothing is left when all of it was deleted since.
        let to = batch.last().map_or(last, |stored| stored.seq);
        words.add(&batch, to)?;
        self.shared.reached.send_replace(to);
        let deletes = |kind: u16| matches!(kind, kind::DELETION | VANISH);
        if batch.iter().any(|one| deletes(one.event.kind.as_u16())) {
            sweep.soon();
        }
        Ok(())
    }

    /// Takes commands for a while, less when somebody waits.
    fn listen(&self, words: &Words, pause: Duration) -> Option<End> {
        let mut until = Instant::now() + pause;
        loop {
            if self.shared.waiting.load(Ordering::Acquire) > 0
                && words.totals().cursor < self.store.last_seq()
            {
                until = Instant::now();
            }
            let left = until.saturating_duration_since(Instant::now());
            let done = match self.commands.recv_timeout(left) {
                Ok(Command::More) => {
                    until = until.min(Instant::now() + GATHER);
                    Ok(())
                }
                Ok(Command::Hurry) => Ok(()),
                Ok(Command::Gone(seqs)) => words.remove(&seqs),
                Ok(Command::Damaged) => Err(Error::Damaged),
                Ok(Command::Erase(reply)) => return Some(End::Erase(reply)),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return Some(End::Stop),
                Err(RecvTimeoutError::Timeout) => return None,
            };
            if let Err(error) = done {
                return Some(End::Failed(error));
            }
        }
    }
}

/// Waits for who still searches, whose time is bounded, and closes the files.
fn close(words: Arc<Words>) {
    while Arc::strong_count(&words) > 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Everything else comes first. Threads that this one starts inherit it: those of the database.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(10) {
        tracing::debug!(%error, "the search has the priority of everything else");
    }
}
