//! Live subscriptions, and who gets an event.
//!
//! Subscriptions are indexed by id, tag, author or kind, so that an event meets only those that can match.
//! A subscription begins at the last committed sequence number: what is stored up to there is its query's, and
//! the fan-out, which may run behind the commits, skips it. One lock orders registrations, the fan-out and the
//! hand-over from stored to live. That is why nothing is missed or sent twice between them, and why who reads
//! after an acknowledgement finds what it wrote.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use nostr::{Event, EventId, Filter, PublicKey, Timestamp};

use super::{client::Client, ephemeral::Ring, rights::Rights, tap::Tap};
use crate::{
    nips::{
        nip01::{self, write},
        nip50,
    },
    store::{EventStore, Record},
};

/// One event to fan out; `seq` is absent for ephemeral ones.
pub(super) struct Item {
    pub(super) seq: Option<u64>,
    pub(super) record: Arc<Record>,
}

pub(super) struct Hub {
    store: Arc<dyn EventStore>,
    state: Mutex<State>,
}

struct State {
    next: u64,
    subscriptions: HashMap<u64, Subscription>,
    names: HashMap<u64, HashMap<String, u64>>,
    index: Index,
    ephemeral: Ring,
    /// Everything up to here was fanned out.
    fanned_out: u64,
}

/// Where the events of a subscription go.
enum Sink {
    /// Into the outbox of a WebSocket.
    Socket(Arc<Client>),
    /// To a stream over HTTP.
    Stream(Arc<Tap>),
}

impl Sink {
    /// Whose subscription it is.
    fn owner(&self) -> u64 {
        match self {
            Self::Socket(client) => client.id,
            Self::Stream(tap) => tap.id,
        }
    }

    fn rights(&self) -> &Rights {
        match self {
            Self::Socket(client) => &client.rights,
            Self::Stream(tap) => &tap.rights,
        }
    }
}

struct Subscription {
    sink: Sink,
    name: String,
    /// `["EVENT","name",`
    prefix: String,
    filters: Vec<Wanted>,
    /// What the filters take.
    bytes: usize,
    /// Stored events up to here are the query's, later ones are live.
    after: u64,
    /// Live events that wait for EOSE; `None` once it was sent, and for streams, which take them themselves.
    waiting: Option<Vec<Arc<Record>>>,
    waiting_bytes: usize,
}

/// A filter, with what it searches for (NIP-50) at hand.
struct Wanted {
    /// Without the search.
    filter: Filter,
    search: Option<nip50::Search>,
}

impl Wanted {
    fn new(mut filter: Filter) -> Self {
        let search = filter.search.take();
        Self {
            search: search.and_then(|text| nip50::Search::parse(&text).ok().flatten()),
            filter,
        }
    }
}

/// The words of an event, read once for all who search, if anybody does.
type EventWords = OnceCell<HashSet<String>>;

/// What a query needs to continue where live events begin.
pub(super) struct Registered {
    /// Identifies the subscription until it is closed or replaced.
    pub(super) slot: u64,
    /// Stored events up to here are the query's, later ones are live.
    pub(super) up_to: u64,
    /// Ephemeral events that came shortly before.
    pub(super) missed: Vec<Arc<Record>>,
}

