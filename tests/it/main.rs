//! The integration tests: one binary, one concern a module.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is how a test fails, in its helpers too"
)]
#![expect(
    clippy::print_stderr,
    reason = "seeds, durations and a program's last words are for whoever reads a failed run"
)]

mod acp_agents;
mod agents;
mod chat_agent;
mod cli;
mod closed;
mod conformance;
mod crash;
mod described;
mod escape;
mod failures;
mod foreign;
mod fuzz;
mod harness;
mod jobs;
mod llama;
mod load;
mod model_server;
mod models;
mod moving;
mod nips;
mod opencode;
mod real_agents;
mod relay;
mod sandbox;
mod secrets;
mod store;
mod sync;
mod terminal;
mod tidy;
mod vanish;
mod vectors;
mod web;
mod without_docker;
mod workspace;
