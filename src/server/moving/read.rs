//! Making a home out of an archive, which may be anybody's.

use std::{
    fs,
    io::{self, Read, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Component, Path, PathBuf},
};

use nostr::{FromBech32 as _, SecretKey, nips::nip49::EncryptedSecretKey};
use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry, EntryType};

use super::{
    ABOUT, ARCHIVE_KEY, About, CODE, Code, ENCRYPTED, Heard, LOG_N, LOG_N_OF_A_KEY, MoveError,
    Moved, STATE, Sort, VERSION, all_done, is_moved, may_be_link, tell,
    unfinished::{Above, UnfinishedHome, sync_folder},
};
use crate::{coordinator::Workspaces, keys::Keyring, server::Offline, workspace::beneath};

mod bounded;
#[cfg(test)]
mod tests;

use self::bounded::Bounded;

/// No description, key or code is longer.
const SMALL: u64 = 4096;
/// No path is longer.
const LONGEST_PATH: usize = 8192;
/// Folders in folders.
const DEEPEST: usize = 256;
/// What stands between two files: a header, and the names that are too long for it. They are read as a whole, before
/// anything is known of who wrote them.
const LONGEST_NAMES: u64 = 64 << 10;

/// Makes a home out of an archive. The home has to be empty; it is whole when this returns, and untouched when it fails.
///
/// # Errors
/// When the archive is not one, was changed, or the home is not empty.
pub fn import(
    home: &Path,
    from: impl Read,
    password: &str,
    heard: Heard<'_>,
) -> Result<Moved, MoveError> {
    if holds_something(home)? {
        return Err(MoveError::NotEmpty);
    }
    let _above = Above::make(home)?;
    let unfinished = UnfinishedHome::begin(home)?;
    let made = unfinished.home();
    let mut filled = fill(&made, from, password, heard)?;
    filled.moved.entries = look(&made, &filled)?;
    // Last: nobody above wrote or read through a link, since there was none.
    filled.later.finish(&made)?;
    // Links are given away themselves, and not what they lead to.
    Workspaces::new(made.clone()).give_to_the_agents()?;
    sync(&made)?;
    // Fails when something came into it meanwhile.
    fs::rename(&made, home).map_err(|error| match holds_something(home) {
        Ok(true) => MoveError::NotEmpty,
        _ => MoveError::Home(crate::server::Error::Home {
            path: home.to_owned(),
            source: error,
        }),
    })?;
    sync_folder(home)?;
    Ok(filled.moved)
}

/// What was brought in, before it was looked at.
struct Filled {
    about: About,
    moved: Moved,
    later: Later,
}

