//! A run: sorted index keys in a file that never changes.
//!
//! The keys come first, in blocks of 4 KiB; then the first key and the checksum of each block, a filter over what the
//! keys begin with, and a footer. All but the blocks is in memory, so that a look-up reads one block, or none when the
//! filter knows that there is nothing.

use std::{io, sync::Arc};

use super::{
    bloom::Bloom,
    disk::{self, Disk, File},
    frame::{Reader, checksum},
    keys::Word,
};

const KEY: usize = 16;
/// Keys of a block.
const BLOCK: usize = 256;
const MAGIC: u64 = 0x7472_6565_7275_6e32;
const FOOTER: usize = 28;
/// How much is written at once.
const CHUNK: usize = 256 << 10;

/// Keys on the disk.
pub(super) struct Run {
    /// Its file's number.
    pub(super) number: u64,
    file: Arc<dyn File>,
    count: usize,
    fences: Vec<Word>,
    crcs: Vec<u32>,
    bloom: Bloom,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("number", &self.number)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// What a key begins with: its index and its hash.
fn prefix(key: Word) -> u64 {
    (key >> 72) as u64
}

fn damaged(number: u64) -> io::Error {
    let name = super::manifest::FileKind::Run.name(number);
    io::Error::new(io::ErrorKind::InvalidData, format!("{name} is damaged"))
}

impl Run {
    /// Writes keys, which come in order, into a new file and makes its bytes durable; `None` when there are none.
    pub(super) fn write(
        disk: &dyn Disk,
        name: &str,
        number: u64,
        keys: impl Iterator<Item = io::Result<Word>>,
    ) -> io::Result<Option<Self>> {
        let file = disk.create(name)?;
        let (mut fences, mut crcs, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
        let mut buffer = Vec::with_capacity(CHUNK + BLOCK * KEY);
        let (mut written, mut block, mut count) = (0_u64, 0, 0);
        for key in keys {
            let key = key?;
            if count % BLOCK == 0 {
                if count > 0 {
                    crcs.push(checksum(&[&buffer[block..]]));
                }
                if buffer.len() >= CHUNK {
                    file.write_at(&buffer, written)?;
                    written += buffer.len() as u64;
                    buffer.clear();
                }
                block = buffer.len();
                fences.push(key);
            }
            if prefixes.last() != Some(&prefix(key)) {
                prefixes.push(prefix(key));
            }
            buffer.extend(key.to_be_bytes());
            count += 1;
        }
        if count == 0 {
            return Ok(None);
        }
        crcs.push(checksum(&[&buffer[block..]]));
        let bloom = Bloom::of(&prefixes);
        let mut tail = Vec::new();
        fences.iter().for_each(|key| tail.extend(key.to_le_bytes()));
        crcs.iter().for_each(|crc| tail.extend(crc.to_le_bytes()));
        tail.extend(bloom.bytes());
        let bloom_len = tail.len() - fences.len() * (KEY + 4);
        let crc = checksum(&[&tail]);
        buffer.extend(tail);
        buffer.extend(MAGIC.to_le_bytes());
        buffer.extend((count as u64).to_le_bytes());
        buffer.extend((bloom_len as u64).to_le_bytes());
        buffer.extend(crc.to_le_bytes());
        file.write_at(&buffer, written)?;
        file.sync()?;
        Ok(Some(Self {
            number,
            file,
            count,
            fences,
            crcs,
            bloom,
        }))
    }

    /// Opens a file.
    pub(super) fn open(disk: &dyn Disk, name: &str, number: u64) -> io::Result<Self> {
        let file = disk.open(name)?;
        let len = file.len()?;
        let footer_at = len
            .checked_sub(FOOTER as u64)
            .ok_or_else(|| damaged(number))?;
        let footer = disk::read(&*file, footer_at, FOOTER)?;
        let mut from = Reader(&footer);
        let mut word = || from.u64().ok_or_else(|| damaged(number));
        let (magic, count, bloom_len) = (word()?, word()?, word()?);
        let crc = from.u32().ok_or_else(|| damaged(number))?;
        let blocks = count.div_ceil(BLOCK as u64);
        let tail_len = u128::from(blocks) * (KEY as u128 + 4) + u128::from(bloom_len);
        let whole = u128::from(count) * KEY as u128 + tail_len + FOOTER as u128;
        if magic != MAGIC || whole != u128::from(len) {
            return Err(damaged(number));
        }
        let tail_len = usize::try_from(tail_len).map_err(io::Error::other)?;
        let tail = disk::read(&*file, footer_at - tail_len as u64, tail_len)?;
        if checksum(&[&tail]) != crc {
            return Err(damaged(number));
        }
        let mut from = Reader(&tail);
        let fences = (0..blocks).map_while(|_| from.array().map(Word::from_le_bytes));
        let fences = fences.collect();
        let crcs = (0..blocks).map_while(|_| from.u32()).collect();
        Ok(Self {
            number,
            file,
            count: usize::try_from(count).map_err(io::Error::other)?,
            fences,
            crcs,
            bloom: Bloom::read(from.0),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The keys from one to another, both included, in order.
    pub(super) fn range(self: &Arc<Self>, from: Word, to: Word) -> RunKeys {
        let one = prefix(from) == prefix(to);
        let mut keys = RunKeys {
            run: Arc::clone(self),
            from,
            to,
            block: 0,
            bytes: Vec::new(),
            at: 0,
        };
        if one && !self.bloom.may_have(prefix(from)) {
            keys.block = self.fences.len();
        } else {
            // The block before may end with some of them.
            let after = self.fences.partition_point(|fence| *fence <= from);
            keys.block = after.saturating_sub(1);
        }
        keys
    }

    fn block(&self, number: usize) -> io::Result<Vec<u8>> {
        let len = (self.count - number * BLOCK).min(BLOCK) * KEY;
        let bytes = disk::read(&*self.file, (number * BLOCK * KEY) as u64, len)?;
        if checksum(&[&bytes]) != self.crcs[number] {
            return Err(damaged(self.number));
        }
        Ok(bytes)
    }
}

/// Keys of a [`Run`], in order.
#[derive(Debug)]
pub(super) struct RunKeys {
    run: Arc<Run>,
    from: Word,
    to: Word,
    /// The block to read next.
    block: usize,
    bytes: Vec<u8>,
    at: usize,
}

impl RunKeys {
    fn key(&self, at: usize) -> Option<Word> {
        let bytes = self.bytes.get(at * KEY..(at + 1) * KEY)?;
        bytes.try_into().ok().map(Word::from_be_bytes)
    }

    /// The first key of the block that belongs here.
    fn seek(&self) -> usize {
        let (mut low, mut high) = (0, self.bytes.len() / KEY);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle).is_some_and(|key| key < self.from) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Iterator for RunKeys {
    type Item = io::Result<Word>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.key(self.at) {
                if key > self.to {
                    self.block = self.run.fences.len();
                    self.bytes.clear();
                    return None;
                }
                self.at += 1;
                return Some(Ok(key));
            }
            let fence = self.run.fences.get(self.block)?;
            if *fence > self.to {
                return None;
            }
            match self.run.block(self.block) {
                Ok(bytes) => self.bytes = bytes,
                Err(error) => {
                    self.block = self.run.fences.len();
                    self.bytes.clear();
                    return Some(Err(error));
                }
            }
            self.at = if *fence < self.from { self.seek() } else { 0 };
            self.block += 1;
        }
    }
}
