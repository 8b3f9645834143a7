//! The handles on a running sandbox: [`Control`] ends it, [`Handle`] pauses it.
//!
//! They send requests to the one task of the backend that owns the container. A sandbox stays
//! paused as long as any [`Handle`] holds it, so that two who pause it for reasons of their own (a
//! full disk, an undo) do not wake it behind each other's back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Error, Exit};

/// Requests that wait for the backend; more make their senders wait.
const REQUESTS: usize = 8;

/// The handle that ends a sandbox. Dropping it does so without waiting.
#[derive(Debug)]
pub struct Control {
    stop: Option<oneshot::Sender<Duration>>,
    exit: watch::Receiver<Option<Exit>>,
    own: Handle,
    _cancel_on_drop: DropGuard,
}

/// Pauses and resumes a sandbox, from any task. Its clones are the same holder;
/// [`Control::handle`] makes another one.
#[derive(Debug, Clone)]
pub struct Handle {
    holder: u64,
    next_holder: Arc<AtomicU64>,
    requests: mpsc::Sender<Request>,
}

/// What a [`Handle`] asks of the backend.
#[derive(Debug)]
pub enum Request {
    /// Freeze every process until this holder, and every other one, resumes.
    Pause {
        /// Who asks.
        holder: u64,
        /// When this holder lets go without asking; never, for one that resumes.
        lease: Option<Lease>,
        /// Where the outcome goes.
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// The same for one that must not go on: it is ended when it cannot be frozen.
    PauseOrEnd {
        /// Who asks.
        holder: u64,
        /// Where the outcome goes.
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// Let go; the sandbox goes on when nobody else holds it.
    Resume {
        /// Who asks.
        holder: u64,
        /// Where the outcome goes.
        done: oneshot::Sender<Result<(), Error>>,
    },
}

/// How long a holder holds: until its [`Still`] is dropped, and at most this long. The backend keeps it, so
/// nothing of the holder's has to run for the sandbox to go on.
#[derive(Debug)]
pub struct Lease {
    dropped: oneshot::Receiver<()>,
    at_most: Duration,
}

impl Lease {
    /// Returns when it is over.
    pub async fn over(self) {
        // It is dropped, not sent.
        let _over = tokio::time::timeout(self.at_most, self.dropped).await;
    }
}

/// A sandbox that stands still until this is dropped; see [`Handle::still`].
#[derive(Debug)]
pub struct Still {
    _lease: oneshot::Sender<()>,
}

/// The backend's side of a [`Control`].
#[derive(Debug)]
pub struct Commands {
    /// A request to stop, with its grace.
    pub stop: oneshot::Receiver<Duration>,
    /// Requests to pause and resume.
    pub requests: mpsc::Receiver<Request>,
    /// Cancelled when the sandbox was dropped or the runtime shuts down.
    pub cancelled: CancellationToken,
    /// Where the backend says how the sandbox ended. Dropped when the sandbox is removed.
    pub exit: watch::Sender<Option<Exit>>,
}

impl Handle {
    /// Freezes every process of the sandbox; returns when they stand still. Nothing of it runs,
    /// writes or answers until every holder has resumed, except that stopping it works as always.
    /// Pausing twice is the same as once.
    ///
    /// # Errors
    /// [`Error::Ended`] when the sandbox has ended, [`Error::Engine`] or [`Error::System`] when it could not be frozen.
    pub async fn pause(&self) -> Result<(), Error> {
        let holder = self.holder;
        self.ask(|done| Request::Pause {
            holder,
            lease: None,
            done,
        })
        .await
    }

    /// As [`Self::pause`], for a sandbox that must not go on: one that cannot be frozen is being ended when this
    /// returns.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub async fn pause_or_end(&self) -> Result<(), Error> {
        let holder = self.holder;
        self.ask(|done| Request::PauseOrEnd { holder, done }).await
    }

    /// As [`Self::pause`], by a holder of its own, until the result is dropped: by whom and on which thread
    /// does not matter. After `at_most` the sandbox goes on all the same.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub async fn still(&self, at_most: Duration) -> Result<Still, Error> {
        let holder = self.another().holder;
        let (lease, dropped) = oneshot::channel();
        let held = Lease { dropped, at_most };
        self.ask(|done| Request::Pause {
            holder,
            lease: Some(held),
            done,
        })
        .await?;
        Ok(Still { _lease: lease })
    }

    /// Lets go of the sandbox: it goes on unless another holder keeps it paused. Resuming what this
    /// holder did not pause does nothing.
    ///
    /// # Errors
    /// [`Error::Ended`] when the sandbox has ended, [`Error::Engine`] when it could not be woken.
    pub async fn resume(&self) -> Result<(), Error> {
        let holder = self.holder;
        self.ask(|done| Request::Resume { holder, done }).await
    }

