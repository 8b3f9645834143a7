//! Bringing a folder to exactly a tree, under the hands of somebody hostile.
//!
//! Every step is relative to a descriptor and follows no link, so that a folder that becomes a link while we
//! work leads nowhere. A file is written under another name and renamed. What a checkpoint does not cover is
//! never removed: it stays where it is, and where a covered file must come to its place it is moved to
//! `kept/` beside the tree. The same steps may be done again from any point in between, which is how a
//! restore that was killed is finished.

mod plan;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{
        AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Uid, chownat, fchmod, fchown, fstat, mkdirat,
        openat, renameat, renameat_with, symlinkat, unlinkat,
    },
    io::Errno,
};

use self::plan::{Step, plan};
use super::{
    Error, ObjectId,
    ladder::{Ladder, bits, look},
    objects::{Store, TreeEntry},
    snapshot::{Uncovered, Why},
};

/// Files that are being written begin so; a name without a meaning to anybody.
const UNFINISHED: &str = ".treefort-unfinished-";

/// What a restore did.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Files and links that were written or given other permissions.
    pub(super) written: u64,
    /// Files, links and folders that were removed.
    pub(super) removed: u64,
    /// Paths that could not be made what they should be, or that were moved to `kept/`.
    pub(super) kept: Vec<Uncovered>,
}

/// A restore that is ready: all that it needs is in the store.
pub(super) struct Restore<'r> {
    store: &'r Store,
    steps: Vec<Step>,
    owner: Option<(Uid, Gid)>,
    /// Where uncovered things go that are in the way.
    kept: PathBuf,
    ladder: Ladder,
    report: Report,
}

impl<'r> Restore<'r> {
    /// Plans the way from the tree that is there to another one; touches nothing.
    ///
    /// # Errors
    /// When the store has not everything that will be written.
    pub(super) fn new(
        store: &'r Store,
        root: OwnedFd,
        kept: PathBuf,
        (from, to): (&ObjectId, &ObjectId),
        owner: Option<(u32, u32)>,
    ) -> Result<Self, Error> {
        Ok(Self {
            store,
            steps: plan(store, from, to)?,
            owner: owner.map(|(user, group)| (Uid::from_raw(user), Gid::from_raw(group))),
            kept,
            ladder: Ladder::new(root, 0o700),
            report: Report::default(),
        })
    }

    /// Forgets all but the first steps, as if the process were killed after them.
    #[cfg(test)]
    pub(super) fn cut(&mut self, steps: usize) {
        self.steps.truncate(steps);
    }

    /// Does the steps.
    ///
    /// # Errors
    /// When the disk is full or fails, or the store; a path that cannot be changed is in [`Report::kept`].
    pub(super) fn run(mut self) -> Result<Report, Error> {
        let mut skipping = 0_usize;
        for step in std::mem::take(&mut self.steps) {
            match (&step, skipping) {
                (Step::Enter { .. }, 1..) => skipping += 1,
                (Step::Leave { .. } | Step::Remove { .. }, 1..) => skipping -= 1,
                (_, 1..) => {}
                (Step::Enter { name, make }, 0) => {
                    let entered = if *make {
                        self.make(name)
                    } else {
                        self.ladder.enter(name).map(drop)
                    };
                    if let Err(error) = entered {
                        skipping = 1;
                        self.failed(name, error)?;
                    }
                }
                (Step::Leave { bits }, 0) => {
                    self.ladder.set_bits(*bits);
                    let path = self.ladder.path().to_vec();
                    if let Err(error) = self.ladder.leave() {
                        self.note(path, error)?;
                    }
                }
                (Step::Remove { name }, 0) => {
                    // What happens to the bits of a folder that goes is of no interest.
                    let _ = self.ladder.leave();
                    self.remove(name, AtFlags::REMOVEDIR)?;
                }
                (Step::Unlink { name }, 0) => self.remove(name, AtFlags::empty())?,
                (Step::Mode { entry }, 0) => match self.mode(entry) {
                    Ok(true) => self.report.written += 1,
                    Ok(false) => self.write(entry, true)?,
                    Err(error) => self.failed(&entry.name, error)?,
                },
                (Step::Write { entry, replaces }, 0) => self.write(entry, *replaces)?,
            }
        }
        Ok(self.report)
    }

    fn remove(&mut self, name: &[u8], flags: AtFlags) -> Result<(), Error> {
        let done = self
            .ladder
            .here()
            .and_then(|here| unlinkat(here, name, flags));
        match done {
            Ok(()) => self.report.removed += 1,
            // It has gone by itself, or holds what no checkpoint covers and stays for that.
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => self.failed(name, error)?,
        }
        Ok(())
    }

    /// Goes into a folder that is made first when it is not there.
    fn make(&mut self, name: &[u8]) -> rustix::io::Result<()> {
        let made = match mkdirat(self.ladder.here()?, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => {
                let stat = look(self.ladder.here()?, name)?;
                if stat.is_some_and(|stat| stat.st_mode & 0o170_000 == 0o040_000) {
                    false
                } else {
                    self.set_aside(name)?;
                    mkdirat(self.ladder.here()?, name, Mode::RWXU)?;
                    true
                }
            }
            Err(error) => return Err(error),
        };
        self.ladder.enter(name)?;
        if let (true, Some((user, group))) = (made, self.owner) {
            fchown(self.ladder.here()?, Some(user), Some(group))?;
        }
        Ok(())
    }

