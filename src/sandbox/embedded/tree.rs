//! Making the places of a sandbox's root while it is built.
//!
//! The host can still be written to then, and what is shown of it may hold links that somebody else made. So
//! nothing is made through a link, nothing in what is mounted already, and nothing that is there is opened.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, open, openat2, symlinkat};

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const NEW: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::CLOEXEC);

/// The root that is being built.
pub(super) struct Tree(OwnedFd);

impl Tree {
    pub(super) fn at(root: &Path) -> io::Result<Self> {
        Ok(Self(open(root, FOLDER, Mode::empty())?))
    }

    /// Makes a folder and those that it lies in, or finds it, made before.
    pub(super) fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut folder = self.0.try_clone()?;
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            match mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            folder = openat2(&folder, name, FOLDER, Mode::empty(), strict())?;
        }
        Ok(folder)
    }

    /// Makes a file that is not there.
    pub(super) fn file(&self, path: &Path) -> io::Result<File> {
        let (folder, name) = self.place(path)?;
        let mode = Mode::from_raw_mode(0o644);
        Ok(openat2(&folder, name, NEW, mode, strict())?.into())
    }

    /// Makes a file with this text.
    pub(super) fn text(&self, path: &Path, text: &str) -> io::Result<()> {
        self.file(path)?.write_all(text.as_bytes())
    }

    /// Makes a link.
    pub(super) fn link(&self, path: &Path, to: &Path) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        Ok(symlinkat(to, &folder, name)?)
    }

    fn place<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let (parent, name) = (path.parent(), path.file_name());
        let (Some(parent), Some(name)) = (parent, name) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok((self.folder(parent)?, name))
    }
}

fn strict() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_is_made_through_a_link_and_nothing_that_is_there_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
        fs::create_dir_all(root.join("d")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "ours").unwrap();
        symlink(&outside, root.join("d/link")).unwrap();
        symlink(outside.join("file"), root.join("d/name")).unwrap();
        symlink(outside.join("new"), root.join("d/dangling")).unwrap();
        let tree = Tree::at(&root).unwrap();
        for path in [
            "/d/link/file",
            "/d/link/new",
            "/d/name",
            "/d/dangling",
            "/d/link/a/b",
        ] {
            let path = Path::new(path);
            assert!(tree.text(path, "theirs").is_err(), "{}", path.display());
            assert!(tree.link(path, Path::new("x")).is_err());
            assert!(tree.folder(path).is_err());
        }
        tree.text(Path::new("/d/e/new"), "made").unwrap();
        assert!(tree.text(Path::new("/d/e/new"), "again").is_err());
        assert_eq!(fs::read(root.join("d/e/new")).unwrap(), b"made");
        // What leads up leads nowhere: only the names of a path count.
        tree.text(Path::new("/../../up"), "").unwrap();
        assert!(root.join("up").exists());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"ours");
    }
}
