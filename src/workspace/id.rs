//! Names of objects: SHA-1 over git's header and the bytes, refused when the bytes are a known collision
//! attack on SHA-1.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha1_checked::{CollisionResult, Digest as _, Sha1};

/// The name of a git object: the SHA-1 of its header and its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; 20]);

/// The bytes are made so that others have the same SHA-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are a collision attack on SHA-1")]
pub struct Collision;

/// A text is not 40 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an object's name is 40 hexadecimal digits")]
pub struct NotAnId;

impl ObjectId {
    /// The tree without entries.
    pub const EMPTY_TREE: Self = Self([
        0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60, 0xe5, 0x4b, 0xf8, 0xd6, 0x92,
        0x88, 0xfb, 0xee, 0x49, 0x04,
    ]);

    /// An id from its 20 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The id in a slice of 20 bytes, as trees, packs and indexes hold it.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its 20 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The name of an object of a kind (`blob`, `tree`, `commit`).
    ///
    /// # Errors
    /// When the bytes are a collision attack: two contents would have one name.
    pub fn of(kind: &str, bytes: &[u8]) -> Result<Self, Collision> {
        let mut hash = Sha1::new();
        hash.update(format!("{kind} {}\0", bytes.len()));
        hash.update(bytes);
        match hash.try_finalize() {
            CollisionResult::Ok(digest) => Ok(Self(digest.into())),
            CollisionResult::Mitigated(_) | CollisionResult::Collision(_) => Err(Collision),
        }
    }

    /// The same for bytes that come out of our own store: without the search for attacks, three times faster.
    pub(crate) fn of_stored(kind: &str, bytes: &[u8]) -> Self {
        let mut hash = plain();
        hash.update(format!("{kind} {}\0", bytes.len()));
        hash.update(bytes);
        Self(hash.finalize().into())
    }
}

/// A SHA-1 for checksums, which need no search for attacks.
pub(crate) fn plain() -> Sha1 {
    Sha1::builder().detect_collision(false).build()
}

/// The checksum that packs and indexes end with.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 20] {
    let mut hash = plain();
    hash.update(bytes);
    hash.finalize().into()
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAnId)?;
        Ok(Self(bytes))
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_git_gives() {
        let hello = ObjectId::of("blob", b"hello\n").unwrap();
        assert_eq!(
            hello.to_string(),
            "ce013625030ba8dba906f756967f9e9ca394464a"
        );
        assert_eq!(ObjectId::of_stored("blob", b"hello\n"), hello);
        assert_eq!(ObjectId::of("tree", b"").unwrap(), ObjectId::EMPTY_TREE);
        assert_eq!(hello.to_string().parse(), Ok(hello));
        let json = serde_json::to_string(&hello).unwrap();
        assert_eq!(json, "\"ce013625030ba8dba906f756967f9e9ca394464a\"");
        assert_eq!(serde_json::from_str::<ObjectId>(&json).unwrap(), hello);
        assert!("ce01".parse::<ObjectId>().is_err());
    }
}
