//! Typed wire vocabulary: one file per NIP or record, no I/O and no clock.
//!
//! [`Draft`] is an event before it is signed, [`kind`] the one registry of kinds. What each type means on
//! the wire is written in `nips/` at the top of the repository.

pub mod draft;
pub mod kind;
pub mod nip01;
pub mod nip09;
pub mod nip11;
pub mod nip40;
pub mod nip42;
pub mod nip70;

pub use self::draft::Draft;
