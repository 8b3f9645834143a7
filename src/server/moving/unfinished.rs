//! What is being written, beside what it is to become: nobody takes it for the whole, and what a program that died left
//! is removed by the next one, and nothing else is.
//!
//! Two things say that something is left behind: a mark that only an unfinished one has, and a lock that the system
//! takes from its writer when that dies, however it dies. What lacks the mark is somebody's and stays.

use std::{
    ffi::OsStr,
    fs,
    io::{self, BufWriter, Read as _, Write},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use super::{ABOUT, MoveError};
use crate::workspace::inventory;

/// How often a name is tried that others take and leave at the same moment.
const TRIES: usize = 20;
/// How the name of a file ends that is being written.
pub const UNFINISHED: &str = ".unfinished";
/// The first byte of a file that is being written; it gets its own when all of it is on the disk.
const MARK: u8 = b'!';
/// What is between the name of a home and what tells several imports apart.
const IMPORTING: &str = ".importing-";
/// What marks the folder of an import, and what is made beside the mark.
const SIGN: &str = "treefort-import";
const INSIDE: &str = "home";
/// What the mark says.
const SAYS: &str =
    "An import that is not finished is made here. When it was cut off, the next one removes it.\n";

/// A backup that is being written.
pub struct UnfinishedFile {
    path: PathBuf,
    to: PathBuf,
    out: Option<BufWriter<Marked>>,
}

/// What became of what was in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleared {
    /// An export was cut off; what it had written is gone.
    Removed(PathBuf),
    /// It was a whole backup, which has this name now.
    Kept(PathBuf),
}

impl UnfinishedFile {
    /// Begins a file that only its owner reads; what is there is never written over. Says what was in the way.
    ///
    /// # Errors
    /// When there is something of this name, it is being written at this moment, or cannot be written.
    pub fn begin(to: &Path) -> Result<(Self, Option<Cleared>), MoveError> {
        let path = named(to, UNFINISHED);
        let mut cleared = None;
        for _ in 0..TRIES {
            if let Some(found) = clear_file(&path)? {
                cleared = Some(found);
            }
            is_free(to)?;
            let mut options = fs::OpenOptions::new();
            let file = match options.write(true).create_new(true).mode(0o600).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened?,
            };
            // Before it was held another export may have taken it for one that was left. Where nothing can be held,
            // that other one does not take it either.
            let held = !matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock));
            if held && is_at(&file, &path)? {
                let out = BufWriter::with_capacity(1 << 20, Marked { file, first: None });
                let begun = Self {
                    path,
                    to: to.to_owned(),
                    out: Some(out),
                };
                return Ok((begun, cleared));
            }
        }
        Err(MoveError::Busy(path))
    }

    /// Gives it its name; all of it is on the disk then.
    ///
    /// # Errors
    /// When it cannot be written, or something got this name meanwhile.
    pub fn finish(mut self) -> Result<(), MoveError> {
        let Some(out) = self.out.take() else {
            return Ok(());
        };
        let marked = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        marked.file.sync_all()?;
        if let Some(first) = marked.first {
            marked.file.write_all_at(&[first], 0)?;
            marked.file.sync_all()?;
        }
        match renameat_with(CWD, &self.path, CWD, &self.to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(MoveError::Exists(self.to.clone())),
            // Not on every file system.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                fs::hard_link(&self.path, &self.to)?;
                fs::remove_file(&self.path)?;
            }
            Err(error) => return Err(io::Error::from(error).into()),
        }
        self.path.clear();
        Ok(sync_folder(&self.to)?)
    }
}

impl Write for UnfinishedFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let out = self.out.as_mut();
        out.ok_or(io::ErrorKind::NotConnected)?.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        let out = self.out.as_mut();
        out.ok_or(io::ErrorKind::NotConnected)?.flush()
    }
}

impl Drop for UnfinishedFile {
    /// Half a copy is of no use.
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, "what was left of an export cannot be removed");
        }
        // Only now what waits in memory: it is written into what has no name any more.
        self.out = None;
    }
}

/// A file whose first byte says that it is not whole.
struct Marked {
    file: fs::File,
    /// What that byte is to be.
    first: Option<u8>,
}

