//! The record: what agents claim and what the host saw, as chained session records.
//!
//! [`SessionLog`] builds and signs a session's records; [`Redactor`] keeps secrets out of them.

pub mod log;
pub mod redact;

pub use self::{
    log::{Belonging, Entry, SessionLog},
    redact::Redactor,
};
