//! Sharing single things because their owner asks, and asking for them back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use nostr::{Event, EventId, Filter, FromBech32 as _, JsonUtil as _, Keys, PublicKey, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Door, Error, Link,
    address::{NamedBy, RelayUrl},
    facts::Seen,
    leaving::Leaving,
    policy::{Stays, is_kept_by_rule, may_leave},
};
use crate::{
    nips::{Draft, kind, nip01},
    store::{
        Stored,
        state::sync::{Entry, Marked},
    },
};

/// The fewest digits of an event's id that name it.
pub const LEAST_DIGITS: usize = 8;
/// Of events whose ids begin alike so many are named.
const SEVERAL: usize = 8;

/// What became of a wish to share or to take back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Whether `sync.toml` names a stream.
    pub on: bool,
    /// Whether this treefort makes connections now.
    pub running: bool,
    /// Whether there is such a thing.
    pub found: bool,
    /// Whether `sync.toml` says something else than when this treefort started.
    #[serde(default)]
    pub changed: bool,
    /// The events that it could be, when there are several; then nothing happens.
    #[serde(default)]
    pub several: Vec<EventId>,
    /// Relays that got something of it and cannot be asked for it, since `sync.toml` does not name them.
    #[serde(default)]
    pub unnamed: Vec<String>,
    /// The relays that it goes to, or was asked back from.
    pub relays: Vec<String>,
    /// What goes, or was asked back.
    pub goes: Vec<Leaving>,
    /// What stays, and why; or had not left.
    pub stays: Vec<(Leaving, String)>,
    /// How many were shared before.
    pub before: u64,
    /// How many of those that go were taken back before: relays may go by the request to delete them.
    #[serde(default)]
    pub again: u64,
    /// How many of those that go a rule of `sync.toml` for their folder or session keeps here otherwise.
    #[serde(default)]
    pub kept: u64,
    /// The highest number on the record of what was looked at.
    #[serde(default)]
    pub until: u64,
}

impl Door {
    /// Shares an event, or all that is on record of a session, whatever the policy says of its kinds. With `only_look`
    /// nothing is changed; what came after `until` is passed over; with `whole`, all of each event is shown.
    ///
    /// # Errors
    /// When the record or the state cannot be used.
    pub async fn publish(
        &self,
        what: &str,
        only_look: bool,
        until: Option<u64>,
        whole: bool,
    ) -> Result<Shared, Error> {
        let hub = &self.hub;
        let mut shared = self.begin();
        let now = Timestamp::now().as_secs();
        let mut seen = Seen::default();
        let up = self.up();
        shared.relays = up.iter().map(|link| link.url.to_string()).collect();
        let mut going: BTreeMap<usize, Vec<(u64, Entry)>> = BTreeMap::new();
        // Those that were taken back.
        let mut anew: BTreeSet<EventId> = BTreeSet::new();
        let found = self.find(what, &mut shared).await?;
        for event in found.events {
            let Some(stored) = hub.around.relay.stored(event.id).await? else {
                continue;
            };
            if until.is_some_and(|until| stored.seq > until) {
                continue;
            }
            shared.until = shared.until.max(stored.seq);
            let mut facts = hub.around.facts(&event, &mut seen).await?;
            // He changed his mind.
            let again = std::mem::take(&mut facts.back);
            let project = facts.folders.first().cloned();
            if (hub.scanner)(&event) {
                let why = Stays::Secret.to_string();
                shared.stays.push((Leaving::secret(&event, project), why));
                continue;
            }
            let one = Leaving::of(&event, project, whole);
            let (mut goes, mut stays, mut before) = (false, None, false);
            for (at, link) in up.iter().enumerate() {
                if let Err(why) = may_leave(&event, &facts, hub.sight(&link.url, now), true) {
                    stays = Some(why.to_string());
                    continue;
                }
                let row = hub.around.state.sync_entry(link.id, stored.seq)?;
                if !again && row.as_ref().is_some_and(Entry::is_there) {
                    before = true;
                    continue;
                }
                goes = true;
                let entry = Entry::waiting(&event, true, now);
                going.entry(at).or_default().push((stored.seq, entry));
            }
            match stays {
                _ if goes => {
                    if again {
                        anew.insert(event.id);
                    }
                    let policy = &hub.config.policy;
                    shared.kept += u64::from(is_kept_by_rule(&event, &facts, policy));
                    shared.goes.push(one);
                }
                Some(why) => shared.stays.push((one, why)),
                None if before => shared.before += 1,
                None => {}
            }
        }
        shared.again = anew.len() as u64;
        if only_look || going.is_empty() {
            return Ok(shared);
        }
        let ids = going.values().flatten().map(|(_, entry)| entry.id);
        let ids: BTreeSet<EventId> = ids.collect();
        let marks = ids.iter().copied().map(Marked::Event);
        let marks: Vec<Marked> = marks.chain(found.session.map(Marked::Session)).collect();
        hub.around.state.sync_set_back(&marks, false)?;
        for (at, rows) in going {
            let link = &up[at];
            self.spare(link, &ids, now).await?;
            hub.around.state.sync_change(link.id, rows, |row, now| {
                // It may have left meanwhile.
                let has = now.is_some_and(|now| now.is_there());
                (!has || anew.contains(&row.id)).then_some(row)
            })?;
            link.wake.notify_one();
        }
        Ok(shared)
    }

