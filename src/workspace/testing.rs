//! Trees for tests: the same description becomes a tree in a store and files on a disk.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use super::{
    ObjectId,
    objects::{Store, TreeEntry},
};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    File(Vec<u8>, u32),
    Link(String),
    Folder,
}

/// Paths and what is at them; folders on the way need not be named.
pub(crate) type Things = BTreeMap<String, Thing>;

pub(crate) fn file(content: &str) -> Thing {
    Thing::File(content.into(), 0o644)
}

pub(crate) fn mode(content: &str, mode: u32) -> Thing {
    Thing::File(content.into(), mode)
}

pub(crate) fn link(target: &str) -> Thing {
    Thing::Link(target.to_owned())
}

pub(crate) fn things<const N: usize>(list: [(&str, Thing); N]) -> Things {
    list.map(|(path, thing)| (path.to_owned(), thing)).into()
}

/// A store in a directory of its own, in memory where the system can: what is durable costs a hundred times more.
pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, store)
}

/// Writes a tree into the store.
pub(crate) fn tree(store: &Store, things: &Things) -> ObjectId {
    let mut entries = Vec::new();
    let mut below = BTreeMap::<String, Things>::new();
    let mut batch = store.batch();
    for (path, thing) in things {
        if let Some((folder, rest)) = path.split_once('/') {
            let inner = below.entry(folder.to_owned()).or_default();
            inner.insert(rest.to_owned(), thing.clone());
            continue;
        }
        let (mode, id) = match thing {
            Thing::File(content, mode) => (0o100_000 | mode, batch.blob(content).unwrap()),
            Thing::Link(target) => (0o120_000, batch.blob(target.as_bytes()).unwrap()),
            Thing::Folder => {
                below.entry(path.clone()).or_default();
                continue;
            }
        };
        let name = path.clone().into_bytes();
        entries.push(TreeEntry { mode, name, id });
    }
    for (name, things) in below {
        entries.push(TreeEntry {
            mode: 0o040_000,
            name: name.into_bytes(),
            id: tree(store, &things),
        });
    }
    let id = batch.tree(entries).unwrap();
    batch.finish().unwrap();
    id
}

/// Writes things to the disk.
pub(crate) fn lay(dir: &Path, things: &Things) {
    for (path, thing) in things {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match thing {
            Thing::File(content, mode) => {
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
            Thing::Link(target) => symlink(target, &path).unwrap(),
            Thing::Folder => fs::create_dir_all(&path).unwrap(),
        }
    }
}

/// Everything on the disk; folders only where they are empty.
pub(crate) fn look(dir: &Path) -> Things {
    let mut found = Things::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries: Vec<_> = fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
        let name = |path: &Path| path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
        if entries.is_empty() && folder != dir {
            found.insert(name(&folder), Thing::Folder);
        }
        for entry in entries {
            let path = entry.path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let thing = if meta.is_dir() {
                folders.push(path);
                continue;
            } else if meta.is_symlink() {
                Thing::Link(fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
            } else {
                Thing::File(fs::read(&path).unwrap(), meta.permissions().mode() & 0o7777)
            };
            found.insert(name(&path), thing);
        }
    }
    found
}
