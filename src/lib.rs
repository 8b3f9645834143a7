//! treefort runs AI agents that can build anything and break nothing, with a Nostr relay as their only bus.

pub mod agent;
pub mod cli;
pub mod config;
pub mod coordinator;
pub mod job;
pub mod keys;
pub mod model;
pub mod ndjson;
pub mod nips;
pub mod recorder;
pub mod relay;
pub mod sandbox;
pub mod server;
pub mod store;
