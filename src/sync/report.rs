//! What would leave, and what has: for the owner to read. Neither connects to anybody.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use nostr::{Event, EventId, PublicKey, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Door, Error, Hub, Link,
    address::{NamedBy, RelayUrl},
    config::Direction,
    facts::Seen,
    leaving::Leaving,
    policy::{Facts, Stays, could_leave, may_leave},
};
use crate::store::state::sync::{Entry, NamedRelay, Naming, RelayId, Sending, Tally};

/// Of what did not go well, and of what left, so much is listed for each relay.
const LISTED: usize = 50;
const LEFT: usize = 200;

/// What has left, and how it stands with each relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether `sync.toml` names a stream.
    pub on: bool,
    /// Whether this treefort makes connections: only one that stays does.
    pub running: bool,
    /// Whether `sync.toml` says something else than when this treefort started.
    #[serde(default)]
    pub changed: bool,
    /// The relays, in the order of `sync.toml`; then those that others named, and those that got something when
    /// `sync.toml` named them.
    pub relays: Vec<RelayStatus>,
    /// Folders that rules of `sync.toml` name, and that are not there.
    #[serde(default)]
    pub missing_folders: Vec<String>,
    /// What finds no place at a relay that somebody named, and is tried again when one becomes free.
    #[serde(default)]
    pub unplaced: u64,
    /// What found none and is not tried again, because too much does, since treefort runs.
    #[serde(default)]
    pub left_out: u64,
}

/// How it stands with one relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Its address.
    pub url: String,
    /// The streams that name it, each with `up`, `down` or `both`.
    pub streams: Vec<(String, String)>,
    /// Who named it, when it is not in `sync.toml`, the newest last.
    #[serde(default)]
    pub named: Vec<Named>,
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
    /// What it got or had, the newest first, of what `tally` counts the last few.
    #[serde(default)]
    pub left: Vec<Left>,
}

/// One event that a relay has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The event.
    pub id: EventId,
    /// Its kind.
    pub kind: u16,
    /// `sent`, or `there`: the relay had it before.
    pub is: String,
    /// When the relay said so, in Unix seconds.
    pub at: u64,
}

/// Somebody's word that answers go to a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The job, or the list of relays (NIP-65).
    pub event: EventId,
    /// Whose it is.
    pub key: PublicKey,
}

impl From<&Naming> for Named {
    fn from(naming: &Naming) -> Self {
        Self {
            event: naming.event,
            key: naming.key,
        }
    }
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
    /// Whether `sync.toml` says something else than when this treefort started.
    #[serde(default)]
    pub changed: bool,
    /// For each relay to which something may leave.
    pub relays: Vec<RelayPreview>,
}

/// What would leave now for one relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayPreview {
    /// Its address.
    pub url: String,
    /// Who named it, when it is not in `sync.toml`, the newest last.
    #[serde(default)]
    pub named: Vec<Named>,
    /// The events, in the order in which they would leave.
    pub leaves: Vec<Leaving>,
    /// What seems to hold a secret, and therefore stays.
    pub secrets: Vec<Leaving>,
    /// How many others stay, by the reason.
    pub stays: BTreeMap<String, u64>,
    /// How many of what is on the record were dealt with before.
    pub settled: u64,
    /// How many events are in which state, as in [`RelayStatus`].
    #[serde(default)]
    pub tally: Tally,
}

