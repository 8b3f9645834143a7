//! Whether the disk has room: a store that meets a full disk in the middle of a write may not be used any more, so the
//! relay stops taking events before.

use std::path::{Path, PathBuf};

use super::{Rejection, ingest::Reply, writer::Job};
use crate::nips::kind;

/// This program's own last words, and what makes room, may use all but one part in so many.
const RESERVE: u64 = 4;

/// The room of the disk that a store is on.
pub(super) struct Room {
    folder: Option<PathBuf>,
    least: u64,
    low: bool,
}

/// What may be stored now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    All,
    /// Deletions, and what this program says.
    Urgent,
    Nothing,
}

impl Room {
    pub(super) fn new(folder: Option<&Path>, least: u64) -> Self {
        Self {
            folder: folder.map(Path::to_owned).filter(|_| least > 0),
            least,
            low: false,
        }
    }

    /// Looks at the disk.
    pub(super) fn look(&mut self) -> Takes {
        let free = self.folder.as_deref().and_then(free);
        let takes = match free {
            Some(free) if free < self.least / RESERVE => Takes::Nothing,
            Some(free) if free < self.least => Takes::Urgent,
            // A disk that cannot be looked at is not therefore full.
            _ => Takes::All,
        };
        let low = takes != Takes::All;
        if low != self.low {
            self.low = low;
            match low {
                true => tracing::error!(free, "the disk is almost full; no events are taken"),
                false => tracing::info!(free, "the disk has room again"),
            }
        }
        takes
    }
}

impl Takes {
    /// Whether an event may be stored.
    pub(super) fn admit(self, job: &Job) -> Result<(), Rejection> {
        let makes_room = matches!(
            job.record.event.kind.as_u16(),
            kind::DELETION | kind::VANISH
        );
        let urgent = makes_room || matches!(job.reply, Reply::Task(_));
        match self {
            Self::All => Ok(()),
            Self::Urgent if urgent => Ok(()),
            Self::Urgent | Self::Nothing => Err(Rejection::DiskFull),
        }
    }
}

/// The bytes that may still be written to the disk of a folder.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free(_folder: &Path) -> Option<u64> {
    None
}
