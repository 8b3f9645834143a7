//! [`Snapshot`]: the store as it was after one commit, for one who reads.

use std::sync::Arc;

use bytes::Bytes;
use nostr::{EventId, PublicKey};

use super::{
    Log,
    disk::{self, File},
    frame::{self, AddressHash},
    keys::{self, Levels, word},
    state::Place,
};
use crate::store::{
    Error,
    index::{self, Key, Keyer},
    view::{Address, Dead, View},
};

/// How much is read of a row at first: most are shorter.
const GUESS: usize = 1024;

/// The store as it was at one moment.
pub(super) struct Snapshot<'a> {
    log: &'a Log,
    pub(super) levels: Arc<Levels>,
    pub(super) last: u64,
    commit: u64,
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        self.log.readers.leave(self.commit);
    }
}

impl Log {
    /// What is stored at this moment.
    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        let state = self.state();
        self.readers.enter(state.commit);
        Snapshot {
            log: self,
            levels: Arc::clone(&state.levels),
            last: state.last,
            commit: state.commit,
        }
    }
}

impl Snapshot<'_> {
    /// The latest time of keys that differ in nothing else.
    fn latest(&self, of: Key) -> Result<Option<u64>, Error> {
        let (from, to) = index::whole(&index::prefix(&of));
        for key in self.levels.range(word(&from), word(&to))? {
            let (time, rest) = index::split(&keys::bytes(key?));
            if rest == index::split(&of).1 {
                return Ok(Some(u64::from(!time)));
            }
        }
        Ok(None)
    }
}

impl View for Snapshot<'_> {
    fn keyer(&self) -> Keyer {
        self.log.keyer
    }

    fn keys(&self, from: Key, to: Key) -> Result<impl Iterator<Item = Result<Key, Error>>, Error> {
        let found = self.levels.range(word(&from), word(&to))?;
        Ok(found.map(|key| Ok(keys::bytes(key?))))
    }

    fn row(&self, seq: u64) -> Result<Option<Bytes>, Error> {
        if seq > self.last {
            return Ok(None);
        }
        let place = self.log.state().locate(seq, self.commit);
        match place {
            None => Ok(None),
            Some(Place::Memory(json)) => Ok(Some(json)),
            Some(Place::File(file, at)) => read_row(&*file, at, seq).map(Some),
        }
    }

    fn dead_id(&self, id: &EventId, author: &PublicKey) -> Result<Option<Dead>, Error> {
        for dead in [Dead::Purged, Dead::Deleted] {
            let key = self.log.keyer.dead_id(id, author, dead == Dead::Purged);
            if self.levels.has(word(&key))? {
                return Ok(Some(dead));
            }
        }
        Ok(None)
    }

    fn forgotten_until(&self, author: &PublicKey) -> Result<Option<u64>, Error> {
        let found = self.latest(self.log.keyer.vanished(author, 0))?;
        // Times of events end there.
        Ok(found.map(|until| match until == u64::from(u32::MAX) {
            true => u64::MAX,
            false => until,
        }))
    }

    fn dead_until(&self, address: &Address) -> Result<Option<u64>, Error> {
        let AddressHash {
            kind,
            author,
            identifier,
        } = AddressHash::new(address);
        self.latest(self.log.keyer.dead_address(kind, &author, &identifier, 0))
    }
}

/// Reads the JSON of a row.
pub(super) fn read_row(file: &dyn File, at: u64, seq: u64) -> Result<Bytes, Error> {
    let damaged = || Error::Damaged(format!("the row of event {seq}"));
    let mut bytes = vec![0; GUESS];
    let count = file.read_at(&mut bytes, at)?;
    bytes.truncate(count);
    let (len, crc, said) = frame::row(&bytes).ok_or_else(damaged)?;
    if said != seq || len > frame::MAX_PAYLOAD {
        return Err(damaged());
    }
    let whole = frame::ROW + len;
    if bytes.len() < whole {
        let read = bytes.len();
        bytes.resize(whole, 0);
        disk::read_exact(file, &mut bytes[read..], at + read as u64)?;
    }
    bytes.truncate(whole);
    let json = Bytes::from(bytes).slice(frame::ROW..);
    if frame::checksum(&[&seq.to_le_bytes(), &json]) != crc {
        return Err(damaged());
    }
    Ok(json)
}