impl Door {
    /// What has left, and how it stands with each relay.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn status(&self) -> Result<Status, Error> {
        let hub = &self.hub;
        let named = hub.around.state.sync_named()?;
        let mut links = hub.links();
        for relay in named.iter().filter(|relay| !relay.open) {
            // It lost its place; what it got is shown all the same.
            if let Ok(url) = RelayUrl::parse_of_others(&relay.url)
                && !links.iter().any(|link| link.url == url)
            {
                links.push(Link::new(url, NamedBy::Other));
            }
        }
        links.extend(self.before(&links)?);
        let relays = links
            .iter()
            .map(|link| self.relay_status(link, &named))
            .collect::<Result<_, _>>()?;
        Ok(Status {
            on: !hub.config.is_off(),
            running: hub.config.connect,
            changed: hub.config.is_changed(),
            relays,
            missing_folders: hub.config.missing_folders().map(str::to_owned).collect(),
            unplaced: hub.around.state.sync_unplaced()?.len() as u64,
            left_out: hub.left_out.load(std::sync::atomic::Ordering::Relaxed),
        })
    }

    fn relay_status(&self, link: &Link, named: &[NamedRelay]) -> Result<RelayStatus, Error> {
        let state = &self.hub.around.state;
        let said = link.said();
        let remembered = state.sync_remembered(link.id)?;
        let mut troubles: Vec<(u64, Trouble)> = Vec::new();
        let mut gone: Vec<Left> = Vec::new();
        state.sync_each(link.id, |_, entry| {
            if let Some(trouble) = trouble(&entry) {
                troubles.push((entry.at, trouble));
            }
            gone.extend(left(&entry));
        })?;
        gone.reverse();
        gone.sort_by_key(|one| std::cmp::Reverse(one.at));
        gone.truncate(LEFT);
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
            named: who_named(named, &link.url),
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
            left: gone,
        })
    }

    /// The relays that got something when `sync.toml` named them, and that none of these is.
    pub(super) fn before(&self, known: &[Arc<Link>]) -> Result<Vec<Arc<Link>>, Error> {
        let state = &self.hub.around.state;
        let mut links = Vec::new();
        for url in state.sync_ever()? {
            let Ok(url) = RelayUrl::parse(&url) else {
                continue;
            };
            if !known.iter().any(|link| link.url == url)
                && state.sync_tally(RelayId::of(url.as_str()))? != Tally::default()
            {
                links.push(Link::new(url, NamedBy::Owner));
            }
        }
        Ok(links)
    }

    /// What would leave now: all that waits, and all on the log that may and has not; with `whole`, all of each.
    ///
    /// # Errors
    /// When the log or the state cannot be read.
    pub async fn preview(&self, whole: bool) -> Result<Preview, Error> {
        let hub = &self.hub;
        let mut looking = Looking::new(hub, whole)?;
        let mut feed = hub.around.relay.feed(0);
        let mut seen = Seen::default();
        while !hub.config.is_off()
            && let Some(batch) = feed.next_now().await?
        {
            for stored in batch {
                looking.look(stored.seq, &stored.event, &mut seen).await?;
            }
        }
        Ok(Preview {
            on: !hub.config.is_off(),
            changed: hub.config.is_changed(),
            relays: looking.end()?,
        })
    }
}

/// One look through the log, for all relays.
struct Looking<'a> {
    hub: &'a Hub,
    /// Whether events are shown whole.
    whole: bool,
    now: u64,
    relays: Vec<(RelayUrl, RelayPreview)>,
    /// How many of them the owner's streams go to; others named those after them.
    own: usize,
    known: HashMap<String, NamedRelay>,
}

impl<'a> Looking<'a> {
    fn new(hub: &'a Hub, whole: bool) -> Result<Self, Error> {
        let up = hub
            .links()
            .into_iter()
            .filter(|link| hub.goes_up(&link.url));
        let relays: Vec<(RelayUrl, RelayPreview)> = up
            .map(|link| (link.url.clone(), RelayPreview::of(&link.url)))
            .collect();
        let known = hub.around.state.sync_named()?.into_iter();
        Ok(Self {
            hub,
            whole,
            now: Timestamp::now().as_secs(),
            own: relays.len(),
            relays,
            known: known.map(|relay| (relay.url.clone(), relay)).collect(),
        })
    }

    async fn look(&mut self, seq: u64, event: &Event, seen: &mut Seen) -> Result<(), Error> {
        let hub = self.hub;
        let could = could_leave(&hub.config, event.kind.as_u16());
        let mut facts = None;
        for at in 0..self.own {
            let (url, preview) = &mut self.relays[at];
            let row = hub
                .around
                .state
                .sync_entry(RelayId::of(url.as_str()), seq)?;
            let asked = row.as_ref().is_some_and(|row| row.asked);
            if is_settled(row.as_ref()) {
                preview.settled += 1;
                continue;
            }
            if !asked && !could {
                preview.count(Stays::Kind);
                continue;
            }
            let facts = match &facts {
                Some(known) => known,
                None => facts.insert(hub.around.facts(event, seen).await?),
            };
            preview.add(
                hub,
                event,
                facts,
                self.whole,
                may_leave(event, facts, hub.sight(url, self.now), asked),
            );
        }
        if !could || !hub.config.named.is_on() {
            return Ok(());
        }
        let facts = match facts {
            Some(known) => known,
            None => hub.around.facts(event, seen).await?,
        };
        let whole = self.whole;
        for (url, naming) in &facts.named {
            let may = may_leave(event, &facts, hub.sight(url, self.now), false);
            let row = hub
                .around
                .state
                .sync_entry(RelayId::of(url.as_str()), seq)?;
            let settled = is_settled(row.as_ref());
            // What was named long ago and never sent to is none of today's relays.
            if hub.goes_up(url) || (may.is_err() && !settled) {
                continue;
            }
            let preview = self.of_others(url, naming);
            match settled {
                true => preview.settled += 1,
                false => preview.add(hub, event, &facts, whole, may),
            }
        }
        Ok(())
    }

