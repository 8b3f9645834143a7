//! What the ledger keeps of a job.

use nostr::{Event, EventId, PublicKey};
use serde::{Deserialize, Serialize};

use super::Job;
use crate::nips::nip90::Scheme;

/// A job as the ledger keeps it: enough to go on after a crash without a second result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Version of this format.
    pub v: u32,
    /// Where it stands.
    pub job: Job,
    /// The request, as it was signed.
    pub request: Event,
    /// How the answers are written.
    pub scheme: Scheme,
    /// Which agent does it.
    pub agent: String,
    /// Whether the customer is a stranger, bound by quotas.
    pub stranger: bool,
    /// The job whose conversation this one continues.
    pub continues: Option<EventId>,
    /// The session that did it last.
    pub session: Option<PublicKey>,
    /// The result that went out.
    pub result: Option<EventId>,
    /// When it was accepted, in Unix seconds.
    pub accepted_at: u64,
    /// Signed answers that are not known to be on the relay. Stored before they are published, so that a
    /// repetition after a crash is the same event and not a second one.
    pub outbox: Vec<Event>,
}

impl JobRecord {
    /// The version that this program writes.
    pub const VERSION: u32 = 1;

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.request.id
    }

    /// Whether nothing is left to do: it ended, and its answers are out.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.job.is_done() && self.outbox.is_empty()
    }

    /// Who asked.
    #[must_use]
    pub fn customer(&self) -> PublicKey {
        self.request.pubkey
    }
}
