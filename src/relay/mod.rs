//! The relay: the bus that everything speaks over.
//!
//! [`Relay`] is a handle; every event, whether from a connection or [`Relay::publish`], passes the one door
//! in `ingest`, is committed by the one writer, and only then acknowledged and fanned out. Readers either
//! get everything or are closed with a reason.

mod bridge;
mod bulk;
mod client;
pub mod config;
mod connection;
mod ephemeral;
mod forget;
mod front;
mod http;
mod hub;
mod ingest;
mod known;
mod lanes;
mod negotiation;
mod origin;
mod outbox;
mod rate;
mod rejection;
mod rights;
mod room;
mod spent;
mod steady;
mod subscription;
mod tap;
mod verify;
mod writer;

use std::{
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use nostr::{Event, EventId, Filter, JsonUtil, Keys, Timestamp};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use self::{
    config::{Config, Read},
    front::{Front, Reply as HttpReply, Sender, Site},
    ingest::Accepted,
    origin::single,
    rejection::Rejection,
    spent::{Spent, Unspendable},
};
use self::{
    ephemeral::Ring,
    hub::Hub,
    ingest::{Examined, Ingest, Origin, Reply},
    known::Known,
    lanes::Lanes,
    rate::Rates,
    rights::Reached,
    writer::{Command, Parts, Writer},
};
use crate::{
    keys::Admission,
    loopback::Places,
    store::{self, EventStore, Feed, Query, Search, Stored, search},
};

/// How many of the largest reconciliations there is room for at the same time.
const RECONCILIATIONS: usize = 4;

/// Who the relay is (NIP-11).
#[derive(Debug, Clone)]
pub struct Identity {
    /// The relay's own key, under which it signs.
    pub keys: Keys,
    /// What it is, in a sentence.
    pub description: String,
}

/// Why the relay failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A thread could not be started.
    #[error("failed to start a thread of the relay")]
    Thread(#[source] std::io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The search.
    #[error(transparent)]
    Search(#[from] search::Error),
    /// A stored event could not be read.
    #[error("a stored event is damaged")]
    Damaged(#[source] nostr::event::Error),
    /// The relay stops.
    #[error("the relay is stopping")]
    Stopping,
}

impl Error {
    /// Whether a query took too long.
    fn is_deadline(&self) -> bool {
        matches!(
            self,
            Self::Store(store::Error::Deadline)
                | Self::Search(
                    search::Error::Deadline | search::Error::Store(store::Error::Deadline)
                )
        )
    }
}

impl From<&Error> for Rejection {
    fn from(error: &Error) -> Self {
        match error {
            error if error.is_deadline() => Self::Deadline,
            Error::Search(search::Error::Behind) => Self::SearchBehind,
            Error::Search(error @ (search::Error::TooMany | search::Error::Mixed)) => {
                Self::Uncountable(error.to_string())
            }
            Error::Stopping => Self::Stopping,
            error => {
                tracing::error!(error = error as &dyn std::error::Error, "a query failed");
                Self::Store
            }
        }
    }
}

/// A handle on the running relay.
#[derive(Clone)]
pub struct Relay {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

/// What connections and handles share.
struct Shared {
    config: Arc<Config>,
    store: Arc<dyn EventStore>,
    identity: Identity,
    admission: Arc<Admission>,
    hub: Arc<Hub>,
    ingest: Ingest,
    commands: mpsc::Sender<Command>,
    lanes: Lanes,
    /// Missing when there is none.
    search: OnceLock<Arc<Search>>,
    /// Events that may be in reconciliations, over all connections.
    reconciling: Arc<Semaphore>,
    rates: Rates,
    clients: AtomicU64,
    connections: Places,
    foreign: Arc<Semaphore>,
    /// Streams over HTTP, of whomever.
    streams: Arc<Semaphore>,
    bodies: bridge::Room,
    proofs: bridge::Proofs,
    /// Whether nobody but us can be behind `localhost` and our port.
    localhost: AtomicBool,
    open: AtomicUsize,
    broken: CancellationToken,
    stop: CancellationToken,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    /// Whether nobody but us can be where `localhost` and the port of this connection lead.
    fn is_localhost(&self, reached: &Reached) -> bool {
        self.localhost.load(Ordering::Relaxed) || reached.local.ip() == Ipv6Addr::LOCALHOST
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The writer ends when it has committed what is queued; nobody is left to wait for it.
        let _ = self.commands.send(Command::Stop);
    }
}

impl Relay {
    /// Starts the writer. Connections are served by [`Relay::run`] or [`Relay::serve`].
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        config: Config,
        store: Arc<dyn EventStore>,
        identity: Identity,
        admission: Arc<Admission>,
    ) -> Result<Self, Error> {
        let config = Arc::new(config);
        let replay = Duration::from_secs(config.ephemeral_replay_s);
        let ring = Ring::new(replay, config.max_ephemeral_bytes);
        let hub = Arc::new(Hub::new(Arc::clone(&store), ring));
        let known = Arc::new(Known::new(&*store));
        let in_flight = Arc::new(AtomicUsize::new(0));
        let (commands, receiver) = mpsc::channel();
        let broken = CancellationToken::new();
        let parts = Parts {
            store: Arc::clone(&store),
            hub: Arc::clone(&hub),
            known: Arc::clone(&known),
            in_flight: Arc::clone(&in_flight),
            broken: broken.clone(),
            operator: admission.operator(),
            min_free: config.min_free_mb.saturating_mul(1 << 20),
        };
        let threads = Writer::start(parts, receiver).map_err(Error::Thread)?;
        Ok(Self {
            shared: Arc::new(Shared {
                ingest: Ingest::new(
                    Arc::clone(&config),
                    Arc::clone(&store),
                    known,
                    commands.clone(),
                    in_flight,
                ),
                lanes: Lanes::new(config.max_queries),
                reconciling: Arc::new(Semaphore::new(
                    (config.max_negentropy.saturating_mul(RECONCILIATIONS))
                        .min(Semaphore::MAX_PERMITS),
                )),
                search: OnceLock::new(),
                rates: Rates::new(&config),
                connections: Places::new(config.max_connections),
                foreign: Arc::new(Semaphore::new(config.max_foreign_connections)),
                streams: Arc::new(Semaphore::new(config.max_streams)),
                bodies: bridge::Room::default(),
                proofs: bridge::Proofs::default(),
                localhost: AtomicBool::new(false),
                config,
                store,
                identity,
                admission,
                hub,
                commands,
                clients: AtomicU64::new(1),
                open: AtomicUsize::new(0),
                broken,
                stop: CancellationToken::new(),
                threads: Mutex::new(threads.into()),
            }),
        })
    }

    /// Takes proofs that were made for `localhost`, too: for whoever made sure that it leads to nobody else.
    pub fn answers_for_localhost(&self) {
        self.shared.localhost.store(true, Ordering::Relaxed);
    }

    /// Offers the search of NIP-50, with its index in a folder of its own, unless the configuration says no.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn offer_search(&self, folder: PathBuf) -> Result<(), Error> {
        if self.shared.config.search {
            let search = Search::start(folder, Arc::clone(&self.shared.store));
            // Only one is kept; there is one caller.
            let _ = (self.shared.search).set(Arc::new(search.map_err(Error::Thread)?));
        }
        Ok(())
    }

    /// Publishes an event of this program; returns after the durable commit.
    ///
    /// # Errors
    /// With the reason why the event was refused.
    pub async fn publish(&self, event: Event) -> Result<Accepted, Rejection> {
        self.enter(event, Origin::Internal).await
    }

    /// Takes in an event that another relay sent, with the limits of anybody's; returns after the durable commit.
    ///
    /// # Errors
    /// With the reason why the event was refused.
    pub async fn receive(&self, event: Event) -> Result<Accepted, Rejection> {
        self.enter(event, Origin::Relay).await
    }

    async fn enter(&self, event: Event, origin: Origin<'static>) -> Result<Accepted, Rejection> {
        let ingest = &self.shared.ingest;
        let mut in_flight = ingest.announce(1);
        let now = Timestamp::now().as_secs();
        let examined = ingest.examine(event, origin, now)?;
        in_flight.done();
        let Examined::New(admitted) = examined else {
            return Ok(Accepted::Duplicate);
        };
        let (sender, receiver) = oneshot::channel();
        ingest.submit(*admitted, Reply::Task(sender)).await?;
        receiver.await.map_err(|_| Rejection::Stopping)?
    }

    /// Whether an event of this program is of a size and shape that [`Self::publish`] takes.
    ///
    /// # Errors
    /// With the reason why it would be refused.
    pub fn check(&self, event: &Event) -> Result<(), Rejection> {
        let now = Timestamp::now().as_secs();
        self.shared.ingest.fits(event, Origin::Internal, now)
    }

    /// Whether an event is of a size and shape that [`Self::receive`] takes; its signature is not looked at.
    ///
    /// # Errors
    /// With the reason why it would be refused.
    pub fn check_received(&self, event: &Event) -> Result<(), Rejection> {
        let now = Timestamp::now().as_secs();
        self.shared.ingest.fits(event, Origin::Relay, now)
    }

    /// Stored events that match, newest first. Without a `limit`, all of them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn query(&self, filter: Filter) -> Result<Vec<Event>, Error> {
        self.shared
            .blocking(move |store| {
                let filters = [filter];
                let query = Query::all(&filters, Timestamp::now().as_secs());
                store
                    .query(&query)?
                    .iter()
                    .filter_map(|hit| hit.json.as_ref())
                    .map(|json| Event::from_json(json).map_err(Error::Damaged))
                    .collect()
            })
            .await
    }

    /// One stored event.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn get(&self, id: EventId) -> Result<Option<Event>, Error> {
        self.shared
            .blocking(move |store| Ok(store.get(&id)?.map(|stored| stored.event)))
            .await
    }

    /// One stored event with its sequence number.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stored(&self, id: EventId) -> Result<Option<Stored>, Error> {
        self.shared.blocking(move |store| Ok(store.get(&id)?)).await
    }

    /// How many stored events match; a `limit` does not apply.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn count(&self, filter: Filter) -> Result<u64, Error> {
        self.shared.count(vec![filter], None).await
    }

    /// Waits until the store could not be written: nothing is acknowledged after that.
    pub async fn broken(&self) {
        self.shared.broken.cancelled().await;
    }

    /// Follows the log from just after a sequence number; 0 is the beginning.
    #[must_use]
    pub fn feed(&self, after_seq: u64) -> Feed {
        Feed::new(Arc::clone(&self.shared.store), after_seq)
    }

    /// The highest committed sequence number.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.shared.store.last_seq()
    }

    /// Open WebSocket connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Serves one accepted connection until it ends or the relay stops; requests that are not for the relay go to
    /// the front.
    pub async fn serve(&self, stream: TcpStream, peer: SocketAddr, front: Option<&dyn Front>) {
        http::serve(&self.shared, stream, peer, front).await;
    }

    /// Accepts and serves connections until the relay stops; their tasks end with it.
    pub async fn run(&self, listener: TcpListener) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let relay = self.clone();
                        tasks.spawn(async move { relay.serve(stream, peer, None).await });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
                () = self.shared.stop.cancelled() => break,
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Closes connections with a reason, commits what is queued and ends the writer.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        // The writer may have ended already.
        let _ = self.shared.commands.send(Command::Stop);
        let threads = std::mem::take(
            &mut *self
                .shared
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let search = self.shared.search.get().cloned();
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a thread of the relay panicked");
                }
            }
            // Last: what it has not taken in is no loss.
            if let Some(search) = search {
                search.stop();
            }
        });
        if joined.await.is_err() {
            tracing::error!("failed to wait for the relay's threads");
        }
    }
}

impl Shared {
    fn next_client(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed)
    }

    /// Runs something on the store off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn EventStore) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || work(&*store))
            .await
            .map_err(|_| Error::Stopping)?
    }
}
