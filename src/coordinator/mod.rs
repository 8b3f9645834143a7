//! The coordinator: takes jobs from the log, has agents do them, and answers.
//!
//! [`Coordinator::start`] restores what a crash left and starts the dispatcher, which decides, and the
//! executor, which has things done. They talk over two channels; every report carries its attempt.

mod announce;
mod config;
mod context;
mod conversation;
mod dispatcher;
mod executor;
mod image;
mod intake;
mod process;
mod publisher;
mod quota;
mod recovery;
mod session;
mod turn;

use std::sync::Arc;

use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

pub use self::{
    config::{JobsConfig, SessionsConfig, StrangersConfig},
    context::{Context, now},
    publisher::{PublishError, Publisher},
};
use crate::nips::{draft::SignError, kind, nip89, nip90::encryption::EncryptionError};

/// Why the coordinator stopped or could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger.
    #[error(transparent)]
    State(#[from] crate::store::state::StateError),
    /// The log.
    #[error("failed to read the log")]
    Store(#[from] crate::store::Error),
    /// The relay.
    #[error("failed to query the relay")]
    Relay(#[from] crate::relay::Error),
    /// A key.
    #[error(transparent)]
    Keyring(#[from] crate::keys::KeyringError),
    /// Something could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Something could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A private answer could not be written.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// A part of the program ended before the others.
    #[error("the {0} ended unexpectedly")]
    Ended(&'static str),
}

/// The running coordinator.
#[derive(Debug)]
pub struct Coordinator {
    shutdown: CancellationToken,
    tasks: JoinSet<Result<(), Error>>,
}

impl Coordinator {
    /// Restores, announces and starts. When this returns, jobs are taken.
    ///
    /// # Errors
    /// When state, log or keys cannot be used.
    pub async fn start(context: Arc<Context>) -> Result<Self, Error> {
        let shutdown = CancellationToken::new();
        recovery::end_abandoned(&context).await?;
        restore_allowed(&context).await?;
        announce::announce(&context).await;

        let (commands, inbox) = mpsc::channel(256);
        let (reports, reported) = mpsc::channel(256);
        let dispatcher =
            dispatcher::Dispatcher::restore(context.clone(), reported, commands, shutdown.clone())?;
        let executor = executor::Executor::new(context.clone(), inbox, reports, shutdown.clone());

        let mut tasks = JoinSet::new();
        let sweeper = context.clone();
        let executing = async move {
            // What a crash left running must be gone before a new container takes its place.
            match sweeper.runtime.sweep().await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "removed containers that were left behind"),
                Err(error) => tracing::warn!(%error, "could not look for containers left behind"),
            }
            executor.run().await;
            Ok(())
        };
        tasks.spawn(executing.instrument(tracing::info_span!("executor")));
        tasks.spawn(
            dispatcher
                .run()
                .instrument(tracing::info_span!("dispatcher")),
        );
        let (status, stop) = (context.clone(), shutdown.clone());
        tasks.spawn(
            async move {
                announce::keep_status(status, stop).await;
                Ok(())
            }
            .instrument(tracing::info_span!("status")),
        );
        Ok(Self { shutdown, tasks })
    }

    /// Waits until a part of the coordinator ends, which it should not.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn failed(&mut self) -> Result<(), Error> {
        match self.tasks.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::Ended("coordinator")),
            None => std::future::pending().await,
        }
    }

    /// Stops every session, writes their ends, and returns when all is still.
    pub async fn shutdown(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a part of the coordinator failed"),
                Err(error) => tracing::error!(%error, "a part of the coordinator panicked"),
            }
        }
    }
}

async fn restore_allowed(context: &Context) -> Result<(), Error> {
    let filter = nostr::Filter::new()
        .author(context.admission.operator())
        .kind(nostr::Kind::from(kind::FOLLOW_SET))
        .identifier(nip89::ALLOWED)
        .limit(1);
    if let Some(list) = context.relay.query(filter).await?.first() {
        context.admission.set_allowed(intake::allowed(list));
    }
    Ok(())
}
