//! What is kept: events and how consumers follow them, the coordinator's [`state`], [`blobs`].
//!
//! [`EventStore`] is the narrow door to the log of events. Every stored event has a *sequence number*,
//! which only grows and survives a restart; consumers ([`Feed`]) remember the last one that they saw. One
//! thread appends; any thread reads.

mod append;
pub mod blobs;
mod check;
pub mod feed;
mod head;
mod index;
pub mod log;
mod query;
pub mod search;
pub mod state;
#[cfg(test)]
mod tests;
mod vanish;
mod view;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use bytes::Bytes;
use nostr::{Event, EventId, Filter, JsonUtil, Kind, PublicKey};
use tokio::sync::watch;

pub use self::{
    check::{Check, Faults, sound},
    feed::Feed,
    log::LogStore,
    search::Search,
};

/// An event on its way into the store, with its canonical JSON.
#[derive(Debug, Clone)]
pub struct Record {
    /// The event, verified by whoever made the record.
    pub event: Event,
    /// Its JSON as it is stored and sent.
    pub json: Bytes,
}

impl Record {
    /// Serialises an event.
    #[must_use]
    pub fn new(event: Event) -> Self {
        let json = Bytes::from(event.as_json());
        Self { event, json }
    }
}

/// What became of one appended event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Stored under a sequence number.
    New {
        /// The sequence number.
        seq: u64,
    },
    /// Already stored.
    Duplicate,
    /// A newer version of its address is stored.
    Superseded,
    /// Its author deleted it (NIP-09) or vanished (NIP-62), or the owner purged it.
    Deleted,
    /// Its `created_at` lies beyond what the index can hold (`u32::MAX`).
    Unrepresentable,
}

/// An event of the log.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its sequence number.
    pub seq: u64,
    /// The event.
    pub event: Event,
}

/// One row that a query found.
#[derive(Debug, Clone)]
pub struct Hit {
    /// Its sequence number.
    pub seq: u64,
    /// The event's time, for the order.
    pub created_at: u64,
    /// The event's id, for the order.
    pub id: EventId,
    /// Its JSON; `None` beyond the query's byte budget, see [`EventStore::read`].
    pub json: Option<Bytes>,
}

/// What to look for. Several filters are a union; a row is found once.
pub struct Query<'a> {
    /// The filters.
    pub filters: &'a [Filter],
    /// The limit of a filter that has none.
    pub default_limit: usize,
    /// The highest limit of a filter.
    pub max_limit: usize,
    /// Rows with a higher sequence number are not seen.
    pub up_to: u64,
    /// Unix time; events that have expired by then are not seen (NIP-40).
    pub now: u64,
    /// Events for which this is false are not seen and do not count against a limit.
    pub visible: &'a dyn Fn(&Event) -> bool,
    /// The kinds for which `visible` may be false; it may not be asked for others.
    pub guarded: fn(Kind) -> bool,
    /// Gives up with [`Error::Deadline`] after this.
    pub deadline: Option<Instant>,
    /// Bytes of JSON to return with the hits; rows beyond carry none.
    pub budget: usize,
}

impl std::fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query")
            .field("filters", &self.filters)
            .field("up_to", &self.up_to)
            .finish_non_exhaustive()
    }
}

impl<'a> Query<'a> {
    /// Everything that matches, without bounds.
    #[must_use]
    pub fn all(filters: &'a [Filter], now: u64) -> Self {
        Self {
            filters,
            default_limit: usize::MAX,
            max_limit: usize::MAX,
            up_to: u64::MAX,
            now,
            visible: &|_| true,
            guarded: |_| true,
            deadline: None,
            budget: usize::MAX,
        }
    }
}

