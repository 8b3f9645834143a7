//! How much of the disk a folder takes, counted while an agent may be changing it: [`usage`].
//!
//! Docker cannot limit the disk that a workspace takes, so it is watched. The agent owns what is
//! walked and may swap any name at any moment; so every step is relative to an open directory, no
//! link is followed, and the walk is bounded in files, depth and time. What the agent holds open
//! but has deleted has no name and is not seen here: [`free`] is, and the host's free space is a
//! limit of its own.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// How deep folders may lie in one another. Each level costs an open file while it is walked.
const MAX_DEPTH: usize = 128;
/// Entries between two looks at the clock.
const CLOCK_EVERY: u64 = 256;
/// Bytes of one block in `st_blocks`, whatever the file system's own blocks are.
const BLOCK: u64 = 512;
/// The host's file system keeps this much free, or an agent that writes is the first suspect.
const RESERVE: u64 = 1 << 30;

/// What a folder may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes allocated on the disk.
    pub bytes: u64,
    /// Files, folders and everything else that has a name.
    pub files: u64,
}

/// What a folder takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes allocated on the disk, of everything that was counted; a file with several names
    /// counts once.
    pub bytes: u64,
    /// Files, folders, links and special files that were counted, without the folder itself.
    pub files: u64,
    /// Folders that could not be looked into.
    pub unreadable: u64,
    /// Why the walk ended early; the counts are then a part of the truth.
    pub stopped: Option<Stopped>,
}

/// Why a walk ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// The quota is exceeded already, by so much or more.
    Quota,
    /// Folders lie too deep in one another to be looked into.
    Depth,
    /// It took too long.
    Time,
}

/// How a folder exceeds its quota; displays as one sentence for the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Over {
    /// Too many bytes.
    #[error("the workspace takes more than its {} MiB of disk", .quota >> 20)]
    Bytes {
        /// The quota in bytes.
        quota: u64,
    },
    /// Too many files.
    #[error("the workspace has more than its {quota} files")]
    Files {
        /// The quota.
        quota: u64,
    },
    /// Folders in folders, without an end in sight.
    #[error("the workspace has folders more than {MAX_DEPTH} deep, which cannot be watched")]
    Depth,
    /// The host's disk is nearly full, which open files without a name may have done.
    #[error("the disk of this machine has only {} MiB left", .free >> 20)]
    HostFull {
        /// Bytes left.
        free: u64,
    },
}

impl Usage {
    /// How this exceeds `quota`, if it does. That the walk took too long is no excess by itself.
    #[must_use]
    pub fn over(&self, quota: &Quota) -> Option<Over> {
        if self.bytes > quota.bytes {
            return Some(Over::Bytes { quota: quota.bytes });
        }
        if self.files > quota.files {
            return Some(Over::Files { quota: quota.files });
        }
        (self.stopped == Some(Stopped::Depth)).then_some(Over::Depth)
    }
}

/// Counts `dir` and looks at the disk that it lies on: the one question that a watch asks, every
/// few seconds. Blocks for up to `patience`.
///
/// # Errors
/// When `dir` itself cannot be opened.
pub fn check(dir: &Path, quota: &Quota, patience: Duration) -> io::Result<(Usage, Option<Over>)> {
    let counted = usage(dir, quota, patience)?;
    let over = match counted.over(quota) {
        Some(over) => Some(over),
        None => {
            let free = free(dir)?;
            (free < RESERVE).then_some(Over::HostFull { free })
        }
    };
    Ok((counted, over))
}

/// Bytes that this user may still write to the file system on which `dir` lies.
///
/// # Errors
/// When `dir` cannot be asked.
pub fn free(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Counts everything below `dir`, up to `quota` and for up to `patience`. Follows no link, and
/// crosses into no other file system.
///
/// # Errors
/// When `dir` itself cannot be opened; what is below it is counted as well as it can be.
pub fn usage(dir: &Path, quota: &Quota, patience: Duration) -> io::Result<Usage> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = match rustix::fs::open(dir, flags, Mode::empty()) {
        // The agent may have closed its own folder; whoever measures must get in.
        Err(Errno::ACCESS) => {
            open_up(dir)?;
            rustix::fs::open(dir, flags, Mode::empty())?
        }
        opened => opened?,
    };
    let device = rustix::fs::fstat(&root)?.st_dev;
    let mut walk = Walk {
        quota: *quota,
        deadline: Instant::now() + patience,
        device,
        linked: HashSet::new(),
        usage: Usage::default(),
    };
    let mut levels = vec![Level::new(root, None)?];
    while let Some(level) = levels.last_mut() {
        match walk.step(level) {
            Next::Down(inner) if levels.len() >= MAX_DEPTH => {
                drop(inner);
                walk.usage.stopped = Some(Stopped::Depth);
            }
            Next::Down(inner) => levels.push(inner),
            Next::Stay => {}
            Next::Up => drop(levels.pop()),
            Next::Stop(why) => {
                walk.usage.stopped.get_or_insert(why);
                break;
            }
        }
    }
    Ok(walk.usage)
}

