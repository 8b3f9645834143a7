//! Reading packs: ours, and those with deltas that a person's `git gc` makes.

use std::{
    fs, io,
    io::{BufReader, Read},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use flate2::bufread::ZlibDecoder;

use super::{Kind, ObjectId, Store};

/// The longest chain of deltas; git makes them of 50 by default and 4095 at most.
const MAX_CHAIN: usize = 4096;

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the pack is damaged")
}

/// A pack whose index is in memory. The pack's file stays open, so that it can be read after somebody
/// repacked the store.
#[derive(Debug)]
pub(super) struct Pack {
    path: PathBuf,
    index: Vec<u8>,
    count: usize,
    file: fs::File,
}

enum Entry {
    Whole(Kind),
    /// The difference to the object at an offset of this pack.
    Offset(u64),
    /// The difference to an object anywhere in the store.
    Named(ObjectId),
}

struct At<'p> {
    file: &'p fs::File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

type Reader<'p> = BufReader<At<'p>>;
/// Objects and their entries' bytes.
type Entries = Vec<(ObjectId, Vec<u8>)>;

impl Pack {
    /// Opens a pack by its index (version 2).
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let index = fs::read(path)?;
        let file = fs::File::open(path.with_extension("pack"))?;
        let header = index.get(..8).ok_or_else(invalid)?;
        if header != b"\xfftOc\0\0\0\x02" {
            return Err(invalid());
        }
        let mut pack = Self {
            path: path.to_owned(),
            index,
            count: 0,
            file,
        };
        pack.count = pack.u32(8 + 255 * 4).ok_or_else(invalid)? as usize;
        if pack.index.len() < 8 + 1024 + pack.count * 28 + 40 {
            return Err(invalid());
        }
        Ok(pack)
    }

    /// Where the index is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many objects it has.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// How many bytes the pack's file has.
    pub(super) fn size(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.index.get(at..at + 4)?;
        bytes.try_into().ok().map(u32::from_be_bytes)
    }

    fn id(&self, row: usize) -> Option<&[u8]> {
        let at = 8 + 1024 + row * 20;
        self.index.get(at..at + 20)
    }

    fn offset(&self, row: usize) -> Option<u64> {
        let offsets = 8 + 1024 + self.count * 24;
        let offset = self.u32(offsets + row * 4)?;
        if offset & 0x8000_0000 == 0 {
            return Some(u64::from(offset));
        }
        let at = offsets + self.count * 4 + (offset & 0x7fff_ffff) as usize * 8;
        let bytes = self.index.get(at..at + 8)?;
        bytes.try_into().ok().map(u64::from_be_bytes)
    }

    /// Where an object's entry begins.
    pub(super) fn find(&self, id: &ObjectId) -> Option<u64> {
        let first = usize::from(id.as_bytes()[0]);
        let mut low = match first {
            0 => 0,
            _ => self.u32(8 + (first - 1) * 4)? as usize,
        };
        let mut high = self.u32(8 + first * 4)? as usize;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.id(middle)?.cmp(id.as_bytes().as_slice()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.offset(middle),
            }
        }
        None
    }

    /// An object's kind and bytes.
    pub(super) fn read(&self, store: &Store, at: u64) -> io::Result<(Kind, Vec<u8>)> {
        let mut deltas = Vec::new();
        let mut at = at;
        let (kind, mut bytes) = loop {
            let (entry, size, reader) = self.entry(at)?;
            match entry {
                Entry::Whole(kind) => break (kind, inflate(reader, size)?),
                Entry::Offset(base) => {
                    deltas.push(inflate(reader, size)?);
                    at = base;
                }
                Entry::Named(base) => {
                    deltas.push(inflate(reader, size)?);
                    match self.find(&base) {
                        Some(offset) => at = offset,
                        None => break store.read(&base).map_err(io::Error::other)?,
                    }
                }
            }
            if deltas.len() > MAX_CHAIN {
                return Err(invalid());
            }
        };
        for delta in deltas.iter().rev() {
            bytes = patch(&bytes, delta).ok_or_else(invalid)?;
        }
        Ok((kind, bytes))
    }

    /// An object's kind and size.
    pub(super) fn header(&self, store: &Store, at: u64) -> io::Result<(Kind, u64)> {
        match self.entry(at)? {
            (Entry::Whole(kind), size, _) => Ok((kind, size)),
            _ => self
                .read(store, at)
                .map(|(kind, bytes)| (kind, bytes.len() as u64)),
        }
    }

    /// Every object with its entry's bytes, in the order of the file; `None` when one is a delta.
    pub(super) fn entries(&self) -> io::Result<Option<Entries>> {
        let mut rows = Vec::with_capacity(self.count);
        for row in 0..self.count {
            let id = self.id(row).and_then(ObjectId::from_slice);
            let (Some(offset), Some(id)) = (self.offset(row), id) else {
                return Err(invalid());
            };
            rows.push((offset, id));
        }
        rows.sort_unstable();
        let end = self.size()?.checked_sub(20).ok_or_else(invalid)?;
        let mut entries = Vec::with_capacity(rows.len());
        for (at, (offset, id)) in rows.iter().enumerate() {
            if !matches!(self.entry(*offset)?.0, Entry::Whole(_)) {
                return Ok(None);
            }
            let next = rows.get(at + 1).map_or(end, |(offset, _)| *offset);
            let length = next.checked_sub(*offset).ok_or_else(invalid)?;
            let mut bytes = vec![0; usize::try_from(length).map_err(|_| invalid())?];
            self.file.read_exact_at(&mut bytes, *offset)?;
            entries.push((*id, bytes));
        }
        Ok(Some(entries))
    }

    fn entry(&self, at: u64) -> io::Result<(Entry, u64, Reader<'_>)> {
        let mut reader = BufReader::new(At {
            file: &self.file,
            offset: at,
        });
        let mut next = || {
            let mut byte = [0];
            reader.read_exact(&mut byte).map(|()| byte[0])
        };
        let mut byte = next()?;
        let code = (byte >> 4) & 7;
        let mut size = u64::from(byte & 15);
        let mut shift = 4;
        while byte & 0x80 != 0 {
            byte = next()?;
            if shift > 56 {
                return Err(invalid());
            }
            size |= u64::from(byte & 0x7f) << shift;
            shift += 7;
        }
        let entry = match code {
            1 => Entry::Whole(Kind::Commit),
            2 => Entry::Whole(Kind::Tree),
            3 => Entry::Whole(Kind::Blob),
            4 => Entry::Whole(Kind::Tag),
            6 => {
                byte = next()?;
                let mut back = u64::from(byte & 0x7f);
                while byte & 0x80 != 0 {
                    byte = next()?;
                    if back > u64::MAX >> 8 {
                        return Err(invalid());
                    }
                    back = ((back + 1) << 7) | u64::from(byte & 0x7f);
                }
                let base = at.checked_sub(back).filter(|_| back > 0);
                Entry::Offset(base.ok_or_else(invalid)?)
            }
            7 => {
                let mut id = [0; 20];
                reader.read_exact(&mut id)?;
                Entry::Named(ObjectId::new(id))
            }
            _ => return Err(invalid()),
        };
        Ok((entry, size, reader))
    }
}

