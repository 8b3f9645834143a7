//! The publisher: redacts, signs, verifies, and goes through the relay's one door.

use std::sync::Arc;

use nostr::{Event, Keys};

use super::context::now;
use crate::{
    nips::{Draft, draft::SignError},
    recorder::Redactor,
    relay::{Rejection, Relay},
};

/// Signs and publishes for the host's keys.
#[derive(Clone)]
pub struct Publisher {
    relay: Relay,
    redactor: Arc<Redactor>,
}

/// Events that were not published, and why.
#[derive(Debug)]
pub(super) struct Unpublished {
    /// Why the first of them was not.
    pub(super) error: PublishError,
    /// Where the order broke off.
    pub(super) events: Vec<Event>,
}

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The relay refused it.
    #[error("the relay refused an event of kind {kind}: {reason}")]
    Rejected {
        /// The event's kind.
        kind: u16,
        /// The relay's reason.
        reason: Rejection,
    },
}

impl PublishError {
    /// Whether publishing the same event later may succeed.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Rejected { reason, .. } if reason.is_temporary())
    }
}

impl Publisher {
    /// Publishes to a relay.
    #[must_use]
    pub fn new(relay: Relay, redactor: Arc<Redactor>) -> Self {
        Self { relay, redactor }
    }

    /// Cuts secrets out of a draft ([`Redactor::clean`]) and signs it.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn sign(&self, draft: Draft, keys: &Keys) -> Result<Event, SignError> {
        self.sign_at(draft, keys, now())
    }

    /// The same at a time, in Unix seconds.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn sign_at(
        &self,
        mut draft: Draft,
        keys: &Keys,
        created_at: u64,
    ) -> Result<Event, SignError> {
        self.redactor.clean(&mut draft);
        draft.sign(keys, created_at)
    }

    /// Publishes an event; one that the relay has already is fine.
    ///
    /// # Errors
    /// When the relay refuses it.
    pub async fn publish(&self, event: Event) -> Result<(), PublishError> {
        let kind = event.kind.as_u16();
        self.relay
            .publish(event)
            .await
            .map(drop)
            .map_err(|reason| PublishError::Rejected { kind, reason })
    }

    /// Publishes events in this order with one wait for the disk.
    ///
    /// # Errors
    /// When the relay refuses one; those after it may be published.
    pub async fn publish_all(&self, events: Vec<Event>) -> Result<(), PublishError> {
        // Each is handed to the relay's one writer when its future is first polled, and they are polled in
        // order.
        let publishing = events.into_iter().map(|event| self.publish(event));
        futures_util::future::join_all(publishing)
            .await
            .into_iter()
            .collect()
    }

    /// Publishes events each of which builds on the one before, with one wait for the disk: none goes out after
    /// one that is known to be refused.
    ///
    /// # Errors
    /// With the events from the first one on that the relay refused.
    pub(super) async fn publish_chain(&self, mut events: Vec<Event>) -> Result<(), Unpublished> {
        let rejected = |event: &Event, reason| PublishError::Rejected {
            kind: event.kind.as_u16(),
            reason,
        };
        let unfit = events.iter().enumerate().find_map(|(at, event)| {
            let reason = self.relay.check(event).err()?;
            Some((at, rejected(event, reason)))
        });
        let unfit = unfit.map(|(at, error)| Unpublished {
            error,
            events: events.split_off(at),
        });
        let publishing = events.iter().map(|event| self.publish(event.clone()));
        let published = futures_util::future::join_all(publishing).await;
        let refused = published
            .into_iter()
            .enumerate()
            .find_map(|(at, outcome)| Some((at, outcome.err()?)));
        if let Some((at, error)) = refused {
            let mut events = events.split_off(at);
            events.extend(unfit.into_iter().flat_map(|unfit| unfit.events));
            return Err(Unpublished { error, events });
        }
        unfit.map_or(Ok(()), Err)
    }

    /// Signs and publishes.
    ///
    /// # Errors
    /// As [`Self::sign`] and [`Self::publish`].
    pub async fn say(&self, draft: Draft, keys: &Keys) -> Result<Event, PublishError> {
        let event = self.sign(draft, keys)?;
        self.publish(event.clone()).await?;
        Ok(event)
    }
}
