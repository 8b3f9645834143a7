//! From the log to rows for relays that others name, and the tasks of their connections.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use nostr::{Alphabet, Filter, PublicKey, SingleLetterTag, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::{
    places::{Placed, Places},
    unplaced,
};
use crate::{
    nips::kind,
    store::{
        Stored,
        state::sync::{Cursor, Entry, NamedRelay, Naming, RelayId, Unplaced},
    },
    sync::{
        Error, Hub, Link,
        address::{NamedBy, RelayUrl},
        down::{JOBS, SAID},
        facts::Seen,
        link,
        policy::{could_leave, may_leave},
        scan,
        wire::Dialler,
    },
};

/// Events to somebody that are looked at when it becomes known where they read.
const EARLIER: usize = 100;

/// Follows the log until the program stops, and keeps a connection to every relay for which something waits.
pub(in crate::sync) async fn run(hub: Arc<Hub>, dialler: Dialler) {
    let mut tasks = JoinSet::new();
    let ended = tokio::select! {
        () = hub.stop.cancelled() => Ok(()),
        ended = follow(&hub, &dialler, &mut tasks) => ended,
    };
    if let Err(error) = ended {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "nothing more is lined up for relays that others name"
        );
    }
    while tasks.join_next().await.is_some() {}
}

async fn follow(hub: &Arc<Hub>, dialler: &Dialler, tasks: &mut JoinSet<()>) -> Result<(), Error> {
    let state = &hub.around.state;
    let config = &hub.config.named;
    let settings = hex::encode(Sha256::digest(format!("{:?}", hub.config)));
    let from = match state.sync_cursor(RelayId::of_others())? {
        Some(cursor) if cursor.settings == settings => cursor.seq,
        _ => 0,
    };
    let mut places = Places::new(state.sync_named()?);
    let mut feed = hub.around.relay.feed(from);
    let mut running = HashSet::new();
    hub.freed.notify_one();
    loop {
        start(hub, dialler, tasks, &mut running);
        let batch = tokio::select! {
            batch = feed.next(), if config.is_on() => batch?,
            () = hub.others.notified() => continue,
            () = hub.freed.notified(), if config.is_on() => {
                let lining = unplaced::again(hub, &mut places).await?;
                let cursor = Cursor::new("", feed.cursor(), &settings);
                lining.store(hub, &places, &cursor, &mut running)?;
                continue;
            }
        };
        let mut lining = Lining::default();
        let mut spoke = false;
        let now = Timestamp::now().as_secs();
        let mut seen = Seen::default();
        for stored in batch {
            if config.readers && stored.event.kind.as_u16() == kind::RELAY_LIST {
                // What was said before it was known where they read.
                for earlier in said_to(hub, &stored.event.pubkey, now).await? {
                    lining
                        .look(hub, &mut places, &earlier, Look::Earlier, now, &mut seen)
                        .await?;
                }
            }
            lining
                .look(hub, &mut places, &stored, Look::New, now, &mut seen)
                .await?;
            spoke |= config.readers
                && may_speak(&stored)
                && !hub.around.is_ours(&stored.event.pubkey)?;
        }
        lining.store(
            hub,
            &places,
            &Cursor::new("", feed.cursor(), &settings),
            &mut running,
        )?;
        if spoke {
            // Where they read is asked for at every relay, wherever they spoke.
            hub.listen_again();
        }
    }
}

/// What was said to somebody lately, the newest of it.
async fn said_to(hub: &Hub, key: &PublicKey, now: u64) -> Result<Vec<Stored>, Error> {
    let since = now.saturating_sub(hub.config.named.keep_s());
    let filter = Filter::new()
        .custom_tag(SingleLetterTag::lowercase(Alphabet::P), key.to_hex())
        .since(Timestamp::from(since))
        .limit(EARLIER);
    let relay = &hub.around.relay;
    let mut found = Vec::new();
    for event in relay.query(filter).await? {
        found.extend(relay.stored(event.id).await?);
    }
    Ok(found)
}

/// Why an event is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    /// It is new on the log.
    New,
    /// It found no place before: rows that there are were made then, and became what they are.
    Again,
    /// It is older than what made it known where it goes: who looked through the log for a stream will not look again.
    Earlier,
}

/// What one look through a part of the log comes to.
#[derive(Default)]
pub(super) struct Lining {
    rows: Vec<(RelayUrl, u64, Entry)>,
    /// What found no place, and what wants none any more.
    pub(super) unplaced: BTreeMap<u64, Option<Unplaced>>,
    touched: HashSet<String>,
    lost: Vec<String>,
}

