//! A project's store: a bare git repository that only the host sees, written and read by our own code.
//!
//! Real git reads it from a host shell (`git fsck`, `git log`, `git diff A B`), and what a person's `git gc`
//! makes of it (deltas, packed refs) is read too. Objects are loose when there are few new ones and one pack
//! with its index when there are many. Nothing counts before it is durable: [`Batch::finish`] syncs data,
//! names and folders, in this order, before it returns.

mod batch;
mod loose;
mod pack;
mod packed;
mod refs;
mod tree;

#[cfg(test)]
mod tests;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

pub use self::{batch::Batch, tree::TreeEntry};
pub(crate) use self::{
    batch::Prepared, pack::PackWriter, refs::is_ref_name, tree::encode as encode_tree,
};
use self::{packed::Pack, tree::parse};
use super::Error;
pub use super::ObjectId;

/// The store's own configuration. Trees hold exact permission bits, folders without files and nested `.git`
/// folders as they were, which `git fsck` would otherwise warn about; git never packs or drops by itself.
const CONFIG: &str = "[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\thooksPath = /dev/null
\tfsmonitor = false
\tattributesFile = /dev/null
[gc]
\tauto = 0
[maintenance]
\tauto = false
[receive]
\tdenyNonFastForwards = true
[fsck]
\tbadFilemode = ignore
\thasDotgit = ignore
\tgitmodulesSymlink = ignore
\tgitmodulesBlob = ignore
\tgitmodulesLarge = ignore
\tgitmodulesName = ignore
\tgitmodulesParse = ignore
\tgitmodulesPath = ignore
\tgitmodulesUpdate = ignore
\tgitmodulesUrl = ignore
";

/// How old an unfinished file must be before a start removes it: another process of ours may be at it.
const STALE: Duration = Duration::from_secs(3600);

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Commit,
    Tree,
    Blob,
    Tag,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Commit, Self::Tree, Self::Blob, Self::Tag]
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name)
    }
}

/// A bare git repository. Cheap to share behind an `Arc`; all methods may be called from many threads.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    packs: RwLock<Vec<Arc<Pack>>>,
    refs: Mutex<()>,
}

/// Held while a store is made.
static MAKING: Mutex<()> = Mutex::new(());

impl Store {
    /// Opens the store at a path, and makes it (0700) when it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let store = Self {
            path: path.to_owned(),
            packs: RwLock::new(Vec::new()),
            refs: Mutex::new(()),
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for folder in [
            "objects/pack",
            "objects/info",
            "refs/heads",
            "refs/treefort",
        ] {
            let folder = path.join(folder);
            builder
                .create(&folder)
                .map_err(Error::io("making a folder of the store", &folder))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(Error::io("closing the store to others", path))?;
        // Two agents may begin on a new project at once; each opens its store.
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        // git takes a folder for a repository when it has HEAD, objects and refs; so HEAD comes last.
        for (name, text) in [("config", CONFIG), ("HEAD", "ref: refs/heads/main\n")] {
            let file = path.join(name);
            if !file.exists() {
                write_durably(&file, text.as_bytes())?;
            }
        }
        store.remove_unfinished()?;
        store.rescan()?;
        Ok(store)
    }

    /// Where the repository is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Corrupt`] when the bytes do not have this name, [`Error::Kind`] when it
    /// is another kind of object, [`Error::Io`].
    pub fn blob(&self, id: &ObjectId) -> Result<Vec<u8>, Error> {
        self.expect(id, Kind::Blob)
    }

    /// How many bytes a file has.
    ///
    /// # Errors
    /// As [`Store::blob`]; the bytes are not checked.
    pub fn blob_size(&self, id: &ObjectId) -> Result<u64, Error> {
        let (kind, size) = self.header(id)?;
        if kind == Kind::Blob {
            Ok(size)
        } else {
            Err(Error::wrong_kind(*id, Kind::Blob))
        }
    }

    /// The entries of a folder, in git's order.
    ///
    /// # Errors
    /// As [`Store::blob`].
    pub fn tree(&self, id: &ObjectId) -> Result<Vec<TreeEntry>, Error> {
        if *id == ObjectId::EMPTY_TREE {
            return Ok(Vec::new());
        }
        parse(&self.expect(id, Kind::Tree)?).ok_or(Error::Corrupt(*id))
    }

    /// Whether an object is there.
    #[must_use]
    pub fn has(&self, id: &ObjectId) -> bool {
        self.packs().iter().any(|pack| pack.find(id).is_some())
            || self.loose(id).exists()
            || self
                .rescan()
                .is_ok_and(|new| new && self.packs().iter().any(|pack| pack.find(id).is_some()))
    }

