//! Reading one file so that its bytes belong to one state of it.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
};

use rustix::{
    fs::{Mode, OFlags, fchmod, fstat, openat},
    io::Errno,
};

use super::{
    Why,
    cache::{Moment, Stamp, clock},
};
use crate::workspace::{
    Error,
    ladder::grant,
    objects::{Kind, Prepared, Store},
};

/// So often a file that changes while it is read is read again.
const TRIES: usize = 5;

/// A file that was read.
pub(super) struct Read {
    pub(super) object: Prepared,
    pub(super) size: u64,
    /// The state that the bytes belong to.
    pub(super) stamp: Option<Stamp>,
    /// Whether a later change cannot have the same state.
    pub(super) proven: bool,
    /// Its mode when it was read.
    pub(super) mode: u32,
}

/// Why a file has no object.
pub(super) enum Failed {
    /// It is not covered.
    Uncovered(Why),
    /// The store failed; no checkpoint can be made.
    Store(Error),
}

/// Opens a regular file to be read; `None` when it is no regular file any more.
pub(super) fn open(
    folder: rustix::fd::BorrowedFd<'_>,
    name: &[u8],
) -> rustix::io::Result<Option<OwnedFd>> {
    // Not blocking, because a fifo may have taken the file's place.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match openat(folder, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let before = grant(folder, name, 0o400, false)?;
            let fd = openat(folder, name, flags, Mode::empty())?;
            fchmod(&fd, Mode::from_raw_mode(before))?;
            fd
        }
        fd => fd?,
    };
    let is_file = fstat(&fd)?.st_mode & 0o170_000 == 0o100_000;
    Ok(is_file.then_some(fd))
}

/// Reads, hashes and compresses a file. `flushed` is when its file system was flushed, if it was (see `flush`).
pub(super) fn read(
    store: &Store,
    fd: OwnedFd,
    max: u64,
    flushed: Option<Moment>,
) -> Result<Read, Failed> {
    let unreadable = |_| Failed::Uncovered(Why::Unreadable);
    let file = File::from(fd);
    let mut tries = 0;
    loop {
        tries += 1;
        let began = clock();
        let before = Stamp::of(&fstat(&file).map_err(|_| Failed::Uncovered(Why::Unreadable))?);
        if before.size > max {
            return Err(Failed::Uncovered(Why::TooLarge(before.size)));
        }
        let bytes = read_to_end(&file, before.size, max).map_err(unreadable)?;
        let after = Stamp::of(&fstat(&file).map_err(|_| Failed::Uncovered(Why::Unreadable))?);
        let is_whole = before == after && bytes.len() as u64 == after.size;
        if !is_whole && tries < TRIES {
            continue;
        }
        if bytes.len() as u64 > max {
            return Err(Failed::Uncovered(Why::TooLarge(after.size)));
        }
        let object = store
            .prepare(Kind::Blob, &bytes)
            .map_err(|error| match error {
                Error::Collision => Failed::Uncovered(Why::Collision),
                error => Failed::Store(error),
            })?;
        return Ok(Read {
            object,
            size: bytes.len() as u64,
            // One that never holds still, such as a growing log, is kept as it was read last.
            stamp: (is_whole && after.is_older_than(began)).then_some(after),
            proven: is_whole && flushed.is_some_and(|flushed| after.is_older_than(flushed)),
            mode: after.mode,
        });
    }
}

fn read_to_end(file: &File, size: u64, max: u64) -> io::Result<Vec<u8>> {
    // One byte more than it should have tells that it grew; and never more than one over the limit.
    let most = usize::try_from(size.min(max))
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    let mut bytes = vec![0; most];
    let mut at = 0;
    while at < most {
        match file.read_at(&mut bytes[at..], at as u64) {
            Ok(0) => break,
            Ok(read) => at += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(at);
    Ok(bytes)
}
