//! The writes, each of which either finds what it expects or leaves it alone.
//!
//! A new file is written beside its place and then swapped with what is there (`RENAME_EXCHANGE`), what was there is
//! looked at once more, and put back when it is not what was expected. So no moment exists in which a change of the
//! person's could be overwritten unseen.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{
        AtFlags, Gid, Mode, OFlags, RenameFlags, Uid, chownat, fchmod, fchown, fstat, mkdirat,
        openat, renameat, renameat_with, symlinkat, unlinkat,
    },
    io::Errno,
};

use super::{
    Error, State, Store, Write,
    backup::Rights,
    project::{self, Project},
    temporary,
};
use crate::workspace::beneath;

/// A moment at which the process may be killed; tests are, at each of them.
fn moment() {
    #[cfg(test)]
    super::tests::cut_off::moment();
}

/// Why one write was not done.
enum Failure {
    Changed,
    Io(io::Error),
    Store(crate::workspace::Error),
}

impl Failure {
    /// As an error; `undone`: nothing of the writes is left.
    fn of(self, path: &[u8], undone: bool) -> Error {
        let path = path.to_vec();
        let source = match self {
            Self::Changed if undone => return Error::Changed { path },
            Self::Changed => io::Error::other("it changed in the meantime"),
            Self::Io(source) => source,
            Self::Store(error) => io::Error::other(error),
        };
        Error::Write {
            path,
            source,
            undone,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// Does writes.
pub(super) struct Writer<'a> {
    store: &'a Store,
    root: &'a OwnedFd,
    /// What the names of unfinished files follow from.
    token: &'a str,
    /// The rights of folders that were there before.
    rights: &'a Rights,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        store: &'a Store,
        project: &'a Project,
        token: &'a str,
        rights: &'a Rights,
    ) -> Self {
        Self {
            store,
            root: &project.root,
            token,
            rights,
        }
    }

    /// Does all writes in order; when one fails, takes those before it back.
    pub(super) fn all(&self, writes: &[Write]) -> Result<(), Error> {
        for (done, write) in writes.iter().enumerate() {
            let Err(failure) = self.one(write) else {
                continue;
            };
            let (was, left) = (write.expect, write.put);
            let swept = temporary::sweep(self.store, self.root, self.token, &write.path, was, left);
            // Each of them is tried: what stands in the way of one is none of the others' business.
            let mut undone = true;
            for write in writes[..done].iter().rev() {
                let inverse = Write {
                    path: write.path.clone(),
                    expect: write.put,
                    put: write.expect,
                };
                undone &= self.one(&inverse).is_ok();
            }
            return Err(failure.of(&write.path, undone && swept.is_none()));
        }
        Ok(())
    }

    /// Does one write; false when what is there is not what it expects.
    pub(super) fn one_of_many(&self, write: &Write) -> Result<bool, Error> {
        match self.one(write) {
            Ok(()) => Ok(true),
            Err(Failure::Changed) => Ok(false),
            Err(failure) => Err(failure.of(&write.path, false)),
        }
    }

    fn one(&self, write: &Write) -> Result<(), Failure> {
        let (folder, name) = match beneath::open_parent(self.root, &write.path) {
            Ok(opened) => opened,
            // Nothing is where its folder is gone.
            Err(error) if write.put == State::Absent && error.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            Err(error) => {
                return Err(match Errno::from_io_error(&error) {
                    Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Failure::Changed,
                    _ => Failure::Io(error),
                });
            }
        };
        let temporary = temporary::name(self.token, &write.path);
        moment();
        match (write.expect, write.put) {
            (State::Other, _) | (_, State::Other) => Err(Failure::Changed),
            (State::Folder, State::Absent) => match unlinkat(&folder, name, AtFlags::REMOVEDIR) {
                // What the person has in it stays.
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
                Err(Errno::NOTDIR) => Err(Failure::Changed),
                Err(error) => Err(error.into()),
            },
            (_, State::Folder) => match mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => Ok(adopt_new(
                    &folder,
                    name,
                    self.rights.get(&write.path).copied(),
                )?),
                Err(Errno::EXIST) if beneath::open_dir(&folder, name).is_ok() => Ok(()),
                Err(Errno::EXIST) => Err(Failure::Changed),
                Err(error) => Err(error.into()),
            },
            (State::Absent, State::Absent) => Ok(()),
            (_, State::Absent) => remove(&folder, name, &temporary, write.expect),
            (State::Folder, _) => Err(Failure::Changed),
            (State::File { id: old, .. }, State::File { id: new, mode }) if old == new => {
                permissions(&folder, name, write.expect, mode)
            }
            (State::Absent, put) => {
                prepare(self.store, &folder, &temporary, put, None)?;
                match rename(&folder, &temporary, name, RenameFlags::NOREPLACE) {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        // The error that matters is the rename's.
                        let _ = unlinkat(&folder, &temporary, AtFlags::empty());
                        Err(match error {
                            Errno::EXIST => Failure::Changed,
                            error => error.into(),
                        })
                    }
                }
            }
            (expect, put) => replace(self.store, &folder, (name, &temporary), expect, put),
        }
    }
}

