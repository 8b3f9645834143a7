//! Sandboxes: one hardened container for each agent at work, behind the [`Runtime`] trait.
//!
//! A sandbox has no network and no way to the host but one byte stream, over which [`mux`] carries
//! the agent's standard streams, the HTTP connections that it opens to `127.0.0.1:11434`, those to the host's proxy
//! where its job was given a network, and those that the host opens to what listens inside ([`inward`]).
//! Invariants: everything that comes out of a sandbox is hostile and bounded; a container never
//! outlives its [`Sandbox`] by more than the time that its removal takes; and there is no
//! unsandboxed mode.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

mod choice;
pub mod config;
mod control;
mod counted;
pub mod disk;
pub mod docker;
mod docker_clean;
mod docker_client;
mod docker_pause;
mod docker_run;
mod docker_spec;
mod duplex;
#[cfg(target_os = "linux")]
pub mod embedded;
mod error;
mod frame_guard;
mod holds;
pub mod image;
mod image_bases;
mod image_build;
pub mod init;
mod init_files;
mod init_inward;
mod init_state;
pub mod inward;
pub mod mux;
mod protection;
mod shown;
mod start;
mod syscalls;

pub use choice::ChosenRuntime;
pub use config::Config;
pub use control::{Commands, Control, Handle, Lease, Request, Still};
pub use docker::DockerRuntime;
pub use docker_clean::{ImageUse, Leftovers};
pub use docker_spec::AGENT_ID;
pub use error::{BoxError, Error, beginning};
pub use frame_guard::Violation;
pub use image::{Content, Found, Host, Image, ImageId, Progress};
pub use init_files::VARIABLE as FILES_VARIABLE;
pub use init_state::VARIABLE as STATE_VARIABLE;
pub use inward::{Inward, InwardError};
pub use protection::{Facts, Protection, protection};
pub use shown::Refused;

/// The label that says which home a container belongs to.
pub const LABEL_HOME: &str = "treefort.home";
/// The label that names the agent of a container or an image.
pub const LABEL_AGENT: &str = "treefort.agent";
/// The label that says which session a container serves, or will serve when it is kept warm: its public key.
pub const LABEL_SESSION: &str = "treefort.session";

/// The folder inside a sandbox where a workspace is bound.
pub const WORKSPACE: &str = "/workspace";
/// The folder inside a sandbox where what an agent keeps for its next sandbox is bound.
pub const STATE: &str = "/state";
/// The agent's home inside a sandbox; empty, in memory, gone with the sandbox.
pub const AGENT_HOME: &str = "/home/agent";
/// Where the program lies inside every image.
pub const PROGRAM: &str = "/treefort";
/// The port on the sandbox's own loopback where the agent finds its model.
pub const MODEL_PORT: u16 = 11434;

/// The port on the sandbox's own loopback where the host's proxy is, for an agent that was given a network.
pub const PROXY_PORT: u16 = 3128;
/// The variable with which a sandbox is started that has such a proxy. Without it nothing listens there; what the
/// host carries is decided by the host alone.
pub const NETWORK_VARIABLE: &str = "TREEFORT_NETWORK";

/// How much of the agent's standard error is kept.
const STDERR_TAIL: usize = 16 * 1024;

/// What a [`BoxedStream`] can do.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A duplex byte stream out of a sandbox.
pub type BoxedStream = Box<dyn Io>;
/// The agent's standard input and output.
pub type AgentIo = BoxedStream;

/// What a sandbox may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Memory in MiB; there is no swap beyond it.
    pub memory_mb: u32,
    /// Processors, as a share: `1.5` is one and a half.
    pub cpus: f64,
    /// Processes and threads.
    pub pids: u32,
    /// Size in MiB of `/tmp`, and of the agent's home; both count as memory.
    pub scratch_mb: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_mb: 1024,
            cpus: 1.5,
            pids: 256,
            scratch_mb: 256,
        }
    }
}

/// What is to run in a sandbox.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The container's name; unique on this machine.
    pub name: String,
    /// The image that [`Runtime::prepare`] gave.
    pub image: ImageId,
    /// The agent's command inside.
    pub argv: Vec<String>,
    /// The agent's environment. Never a secret key: a random token at most.
    pub env: Vec<(String, String)>,
    /// What it may use.
    pub limits: Limits,
    /// Labels beside `treefort.home`, which the runtime sets.
    pub labels: Vec<(String, String)>,
    /// The folder that the agent works on, bound at [`WORKSPACE`].
    pub workspace: Option<PathBuf>,
    /// The folder for what it keeps for its next sandbox, bound at [`STATE`]; [`STATE_VARIABLE`] names the places in
    /// its home that lead there.
    pub state: Option<PathBuf>,
    /// Files and folders of this computer that it must not see, should they lie in what it is shown: where the
    /// workspace was copied from.
    pub private: Vec<PathBuf>,
    /// The engine's runtime that isolates it, like `runsc`; `None` is the one that the owner
    /// configured, or else the engine's default.
    pub runtime: Option<String>,
}

/// What a runtime says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// One line for `status`, like `Docker Engine 20.10.24 (API 1.41), linux/amd64`.
    pub detail: String,
    /// What its sandboxes share with this computer: `kernel`.
    pub shares: Vec<&'static str>,
    /// What nothing limits for a whole sandbox: `disk`, `memory`, `swap`, `processors`, `processes`, `syscalls`.
    pub unlimited: Vec<&'static str>,
    /// What its sandboxes protect and what they do not.
    pub protection: Protection,
}

