//! Who holds a sandbox still, and how it is made to.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::freeze;
use super::run::Running;
use crate::sandbox::{Error, Request};

impl Running {
    /// Serves requests until the sandbox is to stop; returns the grace. It is awake then.
    pub(super) async fn serve(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        mut stop: oneshot::Receiver<Duration>,
    ) -> Duration {
        loop {
            tokio::select! {
                biased;
                grace = &mut stop => match grace {
                    Ok(grace) => {
                        self.wake().await;
                        return grace;
                    }
                    // Its control was dropped: whoever polls this sees the cancellation.
                    Err(_) => std::future::pending().await,
                },
                Some(request) = requests.recv() => self.answer(request).await,
                Some(over) = self.leases.join_next() => {
                    if let Ok(holder) = over
                        && let Err(error) = self.release(holder).await
                    {
                        tracing::warn!(%error, "a sandbox that stood still could not be woken");
                    }
                }
            }
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
                        holder
                    });
                }
                drop(done.send(held));
            }
            Request::Resume { holder, done } => drop(done.send(self.release(holder).await)),
        }
    }

    async fn hold(&mut self, holder: u64) -> Result<(), Error> {
        if self.holders.is_empty() {
            // Held from now on: when the answer is lost, it may stand still all the same.
            self.holders.insert(holder);
            if let Err(error) = self.stand_still(true).await {
                self.wake().await;
                return Err(error);
            }
        }
        self.holders.insert(holder);
        Ok(())
    }

    async fn release(&mut self, holder: u64) -> Result<(), Error> {
        if self.holders.len() == 1 && self.holders.contains(&holder) {
            self.stand_still(false).await?;
        }
        self.holders.remove(&holder);
        Ok(())
    }

    /// Lets it go on if it may stand still, whoever holds it.
    pub(super) async fn wake(&mut self) {
        if self.holders.is_empty() {
            return;
        }
        self.holders.clear();
        if let Err(error) = self.stand_still(false).await {
            tracing::debug!(%error, "could not wake the sandbox");
        }
    }

    async fn stand_still(&self, still: bool) -> Result<(), Error> {
        let (group, pid) = (self.group.clone(), self.pid);
        let done = tokio::task::spawn_blocking(move || match group {
            Some(group) if group.has_freezer() => group.freeze(still),
            _ => freeze::below(pid, still),
        });
        let action = if still {
            "pause a sandbox"
        } else {
            "resume a sandbox"
        };
        let source = match done.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.into(),
            Err(error) => error.into(),
        };
        Err(Error::System { action, source })
    }
}