    /// Requests to delete that have not left no longer name what is shared again: they would leave after it.
    async fn spare(&self, link: &Link, shared: &BTreeSet<EventId>, now: u64) -> Result<(), Error> {
        let around = &self.hub.around;
        for (seq, row) in around.state.sync_own_waiting(link.id)? {
            let request = row.own.as_deref().map(Event::from_json);
            let Some(Ok(request)) = request else { continue };
            let named: Vec<EventId> = request.tags.event_ids().copied().collect();
            if !named.iter().any(|id| shared.contains(id)) {
                continue;
            }
            let mut left = Vec::new();
            for id in named.iter().filter(|id| !shared.contains(id)) {
                left.extend(around.relay.get(*id).await?);
            }
            let keys = self.keys(&request.pubkey)?;
            let id = row.id;
            let spared = match keys.filter(|_| !left.is_empty()) {
                Some(keys) => request_for(&left, &keys, now)?,
                None => row.held("you shared it again".to_owned(), now),
            };
            around
                .state
                .sync_change(link.id, [(seq, spared)], |spared, now| {
                    let waits = now.is_some_and(|now| now.id == id && now.waits());
                    waits.then_some(spared)
                })?;
        }
        Ok(())
    }

    /// Asks every relay that an event, or something of a session, left for to delete it (NIP-09). What waits does not
    /// leave. With `only_look` nothing is changed; what came after `until` is passed over; with `whole`, all of each event
    /// is shown.
    ///
    /// # Errors
    /// When the record or the state cannot be used.
    pub async fn unpublish(
        &self,
        what: &str,
        only_look: bool,
        until: Option<u64>,
        whole: bool,
    ) -> Result<Shared, Error> {
        let hub = &self.hub;
        let mut shared = self.begin();
        let now = Timestamp::now().as_secs();
        // One request for all of an author's at a relay.
        let mut asked: BTreeMap<(usize, PublicKey), Vec<Event>> = BTreeMap::new();
        let links = self.ever()?;
        let asks: Vec<bool> = links.iter().map(|link| self.is_asked(link)).collect();
        let found = self.find(what, &mut shared).await?;
        let mut marks: Vec<Marked> = found.session.map(Marked::Session).into_iter().collect();
        let mut here = Vec::with_capacity(found.events.len());
        for event in found.events {
            let Some(stored) = hub.around.relay.stored(event.id).await? else {
                continue;
            };
            if until.is_some_and(|until| stored.seq > until) {
                continue;
            }
            shared.until = shared.until.max(stored.seq);
            marks.push(Marked::Event(event.id));
            here.push(stored);
        }
        if !only_look {
            // Before its rows are looked at: nothing leaves after this that has none by now.
            hub.around.state.sync_set_back(&marks, true)?;
        }
        let taken_back = Stays::TakenBack.to_string();
        for Stored { seq, event } in here {
            let (mut left, mut stays) = (false, None);
            for (at, link) in links.iter().enumerate() {
                let Some(row) = self.row(link, seq, only_look)? else {
                    continue;
                };
                // One that waits may be on its way at this moment, or may have arrived before a crash: it is asked
                // back too.
                let is_there = row.is_there();
                // Whoever sends may have seen the mark first, and kept here what may have arrived.
                let just = row.at >= now && row.is_held_for(&taken_back);
                if is_there && !asks[at] {
                    let url = link.url.to_string();
                    if !shared.unnamed.contains(&url) {
                        shared.unnamed.push(url);
                    }
                    stays = Some("only relays have it that sync.toml does not name");
                } else if asks[at] && (is_there || row.waits() || just) {
                    left = true;
                    asked
                        .entry((at, event.pubkey))
                        .or_default()
                        .push(event.clone());
                } else {
                    stays = stays.or(Some("it had not left"));
                }
            }
            if hub.around.state.sync_unplaced()?.contains_key(&seq) {
                stays = Some("it had not left");
                if !only_look {
                    hub.around.state.sync_forget_unplaced(seq)?;
                }
            }
            let one = Leaving::of(&event, None, whole);
            match left {
                true => shared.goes.push(one),
                false => {
                    let why = stays.unwrap_or("it was never shared");
                    shared.stays.push((one, why.to_owned()));
                }
            }
        }
        for ((at, author), events) in asked {
            let link = &links[at];
            let url = link.url.to_string();
            if !shared.relays.contains(&url) {
                shared.relays.push(url);
            }
            if only_look {
                continue;
            }
            let Some(keys) = self.keys(&author)? else {
                continue;
            };
            let request = request_for(&events, &keys, now)?;
            hub.around.state.sync_add_own(link.id, &request)?;
            hub.meet(&link.url).wake.notify_one();
        }
        Ok(shared)
    }

