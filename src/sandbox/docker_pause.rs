//! Pausing a container: what the engine is told for that.

use std::time::Duration;

use bollard::Docker;

use super::Error;
use super::docker::{engine, status};
use super::holds::Freeze;

/// How long the engine may take to freeze or wake a container; a fork bomb is slow to freeze.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container of the engine's.
pub(super) struct Container<'a> {
    pub(super) docker: &'a Docker,
    pub(super) id: &'a str,
}

impl Freeze for Container<'_> {
    async fn freeze(&self) -> Result<(), Error> {
        let ask = self.docker.pause_container(self.id);
        outcome("pause a container", ask, "already paused").await
    }

    async fn wake(&self) -> Result<(), Error> {
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
