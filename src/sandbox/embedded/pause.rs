//! How an embedded sandbox is made to stand still: by its control group, or by its PID 1.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::process::Signal;

use super::cgroup::Group;
use super::freeze;
use crate::sandbox::Error;
use crate::sandbox::holds::Freeze;

/// A sandbox's PID 1, with whose end everything in it has ended.
#[derive(Debug, Clone)]
pub(super) struct First {
    /// Its number on the host.
    pub(super) pid: u32,
    /// The process itself, whatever has that number later.
    pub(super) held: Arc<OwnedFd>,
}

impl First {
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(&self.held, signal)?)
    }
}

/// The processes of one sandbox.
pub(super) struct Processes {
    pub(super) group: Option<Arc<Group>>,
    pub(super) first: First,
}

impl Freeze for Processes {
    async fn freeze(&self) -> Result<(), Error> {
        self.stand_still(true, "pause a sandbox").await
    }

    async fn wake(&self) -> Result<(), Error> {
        self.stand_still(false, "resume a sandbox").await
    }
}

impl Processes {
    async fn stand_still(&self, still: bool, action: &'static str) -> Result<(), Error> {
        let (group, first) = (self.group.clone(), self.first.clone());
        let done = tokio::task::spawn_blocking(move || match group {
            Some(group) if group.has_freezer() => group.freeze(still),
            // `sandbox-init` stops all but itself when it hears this.
            _ if still => freeze::stop(first.pid, || first.signal(Signal::USR1)),
            _ => freeze::wake(first.pid),
        });
        let source = match done.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.into(),
            Err(error) => error.into(),
        };
        Err(Error::System { action, source })
    }
}
