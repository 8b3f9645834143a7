//! What an operator sets about the relay.

use serde::{Deserialize, Serialize};

/// Who may read over a connection from this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Read {
    /// Every program on this machine.
    #[default]
    Open,
    /// Only who authenticates as an admitted key.
    Auth,
}

/// Limits and rules of the relay. NIP-11 tells clients about them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The relay's name.
    pub name: String,
    /// Who may read over a connection from this machine.
    pub read: Read,
    /// Further names by which the relay may be reached, for example behind a proxy. Connections that use
    /// one have to authenticate.
    pub hosts: Vec<String>,
    /// Bytes of one message.
    pub max_message_bytes: usize,
    /// Bytes of one WebSocket frame; between this and `max_message_bytes` a client gets an answer, beyond
    /// it the connection is closed.
    pub max_frame_bytes: usize,
    /// Tags of one event.
    pub max_tags: usize,
    /// Characters of an event's content.
    pub max_content: usize,
    /// Seconds that `created_at` may lie in the future.
    pub max_future_s: u64,
    /// Open connections.
    pub max_connections: usize,
    /// Open connections of pages of other origins and of other machines, out of `max_connections`.
    pub max_foreign_connections: usize,
    /// Open streams over HTTP (`GET /events/stream`), out of `max_connections`.
    pub max_streams: usize,
    /// Open subscriptions of one connection.
    pub max_subscriptions: usize,
    /// Filters of one subscription.
    pub max_filters: usize,
    /// The highest `limit` of a filter.
    pub max_limit: usize,
    /// The `limit` of a filter that has none.
    pub default_limit: usize,
    /// Bytes that wait for a slow reader before it is closed.
    pub max_outbox_bytes: usize,
    /// Queries that run at once; one in four of these places is for those that go through much.
    pub max_queries: usize,
    /// Seconds after which a query is given up.
    pub query_timeout_s: u64,
    /// Seconds in which a request's head has to arrive.
    pub handshake_timeout_s: u64,
    /// Seconds without a sign of life after which a connection is closed; half of it after which we ask.
    pub idle_timeout_s: u64,
    /// Messages a second of all programs of this machine together, for each of its addresses; 0 is no limit.
    pub max_local_rate: u32,
    /// Messages a second from one address of another machine, and of all web pages of other origins together.
    pub max_foreign_rate: u32,
    /// Events a second by one author that come from other machines and pages of other origins.
    pub max_key_rate: u32,
    /// For how many seconds' worth of these rates may come at once.
    pub rate_burst_s: u32,
    /// Events with a wrong id or signature that a connection may send in a minute; 0 is no limit.
    pub max_wrong_signatures: u32,
    /// Bytes that the filters of one connection's subscriptions may take.
    pub max_filter_bytes: usize,
    /// MiB that have to be free on the disk for anything to be taken; 0 does not look.
    pub min_free_mb: u64,
    /// Seconds for which an ephemeral event is sent to subscribers that come after it.
    pub ephemeral_replay_s: u64,
    /// Bytes of ephemeral events that are kept for them.
    pub max_ephemeral_bytes: usize,
    /// The most events that one reconciliation (NIP-77) compares.
    pub max_negentropy: usize,
    /// Reconciliations of one connection at the same time.
    pub max_negentropy_sessions: usize,
    /// Whether clients can search (NIP-50).
    pub search: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "treefort".to_owned(),
            read: Read::Open,
            hosts: Vec::new(),
            max_message_bytes: 512 << 10,
            max_frame_bytes: 4 << 20,
            max_tags: 2000,
            max_content: 480 << 10,
            max_future_s: 15 * 60,
            max_connections: 512,
            max_foreign_connections: 64,
            max_streams: 128,
            max_subscriptions: 300,
            max_filters: 32,
            max_limit: 5000,
            default_limit: 500,
            max_outbox_bytes: 4 << 20,
            max_queries: 8,
            query_timeout_s: 30,
            handshake_timeout_s: 10,
            idle_timeout_s: 300,
            max_local_rate: 200_000,
            max_foreign_rate: 50,
            max_key_rate: 20,
            rate_burst_s: 10,
            max_wrong_signatures: 60,
            max_filter_bytes: 4 << 20,
            min_free_mb: 128,
            ephemeral_replay_s: 60,
            max_ephemeral_bytes: 4 << 20,
            max_negentropy: 250_000,
            max_negentropy_sessions: 4,
            search: true,
        }
    }
}
