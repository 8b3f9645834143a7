//! Previews: a web app that an agent started in its sandbox, or the files of its copy, in the person's browser.
//!
//! Each preview is an origin of its own: a random name below `.localhost`, listeners on this machine's loopback
//! that nothing else uses, and a cookie that only a one-time code gets. Behind it is a port of a sandbox
//! ([`crate::sandbox::Inward`]) or a folder that is read from beneath (`files`). [`Previews`] holds them all.
//!
//! What an agent wrote runs in that browser then, and the agent has no network: every answer tells the browser to
//! talk to this origin alone, and `headers` says which browsers can be kept from what.
//!
//! Invariants: nobody reads a preview without its cookie, whatever `Host`, `Origin` or path they send; nothing of the
//! person's is sent into a sandbox but what that page's own requests say; and everything ends with its preview.

mod access;
mod body;
mod files;
mod headers;
mod listen;
mod media;
mod pages;
mod proxy;
mod serve;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use self::access::Keys;
pub use self::files::{Files, Root};
use crate::{loopback::Places, sandbox::Inward};

/// The headers of a request as an app gets them, and those of an answer as a browser gets them, for the fuzzers
/// (`tests/fuzz`); `None` when it leads elsewhere.
#[doc(hidden)]
#[must_use]
pub fn passed_on(
    headers: &hyper::HeaderMap,
    host: &str,
    port: u16,
) -> (hyper::HeaderMap, Option<hyper::HeaderMap>) {
    let inward = headers::inward(headers, host, port, false);
    (inward, headers::outward(headers, host, port).ok())
}

/// Previews at once; the one that was used longest ago makes room.
const MAX_PREVIEWS: usize = 16;
/// Connections to one preview at once.
const MAX_CONNECTIONS: usize = 128;
/// How long after the last request a preview counts as looked at.
const LOOKED_AT: Duration = Duration::from_secs(600);
/// The same while a page of it holds a connection open, as pages of development servers do.
const HELD_OPEN: Duration = Duration::from_secs(3600);
/// How long a preview says that its sandbox is gone.
const AFTERWARDS: Duration = Duration::from_secs(300);

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum What {
    /// What listens on this port.
    Port(u16),
    /// Files of a state.
    Files {
        /// Which one: its tree; as they are when absent.
        tree: Option<String>,
        /// The folder that is the top; chosen when absent.
        folder: Option<String>,
    },
}

/// Where it comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A program in a sandbox.
    App {
        /// The way to it.
        inward: Inward,
        /// Where it listens.
        port: u16,
    },
    /// Files.
    Files(Arc<Files>),
}

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No port, or no random numbers.
    #[error("nothing on this machine's loopback could be listened on")]
    Io(#[from] std::io::Error),
    /// The program stops.
    #[error("treefort is stopping")]
    Closing,
}

/// Where a preview is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The address with a code that works once. Browsers look its name up by themselves.
    pub url: String,
    /// The same for programs that do not know the name, where the system has addresses to spare.
    pub by_address: Option<String>,
}

/// What a preview belongs to and shows.
type Key = (String, What);

/// All previews of this treefort.
#[derive(Debug, Default)]
pub struct Previews {
    open: Mutex<HashMap<Key, Arc<Preview>>>,
    /// One is made at a time, so that the same is not made twice.
    making: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// One preview.
#[derive(Debug)]
struct Preview {
    /// The values of `Host` that are its own: its name, and its address where it has one.
    hosts: Vec<String>,
    keys: Keys,
    source: RwLock<Source>,
    /// When somebody last asked for something.
    used: Mutex<Instant>,
    /// Connections that its pages hold open.
    held: AtomicUsize,
    connections: Places,
    ended: CancellationToken,
}

impl Preview {
    fn source(&self) -> Source {
        let source = self.source.read().unwrap_or_else(PoisonError::into_inner);
        source.clone()
    }

    fn set_source(&self, source: Source) {
        *self.source.write().unwrap_or_else(PoisonError::into_inner) = source;
    }

    /// Somebody looks at it.
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn unused_for(&self) -> Duration {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.elapsed()
    }

    fn is_looked_at(&self) -> bool {
        let unused = self.unused_for();
        unused < LOOKED_AT || (unused < HELD_OPEN && self.held.load(Ordering::Relaxed) > 0)
    }

