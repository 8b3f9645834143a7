//! Keys of the host: the keyring, and who is admitted.
//!
//! Secret keys stay on the host, in files that only their owner can read. They never reach an event, a
//! log, a container or an argument list.

pub mod admission;
pub mod keyring;

pub use self::{
    admission::{Admission, Admit},
    keyring::{Keyring, KeyringError},
};
