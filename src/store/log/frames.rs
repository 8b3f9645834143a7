//! Reading a segment frame by frame.

use std::{io, sync::Arc};

use super::{
    disk::{self, File},
    frame::{self, Header},
};

/// How much of the end is looked at at once.
const CHUNK: usize = 1 << 20;

/// The frames of a segment from a place on.
pub(super) struct Frames {
    pub(super) file: Arc<dyn File>,
    pub(super) salt: u32,
    /// Where the next one begins.
    pub(super) at: u64,
    /// Its number.
    pub(super) frame: u32,
    /// Where there are no more.
    pub(super) end: u64,
}

/// One frame.
pub(super) struct Frame {
    /// The last sequence number at its commit.
    pub(super) last: u64,
    /// Where its payload begins.
    pub(super) at: u64,
    pub(super) payload: Vec<u8>,
}

impl Frames {
    /// The next frame; `None` where there is none, or a damaged one.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        let Some((header, payload)) = self.read(self.at)? else {
            return Ok(None);
        };
        if header.number != self.frame {
            return Ok(None);
        }
        let at = self.at + frame::HEADER as u64;
        self.at = frame::aligned(at + payload.len() as u64);
        self.frame += 1;
        Ok(Some(Frame {
            last: header.last,
            at,
            payload,
        }))
    }

    fn read(&self, at: u64) -> io::Result<Option<(Header, Vec<u8>)>> {
        let left = self.end.saturating_sub(at);
        if left < frame::HEADER as u64 {
            return Ok(None);
        }
        let bytes = disk::read(&*self.file, at, frame::HEADER)?;
        let Some(header) = Header::of(&bytes) else {
            return Ok(None);
        };
        let fits = header.len as u64 <= left - frame::HEADER as u64;
        if header.salt != self.salt || !fits || header.len > frame::MAX_PAYLOAD {
            return Ok(None);
        }
        let payload = disk::read(&*self.file, at + frame::HEADER as u64, header.len)?;
        Ok(header.fits(&payload).then_some((header, payload)))
    }

    /// Looks at what is behind the last good frame. A write that was torn is overwritten with zeros. `false` when there
    /// is a good frame behind a damaged one: then what was committed is lost, and nothing is changed.
    pub(super) fn settle(&self) -> io::Result<bool> {
        let (mut at, mut dirty) = (self.at, self.at);
        let salt = self.salt.to_le_bytes();
        while at < self.end {
            let count = usize::try_from(self.end - at).map_or(CHUNK, |left| left.min(CHUNK));
            let bytes = disk::read(&*self.file, at, count)?;
            for (nth, word) in bytes.chunks(8).enumerate() {
                if word.iter().all(|byte| *byte == 0) {
                    continue;
                }
                let place = at + nth as u64 * 8;
                dirty = place + word.len() as u64;
                if word.starts_with(&salt) && self.read(place)?.is_some() {
                    return Ok(false);
                }
            }
            at += count as u64;
        }
        let zeros = vec![0; CHUNK];
        let mut at = self.at;
        while at < dirty {
            let count = usize::try_from(dirty - at).map_or(CHUNK, |left| left.min(CHUNK));
            self.file.write_at(&zeros[..count], at)?;
            at += count as u64;
        }
        if dirty > self.at {
            self.file.sync()?;
        }
        Ok(true)
    }
}
