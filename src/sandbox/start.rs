//! The start of a sandbox as every backend's supervisor sees it: its streams open, or it says why not.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::error::clip;
use super::mux::End;
use super::{AgentIo, Error, Exit};

/// How long the agent's streams may take to open once the sandbox has started.
pub(super) const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// Waits for the agent's streams. Beside them, or why there are none: how the multiplexer ended, if it has.
pub(super) async fn opened(
    agent: &mut oneshot::Receiver<AgentIo>,
    driver: &mut (impl Future<Output = End> + Unpin),
    cancelled: &CancellationToken,
) -> (Result<AgentIo, &'static str>, Option<End>) {
    tokio::select! {
        biased;
        () = cancelled.cancelled() => (Err("it was given up"), None),
        opened = async { tokio::time::timeout(READY_TIMEOUT, &mut *agent).await } => match opened {
            Ok(Ok(agent)) => (Ok(agent), None),
            Ok(Err(_)) => (Err("its streams did not open"), None),
            Err(_) => (Err("its streams did not open in time"), None),
        },
        end = driver => {
            // A quick agent has come and gone within one look at its streams.
            (agent.try_recv().map_err(|_| "it ended at once"), Some(end))
        }
    }
}

/// A sandbox whose streams did not open, with what it said.
pub(super) fn failed(reason: &str, exit: &Exit, words: &str) -> Error {
    let code = exit
        .code
        .map_or_else(|| "unknown".to_owned(), |code| code.to_string());
    Error::Start {
        message: clip(&format!("{reason} (exit code {code}) {words}")),
    }
}
