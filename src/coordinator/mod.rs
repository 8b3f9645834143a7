//! The coordinator: takes jobs from the log, has agents do them, and answers.
//!
//! [`Coordinator::start`] restores what a crash left and starts the dispatcher, which decides, and the
//! executor, which has things done. They talk over two channels; every report carries its attempt.

mod announce;
mod answers;
mod asking;
mod attached;
mod attend;
mod checks;
mod choice;
mod claimed;
mod clock;
mod config;
mod context;
mod conversation;
mod desk;
mod dispatcher;
mod executor;
mod facts;
mod files;
mod growing;
mod hold;
mod housekeeping;
mod image;
mod intake;
mod listen;
mod memory;
mod opening;
mod operation;
mod perform;
mod process;
mod publisher;
mod purge;
mod questions;
mod quota;
mod reach;
mod recovery;
mod saying;
mod serving;
mod session;
mod shared;
mod shell;
mod states;
mod summary;
mod turn;
mod unnamed;
mod usage;
mod watch;
mod words;
mod workspaces;

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

pub use self::{
    config::{JobsConfig, SessionsConfig, StrangersConfig},
    context::{Context, now},
    desk::Desk,
    publisher::{PublishError, Publisher},
    workspaces::Workspaces,
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

/// How long a start waits for sandbox and model server to be looked at.
const LOOK: Duration = Duration::from_millis(1000);

/// What a treefort runs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To do jobs.
    Working,
    /// To have its records read, by a command that starts it for that: jobs of earlier runs wait until a new one comes.
    Reading,
}

/// The running coordinator.
#[derive(Debug)]
pub struct Coordinator {
    shutdown: CancellationToken,
    tasks: JoinSet<Result<(), Error>>,
}

impl Coordinator {
    /// Restores, announces and starts. When this returns, jobs are taken if that is the role.
    ///
    /// # Errors
    /// When state, log or keys cannot be used.
    pub async fn start(context: Arc<Context>, role: Role) -> Result<Self, Error> {
        let shutdown = CancellationToken::new();
        purge::go_on(&context).await;
        recovery::end_abandoned(&context).await?;
        recovery::forget_unused(&context).await?;
        restore_allowed(&context).await?;
        announce::announce(&context).await;
        // What an earlier run said may be out of date; a model server that hangs holds nothing up for long.
        let looked =
            tokio::time::timeout(LOOK, announce::say_status(&context, announce::Look::Quick)).await;
        if looked.is_err() {
            tracing::warn!("sandbox or model server are slow to answer");
        }
        let mut tasks = JoinSet::new();
        match role {
            Role::Working => {
                let work = work(context.clone(), shutdown.clone())?;
                tasks.spawn(work.instrument(tracing::info_span!("coordinator")));
            }
            Role::Reading => {
                let work = work_when_asked(context.clone(), shutdown.clone());
                tasks.spawn(work.instrument(tracing::info_span!("coordinator")));
            }
        }
        let erasing = purge::follow_vanishing(context.clone(), shutdown.clone());
        tasks.spawn(erasing.instrument(tracing::info_span!("erasing")));
        let (status, stop) = (context, shutdown.clone());
        tasks.spawn(
            async move {
                announce::keep_status(status, looked.is_ok(), stop).await;
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

/// Restores the ledger; the future does jobs until the program stops.
fn work(
    context: Arc<Context>,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = Result<(), Error>>, Error> {
    let (commands, inbox) = mpsc::channel(256);
    let (reports, reported) = mpsc::channel(256);
    let dispatcher =
        dispatcher::Dispatcher::restore(context.clone(), reported, commands, shutdown.clone())?;
    let executor = executor::Executor::new(context.clone(), inbox, reports, shutdown.clone());
    let looked_at = context.clone();
    let executing = async move {
        // What a crash left running must be gone before a new container takes its place.
        sweep(&looked_at).await;
        executor.run().await;
        // One that was asked for in the moment of a crash may have come after the first look.
        sweep(&looked_at).await;
    };
    Ok(async move {
        let deciding = async {
            let decided = dispatcher.run().await;
            // Without decisions nothing may go on being executed.
            shutdown.cancel();
            decided
        };
        let removing = unnamed::keep_removing(context, shutdown.clone());
        let ((), decided, ()) = tokio::join!(executing, deciding, removing);
        decided
    })
}

/// Removes containers of this home that no session of this run knows.
async fn sweep(context: &Context) {
    match context.runtime.sweep().await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "removed containers that were left behind"),
        Err(error) => tracing::warn!(%error, "could not look for containers left behind"),
    }
}

/// Waits for a new job before it begins to do any: somebody sent one to a treefort that a command had
/// started to read its records.
async fn work_when_asked(context: Arc<Context>, shutdown: CancellationToken) -> Result<(), Error> {
    let mut feed = context.relay.feed(context.relay.last_seq());
    loop {
        let batch = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            batch = feed.next() => batch?,
        };
        if batch
            .iter()
            .any(|stored| kind::is_job_request(stored.event.kind))
        {
            break;
        }
    }
    work(context, shutdown)?.await
}

async fn restore_allowed(context: &Context) -> Result<(), Error> {
    let filter = nostr::Filter::new()
        .author(context.admission.operator())
        .kind(nostr::Kind::from(kind::FOLLOW_SET))
        .identifier(nip89::ALLOWED)
        .limit(1);
    if let Some(list) = context.relay.query(filter).await?.first() {
        context
            .admission
            .set_allowed(crate::nips::reference::named_keys(list));
    }
    Ok(())
}
