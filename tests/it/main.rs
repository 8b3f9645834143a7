//! treefort's integration tests.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acp_agents;
mod chat_agent;