impl Probe {
    /// What it does not isolate, as `env` of a session's start has it (`nips/agent-session.md`).
    #[must_use]
    pub fn env(&self) -> Vec<String> {
        [("shares", &self.shares), ("unlimited", &self.unlimited)]
            .into_iter()
            .filter(|(_, what)| !what.is_empty())
            .map(|(name, what)| format!("{name}={}", what.join(",")))
            .collect()
    }
}

/// How a sandbox ended, as the host saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; a signal is 128 plus its number. `None` when the engine could not say.
    pub code: Option<i64>,
    /// Whether the kernel killed something in it for want of memory.
    pub oom: bool,
    /// The rule of the multiplexer that it broke, for which it was ended.
    pub violation: Option<Violation>,
}

/// A backend that runs sandboxes.
pub trait Runtime: Send + Sync {
    /// The backend's name: `docker` or `embedded`.
    fn kind(&self) -> &'static str;
    /// Asks the backend whether it can run a sandbox; answers within a few seconds.
    fn probe(&self) -> BoxFuture<'_, Result<Probe, Error>>;
    /// Looks for what an agent runs from, without building it.
    fn find<'a>(&'a self, image: &'a Image) -> BoxFuture<'a, Result<Found, Error>>;
    /// Builds the image unless an identical one is there; `progress` gets the build's lines.
    fn prepare<'a>(
        &'a self,
        image: &'a Image,
        progress: Option<Progress>,
    ) -> BoxFuture<'a, Result<ImageId, Error>>;
    /// What is missing before this image can be prepared, as far as that is known without building or fetching.
    fn missing<'a>(&'a self, _image: &'a Image) -> BoxFuture<'a, Option<Error>> {
        Box::pin(std::future::ready(None))
    }
    /// Starts a sandbox, and returns when the agent's streams are open.
    fn start(&self, spec: Spec) -> BoxFuture<'_, Result<Sandbox, Error>>;
    /// Removes the containers that an earlier run of this home left behind; says how many.
    fn sweep(&self) -> BoxFuture<'_, Result<usize, Error>>;
    /// What this home left at the backend: images, and containers that have ended.
    fn leftovers(&self) -> BoxFuture<'_, Result<Leftovers, Error>>;
    /// Removes them; images that are in use stay.
    fn clean(&self, images: bool) -> BoxFuture<'_, Result<Leftovers, Error>>;
    /// Ends every sandbox and waits until they are removed. Nothing starts afterwards.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// A running sandbox. Dropping its [`Control`] removes it in the background.
///
/// The fields may be moved out one by one; what remains is ended by `sandbox.control.stop(…)`.
pub struct Sandbox {
    /// The container's id.
    pub id: String,
    /// The agent's standard input and output.
    pub agent: AgentIo,
    /// The last of the agent's standard error.
    pub stderr: Tail,
    /// HTTP connections that the agent opened to [`MODEL_PORT`]; those not taken wait, bounded.
    pub http: mpsc::Receiver<BoxedStream>,
    /// Connections to [`PROXY_PORT`]; once this is dropped, each is closed at once.
    pub net: mpsc::Receiver<BoxedStream>,
    /// The way to what listens inside.
    pub inward: Inward,
    /// How it ended; `None` while it runs.
    pub exit: watch::Receiver<Option<Exit>>,
    /// The handle that ends it.
    pub control: Control,
}

/// What a supervisor gives to whoever asked for a sandbox.
struct Parts {
    id: String,
    agent: AgentIo,
    stderr: Tail,
    http: mpsc::Receiver<BoxedStream>,
    net: mpsc::Receiver<BoxedStream>,
    inward: Inward,
}

impl Sandbox {
    /// Ends the sandbox: see [`Control::stop`].
    ///
    /// # Errors
    /// See [`Control::stop`].
    pub async fn stop(mut self, grace: Duration) -> Result<Exit, Error> {
        // The agent's stdin closes first, so that one which obeys ACP leaves by itself.
        drop(self.agent);
        drop(self.http);
        drop(self.net);
        self.control.stop(grace).await
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The last bytes of a stream that nobody may ever read.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    ring: Arc<Mutex<VecDeque<u8>>>,
}

impl Tail {
    /// Adds bytes and forgets the oldest beyond the bound.
    pub fn push(&self, bytes: &[u8]) {
        let keep = &bytes[bytes.len().saturating_sub(STDERR_TAIL)..];
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let excess = (ring.len() + keep.len()).saturating_sub(STDERR_TAIL);
        ring.drain(..excess);
        ring.extend(keep);
    }

    /// The bytes as text: control characters but newline and tab are left out, since a terminal
    /// may show it.
    pub fn text(&self) -> String {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = ring.iter().copied().collect();
        String::from_utf8_lossy(&bytes)
            .chars()
            .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_last_bytes_only() {
        let tail = Tail::default();
        tail.push(&vec![b'a'; STDERR_TAIL * 3]);
        tail.push(b"the end");
        let text = tail.text();
        assert_eq!(text.len(), STDERR_TAIL);
        assert!(text.ends_with("athe end"));
    }

    #[test]
    fn tail_drops_control_characters() {
        let tail = Tail::default();
        tail.push(b"\x1b[2Jred\x07\n\tok");
        assert_eq!(tail.text(), "[2Jred\n\tok");
    }
}