    /// Another holder of the same sandbox.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            holder: self.next_holder.fetch_add(1, Ordering::Relaxed),
            ..self.clone()
        }
    }

    async fn ask(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Request,
    ) -> Result<(), Error> {
        let (done, outcome) = oneshot::channel();
        let sent = self.requests.send(request(done)).await;
        sent.map_err(|_| Error::Ended)?;
        // The backend drops a request that it has no time for because the sandbox ends.
        outcome.await.map_err(|_| Error::Ended)?
    }
}

impl Control {
    /// Both sides of a sandbox's control, for a backend; `parent` cancels it too.
    pub fn new(parent: &CancellationToken) -> (Self, Commands) {
        let (stop_tx, stop) = oneshot::channel();
        let (exit, exit_rx) = watch::channel(None);
        let (requests_tx, requests) = mpsc::channel(REQUESTS);
        let cancelled = parent.child_token();
        let control = Self {
            stop: Some(stop_tx),
            exit: exit_rx,
            own: Handle {
                holder: 0,
                next_holder: Arc::new(AtomicU64::new(1)),
                requests: requests_tx,
            },
            _cancel_on_drop: cancelled.clone().drop_guard(),
        };
        let commands = Commands {
            stop,
            requests,
            cancelled,
            exit,
        };
        (control, commands)
    }

    /// How the sandbox ended; `None` while it runs.
    pub fn exit(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.clone()
    }

    /// A holder of its own for another task, which may pause the sandbox while this is elsewhere.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.own.another()
    }

    /// See [`Handle::pause`].
    ///
    /// # Errors
    /// See [`Handle::pause`].
    pub async fn pause(&self) -> Result<(), Error> {
        self.own.pause().await
    }

    /// See [`Handle::resume`].
    ///
    /// # Errors
    /// See [`Handle::resume`].
    pub async fn resume(&self) -> Result<(), Error> {
        self.own.resume().await
    }

    /// Asks the agent to end, waits up to `grace`, then kills it; returns when the container is
    /// removed. A sandbox that has ended already is no error, and a paused one is woken for its
    /// grace.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the sandbox was ended because it broke the multiplexer's rules.
    /// [`Error::Lost`] when the engine could not say how it ended.
    pub async fn stop(&mut self, grace: Duration) -> Result<Exit, Error> {
        if let Some(stop) = self.stop.take() {
            // The sandbox may have ended by itself: then nobody listens, and that is fine.
            let _ = stop.send(grace);
        }
        // The backend drops its sender once the container is gone.
        while self.exit.changed().await.is_ok() {}
        let exit = self.exit.borrow().clone().ok_or(Error::Lost)?;
        match exit.violation {
            Some(violation) => Err(Error::Protocol(violation)),
            None => Ok(exit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stop_returns_the_exit_that_the_backend_saw() {
        let (mut control, commands) = Control::new(&CancellationToken::new());
        let backend = tokio::spawn(async move {
            let grace = commands.stop.await.unwrap();
            commands.exit.send_replace(Some(Exit {
                code: Some(3),
                ..Exit::default()
            }));
            grace
        });
        let exit = control.stop(Duration::from_secs(7)).await.unwrap();
        assert_eq!(exit.code, Some(3));
        assert_eq!(backend.await.unwrap(), Duration::from_secs(7));
    }

    #[tokio::test]
    async fn dropping_the_control_cancels_the_backend() {
        let (control, commands) = Control::new(&CancellationToken::new());
        let handle = control.handle();
        drop(control);
        commands.cancelled.cancelled().await;
        drop(commands);
        assert!(matches!(handle.pause().await, Err(Error::Ended)));
    }

    #[tokio::test]
    async fn a_request_that_the_backend_drops_says_that_the_sandbox_ended() {
        let (control, mut commands) = Control::new(&CancellationToken::new());
        let handle = control.handle();
        let asked = tokio::spawn(async move { handle.pause().await });
        drop(commands.requests.recv().await);
        assert!(matches!(asked.await.unwrap(), Err(Error::Ended)));
    }

    #[test]
    fn each_handle_is_a_holder_and_its_clones_are_the_same() {
        let (control, _commands) = Control::new(&CancellationToken::new());
        let (first, second) = (control.handle(), control.handle());
        let holders = [
            control.own.holder,
            first.holder,
            second.holder,
            second.another().holder,
        ];
        assert_eq!(holders, [0, 1, 2, 3]);
        assert_eq!(first.clone().holder, first.holder);
    }
}
