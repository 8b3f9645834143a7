//! treefort runs AI agents that can build anything and break nothing, with a Nostr relay as their only bus.

pub mod cli;
pub mod job;
pub mod agent;
pub mod keys;
pub mod model;
pub mod ndjson;
pub mod nips;
pub mod recorder;
pub mod relay;
pub mod store;
pub mod sandbox;