    /// Changes a file's permissions in place; `false` when it must be written anew.
    fn mode(&mut self, entry: &TreeEntry) -> rustix::io::Result<bool> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let here = self.ladder.here()?;
        let fd = match openat(here, entry.name.as_slice(), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ACCESS | Errno::LOOP | Errno::NOENT | Errno::NXIO) => return Ok(false),
            Err(error) => return Err(error),
        };
        let stat = fstat(&fd)?;
        // With another name, another file of the checkpoint would change too.
        if stat.st_mode & 0o170_000 != 0o100_000 || stat.st_nlink != 1 {
            return Ok(false);
        }
        fchmod(&fd, Mode::from_raw_mode(entry.mode & 0o7777))?;
        Ok(true)
    }

    fn write(&mut self, entry: &TreeEntry, replaces: bool) -> Result<(), Error> {
        let bytes = self.store.blob(&entry.id)?;
        let unfinished = unfinished();
        match self.place(entry, &bytes, &unfinished, replaces) {
            Ok(()) => {
                self.report.written += 1;
                Ok(())
            }
            Err(error) => {
                if let Ok(here) = self.ladder.here() {
                    let _ = unlinkat(here, unfinished.as_str(), AtFlags::empty());
                }
                self.failed(&entry.name, error)
            }
        }
    }

    fn place(
        &mut self,
        entry: &TreeEntry,
        bytes: &[u8],
        unfinished: &str,
        replaces: bool,
    ) -> rustix::io::Result<()> {
        let owner = self.owner;
        let here = self.ladder.here()?;
        if entry.is_link() {
            symlinkat(bytes, here, unfinished)?;
            if let Some((user, group)) = owner {
                chownat(
                    here,
                    unfinished,
                    Some(user),
                    Some(group),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
        } else {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = openat(here, unfinished, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(fd);
            file.write_all(bytes)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            // Changing the owner takes set-user bits away, so the mode comes after it.
            if let Some((user, group)) = owner {
                fchown(&file, Some(user), Some(group))?;
            }
            fchmod(&file, Mode::from_raw_mode(entry.mode & 0o7777))?;
        }
        let name = entry.name.as_slice();
        let here = self.ladder.here()?;
        let renamed = if replaces {
            renameat(here, unfinished, here, name)
        } else {
            renameat_with(here, unfinished, here, name, RenameFlags::NOREPLACE)
        };
        match renamed {
            Ok(()) => Ok(()),
            // Something uncovered is there, or a file system that cannot refuse to replace.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::INVAL) => {
                self.set_aside(name)?;
                let here = self.ladder.here()?;
                renameat(here, unfinished, here, name)
            }
            Err(error) => Err(error),
        }
    }

    /// Moves what is in the way out of the tree, where nothing of it is lost. Fifos, sockets and devices
    /// hold nothing and go.
    fn set_aside(&mut self, name: &[u8]) -> rustix::io::Result<()> {
        let path = self.ladder.join(name);
        let here = self.ladder.here()?;
        let Some(stat) = look(here, name)? else {
            return Ok(());
        };
        let why = match stat.st_mode & 0o170_000 {
            0o040_000 | 0o100_000 | 0o120_000 => Why::InTheWay,
            _ => {
                unlinkat(here, name, AtFlags::empty())?;
                self.report.kept.push(left(path, Why::Special));
                return Ok(());
            }
        };
        let target = free_name(&self.kept, name)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        // A folder can be moved only by who may write in it.
        if stat.st_mode & 0o170_000 == 0o040_000 && bits(&stat) & 0o200 == 0 {
            let _ = super::ladder::grant(here.as_fd(), name, 0o700, true);
        }
        renameat(self.ladder.here()?, name, CWD, &target)?;
        self.report.kept.push(left(path, why));
        Ok(())
    }

    fn failed(&mut self, name: &[u8], error: Errno) -> Result<(), Error> {
        self.note(self.ladder.join(name), error)
    }

    /// A path that stays as it is, unless the trouble is one of the whole disk.
    fn note(&mut self, path: Vec<u8>, error: Errno) -> Result<(), Error> {
        let all = [
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::IO,
            Errno::ROFS,
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
        ];
        if all.contains(&error) {
            let path = Path::new(OsStr::from_bytes(&path));
            return Err(Error::errno("restoring", path)(error));
        }
        self.report.kept.push(left(path, Why::Unreadable));
        Ok(())
    }
}

fn left(path: Vec<u8>, why: Why) -> Uncovered {
    let work = why != Why::Special;
    Uncovered { path, why, work }
}

fn unfinished() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{UNFINISHED}{}-{number}", std::process::id())
}

/// A name in `kept/` that is free: a number and what it was called, as far as that is readable.
fn free_name(kept: &Path, name: &[u8]) -> std::io::Result<PathBuf> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(kept)?;
    let readable: String = String::from_utf8_lossy(name)
        .chars()
        .filter(|char| char.is_alphanumeric() || "._-".contains(*char))
        .take(60)
        .collect();
    (1_u32..)
        .map(|number| kept.join(format!("{number}-{readable}")))
        .find(|path| path.symlink_metadata().is_err())
        .ok_or_else(|| std::io::Error::other("no name is free"))
}
