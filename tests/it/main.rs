//! The integration tests, one binary.

mod relay;
