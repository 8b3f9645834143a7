//! Who may have jobs done and, from another web origin or machine, who may read and write.

use std::{collections::HashSet, sync::RwLock};

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

/// Whose jobs run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admit {
    /// The owner's, and those of the keys that the owner allowed.
    #[default]
    Owner,
    /// Anyone's; strangers within fixed quotas.
    Anyone,
}

/// The admitted keys, shared by the relay and the coordinator.
///
/// A key is *admitted* when it is the operator's or one that the operator allowed. [`Admit::Anyone`] lets
/// strangers' jobs run within quotas; it does not make them admitted.
#[derive(Debug)]
pub struct Admission {
    operator: PublicKey,
    mode: Admit,
    allowed: RwLock<HashSet<PublicKey>>,
}

impl Admission {
    /// Only the operator is admitted at first.
    #[must_use]
    pub fn new(operator: PublicKey, mode: Admit) -> Self {
        Self {
            operator,
            mode,
            allowed: RwLock::default(),
        }
    }

    /// The operator's key.
    #[must_use]
    pub fn operator(&self) -> PublicKey {
        self.operator
    }

    /// Whose jobs run.
    #[must_use]
    pub fn mode(&self) -> Admit {
        self.mode
    }

    /// Whether the owner admitted this key.
    #[must_use]
    pub fn is_admitted(&self, key: &PublicKey) -> bool {
        *key == self.operator
            || self
                .allowed
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .contains(key)
    }

    /// Replaces the allowed keys, after the owner's list changed.
    pub fn set_allowed(&self, keys: impl IntoIterator<Item = PublicKey>) {
        *self
            .allowed
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = keys.into_iter().collect();
    }
}