    /// A row as it is; one that waits does so no longer after this, unless somebody only looks.
    fn row(&self, link: &Link, seq: u64, only_look: bool) -> Result<Option<Entry>, Error> {
        let state = &self.hub.around.state;
        if only_look {
            return Ok(state.sync_entry(link.id, seq)?);
        }
        let mut row = None;
        let at = Timestamp::now().as_secs();
        state.sync_change(link.id, [(seq, ())], |(), now| {
            row.clone_from(&now);
            let waits = now.filter(Entry::waits);
            waits.map(|waits| waits.held(Stays::TakenBack.to_string(), at))
        })?;
        Ok(row)
    }

    fn begin(&self) -> Shared {
        Shared {
            on: !self.hub.config.is_off(),
            running: self.hub.config.connect,
            changed: self.hub.config.is_changed(),
            ..Shared::default()
        }
    }

    /// The relays that the owner's streams go to.
    fn up(&self) -> Vec<Arc<Link>> {
        let mut links = self.hub.links();
        links.retain(|link| self.hub.goes_up(&link.url));
        links
    }

    /// All relays, those too that others named and that lost their places, and those that `sync.toml` named before.
    fn ever(&self) -> Result<Vec<Arc<Link>>, Error> {
        let mut links = self.hub.links();
        for known in self.hub.around.state.sync_named()? {
            if let Ok(url) = RelayUrl::parse_of_others(&known.url)
                && !links.iter().any(|link| link.url == url)
            {
                links.push(Link::new(url, NamedBy::Other));
            }
        }
        links.extend(self.before(&links)?);
        Ok(links)
    }