impl Lining {
    /// Lines an event up for all relays that somebody named for it.
    pub(super) async fn look(
        &mut self,
        hub: &Hub,
        places: &mut Places,
        stored: &Stored,
        look: Look,
        now: u64,
        seen: &mut Seen,
    ) -> Result<(), Error> {
        let event = &stored.event;
        if !could_leave(&hub.config, event.kind.as_u16()) {
            return Ok(());
        }
        let facts = scan::facts(hub, event, seen).await?;
        for (url, naming) in &facts.named {
            // Those that have a stream that goes up are looked at with it, each event once.
            let may = may_leave(event, &facts, hub.sight(url, now), false).is_ok();
            let has_stream = hub.goes_up(url);
            let (by_stream, again) = match look {
                Look::New => (has_stream, false),
                Look::Again => (has_stream, true),
                Look::Earlier => (false, has_stream),
            };
            if !may || by_stream || again && is_known(hub, url, stored.seq)? {
                continue;
            }
            if self.place(hub, places, url, *naming) {
                let entry = Entry::waiting(event, false, now);
                self.rows.push((url.clone(), stored.seq, entry));
            } else {
                let wants = Unplaced::new(event.id, naming.key);
                self.unplaced.insert(stored.seq, Some(wants));
            }
        }
        Ok(())
    }

    /// Whether a relay has a place, or gets one now.
    fn place(&mut self, hub: &Hub, places: &mut Places, url: &RelayUrl, naming: Naming) -> bool {
        if hub.config.names(url) {
            return true;
        }
        let waits = |url: &str| self.waits(url) || hub.waits(url);
        match places.name(url, naming, &hub.config.named, waits) {
            Placed::Full => {
                tracing::debug!(relay = %url, by = %naming.event, "there is no place for a relay that somebody names");
                return false;
            }
            Placed::Had(new) => self.touch(new.then_some(url.as_str())),
            Placed::Now(lost) => {
                tracing::info!(relay = %url, by = %naming.event, key = %naming.key, "somebody names a relay");
                self.touch(lost.as_deref());
                self.touch(Some(url.as_str()));
                self.lost.extend(lost);
            }
        }
        true
    }

    fn touch(&mut self, url: Option<&str>) {
        self.touched.extend(url.map(str::to_owned));
    }

    fn waits(&self, url: &str) -> bool {
        self.rows.iter().any(|(of, ..)| of.as_str() == url)
    }

    fn store(
        self,
        hub: &Arc<Hub>,
        places: &Places,
        cursor: &Cursor,
        running: &mut HashSet<RelayId>,
    ) -> Result<(), Error> {
        let touched = self.touched.iter().filter_map(|url| places.get(url));
        let relays: Vec<NamedRelay> = touched.cloned().collect();
        let rows: Vec<(RelayId, u64, Entry)> = (self.rows.iter())
            .map(|(url, seq, entry)| (RelayId::of(url.as_str()), *seq, entry.clone()))
            .collect();
        let state = &hub.around.state;
        let mut unplaced = Vec::new();
        if !self.unplaced.is_empty() {
            let (kept, over) = unplaced::within(&state.sync_unplaced()?, self.unplaced);
            unplaced = kept;
            if over > 0 {
                tracing::warn!(over, "too much finds no place at relays that were named");
                hub.left_out.fetch_add(over, Ordering::Relaxed);
            }
        }
        state.sync_take_named(&relays, &rows, &unplaced, cursor)?;
        for url in self.lost {
            if let Some(link) = hub.forget(&url) {
                running.remove(&link.id);
            }
            // Something may have been lined up for it meanwhile, such as a request to delete.
            if hub.waits(&url)
                && let Ok(url) = RelayUrl::parse_of_others(&url)
            {
                hub.meet(&url).wake.notify_one();
            }
        }
        for (url, ..) in self.rows {
            hub.meet(&url).wake.notify_one();
        }
        Ok(())
    }
}

/// Whether whoever signed an event may be somebody to answer.
fn may_speak(stored: &Stored) -> bool {
    let of = stored.event.kind;
    SAID.contains(&of.as_u16()) || JOBS.contains(&of.as_u16())
}

/// Whether there is a row of an event for a relay.
fn is_known(hub: &Hub, url: &RelayUrl, seq: u64) -> Result<bool, Error> {
    let row = (hub.around.state).sync_entry(RelayId::of(url.as_str()), seq)?;
    Ok(row.is_some())
}

/// Starts what has no task yet.
fn start(
    hub: &Arc<Hub>,
    dialler: &Dialler,
    tasks: &mut JoinSet<()>,
    running: &mut HashSet<RelayId>,
) {
    // Those that are over.
    while tasks.try_join_next().is_some() {}
    let of_others = |link: &Arc<Link>| link.by == NamedBy::Other;
    for link in hub.links().into_iter().filter(of_others) {
        if running.insert(link.id) {
            let span = tracing::info_span!("sync", relay = %link.url);
            let linking = link::run(hub.clone(), link, dialler.clone());
            tasks.spawn(linking.instrument(span));
        }
    }
}
