//! treefort's integration tests.

mod acp_agents;
mod chat_agent;
