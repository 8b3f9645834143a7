//! Who holds a sandbox still. The backends say how one is made to stand still ([`Freeze`]).

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Error, Request, Tail};

/// How often it is tried to wake a sandbox that nobody waits for.
const WAKE_TRIES: u32 = 4;
/// The pause between two tries.
const WAKE_EVERY: Duration = Duration::from_millis(500);
/// What is the last that is heard of one that does not wake.
const UNWAKEABLE: &[u8] =
    b"\ntreefort ended it: it stood still for a moment and could not be woken\n";

/// What is the last that is heard of one that has to stand still and does not.
const UNSTOPPABLE: &[u8] = b"\ntreefort ended it: it had to stand still and did not\n";

/// How one sandbox is made to stand still.
pub(super) trait Freeze {
    /// Returns when every process of it stands still. One that does already is no error.
    fn freeze(&self) -> impl Future<Output = Result<(), Error>> + Send;
    /// Lets it go on. One that does already is no error.
    fn wake(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The holders of one sandbox.
pub(super) struct Holds<F> {
    how: F,
    requests: mpsc::Receiver<Request>,
    holders: HashSet<u64>,
    /// Those that let go by themselves, and how often it was tried to wake the sandbox for them.
    leases: JoinSet<(u64, u32)>,
    /// Where it is said when it is ended because it cannot be woken.
    words: Tail,
}

impl<F: Freeze> Holds<F> {
    pub(super) fn new(how: F, requests: mpsc::Receiver<Request>, words: Tail) -> Self {
        Self {
            how,
            requests,
            holders: HashSet::new(),
            leases: JoinSet::new(),
            words,
        }
    }

    /// Serves requests until the sandbox is to stop; returns the grace. The sandbox is awake then, unless there
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
                Some(request) = self.requests.recv() => if !self.answer(request).await {
                    tracing::error!("a sandbox that does not stand still is ended");
                    self.words.push(UNSTOPPABLE);
                    return Duration::ZERO;
                },
                Some(over) = self.leases.join_next() => {
                    let Ok((holder, tries)) = over else {
                        continue;
                    };
                    match self.release(holder).await {
                        // One that has ended needs nobody to wake it.
                        Ok(()) | Err(Error::Ended) => {}
                        Err(error) if tries < WAKE_TRIES => {
                            tracing::warn!(%error, "a sandbox that stood still could not be woken");
                            self.leases.spawn(async move {
                                tokio::time::sleep(WAKE_EVERY).await;
                                (holder, tries + 1)
                            });
                        }
                        Err(error) => {
                            tracing::error!(%error, "a sandbox that cannot be woken is ended");
                            self.words.push(UNWAKEABLE);
                            return Duration::ZERO;
                        }
                    }
                }
            }
        }
    }

    /// Wakes the sandbox if it may be frozen, whoever holds it.
    pub(super) async fn wake(&mut self) {
        if self.holders.is_empty() {
            return;
        }
        self.holders.clear();
        if let Err(error) = self.how.wake().await {
            tracing::debug!(%error, "could not wake the sandbox");
        }
    }

    /// Whether the sandbox may go on.
    async fn answer(&mut self, request: Request) -> bool {
        // Whoever asked may not wait any more.
        match request {
            Request::PauseOrEnd { holder, done } => {
                let held = self.hold(holder).await;
                let goes_on = held.is_ok();
                drop(done.send(held));
                return goes_on;
            }
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
        true
    }

    async fn hold(&mut self, holder: u64) -> Result<(), Error> {
        if self.holders.is_empty() {
            // Held from now on: when the answer is lost, the sandbox may be frozen all the same.
            self.holders.insert(holder);
            if let Err(error) = self.how.freeze().await {
                self.wake().await;
                return Err(error);
            }
        }
        self.holders.insert(holder);
        Ok(())
    }

    async fn release(&mut self, holder: u64) -> Result<(), Error> {
        if self.holders.len() == 1 && self.holders.contains(&holder) {
            self.how.wake().await?;
        }
        self.holders.remove(&holder);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::sandbox::Control;

    /// Never freezes.
    struct Wild;

    impl Freeze for Wild {
        async fn freeze(&self) -> Result<(), Error> {
            Err(Error::Lost)
        }

        async fn wake(&self) -> Result<(), Error> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn one_that_has_to_stand_still_and_does_not_is_ended_with_a_reason() {
        let (control, commands) = Control::new(&CancellationToken::new());
        let words = Tail::default();
        let mut holds = Holds::new(Wild, commands.requests, words.clone());
        let serving = tokio::spawn(async move { holds.serve(commands.stop).await });
        control.pause().await.unwrap_err();
        assert!(!serving.is_finished() && words.text().is_empty());
        control.handle().pause_or_end().await.unwrap_err();
        assert_eq!(serving.await.unwrap(), Duration::ZERO);
        assert!(words.text().contains("did not"), "{}", words.text());
    }

    /// Freezes at once, and refuses to wake so many times.
    struct Stiff(Arc<AtomicU32>);

    impl Freeze for Stiff {
        async fn freeze(&self) -> Result<(), Error> {
            Ok(())
        }

        async fn wake(&self) -> Result<(), Error> {
            let refuse = |left: u32| left.checked_sub(1);
            match self
                .0
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse)
            {
                Ok(_) => Err(Error::Lost),
                Err(_) => Ok(()),
            }
        }
    }

    /// What is left of the refusals, and the last words, when a lease is over and some time has passed.
    async fn after_a_lease(refusals: u32) -> (u32, String, bool) {
        let (control, commands) = Control::new(&CancellationToken::new());
        let (left, words) = (Arc::new(AtomicU32::new(refusals)), Tail::default());
        let mut holds = Holds::new(Stiff(left.clone()), commands.requests, words.clone());
        let serving = tokio::spawn(async move { holds.serve(commands.stop).await });
        drop(
            control
                .handle()
                .still(Duration::from_secs(60))
                .await
                .unwrap(),
        );
        tokio::time::sleep(WAKE_EVERY * (WAKE_TRIES + 1)).await;
        let ended = serving.is_finished();
        serving.abort();
        (left.load(Ordering::SeqCst), words.text(), ended)
    }

    #[tokio::test]
    async fn one_that_does_not_wake_is_tried_again_then_ended_with_a_reason() {
        let slow = after_a_lease(WAKE_TRIES - 1);
        let never = after_a_lease(WAKE_TRIES + 3);
        let (slow, (left, words, ended)) = tokio::join!(slow, never);
        assert_eq!(slow, (0, String::new(), false));
        assert!(ended && words.contains("could not be woken"), "{words}");
        assert_eq!(left, 3);
    }
}
