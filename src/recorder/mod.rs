//! The record: what agents claim and what the host saw, as chained session records.

pub mod redact;