fn inflate(reader: Reader<'_>, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(reader)
        .take(size.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|_| invalid())?;
    if bytes.len() as u64 == size {
        Ok(bytes)
    } else {
        Err(invalid())
    }
}

/// Applies a delta: copies out of the base, and bytes of its own.
fn patch(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut delta = delta.iter().copied();
    let mut number = || {
        let (mut value, mut shift) = (0_usize, 0);
        loop {
            let byte = delta.next()?;
            value |= usize::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    };
    let (from, to) = (number()?, number()?);
    if from != base.len() {
        return None;
    }
    let mut bytes = Vec::new();
    while let Some(code) = delta.next() {
        if code & 0x80 == 0 {
            if code == 0 {
                return None;
            }
            for _ in 0..code {
                bytes.push(delta.next()?);
            }
        } else {
            let mut field = |bits: std::ops::Range<u8>| {
                let mut value = 0_usize;
                for (at, bit) in bits.enumerate() {
                    if code & (1 << bit) != 0 {
                        value |= usize::from(delta.next()?) << (8 * at);
                    }
                }
                Some(value)
            };
            let offset = field(0..4)?;
            let size = match field(4..7)? {
                0 => 0x10000,
                size => size,
            };
            bytes.extend_from_slice(base.get(offset..offset.checked_add(size)?)?);
        }
        if bytes.len() > to {
            return None;
        }
    }
    (bytes.len() == to).then_some(bytes)
}
