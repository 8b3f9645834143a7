//! The integration tests: one binary, one concern a module.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is how a test fails, in its helpers too"
)]

mod foreign;
mod model_server;
mod nips;
mod tidy;
mod vectors;
