//! How an embedded sandbox is made to stand still: by its control group, or by its PID 1.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::process::Signal;

use super::cgroup::Group;
use super::freeze;
use crate::sandbox::holds::Freeze;
use crate::sandbox::{Error, init};

/// A sandbox's PID 1, with whose end everything in it has ended.
#[derive(Debug, Clone)]
pub(super) struct First {
    /// Its number on the host.
    pub(super) pid: u32,
    /// The process itself, whatever has that number later.
    pub(super) held: Arc<OwnedFd>,
    /// Where it is told to stop everything else.
    pub(super) line: Arc<UnixStream>,
}

impl First {
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(&self.held, signal)?)
    }

    /// It hears words in their order. One that does not listen fails this, since nobody waits for it here.
    fn tell(&self, word: u8) -> io::Result<()> {
        (&*self.line).write_all(&[word])
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
            _ if still => freeze::stop(first.pid, || first.tell(init::STOP)),
            _ => first.tell(init::GO_ON),
        });
        let source = match done.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.into(),
            Err(error) => error.into(),
        };
        Err(Error::System { action, source })
    }
}
