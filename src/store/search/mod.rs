//! The search over what events say (NIP-50).
//!
//! [`Search`] keeps a database beside the log (`words::Words`) that one thread of low priority fills: it follows the log by a
//! cursor, so nothing is written on an event's way in. All of it can be made again from the log, and is when it is
//! missing, damaged, of another version or of another store. What a search finds is read from the log, so an event that
//! is gone from there is not found, whatever the database still says; its keys go when a search meets them and in a
//! sweep. [`Search::erase`] throws the database away with its files and its hash key.

mod follow;
mod rank;
#[cfg(test)]
mod tests;
mod words;

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nostr::Filter;
use tokio::sync::{oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

pub use self::rank::CANDIDATES;
use self::{
    follow::{Command, Follower},
    rank::{Found, Scan},
    words::Words,
};
use super::{EventStore, Hit, Query};
use crate::nips::nip50;

/// How long a search waits for what was stored before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long closing the index may take, of the time that the whole program has to stop.
const CLOSING: Duration = Duration::from_millis(1500);
/// How long between two looks whether it is closed.
const A_MOMENT: Duration = Duration::from_millis(5);

/// Why a search has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not everything that is stored is in the index yet.
    #[error("the search index is being built; ask again in a moment")]
    Behind,
    /// There may be more events than are looked at, so no count would be exact.
    #[error("more than {CANDIDATES} events have these words; they cannot be counted")]
    TooMany,
    /// Filters with and without a search cannot be counted together.
    #[error("a count takes either filters with a search or filters without")]
    Mixed,
    /// It took too long.
    #[error("the query took too long")]
    Deadline,
    /// The index is damaged.
    #[error("the search index is damaged")]
    Damaged,
    /// The source of randomness failed.
    #[error("no randomness")]
    Random,
    /// The index's folder cannot be removed.
    #[error("failed to remove {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// The index failed.
    #[error("the search index failed")]
    Storage(#[from] fjall::Error),
    /// The event store failed.
    #[error(transparent)]
    Store(#[from] super::Error),
}

/// What the handle and the thread share.
struct Shared {
    /// Missing until it is open, and while it is thrown away.
    words: RwLock<Option<Arc<Words>>>,
    /// Up to where events can be found.
    reached: watch::Sender<u64>,
    /// Searches that wait for it.
    waiting: AtomicUsize,
    /// Whether the thread was told that there is more.
    told: AtomicBool,
}

impl Shared {
    fn set(&self, words: Option<Arc<Words>>) {
        let reached = words.as_ref().map_or(0, |words| words.totals().cursor);
        *self.words.write().unwrap_or_else(PoisonError::into_inner) = words;
        // Who waits for this looks at the words too.
        self.reached.send_replace(reached);
    }
}

/// Answers searches over one store.
pub struct Search {
    store: Arc<dyn EventStore>,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
    _watcher: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Search")
            .field("reached", &*self.shared.reached.borrow())
            .finish_non_exhaustive()
    }
}

impl Search {
    /// Starts to follow a store; the index is in a folder of its own. Runs on tokio.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(path: PathBuf, store: Arc<dyn EventStore>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            words: RwLock::new(None),
            reached: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            told: AtomicBool::new(false),
        });
        let (commands, receiver) = mpsc::channel();
        let mut changed = store.watch();
        let follower = Follower::new(path, Arc::clone(&store), Arc::clone(&shared), receiver);
        let thread = std::thread::Builder::new()
            .name("search".into())
            .spawn(move || follower.run())?;
        let watcher = {
            let (shared, commands) = (Arc::clone(&shared), commands.clone());
            tokio::spawn(async move {
                while changed.changed().await.is_ok() {
                    if !shared.told.swap(true, Ordering::AcqRel)
                        && commands.send(Command::More).is_err()
                    {
                        return;
                    }
                }
            })
        };
        Ok(Self {
            store,
            shared,
            commands,
            thread: Mutex::new(Some(thread)),
            _watcher: AbortOnDropHandle::new(watcher),
        })
    }

    /// Waits until everything up to a sequence number can be found, for a few seconds.
    ///
    /// # Errors
    /// [`Error::Behind`] when that is not enough.
    pub async fn reached(&self, seq: u64) -> Result<(), Error> {
        let mut reached = self.shared.reached.subscribe();
        if *reached.borrow() >= seq && self.words().is_some() {
            return Ok(());
        }
        let _waiting = Waiting::new(&self.shared);
        // Nobody is there to be told while the program stops.
        let _ = self.commands.send(Command::Hurry);
        let is_open = || self.words().is_some();
        let waited = tokio::time::timeout(PATIENCE, async {
            reached
                .wait_for(|reached| *reached >= seq && is_open())
                .await
                .is_ok()
        });
        match waited.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Error::Behind),
        }
    }

    fn words(&self) -> Option<Arc<Words>> {
        self.shared
            .words
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Rows that match: those of filters with a search best first, at most [`CANDIDATES`] of the newest with the rarest
    /// word looked at; then those of the other filters, as [`EventStore::query`] has them.
    ///
    /// # Errors
    /// When the index is not there, or what [`EventStore::query`] says.
    pub fn find(&self, query: &Query<'_>) -> Result<Vec<Hit>, Error> {
        let (searches, plain) = split(query.filters);
        let mut hits = self.scan(query, |scan| {
            let mut best: HashMap<u64, Found> = HashMap::new();
            for (filter, search) in &searches {
                let limit = (filter.limit.unwrap_or(query.default_limit)).min(query.max_limit);
                for found in scan.best(filter, search, limit)? {
                    // What is better is less.
                    match best.get(&found.seq) {
                        Some(known) if *known <= found => {}
                        _ => drop(best.insert(found.seq, found)),
                    }
                }
            }
            let mut best: Vec<Found> = best.into_values().collect();
            best.sort_unstable();
            Ok(best.into_iter().map(Found::into_hit).collect::<Vec<_>>())
        })?;
        let mut left = query.budget;
        if !plain.is_empty() {
            let known: HashSet<u64> = hits.iter().map(|hit| hit.seq).collect();
            let rest = self.store.query(&Query {
                filters: &plain,
                ..*query
            })?;
            hits.extend(rest.into_iter().filter(|hit| !known.contains(&hit.seq)));
        }
        for hit in &mut hits {
            match hit
                .json
                .as_ref()
                .and_then(|json| left.checked_sub(json.len()))
            {
                Some(rest) => left = rest,
                None => hit.json = None,
            }
        }
        Ok(hits)
    }

    /// How many events match, exactly.
    ///
    /// # Errors
    /// [`Error::TooMany`] and [`Error::Mixed`] when that cannot be said, and as [`Self::find`].
    pub fn count(&self, query: &Query<'_>) -> Result<u64, Error> {
        let (searches, plain) = split(query.filters);
        if !plain.is_empty() {
            return Err(Error::Mixed);
        }
        self.scan(query, |scan| {
            let mut all = HashSet::new();
            for (filter, search) in &searches {
                scan.all(filter, search, |seq| {
                    all.insert(seq);
                })?;
            }
            Ok(all.len() as u64)
        })
    }

    fn scan<T>(
        &self,
        query: &Query<'_>,
        work: impl FnOnce(&mut Scan<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let words = self.words().ok_or(Error::Behind)?;
        let mut scan = Scan::new(&words, &*self.store, query);
        let result = work(&mut scan);
        let tell = match &result {
            Err(Error::Damaged | Error::Storage(_)) => Some(Command::Damaged),
            _ if scan.gone.is_empty() => None,
            _ => Some(Command::Gone(std::mem::take(&mut scan.gone))),
        };
        if let Some(command) = tell {
            // Nobody is there to be told while the program stops.
            let _ = self.commands.send(command);
        }
        result
    }

    /// Throws the index away with all of its files; it is built anew from what is stored. Returns when they are gone.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub async fn erase(&self) -> Result<(), Error> {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Erase(reply)).is_err() {
            return Ok(());
        }
        // The thread ends without an answer when the program stops.
        done.await.unwrap_or(Ok(()))
    }

    /// Ends the thread and closes the index. Where everything else is too busy for that, what was not closed is read from
    /// the log again at the next start.
    pub fn stop(&self) {
        // It may have ended already.
        let _ = self.commands.send(Command::Stop);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else {
            return;
        };
        let began = Instant::now();
        while !thread.is_finished() {
            if began.elapsed() > CLOSING {
                tracing::info!("the search index was not closed in time");
                return;
            }
            std::thread::sleep(A_MOMENT);
        }
        if thread.join().is_err() {
            tracing::error!("the thread of the search panicked");
        }
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        // It ends by itself; nobody is left to wait for it.
        let _ = self.commands.send(Command::Stop);
    }
}

/// Makes the thread hurry while somebody waits.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::AcqRel);
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The filters with a search, and those without. A search that is none restricts nothing; one that cannot be read
/// matches nothing.
fn split(filters: &[Filter]) -> (Vec<(&Filter, nip50::Search)>, Vec<Filter>) {
    let (mut searches, mut plain) = (Vec::new(), Vec::new());
    for filter in filters {
        match filter.search.as_deref().map(nip50::Search::parse) {
            Some(Ok(Some(search))) => searches.push((filter, search)),
            Some(Err(_)) => {}
            Some(Ok(None)) | None => plain.push(Filter {
                search: None,
                ..filter.clone()
            }),
        }
    }
    (searches, plain)
}