/// Gives its owner all rights to a folder, which is no link.
///
/// # Errors
/// When it is another's.
pub fn open_up(dir: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(dir, flags, Mode::empty())?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&folder)?.st_mode) | Mode::RWXU;
    // A descriptor that only names a folder changes nothing of it; its name below /proc does.
    let name = format!("/proc/self/fd/{}", folder.as_raw_fd());
    Ok(rustix::fs::chmod(name, mode)?)
}

/// One directory that is being read.
struct Level {
    entries: Dir,
    /// The mode that it had before we made it readable; given back at the end.
    closed: Option<(OwnedFd, Mode)>,
}

impl Level {
    fn new(fd: OwnedFd, closed: Option<(OwnedFd, Mode)>) -> io::Result<Self> {
        Ok(Self {
            entries: Dir::new(fd)?,
            closed,
        })
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        if let Some((handle, mode)) = self.closed.take() {
            // The agent may have removed it; then there is nothing to give back.
            let _ = set_mode(handle.as_fd(), mode);
        }
    }
}

enum Next {
    Down(Level),
    Stay,
    Up,
    Stop(Stopped),
}

struct Walk {
    quota: Quota,
    deadline: Instant,
    device: u64,
    /// Files with several names that were counted.
    linked: HashSet<u64>,
    usage: Usage,
}

impl Walk {
    /// One entry of `level`.
    fn step(&mut self, level: &mut Level) -> Next {
        let entry = match level.entries.read() {
            Some(Ok(entry)) => entry,
            None => return Next::Up,
            Some(Err(_)) => {
                self.usage.unreadable += 1;
                return Next::Up;
            }
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            return Next::Stay;
        }
        let Ok(parent) = level.entries.fd() else {
            return Next::Up;
        };
        let Ok(stat) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
            // Gone since.
            return Next::Stay;
        };
        self.usage.files += 1;
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_dir || stat.st_nlink < 2 || self.linked.insert(stat.st_ino) {
            let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
            self.usage.bytes = self
                .usage
                .bytes
                .saturating_add(blocks.saturating_mul(BLOCK));
        }
        if self.usage.files > self.quota.files || self.usage.bytes > self.quota.bytes {
            return Next::Stop(Stopped::Quota);
        }
        if self.usage.files.is_multiple_of(CLOCK_EVERY) && Instant::now() >= self.deadline {
            return Next::Stop(Stopped::Time);
        }
        if !is_dir || stat.st_dev != self.device {
            return Next::Stay;
        }
        match open_below(parent, name) {
            Ok(inner) => Next::Down(inner),
            // Gone, or no directory any more.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Next::Stay,
            Err(_) => {
                self.usage.unreadable += 1;
                Next::Stay
            }
        }
    }
}

/// Opens a directory, also one that the agent closed to its owner so that nobody looks into it.
fn open_below(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<Level, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |at: BorrowedFd<'_>, name: &std::ffi::CStr| {
        rustix::fs::openat(at, name, flags | OFlags::RDONLY, Mode::empty())
    };
    let level = |fd, closed| Level::new(fd, closed).map_err(|_| Errno::IO);
    let error = match open(parent, name) {
        // Reading it is not enough: what is in it can be asked about only with the right to search.
        Ok(fd)
            if rustix::fs::accessat(&fd, c".", rustix::fs::Access::EXEC_OK, AtFlags::EACCESS)
                .is_ok() =>
        {
            return level(fd, None);
        }
        Ok(_) => Errno::ACCESS,
        Err(error) => error,
    };
    if error != Errno::ACCESS {
        return Err(error);
    }
    let handle = rustix::fs::openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
    let before = Mode::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode);
    set_mode(handle.as_fd(), before | Mode::RWXU)?;
    match open(handle.as_fd(), c".") {
        Ok(fd) => level(fd, Some((handle, before))),
        Err(error) => {
            set_mode(handle.as_fd(), before)?;
            Err(error)
        }
    }
}

/// Sets the mode of what is open, whatever its name stands for by now.
fn set_mode(handle: BorrowedFd<'_>, mode: Mode) -> Result<(), Errno> {
    let own = format!("/proc/self/fd/{}", handle.as_raw_fd());
    rustix::fs::chmod(own, mode)
}

#[cfg(test)]
mod tests;
