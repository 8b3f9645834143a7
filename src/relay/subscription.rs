//! What one connection asks for: REQ and COUNT, and who may ask.
//!
//! A subscription is registered at once, in the order of the client's messages; its stored events are read
//! by a task, so that a long query holds up nothing else.

use std::sync::Arc;

use bytes::Bytes;
use nostr::Filter;
use tokio::task::JoinSet;

use super::{
    Rejection, Shared,
    client::Client,
    hub::{self, Registered},
    rights::{self, Rights},
};
use crate::{nips::nip01::write, store::Hit};

/// Queries of one connection that run at once.
const TASKS: usize = 16;
/// Stored events that are sent together, and their bytes.
const PAGE: usize = 50;
const PAGE_BYTES: usize = 64 << 10;

/// Runs the queries of one connection; dropping it ends them.
pub(super) struct Reader {
    shared: Arc<Shared>,
    client: Arc<Client>,
    tasks: JoinSet<()>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, client: Arc<Client>) -> Self {
        Self {
            shared,
            client,
            tasks: JoinSet::new(),
        }
    }

    /// Closes a subscription and says why.
    pub(super) fn refuse(&self, name: &str, rejection: &Rejection) {
        self.shared.hub.close(&self.client, name);
        self.client.send(&write::closed(name, &rejection.to_wire()));
    }

    /// Answers a REQ.
    pub(super) async fn subscribe(&mut self, name: String, filters: Vec<Filter>) {
        let config = &self.shared.config;
        let (most, most_bytes) = (config.max_subscriptions, config.max_filter_bytes);
        let admitted = admit(&self.shared, &self.client.rights, &filters).and_then(|()| {
            let (open, bytes) = self.shared.hub.open(&self.client, &name);
            if open >= most {
                Err(Rejection::TooManySubscriptions(most))
            } else if bytes + hub::bytes(&filters) > most_bytes {
                Err(Rejection::TooMuchFiltered(most_bytes))
            } else {
                Ok(())
            }
        });
        if let Err(rejection) = admitted {
            self.refuse(&name, &rejection);
            return;
        }
        let registered = self
            .shared
            .hub
            .register(&self.client, &name, filters.clone());
        self.room().await;
        let (shared, client) = (Arc::clone(&self.shared), Arc::clone(&self.client));
        self.tasks.spawn(async move {
            let slot = registered.slot;
            // None when a filter has no limit.
            let most: Option<usize> = filters.iter().map(|filter| filter.limit).sum();
            let hits = shared
                .hits(filters, registered.up_to, client.rights.keys())
                .await;
            let sent = match hits {
                Ok(mut hits) => {
                    hits.extend(missed(registered, most, hits.len(), &client));
                    stored(&shared, &client, slot, hits).await
                }
                Err(error) => Err(Rejection::from(&error)),
            };
            match sent {
                Ok(()) => shared.hub.live(slot),
                Err(rejection) if shared.hub.close_slot(slot) => {
                    client.send(&write::closed(&name, &rejection.to_wire()));
                }
                Err(_) => {}
            }
        });
    }

    /// Answers a COUNT (NIP-45).
    pub(super) async fn count(&mut self, name: String, filters: Vec<Filter>) {
        if let Err(rejection) = admit(&self.shared, &self.client.rights, &filters) {
            self.client
                .send(&write::closed(&name, &rejection.to_wire()));
            return;
        }
        self.room().await;
        let (shared, client) = (Arc::clone(&self.shared), Arc::clone(&self.client));
        self.tasks.spawn(async move {
            let text = match shared.count(filters, Some(client.rights.keys())).await {
                Ok(count) => write::count(&name, count),
                Err(error) => write::closed(&name, &Rejection::from(&error).to_wire()),
            };
            client.send(&text);
        });
    }

    /// Waits until another query may run.
    async fn room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        while self.tasks.len() >= TASKS {
            self.tasks.join_next().await;
        }
    }
}

/// Whether a client may ask for this, in whatever way.
pub(super) fn admit(shared: &Shared, rights: &Rights, filters: &[Filter]) -> Result<(), Rejection> {
    if filters.len() > shared.config.max_filters {
        return Err(Rejection::TooManyFilters(shared.config.max_filters));
    }
    if shared.search.get().is_none() && filters.iter().any(|filter| filter.search.is_some()) {
        return Err(Rejection::NoSearch);
    }
    rights.may_read()?;
    if rights::only_private(filters) && rights.keys().is_empty() {
        return Err(Rejection::GiftWraps);
    }
    Ok(())
}

/// Ephemeral events that a subscription missed, as rows: what the client may see, and no more beside what is stored than
/// the filters' limits allow.
fn missed(
    registered: Registered,
    most: Option<usize>,
    stored: usize,
    client: &Client,
) -> impl Iterator<Item = Hit> {
    let mut missed = registered.missed;
    missed.retain(|record| client.rights.receives(&record.event));
    let room = most.map_or(usize::MAX, |most| most.saturating_sub(stored));
    let surplus = missed.len().saturating_sub(room);
    missed.into_iter().skip(surplus).map(|record| Hit {
        seq: 0,
        created_at: record.event.created_at.as_secs(),
        id: record.event.id,
        json: Some(record.json.clone()),
    })
}

/// Sends stored events as fast as the reader takes them, until the subscription is closed or replaced.
async fn stored(
    shared: &Shared,
    client: &Client,
    slot: u64,
    hits: Vec<Hit>,
) -> Result<(), Rejection> {
    // One page may take the half of the outbox that `room` waits for.
    let free = PAGE_BYTES.min(client.outbox.limit() / 2);
    let mut page = Vec::new();
    let mut bytes = 0;
    for hit in hits {
        let json = match hit.json {
            Some(json) => Some(json),
            None => shared
                .read(hit.seq)
                .await
                .map_err(|error| Rejection::from(&error))?,
        };
        let Some(json) = json else {
            continue;
        };
        let len = json.len() + 128;
        if !page.is_empty() && (page.len() >= PAGE || bytes + len > free) {
            if !send(shared, client, slot, &page).await {
                return Ok(());
            }
            client.outbox.flush();
            page.clear();
            bytes = 0;
        }
        bytes += len;
        page.push(json);
    }
    // It goes out with what follows it, EOSE.
    send(shared, client, slot, &page).await;
    Ok(())
}

/// Hands over a page when there is room for it; false when nobody wants it any more.
async fn send(shared: &Shared, client: &Client, slot: u64, page: &[Bytes]) -> bool {
    let _paging = client.paging.lock().await;
    client.outbox.room().await && shared.hub.page(slot, page)
}
