//! What is in the log: frames, each with the entries of one commit.
//!
//! A frame is `[salt 4][length 4][crc 4][number 4][last seq 8]` and its payload, little endian, and begins at a multiple
//! of eight. The salt is the segment's own and random, the number counts the segment's frames, and the checksum goes over
//! number, last seq and payload: what another file, an earlier frame or the content of an event left at this place is
//! not taken for a frame. An event's entry has a checksum of its own, for who reads only that.

use nostr::{
    EventId, PublicKey,
    hashes::{Hash as _, sha256},
};

use super::super::view::{Address, Dead};

/// How long a frame's header is.
pub(super) const HEADER: usize = 24;
/// How long the header of an event's entry is.
pub(super) const ROW: usize = 17;
/// The longest payload.
pub(super) const MAX_PAYLOAD: usize = 256 << 20;

const EVENT: u8 = 1;
const REMOVED: u8 = 2;
const DELETED: u8 = 3;
const PURGED: u8 = 4;
const DEAD_ADDRESS: u8 = 5;
const VANISHED: u8 = 6;
const NOTE: u8 = 7;
const NO_NOTE: u8 = 8;

/// An address as the log has it: its identifier may be long, so it is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AddressHash {
    pub(super) kind: u16,
    pub(super) author: PublicKey,
    pub(super) identifier: [u8; 32],
}

impl AddressHash {
    pub(super) fn new((kind, author, identifier): &Address) -> Self {
        Self {
            kind: kind.as_u16(),
            author: *author,
            identifier: sha256::Hash::hash(identifier.as_bytes()).to_byte_array(),
        }
    }
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// A new row.
    Event { seq: u64, json: &'a [u8] },
    /// A row that is gone.
    Removed { seq: u64 },
    /// An id that is not taken any more.
    DeadId {
        dead: Dead,
        id: EventId,
        author: PublicKey,
    },
    /// Versions of an address up to a time are not taken any more.
    DeadAddress { address: AddressHash, until: u64 },
    /// Nothing by an author up to a time is taken any more.
    Vanished { author: PublicKey, until: u64 },
    /// What a purge noted; `None` when nothing of it is left to do.
    Note(Option<&'a [u8]>),
}

/// The entries of one commit, as bytes.
#[derive(Debug, Default)]
pub(super) struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds an entry; says where in the payload it begins.
    pub(super) fn push(&mut self, entry: Entry<'_>) -> usize {
        let at = self.bytes.len();
        let to = &mut self.bytes;
        match entry {
            Entry::Event { seq, json } => {
                to.push(EVENT);
                to.extend((json.len() as u32).to_le_bytes());
                to.extend(checksum(&[&seq.to_le_bytes(), json]).to_le_bytes());
                to.extend(seq.to_le_bytes());
                to.extend(json);
            }
            Entry::Removed { seq } => {
                to.push(REMOVED);
                to.extend(seq.to_le_bytes());
            }
            Entry::DeadId { dead, id, author } => {
                to.push(match dead {
                    Dead::Deleted => DELETED,
                    Dead::Purged => PURGED,
                });
                to.extend(id.as_bytes());
                to.extend(author.as_bytes());
            }
            Entry::DeadAddress { address, until } => {
                to.push(DEAD_ADDRESS);
                to.extend(address.kind.to_le_bytes());
                to.extend(address.author.as_bytes());
                to.extend(address.identifier);
                to.extend(until.to_le_bytes());
            }
            Entry::Vanished { author, until } => {
                to.push(VANISHED);
                to.extend(author.as_bytes());
                to.extend(until.to_le_bytes());
            }
            Entry::Note(Some(note)) => {
                to.push(NOTE);
                to.extend((note.len() as u32).to_le_bytes());
                to.extend(note);
            }
            Entry::Note(None) => to.push(NO_NOTE),
        }
        at
    }

    /// The whole frame.
    pub(super) fn frame(&self, salt: u32, number: u32, last: u64) -> Vec<u8> {
        let mut frame = Vec::with_capacity(HEADER + self.bytes.len());
        frame.extend(salt.to_le_bytes());
        frame.extend((self.bytes.len() as u32).to_le_bytes());
        let crc = checksum(&[&number.to_le_bytes(), &last.to_le_bytes(), &self.bytes]);
        frame.extend(crc.to_le_bytes());
        frame.extend(number.to_le_bytes());
        frame.extend(last.to_le_bytes());
        frame.extend(&self.bytes);
        frame
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) salt: u32,
    pub(super) len: usize,
    crc: u32,
    pub(super) number: u32,
    pub(super) last: u64,
}

impl Header {
    /// Reads one; `None` when there are too few bytes.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        Some(Self {
            salt: from.u32()?,
            len: from.u32()? as usize,
            crc: from.u32()?,
            number: from.u32()?,
            last: from.u64()?,
        })
    }

    /// Whether this is the payload.
    pub(super) fn fits(&self, payload: &[u8]) -> bool {
        let (number, last) = (self.number.to_le_bytes(), self.last.to_le_bytes());
        checksum(&[&number, &last, payload]) == self.crc
    }
}

/// Where the frame after one that ends here begins.
pub(super) fn aligned(end: u64) -> u64 {
    end.next_multiple_of(8)
}

pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// The header of an event's entry: how long its JSON is, its checksum and its sequence number.
pub(super) fn row(bytes: &[u8]) -> Option<(usize, u32, u64)> {
    let mut from = Reader(bytes);
    if from.take(1)? != [EVENT] {
        return None;
    }
    Some((from.u32()? as usize, from.u32()?, from.u64()?))
}

/// Reads the entries of a payload, each with where it begins; `None` where it is damaged.
pub(super) fn entries(payload: &[u8]) -> impl Iterator<Item = Option<(usize, Entry<'_>)>> {
    let mut from = Reader(payload);
    std::iter::from_fn(move || {
        if from.0.is_empty() {
            return None;
        }
        let at = payload.len() - from.0.len();
        let entry = entry(&mut from);
        if entry.is_none() {
            from.0 = &[];
        }
        Some(entry.map(|entry| (at, entry)))
    })
}

fn entry<'a>(from: &mut Reader<'a>) -> Option<Entry<'a>> {
    let [tag] = from.array()?;
    Some(match tag {
        EVENT => {
            let (len, _crc, seq) = (from.u32()?, from.u32()?, from.u64()?);
            let json = from.take(len as usize)?;
            Entry::Event { seq, json }
        }
        REMOVED => Entry::Removed { seq: from.u64()? },
        DELETED | PURGED => Entry::DeadId {
            dead: if tag == PURGED {
                Dead::Purged
            } else {
                Dead::Deleted
            },
            id: EventId::from_byte_array(from.array()?),
            author: PublicKey::from_byte_array(from.array()?),
        },
        DEAD_ADDRESS => Entry::DeadAddress {
            address: AddressHash {
                kind: u16::from_le_bytes(from.array()?),
                author: PublicKey::from_byte_array(from.array()?),
                identifier: from.array()?,
            },
            until: from.u64()?,
        },
        VANISHED => Entry::Vanished {
            author: PublicKey::from_byte_array(from.array()?),
            until: from.u64()?,
        },
        NOTE => {
            let len = from.u32()?;
            Entry::Note(Some(from.take(len as usize)?))
        }
        NO_NOTE => Entry::Note(None),
        _ => return None,
    })
}

/// Takes numbers off the front of some bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?))
    }
}
