//! Typed wire vocabulary: one file per NIP or record, no I/O and no clock.
//!
//! [`Draft`] is an event before it is signed, [`kind`] the one registry of kinds. What each type means on
//! the wire is written in `nips/` at the top of the repository.

pub mod draft;
pub mod kind;
pub mod nip01;
pub mod nip09;
pub mod nip10;
pub mod nip11;
pub mod nip40;
pub mod nip42;
pub mod nip50;
pub mod nip62;
pub mod nip70;
pub mod nip77;
pub mod nip89;
pub mod nip90;
pub mod nip98;
pub mod reference;
pub mod session;
pub mod workspace;

pub use self::{draft::Draft, reference::Reference};
