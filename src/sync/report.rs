//! What would leave, and what has: for the owner to read. Neither connects to anybody.

use std::collections::BTreeMap;

use nostr::{Event, EventId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Door, Error, Link,
    config::Direction,
    facts::Seen,
    policy::{Stays, could_leave, may_leave},
};
use crate::{
    nips::reference::tag_value,
    store::state::sync::{Entry, Sending, Tally},
};

/// Of what did not go well, so much is listed for each relay.
const LISTED: usize = 50;

/// What has left, and how it stands with each relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether `sync.toml` names a stream.
    pub on: bool,
    /// Whether this treefort makes connections: only one that stays does.
    pub running: bool,
    /// The relays, in the order of `sync.toml`.
    pub relays: Vec<RelayStatus>,
}

/// How it stands with one relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Its address.
    pub url: String,
    /// The streams that name it, each with `up`, `down` or `both`.
    pub streams: Vec<(String, String)>,
    /// Whether there is a connection.
    pub connected: bool,
    /// What went wrong last.
    pub problem: Option<String>,
    /// What it said last to whoever listens.
    pub notice: Option<String>,
    /// When it was last spoken to, in Unix seconds; 0 is never.
    pub spoken_at: u64,
    /// How many events are in which state.
    pub tally: Tally,
    /// Kinds that it does not take, with its words.
    pub refused_kinds: BTreeMap<u16, String>,
    /// What was refused, failed or stays here, the newest first.
    pub troubles: Vec<Trouble>,
}

/// One event that did not leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The event.
    pub id: EventId,
    /// Its kind.
    pub kind: u16,
    /// `refused`, `failed` or `held`.
    pub is: String,
    /// The relay's words, or why it stays.
    pub words: String,
}

/// What would leave now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Whether `sync.toml` names a stream.
    pub on: bool,
    /// For each relay to which something may leave.
    pub relays: Vec<RelayPreview>,
}

/// What would leave now for one relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayPreview {
    /// Its address.
    pub url: String,
    /// The events, in the order in which they would leave.
    pub leaves: Vec<Leaving>,
    /// What seems to hold a secret, and therefore stays.
    pub secrets: Vec<Leaving>,
    /// How many others stay, by the reason.
    pub stays: BTreeMap<String, u64>,
    /// How many were dealt with before.
    pub settled: u64,
}

/// One event that would leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// The event.
    pub id: EventId,
    /// Its kind.
    pub kind: u16,
    /// Its time, in Unix seconds.
    pub created_at: u64,
    /// What it says of itself in a line.
    pub alt: String,
    /// The folder that it is about.
    pub project: Option<String>,
}

impl Leaving {
    pub(super) fn of(event: &Event, project: Option<String>) -> Self {
        Self {
            id: event.id,
            kind: event.kind.as_u16(),
            created_at: event.created_at.as_secs(),
            alt: tag_value(event, "alt").unwrap_or_default().to_owned(),
            project,
        }
    }
}

