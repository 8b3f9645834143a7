//! From the log to rows: everything that may leave for a relay gets one.

use std::{sync::Arc, time::Duration};

use nostr::{Event, Timestamp};
use sha2::{Digest as _, Sha256};

use super::{
    Error, Hub, Link,
    facts::Seen,
    policy::{Facts, Privacy, could_leave, may_leave},
};
use crate::store::state::sync::{Cursor, Entry};

/// How often, and how long apart, something new is looked at of which nobody can say yet what it belongs to.
const LOOKS: usize = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);
/// What is older than this, in seconds, has all that it belongs to beside it.
const SETTLED: u64 = 60;

/// Follows the log for a relay until the program stops.
pub(super) async fn run(hub: Arc<Hub>, link: Arc<Link>) {
    let ended = tokio::select! {
        () = hub.stop.cancelled() => return,
        ended = follow(&hub, &link) => ended,
    };
    if let Err(error) = ended {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "nothing more is lined up for a relay"
        );
        link.say(|said| said.problem = Some(error.to_string()));
    }
}

async fn follow(hub: &Hub, link: &Link) -> Result<(), Error> {
    let state = &hub.around.state;
    let settings = settings(hub, link);
    let from = match state.sync_cursor(link.id)? {
        Some(cursor) if cursor.settings == settings => cursor.seq,
        _ => 0,
    };
    let mut feed = hub.around.relay.feed(from);
    loop {
        let batch = feed.next().await?;
        let now = Timestamp::now().as_secs();
        let mut seen = Seen::default();
        let mut rows = Vec::new();
        for stored in batch {
            let event = &stored.event;
            if !could_leave(&hub.config, event.kind.as_u16()) {
                continue;
            }
            let facts = facts(hub, event, &mut seen).await?;
            if may_leave(event, &facts, hub.sight(&link.url, now), false).is_ok() {
                rows.push((stored.seq, Entry::waiting(event, false, now)));
            }
        }
        let cursor = Cursor::new(link.url.as_str(), feed.cursor(), &settings);
        state.sync_take(link.id, &rows, &cursor)?;
        if !rows.is_empty() {
            link.wake.notify_one();
        }
    }
}

/// What is known about an event. A session introduces itself before the job is on the record that says whether it is
/// private: a moment later it is.
pub(super) async fn facts(hub: &Hub, event: &Event, seen: &mut Seen) -> Result<Facts, Error> {
    for _ in 0..LOOKS {
        let facts = hub.around.facts(event, seen).await?;
        let age = Timestamp::now()
            .as_secs()
            .abs_diff(event.created_at.as_secs());
        if facts.privacy != Privacy::Unknown || age > SETTLED {
            return Ok(facts);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        *seen = Seen::default();
    }
    hub.around.facts(event, seen).await
}

/// The hash of all that decides what leaves for a relay.
fn settings(hub: &Hub, link: &Link) -> String {
    let streams: Vec<_> = hub.config.of(&link.url).collect();
    hex::encode(Sha256::digest(format!(
        "{:?}{:?}{streams:?}",
        hub.config.policy, hub.config.named
    )))
}
