//! Index keys: 16 bytes, `[type 4 bits][hash 52 bits][!created_at 32][seq 40]`, big endian.
//!
//! The inverted time sorts newest first. Hashes are keyed per store, so that nobody can aim at
//! collisions; whoever reads an index checks the event itself again.

use nostr::{
    Event, EventId, Kind, PublicKey,
    hashes::{HashEngine as _, siphash24},
};

use crate::nips::{nip01, nip40};

/// The highest sequence number that a key can hold.
pub(super) const MAX_SEQ: u64 = (1 << 40) - 1;

/// The part of a key before the time.
pub(super) type Prefix = [u8; 7];

/// A whole key.
pub(super) type Key = [u8; 16];

#[derive(Clone, Copy)]
enum Index {
    Id = 1,
    Author = 2,
    AuthorKind = 3,
    Kind = 4,
    Tag = 5,
    Time = 6,
    Address = 7,
    Expiration = 8,
    Word = 9,
    /// The log's, for what is not taken any more; see [`Keyer::dead_id`].
    Vanished = 12,
    DeadAddress = 13,
    Deleted = 14,
    Purged = 15,
}

/// The lowest word of keys that are not those of a row.
const DEAD: u8 = (Index::Vanished as u8) << 4;

/// Makes keys, with the store's own hash key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyer {
    k0: u64,
    k1: u64,
}

impl Keyer {
    pub(super) fn new(secret: [u8; 16]) -> Self {
        let secret = u128::from_be_bytes(secret);
        Self {
            k0: (secret >> 64) as u64,
            k1: secret as u64,
        }
    }

    pub(super) fn id(&self, id: &EventId) -> Prefix {
        self.prefix(Index::Id, &[id.as_bytes()])
    }

    pub(super) fn author(&self, author: &PublicKey) -> Prefix {
        self.prefix(Index::Author, &[author.as_bytes()])
    }

    pub(super) fn author_kind(&self, author: &PublicKey, kind: Kind) -> Prefix {
        self.prefix(
            Index::AuthorKind,
            &[author.as_bytes(), &kind.as_u16().to_be_bytes()],
        )
    }

    pub(super) fn kind(&self, kind: Kind) -> Prefix {
        self.prefix(Index::Kind, &[&kind.as_u16().to_be_bytes()])
    }

    pub(super) fn tag(&self, letter: u8, value: &str) -> Prefix {
        self.prefix(Index::Tag, &[&[letter], value.as_bytes()])
    }

    pub(super) fn address(&self, kind: Kind, author: &PublicKey, identifier: &str) -> Prefix {
        self.prefix(
            Index::Address,
            &[
                &kind.as_u16().to_be_bytes(),
                author.as_bytes(),
                identifier.as_bytes(),
            ],
        )
    }

    /// A word of the search, which has its own database and its own key.
    pub(super) fn word(&self, word: &str) -> Prefix {
        self.prefix(Index::Word, &[word.as_bytes()])
    }

    pub(super) fn time() -> Prefix {
        plain(Index::Time)
    }

    pub(super) fn expiration() -> Prefix {
        plain(Index::Expiration)
    }

    /// Every key of an event, each once.
    pub(super) fn keys(&self, event: &Event, created_at: u32, seq: u64) -> Vec<Key> {
        let mut prefixes = Vec::with_capacity(8 + event.tags.len());
        prefixes.push(self.id(&event.id));
        prefixes.push(self.author(&event.pubkey));
        prefixes.push(self.author_kind(&event.pubkey, event.kind));
        prefixes.push(self.kind(event.kind));
        prefixes.push(Self::time());
        if let Some(identifier) = nip01::identifier(event) {
            prefixes.push(self.address(event.kind, &event.pubkey, identifier));
        }
        for tag in event.tags.iter() {
            if let [name, value, ..] = tag.as_slice()
                && let [letter] = name.as_bytes()
                && letter.is_ascii_alphabetic()
            {
                prefixes.push(self.tag(*letter, value));
            }
        }
        prefixes.sort_unstable();
        prefixes.dedup();
        let mut keys: Vec<Key> = prefixes
            .iter()
            .map(|prefix| key(prefix, !created_at, seq))
            .collect();
        if let Some(at) = nip40::expiration(event) {
            keys.push(expiration_key(at, seq));
        }
        keys
    }

    /// The key of an id that is not taken any more: there is no row, so all of it is hash.
    pub(super) fn dead_id(&self, id: &EventId, author: &PublicKey, purged: bool) -> Key {
        let index = if purged {
            Index::Purged
        } else {
            Index::Deleted
        };
        let parts: [&[u8]; 2] = [id.as_bytes(), author.as_bytes()];
        let hash = self.hash(&parts);
        let mut key = [0; 16];
        key[..7].copy_from_slice(&typed(index, hash));
        key[7] = (hash >> 52) as u8;
        key[8..].copy_from_slice(&self.second(&parts).to_be_bytes());
        key
    }

