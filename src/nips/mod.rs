//! Typed wire vocabulary: one file per NIP or record, no I/O and no clock.
//!
//! [`Draft`] is an event before it is signed, [`kind`] the one registry of kinds. What each type means on
//! the wire is written in `nips/` at the top of the repository.

pub mod draft;
pub mod kind;

pub use self::draft::Draft;
