//! The keyring: one file a key under `home/keys`, readable by its owner alone.
//!
//! `operator`, `relay` and `coordinator` are made once; every session gets a fresh key, kept so that a
//! session that a crash abandoned can be ended under it.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use nostr::{Keys, PublicKey, SecretKey, nips::nip19::ToBech32};

/// The keys of one home.
#[derive(Debug)]
pub struct Keyring {
    directory: PathBuf,
    operator: Keys,
    relay: Keys,
    coordinator: Keys,
}

/// Why the keyring could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file could not be read or written.
    #[error("failed to use key file {path}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file holds no key.
    #[error("key file {path} holds no secret key")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: nostr::key::Error,
    },
}

impl Keyring {
    /// Opens the keyring of a home and makes what is missing.
    ///
    /// # Errors
    /// When the directory cannot be written or a file holds no key. A broken file is never replaced.
    pub fn open(home: &Path) -> Result<Self, KeyringError> {
        let directory = home.join("keys");
        let sessions = directory.join("sessions");
        private_directory(&directory)?;
        private_directory(&sessions)?;
        let named = |name: &str| load_or_create(&directory.join(name).with_extension("key"));
        Ok(Self {
            operator: named("operator")?,
            relay: named("relay")?,
            coordinator: named("coordinator")?,
            directory,
        })
    }

    /// The owner's key: what a person does is signed with it.
    #[must_use]
    pub fn operator(&self) -> &Keys {
        &self.operator
    }

    /// The relay's own key, `self` in NIP-11.
    #[must_use]
    pub fn relay(&self) -> &Keys {
        &self.relay
    }

    /// The coordinator's key: it answers customers.
    #[must_use]
    pub fn coordinator(&self) -> &Keys {
        &self.coordinator
    }

    /// Makes a session's key; it is on disk before this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new_session(&self) -> Result<Keys, KeyringError> {
        let keys = Keys::generate();
        let name = format!("sessions/{}.key", keys.public_key().to_hex());
        write_key(&self.directory.join(name), keys.secret_key())?;
        Ok(keys)
    }

    /// A session's key, if this home made it.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn session(&self, key: &PublicKey) -> Result<Option<Keys>, KeyringError> {
        let path = self
            .directory
            .join(format!("sessions/{}.key", key.to_hex()));
        if !path.exists() {
            return Ok(None);
        }
        read_key(&path).map(Some)
    }

    /// The keys of all sessions that this home made.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn sessions(&self) -> Result<Vec<PublicKey>, KeyringError> {
        let directory = self.directory.join("sessions");
        let entries = fs::read_dir(&directory).map_err(|source| file(&directory, source))?;
        Ok(entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                PublicKey::from_hex(name.strip_suffix(".key")?).ok()
            })
            .collect())
    }

    /// Every key of this home, with its name: that of its file, without the ending.
    ///
    /// # Errors
    /// When a file cannot be read or holds no key.
    pub fn all(&self) -> Result<Vec<(String, Keys)>, KeyringError> {
        let mut all = Vec::new();
        for folder in ["", "sessions/"] {
            let directory = self.directory.join(folder);
            let entries = fs::read_dir(&directory).map_err(|source| file(&directory, source))?;
            for entry in entries {
                let entry = entry.map_err(|source| file(&directory, source))?;
                let name = entry.file_name().into_string().unwrap_or_default();
                if let Some(name) = name.strip_suffix(".key") {
                    all.push((format!("{folder}{name}"), read_key(&entry.path())?));
                }
            }
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(all)
    }

    /// Writes a key of another home into a new one, under the name that [`Self::all`] gave it there.
    ///
    /// # Errors
    /// When no key is called so, or it cannot be written.
    pub fn restore(home: &Path, name: &str, secret: &SecretKey) -> Result<(), KeyringError> {
        let directory = home.join("keys");
        private_directory(&directory)?;
        private_directory(&directory.join("sessions"))?;
        let public = Keys::new(secret.clone()).public_key().to_hex();
        let of_its_own = (name.strip_prefix("sessions/")).or(name.strip_prefix("operator-"));
        let path = directory.join(format!("{name}.key"));
        let known = match of_its_own {
            Some(key) => key == public,
            None => matches!(name, "operator" | "relay" | "coordinator"),
        };
        if !known {
            return Err(file(&path, io::ErrorKind::InvalidInput.into()));
        }
        write_key(&path, secret)
    }

    /// Removes the key of a session that never wrote a record.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget_session(&self, key: &PublicKey) -> Result<(), KeyringError> {
        let path = self
            .directory
            .join(format!("sessions/{}.key", key.to_hex()));
        fs::remove_file(&path).map_err(|source| file(&path, source))
    }

    /// Takes another key as the operator's. The one before is kept beside it under its public key.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn import_operator(&mut self, secret: SecretKey) -> Result<(), KeyringError> {
        let keys = Keys::new(secret);
        if keys.public_key() == self.operator.public_key() {
            return Ok(());
        }
        let kept = format!("operator-{}.key", self.operator.public_key().to_hex());
        write_key(&self.directory.join(kept), self.operator.secret_key())?;
        write_key(&self.directory.join("operator.key"), keys.secret_key())?;
        self.operator = keys;
        Ok(())
    }

    /// Every spelling of the long-lived secret keys, for redaction.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        [&self.operator, &self.relay, &self.coordinator]
            .into_iter()
            .flat_map(spellings)
            .collect()
    }
}