    /// Counts a connection that a page holds open, as long as the result lives.
    fn hold(self: &Arc<Self>) -> Held {
        self.held.fetch_add(1, Ordering::Relaxed);
        Held(self.clone())
    }

    fn opened(&self, code: &str) -> Opened {
        let url = |host: &String| format!("http://{host}{}{code}", access::FIRST);
        Opened {
            url: self.hosts.first().map(url).unwrap_or_default(),
            by_address: self.hosts.get(1).map(url),
        }
    }
}

/// See [`Preview::hold`].
struct Held(Arc<Preview>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Previews {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a preview of a copy, or gives a fresh code for the one that shows the same already; that shows what
    /// `source` has from now on.
    ///
    /// # Errors
    /// When nothing can be listened on.
    pub async fn open(&self, copy: &str, what: What, source: Source) -> Result<Opened, Error> {
        let _alone = self.making.lock().await;
        if self.closing.is_cancelled() {
            return Err(Error::Closing);
        }
        let key = (copy.to_owned(), what);
        if let Some(preview) = self.open_ones().get(&key).cloned() {
            let code = preview.keys.code()?;
            preview.set_source(source);
            preview.touch();
            return Ok(preview.opened(&code));
        }
        self.make_room();
        let (listeners, hosts) = listen::on_loopback().await?;
        let preview = Arc::new(Preview {
            hosts,
            keys: Keys::new()?,
            source: RwLock::new(source),
            used: Mutex::new(Instant::now()),
            held: AtomicUsize::new(0),
            connections: Places::new(MAX_CONNECTIONS),
            ended: self.closing.child_token(),
        });
        let code = preview.keys.code()?;
        let span = tracing::info_span!("preview", host = preview.hosts.first());
        let serving = serve::until_ended(preview.clone(), listeners);
        self.tasks.spawn(serving.instrument(span.clone()));
        self.tasks
            .spawn(end_after_its_sandbox(preview.clone()).instrument(span));
        let opened = preview.opened(&code);
        self.open_ones().insert(key, preview);
        Ok(opened)
    }

    /// Ends the previews of a copy, or the one of these that shows this; says how many.
    pub fn end(&self, copy: &str, what: Option<&What>) -> usize {
        let mut ended = 0;
        self.open_ones().retain(|(of, shows), preview| {
            let stays = of != copy || what.is_some_and(|what| what != shows);
            if !stays {
                // One that ended by itself is no news.
                ended += usize::from(!preview.ended.is_cancelled());
                preview.ended.cancel();
            }
            stays
        });
        ended
    }

    /// Whether somebody looks at what runs in the sandbox of a copy.
    #[must_use]
    pub fn is_looked_at(&self, copy: &str) -> bool {
        self.open_ones().iter().any(|((of, what), preview)| {
            of == copy
                && matches!(what, What::Port(_))
                && !preview.ended.is_cancelled()
                && preview.is_looked_at()
        })
    }

    /// Ends all of them, and waits for that. None opens afterwards.
    pub async fn shutdown(&self) {
        self.closing.cancel();
        self.open_ones().clear();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn open_ones(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Preview>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, preview| !preview.ended.is_cancelled());
        open
    }

    /// Ends the one that was used longest ago when there are as many as there may be.
    fn make_room(&self) {
        let mut open = self.open_ones();
        if open.len() < MAX_PREVIEWS {
            return;
        }
        let oldest = open
            .iter()
            .max_by_key(|(_, preview)| preview.unused_for())
            .map(|(key, _)| key.clone());
        if let Some(preview) = oldest.and_then(|key| open.remove(&key)) {
            preview.ended.cancel();
        }
    }
}

/// Ends a preview some time after what it shows has ended, unless it shows something else by then.
async fn end_after_its_sandbox(preview: Arc<Preview>) {
    loop {
        let Source::App { inward, .. } = preview.source() else {
            return;
        };
        tokio::select! {
            () = preview.ended.cancelled() => return,
            () = inward.gone() => {}
        }
        tokio::select! {
            () = preview.ended.cancelled() => return,
            () = tokio::time::sleep(AFTERWARDS) => {}
        }
        let replaced = match preview.source() {
            Source::App { inward, .. } => !inward.is_gone(),
            Source::Files(_) => true,
        };
        if !replaced {
            preview.ended.cancel();
        }
    }
}

/// Random digits that nobody guesses.
fn random_hex() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
    Ok(hex::encode(bytes))
}
