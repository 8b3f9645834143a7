//! NIP-11: what a relay says about itself.
//! <https://github.com/nostr-protocol/nips/blob/master/11.md>

use serde::Serialize;

/// The media type that asks for the document.
pub const MEDIA_TYPE: &str = "application/nostr+json";

/// The relay information document.
#[derive(Debug, Clone, Serialize)]
pub struct Information {
    /// A short name.
    pub name: String,
    /// One paragraph.
    pub description: String,
    /// The administrator's key, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pubkey: Option<String>,
    /// The relay's own key, hex, under which it signs.
    #[serde(rename = "self")]
    pub self_key: String,
    /// NIPs that are served.
    pub supported_nips: Vec<u16>,
    /// Where the software comes from.
    pub software: &'static str,
    /// The version of the software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'static str>,
    /// Limits that hold for the one who asks.
    pub limitation: Limitation,
}

/// Limits that a client can rely on.
#[derive(Debug, Clone, Serialize)]
pub struct Limitation {
    /// Bytes of one message.
    pub max_message_length: usize,
    /// Open subscriptions of one connection.
    pub max_subscriptions: usize,
    /// The highest `limit` of a filter; higher ones are clamped.
    pub max_limit: usize,
    /// The `limit` of a filter that has none.
    pub default_limit: usize,
    /// Characters of a subscription id.
    pub max_subid_length: usize,
    /// Tags of one event.
    pub max_event_tags: usize,
    /// Characters of an event's content.
    pub max_content_length: usize,
    /// Proof of work asked for.
    pub min_pow_difficulty: u8,
    /// Whether the one who asks has to authenticate first.
    pub auth_required: bool,
    /// Never.
    pub payment_required: bool,
    /// Whether the one who asks has to be admitted to write.
    pub restricted_writes: bool,
    /// Seconds that `created_at` may lie in the future.
    pub created_at_upper_limit: u64,
}