/// The log of events.
///
/// `append` and `expire` decide and commit in one batch and are durable when they return; they are called
/// by one thread at a time. Reads may block on the disk and belong off the async threads.
pub trait EventStore: Send + Sync + 'static {
    /// Decides on events in order, each aware of those before it, and commits them together.
    ///
    /// # Errors
    /// When the storage fails; then nothing of the batch is stored.
    fn append(&self, batch: &[Record]) -> Result<Vec<Outcome>, Error>;

    /// Removes at most `max` events that expired before `now`; says how many.
    ///
    /// # Errors
    /// When the storage fails.
    fn expire(&self, now: u64, max: usize) -> Result<usize, Error>;

    /// Removes everything by an author up to a time (NIP-62), deletions too, and gift wraps that name it, up to that time
    /// too; gives how many there were. Nothing of that is accepted again ([`Outcome::Deleted`]). Requests to vanish
    /// themselves (kind 62) are the exception: they stay and are accepted. All of it is durable when this returns; after a
    /// crash before that, the store goes on by itself, or nothing has happened.
    ///
    /// # Errors
    /// When the storage fails.
    fn vanish(&self, author: &PublicKey, until: u64) -> Result<usize, Error>;

    /// Removes events with all of their index entries, whatever their kind, and keeps only their ids, under which
    /// nothing is accepted any more. All of it is one durable commit, with `note` for who goes on after a crash
    /// ([`EventStore::purging`]), which an empty one does not replace; gives how many there were.
    ///
    /// # Errors
    /// When the storage fails; then nothing is removed.
    fn purge(&self, ids: &[EventId], note: &[u8]) -> Result<usize, Error>;

    /// What the last [`EventStore::purge`] noted, until [`EventStore::purged`].
    ///
    /// # Errors
    /// When the storage fails.
    fn purging(&self) -> Result<Option<Vec<u8>>, Error>;

    /// Nothing is left to do of what was purged.
    ///
    /// # Errors
    /// When the storage fails.
    fn purged(&self) -> Result<(), Error>;

    /// Writes everything that is kept into new files and removes those in which removed events still are. Says whether
    /// all of them are gone: somebody who reads for long keeps them. Takes as long as it takes to write all of it.
    ///
    /// # Errors
    /// When the storage fails.
    fn erase(&self) -> Result<bool, Error>;

    /// Rows that match, newest first, equal times by lowest id first.
    ///
    /// # Errors
    /// When the storage fails or the deadline passed.
    fn query(&self, query: &Query<'_>) -> Result<Vec<Hit>, Error>;

    /// How many events match; limits do not apply.
    ///
    /// # Errors
    /// When the storage fails or the deadline passed.
    fn count(&self, query: &Query<'_>) -> Result<u64, Error>;

    /// One event by its id.
    ///
    /// # Errors
    /// When the storage fails.
    fn get(&self, id: &EventId) -> Result<Option<Stored>, Error>;

    /// Whether an event is stored, by its id.
    ///
    /// # Errors
    /// When the storage fails.
    fn has(&self, id: &EventId) -> Result<bool, Error> {
        Ok(self.get(id)?.is_some())
    }

    /// The JSON of one row.
    ///
    /// # Errors
    /// When the storage fails.
    fn read(&self, seq: u64) -> Result<Option<Bytes>, Error>;

    /// At most `max` events after a sequence number, in order. Deleted rows are absent.
    ///
    /// # Errors
    /// When the storage fails.
    fn read_after(&self, seq: u64, max: usize) -> Result<Vec<Stored>, Error>;

    /// Looks at everything that is stored, and at what leads to it. Takes as long as it takes to verify all of it.
    ///
    /// # Errors
    /// When the storage fails; what is merely wrong is in the answer.
    fn check(&self) -> Result<Check, Error>;

    /// Gives back the disk space of what was removed.
    ///
    /// # Errors
    /// When the storage fails.
    fn compact(&self) -> Result<(), Error>;

    /// The highest sequence number that was ever committed; 0 when there is none.
    fn last_seq(&self) -> u64;

    /// The folder that it is in, for who looks whether its disk has room.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// Changes whenever something was committed.
    fn watch(&self) -> watch::Receiver<u64>;
}

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another program has the store open.
    #[error("the event store at {} is in use by another program", .0.display())]
    Locked(PathBuf),
    /// The store was written by another version.
    #[error("the event store at {} has format {found}, which this version does not read", .path.display())]
    Version {
        /// Where it is.
        path: PathBuf,
        /// What its format key says.
        found: String,
    },
    /// A file of the store is not as it was written.
    #[error("the event store is damaged: {0}")]
    Damaged(String),
    /// Its folder holds something else.
    #[error("the folder of the event store, {}, holds files of another program; move them away", .0.display())]
    Foreign(PathBuf),
    /// More than one commit can hold.
    #[error("too much for one commit of the event store")]
    TooMuch,
    /// The files below failed.
    #[error("the event store's files failed")]
    Files(#[from] std::io::Error),
    /// A stored row is not an event.
    #[error("row {seq} of the event store is damaged")]
    Row {
        /// Its sequence number.
        seq: u64,
        /// What the parser said.
        #[source]
        source: nostr::event::Error,
    },
    /// A key of the bookkeeping is missing or has the wrong length.
    #[error("the event store's bookkeeping key {0:?} is damaged")]
    Meta(&'static str),
    /// All sequence numbers are used up.
    #[error("the event store has used all its sequence numbers")]
    Full,
    /// A query took too long.
    #[error("the query took too long")]
    Deadline,
    /// The source of randomness failed.
    #[error("no randomness")]
    Random,
    /// A store in the format of before the log cannot be read.
    #[error("the event store, which an earlier version wrote, cannot be read")]
    Old(#[from] fjall::Error),
    /// The task that reads was ended, because the program stops.
    #[error("stopped")]
    Stopped,
}