    /// Whether a relay can be asked for anything: nobody else than those whom `sync.toml` lets in is connected to.
    fn is_asked(&self, link: &Link) -> bool {
        let config = &self.hub.config;
        !config.is_off() && (link.by == NamedBy::Other || config.names(&link.url))
    }

    /// The keys that an event can be taken back with.
    fn keys(&self, author: &PublicKey) -> Result<Option<Keys>, Error> {
        let keyring = &self.hub.around.keyring;
        for keys in [keyring.operator(), keyring.coordinator(), keyring.relay()] {
            if keys.public_key() == *author {
                return Ok(Some(keys.clone()));
            }
        }
        Ok(keyring.session(author)?)
    }

    /// What somebody names: an event, by its id or how that begins, or all that a session signed, the oldest first.
    async fn find(&self, what: &str, shared: &mut Shared) -> Result<Found, Error> {
        let relay = &self.hub.around.relay;
        let id = EventId::from_hex(what).or_else(|_| EventId::from_bech32(what));
        let mut events = Vec::new();
        if let Ok(id) = id
            && let Some(event) = relay.get(id).await?
        {
            events.push(event);
        } else if let Ok(key) = PublicKey::parse(what) {
            if self.hub.around.state.is_session(&key)? {
                events = relay.query(Filter::new().author(key)).await?;
                events.sort_by_key(|event| (event.created_at, event.id));
                shared.found = !events.is_empty();
                return Ok(Found {
                    events,
                    session: Some(key),
                });
            }
        } else {
            events = self.begin_with(what).await?;
        }
        shared.found = !events.is_empty();
        if id.is_err() && events.len() > 1 {
            shared.several = events.iter().map(|event| event.id).collect();
            events.clear();
        }
        Ok(Found {
            events,
            session: None,
        })
    }

    /// The first few events whose ids begin with these digits.
    async fn begin_with(&self, digits: &str) -> Result<Vec<Event>, Error> {
        let mut found: Vec<Event> = Vec::new();
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if digits.len() < LEAST_DIGITS || !is_hex {
            return Ok(found);
        }
        let digits = digits.to_ascii_lowercase();
        let mut feed = self.hub.around.relay.feed(0);
        while found.len() < SEVERAL
            && let Some(batch) = feed.next_now().await?
        {
            let alike = |event: &Event| event.id.to_hex().starts_with(&digits);
            for stored in batch.into_iter().filter(|stored| alike(&stored.event)) {
                // What was deleted or replaced may be passed by on the way.
                if let Some(event) = self.hub.around.relay.get(stored.event.id).await? {
                    found.push(event);
                }
            }
        }
        found.truncate(SEVERAL);
        Ok(found)
    }
}

/// What somebody named.
#[derive(Default)]
struct Found {
    events: Vec<Event>,
    /// The session, when all of it was named.
    session: Option<PublicKey>,
}

/// The row of a request to delete events of one author.
fn request_for(events: &[Event], keys: &Keys, now: u64) -> Result<Entry, Error> {
    let request = deletion(events).sign(keys, now)?;
    let mut entry = Entry::waiting(&request, true, now);
    entry.own = Some(request.as_json());
    Ok(entry)
}

/// A request to delete events of one author.
fn deletion(events: &[Event]) -> Draft {
    let mut draft = Draft::new(kind::DELETION);
    let mut kinds = BTreeSet::new();
    for event in events {
        draft = draft.tag(["e", &event.id.to_hex()]);
        kinds.insert(event.kind.as_u16());
        if event.kind.is_addressable() {
            let name = nip01::identifier(event).unwrap_or_default();
            let address = format!("{}:{}:{name}", event.kind.as_u16(), event.pubkey.to_hex());
            draft = draft.tag(["a", &address]);
        }
    }
    draft.tags(
        kinds
            .into_iter()
            .map(|kind| vec!["k".to_owned(), kind.to_string()]),
    )
}
