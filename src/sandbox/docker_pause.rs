//! Pausing a container: who holds it, and what the engine is told for that.

use std::collections::HashSet;
use std::time::Duration;

use bollard::Docker;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::docker::{engine, status};
use super::{Error, Request, Tail};

/// How long the engine may take to freeze or wake a container; a fork bomb is slow to freeze.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is tried to wake a container that nobody waits for.
const WAKE_TRIES: u32 = 4;
/// The pause between two tries.
const WAKE_EVERY: Duration = Duration::from_millis(500);
/// What is the last that is heard of one that does not wake.
const UNWAKEABLE: &[u8] = b"\ntreefort ended it: it stood still for a moment and the container engine could not wake it\n";

/// The holders of one container.
pub(super) struct Holds<'a> {
    docker: &'a Docker,
    id: &'a str,
    requests: mpsc::Receiver<Request>,
    holders: HashSet<u64>,
    /// Those that let go by themselves, and how often it was tried to wake the container for them.
    leases: JoinSet<(u64, u32)>,
    /// Where it is said when it is ended because it cannot be woken.
    words: Tail,
}

impl<'a> Holds<'a> {
    pub(super) fn new(
        docker: &'a Docker,
        id: &'a str,
        requests: mpsc::Receiver<Request>,
        words: Tail,
    ) -> Self {
        Self {
            docker,
            id,
            requests,
            holders: HashSet::new(),
            leases: JoinSet::new(),
            words,
        }
    }

    /// Serves requests until the sandbox is to stop; returns the grace. The container is awake then, unless there
    /// is none: nobody else would wake one that does not wake when the last who let go by itself has done so.
    pub(super) async fn serve(&mut self, mut stop: oneshot::Receiver<Duration>) -> Duration {
        loop {
            tokio::select! {
                biased;
                grace = &mut stop => match grace {
                    Ok(grace) => {
                        if !grace.is_zero() {
                            // It cannot hear a request to end while it is frozen.
                            self.wake().await;
                        }
                        return grace;
                    }
                    // Its control was dropped: whoever polls this sees the cancellation.
                    Err(_) => std::future::pending().await,
                },
                Some(request) = self.requests.recv() => self.answer(request).await,
                Some(over) = self.leases.join_next() => {
                    let Ok((holder, tries)) = over else {
                        continue;
                    };
                    match self.release(holder).await {
                        // One that has ended needs nobody to wake it.
                        Ok(()) | Err(Error::Ended) => {}
                        Err(error) if tries < WAKE_TRIES => {
                            tracing::warn!(%error, "a container that stood still could not be woken");
                            self.leases.spawn(async move {
                                tokio::time::sleep(WAKE_EVERY).await;
                                (holder, tries + 1)
                            });
                        }
                        Err(error) => {
                            tracing::error!(%error, "a container that cannot be woken is ended");
                            self.words.push(UNWAKEABLE);
                            return Duration::ZERO;
                        }
                    }
                }
            }
        }
    }

    /// Wakes the container if it may be frozen, whoever holds it.
    pub(super) async fn wake(&mut self) {
        if self.holders.is_empty() {
            return;
        }
        self.holders.clear();
        if let Err(error) = self.unpause().await {
            tracing::debug!(%error, "could not wake the container");
        }
    }

    async fn answer(&mut self, request: Request) {
        // Whoever asked may not wait any more.
        match request {
            Request::Pause {
                holder,
                lease,
                done,
            } => {
                let held = self.hold(holder).await;
                if let (Ok(()), Some(lease)) = (&held, lease) {
                    self.leases.spawn(async move {
                        lease.over().await;
                        (holder, 1)
                    });
                }
                drop(done.send(held));
            }
            Request::Resume { holder, done } => drop(done.send(self.release(holder).await)),
        }
    }

    async fn hold(&mut self, holder: u64) -> Result<(), Error> {
        if self.holders.is_empty() {
            // Held from now on: when the answer is lost, the container may be frozen all the same.
            self.holders.insert(holder);
            if let Err(error) = self.pause().await {
                self.wake().await;
                return Err(error);
            }
        }
        self.holders.insert(holder);
        Ok(())
    }

    async fn release(&mut self, holder: u64) -> Result<(), Error> {
        if self.holders.len() == 1 && self.holders.contains(&holder) {
            self.unpause().await?;
        }
        self.holders.remove(&holder);
        Ok(())
    }

    async fn pause(&self) -> Result<(), Error> {
        let ask = self.docker.pause_container(self.id);
        outcome("pause a container", ask, "already paused").await
    }

    async fn unpause(&self) -> Result<(), Error> {
        let ask = self.docker.unpause_container(self.id);
        outcome("resume a container", ask, "not paused").await
    }
}

/// The engine's answer; that the container is `there_already` is as good as having done it.
async fn outcome(
    action: &'static str,
    ask: impl Future<Output = Result<(), bollard::errors::Error>>,
    there_already: &str,
) -> Result<(), Error> {
    let answer = tokio::time::timeout(PATIENCE, ask).await;
    let slow = || Error::Engine {
        action,
        source: "it did not answer in time".into(),
    };
    let Err(error) = answer.map_err(|_| slow())? else {
        return Ok(());
    };
    match status(&error) {
        Some(404) => Err(Error::Ended),
        // The engine says which conflict it is in its words only.
        Some(409 | 500) if error.to_string().contains(there_already) => Ok(()),
        Some(409 | 500) if error.to_string().contains("not running") => Err(Error::Ended),
        _ => Err(engine(action)(error)),
    }
}
