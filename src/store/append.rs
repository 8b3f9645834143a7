//! The writer's side: what becomes of each event of a batch, in order, in one commit.
//!
//! An event sees what earlier events of its batch did through [`Pending`], which is written only at the
//! end. Rows that a batch adds and removes again never reach the disk.

use std::collections::{HashMap, HashSet};

use fjall::{PersistMode, Readable, Snapshot};
use nostr::{
    Event, EventId, Kind, PublicKey,
    hashes::{Hash as _, sha256},
};

use super::{
    Error, Outcome, Record, Stored,
    events::{FjallStore, META_SEQ, parse},
    index, vanish,
};
use crate::nips::{kind, nip01, nip09, nip09::Target};

type Address = (Kind, PublicKey, String);

/// What a batch will write.
struct Pending<'a> {
    store: &'a FjallStore,
    snapshot: Snapshot,
    next: u64,
    added: Vec<Option<(u64, &'a Record)>>,
    ids: HashMap<EventId, usize>,
    addresses: HashMap<Address, usize>,
    removed: HashMap<u64, Event>,
    dead_ids: HashSet<(EventId, PublicKey)>,
    dead_addresses: HashMap<Address, u64>,
}

/// Why an id is not taken any more.
#[derive(Clone, Copy)]
enum Dead {
    /// Its author deleted it (NIP-09), if its kind is one that can be.
    Deleted,
    /// The owner purged it, whatever its kind.
    Purged,
}

/// Where an event was found.
enum Found<'a> {
    Added(usize, &'a Record),
    Stored(Box<Stored>),
}

impl Found<'_> {
    fn event(&self) -> &Event {
        match self {
            Self::Added(_, record) => &record.event,
            Self::Stored(stored) => &stored.event,
        }
    }
}

pub(super) fn append(store: &FjallStore, batch: &[Record]) -> Result<Vec<Outcome>, Error> {
    let last = store.last.load(std::sync::atomic::Ordering::Acquire);
    let mut pending = Pending {
        store,
        snapshot: store.db.snapshot(),
        next: last + 1,
        added: Vec::with_capacity(batch.len()),
        ids: HashMap::new(),
        addresses: HashMap::new(),
        removed: HashMap::new(),
        dead_ids: HashSet::new(),
        dead_addresses: HashMap::new(),
    };
    let outcomes: Result<Vec<Outcome>, Error> =
        batch.iter().map(|record| pending.decide(record)).collect();
    let outcomes = outcomes?;
    pending.commit(last)?;
    Ok(outcomes)
}

pub(super) fn expire(store: &FjallStore, now: u64, max: usize) -> Result<usize, Error> {
    let snapshot = store.db.snapshot();
    let mut batch = store.db.batch().durability(Some(PersistMode::SyncData));
    let mut count = 0;
    let until = index::expiration_key(now, index::MAX_SEQ);
    let from = index::expiration_key(0, 0);
    for guard in snapshot.range(&store.index, from..=until).take(max) {
        let key = guard.key()?;
        let Some((_, seq)) = index::parts(&key) else {
            continue;
        };
        match store.row(&snapshot, seq)? {
            Some(json) => {
                remove(store, &mut batch, seq, &parse(seq, &json)?);
                count += 1;
            }
            None => batch.remove(&store.index, key.as_ref()),
        }
    }
    batch.commit()?;
    Ok(count)
}

pub(super) fn remove(
    store: &FjallStore,
    batch: &mut fjall::OwnedWriteBatch,
    seq: u64,
    event: &Event,
) {
    for key in store.keyer.keys(event, time(event), seq) {
        batch.remove(&store.index, key);
    }
    batch.remove(&store.events, seq.to_be_bytes());
}

/// Stored events were checked to fit.
fn time(event: &Event) -> u32 {
    u32::try_from(event.created_at.as_secs()).unwrap_or(u32::MAX)
}

impl<'a> Pending<'a> {
    fn decide(&mut self, record: &'a Record) -> Result<Outcome, Error> {
        let event = &record.event;
        if u32::try_from(event.created_at.as_secs()).is_err() {
            return Ok(Outcome::Unrepresentable);
        }
        if self.find(&event.id)?.is_some() {
            return Ok(Outcome::Duplicate);
        }
        match self.dead_id(&event.id, &event.pubkey)? {
            Some(Dead::Purged) => return Ok(Outcome::Deleted),
            Some(Dead::Deleted) if nip09::is_deletable(event.kind) => return Ok(Outcome::Deleted),
            _ => {}
        }
        if vanish::is_forgotten(self.store, &self.snapshot, event)? {
            return Ok(Outcome::Deleted);
        }
        let address = nip01::identifier(event)
            .map(|identifier| (event.kind, event.pubkey, identifier.to_owned()));
        if let Some(address) = &address {
            if self
                .dead_until(address)?
                .is_some_and(|until| event.created_at.as_secs() <= until)
            {
                return Ok(Outcome::Deleted);
            }
            if let Some(current) = self.current(address)? {
                let version = current.event();
                let newer = event.created_at > version.created_at
                    || (event.created_at == version.created_at && event.id < version.id);
                if !newer {
                    return Ok(Outcome::Superseded);
                }
                self.drop_row(current);
            }
        }
        if event.kind.as_u16() == kind::DELETION {
            self.delete(event)?;
        }
        if self.next > index::MAX_SEQ {
            return Err(Error::Full);
        }
        let seq = self.next;
        self.next += 1;
        self.ids.insert(event.id, self.added.len());
        if let Some(address) = address {
            self.addresses.insert(address, self.added.len());
        }
        self.added.push(Some((seq, record)));
        Ok(Outcome::New { seq })
    }