impl Hub {
    pub(super) fn new(store: Arc<dyn EventStore>, ephemeral: Ring) -> Self {
        let fanned_out = store.last_seq();
        Self {
            store,
            state: Mutex::new(State {
                fanned_out,
                next: 0,
                subscriptions: HashMap::new(),
                names: HashMap::new(),
                index: Index::default(),
                ephemeral,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many subscriptions a client has, and how many bytes their filters take, not counting one name.
    pub(super) fn open(&self, client: &Client, except: &str) -> (usize, usize) {
        let state = self.lock();
        let Some(names) = state.names.get(&client.id) else {
            return (0, 0);
        };
        let others = names.iter().filter(|(name, _)| *name != except);
        others.fold((0, 0), |(count, bytes), (_, slot)| {
            let taken = state.subscriptions.get(slot).map_or(0, |one| one.bytes);
            (count + 1, bytes + taken)
        })
    }

    /// Registers a subscription, in place of one of the same name. Live events wait for [`Hub::live`].
    pub(super) fn register(
        &self,
        client: &Arc<Client>,
        name: &str,
        filters: Vec<Filter>,
    ) -> Registered {
        let mut state = self.lock();
        state.close(client.id, name);
        self.begin(&mut state, Sink::Socket(Arc::clone(client)), name, filters)
    }

    /// Begins to fill a tap, from what is stored now on.
    pub(super) fn tap(&self, tap: &Arc<Tap>, filters: Vec<Filter>) -> Registered {
        self.begin(&mut self.lock(), Sink::Stream(Arc::clone(tap)), "", filters)
    }

    /// How far a tap has everything, if nothing waits in it: what matches up to here was in it.
    pub(super) fn reached(&self, tap: &Tap) -> Option<u64> {
        let state = self.lock();
        tap.is_empty().then_some(state.fanned_out)
    }

    fn begin(&self, state: &mut State, sink: Sink, name: &str, filters: Vec<Filter>) -> Registered {
        let slot = state.next;
        state.next += 1;
        // Read under the lock: what was fanned out before was committed before.
        let after = self.store.last_seq();
        let unix = Timestamp::now().as_secs();
        let owner = sink.owner();
        let waiting = match sink {
            Sink::Socket(_) => Some(Vec::new()),
            Sink::Stream(_) => None,
        };
        let missed = state.ephemeral.missed(&filters, Instant::now(), unix);
        for filter in &filters {
            state.index.insert(slot, filter);
        }
        state.subscriptions.insert(
            slot,
            Subscription {
                sink,
                name: name.to_owned(),
                prefix: write::event_prefix(name),
                bytes: bytes(&filters),
                filters: filters.into_iter().map(Wanted::new).collect(),
                after,
                waiting,
                waiting_bytes: 0,
            },
        );
        state
            .names
            .entry(owner)
            .or_default()
            .insert(name.to_owned(), slot);
        Registered {
            slot,
            up_to: after,
            missed,
        }
    }

    /// Adds stored events of a subscription to what is sent next; false when it was closed or replaced meanwhile.
    pub(super) fn page(&self, slot: u64, rows: &[Bytes]) -> bool {
        let state = self.lock();
        let Some(subscription) = state.subscriptions.get(&slot) else {
            return false;
        };
        let Sink::Socket(client) = &subscription.sink else {
            return false;
        };
        for json in rows {
            client
                .outbox
                .text(&[subscription.prefix.as_bytes(), json, b"]"]);
        }
        true
    }

    /// Sends EOSE and what came in meanwhile; from now on events go out at once.
    pub(super) fn live(&self, slot: u64) {
        let mut state = self.lock();
        if let Some(subscription) = state.subscriptions.get_mut(&slot)
            && let Sink::Socket(client) = &subscription.sink
        {
            let client = Arc::clone(client);
            let outbox = &client.outbox;
            outbox.text(&[write::eose(&subscription.name).as_bytes()]);
            for record in subscription.waiting.take().unwrap_or_default() {
                outbox.text(&[subscription.prefix.as_bytes(), &record.json, b"]"]);
            }
            drop(state);
            client.outbox.flush();
        }
    }

    /// Closes one subscription; whether there was one.
    pub(super) fn close(&self, client: &Client, name: &str) -> bool {
        self.lock().close(client.id, name)
    }

    /// Closes one registration; false when it was closed or replaced before.
    pub(super) fn close_slot(&self, slot: u64) -> bool {
        let mut state = self.lock();
        let Some(subscription) = state.subscriptions.get(&slot) else {
            return false;
        };
        let (owner, name) = (subscription.sink.owner(), subscription.name.clone());
        state.close(owner, &name)
    }

    /// Closes every subscription of a client, or of a stream.
    pub(super) fn leave(&self, owner: u64) {
        let mut state = self.lock();
        for slot in state.names.remove(&owner).unwrap_or_default().into_values() {
            state.drop_slot(slot);
        }
    }

    /// Fans out a committed batch.
    pub(super) fn publish(&self, items: &[Item]) {
        let mut touched: HashMap<u64, Arc<Client>> = HashMap::new();
        let mut state = self.lock();
        for item in items {
            let State {
                subscriptions,
                index,
                ephemeral,
                fanned_out,
                ..
            } = &mut *state;
            if let Some(seq) = item.seq {
                *fanned_out = seq.max(*fanned_out);
                ephemeral.obsolete(&item.record.event);
            } else if !ephemeral.take(&item.record, Instant::now()) {
                continue;
            }
            let words = EventWords::new();
            for slot in index.candidates(&item.record.event) {
                if let Some(subscription) = subscriptions.get_mut(&slot)
                    && subscription.deliver(item, &words)
                    && let Sink::Socket(client) = &subscription.sink
                {
                    touched
                        .entry(client.id)
                        .or_insert_with(|| Arc::clone(client));
                }
            }
        }
        drop(state);
        for client in touched.values() {
            client.outbox.flush();
        }
    }
}

/// Roughly the bytes that filters take, with their places in the index.
pub(super) fn bytes(filters: &[Filter]) -> usize {
    /// A value in a set, and a slot in the index under it.
    const VALUE: usize = 96;
    let one = |filter: &Filter| {
        let ids = filter.ids.as_ref().map_or(0, |ids| ids.len());
        let authors = filter.authors.as_ref().map_or(0, |authors| authors.len());
        let kinds = filter.kinds.as_ref().map_or(0, |kinds| kinds.len());
        let tags = filter.generic_tags.values().flatten();
        let tags: usize = tags.map(|value| 2 * value.len() + VALUE).sum();
        let text = filter.search.as_ref().map_or(0, String::len);
        size_of::<Filter>() + (ids + authors + kinds) * VALUE + tags + text
    };
    filters.iter().map(one).sum()
}

impl State {
    fn close(&mut self, client: u64, name: &str) -> bool {
        let Some(names) = self.names.get_mut(&client) else {
            return false;
        };
        let slot = names.remove(name);
        if names.is_empty() {
            self.names.remove(&client);
        }
        slot.is_some_and(|slot| {
            self.drop_slot(slot);
            true
        })
    }

    fn drop_slot(&mut self, slot: u64) {
        if let Some(subscription) = self.subscriptions.remove(&slot) {
            for wanted in &subscription.filters {
                self.index.remove(slot, &wanted.filter);
            }
        }
    }
}

impl Subscription {
    /// Whether something was added to the client's outbox.
    fn deliver(&mut self, Item { seq, record }: &Item, words: &EventWords) -> bool {
        let event = &record.event;
        let matches = |wanted: &Wanted| {
            nip01::fields_match(&wanted.filter, event)
                && wanted.search.as_ref().is_none_or(|search| {
                    search.is_within(words.get_or_init(|| nip50::set_of(event)))
                })
        };
        if seq.is_some_and(|seq| seq <= self.after)
            || !self.filters.iter().any(matches)
            || !self.sink.rights().receives(&record.event)
        {
            return false;
        }
        let client = match &self.sink {
            Sink::Socket(client) => client,
            Sink::Stream(tap) => {
                tap.push(*seq, record);
                return true;
            }
        };
        match &mut self.waiting {
            None => {
                client
                    .outbox
                    .text(&[self.prefix.as_bytes(), &record.json, b"]"]);
                true
            }
            Some(waiting) => {
                self.waiting_bytes += record.json.len();
                if self.waiting_bytes > client.outbox.limit() {
                    waiting.clear();
                    client.outbox.too_slow();
                } else {
                    waiting.push(Arc::clone(record));
                }
                false
            }
        }
    }
}

/// Where a filter is found: in the dimension that an event meets least often.
#[derive(Default)]
struct Index {
    ids: HashMap<EventId, Vec<u64>>,
    tags: HashMap<u8, HashMap<String, Vec<u64>>>,
    authors: HashMap<PublicKey, Vec<u64>>,
    kinds: HashMap<u16, Vec<u64>>,
    rest: Vec<u64>,
}

impl Index {
    fn insert(&mut self, slot: u64, filter: &Filter) {
        if !nip01::is_satisfiable(filter) {
            return;
        }
        if let Some(ids) = &filter.ids {
            for id in ids {
                self.ids.entry(*id).or_default().push(slot);
            }
        } else if let Some((letter, values)) = narrowest(filter) {
            let by_value = self.tags.entry(letter).or_default();
            for value in values {
                by_value.entry(value.clone()).or_default().push(slot);
            }
        } else if let Some(authors) = &filter.authors {
            for author in authors {
                self.authors.entry(*author).or_default().push(slot);
            }
        } else if let Some(kinds) = &filter.kinds {
            for kind in kinds {
                self.kinds.entry(kind.as_u16()).or_default().push(slot);
            }
        } else {
            self.rest.push(slot);
        }
    }

    fn remove(&mut self, slot: u64, filter: &Filter) {
        if let Some(ids) = &filter.ids {
            for id in ids {
                forget(&mut self.ids, id, slot);
            }
        } else if let Some((letter, values)) = narrowest(filter) {
            if let Some(by_value) = self.tags.get_mut(&letter) {
                for value in values {
                    forget(by_value, value, slot);
                }
                if by_value.is_empty() {
                    self.tags.remove(&letter);
                }
            }
        } else if let Some(authors) = &filter.authors {
            for author in authors {
                forget(&mut self.authors, author, slot);
            }
        } else if let Some(kinds) = &filter.kinds {
            for kind in kinds {
                forget(&mut self.kinds, &kind.as_u16(), slot);
            }
        } else {
            self.rest.retain(|other| *other != slot);
        }
    }

    fn candidates(&self, event: &Event) -> HashSet<u64> {
        let mut found: HashSet<u64> = self.rest.iter().copied().collect();
        found.extend(self.ids.get(&event.id).into_iter().flatten());
        found.extend(self.authors.get(&event.pubkey).into_iter().flatten());
        found.extend(self.kinds.get(&event.kind.as_u16()).into_iter().flatten());
        if !self.tags.is_empty() {
            for tag in event.tags.iter() {
                if let [name, value, ..] = tag.as_slice()
                    && let [letter] = name.as_bytes()
                    && let Some(by_value) = self.tags.get(letter)
                {
                    found.extend(by_value.get(value).into_iter().flatten());
                }
            }
        }
        found
    }
}

fn narrowest(filter: &Filter) -> Option<(u8, &std::collections::BTreeSet<String>)> {
    filter
        .generic_tags
        .iter()
        .min_by_key(|(_, values)| values.len())
        .and_then(|(letter, values)| Some((letter.as_str().bytes().next()?, values)))
}

fn forget<K, Q>(map: &mut HashMap<K, Vec<u64>>, key: &Q, slot: u64)
where
    K: std::hash::Hash + Eq + std::borrow::Borrow<Q>,
    Q: std::hash::Hash + Eq + ?Sized,
{
    if let Some(slots) = map.get_mut(key) {
        slots.retain(|other| *other != slot);
        if slots.is_empty() {
            map.remove(key);
        }
    }
}
