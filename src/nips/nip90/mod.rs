//! NIP-90: Data Vending Machines, in the strict profile of `nips/90.md`.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/90.md>
//!
//! The types are our own: the NIP is marked `unrecommended` and its Rust home dropped it. [`JobRequest`] is
//! read with every tolerance that real customers need; what we send ([`reply`]) is strict.

pub mod comparison;
pub mod encryption;
pub mod reply;
pub mod request;

pub use self::{
    comparison::{Comparison, MAX_COMPARED},
    encryption::Scheme,
    reply::{Reply, Status, cancelled_unread},
    request::{Input, JobRequest, RequestError},
};

/// Files that may be attached to a job.
pub const MAX_FILES: usize = 20;
/// Bytes that one of them may have.
pub const MAX_FILE_BYTES: usize = 16 << 20;