    fn delete(&mut self, request: &Event) -> Result<(), Error> {
        for target in nip09::targets(request) {
            match target {
                Target::Id(id) => {
                    if let Some(found) = self.find(&id)? {
                        let event = found.event();
                        if event.pubkey != request.pubkey || !nip09::is_deletable(event.kind) {
                            continue;
                        }
                        self.drop_row(found);
                    }
                    // What was purged stays so, whoever deletes it too.
                    if self.dead_id(&id, &request.pubkey)?.is_none() {
                        self.dead_ids.insert((id, request.pubkey));
                    }
                }
                Target::Address { kind, identifier } => {
                    let address = (kind, request.pubkey, identifier);
                    let until = request.created_at.as_secs();
                    if let Some(found) = self.current(&address)?
                        && found.event().created_at.as_secs() <= until
                    {
                        self.drop_row(found);
                    }
                    let known = self.dead_until(&address)?.unwrap_or(0);
                    self.dead_addresses.insert(address, until.max(known));
                }
            }
        }
        Ok(())
    }

    fn drop_row(&mut self, found: Found<'a>) {
        match found {
            Found::Added(at, _) => self.added[at] = None,
            Found::Stored(stored) => {
                self.removed.insert(stored.seq, stored.event);
            }
        }
    }

    fn find(&self, id: &EventId) -> Result<Option<Found<'a>>, Error> {
        if let Some(&at) = self.ids.get(id)
            && let Some((_, record)) = self.added[at]
        {
            return Ok(Some(Found::Added(at, record)));
        }
        Ok(self
            .store
            .find(&self.snapshot, id)?
            .filter(|stored| !self.removed.contains_key(&stored.seq))
            .map(|stored| Found::Stored(Box::new(stored))))
    }

    /// The current version of an address.
    fn current(&self, address: &Address) -> Result<Option<Found<'a>>, Error> {
        if let Some(&at) = self.addresses.get(address)
            && let Some((_, record)) = self.added[at]
        {
            return Ok(Some(Found::Added(at, record)));
        }
        let (kind, author, identifier) = address;
        let prefix = self.store.keyer.address(*kind, author, identifier);
        for guard in self.snapshot.prefix(&self.store.index, prefix) {
            let key = guard.key()?;
            let Some((_, seq)) = index::parts(&key) else {
                continue;
            };
            if self.removed.contains_key(&seq) {
                continue;
            }
            if let Some(json) = self.store.row(&self.snapshot, seq)? {
                let event = parse(seq, &json)?;
                if event.kind == *kind
                    && event.pubkey == *author
                    && nip01::identifier(&event) == Some(identifier)
                {
                    return Ok(Some(Found::Stored(Box::new(Stored { seq, event }))));
                }
            }
        }
        Ok(None)
    }

    fn dead_id(&self, id: &EventId, author: &PublicKey) -> Result<Option<Dead>, Error> {
        if self.dead_ids.contains(&(*id, *author)) {
            return Ok(Some(Dead::Deleted));
        }
        let found = self
            .snapshot
            .get(&self.store.meta, dead_id_key(id, author))?;
        Ok(found.map(|value| match value.is_empty() {
            true => Dead::Deleted,
            false => Dead::Purged,
        }))
    }

    fn dead_until(&self, address: &Address) -> Result<Option<u64>, Error> {
        if let Some(until) = self.dead_addresses.get(address) {
            return Ok(Some(*until));
        }
        match self
            .snapshot
            .get(&self.store.meta, dead_address_key(address))?
        {
            None => Ok(None),
            Some(value) => Ok(Some(u64::from_be_bytes(
                value
                    .as_ref()
                    .try_into()
                    .map_err(|_| Error::Meta("address"))?,
            ))),
        }
    }

    fn commit(self, before: u64) -> Result<(), Error> {
        let store = self.store;
        let last = self.next - 1;
        if last == before {
            return Ok(());
        }
        let mut batch = store.db.batch().durability(Some(PersistMode::SyncData));
        for (seq, event) in &self.removed {
            remove(store, &mut batch, *seq, event);
        }
        for (seq, record) in self.added.into_iter().flatten() {
            for key in store.keyer.keys(&record.event, time(&record.event), seq) {
                batch.insert(&store.index, key, []);
            }
            batch.insert(&store.events, seq.to_be_bytes(), record.json.as_ref());
        }
        for (id, author) in &self.dead_ids {
            batch.insert(&store.meta, dead_id_key(id, author), []);
        }
        for (address, until) in &self.dead_addresses {
            batch.insert(&store.meta, dead_address_key(address), until.to_be_bytes());
        }
        batch.insert(&store.meta, META_SEQ, last.to_be_bytes());
        batch.commit()?;
        store.committed(last);
        Ok(())
    }
}

pub(super) fn dead_id_key(id: &EventId, author: &PublicKey) -> [u8; 65] {
    let mut key = [b'd'; 65];
    key[1..33].copy_from_slice(id.as_bytes());
    key[33..].copy_from_slice(author.as_bytes());
    key
}

fn dead_address_key((kind, author, identifier): &Address) -> [u8; 67] {
    let mut key = [b'a'; 67];
    key[1..3].copy_from_slice(&kind.as_u16().to_be_bytes());
    key[3..35].copy_from_slice(author.as_bytes());
    key[35..].copy_from_slice(sha256::Hash::hash(identifier.as_bytes()).as_byte_array());
    key
}
