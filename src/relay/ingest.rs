//! The one door: every event passes [`Ingest::examine`] and then the writer, whoever sent it.
//!
//! Structure and limits come first, then policy, then the id, then the signature, unless the event is stored already;
//! the writer decides on what depends on stored events, commits, answers and fans out.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use nostr::{Event, EventId, JsonUtil};
use tokio::sync::{Semaphore, oneshot};

use super::{
    Config, Rejection,
    client::Client,
    known::Known,
    rights::Rights,
    verify::Verifier,
    writer::{Command, Job},
};
use crate::{
    nips::{kind, nip01, nip40, nip62, nip70},
    store::{EventStore, Record},
};

/// Bytes of events that may wait for the writer, in KiB.
const QUEUE_KIB: u32 = 64 << 10;

/// How many times as much an event of this program may hold: a job's result quotes the whole request as a
/// string, where every quotation mark takes twice the room, and has its own text beside it. A request that
/// was let in must be answerable.
const OWN: usize = 4;

/// What became of an accepted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// Stored durably.
    New {
        /// Its sequence number.
        seq: u64,
    },
    /// Was stored already.
    Duplicate,
    /// Forwarded to subscribers and not stored (kinds 20000 to 29999).
    Ephemeral,
}

impl Accepted {
    /// The message of the OK.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate: already have this event",
            Self::New { .. } | Self::Ephemeral => "",
        }
    }
}

/// Who sends an event.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// This program.
    Internal,
    /// A connection.
    Client(&'a Rights),
    /// Another relay, which the owner listens to. What may come from there at all is for `sync` to say.
    Relay,
}

impl Origin<'_> {
    /// How many times the limits count.
    fn room(self) -> usize {
        match self {
            Self::Internal => OWN,
            Self::Client(_) | Self::Relay => 1,
        }
    }
}

/// Who waits for the outcome.
pub(super) enum Reply {
    /// A task of this program.
    Task(oneshot::Sender<Result<Accepted, Rejection>>),
    /// A connection, which gets an OK.
    Client(Arc<Client>),
}

/// What came out of an examination.
pub(super) enum Examined {
    /// An event for the writer.
    New(Box<Admitted>),
    /// One that is stored already.
    Known(EventId),
}

/// An event that the writer may have.
pub(super) struct Admitted {
    pub(super) record: Record,
    /// Its author asks this relay to forget it (NIP-62).
    pub(super) vanish: bool,
}

pub(super) struct Ingest {
    config: Arc<Config>,
    store: Arc<dyn EventStore>,
    known: Arc<Known>,
    /// Where connections arrive.
    local: OnceLock<SocketAddr>,
    verifier: Verifier,
    commands: mpsc::Sender<Command>,
    queue: Arc<Semaphore>,
    in_flight: Arc<AtomicUsize>,
}

/// Verifications that the writer may wait for, while this lives.
pub(super) struct InFlight {
    counter: Arc<AtomicUsize>,
    left: usize,
}

impl InFlight {
    /// One of them is done.
    pub(super) fn done(&mut self) {
        if self.left > 0 {
            self.left -= 1;
            self.counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.left, Ordering::Relaxed);
    }
}

