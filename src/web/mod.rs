//! The page and what it asks by HTTP: who may, its assets, signing for the owner, folders, files.
//!
//! The page is a Nostr client of the relay. What a client cannot do without the owner's key or the owner's disk it
//! asks here (`api`). Whoever holds a bearer acts as the owner, so `admit` lets nobody ask but our own page and
//! programs of this machine, and `token` gives a bearer to who shows a code that only the owner could read.

mod admit;
mod api;
mod assets;
mod body;
mod demo;
mod files;
mod folders;
mod handing;
mod reply;
pub mod share;
mod sign;
mod token;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use hyper::{Request, body::Incoming};
use tokio::sync::Semaphore;

use self::token::Tokens;
use crate::{
    keys::Keyring,
    recorder::Redactor,
    relay::{Front, HttpReply, Relay, Sender},
    store::blobs::Blobs,
};

/// How long the link of `treefort up` can be used.
const FIRST_LINK: Duration = Duration::from_secs(12 * 3600);
/// How long another link can be used.
const LINK: Duration = Duration::from_secs(600);

/// The folders that agents worked on before, the last one first.
pub type Projects = Box<dyn Fn() -> BoxFuture<'static, Vec<PathBuf>> + Send + Sync>;

/// What the settings let the owner choose from when something is asked.
#[derive(Debug, Clone, Default)]
pub struct Offers {
    /// How many agents work at the same time.
    pub at_once: usize,
    /// Lists of hosts that a job may be let reach, by their names.
    pub networks: BTreeMap<String, Vec<String>>,
}

/// Serves the page.
pub struct Page {
    keyring: Arc<Keyring>,
    redactor: Arc<Redactor>,
    blobs: Blobs,
    relay: Relay,
    home: PathBuf,
    /// The command that makes a fresh link.
    ask: &'static str,
    projects: Projects,
    offers: Offers,
    tokens: Tokens,
    /// Requests whose bodies are in memory, and those that the owner's disk keeps busy.
    places: body::Places,
    folders: Semaphore,
    demo: demo::Demo,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").finish_non_exhaustive()
    }
}

impl Page {
    /// The page of a home.
    #[must_use]
    pub fn new(
        keyring: Arc<Keyring>,
        redactor: Arc<Redactor>,
        blobs: Blobs,
        relay: Relay,
        home: PathBuf,
        ask: &'static str,
        projects: Projects,
    ) -> Self {
        Self {
            tokens: Tokens::new(&keyring),
            keyring,
            redactor,
            blobs,
            relay,
            home,
            ask,
            projects,
            offers: Offers::default(),
            places: body::Places::default(),
            folders: Semaphore::new(folders::AT_ONCE),
            demo: demo::Demo::default(),
        }
    }

    /// With what the settings offer.
    #[must_use]
    pub fn offering(mut self, offers: Offers) -> Self {
        self.offers = offers;
        self
    }

    /// A link to the page that lets in whoever follows it first. It is a secret until then.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn first_link(&self, address: SocketAddr) -> Result<String, getrandom::Error> {
        let code = self.tokens.code(FIRST_LINK, true)?;
        Ok(link(&address.to_string(), &code))
    }
}

/// The code is in the fragment, which browsers send to nobody.
fn link(host: &str, code: &str) -> String {
    format!("http://{host}/#t={code}")
}

impl Front for Page {
    fn answer<'a>(
        &'a self,
        request: Request<Incoming>,
        sender: Sender,
    ) -> BoxFuture<'a, HttpReply> {
        Box::pin(async move {
            let host = sender.host.clone();
            let mut reply = if request.uri().path().starts_with("/api/") {
                api::answer(self, request, &sender)
                    .await
                    .unwrap_or_else(reply::Refusal::json)
            } else {
                assets::answer(&request, &sender).unwrap_or_else(reply::Refusal::plain)
            };
            reply::guard(&mut reply, &host);
            reply
        })
    }
}
