//! What every path was when it was last read: who has the same state still has the same bytes.
//!
//! A state is inode, size, mode, mtime and ctime in nanoseconds. Nobody in a container sets a ctime, so a
//! file that was given back its size and mtime is still seen. A file that changed in the very tick of the
//! clock in which we read it could change again without a trace; such states are not kept (git's "racy"
//! entries). Nor are those of files that a shared mapping may go on to change without a trace, which git
//! takes for unchanged: see `flush`.

use std::{collections::HashMap, path::Path};

use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

use crate::workspace::{
    Error, ObjectId,
    id::checksum,
    objects::{Store, write_lightly},
};

const MAGIC: &[u8] = b"treefort stat cache 2\n";

/// A file's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::workspace) struct Stamp {
    ino: u64,
    pub(in crate::workspace) size: u64,
    pub(in crate::workspace) mode: u32,
    pub(in crate::workspace) mtime: Moment,
    pub(in crate::workspace) ctime: Moment,
}

/// Seconds since 1970, and nanoseconds.
pub(in crate::workspace) type Moment = (i64, u32);

impl Stamp {
    #[expect(
        clippy::unnecessary_cast,
        reason = "the fields' types are the platform's"
    )]
    pub(in crate::workspace) fn of(stat: &Stat) -> Self {
        Self {
            ino: stat.st_ino as u64,
            size: stat.st_size as u64,
            mode: stat.st_mode as u32,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        }
    }

    /// Whether any change after a moment must give another state.
    pub(super) fn is_older_than(&self, moment: Moment) -> bool {
        // A file system that counts in whole seconds.
        let coarse = self.ctime.1 == 0 && self.mtime.1 == 0;
        let ctime = (self.ctime.0 + if coarse { 2 } else { 0 }, self.ctime.1);
        ctime < moment
    }
}

/// Now, by the clock that file systems use, which ticks some hundred times a second.
pub(super) fn clock() -> Moment {
    #[cfg(target_os = "linux")]
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    #[cfg(not(target_os = "linux"))]
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    (now.tv_sec, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// What is known of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::workspace) struct Known {
    /// `None` for a folder, and for what held no still while it was read.
    pub(in crate::workspace) stamp: Option<Stamp>,
    /// Whether any later change gives another stamp; else the file must be read again.
    pub(in crate::workspace) proven: bool,
    pub(in crate::workspace) size: u64,
    pub(in crate::workspace) id: ObjectId,
}

/// States by path.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::workspace) struct Cache {
    known: HashMap<Box<[u8]>, Known>,
}

impl Cache {
    pub(in crate::workspace) fn with_capacity(count: usize) -> Self {
        Self {
            known: HashMap::with_capacity(count),
        }
    }

    pub(in crate::workspace) fn get(&self, path: &[u8]) -> Option<&Known> {
        self.known.get(path)
    }

    pub(in crate::workspace) fn insert(&mut self, path: Vec<u8>, known: Known) {
        self.known.insert(path.into_boxed_slice(), known);
    }

    pub(in crate::workspace) fn len(&self) -> usize {
        self.known.len()
    }

    /// How many files have a state that is not kept, and must be read again.
    pub(in crate::workspace) fn unproven(&self) -> usize {
        let is_file = |known: &&Known| known.id != ObjectId::EMPTY_TREE;
        let all = self.known.values().filter(is_file);
        all.filter(|known| !known.proven).count()
    }

    /// How many bytes the paths have.
    pub(in crate::workspace) fn path_bytes(&self) -> usize {
        self.known.keys().map(|path| path.len()).sum()
    }

    /// How many bytes the files have.
    pub(in crate::workspace) fn bytes(&self) -> u64 {
        self.known.values().map(|known| known.size).sum()
    }

