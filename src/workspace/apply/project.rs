//! The person's project as it is now, read without following a link.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::fs::{FileType, fstat, readlinkat};

use super::{Error, State};
use crate::workspace::{ObjectId, beneath, snapshot};

/// The largest file of the project that is read; a larger one counts as changed by the person.
pub(super) const MAX_FILE: u64 = 64 << 20;

/// The most names in one folder that are looked at.
const MAX_NAMES: usize = 100_000;

/// What a path of the project is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    /// This is at the path, or nothing.
    Here(State),
    /// A folder on the way is a link.
    ThroughLink(Vec<u8>),
    /// A folder on the way is something else than a folder or a link.
    UnderFile(Vec<u8>),
}

/// An open project.
pub(super) struct Project {
    pub(super) root: OwnedFd,
    /// Device and inode of the folder, to notice when it is another.
    pub(super) identity: (u64, u64),
    /// The folder opened last, since paths come sorted.
    last: Option<(Vec<u8>, OwnedFd)>,
}

/// Where the folders on the way to a path lead.
enum Way<'p> {
    Open(OwnedFd, &'p [u8]),
    Not(At),
}

impl Project {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: path.as_os_str().as_encoded_bytes().to_vec(),
            source,
        };
        let root = beneath::open_root(path).map_err(io)?;
        let stat = fstat(&root).map_err(|error| io(error.into()))?;
        Ok(Self {
            root,
            identity: (stat.st_dev, stat.st_ino),
            last: None,
        })
    }

    /// What is at a path, when what is in `gone` will not be there any more.
    pub(super) fn at(&mut self, path: &[u8], gone: &BTreeSet<Vec<u8>>) -> Result<At, Error> {
        let io = |source| Error::Io {
            path: path.to_vec(),
            source,
        };
        match self.way(path, gone).map_err(io)? {
            Way::Not(at) => Ok(at),
            Way::Open(..) if gone.contains(path) => Ok(At::Here(State::Absent)),
            Way::Open(folder, name) => Ok(At::Here(state(&folder, name).map_err(io)?)),
        }
    }

    /// What is at a path, with its content; `None` when a folder on the way is none.
    pub(super) fn read(&mut self, path: &[u8]) -> Result<Option<(State, Vec<u8>)>, Error> {
        let io = |source| Error::Io {
            path: path.to_vec(),
            source,
        };
        match self.way(path, &BTreeSet::new()).map_err(io)? {
            Way::Not(_) => Ok(None),
            Way::Open(folder, name) => Ok(Some(read(&folder, name).map_err(io)?)),
        }
    }

    /// Writes what was done to it to its disk.
    pub(super) fn write_back(&self) -> Result<(), Error> {
        snapshot::write_back(&self.root).map_err(|error| Error::Write {
            path: b".".to_vec(),
            source: error.into(),
            undone: false,
        })
    }

    /// The rights of a folder.
    pub(super) fn rights(&self, path: &[u8]) -> Option<u32> {
        let (parent, name) = beneath::open_parent(&self.root, path).ok()?;
        let stat = beneath::stat(&parent, name).ok().flatten()?;
        (beneath::kind(&stat) == FileType::Directory).then_some(stat.st_mode & 0o7777)
    }

    /// Opens the folder of a path.
    fn way<'p>(&mut self, path: &'p [u8], gone: &BTreeSet<Vec<u8>>) -> io::Result<Way<'p>> {
        let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else {
            return Ok(Way::Open(self.root.try_clone()?, path));
        };
        let (parent, name) = (&path[..slash], &path[slash + 1..]);
        if let Some((last, folder)) = &self.last
            && last == parent
        {
            return Ok(Way::Open(folder.try_clone()?, name));
        }
        let mut at = self.root.try_clone()?;
        let mut from = 0;
        while from < parent.len() {
            let end = parent[from..]
                .iter()
                .position(|byte| *byte == b'/')
                .map_or(parent.len(), |slash| from + slash);
            let (prefix, part) = (&parent[..end], &parent[from..end]);
            if gone.contains(prefix) {
                return Ok(Way::Not(At::Here(State::Absent)));
            }
            let Some(stat) = beneath::stat(&at, part)? else {
                return Ok(Way::Not(At::Here(State::Absent)));
            };
            match beneath::kind(&stat) {
                FileType::Directory => at = beneath::open_dir(&at, part)?,
                FileType::Symlink => return Ok(Way::Not(At::ThroughLink(prefix.to_vec()))),
                _ => return Ok(Way::Not(At::UnderFile(prefix.to_vec()))),
            }
            from = end + 1;
        }
        self.last = Some((parent.to_vec(), at.try_clone()?));
        Ok(Way::Open(at, name))
    }

    /// Whether a folder holds nothing but what is in `gone`. A folder that the person made is something, also when
    /// it is empty.
    pub(super) fn empties(&self, path: &[u8], gone: &BTreeSet<Vec<u8>>) -> bool {
        beneath::open_parent(&self.root, path)
            .and_then(|(parent, name)| beneath::open_dir(&parent, name))
            .and_then(|folder| beneath::names(&folder, MAX_NAMES))
            .is_ok_and(|names| {
                names
                    .iter()
                    .all(|name| gone.contains(&[path, b"/", name].concat()))
            })
    }

    /// The names in a folder by how they read without case; empty when it cannot be read.
    pub(super) fn folded(&self, path: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let folder = if path.is_empty() {
            self.root.try_clone()
        } else {
            beneath::open_parent(&self.root, path)
                .and_then(|(parent, name)| beneath::open_dir(&parent, name))
        };
        folder
            .and_then(|folder| beneath::names(&folder, MAX_NAMES))
            .unwrap_or_default()
            .into_iter()
            .map(|name| (fold(&name), name))
            .collect()
    }
}

/// A name as a file system without case takes it.
pub(super) fn fold(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_lowercase()
}

/// What is at a name of an open folder.
pub(super) fn state(folder: &OwnedFd, name: &[u8]) -> io::Result<State> {
    Ok(read(folder, name)?.0)
}

/// What is at a name of an open folder, with the content of a file or the target of a link.
pub(super) fn read(folder: &OwnedFd, name: &[u8]) -> io::Result<(State, Vec<u8>)> {
    let Some(stat) = beneath::stat(folder, name)? else {
        return Ok((State::Absent, Vec::new()));
    };
    match beneath::kind(&stat) {
        FileType::Directory => Ok((State::Folder, Vec::new())),
        FileType::Symlink => {
            let target = readlinkat(folder, name, Vec::new())?.into_bytes();
            let state = id(&target).map_or(State::Other, |id| State::Link { id });
            Ok((state, target))
        }
        FileType::RegularFile => {
            let (file, stat) = match beneath::open_file(folder, name) {
                Ok(Some(opened)) => opened,
                Ok(None) => return Ok((State::Other, Vec::new())),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Ok((State::Other, Vec::new()));
                }
                Err(error) => return Err(error),
            };
            let mut content = Vec::new();
            file.take(MAX_FILE + 1).read_to_end(&mut content)?;
            if u64::try_from(content.len()).unwrap_or(u64::MAX) > MAX_FILE {
                return Ok((State::Other, Vec::new()));
            }
            let mode = stat.st_mode & beneath::PERMISSIONS;
            let state = id(&content).map_or(State::Other, |id| State::File { mode, id });
            Ok((state, content))
        }
        _ => Ok((State::Other, Vec::new())),
    }
}

/// The id that a content has in the store; none for a made collision.
fn id(content: &[u8]) -> Option<ObjectId> {
    ObjectId::of("blob", content).ok()
}