    /// The key of an address of which versions up to a time are not taken any more, the latest first. In the place of a
    /// sequence number is more of the hash.
    pub(super) fn dead_address(
        &self,
        kind: u16,
        author: &PublicKey,
        identifier: &[u8; 32],
        until: u32,
    ) -> Key {
        let kind = kind.to_be_bytes();
        let parts: [&[u8]; 3] = [&kind, author.as_bytes(), identifier];
        self.dead_until(Index::DeadAddress, &parts, until)
    }

    /// The same of an author of whom nothing up to a time is taken any more.
    pub(super) fn vanished(&self, author: &PublicKey, until: u32) -> Key {
        self.dead_until(Index::Vanished, &[author.as_bytes()], until)
    }

    fn dead_until(&self, index: Index, parts: &[&[u8]], until: u32) -> Key {
        let prefix = typed(index, self.hash(parts));
        key(&prefix, !until, self.second(parts) & MAX_SEQ)
    }

    fn prefix(&self, index: Index, parts: &[&[u8]]) -> Prefix {
        typed(index, self.hash(parts))
    }

    fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut engine = siphash24::HashEngine::with_keys(self.k0, self.k1);
        for part in parts {
            engine.input(part);
        }
        siphash24::Hash::from_engine_to_u64(engine)
    }

    /// A second hash of the same.
    fn second(&self, parts: &[&[u8]]) -> u64 {
        let mut engine = siphash24::HashEngine::with_keys(!self.k0, self.k1.rotate_left(32));
        for part in parts {
            engine.input(part);
        }
        siphash24::Hash::from_engine_to_u64(engine)
    }
}

fn plain(index: Index) -> Prefix {
    typed(index, 0)
}

fn typed(index: Index, hash: u64) -> Prefix {
    let word = ((index as u64) << 60) | ((hash & ((1 << 52) - 1)) << 8);
    let bytes = word.to_be_bytes();
    [
        bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6],
    ]
}

/// A key from its parts; `time` is already inverted where the index sorts newest first.
pub(super) fn key(prefix: &Prefix, time: u32, seq: u64) -> Key {
    let mut key = [0; 16];
    key[..7].copy_from_slice(prefix);
    key[7..11].copy_from_slice(&time.to_be_bytes());
    key[11..].copy_from_slice(&seq.to_be_bytes()[3..]);
    key
}

/// The key under which an event waits for its expiration; this index sorts earliest first.
pub(super) fn expiration_key(at: u64, seq: u64) -> Key {
    key(
        &Keyer::expiration(),
        u32::try_from(at).unwrap_or(u32::MAX),
        seq,
    )
}

/// The time (as it stands in the key) and the sequence number of a key.
pub(super) fn parts(key: &[u8]) -> Option<(u32, u64)> {
    key.try_into().ok().map(split)
}

/// As [`parts`], of a whole key.
pub(super) fn split(key: &Key) -> (u32, u64) {
    let time = u32::from_be_bytes([key[7], key[8], key[9], key[10]]);
    let seq = [0, 0, 0, key[11], key[12], key[13], key[14], key[15]];
    (time, u64::from_be_bytes(seq))
}

/// Whether a key is that of a row, and not of what is not taken any more.
pub(super) fn is_rows(key: &Key) -> bool {
    key[0] < DEAD
}

/// The part of a key before the time.
pub(super) fn prefix(key: &Key) -> Prefix {
    [key[0], key[1], key[2], key[3], key[4], key[5], key[6]]
}

/// The first and the last key that a prefix may have.
pub(super) fn whole(prefix: &Prefix) -> (Key, Key) {
    (key(prefix, 0, 0), key(prefix, u32::MAX, MAX_SEQ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_newest_first_then_by_sequence() {
        let keyer = Keyer::new([7; 16]);
        let prefix = keyer.kind(Kind::from(1));
        assert!(key(&prefix, !200, 9) < key(&prefix, !100, 1));
        assert!(key(&prefix, !100, 1) < key(&prefix, !100, 2));
        assert_eq!(
            parts(&key(&prefix, !100, MAX_SEQ)),
            Some((!100u32, MAX_SEQ))
        );
    }

    #[test]
    fn prefixes_of_different_indexes_and_values_differ() {
        let keyer = Keyer::new([7; 16]);
        let author = nostr::Keys::generate().public_key();
        let mut all = vec![
            keyer.author(&author),
            keyer.author_kind(&author, Kind::from(1)),
            keyer.kind(Kind::from(1)),
            keyer.tag(b'e', "x"),
            keyer.tag(b'E', "x"),
            Keyer::time(),
            Keyer::expiration(),
        ];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 7);
    }
}