fn holds_something(home: &Path) -> Result<bool, MoveError> {
    match fs::read_dir(home) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What could not be read of an archive. What the reader of archives says of it quotes the file, which may be anything.
fn cut(error: io::Error) -> MoveError {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    match error.kind() {
        UnexpectedEof => MoveError::NotOne("it ends too early".to_owned()),
        Other | InvalidData | InvalidInput => {
            tracing::debug!(%error, "not an archive");
            MoveError::NotOne("it is not written as one".to_owned())
        }
        _ => MoveError::Archive(error),
    }
}

fn changed(what: impl Into<String>) -> MoveError {
    MoveError::Changed(what.into())
}

fn fill(
    into: &Path,
    from: impl Read,
    password: &str,
    heard: Heard<'_>,
) -> Result<Filled, MoveError> {
    let (from, bound) = Bounded::new(from);
    let mut archive = Archive::new(from);
    let mut entries = archive.entries().map_err(cut)?;
    let mut next = || -> Result<_, MoveError> {
        let entry = bound.within(LONGEST_NAMES, || entries.next());
        let entry = entry.ok_or_else(|| MoveError::NotOne("it ends too early".to_owned()))?;
        entry.map_err(cut)
    };
    let (about_bytes, about) = {
        let mut entry = next()?;
        let bytes = small(&mut entry, ABOUT)?;
        let about: About = serde_json::from_slice(&bytes)
            .map_err(|_| MoveError::NotOne("it does not say what it is".to_owned()))?;
        (bytes, about)
    };
    if about.v != VERSION {
        return Err(MoveError::Version(about.v));
    }
    let archive_name = format!("keys/{ARCHIVE_KEY}{ENCRYPTED}");
    let archive_bytes = small(&mut next()?, &archive_name)?;
    let archive_key = decrypt(&archive_bytes, password, LOG_N)?;
    let by_key = archive_key.to_secret_hex();
    let mut code = Code::new(&archive_key);
    for (name, bytes) in [
        (ABOUT, &about_bytes),
        (archive_name.as_str(), &archive_bytes),
    ] {
        code.entry(Sort::File, name.as_bytes(), 0o600, bytes.len() as u64);
        code.content(bytes);
    }
    let mut moved = Moved::default();
    let mut keys = Vec::new();
    let mut later = Later::default();
    loop {
        let mut entry = next()?;
        let path = path(&entry)?;
        if path == Path::new(CODE) {
            let said = small(&mut entry, CODE)?;
            let mut is = [0; 32];
            let hexadecimal = hex::decode_to_slice(&said, &mut is).is_ok();
            if !hexadecimal || !nostr::hashes::cmp::fixed_time_eq(&is, &code.end()) {
                return Err(changed("its code is another one"));
            }
            break;
        }
        match path.strip_prefix("keys") {
            Ok(name) => {
                let name = name.to_str().and_then(|name| name.strip_suffix(ENCRYPTED));
                let name = name.ok_or_else(|| changed("it has a key without a name"))?;
                let bytes = small(&mut entry, &format!("keys/{name}{ENCRYPTED}"))?;
                let whole = format!("keys/{name}{ENCRYPTED}");
                code.entry(Sort::File, whole.as_bytes(), 0o600, bytes.len() as u64);
                code.content(&bytes);
                let (opens, log_n) = match name.starts_with("sessions/") {
                    true => (by_key.as_str(), LOG_N_OF_A_KEY),
                    false => (password, LOG_N),
                };
                keys.push((name.to_owned(), decrypt(&bytes, opens, log_n)?));
                moved.keys += 1;
            }
            Err(_) => file(into, &path, &mut entry, &mut code, &mut moved, &mut later)?,
        }
        tell(heard, &moved)?;
    }
    // Only those of an archive that has the right code.
    for (name, secret) in keys {
        Keyring::restore(into, &name, &secret)?;
    }
    Ok(Filled {
        about,
        moved,
        later,
    })
}

/// What has to wait until all files are there: links, and folders that cannot be written to.
#[derive(Default)]
struct Later {
    links: Vec<(PathBuf, PathBuf)>,
    modes: Vec<(PathBuf, u32)>,
}

impl Later {
    fn finish(self, into: &Path) -> Result<(), MoveError> {
        let root = beneath::open_root(into)?;
        for (path, target) in self.links {
            // Step by step and through no link: one that was made here before must not lead the next one out.
            let (folder, name) = beneath::open_parent(&root, path.as_os_str().as_bytes())
                .map_err(|error| misplaced(error, &path))?;
            rustix::fs::symlinkat(&target, &folder, name)
                .map_err(|error| misplaced(error.into(), &path))?;
        }
        // From the inside out.
        for (path, mode) in self.modes.into_iter().rev() {
            fs::set_permissions(into.join(path), fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

/// Why something could not be made at its place: because of the disk, or because nothing can be there.
fn misplaced(error: io::Error, path: &Path) -> MoveError {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            changed(format!("{} does not belong where it is", path.display()))
        }
        // A link where a folder has to be; that kind of error has no stable name.
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            changed(format!("{} does not belong where it is", path.display()))
        }
        _ => MoveError::Archive(error),
    }
}

/// One file, folder or link. There are no links yet in what is written to, and nothing is written over.
fn file(
    into: &Path,
    path: &Path,
    entry: &mut Entry<'_, impl Read>,
    code: &mut Code,
    moved: &mut Moved,
    later: &mut Later,
) -> Result<(), MoveError> {
    let top = path.components().next();
    let top = top.and_then(|top| top.as_os_str().to_str());
    if !top.is_some_and(is_moved) {
        return Err(changed(format!("{} is no part of a home", path.display())));
    }
    let full = into.join(path);
    let mode = entry.header().mode().map_err(cut)? & 0o777;
    let name = path.as_os_str().as_bytes();
    let failed = |error| misplaced(error, path);
    match entry.header().entry_type() {
        EntryType::Directory => {
            code.entry(Sort::Folder, name, mode, 0);
            let made = fs::DirBuilder::new().mode(0o700).create(&full);
            made.map_err(failed)?;
            later.modes.push((path.to_owned(), mode));
        }
        EntryType::Symlink => {
            if !may_be_link(path) {
                let what = "is a link where none may be";
                return Err(changed(format!("{} {what}", path.display())));
            }
            let target = entry.link_name_bytes();
            let target = target.ok_or_else(|| changed("it has a link that leads nowhere"))?;
            code.entry(Sort::Link, name, 0, target.len() as u64);
            code.content(&target);
            let target = PathBuf::from(std::ffi::OsStr::from_bytes(&target));
            later.links.push((path.to_owned(), target));
            moved.files += 1;
        }
        EntryType::Regular => {
            let len = entry.size();
            code.entry(Sort::File, name, mode, len);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&full)
                .map_err(failed)?;
            let mut left = len;
            let mut buffer = vec![0; 64 << 10];
            while left > 0 {
                let read = entry.read(&mut buffer).map_err(cut)?;
                if read == 0 {
                    return Err(MoveError::NotOne("it ends too early".to_owned()));
                }
                code.content(&buffer[..read]);
                file.write_all(&buffer[..read])?;
                left = left.saturating_sub(read as u64);
            }
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.sync_all()?;
            moved.files += 1;
            moved.bytes += len;
        }
        _ => return Err(changed(format!("{} is no file", path.display()))),
    }
    Ok(())
}

/// The path of an entry, if it stays inside.
fn path(entry: &Entry<'_, impl Read>) -> Result<PathBuf, MoveError> {
    let bytes = entry.path_bytes();
    let path = Path::new(std::ffi::OsStr::from_bytes(&bytes));
    let inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let sane = bytes.len() <= LONGEST_PATH && path.components().count() <= DEEPEST;
    if !inside || !sane || bytes.is_empty() || bytes.contains(&0) {
        return Err(changed("it has a path that leads out of it"));
    }
    // Without what a name may end in, so that the code is over what was written.
    Ok(path.components().collect())
}

/// The bytes of an entry that has to have this name and to be small.
fn small(entry: &mut Entry<'_, impl Read>, name: &str) -> Result<Vec<u8>, MoveError> {
    let is_it = entry.header().entry_type() == EntryType::Regular
        && *entry.path_bytes() == *name.as_bytes()
        && entry.size() <= SMALL;
    if !is_it {
        return Err(MoveError::NotOne(format!(
            "{name} is not where it should be"
        )));
    }
    let mut bytes = Vec::new();
    entry.take(SMALL).read_to_end(&mut bytes).map_err(cut)?;
    Ok(bytes)
}

/// Whoever wrote a key says what it costs to open; no more than ours do is spent.
fn decrypt(text: &[u8], password: &str, log_n: u8) -> Result<SecretKey, MoveError> {
    let none = || changed("a key in it is none");
    let text = std::str::from_utf8(text).map_err(|_| none())?;
    let encrypted = EncryptedSecretKey::from_bech32(text).map_err(|_| none())?;
    encrypted
        .decrypt_with_max_log_n(password, log_n)
        .map_err(|_| MoveError::Password)
}

/// Looks whether what was brought in is a home that can be used; gives how many entries its record has.
fn look(home: &Path, filled: &Filled) -> Result<u64, MoveError> {
    let keyring = Keyring::open(home)?;
    if keyring.operator().public_key().to_hex() != filled.about.operator
        || keyring.all()?.len() as u64 != filled.moved.keys
    {
        return Err(changed("its keys are not those that it names"));
    }
    for entry in fs::read_dir(home.join("blobs")).into_iter().flatten() {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if hash(&path)? != name.unwrap_or_default() {
            return Err(changed(format!("{} is another file", path.display())));
        }
    }
    let offline = Offline::open(home, false)?;
    if offline.last_seq() != filled.about.seq {
        return Err(changed("its record ends elsewhere"));
    }
    let check = offline.check()?;
    if !check.is_sound() {
        return Err(changed("its record is not whole"));
    }
    if home.join(STATE).is_dir() {
        all_done(&offline, home)?;
    }
    drop(offline);
    let _ = fs::remove_file(home.join("lock"));
    Ok(check.events)
}

fn hash(path: &Path) -> Result<String, MoveError> {
    let mut hasher = Sha256::new();
    io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hex::encode(hasher.finalize()))
}

/// Makes the names durable; the files are already.
fn sync(folder: &Path) -> Result<(), MoveError> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
        fs::File::open(&folder)?.sync_all()?;
    }
    Ok(())
}