impl Door {
    /// What has left, and how it stands with each relay.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn status(&self) -> Result<Status, Error> {
        let hub = &self.hub;
        let relays = hub
            .links
            .iter()
            .map(|link| self.relay_status(link))
            .collect::<Result<_, _>>()?;
        Ok(Status {
            on: !hub.config.is_off(),
            running: hub.config.connect,
            relays,
        })
    }

    fn relay_status(&self, link: &Link) -> Result<RelayStatus, Error> {
        let state = &self.hub.around.state;
        let said = link.said();
        let remembered = state.sync_remembered(link.id)?;
        let mut troubles: Vec<(u64, Trouble)> = Vec::new();
        state.sync_each(link.id, |_, entry| {
            if let Some(trouble) = trouble(&entry) {
                troubles.push((entry.at, trouble));
            }
        })?;
        troubles.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let streams = self.hub.config.of(&link.url).map(|stream| {
            let dir = match stream.dir {
                Direction::Up => "up",
                Direction::Down => "down",
                Direction::Both => "both",
            };
            (stream.name.clone(), dir.to_owned())
        });
        Ok(RelayStatus {
            url: link.url.to_string(),
            streams: streams.collect(),
            connected: said.connected,
            problem: said.problem,
            notice: said.notice,
            spoken_at: remembered.spoken_at,
            tally: state.sync_tally(link.id)?,
            refused_kinds: remembered.refused_kinds,
            troubles: troubles
                .into_iter()
                .take(LISTED)
                .map(|(_, trouble)| trouble)
                .collect(),
        })
    }

    /// What would leave now: all that waits, and all on the log that may and has not.
    ///
    /// # Errors
    /// When the log or the state cannot be read.
    pub async fn preview(&self) -> Result<Preview, Error> {
        let hub = &self.hub;
        let up: Vec<&Link> = hub
            .links
            .iter()
            .map(AsRef::as_ref)
            .filter(|link| hub.goes_up(&link.url))
            .collect();
        let mut relays: Vec<RelayPreview> = up
            .iter()
            .map(|link| RelayPreview {
                url: link.url.to_string(),
                ..RelayPreview::default()
            })
            .collect();
        let now = Timestamp::now().as_secs();
        let mut feed = hub.around.relay.feed(0);
        let mut seen = Seen::default();
        while !up.is_empty()
            && let Some(batch) = feed.next_now().await?
        {
            for stored in batch {
                let event = &stored.event;
                let mut facts = None;
                for (link, preview) in up.iter().zip(&mut relays) {
                    let row = hub.around.state.sync_entry(link.id, stored.seq)?;
                    let asked = row.as_ref().is_some_and(|row| row.asked);
                    let settled = row.as_ref().is_some_and(|row| {
                        !row.waits() && !matches!(row.state, Sending::Held { .. })
                    });
                    if settled {
                        preview.settled += 1;
                        continue;
                    }
                    if !asked && !could_leave(&hub.config, event.kind.as_u16()) {
                        count(preview, Stays::Kind);
                        continue;
                    }
                    let facts = match &facts {
                        Some(known) => known,
                        None => facts.insert(hub.around.facts(event, &mut seen).await?),
                    };
                    match may_leave(event, facts, hub.sight(&link.url, now), asked) {
                        Err(stays) => count(preview, stays),
                        Ok(()) => {
                            let one = Leaving::of(event, facts.project.clone());
                            if (hub.scanner)(event) {
                                preview.secrets.push(one);
                            } else {
                                preview.leaves.push(one);
                            }
                        }
                    }
                }
            }
        }
        for (link, preview) in up.iter().zip(&mut relays) {
            let refused = hub.around.state.sync_remembered(link.id)?.refused_kinds;
            let before = preview.leaves.len();
            preview
                .leaves
                .retain(|one| !refused.contains_key(&one.kind));
            let refused = before - preview.leaves.len();
            if refused > 0 {
                let why = "the relay takes nothing of this kind".to_owned();
                preview.stays.insert(why, refused as u64);
            }
            hub.around.state.sync_each(link.id, |_, entry| {
                if entry.own.is_some() && entry.waits() {
                    preview.leaves.push(Leaving {
                        id: entry.id,
                        kind: entry.kind,
                        created_at: entry.created_at,
                        alt: "Asks to delete what was shared".to_owned(),
                        project: None,
                    });
                }
            })?;
        }
        Ok(Preview {
            on: !hub.config.is_off(),
            relays,
        })
    }
}

fn count(preview: &mut RelayPreview, stays: Stays) {
    *preview.stays.entry(stays.to_string()).or_default() += 1;
}

fn trouble(entry: &Entry) -> Option<Trouble> {
    let (is, words) = match &entry.state {
        Sending::Waiting | Sending::Sent | Sending::There => return None,
        Sending::Refused { words } => ("refused", words),
        Sending::Failed { words } => ("failed", words),
        Sending::Held { why } => ("held", why),
    };
    Some(Trouble {
        id: entry.id,
        kind: entry.kind,
        is: is.to_owned(),
        words: words.clone(),
    })
}
