//! What every part of the coordinator shares.

use std::sync::Arc;

use nostr::PublicKey;

use super::{
    config::{JobsConfig, SessionsConfig},
    desk::Desk,
    publisher::Publisher,
    workspaces::Workspaces,
};
use crate::{
    agent::registry::Registry,
    egress::Egress,
    keys::{Admission, Keyring},
    model::{gateway::Gateway, local::Local},
    preview::Previews,
    recorder::Redactor,
    relay::Relay,
    sandbox::{self, Runtime},
    store::{blobs::Blobs, state::State},
};

/// What every part of the coordinator shares.
pub struct Context {
    /// Jobs.
    pub jobs: JobsConfig,
    /// Sessions.
    pub sessions: SessionsConfig,
    /// Keys of this host.
    pub keyring: Arc<Keyring>,
    /// Who is admitted.
    pub admission: Arc<Admission>,
    /// The relay.
    pub relay: Relay,
    /// Where the relay is reached, for references.
    pub relay_url: String,
    /// Ledger, sessions, cursor.
    pub state: State,
    /// Long contents.
    pub blobs: Blobs,
    /// Where agents' raw lines are kept.
    pub journal: std::path::PathBuf,
    /// What must not be signed.
    pub redactor: Arc<Redactor>,
    /// Signs and publishes.
    pub publisher: Publisher,
    /// The agents.
    pub agents: Registry,
    /// The sandbox.
    pub runtime: Arc<dyn Runtime>,
    /// What an owner set about sandboxes.
    pub sandbox: sandbox::Config,
    /// What the sandbox said of itself, once it was looked at. It does not change while the engine runs.
    pub probe: tokio::sync::OnceCell<sandbox::Probe>,
    /// The sessions that are open, for their owner to speak to.
    pub desk: Arc<Desk>,
    /// The copies of projects that agents work on.
    pub workspaces: Arc<Workspaces>,
    /// What agents built, in their owner's browser.
    pub previews: Previews,
    /// The way out of jobs that were given a network.
    pub egress: Egress,
    /// The way of sessions to their models.
    pub gateway: Gateway,
    /// The local model server.
    pub local: Local,
    /// The context that models are given, in tokens.
    pub num_ctx: u32,
    /// Held while something is purged.
    pub purging: tokio::sync::Mutex<()>,
    /// The model that the owner set; empty to choose.
    pub default_model: String,
}

impl Context {
    /// Whether a key is one that this treefort itself works under: what it signs never starts a customer's
    /// job. The operator is a customer like any other.
    #[must_use]
    pub fn is_ours(&self, key: &PublicKey) -> bool {
        *key == self.keyring.coordinator().public_key()
            || *key == self.keyring.relay().public_key()
            || self.state.is_session(key).unwrap_or(false)
    }
}

/// Unix seconds.
#[must_use]
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
