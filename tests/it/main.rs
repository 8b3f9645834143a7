//! The integration tests, one binary.

mod relay;
//! The one integration test binary: everything against the real program.

mod sandbox;
//! treefort's integration tests.

mod acp_agents;
mod chat_agent;
//! The integration tests: one binary, one concern a module.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is how a test fails, in its helpers too"
)]

mod model_server;
mod nips;
mod tidy;
mod vectors;
