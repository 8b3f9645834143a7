//! The one thread that writes: group commit, then OK, then fan-out.
//!
//! It waits for more events only while verifications are under way, so a lone event commits at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nostr::{Event, PublicKey, Timestamp};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{
    Accepted, Rejection,
    client::Client,
    hub::{Hub, Item},
    ingest::Reply,
    known::Known,
    room::Room,
};
use crate::{
    nips::nip01::write,
    store::{self, EventStore, Outcome, Record},
};

/// How long a batch waits for verifications under way.
const WAIT: Duration = Duration::from_micros(1500);
/// Enough events to commit without waiting.
const ENOUGH: usize = 128;
/// The most events of one commit.
const MOST: usize = 512;
/// Bytes of one commit.
const MOST_BYTES: usize = 8 << 20;
/// Up to this many events are fanned out by the writer itself.
const INLINE: usize = 4;
/// Batches that wait for the fan-out thread.
const FAN_OUT_QUEUE: usize = 64;
/// How often expired events are collected, and how many at once.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
const COLLECT_MOST: usize = 1000;

pub(super) struct Job {
    pub(super) record: Record,
    /// Everything of its author goes first (NIP-62).
    pub(super) vanish: bool,
    pub(super) reply: Reply,
    /// Room in the queue.
    pub(super) _permit: OwnedSemaphorePermit,
}

pub(super) enum Command {
    /// Decide, commit, answer, fan out.
    Event(Box<Job>),
    /// Commit what is queued, then end.
    Stop,
}

pub(super) struct Writer {
    room: Room,
    /// Cancelled when the store could not be written.
    broken: CancellationToken,
    store: Arc<dyn EventStore>,
    hub: Arc<Hub>,
    known: Arc<Known>,
    in_flight: Arc<AtomicUsize>,
    /// Whose removed events leave the disk too.
    operator: PublicKey,
    fan_out: mpsc::SyncSender<Vec<Item>>,
    /// Batches that the fan-out thread has not finished.
    behind: Arc<AtomicUsize>,
}

/// What the writer works with.
pub(super) struct Parts {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) hub: Arc<Hub>,
    pub(super) known: Arc<Known>,
    pub(super) in_flight: Arc<AtomicUsize>,
    pub(super) broken: CancellationToken,
    pub(super) operator: PublicKey,
    /// Bytes of the disk that are left alone.
    pub(super) min_free: u64,
}

impl Writer {
    /// Starts the writer and the fan-out thread; they end after [`Command::Stop`].
    pub(super) fn start(
        parts: Parts,
        commands: mpsc::Receiver<Command>,
    ) -> std::io::Result<[JoinHandle<()>; 2]> {
        let Parts {
            store,
            hub,
            known,
            in_flight,
            broken,
            operator,
            min_free,
        } = parts;
        let (fan_out, batches) = mpsc::sync_channel::<Vec<Item>>(FAN_OUT_QUEUE);
        let behind = Arc::new(AtomicUsize::new(0));
        let publisher = {
            let (hub, behind) = (Arc::clone(&hub), Arc::clone(&behind));
            std::thread::Builder::new()
                .name("relay-fan-out".into())
                .spawn(move || {
                    for batch in batches {
                        hub.publish(&batch);
                        behind.fetch_sub(1, Ordering::AcqRel);
                    }
                })?
        };
        let writer = Self {
            room: Room::new(store.folder(), min_free),
            broken,
            store,
            hub,
            known,
            in_flight,
            operator,
            fan_out,
            behind,
        };
        let writer = std::thread::Builder::new()
            .name("relay-writer".into())
            .spawn(move || writer.run(&commands))?;
        Ok([writer, publisher])
    }