    /// The preview of a relay that others named.
    fn of_others(&mut self, url: &RelayUrl, naming: &Naming) -> &mut RelayPreview {
        let at = self.relays.iter().position(|(known, _)| known == url);
        let at = at.unwrap_or_else(|| {
            let mut preview = RelayPreview::of(url);
            if let Some(known) = self.known.get(url.as_str()) {
                preview.named = known.by.iter().map(Named::from).collect();
            }
            self.relays.push((url.clone(), preview));
            self.relays.len() - 1
        });
        let preview = &mut self.relays[at].1;
        if !preview
            .named
            .iter()
            .any(|known| known.event == naming.event)
        {
            preview.named.push(Named::from(naming));
        }
        preview
    }

    /// What relays do not take does not leave; requests to delete come last.
    fn end(mut self) -> Result<Vec<RelayPreview>, Error> {
        let state = &self.hub.around.state;
        for url in self.known.keys() {
            let url = RelayUrl::parse_of_others(url);
            let Ok(url) = url else { continue };
            let listed = self.relays.iter().any(|(known, _)| *known == url);
            if !listed && self.hub.waits(url.as_str()) {
                self.relays.push((url.clone(), RelayPreview::of(&url)));
            }
        }
        for (url, preview) in &mut self.relays {
            let id = RelayId::of(url.as_str());
            let refused = state.sync_remembered(id)?.refused_kinds;
            let before = preview.leaves.len();
            preview
                .leaves
                .retain(|one| !refused.contains_key(&one.kind));
            let refused = before - preview.leaves.len();
            if refused > 0 {
                let why = "the relay takes nothing of this kind".to_owned();
                preview.stays.insert(why, refused as u64);
            }
            state.sync_each(id, |_, entry| {
                if let (true, Some(json)) = (entry.waits(), &entry.own) {
                    let (id, kind, at) = (entry.id, entry.kind, entry.created_at);
                    let request = Leaving::request(id, kind, at, json, self.whole);
                    preview.leaves.push(request);
                }
            })?;
            preview.tally = state.sync_tally(id)?;
        }
        Ok(self
            .relays
            .into_iter()
            .map(|(_, preview)| preview)
            .collect())
    }
}

impl RelayPreview {
    fn of(url: &RelayUrl) -> Self {
        Self {
            url: url.to_string(),
            ..Self::default()
        }
    }

    fn count(&mut self, stays: Stays) {
        *self.stays.entry(stays.to_string()).or_default() += 1;
    }

    fn add(
        &mut self,
        hub: &Hub,
        event: &Event,
        facts: &Facts,
        whole: bool,
        may: Result<(), Stays>,
    ) {
        if let Err(stays) = may {
            return self.count(stays);
        }
        let project = facts.folders.first().cloned();
        match (hub.scanner)(event) {
            true => self.secrets.push(Leaving::secret(event, project)),
            false => self.leaves.push(Leaving::of(event, project, whole)),
        }
    }
}

/// Whether a row was dealt with. What was kept here may leave under other settings.
fn is_settled(row: Option<&Entry>) -> bool {
    row.is_some_and(|row| !row.waits() && !matches!(row.state, Sending::Held { .. }))
}

fn who_named(named: &[NamedRelay], url: &RelayUrl) -> Vec<Named> {
    let known = named.iter().find(|relay| relay.url == url.as_str());
    known.map_or_else(Vec::new, |relay| relay.by.iter().map(Named::from).collect())
}

fn left(entry: &Entry) -> Option<Left> {
    let is = match entry.state {
        Sending::Sent => "sent",
        Sending::There => "there",
        _ => return None,
    };
    Some(Left {
        id: entry.id,
        kind: entry.kind,
        is: is.to_owned(),
        at: entry.at,
    })
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