    /// Reads the cache of an earlier process. One that is cut, of another version or whose objects are gone
    /// counts as empty: then every file is read.
    pub(in crate::workspace) fn load(path: &Path, store: &Store) -> Self {
        let cache = std::fs::read(path).ok().and_then(|bytes| parse(&bytes));
        cache
            .filter(|cache| {
                let mut ids = cache.known.values().filter(|known| known.stamp.is_some());
                ids.all(|known| store.has(&known.id))
            })
            .unwrap_or_default()
    }

    /// Keeps the cache for the next process.
    pub(in crate::workspace) fn save(&self, path: &Path) -> Result<(), Error> {
        let mut bytes = MAGIC.to_vec();
        bytes.reserve(self.known.len() * 128);
        for (path, known) in &self.known {
            bytes.extend_from_slice(&(path.len() as u32).to_le_bytes());
            bytes.extend_from_slice(path);
            bytes.extend_from_slice(&known.size.to_le_bytes());
            bytes.extend_from_slice(known.id.as_bytes());
            let Some(stamp) = known.stamp else {
                bytes.push(0);
                continue;
            };
            bytes.push(if known.proven { 1 } else { 2 });
            bytes.extend_from_slice(&stamp.ino.to_le_bytes());
            bytes.extend_from_slice(&stamp.mode.to_le_bytes());
            for (seconds, nanoseconds) in [stamp.mtime, stamp.ctime] {
                bytes.extend_from_slice(&seconds.to_le_bytes());
                bytes.extend_from_slice(&nanoseconds.to_le_bytes());
            }
        }
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        // One that is lost or cut counts as empty, and one of before was true of its stamps.
        write_lightly(path, &bytes)
    }
}

struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn moment(&mut self) -> Option<Moment> {
        let seconds = i64::from_le_bytes(self.array()?);
        Some((seconds, u32::from_le_bytes(self.array()?)))
    }
}

fn parse(bytes: &[u8]) -> Option<Cache> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(20)?)?;
    if checksum(body) != *sum {
        return None;
    }
    let mut cache = Cache::default();
    let mut bytes = Bytes(body.strip_prefix(MAGIC)?);
    while !bytes.0.is_empty() {
        let length = u32::from_le_bytes(bytes.array()?);
        let path = bytes.take(length as usize)?.to_vec();
        let size = u64::from_le_bytes(bytes.array()?);
        let id = ObjectId::new(bytes.array()?);
        let [how] = bytes.array()?;
        let stamp = if how == 0 {
            None
        } else {
            Some(Stamp {
                ino: u64::from_le_bytes(bytes.array()?),
                size,
                mode: u32::from_le_bytes(bytes.array()?),
                mtime: bytes.moment()?,
                ctime: bytes.moment()?,
            })
        };
        let known = Known {
            stamp,
            proven: how == 1,
            size,
            id,
        };
        cache.insert(path, known);
    }
    Some(cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Cache {
        let mut cache = Cache::default();
        let stamp = Stamp {
            ino: 7,
            size: 3,
            mode: 0o100_644,
            mtime: (5, 6),
            ctime: (-1, 999_999_999),
        };
        for (path, stamp) in [("a/\u{fffd}", Some(stamp)), ("a", None)] {
            let known = Known {
                stamp,
                proven: stamp.is_some(),
                size: 3,
                id: ObjectId::EMPTY_TREE,
            };
            cache.insert(path.into(), known);
        }
        cache
    }

    #[test]
    fn a_cache_comes_back_and_a_damaged_one_does_not() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("cache");
        cache().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(parse(&bytes), Some(cache()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(parse(&damaged), None, "byte {at}");
            assert_eq!(parse(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_state_of_the_tick_in_which_it_was_read_is_not_kept() {
        let mut stamp = cache().get("a/\u{fffd}".as_bytes()).unwrap().stamp.unwrap();
        stamp.ctime = (10, 500);
        assert!(stamp.is_older_than((10, 501)));
        assert!(!stamp.is_older_than((10, 500)));
        stamp.ctime = (10, 0);
        stamp.mtime = (9, 0);
        assert!(!stamp.is_older_than((11, 999)), "whole seconds");
        assert!(stamp.is_older_than((12, 1)));
    }
}
