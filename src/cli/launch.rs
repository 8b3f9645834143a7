//! Reaching treefort: the one that runs, else one that this command starts for its own duration.
//!
//! Only a treefort opens the stores, and one at a time: the home's lock sees to that. So a command looks at
//! `run.json`, has what listens there prove itself, and starts a server on a free port when there is none.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::Instrument as _;

use super::{
    Context,
    client::{self, Client, Relay},
    error::{CommandError, Kind, Problem},
    home::Home,
    output,
};
use crate::{
    config::{Config, ConfigError},
    keys::{Keyring, KeyringError},
    server::{self, Fault, Role, Server},
};

/// How long another treefort of this home may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long a server may take to stop: it ends its sessions.
const STOP: Duration = Duration::from_millis(4500);

/// A connection, with the keys of the person who typed the command.
#[derive(Debug)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The keys of the home.
    pub keyring: Keyring,
    /// Whether treefort runs by itself, and not for this command alone.
    pub running: bool,
}

impl Connection {
    /// The coordinator's key: it signs the answers that count.
    #[must_use]
    pub fn coordinator(&self) -> nostr::PublicKey {
        self.keyring.coordinator().public_key()
    }
}

/// Does some work with a connection to the home's treefort.
///
/// # Errors
/// The work's own, or when treefort can neither be reached nor started.
pub async fn with<T>(
    context: &Context,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    with_role(context, Role::Reading, work).await
}

/// The same for work that needs jobs to be done.
///
/// # Errors
/// As [`with`].
pub async fn with_jobs<T>(
    context: &Context,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    with_role(context, Role::Working, work).await
}

async fn with_role<T>(
    context: &Context,
    role: Role,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let reached = reach(&context.home, role).boxed().await?;
    reached.through(work).await
}

/// A treefort that was reached, with the server that was started for it.
struct Reached {
    connection: Connection,
    own: Option<Own>,
}

impl Reached {
    /// Does the work, and leaves. Every command has an instance of this, so what is long is boxed elsewhere.
    async fn through<T>(
        mut self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let outcome = work(&mut self.connection).await;
        let left = self.leave().boxed().await;
        let value = outcome?;
        left?;
        Ok(value)
    }

    async fn leave(self) -> Result<(), CommandError> {
        self.connection.client.close().await;
        match self.own {
            Some(own) => own.stop().await,
            None => Ok(()),
        }
    }
}

async fn reach(home: &Home, role: Role) -> Result<Reached, CommandError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(relay) = running(home).await? {
            let connection = connection(home, relay, true).await?;
            return Ok(Reached {
                connection,
                own: None,
            });
        }
        match Own::start(home, own_config(home)?, role).await {
            Ok(own) => return reach_own(home, own).await,
            // Another one starts or stops at this moment.
            Err(server::Error::Running { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(not_started(home, error)),
        }
    }
}

/// A server of this command's own; it stops when it cannot be reached.
async fn reach_own(home: &Home, own: Own) -> Result<Reached, CommandError> {
    let connected = match running(home).await {
        Err(error) => Err(error),
        Ok(Some(relay)) => connection(home, relay, false).await,
        Ok(None) => Err(CommandError::new(Kind::Unreachable, NotServing)),
    };
    match connected {
        Ok(connection) => Ok(Reached {
            connection,
            own: Some(own),
        }),
        Err(error) => {
            let _why_is_said = own.stop().await;
            Err(error)
        }
    }
}

/// Does some work with a server of this command's own, which stops afterwards.
///
/// # Errors
/// The work's own, or when the server failed.
pub async fn with_own<T>(
    home: &Home,
    own: Own,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let reached = reach_own(home, own).boxed().await?;
    reached.through(work).await
}

/// A server that was started and does not answer.
#[derive(Debug, thiserror::Error)]
#[error("treefort was started and does not answer")]
struct NotServing;

/// A connection with the owner's key.
///
/// # Errors
/// When there is no key, or it cannot be made.
pub(super) async fn connection(
    home: &Home,
    relay: Relay,
    running: bool,
) -> Result<Connection, CommandError> {
    let keyring = Keyring::open(home.dir())?;
    let client = Client::connect(relay, Some(keyring.operator().clone())).await?;
    Ok(Connection {
        client,
        keyring,
        running,
    })
}

