//! Files below a directory that somebody else may change at any moment.
//!
//! Every step is relative to an open directory and follows no link ([`openat`] with `O_NOFOLLOW`), so that a
//! directory that is swapped for a link in between makes the step fail and never leads it elsewhere.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, open, openat, statat},
    io::Errno,
};

/// How deep a folder may lie: one descriptor a level is open on the way.
pub(crate) const MAX_DEPTH: usize = 200;

/// The bits of a mode that are kept: never set-user-id, set-group-id or sticky.
pub(crate) const PERMISSIONS: u32 = 0o777;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens a directory by its path. The way to it may lead through links, itself it must be no link.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, DIRECTORY, Mode::empty())?)
}

/// Opens a directory in a directory. A link is refused (`NotADirectory` or `FilesystemLoop`).
pub(crate) fn open_dir(at: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    Ok(openat(at, name, DIRECTORY, Mode::empty())?)
}

/// What is at a name, itself and not what it points to; `None` when nothing is.
pub(crate) fn stat(at: &OwnedFd, name: &[u8]) -> io::Result<Option<Stat>> {
    match statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What kind of thing a `stat` saw.
pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens a regular file for reading: no link, and no waiting for whoever would write to a FIFO.
/// `None` when it vanished or became something else.
pub(crate) fn open_file(at: &OwnedFd, name: &[u8]) -> io::Result<Option<(File, Stat)>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match openat(at, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&fd)?;
    Ok((kind(&stat) == FileType::RegularFile).then(|| (File::from(fd), stat)))
}

/// The text of a small file, at most `max` bytes of it; `None` when there is no such regular file.
pub(crate) fn read_small(at: &OwnedFd, name: &[u8], max: u64) -> Option<Vec<u8>> {
    let (file, _) = open_file(at, name).ok()??;
    let mut text = Vec::new();
    file.take(max).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The names in a directory, sorted, without `.` and `..`; an error of kind `FileTooLarge` above `max`.
pub(crate) fn names(at: &OwnedFd, max: usize) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(at)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            if names.len() >= max {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens the directory that holds the last part of `path`, one part after the other.
/// The second value is that last part.
pub(crate) fn open_parent<'p>(root: &OwnedFd, path: &'p [u8]) -> io::Result<(OwnedFd, &'p [u8])> {
    let mut at = root.try_clone()?;
    let mut rest = path;
    while let Some(slash) = rest.iter().position(|byte| *byte == b'/') {
        at = open_dir(&at, &rest[..slash])?;
        rest = &rest[slash + 1..];
    }
    Ok((at, rest))
}

/// Whether a name is git's own on any file system that a project may lie on or go to: `.git` in any case,
/// with the trailing dots, spaces and streams that Windows drops, NTFS's short name, and the invisible
/// characters that HFS+ drops (the cases that git itself refuses since CVE-2014-9390).
pub(crate) fn is_git_name(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name);
    let folded: String = name
        .chars()
        .filter(|character| {
            !matches!(*character,
                '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
        })
        .flat_map(char::to_lowercase)
        .collect();
    let stem = folded.split([':', '\\']).next().unwrap_or_default();
    let stem = stem.trim_end_matches(['.', ' ']);
    matches!(stem, ".git" | "git~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn knows_git_by_every_name_that_a_file_system_folds() {
        for name in [
            ".git",
            ".GIT",
            ".Git",
            ".git ",
            ".git.",
            ".git . .",
            "git~1",
            "GIT~1",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".git::$INDEX_ALLOCATION",
            ".git\\hooks",
        ] {
            assert!(is_git_name(name.as_bytes()), "{name:?}");
        }
        for name in [
            ".gitignore",
            "git",
            ".gi",
            ".git2",
            "x.git",
            "git~2",
            ".github",
        ] {
            assert!(!is_git_name(name.as_bytes()), "{name:?}");
        }
    }

    #[test]
    fn a_link_on_the_way_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::fs::write(dir.path().join("real/file"), "x").unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        symlink("real/file", dir.path().join("alias")).unwrap();
        let root = open_root(dir.path()).unwrap();
        assert!(open_parent(&root, b"real/file").is_ok());
        assert!(open_parent(&root, b"link/file").is_err());
        assert!(open_file(&root, b"alias").unwrap().is_none());
        assert!(open_root(&dir.path().join("link")).is_err());
    }
}
