//! Id and signature of an event.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use nostr::{
    Event, PublicKey, SECP256K1,
    secp256k1::{Message, XOnlyPublicKey},
};

use super::Rejection;

/// Keys that are kept decompressed; when there are more, all are forgotten.
const MAX_KEYS: usize = 4096;

/// Verifies events. Decompressing a key costs an eighth of a verification, so keys are kept.
#[derive(Default)]
pub(super) struct Verifier {
    keys: RwLock<HashMap<PublicKey, XOnlyPublicKey>>,
}

impl Verifier {
    /// Checks the id first, since that is cheap.
    pub(super) fn check(&self, event: &Event) -> Result<(), Rejection> {
        if !event.verify_id() {
            return Err(Rejection::Id);
        }
        self.signature(event)
    }

    /// Checks the signature of an event whose id is its hash.
    pub(super) fn signature(&self, event: &Event) -> Result<(), Rejection> {
        let key = self.key(&event.pubkey)?;
        SECP256K1
            .verify_schnorr(&event.sig, &Message::from_digest(event.id.to_bytes()), &key)
            .map_err(|_| Rejection::Signature)
    }

    fn key(&self, public: &PublicKey) -> Result<XOnlyPublicKey, Rejection> {
        let known = self
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(public)
            .copied();
        if let Some(key) = known {
            return Ok(key);
        }
        let key = public.xonly().map_err(|_| Rejection::Signature)?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.insert(*public, key);
        Ok(key)
    }
}
