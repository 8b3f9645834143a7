//! The integration tests, one binary.

mod relay;
//! The one integration test binary: everything against the real program.

mod sandbox;
//! treefort's integration tests.

mod acp_agents;
mod chat_agent;
