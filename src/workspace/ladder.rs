//! The way down into a tree that somebody hostile can change at any moment: one descriptor per folder, every
//! step relative to the last one and never through a link.
//!
//! Only the lowest folders keep their descriptor open, so that a tree of any depth needs few of them; a
//! folder above is opened again when it is needed, and must still be the one that it was.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::{
    fs::{AtFlags, Mode, OFlags, Stat, fchmod, fstat, openat, statat},
    io::{Errno, Result},
};

/// So many descriptors stay open.
const MAX_OPEN: usize = 48;

/// Folders from the root of a tree down to the current one.
pub(super) struct Ladder {
    root: OwnedFd,
    steps: Vec<Step>,
    /// The path of the current folder below the root, without a slash at its ends.
    path: Vec<u8>,
    /// The rights that the owner must have on a folder while we are in it.
    need: u32,
    /// Steps before this one are closed.
    closed: usize,
}

struct Step {
    name: Vec<u8>,
    fd: Option<OwnedFd>,
    dev: u64,
    ino: u64,
    /// The permission bits that it gets back when we leave it.
    bits: Option<u32>,
}

pub(super) const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The permission bits of a stat.
pub(super) fn bits(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// What `lstat` says about a name in a folder; `None` when there is nothing.
pub(super) fn look(folder: impl rustix::fd::AsFd, name: &[u8]) -> Result<Option<Stat>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Ladder {
    /// Stands at the root. `need` are owner's permission bits (0o500 to read, 0o700 to write) that a folder
    /// is given while we are in it when it cannot be used without.
    pub(super) fn new(root: OwnedFd, need: u32) -> Self {
        Self {
            root,
            steps: Vec::new(),
            path: Vec::new(),
            need,
            closed: 0,
        }
    }

    /// The current folder's path below the root.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// How many folders below the root.
    pub(super) fn depth(&self) -> usize {
        self.steps.len()
    }

    /// The path of a name in the current folder.
    pub(super) fn join(&self, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.path.len() + name.len() + 1);
        if !self.path.is_empty() {
            path.extend_from_slice(&self.path);
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    /// The current folder.
    pub(super) fn here(&mut self) -> Result<BorrowedFd<'_>> {
        if self.steps.last().is_some_and(|step| step.fd.is_none()) {
            self.reopen()?;
        }
        Ok(match self.steps.last().and_then(|step| step.fd.as_ref()) {
            Some(fd) => fd.as_fd(),
            None => self.root.as_fd(),
        })
    }

    /// Goes into a folder of the current one; its permission bits before we touched them.
    pub(super) fn enter(&mut self, name: &[u8]) -> Result<u32> {
        let need = self.need;
        let (fd, changed) = open_folder(self.here()?, name, need)?;
        let stat = fstat(&fd)?;
        let before = changed.unwrap_or_else(|| bits(&stat));
        self.path = self.join(name);
        self.steps.push(Step {
            name: name.to_vec(),
            fd: Some(fd),
            dev: stat.st_dev,
            ino: stat.st_ino,
            bits: changed,
        });
        self.close_upper();
        Ok(before)
    }

    /// Decides the permission bits that the current folder has when we leave it.
    pub(super) fn set_bits(&mut self, bits: u32) {
        if let Some(step) = self.steps.last_mut() {
            step.bits = Some(bits);
        }
    }

    /// Goes back up.
    pub(super) fn leave(&mut self) -> Result<()> {
        let wanted = self.steps.last().and_then(|step| step.bits);
        let result = match wanted {
            Some(bits) => self
                .here()
                .and_then(|fd| fchmod(fd, Mode::from_raw_mode(bits))),
            None => Ok(()),
        };
        if let Some(step) = self.steps.pop() {
            let cut = self.path.len().saturating_sub(step.name.len() + 1);
            self.path.truncate(cut);
            self.closed = self.closed.min(self.steps.len());
        }
        result
    }

    fn close_upper(&mut self) {
        while self.steps.len() - self.closed > MAX_OPEN {
            self.steps[self.closed].fd = None;
            self.closed += 1;
        }
    }

    /// Opens the current folder again, from the nearest one that is open.
    fn reopen(&mut self) -> Result<()> {
        let last = self.steps.len() - 1;
        let open = (0..last).rev().find(|at| self.steps[*at].fd.is_some());
        let first_kept = (last + 1).saturating_sub(MAX_OPEN);
        let mut held: Option<OwnedFd> = None;
        for at in open.map_or(0, |at| at + 1)..=last {
            let above = match (&held, at.checked_sub(1)) {
                (Some(held), _) => held.as_fd(),
                (None, Some(above)) => match &self.steps[above].fd {
                    Some(fd) => fd.as_fd(),
                    None => self.root.as_fd(),
                },
                (None, None) => self.root.as_fd(),
            };
            let step = &self.steps[at];
            let (fd, changed) = open_folder(above, &step.name, self.need)?;
            let stat = fstat(&fd)?;
            if (stat.st_dev, stat.st_ino) != (step.dev, step.ino) {
                // Somebody put another folder there.
                return Err(Errno::STALE);
            }
            if self.steps[at].bits.is_none() {
                self.steps[at].bits = changed;
            }
            // The lowest stay open, so that the way up a deep tree is not walked anew at each folder.
            if at >= first_kept {
                self.steps[at].fd = Some(fd);
                held = None;
            } else {
                held = Some(fd);
            }
        }
        self.closed = first_kept;
        Ok(())
    }
}

/// Opens a folder; without the rights for it, it is given them first. The bits that it had, if they changed.
fn open_folder(above: BorrowedFd<'_>, name: &[u8], need: u32) -> Result<(OwnedFd, Option<u32>)> {
    match openat(above, name, FOLDER, Mode::empty()) {
        Ok(fd) => {
            if rustix::process::geteuid().is_root() {
                return Ok((fd, None));
            }
            let before = bits(&fstat(&fd)?);
            if before & need == need {
                return Ok((fd, None));
            }
            // Not ours to change: then what is inside says so.
            let changed = fchmod(&fd, Mode::from_raw_mode(before | need)).is_ok();
            Ok((fd, changed.then_some(before)))
        }
        Err(Errno::ACCESS) => {
            let before = grant(above, name, need, true)?;
            let fd = openat(above, name, FOLDER, Mode::empty())?;
            Ok((fd, Some(before)))
        }
        Err(error) => Err(error),
    }
}

/// Adds permission bits to a folder or a regular file of ours, never through a link; the bits before.
#[cfg(target_os = "linux")]
pub(super) fn grant(above: BorrowedFd<'_>, name: &[u8], add: u32, folder: bool) -> Result<u32> {
    use std::os::fd::AsRawFd as _;

    let fd = openat(
        above,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let stat = fstat(&fd)?;
    let wanted = if folder { 0o040_000 } else { 0o100_000 };
    if stat.st_mode & 0o170_000 != wanted {
        return Err(Errno::ACCESS);
    }
    let mode = Mode::from_raw_mode(bits(&stat) | add);
    // A descriptor without rights cannot be given any; the link of /proc leads to this very file.
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::chmodat(rustix::fs::CWD, path, mode, AtFlags::empty())?;
    Ok(bits(&stat))
}

/// Adds permission bits to a folder or a regular file of ours, never through a link; the bits before.
#[cfg(not(target_os = "linux"))]
pub(super) fn grant(above: BorrowedFd<'_>, name: &[u8], add: u32, folder: bool) -> Result<u32> {
    let stat = statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let wanted = if folder { 0o040_000 } else { 0o100_000 };
    if u32::from(stat.st_mode) & 0o170_000 != wanted {
        return Err(Errno::ACCESS);
    }
    let mode = Mode::from_raw_mode((bits(&stat) | add) as _);
    rustix::fs::chmodat(above, name, mode, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(bits(&stat))
}