    fn run(mut self, commands: &mpsc::Receiver<Command>) {
        let mut collected = Instant::now();
        loop {
            let next = commands.recv_timeout(COLLECT_EVERY);
            if collected.elapsed() >= COLLECT_EVERY {
                collected = Instant::now();
                self.collect();
            }
            match next {
                Ok(Command::Event(first)) => {
                    let mut first = Some(*first);
                    while let Some(job) = first.take() {
                        let (batch, then) = self.gather(job, commands);
                        self.commit(batch);
                        match then {
                            Some(Command::Event(next)) => first = Some(*next),
                            Some(Command::Stop) => return,
                            None => {}
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// A batch, and what came that does not belong to it. A request to vanish is a batch of its own.
    fn gather(
        &self,
        first: Job,
        commands: &mpsc::Receiver<Command>,
    ) -> (Vec<Job>, Option<Command>) {
        let deadline = Instant::now() + WAIT;
        let mut bytes = first.record.json.len();
        let alone = first.vanish;
        let mut batch = vec![first];
        while !alone && batch.len() < MOST && bytes < MOST_BYTES {
            let next = match commands.try_recv() {
                Ok(next) => Ok(next),
                Err(_) if batch.len() >= ENOUGH || self.in_flight.load(Ordering::Relaxed) == 0 => {
                    break;
                }
                Err(_) => commands.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            };
            match next {
                Ok(Command::Event(job)) if !job.vanish => {
                    bytes += job.record.json.len();
                    batch.push(*job);
                }
                Ok(other) => return (batch, Some(other)),
                Err(_) => break,
            }
        }
        (batch, None)
    }

    fn commit(&mut self, batch: Vec<Job>) {
        let takes = self.room.look();
        let mut records = Vec::with_capacity(batch.len());
        let mut replies = Vec::with_capacity(batch.len());
        let mut stored: Vec<Record> = Vec::with_capacity(batch.len());
        let vanish = batch.iter().any(|job| job.vanish);
        for job in batch {
            let fate = match job.record.event.kind.is_ephemeral() {
                true => Ok(()),
                false => takes.admit(&job),
            };
            if fate.is_ok() && !job.record.event.kind.is_ephemeral() {
                stored.push(job.record.clone());
            }
            replies.push((job.reply, job.record.event.id, fate));
            records.push(job.record);
        }
        let vanishing = records.first().filter(|_| vanish).map(|job| &job.event);
        let outcomes = if stored.is_empty() {
            Ok(Vec::new())
        } else {
            let forgotten = match vanishing {
                Some(event) => self.forget(event),
                None => Ok(()),
            };
            forgotten.and_then(|()| self.store.append(&stored))
        };
        let mut outcomes = match outcomes {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the event store failed"
                );
                self.broken.cancel();
                stored.iter().map(|_| Err(())).collect()
            }
        }
        .into_iter();
        let mut items = Vec::with_capacity(records.len());
        let mut answered: Vec<Arc<Client>> = Vec::new();
        for (record, (reply, id, fate)) in records.into_iter().zip(replies) {
            let result = match fate {
                Err(rejection) => Err(rejection),
                Ok(()) if record.event.kind.is_ephemeral() => Ok(Accepted::Ephemeral),
                Ok(()) => verdict(outcomes.next()),
            };
            let seq = match result {
                Ok(Accepted::New { seq }) => {
                    self.known.insert(&id);
                    Some(seq)
                }
                _ => None,
            };
            if seq.is_some() || result == Ok(Accepted::Ephemeral) {
                items.push(Item {
                    seq,
                    record: Arc::new(record),
                });
            }
            match reply {
                Reply::Task(sender) => {
                    // The task may have given up waiting.
                    let _ = sender.send(result);
                }
                Reply::Client(client) => {
                    let text = match &result {
                        Ok(accepted) => write::ok(&id, true, accepted.message()),
                        Err(rejection) => write::ok(&id, false, &rejection.to_wire()),
                    };
                    client.outbox.text(&[text.as_bytes()]);
                    if !answered.iter().any(|known| known.id == client.id) {
                        answered.push(client);
                    }
                }
            }
        }
        // Who reads after an answer finds what it wrote: what is not stored is found once it is handed on. The answers
        // lie before it in each outbox.
        if items.iter().any(|item| item.seq.is_none()) {
            self.fan_out(std::mem::take(&mut items));
        }
        for client in answered {
            client.outbox.flush();
        }
        self.fan_out(items);
    }

    /// Removes what a request to vanish is about. That comes before the request itself is stored: whoever sent one that
    /// a crash cut off was not told OK.
    fn forget(&self, request: &Event) -> Result<(), store::Error> {
        if self.store.has(&request.id)? {
            return Ok(());
        }
        let author = request.pubkey;
        let removed = self.store.vanish(&author, request.created_at.as_secs())?;
        tracing::info!(removed, "a key asked to be forgotten");
        // The coordinator erases the files when it sees the request, and after a crash when it sees this.
        if author == self.operator {
            self.store.purge(&[], b"")?;
        }
        Ok(())
    }

    fn fan_out(&self, items: Vec<Item>) {
        if items.is_empty() {
            return;
        }
        // Only this thread adds batches, so an empty queue stays empty until this one is out.
        if items.len() <= INLINE && self.behind.load(Ordering::Acquire) == 0 {
            self.hub.publish(&items);
            return;
        }
        self.behind.fetch_add(1, Ordering::AcqRel);
        if let Err(mpsc::SendError(items)) = self.fan_out.send(items) {
            self.hub.publish(&items);
        }
    }

    fn collect(&self) {
        loop {
            match self.store.expire(Timestamp::now().as_secs(), COLLECT_MOST) {
                Ok(COLLECT_MOST) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "failed to collect expired events"
                    );
                    return;
                }
            }
        }
    }
}

fn verdict(outcome: Option<Result<Outcome, ()>>) -> Result<Accepted, Rejection> {
    match outcome {
        Some(Ok(Outcome::New { seq })) => Ok(Accepted::New { seq }),
        Some(Ok(Outcome::Duplicate)) => Ok(Accepted::Duplicate),
        Some(Ok(Outcome::Superseded)) => Err(Rejection::Superseded),
        Some(Ok(Outcome::Deleted)) => Err(Rejection::Deleted),
        Some(Ok(Outcome::Unrepresentable)) => Err(Rejection::TimeOutOfRange),
        Some(Err(())) | None => Err(Rejection::Store),
    }
}
