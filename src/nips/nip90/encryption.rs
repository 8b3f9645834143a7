//! Encrypted jobs: NIP-04 as the NIP's text says, and NIP-44 as newer customers send.
//!
//! The answer goes out in the scheme of the request, because a customer need not know the other one.

use nostr::{
    Event, Keys, PublicKey,
    nips::{nip04, nip44},
};
use serde::{Deserialize, Serialize};

/// How a job and its answers are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In the clear.
    #[default]
    Plain,
    /// NIP-04: AES-CBC, `ciphertext?iv=…`.
    Nip04,
    /// NIP-44, version 2.
    Nip44,
}

/// Why a private job could not be read or answered.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// NIP-04 failed.
    #[error("NIP-04 encryption failed")]
    Nip04(#[source] nip04::Error),
    /// NIP-44 failed.
    #[error("NIP-44 encryption failed")]
    Nip44(#[source] nip44::Error),
    /// What came out is not a list of tags.
    #[error("the decrypted content is not a JSON array of tags")]
    NotTags(#[source] serde_json::Error),
}

impl Scheme {
    /// The scheme of an event: an `encrypted` tag, and NIP-04's `?iv=` in the content.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        let encrypted = event
            .tags
            .iter()
            .any(|tag| tag.as_slice().first().is_some_and(|n| n == "encrypted"));
        match (encrypted, event.content.contains("?iv=")) {
            (false, _) => Self::Plain,
            (true, true) => Self::Nip04,
            (true, false) => Self::Nip44,
        }
    }

    /// Whether the content is hidden.
    #[must_use]
    pub fn is_private(self) -> bool {
        self != Self::Plain
    }

    /// Encrypts for `to`; plain text passes through.
    ///
    /// # Errors
    /// When the scheme's own limits are passed (NIP-44: 65,535 bytes) or the key is not on the curve.
    pub fn encrypt(
        self,
        keys: &Keys,
        to: &PublicKey,
        text: &str,
    ) -> Result<String, EncryptionError> {
        match self {
            Self::Plain => Ok(text.to_owned()),
            Self::Nip04 => {
                nip04::encrypt(keys.secret_key(), to, text).map_err(EncryptionError::Nip04)
            }
            Self::Nip44 => nip44::encrypt(keys.secret_key(), to, text, nip44::Version::default())
                .map_err(EncryptionError::Nip44),
        }
    }

    /// Decrypts what passed between `keys` and `peer`, whichever of them wrote it.
    ///
    /// # Errors
    /// When the content was not written between these two, or not in this scheme.
    pub fn decrypt(
        self,
        keys: &Keys,
        peer: &PublicKey,
        content: &str,
    ) -> Result<String, EncryptionError> {
        match self {
            Self::Plain => Ok(content.to_owned()),
            Self::Nip04 => {
                nip04::decrypt(keys.secret_key(), peer, content).map_err(EncryptionError::Nip04)
            }
            Self::Nip44 => {
                nip44::decrypt(keys.secret_key(), peer, content).map_err(EncryptionError::Nip44)
            }
        }
    }

    /// Decrypts the hidden tags of a job: a JSON array of `i`, `param` and whatever else the customer moved
    /// there (NDK hides `output`, `relays` and `bid` too).
    ///
    /// # Errors
    /// As [`Self::decrypt`], or when the text is not a JSON array of arrays of strings.
    pub fn decrypt_tags(
        self,
        keys: &Keys,
        event: &Event,
    ) -> Result<Vec<Vec<String>>, EncryptionError> {
        if self == Self::Plain {
            return Ok(Vec::new());
        }
        let text = self.decrypt(keys, &event.pubkey, &event.content)?;
        serde_json::from_str(&text).map_err(EncryptionError::NotTags)
    }
}
