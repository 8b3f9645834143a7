//! The only assembler: opens a home's stores, starts relay, coordinator and gateway, serves one port.
//!
//! [`Server::bind`] → [`Server::run`]. Every task that is started here ends here.

mod beside;
mod fault;
mod fronts;
pub mod moving;
mod offline;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::registry::Registry,
    config::Config,
    coordinator::{self, Context, Coordinator, Publisher, Workspaces},
    egress::{self, Egress},
    keys::{Admission, Keyring, KeyringError, keyring},
    model::{self, gateway::Gateway, local::Local, scripted},
    preview::Previews,
    recorder::Redactor,
    relay::{self, Identity, Relay},
    sandbox::{self, ChosenRuntime, Runtime},
    store::{self, blobs::Blobs, state::State},
    sync::{self, Syncing},
    web::{Offers, Page},
};

use self::{
    beside::{Beside, Localhost, accept},
    fronts::Fronts,
};
pub use self::{
    fault::Fault,
    offline::{Exported, Imported, Offline},
};
pub use crate::coordinator::Role;

/// The file in a home that says where its treefort is.
pub const RUN_FILE: &str = "run.json";
/// The file in a home that its treefort holds locked.
pub const LOCK_FILE: &str = "lock";

/// The folder in a home that holds the record.
const EVENTS: &str = "events";
/// Where a running treefort is, for programs of the same owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// Version of this format.
    pub v: u32,
    /// Address and port.
    pub address: SocketAddr,
    /// Process id.
    pub pid: u32,
    /// The relay's key in hexadecimal: who answers there must prove to hold it.
    pub relay: String,
    /// Another program may be where `localhost` leads.
    #[serde(default)]
    pub localhost_is_taken: bool,
    /// The [`sync::config::fingerprint`] of the settings for sharing that it goes by.
    #[serde(default)]
    pub sync: Option<String>,
}

