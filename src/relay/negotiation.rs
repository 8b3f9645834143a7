//! What one connection reconciles (NIP-77): it and we find out which events the other lacks.
//!
//! Each reconciliation is a task that holds ids and times of what the client may see, with the rights of a REQ. They are
//! bounded in number for a connection, in size each and together, and in time; the work is done off the async threads.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::Filter;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::{Rejection, Shared, client::Client, subscription::admit};
use crate::{
    nips::nip77::{Message, write_error, write_message},
    store::Hit,
};

/// Bytes of one answer; twice as many in hexadecimal.
const FRAME: usize = 60_000;
/// The least that the crate takes.
const LEAST_FRAME: usize = 4096;
/// How long a client may take to answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// Messages that may wait: a client waits for an answer before it goes on.
const WAITING: usize = 2;

/// Runs the reconciliations of one connection; dropping it ends them.
pub(super) struct Negotiator {
    shared: Arc<Shared>,
    client: Arc<Client>,
    open: HashMap<String, Open>,
}

struct Open {
    messages: mpsc::Sender<Vec<u8>>,
    task: AbortOnDropHandle<()>,
}

/// The two sets as far as they are known, and the room that ours takes.
struct Sets {
    ours: Negentropy<'static, NegentropyStorageVector>,
    _room: OwnedSemaphorePermit,
}

impl Negotiator {
    pub(super) fn new(shared: Arc<Shared>, client: Arc<Client>) -> Self {
        Self {
            shared,
            client,
            open: HashMap::new(),
        }
    }

    /// Answers a message.
    pub(super) fn hear(&mut self, message: Message) {
        let (name, answer) = match message {
            Message::Close(name) => {
                self.open.remove(&name);
                return;
            }
            Message::Open {
                subscription,
                filter,
                message,
            } => {
                let opened = self.open(&subscription, *filter, message);
                (subscription, opened)
            }
            Message::Message {
                subscription,
                message,
            } => {
                let passed = self.pass(&subscription, message);
                (subscription, passed)
            }
        };
        if let Err(rejection) = answer {
            self.refuse(&name, &rejection);
        }
    }

    /// Ends a reconciliation and says why.
    pub(super) fn refuse(&mut self, name: &str, rejection: &Rejection) {
        self.open.remove(name);
        self.client.send(&write_error(name, &rejection.to_wire()));
    }

    fn open(&mut self, name: &str, filter: Filter, first: Vec<u8>) -> Result<(), Rejection> {
        // One of the same name ends.
        self.open.remove(name);
        self.open.retain(|_, open| !open.task.is_finished());
        admit(
            &self.shared,
            &self.client.rights,
            std::slice::from_ref(&filter),
        )?;
        if filter.search.is_some() {
            return Err(Rejection::Negentropy(
                "a reconciliation does not search".to_owned(),
            ));
        }
        let most = self.shared.config.max_negentropy_sessions;
        if self.open.len() >= most {
            return Err(Rejection::TooManyReconciliations(most));
        }
        let (messages, receiver) = mpsc::channel(WAITING);
        let (shared, client) = (Arc::clone(&self.shared), Arc::clone(&self.client));
        let name = name.to_owned();
        let task = {
            let name = name.clone();
            tokio::spawn(async move {
                let ended = reconcile(&shared, &client, &name, filter, first, receiver).await;
                if let Err(rejection) = ended {
                    client.send(&write_error(&name, &rejection.to_wire()));
                }
            })
        };
        let task = AbortOnDropHandle::new(task);
        self.open.insert(name, Open { messages, task });
        Ok(())
    }

    fn pass(&self, name: &str, message: Vec<u8>) -> Result<(), Rejection> {
        let open = self.open.get(name).ok_or(Rejection::NotOpen)?;
        open.messages
            .try_send(message)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    Rejection::Negentropy("wait for the answer before you go on".to_owned())
                }
                mpsc::error::TrySendError::Closed(_) => Rejection::NotOpen,
            })
    }
}

/// Answers until the client closes or something is wrong.
async fn reconcile(
    shared: &Arc<Shared>,
    client: &Client,
    name: &str,
    filter: Filter,
    first: Vec<u8>,
    mut messages: mpsc::Receiver<Vec<u8>>,
) -> Result<(), Rejection> {
    let most = shared.config.max_negentropy;
    let hits = shared
        .known(filter, most.saturating_add(1), client.rights.keys())
        .await
        .map_err(|error| Rejection::from(&error))?;
    if hits.len() > most {
        return Err(Rejection::TooMuch(most));
    }
    let room = u32::try_from(hits.len()).map_err(|_| Rejection::Busy)?;
    let room = Arc::clone(&shared.reconciling)
        .try_acquire_many_owned(room)
        .map_err(|_| Rejection::Busy)?;
    let frame = (shared.config.max_outbox_bytes / 8).clamp(LEAST_FRAME, FRAME);
    let mut sets = off(move || sets(&hits, frame, room)).await?;
    let mut next = first;
    let timeout = Duration::from_secs(shared.config.query_timeout_s);
    loop {
        // Not more at once than queries, whoever asks.
        let place = shared.lanes.quick(Instant::now() + timeout).await;
        let place = place.map_err(|_| Rejection::Stopping)?;
        let answer;
        (sets, answer) = off(move || {
            let answer = sets.ours.reconcile(&next);
            answer
                .map(|answer| (sets, answer))
                .map_err(|error| Rejection::Negentropy(error.to_string()))
        })
        .await?;
        drop(place);
        if !client.outbox.room().await || client.rights.may_read().is_err() {
            return Ok(());
        }
        client.send(&write_message(name, &answer));
        next = match tokio::time::timeout(PATIENCE, messages.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(()),
            Err(_) => return Err(Rejection::Silent),
        };
    }
}

/// Runs something off the async threads. A panic of the crate's on what a client sent is an answer like any other.
async fn off<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Rejection> + Send + 'static,
) -> Result<T, Rejection> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Rejection::Negentropy("not understood".to_owned())))
}

fn sets(hits: &[Hit], frame: usize, room: OwnedSemaphorePermit) -> Result<Sets, Rejection> {
    let build = || {
        let mut storage = NegentropyStorageVector::with_capacity(hits.len());
        for hit in hits {
            storage.insert(hit.created_at, Id::from_byte_array(hit.id.to_bytes()))?;
        }
        storage.seal()?;
        Negentropy::owned(storage, frame as u64)
    };
    let ours =
        build().map_err(|error: negentropy::Error| Rejection::Negentropy(error.to_string()))?;
    Ok(Sets { ours, _room: room })
}
