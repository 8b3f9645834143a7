//! The writer's side: what becomes of each event of a batch, in order.
//!
//! An event sees what earlier events of its batch did through [`Pending`], and the [`Changes`] that come out are
//! committed at once. Rows that a batch adds and removes again never reach the disk.

use std::collections::{HashMap, HashSet};

use nostr::{Event, EventId, PublicKey};

use super::{
    Error, Outcome, Record, Stored, index, vanish,
    view::{Address, Dead, View},
};
use crate::nips::{kind, nip01, nip09, nip09::Target};

/// What a batch will write.
struct Pending<'v, 'a, V> {
    view: &'v V,
    next: u64,
    added: Vec<Option<(u64, &'a Record)>>,
    ids: HashMap<EventId, usize>,
    addresses: HashMap<Address, usize>,
    removed: HashSet<u64>,
    dead_ids: HashSet<(EventId, PublicKey)>,
    dead_addresses: HashMap<Address, u64>,
}

/// What a batch changes, all of it at once.
pub(super) struct Changes<'a> {
    /// What became of each event.
    pub(super) outcomes: Vec<Outcome>,
    /// The last sequence number that is used up.
    pub(super) last: u64,
    /// New rows, in order.
    pub(super) added: Vec<(u64, &'a Record)>,
    /// Rows that go.
    pub(super) removed: HashSet<u64>,
    /// Ids that their authors deleted.
    pub(super) dead_ids: HashSet<(EventId, PublicKey)>,
    /// Addresses that their authors deleted, and up to when.
    pub(super) dead_addresses: HashMap<Address, u64>,
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

/// Decides on a batch, after the last sequence number that was used.
pub(super) fn decide<'a>(
    view: &impl View,
    last: u64,
    batch: &'a [Record],
) -> Result<Changes<'a>, Error> {
    let mut pending = Pending {
        view,
        next: last + 1,
        added: Vec::with_capacity(batch.len()),
        ids: HashMap::new(),
        addresses: HashMap::new(),
        removed: HashSet::new(),
        dead_ids: HashSet::new(),
        dead_addresses: HashMap::new(),
    };
    let outcomes: Result<Vec<Outcome>, Error> =
        batch.iter().map(|record| pending.decide(record)).collect();
    Ok(Changes {
        outcomes: outcomes?,
        last: pending.next - 1,
        added: pending.added.into_iter().flatten().collect(),
        removed: pending.removed,
        dead_ids: pending.dead_ids,
        dead_addresses: pending.dead_addresses,
    })
}

/// The time of a stored event, which was checked to fit.
pub(super) fn time(event: &Event) -> u32 {
    u32::try_from(event.created_at.as_secs()).unwrap_or(u32::MAX)
}

impl<'a, V: View> Pending<'_, 'a, V> {
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
        if vanish::is_forgotten(self.view, event)? {
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
                self.removed.insert(stored.seq);
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
            .view
            .find(id)?
            .filter(|stored| !self.removed.contains(&stored.seq))
            .map(|stored| Found::Stored(Box::new(stored))))
    }

    /// The current version of an address.
    fn current(&self, address: &Address) -> Result<Option<Found<'a>>, Error> {
        if let Some(&at) = self.addresses.get(address)
            && let Some((_, record)) = self.added[at]
        {
            return Ok(Some(Found::Added(at, record)));
        }
        let removed = |seq| self.removed.contains(&seq);
        let version = self.view.version(address, removed)?;
        Ok(version.map(|stored| Found::Stored(Box::new(stored))))
    }

    fn dead_id(&self, id: &EventId, author: &PublicKey) -> Result<Option<Dead>, Error> {
        if self.dead_ids.contains(&(*id, *author)) {
            return Ok(Some(Dead::Deleted));
        }
        self.view.dead_id(id, author)
    }

    fn dead_until(&self, address: &Address) -> Result<Option<u64>, Error> {
        if let Some(until) = self.dead_addresses.get(address) {
            return Ok(Some(*until));
        }
        self.view.dead_until(address)
    }
}
