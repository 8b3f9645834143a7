//! Who acts as the owner: a code from a link, which works once, becomes a bearer, which a page keeps.
//!
//! A bearer is stateless: a MAC over its end and a nonce, under a key that lives as long as the program. While treefort
//! does not run, anybody on this machine can take its port, and an open tab tells whoever answers there its bearer. So
//! none outlives the program that gave it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nostr::{
    Event, Keys, PublicKey,
    hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, cmp::fixed_time_eq, sha256},
};
use sha2::{Digest as _, Sha256};

use crate::{keys::Keyring, nips::nip98, relay::Spent};

/// How long a bearer can be used.
const BEARER_S: u64 = 7 * 86_400;
/// Links that can be used at once; the oldest makes room for a new one.
const MAX_CODES: usize = 32;
/// Signed requests that are remembered while they could come again.
const MAX_SEEN: usize = 256;
/// No bearer is longer.
const MAX_BEARER: usize = 160;

pub(super) struct Tokens {
    /// Of this start alone.
    key: [u8; 32],
    operator: PublicKey,
    codes: Mutex<Vec<Code>>,
    /// Requests that the owner signed.
    spent: Spent,
}

/// A code that nobody used yet. What is compared is its digest, which says nothing about how far a guess was right.
struct Code {
    digest: [u8; 32],
    until: Instant,
    /// Whether others make room first.
    first: bool,
}

impl Tokens {
    pub(super) fn new(keyring: &Keyring) -> Self {
        Self {
            key: Keys::generate().secret_key().to_secret_bytes(),
            operator: keyring.operator().public_key(),
            codes: Mutex::default(),
            spent: Spent::from_now(MAX_SEEN),
        }
    }

    /// A code that works once, for some time.
    pub(super) fn code(&self, life: Duration, first: bool) -> Result<String, getrandom::Error> {
        let code = random::<16>()?;
        let now = Instant::now();
        let mut codes = lock(&self.codes);
        codes.retain(|code| code.until > now);
        if codes.len() >= MAX_CODES {
            let oldest = codes.iter().position(|code| !code.first);
            codes.remove(oldest.unwrap_or_default());
        }
        codes.push(Code {
            digest: Sha256::digest(&code).into(),
            until: now + life,
            first,
        });
        Ok(code)
    }

    /// Uses a code up; whether there was such a one.
    pub(super) fn redeem(&self, code: &str) -> bool {
        let digest = Sha256::digest(code);
        let now = Instant::now();
        let mut codes = lock(&self.codes);
        codes.retain(|code| code.until > now);
        let found = codes
            .iter()
            .position(|code| fixed_time_eq(&code.digest, &digest));
        found.map(|at| codes.remove(at)).is_some()
    }

    /// A bearer, from now on.
    pub(super) fn bearer(&self, now: u64) -> Result<String, getrandom::Error> {
        let claims = format!("{}.{}", now + BEARER_S, random::<16>()?);
        let mac = hex::encode(self.mac(&claims));
        Ok(format!("{claims}.{mac}"))
    }

    /// Whether a bearer is ours and has not ended.
    pub(super) fn is_bearer(&self, bearer: &str, now: u64) -> bool {
        if bearer.len() > MAX_BEARER {
            return false;
        }
        let Some((claims, mac)) = bearer.rsplit_once('.') else {
            return false;
        };
        let mut said = [0; 32];
        if hex::decode_to_slice(mac, &mut said).is_err() || !fixed_time_eq(&said, &self.mac(claims))
        {
            return false;
        }
        let end = claims
            .split('.')
            .next()
            .and_then(|end| end.parse::<u64>().ok());
        end.is_some_and(|end| now < end)
    }

    /// Whether the owner signed this request, now and in this run, and it did not come before.
    pub(super) fn is_owner(&self, event: &Event, url: &str, method: &str, now: u64) -> bool {
        event.pubkey == self.operator
            && nip98::is_for(event, url, method, now)
            && self.spent.take(event).is_ok()
    }

    fn mac(&self, claims: &str) -> [u8; 32] {
        let mut engine = HmacEngine::<sha256::Hash>::new(&self.key);
        engine.input(b"treefort page bearer 1");
        engine.input(claims.as_bytes());
        Hmac::from_engine(engine).to_byte_array()
    }
}

fn random<const N: usize>() -> Result<String, getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_and_a_code_end() {
        let home = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(&Keyring::open(home.path()).unwrap());
        let bearer = tokens.bearer(1000).unwrap();
        assert!(tokens.is_bearer(&bearer, 1000));
        assert!(tokens.is_bearer(&bearer, 999 + BEARER_S));
        assert!(!tokens.is_bearer(&bearer, 1000 + BEARER_S));
        assert_ne!(bearer, tokens.bearer(1000).unwrap());
        let again = Tokens::new(&Keyring::open(home.path()).unwrap());
        assert!(!again.is_bearer(&bearer, 1000), "it outlives the program");

        let over = tokens.code(Duration::ZERO, true).unwrap();
        assert!(!tokens.redeem(&over));
        let code = tokens.code(Duration::from_secs(60), false).unwrap();
        assert!(tokens.redeem(&code) && !tokens.redeem(&code));
    }

    #[test]
    fn the_link_of_up_is_the_last_to_make_room() {
        let home = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(&Keyring::open(home.path()).unwrap());
        let life = Duration::from_secs(60);
        let first = tokens.code(life, true).unwrap();
        for _ in 0..2 * MAX_CODES {
            tokens.code(life, false).unwrap();
        }
        assert_eq!(lock(&tokens.codes).len(), MAX_CODES);
        assert!(tokens.redeem(&first));
        for _ in 0..2 * MAX_CODES {
            tokens.code(life, true).unwrap();
        }
        assert_eq!(lock(&tokens.codes).len(), MAX_CODES);
    }
}