impl Ingest {
    pub(super) fn new(
        config: Arc<Config>,
        store: Arc<dyn EventStore>,
        known: Arc<Known>,
        commands: mpsc::Sender<Command>,
        in_flight: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            config,
            store,
            known,
            local: OnceLock::new(),
            verifier: Verifier::default(),
            commands,
            queue: Arc::new(Semaphore::new(QUEUE_KIB as usize)),
            in_flight,
        }
    }

    /// Says where a connection arrived.
    pub(super) fn arrived(&self, at: SocketAddr) {
        self.local.get_or_init(|| at);
    }

    /// Announces verifications, so that the writer waits for them a moment.
    pub(super) fn announce(&self, count: usize) -> InFlight {
        self.in_flight.fetch_add(count, Ordering::Relaxed);
        InFlight {
            counter: Arc::clone(&self.in_flight),
            left: count,
        }
    }

    /// Id and signature alone, for answers to a challenge.
    pub(super) fn verify(&self, event: &Event) -> Result<(), Rejection> {
        self.verifier.check(event)
    }

    /// Reads and examines the JSON of an event from a client. A refusal names the id, if one can be read.
    pub(super) fn examine_json(
        &self,
        json: &str,
        origin: Origin<'_>,
        now: u64,
    ) -> Result<Examined, (Option<EventId>, Rejection)> {
        if json.len() > self.config.max_message_bytes {
            let rejection = Rejection::TooLong(self.config.max_message_bytes);
            return Err((nip01::claimed_id(json), rejection));
        }
        let event = Event::from_json(json).map_err(|error| {
            (
                nip01::claimed_id(json),
                Rejection::Malformed(error.to_string()),
            )
        })?;
        let id = event.id;
        self.examine(event, origin, now)
            .map_err(|rejection| (Some(id), rejection))
    }

    /// Everything that can be said about an event without looking at other ones.
    pub(super) fn examine(
        &self,
        event: Event,
        origin: Origin<'_>,
        now: u64,
    ) -> Result<Examined, Rejection> {
        self.structure(&event, origin.room(), now)?;
        match origin {
            Origin::Internal => {}
            Origin::Client(client) => policy(&event, client)?,
            Origin::Relay if nip70::is_protected(&event) => {
                return Err(Rejection::Protected {
                    authenticated: true,
                });
            }
            Origin::Relay => {}
        }
        if !event.verify_id() {
            return Err(Rejection::Id);
        }
        if self.is_stored(&event)? {
            return Ok(Examined::Known(event.id));
        }
        self.verifier.signature(&event)?;
        let vanish = self.is_asked_to_forget(&event, origin);
        let record = Record::new(event);
        let most = self.config.max_message_bytes.saturating_mul(origin.room());
        if record.json.len() > most {
            return Err(Rejection::TooLong(most));
        }
        Ok(Examined::New(Box::new(Admitted { record, vanish })))
    }

    /// Whether an event is stored: its id is its hash, so nothing of it needs to be looked at again.
    fn is_stored(&self, event: &Event) -> Result<bool, Rejection> {
        if !self.known.may_have(event) {
            return Ok(false);
        }
        self.store.has(&event.id).map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "an event could not be looked up"
            );
            Rejection::Store
        })
    }

    /// Whether an event names this relay, under any of its names, in a request to vanish.
    pub(super) fn is_asked_to_forget(&self, event: &Event, origin: Origin<'_>) -> bool {
        if event.kind.as_u16() != kind::VANISH {
            return false;
        }
        let mut names: Vec<String> = self.config.hosts.clone();
        names.extend(self.local.get().map(SocketAddr::to_string));
        if let Origin::Client(client) = origin {
            names.extend([
                client.reached.local.to_string(),
                client.reached.host.clone(),
            ]);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        nip62::asks(event, &names)
    }

    /// Limits and structure alone.
    pub(super) fn fits(
        &self,
        event: &Event,
        origin: Origin<'_>,
        now: u64,
    ) -> Result<(), Rejection> {
        self.structure(event, origin.room(), now)?;
        let most = self.config.max_message_bytes.saturating_mul(origin.room());
        match event.as_json().len() > most {
            true => Err(Rejection::TooLong(most)),
            false => Ok(()),
        }
    }

    fn structure(&self, event: &Event, room: usize, now: u64) -> Result<(), Rejection> {
        let config = &self.config;
        let (max_tags, max_content) = (
            config.max_tags.saturating_mul(room),
            config.max_content.saturating_mul(room),
        );
        if event.kind.as_u16() == kind::CLIENT_AUTH {
            return Err(Rejection::AuthEvent);
        }
        if event.tags.len() > max_tags {
            return Err(Rejection::TooManyTags(max_tags));
        }
        if event.content.len() > max_content && event.content.chars().count() > max_content {
            return Err(Rejection::ContentTooLong(max_content));
        }
        let created_at = event.created_at.as_secs();
        if u32::try_from(created_at).is_err() {
            return Err(Rejection::TimeOutOfRange);
        }
        if created_at > now.saturating_add(config.max_future_s) {
            return Err(Rejection::Future(config.max_future_s));
        }
        if nip40::is_expired(event, now) {
            return Err(Rejection::Expired);
        }
        Ok(())
    }

    /// Hands an examined event to the writer, which answers after the commit. Waits while the queue is full.
    pub(super) async fn submit(&self, admitted: Admitted, reply: Reply) -> Result<(), Rejection> {
        let Admitted { record, vanish } = admitted;
        let weight = u32::try_from(record.json.len() / 1024 + 1)
            .unwrap_or(QUEUE_KIB)
            .min(QUEUE_KIB);
        let permit = Arc::clone(&self.queue)
            .acquire_many_owned(weight)
            .await
            .map_err(|_| Rejection::Stopping)?;
        self.commands
            .send(Command::Event(Box::new(Job {
                record,
                vanish,
                reply,
                _permit: permit,
            })))
            .map_err(|_| Rejection::Stopping)
    }
}

fn policy(event: &Event, client: &Rights) -> Result<(), Rejection> {
    client.may_write()?;
    if nip70::is_protected(event) {
        let keys = client.keys();
        if !keys.contains(&event.pubkey) {
            return Err(Rejection::Protected {
                authenticated: !keys.is_empty(),
            });
        }
    }
    Ok(())
}
