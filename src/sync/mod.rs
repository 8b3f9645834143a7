//! What the owner shares with other relays, and what comes back.
//!
//! ```text
//! store::feed ─▶ scan (policy, facts) ─▶ rows in the state ─▶ link (last look) ─▶ relay
//! relay ─▶ link ─▶ down (for us? fresh?) ─▶ relay::ingest, marked with where it came from
//! ```
//!
//! Answers to those who ask go also to relays that they name, if the owner lets them (`named`).
//!
//! [`Syncing`] is off unless `sync.toml` names a stream. A row is made once for an event and a relay and decides that the
//! relay gets it once, as it was signed. A connection begins with finding out what is there already, so that nothing is
//! sent twice whenever the host died. Relays are hostile: they lie, replay, cut and flood.

pub mod address;
mod allowance;
mod answer;
pub mod config;
mod down;
mod facts;
mod flood;
mod leave;
mod leaving;
mod link;
mod named;
mod owner;
pub mod policy;
mod queue;
mod report;
mod scan;
mod share;
mod strangers;
mod talk;
mod there;
mod wire;

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::AtomicU64},
    time::Duration,
};

use nostr::{Event, PublicKey};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::{
    address::{NamedBy, RelayUrl},
    facts::Surroundings,
    policy::Sight,
};
pub use self::{
    config::{Config, ConfigError},
    leaving::Leaving,
    owner::{PATH, Wish},
    report::{Left, Named, Preview, RelayPreview, RelayStatus, Status, Trouble},
    share::{LEAST_DIGITS, Shared},
};
pub use crate::store::state::sync::Tally;
use crate::{
    keys::{Admission, Keyring},
    relay::{self, Relay, Spent},
    store::{
        self,
        state::{State, StateError, sync::RelayId},
    },
};

/// Says whether an event seems to hold a secret.
pub type Scanner = Arc<dyn Fn(&Event) -> bool + Send + Sync>;

/// How long a sync may take to stop.
const STOP: Duration = Duration::from_secs(2);

