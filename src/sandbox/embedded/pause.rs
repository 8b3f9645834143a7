//! How an embedded sandbox is made to stand still: by its control group, or process by process.

use std::sync::Arc;

use super::cgroup::Group;
use super::freeze;
use crate::sandbox::Error;
use crate::sandbox::holds::Freeze;

/// The processes of one sandbox.
pub(super) struct Processes {
    pub(super) group: Option<Arc<Group>>,
    /// Its launcher, which does not stand still itself.
    pub(super) launcher: u32,
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
        let (group, launcher) = (self.group.clone(), self.launcher);
        let done = tokio::task::spawn_blocking(move || match group {
            Some(group) if group.has_freezer() => group.freeze(still),
            _ => freeze::below(launcher, still),
        });
        let source = match done.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.into(),
            Err(error) => error.into(),
        };
        Err(Error::System { action, source })
    }
}
