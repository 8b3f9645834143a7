//! One WebSocket as the rest of the relay sees it: what it may do, its outbox.

use super::{outbox::Outbox, rights::Rights};

pub(super) struct Client {
    pub(super) id: u64,
    pub(super) outbox: Outbox,
    pub(super) rights: Rights,
    pub(super) challenge: String,
    /// Held by the one query that fills the free half of the outbox.
    pub(super) paging: tokio::sync::Mutex<()>,
}

impl Client {
    pub(super) fn new(id: u64, outbox: Outbox, rights: Rights, challenge: String) -> Self {
        Self {
            id,
            outbox,
            rights,
            challenge,
            paging: tokio::sync::Mutex::default(),
        }
    }

    /// Adds a message and sends what the socket takes.
    pub(super) fn send(&self, message: &str) {
        self.outbox.text(&[message.as_bytes()]);
        self.outbox.flush();
    }
}