/// A secret key in the two forms in which it may be written.
#[must_use]
pub fn spellings(keys: &Keys) -> Vec<String> {
    let secret = keys.secret_key();
    let mut forms = vec![secret.to_secret_hex()];
    forms.extend(secret.to_bech32().ok());
    forms
}

fn load_or_create(path: &Path) -> Result<Keys, KeyringError> {
    if path.exists() {
        return read_key(path);
    }
    // Two programs may open a new home at the same moment: a link fails where a rename would replace the
    // key that the other one works under already.
    let keys = Keys::generate();
    let mine = path.with_extension(format!("new-{}", std::process::id()));
    write_key(&mine, keys.secret_key())?;
    let linked = fs::hard_link(&mine, path);
    let removed = fs::remove_file(&mine);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(file(path, error)),
        _ => {
            removed.map_err(|source| file(&mine, source))?;
            read_key(path)
        }
    }
}

fn read_key(path: &Path) -> Result<Keys, KeyringError> {
    let text = fs::read_to_string(path).map_err(|source| file(path, source))?;
    Keys::parse(text.trim()).map_err(|source| KeyringError::NotAKey {
        path: path.to_owned(),
        source,
    })
}

fn write_key(path: &Path, secret: &SecretKey) -> Result<(), KeyringError> {
    write_private(path, &format!("{}\n", secret.to_secret_hex()))
        .map_err(|source| file(path, source))
}

/// Writes a file that only its owner can read: to a new file first, which is renamed, so that a crash
/// leaves the old one or the new one and never a half.
///
/// # Errors
/// The system's reason.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    if let Some(directory) = path.parent() {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn private_directory(path: &Path) -> Result<(), KeyringError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| file(path, source))
}

fn file(path: &Path, source: io::Error) -> KeyringError {
    KeyringError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_a_restart_in_files_of_their_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let (operator, session) = {
            let ring = Keyring::open(home.path()).unwrap();
            (
                ring.operator().public_key(),
                ring.new_session().unwrap().public_key(),
            )
        };
        let ring = Keyring::open(home.path()).unwrap();
        assert_eq!(ring.operator().public_key(), operator);
        assert_eq!(
            ring.session(&session).unwrap().unwrap().public_key(),
            session
        );
        assert!(ring.session(&operator).unwrap().is_none());
        #[cfg(unix)]
        for entry in fs::read_dir(home.path().join("keys")).unwrap() {
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &entry.unwrap().metadata().unwrap().permissions(),
            );
            assert_eq!(mode & 0o077, 0);
        }
    }

    #[test]
    fn an_import_keeps_the_key_before() {
        let home = tempfile::tempdir().unwrap();
        let mut ring = Keyring::open(home.path()).unwrap();
        let before = ring.operator().public_key();
        let new = Keys::generate();
        ring.import_operator(new.secret_key().clone()).unwrap();
        assert_eq!(
            Keyring::open(home.path()).unwrap().operator().public_key(),
            new.public_key()
        );
        assert!(
            home.path()
                .join(format!("keys/operator-{}.key", before.to_hex()))
                .exists()
        );
    }

    #[test]
    fn a_broken_key_file_is_an_error_and_stays() {
        let home = tempfile::tempdir().unwrap();
        drop(Keyring::open(home.path()).unwrap());
        let path = home.path().join("keys/operator.key");
        fs::write(&path, "nonsense").unwrap();
        assert!(matches!(
            Keyring::open(home.path()),
            Err(KeyringError::NotAKey { .. })
        ));
        assert_eq!(fs::read_to_string(path).unwrap(), "nonsense");
    }
}
