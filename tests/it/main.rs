//! The integration tests, one binary.

mod relay;
//! The one integration test binary: everything against the real program.

mod sandbox;
