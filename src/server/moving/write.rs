//! Writing a home into an archive.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use nostr::{
    Keys, SecretKey, Timestamp, ToBech32 as _,
    nips::nip49::{EncryptedSecretKey, KeySecurity},
};
use tar::{Builder, EntryType, Header};

use super::{
    ABOUT, ARCHIVE_KEY, About, CODE, Code, ENCRYPTED, Heard, LOG_N, LOG_N_OF_A_KEY, MoveError,
    Moved, Sort, VERSION, all_done, is_followed, is_moved, may_be_link, tell,
};
use crate::{keys::Keyring, server::Offline};

/// Whether a home can be written out now: for who wants to know before much is asked.
///
/// # Errors
/// When it is in use, there is none, or a job is not done.
pub fn may_export(home: &Path) -> Result<(), MoveError> {
    all_done(&Offline::open(home, false)?, home)
}

/// Writes a home that nobody uses. Its keys are encrypted with the password.
///
/// # Errors
/// When a file cannot be read, the archive not be written, or a job is not done.
pub fn export(
    home: &Path,
    password: &str,
    out: impl Write,
    heard: Heard<'_>,
) -> Result<Moved, MoveError> {
    let offline = Offline::open(home, false)?;
    all_done(&offline, home)?;
    let keyring = Keyring::open(home)?;
    let archive_key = Keys::generate();
    let mut writer = Writer {
        tar: Builder::new(out),
        code: Code::new(archive_key.secret_key()),
        moved: Moved::default(),
    };
    let about = About {
        v: VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: Timestamp::now().as_secs(),
        operator: keyring.operator().public_key().to_hex(),
        seq: offline.last_seq(),
    };
    // Those that were deleted have a number still.
    let entries = offline.entries()?;
    // What is open may be written to.
    let _lock = offline.close();
    let about = serde_json::to_vec(&about).map_err(io::Error::from)?;
    writer.bytes(ABOUT, &about)?;
    writer.key(ARCHIVE_KEY, archive_key.secret_key(), password, LOG_N)?;
    let by_key = archive_key.secret_key().to_secret_hex();
    for (name, keys) in keyring.all()? {
        match name.starts_with("sessions/") {
            // Each of them would take as long as the password's.
            true => writer.key(&name, keys.secret_key(), &by_key, LOG_N_OF_A_KEY)?,
            false => writer.key(&name, keys.secret_key(), password, LOG_N)?,
        }
        writer.moved.keys += 1;
        tell(heard, &writer.moved)?;
    }
    let mut tops = names(home)?;
    tops.retain(|name| name.to_str().is_some_and(is_moved));
    for name in tops {
        writer.tree(home, Path::new(&name), heard)?;
    }
    let Writer {
        mut tar,
        code,
        mut moved,
    } = writer;
    append(&mut tar, CODE, hex::encode(code.end()).as_bytes())?;
    tar.into_inner()?.flush()?;
    moved.entries = entries;
    Ok(moved)
}

struct Writer<W: Write> {
    tar: Builder<W>,
    code: Code,
    moved: Moved,
}

fn header(sort: EntryType, mode: u32, len: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(sort);
    header.set_mode(mode);
    header.set_size(len);
    header
}