/// Takes a file or link away, when it is what was expected.
fn remove(folder: &OwnedFd, name: &[u8], aside: &[u8], expect: State) -> Result<(), Failure> {
    match rename(folder, name, aside, RenameFlags::NOREPLACE) {
        Ok(()) => moment(),
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    if project::state(folder, aside).ok() != Some(expect) {
        rename(folder, aside, name, RenameFlags::NOREPLACE)?;
        return Err(Failure::Changed);
    }
    Ok(unlinkat(folder, aside, AtFlags::empty())?)
}

/// Changes only the permissions of a file, when it is what was expected.
fn permissions(folder: &OwnedFd, name: &[u8], expect: State, mode: u32) -> Result<(), Failure> {
    if project::state(folder, name)? != expect {
        return Err(Failure::Changed);
    }
    let Some((file, _)) = beneath::open_file(folder, name)? else {
        return Err(Failure::Changed);
    };
    Ok(fchmod(&file, Mode::from_raw_mode(mode))?)
}

/// Puts a file or link in the place of another, when that is what was expected.
fn replace(
    store: &Store,
    folder: &OwnedFd,
    (name, temporary): (&[u8], &[u8]),
    expect: State,
    put: State,
) -> Result<(), Failure> {
    let owner = beneath::stat(folder, name)?.map(|stat| (stat.st_uid, stat.st_gid));
    prepare(store, folder, temporary, put, owner)?;
    let drop_temporary = || unlinkat(folder, temporary, AtFlags::empty());
    match renameat_with(folder, temporary, folder, name, RenameFlags::EXCHANGE) {
        Ok(()) => {
            moment();
            if project::state(folder, temporary).ok() == Some(expect) {
                return Ok(drop_temporary()?);
            }
            // If this fails, the person's version is under the temporary name, until it is swept.
            renameat_with(folder, temporary, folder, name, RenameFlags::EXCHANGE)?;
            drop_temporary()?;
            Err(Failure::Changed)
        }
        // File systems that cannot exchange (NFS, some FUSE): look, then rename.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
            if project::state(folder, name).ok() == Some(expect) =>
        {
            Ok(renameat(folder, temporary, folder, name)?)
        }
        Err(error) => {
            drop_temporary()?;
            Err(match error {
                Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Failure::Changed,
                error => error.into(),
            })
        }
    }
}

/// Renames with flags, or without where the file system knows none, after a look.
pub(super) fn rename(
    folder: &OwnedFd,
    from: &[u8],
    to: &[u8],
    flags: RenameFlags,
) -> rustix::io::Result<()> {
    match renameat_with(folder, from, folder, to, flags) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            match rustix::fs::statat(folder, to, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => renameat(folder, from, folder, to),
                Ok(_) => Err(Errno::EXIST),
                Err(error) => Err(error),
            }
        }
        other => other,
    }
}

/// Writes a file or link under its temporary name.
fn prepare(
    store: &Store,
    folder: &OwnedFd,
    name: &[u8],
    put: State,
    owner: Option<(u32, u32)>,
) -> Result<(), Failure> {
    let mut is_ours = false;
    let made = fill(store, folder, name, put, owner, &mut is_ours);
    // What was there before is not ours: it may be a version that the person saved.
    if made.is_err() && is_ours {
        // The error that matters is the first.
        let _ = unlinkat(folder, name, AtFlags::empty());
    }
    moment();
    made
}

fn fill(
    store: &Store,
    folder: &OwnedFd,
    name: &[u8],
    put: State,
    owner: Option<(u32, u32)>,
    is_ours: &mut bool,
) -> Result<(), Failure> {
    match put {
        State::Link { id } => {
            let target = store.blob(&id).map_err(Failure::Store)?;
            symlinkat(&target[..], folder, name)?;
            *is_ours = true;
            if let Some((uid, gid)) = new_owner(folder, owner)? {
                chownat(
                    folder,
                    name,
                    Some(uid),
                    Some(gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
        }
        State::File { mode, id } => {
            let content = store.blob(&id).map_err(Failure::Store)?;
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
            *is_ours = true;
            moment();
            let mut file = File::from(fd);
            file.write_all(&content)?;
            if let Some((uid, gid)) = new_owner(folder, owner)? {
                fchown(&file, Some(uid), Some(gid))?;
            }
            fchmod(&file, Mode::from_raw_mode(mode & beneath::PERMISSIONS))?;
            file.sync_data()?;
        }
        State::Absent | State::Folder | State::Other => {}
    }
    Ok(())
}

/// Whom a new file belongs to, when treefort runs as root: whom the old one did, or the folder.
fn new_owner(folder: &OwnedFd, old: Option<(u32, u32)>) -> io::Result<Option<(Uid, Gid)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let (uid, gid) = match old {
        Some(owner) => owner,
        None => {
            let stat = fstat(folder)?;
            (stat.st_uid, stat.st_gid)
        }
    };
    Ok(Some((Uid::from_raw(uid), Gid::from_raw(gid))))
}

/// Gives a new folder to whom the folder around it belongs, with the same rights: our own umask is that of a
/// program that keeps its files to itself, and says nothing of a person's project. One that was there before gets its
/// own rights again.
fn adopt_new(folder: &OwnedFd, name: &[u8], before: Option<u32>) -> io::Result<()> {
    let new = beneath::open_dir(folder, name)?;
    let rights = match before {
        Some(rights) => rights,
        None => fstat(folder)?.st_mode & 0o777,
    };
    if let Some((uid, gid)) = new_owner(folder, None)? {
        fchown(&new, Some(uid), Some(gid))?;
    }
    // After the owner, whose change takes some of them away.
    Ok(fchmod(&new, Mode::from_raw_mode(rights | 0o700))?)
}
