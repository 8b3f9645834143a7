//! Where the rows of a segment are, as a file beside it, so that opening reads no events.

use std::io;

use super::{
    disk::{self, Disk},
    frame::{Reader, checksum},
    manifest::FileKind,
};

const MAGIC: u64 = 0x7472_6565_726f_7732;

/// Writes places into a new file, and makes its bytes durable.
pub(super) fn write(disk: &dyn Disk, number: u64, segment: u64, places: &[u32]) -> io::Result<()> {
    let file = disk.create(&FileKind::Rows.name(number))?;
    let mut bytes = Vec::with_capacity(28 + places.len() * 4);
    bytes.extend(MAGIC.to_le_bytes());
    bytes.extend(segment.to_le_bytes());
    bytes.extend((places.len() as u64).to_le_bytes());
    for place in places {
        bytes.extend(place.to_le_bytes());
    }
    bytes.extend(checksum(&[&bytes]).to_le_bytes());
    file.write_at(&bytes, 0)?;
    file.sync()
}

/// Reads places.
pub(super) fn read(disk: &dyn Disk, number: u64, segment: u64) -> io::Result<Vec<u32>> {
    let name = FileKind::Rows.name(number);
    let bytes = disk::read_all(&*disk.open(&name)?)?;
    parse(&bytes, segment)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{name} is damaged")))
}

fn parse(bytes: &[u8], segment: u64) -> Option<Vec<u32>> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let mut from = Reader(body);
    let right = checksum(&[body]) == u32::from_le_bytes(*crc)
        && from.u64()? == MAGIC
        && from.u64()? == segment;
    let count = usize::try_from(from.u64()?).ok()?;
    if !right || from.0.len() != count.checked_mul(4)? {
        return None;
    }
    std::iter::repeat_with(|| from.u32()).take(count).collect()
}