/// Why sync failed here, on this side.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// This treefort's own relay.
    #[error("the record cannot be read")]
    Relay(#[from] relay::Error),
    /// The log.
    #[error("the log cannot be read")]
    Store(#[from] store::Error),
    /// A key.
    #[error(transparent)]
    Keyring(#[from] crate::keys::KeyringError),
    /// Something could not be signed.
    #[error(transparent)]
    Sign(#[from] crate::nips::draft::SignError),
}

/// What sync works with.
pub struct Parts {
    /// What the owner wrote.
    pub config: Config,
    /// This treefort's own relay.
    pub relay: Relay,
    /// Its keys.
    pub keyring: Arc<Keyring>,
    /// Who is admitted.
    pub admission: Arc<Admission>,
    /// Where rows are kept.
    pub state: State,
    /// The last look.
    pub scanner: Scanner,
    /// A job is not older than this, in seconds.
    pub max_age_s: u64,
}

/// The running sync.
pub struct Syncing {
    hub: Arc<Hub>,
    tasks: JoinSet<()>,
}

/// What all parts of sync share.
pub(crate) struct Hub {
    config: Config,
    around: Surroundings,
    admission: Arc<Admission>,
    scanner: Scanner,
    max_age_s: u64,
    /// Those of the owner's streams, then those that others named and for which something may be left to do.
    links: RwLock<Vec<Arc<Link>>>,
    /// There are other links than before.
    others: Notify,
    /// Nothing waits any more for a relay: its place may be somebody else's.
    freed: Notify,
    /// How often there was no place for a relay that somebody named, and what was for it was not remembered, since the
    /// program runs.
    left_out: AtomicU64,
    /// What the owner asked for.
    owner: Spent,
    strangers: strangers::Strangers,
    stop: CancellationToken,
}

/// One relay.
struct Link {
    url: RelayUrl,
    id: RelayId,
    /// Who named it: it says what the address may lead to, and what it is told.
    by: NamedBy,
    /// There are new rows.
    wake: Notify,
    /// It lost its place.
    over: CancellationToken,
    said: Mutex<Said>,
}

/// How it stands with a relay, as long as the program runs.
#[derive(Debug, Clone, Default)]
struct Said {
    connected: bool,
    problem: Option<String>,
    notice: Option<String>,
}

impl Link {
    fn new(url: RelayUrl, by: NamedBy) -> Arc<Self> {
        Arc::new(Self {
            id: RelayId::of(url.as_str()),
            url,
            by,
            wake: Notify::new(),
            over: CancellationToken::new(),
            said: Mutex::default(),
        })
    }

    fn say(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn said(&self) -> Said {
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Hub {
    fn coordinator(&self) -> PublicKey {
        self.around.keyring.coordinator().public_key()
    }

    /// All relays, those of the owner's streams first.
    fn links(&self) -> Vec<Arc<Link>> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.clone()
    }

    /// The link of a relay; one that others named gets one if it has none.
    fn meet(&self, url: &RelayUrl) -> Arc<Link> {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = links.iter().find(|link| link.url == *url) {
            return known.clone();
        }
        let link = Link::new(url.clone(), NamedBy::Other);
        links.push(link.clone());
        self.others.notify_one();
        link
    }

    /// Ends the link of a relay that lost its place.
    fn forget(&self, url: &str) -> Option<Arc<Link>> {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        let of_others = |link: &Arc<Link>| link.by == NamedBy::Other && link.url.as_str() == url;
        let at = links.iter().position(of_others)?;
        let link = links.remove(at);
        link.over.cancel();
        Some(link)
    }

    /// Whether something is still to leave for a relay; one that cannot be read keeps its place.
    fn waits(&self, url: &str) -> bool {
        let waiting = self.around.state.sync_waiting(RelayId::of(url), None, 1);
        !waiting.is_ok_and(|waiting| waiting.is_empty())
    }

    /// There are other keys that somebody may speak to.
    fn listen_again(&self) {
        for link in self.links() {
            if self.comes_down(&link.url) {
                link.wake.notify_one();
            }
        }
    }

    fn sight<'a>(&'a self, relay: &'a RelayUrl, now: u64) -> Sight<'a> {
        Sight {
            config: &self.config,
            relay,
            coordinator: self.coordinator(),
            now,
        }
    }

    fn goes_up(&self, relay: &RelayUrl) -> bool {
        self.config.of(relay).any(|stream| stream.dir.is_up())
    }

    fn comes_down(&self, relay: &RelayUrl) -> bool {
        self.config.of(relay).any(|stream| stream.dir.is_down())
    }
}

impl std::fmt::Debug for Syncing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Syncing")
            .field("streams", &self.hub.config.streams.len())
            .finish_non_exhaustive()
    }
}

impl Syncing {
    /// Starts to sync with every relay that is named; without any, and for a command that only looks, nothing runs.
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        let mut links: Vec<Arc<Link>> = (parts.config.relays().into_iter())
            .map(|url| Link::new(url, NamedBy::Owner))
            .collect();
        links.extend(known_of_others(&parts));
        let hub = Arc::new(Hub {
            around: Surroundings {
                relay: parts.relay,
                keyring: parts.keyring,
                state: parts.state,
                admission: parts.admission.clone(),
                named: parts.config.named.clone(),
            },
            config: parts.config,
            admission: parts.admission,
            scanner: parts.scanner,
            max_age_s: parts.max_age_s,
            links: RwLock::new(links),
            others: Notify::new(),
            freed: Notify::new(),
            left_out: AtomicU64::new(0),
            owner: Spent::from_now(owner::REMEMBERED),
            strangers: strangers::Strangers::default(),
            stop: CancellationToken::new(),
        });
        let mut tasks = JoinSet::new();
        if hub.config.connect && !hub.config.is_off() {
            let dialler = wire::Dialler::new();
            let streams = hub.links().into_iter();
            for link in streams.filter(|link| link.by == NamedBy::Owner) {
                let span = tracing::info_span!("sync", relay = %link.url);
                if hub.goes_up(&link.url) {
                    let scanning = scan::run(hub.clone(), link.clone());
                    tasks.spawn(scanning.instrument(span.clone()));
                }
                let linking = link::run(hub.clone(), link.clone(), dialler.clone());
                tasks.spawn(linking.instrument(span));
            }
            tasks.spawn(named::run(hub.clone(), dialler));
        }
        Self { hub, tasks }
    }

    /// What answers the owner's questions about it.
    #[must_use]
    pub fn door(&self) -> Door {
        Door {
            hub: self.hub.clone(),
        }
    }

    /// Ends all connections; what was answered is kept.
    pub async fn shutdown(mut self) {
        self.hub.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP, ended).await.is_err() {
            tracing::warn!("a relay did not let go in time");
            self.tasks.shutdown().await;
        }
    }
}

/// The relays that others named before, and that have a place or something to leave for.
fn known_of_others(parts: &Parts) -> Vec<Arc<Link>> {
    let known = match parts.state.sync_named() {
        Ok(known) => known,
        Err(error) => {
            tracing::error!(%error, "the relays that others named cannot be read");
            return Vec::new();
        }
    };
    let waits = |url: &str| {
        let waiting = parts.state.sync_waiting(RelayId::of(url), None, 1);
        waiting.is_ok_and(|waiting| !waiting.is_empty())
    };
    known
        .into_iter()
        .filter(|relay| relay.open || waits(&relay.url))
        .filter_map(|relay| RelayUrl::parse_of_others(&relay.url).ok())
        .filter(|url| !parts.config.names(url))
        .map(|url| Link::new(url, NamedBy::Other))
        .collect()
}

/// Answers the owner's questions, and shares single things.
#[derive(Clone)]
pub struct Door {
    hub: Arc<Hub>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}