impl Write for Marked {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match (self.first, buf.first()) {
            (None, Some(first)) => {
                self.file.write_all(&[MARK])?;
                self.first = Some(*first);
                Ok(1)
            }
            _ => self.file.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Whether a backup can get this name.
///
/// # Errors
/// [`MoveError::Exists`] when something has it.
pub fn is_free(to: &Path) -> Result<(), MoveError> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(MoveError::Exists(to.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What has the name of a file that is being written, held against others.
enum Found {
    Nothing,
    /// An export that was cut off before its first byte, or amid it.
    Left(fs::File),
    /// Cut off between its last byte and its name, or somebody calls a backup of theirs so.
    Whole(fs::File),
}

/// Removes what an export left here that was cut off.
fn clear_file(path: &Path) -> Result<Option<Cleared>, MoveError> {
    match found(path)? {
        Found::Nothing => Ok(None),
        Found::Left(_held) => {
            fs::remove_file(path)?;
            Ok(Some(Cleared::Removed(path.to_owned())))
        }
        Found::Whole(_held) => Ok(Some(keep(path)?)),
    }
}

fn found(path: &Path) -> Result<Found, MoveError> {
    let in_the_way = || MoveError::InTheWay(path.to_owned());
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.uid() == us() => {}
        Ok(_) => return Err(in_the_way()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error.into()),
    }
    let mut file = match held(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(Found::Nothing),
        Err(Some(fs::TryLockError::WouldBlock)) => return Err(MoveError::Busy(path.to_owned())),
        Err(_) => return Err(in_the_way()),
    };
    let mut begins = Vec::new();
    io::Read::by_ref(&mut file)
        .take(ABOUT.len() as u64)
        .read_to_end(&mut begins)?;
    match begins.split_first() {
        None => Ok(Found::Left(file)),
        Some((&MARK, rest)) if ABOUT.as_bytes()[1..].starts_with(rest) => Ok(Found::Left(file)),
        Some(_) if begins == ABOUT.as_bytes() => Ok(Found::Whole(file)),
        Some(_) => Err(in_the_way()),
    }
}

/// What exports left in a folder that were cut off. A file without a byte may be anybody's.
///
/// # Errors
/// When the folder cannot be looked through.
pub fn left_exports(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_named = path.as_os_str().as_bytes().ends_with(UNFINISHED.as_bytes());
        if is_named
            && let Ok(Found::Left(file)) = found(&path)
            && file.metadata()?.len() > 0
        {
            left.push(path);
        }
    }
    left.sort();
    Ok(left)
}

/// Gives a whole backup a name of its own.
fn keep(path: &Path) -> Result<Cleared, MoveError> {
    for number in 1..=TRIES {
        let to = named(path, &format!(".whole-{number}"));
        if is_free(&to).is_ok() {
            fs::hard_link(path, &to)?;
            fs::remove_file(path)?;
            return Ok(Cleared::Kept(to));
        }
    }
    Err(MoveError::InTheWay(path.to_owned()))
}

/// The folders above a home that were made for it. Those that hold nothing go again when this is dropped.
pub(super) struct Above(Vec<PathBuf>);

impl Above {
    /// Makes those that are missing.
    pub(super) fn make(home: &Path) -> Result<Self, MoveError> {
        let missing = home.ancestors().skip(1);
        let missing: Vec<&Path> = missing
            .take_while(|path| fs::symlink_metadata(path).is_err())
            .collect();
        let mut made = Self(Vec::new());
        // The outermost first; what another makes at the same time is another's.
        for path in missing.into_iter().rev() {
            match folder(path) {
                Ok(()) => made.0.push(path.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at(path, error)),
            }
        }
        Ok(made)
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // It fails where something is in it.
            let _ = fs::remove_dir(path);
        }
    }
}

/// The folder in which an import makes a home.
pub(super) struct UnfinishedHome {
    root: PathBuf,
    /// Holds the mark.
    _sign: fs::File,
}

impl UnfinishedHome {
    /// Begins one beside the home that it is to become.
    pub(super) fn begin(home: &Path) -> Result<Self, MoveError> {
        for _ in 0..TRIES {
            let mut random = [0; 4];
            getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
            let root = named(home, &format!("{IMPORTING}{}", hex::encode(random)));
            let at = |source| at(&root, source);
            match folder(&root) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(at)?,
            }
            let mut options = fs::OpenOptions::new();
            let options = options.write(true).create_new(true).mode(0o600);
            let mut sign = match options.open(root.join(SIGN)) {
                // Another import took the empty folder for one that was left.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(at)?,
            };
            if matches!(sign.try_lock(), Err(fs::TryLockError::WouldBlock)) {
                continue;
            }
            match sign
                .write_all(SAYS.as_bytes())
                .and_then(|()| folder(&root.join(INSIDE)))
            {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                made => made.map_err(at)?,
            }
            return Ok(Self { root, _sign: sign });
        }
        Err(MoveError::Busy(named(home, IMPORTING)))
    }

