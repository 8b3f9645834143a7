//! From the log to rows for relays that others name, and the tasks of their connections.

use std::{collections::HashSet, sync::Arc};

use nostr::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::places::{Placed, Places};
use crate::{
    store::state::sync::{Cursor, Entry, NamedRelay, RelayId},
    sync::{
        Error, Hub, Link,
        address::{NamedBy, RelayUrl},
        facts::Seen,
        link,
        policy::{could_leave, may_leave},
        scan,
        wire::Dialler,
    },
};

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
    loop {
        start(hub, dialler, tasks, &mut running);
        let batch = tokio::select! {
            batch = feed.next(), if config.is_on() => batch?,
            () = hub.others.notified() => continue,
        };
        let mut lining = Lining::default();
        let now = Timestamp::now().as_secs();
        let mut seen = Seen::default();
        for stored in batch {
            let event = &stored.event;
            if !could_leave(&hub.config, event.kind.as_u16()) {
                continue;
            }
            let facts = scan::facts(hub, event, &mut seen).await?;
            for (url, naming) in &facts.named {
                // Those that have a stream that goes up are looked at with it.
                if hub.goes_up(url) || may_leave(event, &facts, hub.sight(url, now), false).is_err()
                {
                    continue;
                }
                if !hub.config.names(url) {
                    let waits = |url: &str| lining.waits(url) || hub.waits(url);
                    match places.name(url, *naming, config, waits) {
                        Placed::Full => {
                            hub.left_out();
                            tracing::info!(relay = %url, job = %naming.event, "there is no place for a relay that somebody names");
                            continue;
                        }
                        Placed::Had(new) => lining.touch(new.then_some(url.as_str())),
                        Placed::Now(lost) => {
                            tracing::info!(relay = %url, by = %naming.event, key = %naming.key, "somebody names a relay");
                            lining.touch(lost.as_deref());
                            lining.touch(Some(url.as_str()));
                            lining.lost.extend(lost);
                        }
                    }
                }
                lining
                    .rows
                    .push((url.clone(), stored.seq, Entry::waiting(event, false, now)));
            }
        }
        lining.store(
            hub,
            &places,
            &Cursor::new("", feed.cursor(), &settings),
            &mut running,
        )?;
    }
}

/// What one look through a part of the log comes to.
#[derive(Default)]
struct Lining {
    rows: Vec<(RelayUrl, u64, Entry)>,
    touched: HashSet<String>,
    lost: Vec<String>,
}

impl Lining {
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
        hub.around.state.sync_take_named(&relays, &rows, cursor)?;
        for url in self.lost {
            if let Some(link) = hub.forget(&url) {
                running.remove(&link.id);
            }
        }
        for (url, ..) in self.rows {
            hub.meet(&url).wake.notify_one();
        }
        Ok(())
    }
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
