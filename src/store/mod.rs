//! What is kept: events and their log, the coordinator's state, blobs.

pub mod blobs;
pub mod state;
