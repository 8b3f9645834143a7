//! The workspaces on the disk: which there are, what they take, and how they go.
//!
//! An agent made what lies in them: folders without rights, links to anywhere, millions of names, a depth that no path
//! reaches. Nothing here follows a link or builds a path string below a workspace, and every walk has a bound.

use std::{
    ffi::OsStr,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::lchown},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, fchmod, openat, renameat_with, unlinkat},
    io::Errno,
};

use super::beneath;

/// The most entries that measuring one workspace looks at.
pub const MAX_ENTRIES: u64 = 2_000_000;

/// The most names that are read of one folder at once.
const MAX_NAMES: usize = 4_000_000;

/// One workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The session's public key, hexadecimal: the folder's name.
    pub session: String,
    /// The folder.
    pub path: PathBuf,
    /// What it takes.
    pub size: Size,
}

/// What a folder takes on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes in blocks; a file with several names counts once for each.
    pub bytes: u64,
    /// Files, links and folders.
    pub entries: u64,
    /// There is more than was counted: the walk is bounded, or a folder may not be read.
    pub more: bool,
}

/// All workspaces below `home/workspaces`, by name; none when the folder is not there.
///
/// Folders whose name is no public key are not listed.
pub fn list(workspaces: &Path) -> io::Result<Vec<Entry>> {
    let at = match beneath::open_root(workspaces) {
        Ok(at) => at,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for name in beneath::names(&at, MAX_NAMES)? {
        let Some(session) = session(&name) else {
            continue;
        };
        // A file, or gone since.
        let Ok(folder) = beneath::open_dir(&at, &name) else {
            continue;
        };
        let mut size = Size::default();
        measure(&folder, 0, &mut size);
        found.push(Entry {
            path: workspaces.join(&session),
            session,
            size,
        });
    }
    Ok(found)
}

/// What all workspaces take together.
#[must_use]
pub fn total(entries: &[Entry]) -> Size {
    entries.iter().fold(Size::default(), |sum, entry| Size {
        bytes: sum.bytes.saturating_add(entry.size.bytes),
        entries: sum.entries.saturating_add(entry.size.entries),
        more: sum.more || entry.size.more,
    })
}

/// What one folder takes.
pub fn size(folder: &Path) -> io::Result<Size> {
    let mut size = Size::default();
    measure(&beneath::open_root(folder)?, 0, &mut size);
    Ok(size)
}

/// A session's public key, if a name is one.
fn session(name: &[u8]) -> Option<String> {
    let key = name.len() == 64
        && name
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    key.then(|| String::from_utf8_lossy(name).into_owned())
}

fn measure(folder: &OwnedFd, depth: usize, size: &mut Size) {
    let Ok(names) = beneath::names(folder, MAX_NAMES) else {
        size.more = true;
        return;
    };
    for name in names {
        if size.entries >= MAX_ENTRIES {
            size.more = true;
            return;
        }
        let Ok(Some(stat)) = beneath::stat(folder, &name) else {
            continue;
        };
        size.entries += 1;
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        size.bytes = size.bytes.saturating_add(blocks.saturating_mul(512));
        if beneath::kind(&stat) != FileType::Directory {
            continue;
        }
        match beneath::open_dir(folder, &name) {
            Ok(inner) if depth < beneath::MAX_DEPTH => measure(&inner, depth + 1, size),
            _ => size.more = true,
        }
    }
}

/// Removes a workspace, whatever lies in it. That it is gone already is no error.
///
/// Folders that lie too deep are moved up first, so that neither depth nor path length is a limit. When this fails it
/// removed as much as it could, and says what is left.
pub fn remove(folder: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let at = match beneath::open_root(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let name = name.as_bytes();
    let Some(stat) = beneath::stat(&at, name)? else {
        return Ok(());
    };
    if beneath::kind(&stat) != FileType::Directory {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let top = open_writable(&at, name)?;
    let mut removal = Removal {
        top: &top,
        moved: 0,
        failed: None,
    };
    // Each round removes all but what it moved up; a round that moved nothing is the last.
    loop {
        let before = removal.moved;
        removal.failed = None;
        removal.content(&top, b"", 0);
        if removal.moved == before {
            break;
        }
    }
    if let Some((path, error)) = removal.failed {
        let what = format!(
            "{}: {error}",
            folder.join(OsStr::from_bytes(&path)).display()
        );
        return Err(io::Error::new(error.kind(), what));
    }
    match unlinkat(&at, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A removal under way.
struct Removal<'a> {
    top: &'a OwnedFd,
    /// How many folders were moved up because they lay too deep.
    moved: u64,
    /// The first thing that could not be removed.
    failed: Option<(Vec<u8>, io::Error)>,
}

impl Removal<'_> {
    fn content(&mut self, folder: &OwnedFd, path: &[u8], depth: usize) {
        match beneath::names(folder, MAX_NAMES) {
            Ok(names) => {
                for name in names {
                    self.entry(folder, &name, path, depth);
                }
            }
            Err(error) => self.fail(path, error),
        }
    }

    fn entry(&mut self, folder: &OwnedFd, name: &[u8], path: &[u8], depth: usize) {
        let path = [path, b"/", name].concat();
        let path = path.strip_prefix(b"/").unwrap_or(&path);
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return,
            // A folder: Linux says the first, POSIX the second.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return self.fail(path, error.into()),
        }
        if depth >= beneath::MAX_DEPTH {
            let up = format!(".treefort-removed-{}", self.moved);
            self.moved += 1;
            let flags = RenameFlags::NOREPLACE;
            if let Err(error) = renameat_with(folder, name, self.top, up.as_bytes(), flags) {
                self.fail(path, error.into());
            }
            return;
        }
        match open_writable(folder, name) {
            Ok(inner) => self.content(&inner, path, depth + 1),
            Err(error) => return self.fail(path, error),
        }
        match unlinkat(folder, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => self.fail(path, error.into()),
        }
    }

    fn fail(&mut self, path: &[u8], error: io::Error) {
        if self.failed.is_none() {
            self.failed = Some((path.to_vec(), error));
        }
    }
}

/// Gives a folder that nobody but us writes to, with everything below it, to a user and a group.
///
/// # Errors
/// When one of its files cannot be given away.
pub fn give(path: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        lchown(&path, Some(user), Some(group))?;
        if path.symlink_metadata()?.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(())
}

/// Opens a folder and gives its owner all rights on it, so that it can be emptied. The change goes through a descriptor
/// of the very folder, never through a name that could be swapped for a link.
fn open_writable(at: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let opened = match beneath::open_dir(at, name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            give_rights(at, name)?;
            beneath::open_dir(at, name)?
        }
        opened => opened?,
    };
    let stat = rustix::fs::fstat(&opened)?;
    if stat.st_mode & 0o700 != 0o700 {
        // If it is somebody else's, removing may work all the same.
        let _ = fchmod(&opened, Mode::from_raw_mode(stat.st_mode & 0o777 | 0o700));
    }
    Ok(opened)
}

/// Gives rights on a folder that cannot be opened for reading: by a descriptor that only names it.
#[cfg(target_os = "linux")]
fn give_rights(at: &OwnedFd, name: &[u8]) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let named = openat(at, name, flags, Mode::empty())?;
    // `fchmod` refuses such descriptors; the system's own link to it is the documented way.
    let link = format!("/proc/self/fd/{}", named.as_raw_fd());
    Ok(rustix::fs::chmod(link, Mode::RWXU)?)
}

/// Elsewhere `chmod` itself can be told not to follow a link.
#[cfg(not(target_os = "linux"))]
fn give_rights(at: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let _ = (OFlags::empty(), openat::<&[u8], &OwnedFd>);
    Ok(rustix::fs::chmodat(
        at,
        name,
        Mode::RWXU,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

#[cfg(test)]
mod tests;