/// Why treefort could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the home.
    #[error("failed to use {}", path.display())]
    Home {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another treefort has this home.
    #[error("treefort is running already{}", address.map_or_else(String::new, |at| format!(" at http://{at}")))]
    Running {
        /// Where, if it says so.
        address: Option<SocketAddr>,
    },
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The keyring.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The event store.
    #[error("failed to open the event store")]
    Store(#[from] store::Error),
    /// The coordinator's state.
    #[error(transparent)]
    State(#[from] store::state::StateError),
    /// The relay.
    #[error("failed to start the relay")]
    Relay(#[from] relay::Error),
    /// The model server's address.
    #[error(transparent)]
    Model(#[from] model::ConfigError),
    /// What jobs may reach.
    #[error(transparent)]
    Network(#[from] egress::ConfigError),
    /// The sandbox's configuration.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// The event store failed while it was written.
    #[error("the event store cannot be written any more; what was acknowledged is safe")]
    Broken,
    /// The coordinator.
    #[error("the coordinator failed")]
    Coordinator(#[from] coordinator::Error),
    /// The home has no record.
    #[error("there is nothing in {}", path.display())]
    NoRecord {
        /// Where it would be.
        path: PathBuf,
    },
    /// Entries were to be taken in while jobs wait to be looked at.
    #[error("jobs wait to be done")]
    JobsWait,
    /// The lines to take in cannot be read.
    #[error("what was to be taken in cannot be read")]
    Lines(#[source] io::Error),
}

/// A treefort that is ready to serve.
pub struct Server {
    home: PathBuf,
    address: SocketAddr,
    listener: TcpListener,
    /// On the other loopback, where `localhost` may lead a browser first.
    beside: Beside,
    relay: Relay,
    runtime: Arc<dyn Runtime>,
    coordinator: Coordinator,
    page: Arc<Page>,
    sync: Syncing,
    /// Held as long as the server lives.
    lock: fs::File,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Takes the home, opens everything, and starts taking jobs. Clients are served by [`Self::run`].
    ///
    /// # Errors
    /// When the home is in use, the port is taken, or a store cannot be opened.
    pub async fn bind(home: &Path, config: Config, role: Role) -> Result<Self, Error> {
        private_directory(home)?;
        let lock = lock(home)?;
        let keyring = Arc::new(Keyring::open(home)?);
        let listen = config.server.listen;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|source| Error::Listen {
                address: listen,
                source,
            })?;
        let address = listener.local_addr().map_err(|source| Error::Listen {
            address: listen,
            source,
        })?;

        let beside = Beside::of(address).await;

        let redactor = Arc::new(Redactor::of_host(&keyring));
        let operator = keyring.operator().public_key();
        let admission = Arc::new(Admission::new(operator, config.jobs.admit));
        let store = Arc::new(store::LogStore::open(&home.join(EVENTS))?);
        let identity = Identity {
            keys: keyring.relay().clone(),
            description: "The relay of a treefort: AI agents at work, every step a signed event."
                .to_owned(),
        };
        let relay = Relay::start(config.relay, store, identity, admission.clone())?;
        relay.offer_search(home.join("search"))?;
        if beside.localhost == Localhost::Ours {
            relay.answers_for_localhost();
        }
        let home_id = keyring.relay().public_key().to_hex()[..16].to_owned();
        let runtime: Arc<dyn Runtime> =
            Arc::new(ChosenRuntime::new(&home_id, home, &config.sandbox));
        let (agents, problems) = Registry::load(Some(home));
        for problem in problems {
            tracing::warn!(%problem, "an agent cannot be used");
        }
        let agents = agents.with_base(config.sandbox.base.clone());
        let workspaces = Arc::new(Workspaces::new(home.to_owned()));
        let blobs = Blobs::new(home.join("blobs"));
        let page = {
            let workspaces = workspaces.clone();
            Page::new(
                keyring.clone(),
                redactor.clone(),
                blobs.clone(),
                relay.clone(),
                home.to_owned(),
                // What the scripted model answers is a demo, which nobody comes back to once it ended.
                match config.model.default == scripted::MODEL {
                    true => "treefort demo --page",
                    false => "treefort page",
                },
                Box::new(move || {
                    let workspaces = workspaces.clone();
                    Box::pin(async move { workspaces.projects().await })
                }),
            )
            .offering(Offers {
                at_once: config.jobs.max_running.max(1),
                networks: config.network.presets.clone(),
            })
        };
        let state = State::open(&home.join("state"))?;
        let looking = redactor.clone();
        let shares_by = (config.sync.file.as_ref()).map(|(_, fingerprint)| fingerprint.clone());
        let parts = sync::Parts {
            config: config.sync,
            relay: relay.clone(),
            keyring: keyring.clone(),
            admission: admission.clone(),
            state: state.clone(),
            scanner: Arc::new(move |event| looking.finds(event)),
            max_age_s: config.jobs.max_age_s,
        };
        let context = Context {
            jobs: config.jobs,
            sessions: config.sessions,
            publisher: Publisher::new(relay.clone(), redactor.clone()),
            keyring,
            admission,
            relay: relay.clone(),
            relay_url: format!("ws://{}", reachable(address)),
            state,
            blobs,
            journal: home.join("journal"),
            redactor,
            agents,
            runtime: runtime.clone(),
            sandbox: config.sandbox,
            probe: tokio::sync::OnceCell::new(),
            desk: Arc::default(),
            workspaces,
            previews: Previews::new(),
            egress: Egress::new(config.network)?,
            purging: tokio::sync::Mutex::default(),
            local: Local::new(&config.model)?,
            num_ctx: config.model.num_ctx,
            default_model: config.model.default.clone(),
            gateway: Gateway::new(config.model)?,
        };
        // The names of the owner's variables need not say that they hold keys.
        let keys = context.gateway.providers().secrets();
        context.redactor.learn(keys);
        private_directory(&context.journal)?;
        let relay_key = context.keyring.relay().public_key().to_hex();
        let coordinator = Coordinator::start(Arc::new(context), role).await?;
        // Last: what a provider's key looks like is known by now, and who is admitted.
        let sync = Syncing::start(parts);
        let run = RunFile {
            v: 1,
            address: reachable(address),
            pid: std::process::id(),
            relay: relay_key,
            localhost_is_taken: beside.localhost == Localhost::Taken,
            sync: shares_by,
        };
        write_run_file(home, &run)?;
        Ok(Self {
            home: home.to_owned(),
            address,
            listener,
            beside,
            relay,
            runtime,
            coordinator,
            page: Arc::new(page),
            sync,
            lock,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether another program may be where `localhost` and this port lead.
    #[must_use]
    pub fn localhost_is_taken(&self) -> bool {
        self.beside.localhost == Localhost::Taken
    }

    /// What makes the link that `up` prints.
    #[must_use]
    pub fn page(&self) -> PageLink {
        PageLink {
            page: self.page.clone(),
            address: reachable(self.address),
        }
    }

    /// The relay, to count its clients.
    #[must_use]
    pub fn relay(&self) -> Relay {
        self.relay.clone()
    }

    /// Serves until `shutdown`, then stops agents, writes the ends of their sessions, and closes the stores.
    ///
    /// # Errors
    /// When the coordinator failed: jobs could not be promised any more.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self {
            home,
            listener,
            beside,
            relay,
            runtime,
            mut coordinator,
            page,
            sync,
            lock,
            ..
        } = self;
        let front = Arc::new(Fronts {
            page,
            sync: sync.door(),
        });
        let mut connections = JoinSet::new();
        let failed = loop {
            tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                failed = coordinator.failed() => break failed.map_err(Error::from),
                () = relay.broken() => break Err(Error::Broken),
                accepted = accept(&listener, beside.listener.as_ref()) => match accepted {
                    Ok((stream, peer)) => {
                        let (relay, front) = (relay.clone(), front.clone());
                        connections.spawn(async move { relay.serve(stream, peer, Some(&*front)).await });
                    }
                    Err(error) => {
                        // Out of file descriptors, most likely: clients that leave make room.
                        tracing::error!(%error, "a connection was not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        };
        // Nobody should look for us any more, while sessions still write their ends.
        if let Err(error) = fs::remove_file(home.join(RUN_FILE)) {
            tracing::debug!(%error, "there was no run file");
        }
        sync.shutdown().await;
        coordinator.shutdown().await;
        runtime.shutdown().await;
        relay.shutdown().await;
        connections.shutdown().await;
        drop(lock);
        failed
    }
}

/// Keeps a file that is attached to a job, for whoever does the job in this home; gives its address.
///
/// # Errors
/// When it cannot be written.
pub fn keep_file(home: &Path, bytes: &[u8]) -> io::Result<String> {
    Blobs::new(home.join("blobs")).put(bytes)
}

/// Makes the link that the owner opens the page with.
#[derive(Debug, Clone)]
pub struct PageLink {
    page: Arc<Page>,
    address: SocketAddr,
}

impl PageLink {
    /// Whether there is a page at the end of it: it is served at this machine's own address only.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.address.ip().is_loopback()
    }

    /// A link that lets in whoever follows it first; a secret until then.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn fresh(&self) -> io::Result<String> {
        Ok(self.page.first_link(self.address)?)
    }
}

impl RunFile {
    /// Reads a home's run file; `None` when there is none or it cannot be read.
    #[must_use]
    pub fn read(home: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(home.join(RUN_FILE)).ok()?).ok()
    }
}

/// An address that a program on this machine can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        return SocketAddr::from(([127, 0, 0, 1], address.port()));
    }
    address
}

fn lock(home: &Path) -> Result<fs::File, Error> {
    let path = home.join(LOCK_FILE);
    let failed = |source| Error::Home {
        path: path.clone(),
        source,
    };
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Running {
            address: RunFile::read(home).map(|run| run.address),
        }),
        Err(fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn write_run_file(home: &Path, run: &RunFile) -> Result<(), Error> {
    let path = home.join(RUN_FILE);
    keyring::write_private(&path, &serde_json::json!(run).to_string())
        .map_err(|source| Error::Home { path, source })
}

/// Makes a directory for its owner alone. One that is there stays as it is: `doctor` says when others may
/// read it.
fn private_directory(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Home {
        path: path.to_owned(),
        source,
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed)?;
    Ok(())
}