    /// A batch of new objects; nothing of it is in the store before [`Batch::finish`].
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// The bytes of an object of a kind that is expected.
    fn expect(&self, id: &ObjectId, kind: Kind) -> Result<Vec<u8>, Error> {
        let (found, bytes) = self.read(id)?;
        if found == kind {
            Ok(bytes)
        } else {
            Err(Error::wrong_kind(*id, kind))
        }
    }

    /// An object's kind and bytes, checked against its name.
    pub(crate) fn read(&self, id: &ObjectId) -> Result<(Kind, Vec<u8>), Error> {
        let (kind, bytes) = self.find(id, &|pack, at| pack.read(self, at), &|path| {
            loose::read(path)
        })?;
        if ObjectId::of_stored(kind.name(), &bytes) == *id {
            Ok((kind, bytes))
        } else {
            Err(Error::Corrupt(*id))
        }
    }

    fn header(&self, id: &ObjectId) -> Result<(Kind, u64), Error> {
        self.find(id, &|pack, at| pack.header(self, at), &|path| {
            loose::header(path)
        })
    }

    /// Looks in the packs, then among the loose objects, then in packs that another process made since.
    fn find<T>(
        &self,
        id: &ObjectId,
        packed: &dyn Fn(&Pack, u64) -> io::Result<T>,
        loose: &dyn Fn(&Path) -> io::Result<T>,
    ) -> Result<T, Error> {
        for again in [false, true] {
            if again && !self.rescan()? {
                break;
            }
            for pack in self.packs() {
                if let Some(at) = pack.find(id) {
                    return packed(&pack, at).map_err(|source| match source.kind() {
                        io::ErrorKind::InvalidData => Error::Corrupt(*id),
                        _ => Error::io("reading a pack", pack.path())(source),
                    });
                }
            }
            let path = self.loose(id);
            match loose(&path) {
                Ok(found) => return Ok(found),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(Error::Corrupt(*id));
                }
                Err(error) => return Err(Error::io("reading an object", &path)(error)),
            }
        }
        Err(Error::Missing(*id))
    }

    fn loose(&self, id: &ObjectId) -> PathBuf {
        let name = id.to_string();
        let (folder, rest) = name.split_at(2);
        self.path.join("objects").join(folder).join(rest)
    }

    fn packs(&self) -> Vec<Arc<Pack>> {
        self.packs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Opens packs that are new on the disk and forgets those that are gone; whether there were new ones.
    fn rescan(&self) -> Result<bool, Error> {
        let folder = self.path.join("objects/pack");
        let listing = fs::read_dir(&folder).map_err(Error::io("listing packs", &folder))?;
        let mut names: Vec<PathBuf> = listing
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ext| ext == "idx"))
            .collect();
        names.sort();
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        packs.retain(|pack| names.iter().any(|name| name == pack.path()));
        let mut new = false;
        for name in names {
            if packs.iter().any(|pack| pack.path() == name) {
                continue;
            }
            match Pack::open(&name) {
                Ok(pack) => packs.push(Arc::new(pack)),
                // Repacked and removed between the listing and the opening.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("opening a pack", &name)(error)),
            }
            new = true;
        }
        Ok(new)
    }

    /// Removes what a write that was killed left behind.
    fn remove_unfinished(&self) -> Result<(), Error> {
        let folder = self.path.join("objects/pack");
        let listing = fs::read_dir(&folder).map_err(Error::io("listing packs", &folder))?;
        for entry in listing.filter_map(Result::ok) {
            let is_old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|at| {
                    SystemTime::now()
                        .duration_since(at)
                        .is_ok_and(|age| age > STALE)
                });
            if is_old && entry.file_name().as_encoded_bytes().starts_with(b"tmp_") {
                let path = entry.path();
                fs::remove_file(&path).map_err(Error::io("removing an unfinished pack", &path))?;
            }
        }
        Ok(())
    }
}

/// Writes a whole file so that after a power loss it is there with all its bytes, or as it was before.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(path, bytes, true)?;
    match path.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Writes a file at once, for what is made again when it is lost: nobody waits for the disk, on which everybody else does
/// too. After a loss of power the file may be the one of before, or cut.
pub(crate) fn write_lightly(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(path, bytes, false)
}

fn write(path: &Path, bytes: &[u8], durably: bool) -> Result<(), Error> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};

    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".lock");
    let unfinished = PathBuf::from(unfinished);
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(bytes)?;
        if durably {
            file.sync_all()?;
        }
        fs::rename(&unfinished, path)
    };
    write().map_err(Error::io("writing", path))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Error> {
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("making names durable in", folder))
}
