//! Writing a pack and its index (version 2), one entry after the other and without deltas.

use std::{
    fs,
    io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use flate2::Crc;
use sha1_checked::Digest as _;

use super::{Kind, ObjectId};
use crate::workspace::id::{checksum, plain};

/// Offsets from here on stand in the index's second table.
const LARGE: u64 = 0x8000_0000;

struct Written {
    id: ObjectId,
    crc: u32,
    offset: u64,
}

/// A pack that is being written, beside the finished ones under a name that git does not read.
pub(crate) struct PackWriter {
    file: BufWriter<fs::File>,
    unfinished: PathBuf,
    offset: u64,
    written: Vec<Written>,
}

impl PackWriter {
    /// Starts a pack in a folder.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let unfinished = folder.join(format!("tmp_pack_{}_{number}", std::process::id()));
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&unfinished)?;
        let mut writer = Self {
            file: BufWriter::with_capacity(1 << 18, file),
            unfinished,
            offset: 12,
            written: Vec::new(),
        };
        // The count is put in at the end.
        writer.file.write_all(b"PACK\0\0\0\x02\0\0\0\0")?;
        Ok(writer)
    }

    /// Adds an object whose bytes are already compressed.
    pub(crate) fn add(
        &mut self,
        id: ObjectId,
        kind: Kind,
        size: u64,
        zipped: &[u8],
    ) -> io::Result<()> {
        let code: u8 = match kind {
            Kind::Commit => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
        };
        let mut header = Vec::with_capacity(10);
        let mut rest = size >> 4;
        let mut byte = (code << 4) | (size & 15) as u8;
        while rest > 0 {
            header.push(byte | 0x80);
            byte = (rest & 0x7f) as u8;
            rest >>= 7;
        }
        header.push(byte);
        self.add_entry(id, &[&header, zipped])
    }

    /// Adds an entry as another pack holds it.
    pub(crate) fn add_entry(&mut self, id: ObjectId, parts: &[&[u8]]) -> io::Result<()> {
        let mut crc = Crc::new();
        let offset = self.offset;
        for part in parts {
            self.file.write_all(part)?;
            crc.update(part);
            self.offset += part.len() as u64;
        }
        self.written.push(Written {
            id,
            crc: crc.sum(),
            offset,
        });
        Ok(())
    }

    /// Writes the index, syncs both and gives them their names, the index last: from then on the objects are
    /// there. The folder's names are durable too. Returns where the index is.
    pub(crate) fn finish(mut self) -> io::Result<PathBuf> {
        let count = u32::try_from(self.written.len()).map_err(io::Error::other)?;
        self.file.flush()?;
        let file = self.file.get_mut();
        file.seek(SeekFrom::Start(8))?;
        file.write_all(&count.to_be_bytes())?;
        file.rewind()?;
        let mut hash = plain();
        let mut buffer = vec![0; 1 << 18];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
        }
        let sum: [u8; 20] = hash.finalize().into();
        file.write_all(&sum)?;
        file.sync_all()?;

        let index = index(&mut self.written, &sum);
        let unfinished_index = self.unfinished.with_extension("idx");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished_index)?;
        file.write_all(&index)?;
        file.sync_all()?;

        let folder = self
            .unfinished
            .parent()
            .ok_or_else(|| io::Error::other("a pack lies in a folder"))?;
        let name = folder.join(format!("pack-{}.pack", hex::encode(sum)));
        fs::rename(&self.unfinished, &name)?;
        let folder = fs::File::open(folder)?;
        folder.sync_all()?;
        let name = name.with_extension("idx");
        fs::rename(&unfinished_index, &name)?;
        folder.sync_all()?;
        Ok(name)
    }
}

impl Drop for PackWriter {
    fn drop(&mut self) {
        // After `finish` it is not there any more; a pack that was given up must not stay.
        let _ = fs::remove_file(&self.unfinished);
    }
}

/// The index: fan-out, names, CRCs, offsets, large offsets, the pack's checksum, its own.
fn index(written: &mut [Written], pack: &[u8; 20]) -> Vec<u8> {
    written.sort_by_key(|entry| entry.id);
    let mut bytes = b"\xfftOc\0\0\0\x02".to_vec();
    let mut at = 0;
    for first in 0..=255_u8 {
        while written
            .get(at)
            .is_some_and(|entry| entry.id.as_bytes()[0] <= first)
        {
            at += 1;
        }
        bytes.extend_from_slice(&(at as u32).to_be_bytes());
    }
    for entry in written.iter() {
        bytes.extend_from_slice(entry.id.as_bytes());
    }
    for entry in written.iter() {
        bytes.extend_from_slice(&entry.crc.to_be_bytes());
    }
    let mut large = Vec::new();
    for entry in written.iter() {
        let offset = if entry.offset < LARGE {
            entry.offset as u32
        } else {
            let row = (large.len() / 8) as u32;
            large.extend_from_slice(&entry.offset.to_be_bytes());
            LARGE as u32 | row
        };
        bytes.extend_from_slice(&offset.to_be_bytes());
    }
    bytes.extend_from_slice(&large);
    bytes.extend_from_slice(pack);
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}
