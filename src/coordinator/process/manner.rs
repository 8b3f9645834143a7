//! How a process goes about a job: whether it asks its owner before it acts, and whether its lines are kept.

use std::path::PathBuf;

use nostr::PublicKey;

use super::{Process, Talk};
use crate::{
    agent::acp::{self, PermissionPolicy, SessionId},
    coordinator::{context::Context, executor::Order},
    job::Failure,
};

/// Where the raw lines of a session are.
pub(super) fn journal_of(context: &Context, session: &PublicKey) -> PathBuf {
    context.journal.join(format!("{}.jsonl", session.to_hex()))
}

impl Process {
    /// A session begins with this job. Of a private one nothing is kept in clear text: none of its lines, and none of
    /// those that the agent said when it started.
    pub(in crate::coordinator) fn begins_with(&self, order: &Order) {
        self.answers_for(order);
        if order.request.scheme.is_private() {
            let journal = journal_of(&self.context, &self.keys.public_key());
            if let Err(error) = std::fs::remove_file(journal) {
                tracing::debug!(%error, "no journal to remove");
            }
        }
    }

    /// An open session goes on with this job.
    ///
    /// # Errors
    /// A sentence for the customer.
    pub(in crate::coordinator) async fn goes_on_with(
        &self,
        order: &Order,
        acp: Option<&SessionId>,
    ) -> Result<(), Failure> {
        self.answers_for(order);
        let Some(acp) = acp else {
            return Ok(());
        };
        match self.set_mode(acp, order.asks_its_owner()).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.agent_failed(&error).await),
        }
    }

    /// Has it ask its owner before it acts, where that is a mode of its own, or not any more.
    ///
    /// # Errors
    /// When it refuses.
    pub(in crate::coordinator) async fn set_mode(
        &self,
        acp: &SessionId,
        asks: bool,
    ) -> Result<(), acp::Error> {
        match (&self.talk, self.manifest.mode(asks)) {
            (Talk::Acp { peer, .. }, Some(mode)) => peer.set_mode(acp, mode).await,
            _ => Ok(()),
        }
    }

    /// A permission that nobody answers is refused when its owner wants to be asked. Once something private was
    /// said, no line is kept any more.
    fn answers_for(&self, order: &Order) {
        if order.request.scheme.is_private() {
            self.journal.stop();
        }
        if let Talk::Acp { peer, .. } = &self.talk {
            peer.set_permissions(if order.asks_its_owner() {
                PermissionPolicy::Reject
            } else {
                PermissionPolicy::Allow
            });
        }
    }
}
