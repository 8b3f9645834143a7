//! Whether a file that was read may be left unread next time.
//!
//! A store through a shared mapping stamps a file's times only when it makes a clean page dirty; further
//! stores to a page that is dirty already leave no trace. So the state of a file says nothing of stores to
//! come until the kernel has written the file's pages back, which takes the right to write them from every
//! mapping: the next store is stamped again. The states of files that were read *before* a flush of the whole
//! file system, or that changed since it began, are not kept; such files are read again. A few of them cost
//! less than a flush, which waits for what everybody else wrote too, so one is made only for many.

use std::os::fd::OwnedFd;

use super::cache::{Moment, clock};

/// So many files are read again and again rather than flushed.
const FILES: usize = 64;
/// With so many bytes.
const BYTES: u64 = 4 << 20;

/// The one flush of a walk.
pub(super) struct Flush {
    root: OwnedFd,
    /// When it began, if there was one.
    began: Option<Moment>,
    /// Whether it can do any good here.
    useful: bool,
    files: usize,
    bytes: u64,
}

impl Flush {
    /// Before a walk below a folder. `unproven` files were read the last time, and nothing is known of them
    /// since: when they are many, they are flushed at once, or the same files would be read for ever.
    pub(super) fn new(root: OwnedFd, unproven: usize) -> Self {
        let useful = writes_back(&root);
        let mut flush = Self {
            root,
            began: None,
            useful,
            files: 0,
            bytes: 0,
        };
        if unproven >= FILES / 2 {
            flush.flush();
        }
        flush
    }

    /// A file of so many bytes is going to be read. The moment that its times must be older than, so that
    /// they tell of every later change; `None` when they cannot.
    pub(super) fn before_reading(&mut self, bytes: u64) -> Option<Moment> {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.files > FILES || self.bytes > BYTES {
            self.flush();
        }
        self.began
    }

    fn flush(&mut self) {
        if self.began.is_some() || !self.useful {
            return;
        }
        let now = clock();
        self.useful = write_back(&self.root).is_ok();
        self.began = self.useful.then_some(now);
    }
}

/// Writes the file system on which a folder lies to its disk.
#[cfg(target_os = "linux")]
pub(in crate::workspace) fn write_back(root: &OwnedFd) -> rustix::io::Result<()> {
    rustix::fs::syncfs(root)
}

/// Writes the file system on which a folder lies to its disk.
#[cfg(not(target_os = "linux"))]
pub(in crate::workspace) fn write_back(_: &OwnedFd) -> rustix::io::Result<()> {
    rustix::fs::sync();
    Ok(())
}

/// File systems in memory never write anything back, so nothing there is left unread.
#[cfg(target_os = "linux")]
fn writes_back(root: &OwnedFd) -> bool {
    // tmpfs, ramfs, hugetlbfs.
    const IN_MEMORY: [u64; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6];
    rustix::fs::fstatfs(root).is_ok_and(|found| {
        // The kernel's numbers have 32 bits; the field's type is the platform's.
        let kind = u64::from(found.f_type as u32);
        !IN_MEMORY.contains(&kind)
    })
}

#[cfg(not(target_os = "linux"))]
fn writes_back(_: &OwnedFd) -> bool {
    true
}