/// The treefort that serves a home, proven; nothing when none runs or the last one left its file behind.
///
/// # Errors
/// When another program answers in its place.
pub async fn running(home: &Home) -> Result<Option<Relay>, CommandError> {
    let Some(running) = home.running()? else {
        return Ok(None);
    };
    match client::prove(&running).await {
        Ok(relay) => Ok(Some(relay)),
        Err(client::Error::Challenge { source, .. }) => {
            tracing::debug!(error = %source, "nothing answers where the last treefort listened");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What a server for one command's duration is configured as: a free port, nothing kept for later.
fn own_config(home: &Home) -> Result<Config, CommandError> {
    let mut config = Config::load(home.dir())?;
    fleeting(&mut config);
    Ok(config)
}

/// Sets what only makes sense for a server that stays: its port, open sessions, warm containers.
pub fn fleeting(config: &mut Config) {
    config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.sessions.idle_s = 0;
    config.sessions.warm = 0;
    config.sync.connect = false;
}

/// A server in this process.
#[derive(Debug)]
pub struct Own {
    address: SocketAddr,
    page: server::PageLink,
    localhost_is_taken: bool,
    clients: crate::relay::Relay,
    shutdown: CancellationToken,
    task: AbortOnDropHandle<Result<(), server::Error>>,
}

impl Own {
    /// Binds and starts to serve.
    ///
    /// # Errors
    /// When the home is in use, the port is taken, or a store cannot be opened.
    pub async fn start(home: &Home, config: Config, role: Role) -> Result<Self, server::Error> {
        let server = Box::pin(Server::bind(home.dir(), config, role)).await?;
        let (address, clients, page) = (server.address(), server.relay(), server.page());
        let localhost_is_taken = server.localhost_is_taken();
        let shutdown = CancellationToken::new();
        let serving = server
            .run(shutdown.clone())
            .instrument(tracing::info_span!("server"));
        let task = AbortOnDropHandle::new(tokio::spawn(serving));
        Ok(Self {
            address,
            page,
            localhost_is_taken,
            clients,
            shutdown,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a person has to know when another program may be where `localhost` leads.
    #[must_use]
    pub fn taken(&self) -> Option<String> {
        self.localhost_is_taken.then(|| taken(self.address))
    }

    /// What makes links to its page that work once.
    #[must_use]
    pub fn page(&self) -> server::PageLink {
        self.page.clone()
    }

    /// Waits until it ends by itself, which it does only when something is broken.
    ///
    /// # Errors
    /// What is broken.
    pub async fn failed(&mut self) -> Result<(), CommandError> {
        ended((&mut self.task).await)
    }

    /// Stops it as soon as no other command uses it; Ctrl-C stops it at once.
    ///
    /// # Errors
    /// When it failed.
    async fn stop(self) -> Result<(), CommandError> {
        let mut waited = 0u32;
        while self.clients.connections() > 0 && !self.task.is_finished() {
            if waited == 10 {
                output::progress(
                    "Other commands work through this one, so it stays until they end. Ctrl-C ends them too.",
                );
            }
            waited += 1;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
                _ = tokio::signal::ctrl_c() => break,
            }
        }
        self.stop_now().await
    }

    /// Stops it: sessions are ended, stores closed.
    ///
    /// # Errors
    /// When it failed.
    pub async fn stop_now(self) -> Result<(), CommandError> {
        self.shutdown.cancel();
        match tokio::time::timeout(STOP, self.task).await {
            Ok(result) => ended(result),
            Err(_) => Err(CommandError::new(Kind::Failed, NotStopped)
                .hint("what it could not write down now, the next start writes down")),
        }
    }
}

/// What a person has to know when another program may be where `localhost` leads.
#[must_use]
pub fn taken(address: SocketAddr) -> String {
    format!(
        "another program has port {} of `localhost`: use http://{address}, and nothing that is proved for `localhost` is taken",
        address.port()
    )
}

/// A server that did not end.
#[derive(Debug, thiserror::Error)]
#[error("treefort did not stop in time")]
struct NotStopped;

fn ended(
    result: Result<Result<(), server::Error>, tokio::task::JoinError>,
) -> Result<(), CommandError> {
    match result {
        Ok(result) => Ok(result?),
        Err(error) => Err(CommandError::new(Kind::Failed, error)),
    }
}

impl From<KeyringError> for CommandError {
    fn from(error: KeyringError) -> Self {
        let hint = match &error {
            KeyringError::File { path, .. } => {
                format!(
                    "make sure that you, and nobody else, may read and write '{}'",
                    path.display()
                )
            }
            KeyringError::NotAKey { path, .. } => format!(
                "put the right file back, or move it away, and treefort makes a new key: mv '{0}' '{0}.broken'",
                path.display()
            ),
        };
        Self::new(Kind::Failed, error).hint(hint)
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        let hint = match &error {
            ConfigError::Read { path, .. } => {
                format!(
                    "make sure that '{}' is a text file that you may read",
                    path.display()
                )
            }
            ConfigError::Sync { path, .. } => format!(
                "correct it (`treefort sync --help` shows one), or move it away, so that nothing is shared: \
                 `mv '{0}' '{0}.old'`",
                path.display()
            ),
            ConfigError::Parse { path, .. } => format!(
                "correct it, or move it away, and the defaults apply: mv '{0}' '{0}.old'",
                path.display()
            ),
        };
        Self::new(Kind::Usage, error).hint(hint)
    }
}

/// Why the home's server did not start, in words about the home's files: what a store says about itself is
/// for those who know how it is built.
pub(super) fn not_started(home: &Home, error: server::Error) -> CommandError {
    let (file, what) = match &error {
        server::Error::Store(_) => ("events", "the record"),
        server::Error::State(_) => ("state", "the list of jobs"),
        _ => return error.into(),
    };
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        "a store was not opened"
    );
    let path = home.dir().join(file).display().to_string();
    let fault = error.fault().unwrap_or(Fault::Damaged);
    let (why, hint) = match fault {
        Fault::Version(found) => {
            return CommandError::new(Kind::Failed, Problem::OtherVersion { what, path, found })
                .hint("use the version of treefort that wrote it; with that one, `treefort store export FILE` writes what this one takes in with `treefort store import FILE`");
        }
        Fault::Damaged => {
            let hint = format!(
                "put a copy of it back, or begin anew: mv '{path}' '{path}.damaged' (--verbose says what is wrong with it)"
            );
            return CommandError::new(Kind::Failed, Problem::Damaged { what, path }).hint(hint);
        }
        Fault::Full => (
            "the disk is full",
            "make room on the disk, then try again: nothing that was kept is lost".to_owned(),
        ),
        Fault::ReadOnly => (
            "the disk can only be read",
            format!(
                "let treefort write there again, or copy '{}' to where it can and name it with --home",
                home.dir().display()
            ),
        ),
        Fault::Denied => (
            "its files are not yours to read and write",
            format!(
                "make them yours: sudo chown -R \"$(id -un)\" '{}'",
                home.dir().display()
            ),
        ),
        Fault::InUse => (
            "another program has it open",
            "stop that program, then try again".to_owned(),
        ),
    };
    CommandError::new(Kind::Failed, Problem::Unusable { what, path, why }).hint(hint)
}

impl From<server::Error> for CommandError {
    fn from(error: server::Error) -> Self {
        match &error {
            server::Error::Listen { .. } => Self::new(Kind::Unreachable, error)
                .hint("another program may listen there; `--listen 127.0.0.1:0` takes a free port"),
            server::Error::Running { .. } => Self::new(Kind::Failed, error).hint(
                "`treefort status` shows it; `--home DIR` gives another one a home of its own",
            ),
            server::Error::Home { source, .. }
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                Self::new(Kind::Failed, error).hint("make room on the disk, then try again")
            }
            server::Error::Home { path, .. } => {
                let hint = format!("make sure that you may read and write '{}'", path.display());
                Self::new(Kind::Failed, error).hint(hint)
            }
            server::Error::Model(_) => Self::new(Kind::Usage, error)
                .hint("correct [model] in treefort.toml, or OLLAMA_HOST"),
            server::Error::Sandbox(_) => {
                Self::new(Kind::NoSandbox, error).hint("`treefort doctor` says what is missing")
            }
            server::Error::Broken => Self::new(Kind::Failed, Problem::Unwritable)
                .hint("look whether the disk is full, then start treefort again"),
            server::Error::NoRecord { path } => {
                let path = path.display().to_string();
                Self::new(Kind::Failed, Problem::NoRecord(path))
                    .hint("`--home DIR` names another home; treefort makes its record when it first starts")
            }
            server::Error::Relay(_) | server::Error::Coordinator(_)
                if error.fault() == Some(Fault::Damaged) =>
            {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a store is damaged"
                );
                Self::new(Kind::Failed, Problem::Unreadable).hint(
                    "`treefort store check` says what is wrong with it, and how the rest is saved",
                )
            }
            server::Error::Relay(_) | server::Error::Coordinator(_) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "treefort failed");
                Self::new(Kind::Failed, Problem::Inside).hint("--verbose says more")
            }
            server::Error::Keyring(_) => match error {
                server::Error::Keyring(error) => error.into(),
                other => Self::new(Kind::Failed, other),
            },
            _ => Self::new(Kind::Failed, error),
        }
    }
}
