//! The end of the log: where the next frame goes.
//!
//! One frame is under way at a time, and is durable before the next one begins. After a failed write nobody knows what
//! is on the disk behind the last good frame, so the segment is left as it is up to there and another one is begun.

use std::{io, sync::Arc};

use super::{
    Log,
    disk::{Disk, File},
    frame::{self, Payload, Reader, checksum},
    manifest::{FileKind, Position, SegmentEntry},
    state::Segment,
};
use crate::store::Error;

/// How long a segment's own header is.
pub(super) const BEGIN: u64 = 32;
const MAGIC: u64 = 0x7472_6565_6c6f_6732;

/// The segment that is written to.
pub(super) struct Tail {
    pub(super) file: Arc<dyn File>,
    pub(super) number: u64,
    pub(super) salt: u32,
    /// Where the next frame begins.
    pub(super) end: u64,
    /// Its number.
    pub(super) frame: u32,
    /// How far there is room on the disk.
    pub(super) room: u64,
    /// A write failed, or its end is recorded: nothing more goes here.
    pub(super) closed: bool,
}

/// What only the one who writes has.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) tail: Option<Tail>,
    /// What the last purge noted.
    pub(super) note: Option<Vec<u8>>,
}

impl Writer {
    /// Where the next frame begins.
    pub(super) fn position(&self) -> Option<Position> {
        self.tail.as_ref().map(|tail| Position {
            segment: tail.number,
            at: tail.end,
            frame: tail.frame,
        })
    }
}

/// Makes a segment's file, with its header; not durable before it is synced.
pub(super) fn create(disk: &dyn Disk, number: u64, salt: u32) -> io::Result<Arc<dyn File>> {
    let file = disk.create(&FileKind::Segment.name(number))?;
    let mut header = Vec::with_capacity(BEGIN as usize);
    header.extend(MAGIC.to_le_bytes());
    header.extend(number.to_le_bytes());
    header.extend(salt.to_le_bytes());
    header.extend(checksum(&[&header]).to_le_bytes());
    header.resize(BEGIN as usize, 0);
    file.write_at(&header, 0)?;
    Ok(file)
}

/// Whether this is the header of a segment.
pub(super) fn is_header(header: &[u8], number: u64, salt: u32) -> bool {
    let mut from = Reader(header);
    let (said, crc) = header.split_at_checked(20).unwrap_or_default();
    from.u64() == Some(MAGIC)
        && from.u64() == Some(number)
        && from.u32() == Some(salt)
        && Reader(crc).u32() == Some(checksum(&[said]))
}

impl Log {
    /// Writes a frame durably at the end of the log; says in which segment it is, and where its payload begins.
    pub(super) fn write(
        &self,
        writer: &mut Writer,
        payload: &Payload,
        last: u64,
        first: u64,
    ) -> Result<u64, Error> {
        let len = (frame::HEADER + payload.len()) as u64;
        if payload.len() > frame::MAX_PAYLOAD {
            return Err(Error::TooMuch);
        }
        let fits = |tail: &Tail| {
            !tail.closed && (tail.end + len <= self.options.segment || tail.end == BEGIN)
        };
        if !writer.tail.as_ref().is_some_and(fits) {
            self.begin_segment(writer, first)?;
        }
        let tail = writer.tail.as_mut().ok_or(Error::Stopped)?;
        let at = tail.end;
        let written = (|| {
            if at + len > tail.room {
                let room = (at + len).next_multiple_of(self.options.step);
                tail.file.allocate(room)?;
                tail.room = room;
            }
            let bytes = payload.frame(tail.salt, tail.frame, last);
            tail.file.write_at(&bytes, at)?;
            tail.file.sync()
        })();
        if let Err(error) = written {
            tail.closed = true;
            if let Some(segment) = self.state_mut().segments.last_mut() {
                segment.torn = true;
            }
            return Err(error.into());
        }
        tail.end = frame::aligned(at + len);
        tail.frame += 1;
        Ok(at + frame::HEADER as u64)
    }

    /// Ends the segment that is written to, and begins another for rows from a sequence number on.
    pub(super) fn begin_segment(&self, writer: &mut Writer, first: u64) -> Result<(), Error> {
        let mut salt = [0; 4];
        getrandom::fill(&mut salt).map_err(|_| Error::Random)?;
        // Zeros are what is not written yet.
        let salt = u32::from_le_bytes(salt) | 1;
        let number = self.number();
        let room = self.options.step;
        let ended = writer.tail.as_ref().map(|tail| (tail.number, tail.end));
        if let Some(tail) = &mut writer.tail {
            // Also when this fails: the manifest that says so may be on the disk.
            tail.closed = true;
        }
        let file = create(&*self.disk, number, salt)?;
        file.allocate(room)?;
        file.sync()?;
        let position = Position {
            segment: number,
            at: BEGIN,
            frame: 0,
        };
        self.amend(|manifest| {
            if let Some((number, end)) = ended
                && let Some(entry) = manifest.segments.last_mut()
                && entry.file == number
            {
                entry.end = Some(end);
            }
            manifest.segments.push(SegmentEntry {
                file: number,
                salt,
                first,
                end: None,
                rows: None,
            });
            manifest.covered.get_or_insert(position);
        })?;
        self.state_mut().segments.push(Segment {
            number,
            file: Arc::clone(&file),
            first,
            places: Vec::new(),
            dead: 0,
            changed: false,
            torn: false,
        });
        writer.tail = Some(Tail {
            file,
            number,
            salt,
            end: BEGIN,
            frame: 0,
            room,
            closed: false,
        });
        Ok(())
    }
}