    /// Where the home is made.
    pub(super) fn home(&self) -> PathBuf {
        self.root.join(INSIDE)
    }
}

impl Drop for UnfinishedHome {
    fn drop(&mut self) {
        if let Err(error) = remove_home(&self.root) {
            tracing::warn!(%error, "what was left of an import cannot be removed");
        }
    }
}

/// Removes what imports left that were to become this home and were cut off; says what that was.
///
/// # Errors
/// When it cannot be looked for or removed.
pub fn clear_imports(home: &Path) -> Result<Vec<PathBuf>, MoveError> {
    let mut removed = Vec::new();
    for root in beside(home)? {
        if is_left(&root) {
            remove_home(&root).map_err(|source| at(&root, source))?;
            removed.push(root);
        }
    }
    Ok(removed)
}

/// What imports left that were to become this home and were cut off. There may be keys in it.
///
/// # Errors
/// When it cannot be looked for.
pub fn left_imports(home: &Path) -> Result<Vec<PathBuf>, MoveError> {
    let mut left = beside(home)?;
    left.retain(|root| is_left(root));
    left.sort();
    Ok(left)
}

/// What is beside a home under the name of an import.
fn beside(home: &Path) -> Result<Vec<PathBuf>, MoveError> {
    let (Some(parent), Some(name)) = (home.parent(), home.file_name()) else {
        return Ok(Vec::new());
    };
    let begins = named(Path::new(name), IMPORTING);
    let mut found = Vec::new();
    let there = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        there => there.map_err(|source| at(parent, source))?,
    };
    for entry in there {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_bytes().starts_with(begins.as_os_str().as_bytes()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether an import made this folder and is dead.
fn is_left(root: &Path) -> bool {
    let is_ours = fs::symlink_metadata(root)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == us());
    let Some(names) = is_ours.then(|| names(root)).and_then(Result::ok) else {
        return false;
    };
    if !names.iter().all(|name| *name == *SIGN || *name == *INSIDE) {
        return false;
    }
    if names.is_empty() {
        // Not even marked. One that is about to be marked notices that it is gone.
        return true;
    }
    // Nobody but an import writes the mark; one that was cut off may not have written all of it.
    let Ok(Some(mut sign)) = held(&root.join(SIGN)) else {
        return false;
    };
    let mut says = String::new();
    let read = io::Read::by_ref(&mut sign)
        .take(4096)
        .read_to_string(&mut says);
    read.is_ok() && SAYS.starts_with(&says)
}

/// Removes the folder of an import; the mark goes last, so that what is left when this is cut off is known too.
fn remove_home(root: &Path) -> io::Result<()> {
    inventory::remove(&root.join(INSIDE))?;
    for removed in [fs::remove_file(root.join(SIGN)), fs::remove_dir(root)] {
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn names(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

/// A file that nobody else holds, held; nothing when it went meanwhile.
fn held(path: &Path) -> Result<Option<fs::File>, Option<fs::TryLockError>> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = fs::OpenOptions::new();
    let flags = i32::try_from(no_follow.bits()).unwrap_or_default();
    let file = match options.read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|_| None)?,
    };
    file.try_lock().map_err(Some)?;
    let there = is_at(&file, path).map_err(|_| None)?;
    Ok(there.then_some(file))
}

/// Whether a path leads to this open file.
fn is_at(file: &fs::File, path: &Path) -> io::Result<bool> {
    let is = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (is.dev(), is.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn named(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(OsStr::new(more));
    PathBuf::from(name)
}

fn folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// Makes a name durable.
pub(super) fn sync_folder(of: &Path) -> io::Result<()> {
    let parent = match of.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::File::open(parent)?.sync_all()
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn at(path: &Path, source: io::Error) -> MoveError {
    MoveError::Home(crate::server::Error::Home {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