fn append<W: Write>(tar: &mut Builder<W>, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = header(EntryType::Regular, 0o600, bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
}

impl<W: Write> Writer<W> {
    fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<(), MoveError> {
        let len = bytes.len() as u64;
        self.code.entry(Sort::File, path.as_bytes(), 0o600, len);
        self.code.content(bytes);
        Ok(append(&mut self.tar, path, bytes)?)
    }

    fn key(
        &mut self,
        name: &str,
        secret: &SecretKey,
        password: &str,
        log_n: u8,
    ) -> Result<(), MoveError> {
        let failed = |error: String| MoveError::Archive(io::Error::other(error));
        let encrypted = EncryptedSecretKey::new(secret, password, log_n, KeySecurity::Medium)
            .map_err(|error| failed(error.to_string()))?;
        let text = encrypted
            .to_bech32()
            .map_err(|error| failed(error.to_string()))?;
        self.bytes(&format!("keys/{name}{ENCRYPTED}"), text.as_bytes())
    }

    /// Everything at and below a path. Links of agents are written as links; one that the owner made, to settings or to
    /// another disk, as what it leads to: elsewhere it would lead nowhere.
    fn tree(&mut self, home: &Path, path: &Path, heard: Heard<'_>) -> Result<(), MoveError> {
        let full = home.join(path);
        let mut metadata = fs::symlink_metadata(&full).map_err(|source| at(&full, source))?;
        if metadata.is_symlink() && !may_be_link(path) {
            let gone = || io::Error::from(io::ErrorKind::NotFound);
            let led = is_followed(path).then(|| led_to(home, &full));
            metadata = match led.unwrap_or_else(|| Err(gone())) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.moved.left += 1;
                    return Ok(());
                }
                led => led.map_err(|source| at(&full, source))?,
            };
        }
        let mode = metadata.permissions().mode() & 0o777;
        let name = path.as_os_str().as_bytes();
        if metadata.is_dir() {
            self.code.entry(Sort::Folder, name, mode, 0);
            let mut header = header(EntryType::Directory, mode, 0);
            self.tar.append_data(&mut header, path, io::empty())?;
            for child in names(&full)? {
                // What only holds a place while a store is open.
                let is_lock = child == Path::new("lock") && path == Path::new("events");
                if !is_lock {
                    self.tree(home, &path.join(child), heard)?;
                }
            }
        } else if metadata.is_symlink() {
            let target = fs::read_link(&full).map_err(|source| at(&full, source))?;
            let bytes = target.as_os_str().as_bytes();
            self.code.entry(Sort::Link, name, 0, bytes.len() as u64);
            self.code.content(bytes);
            let mut header = header(EntryType::Symlink, 0o777, 0);
            self.tar.append_link(&mut header, path, &target)?;
            self.moved.files += 1;
        } else if metadata.is_file() {
            let file = fs::File::open(&full).map_err(|source| at(&full, source))?;
            let len = metadata.len();
            self.code.entry(Sort::File, name, mode, len);
            let mut header = header(EntryType::Regular, mode, len);
            let mut counted = Counted {
                // A file that grows would spoil the archive, one that shrinks is an error below.
                file: file.take(len),
                code: &mut self.code,
                read: 0,
            };
            self.tar.append_data(&mut header, path, &mut counted)?;
            if counted.read != len {
                let shrank = io::Error::other("the file changed while it was read");
                return Err(at(&full, shrank));
            }
            self.moved.files += 1;
            self.moved.bytes += len;
            tell(heard, &self.moved)?;
        } else {
            self.moved.left += 1;
        }
        Ok(())
    }
}

/// Reads a file for the archive and its code.
struct Counted<'a> {
    file: io::Take<fs::File>,
    code: &'a mut Code,
    read: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buf)?;
        self.code.content(&buf[..read]);
        self.read += read as u64;
        Ok(read)
    }
}

/// What is at the end of a link, unless keys would be below it: they leave encrypted or not at all.
fn led_to(home: &Path, link: &Path) -> io::Result<fs::Metadata> {
    let (to, keys) = (link.canonicalize()?, home.join("keys").canonicalize()?);
    if keys.starts_with(&to) || to.starts_with(&keys) {
        return Err(io::Error::other("this link leads to the keys of this home"));
    }
    fs::metadata(to)
}

/// What is in a folder, in a fixed order.
fn names(folder: &Path) -> Result<Vec<PathBuf>, MoveError> {
    let failed = |source| at(folder, source);
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut names = entries
        .map(|entry| Ok(PathBuf::from(OsStr::new(&entry?.file_name()))))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed)?;
    names.sort();
    Ok(names)
}

fn at(path: &Path, source: io::Error) -> MoveError {
    MoveError::Home(crate::server::Error::Home {
        path: path.to_owned(),
        source,
    })
}
