//! Reaching treefort: the one that runs.

use super::{
    Context,
    client::{self, Client},
    error::{CommandError, Kind},
};
use crate::keys::{Keyring, KeyringError};

/// A connection, with the keys of the person who typed the command.
#[derive(Debug)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The keys of the home.
    pub keyring: Keyring,
}

impl Connection {
    /// The coordinator's key: it signs the answers that count.
    #[must_use]
    pub fn coordinator(&self) -> nostr::PublicKey {
        self.keyring.coordinator().public_key()
    }
}

/// There is no treefort to talk to.
#[derive(Debug, thiserror::Error)]
#[error("no treefort runs in '{home}'")]
pub struct NotRunning {
    home: String,
}

/// Does some work with a connection.
///
/// # Errors
/// The work's own, or when treefort cannot be reached.
pub async fn with<T>(
    context: &Context,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let keyring = Keyring::open(context.home.dir())?;
    let running = context.home.running()?.ok_or_else(|| {
        let home = context.home.dir().display().to_string();
        CommandError::new(Kind::Unreachable, NotRunning { home }).hint("start it: treefort up")
    })?;
    let relay = client::prove(&running).await?;
    let client = Client::connect(relay, Some(keyring.operator().clone())).await?;
    let mut connection = Connection { client, keyring };
    let outcome = work(&mut connection).await;
    connection.client.close().await;
    outcome
}

impl From<KeyringError> for CommandError {
    fn from(error: KeyringError) -> Self {
        Self::new(Kind::Failed, error)
    }
}
