//! Where treefort keeps what it knows: the home, and the file that says where a running treefort listens.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use nostr::PublicKey;
use serde::Deserialize;

/// The directory of one treefort: keys, events, state.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

/// What `run.json` says about the treefort that serves a home. It is a claim: a challenge proves it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Running {
    /// The format's version.
    pub v: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process.
    pub pid: u32,
    /// The relay's key.
    pub relay: PublicKey,
    /// Another program may be where `localhost` leads.
    #[serde(default)]
    pub localhost_is_taken: bool,
    /// The fingerprint of the `sync.toml` that it goes by.
    #[serde(default)]
    pub sync: Option<String>,
}

/// The version of `run.json` that this program reads.
const RUNNING_VERSION: u32 = 1;

/// No `run.json` is longer than this.
const RUNNING_MAX_BYTES: u64 = 4096;

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The platform names no data directory.
    #[error("no directory for treefort's data is known")]
    NoDataDir,
    /// The home cannot be made.
    #[error("cannot make the home '{}'", path.display())]
    Create {
        /// The home.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `run.json` cannot be read.
    #[error("cannot read '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `run.json` is not what a treefort of this version writes.
    #[error("'{}' is not from this version of treefort", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Option<serde_json::Error>,
    },
}

impl Error {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoDataDir => Some("give one with --home DIR".to_owned()),
            Self::Create { .. } => Some("give another one with --home DIR".to_owned()),
            Self::Read { path, .. } => Some(format!(
                "make sure that '{}' is there and that you may read it",
                path.display()
            )),
            Self::Malformed { path, .. } => Some(format!(
                "stop the running treefort, then remove '{}'",
                path.display()
            )),
        }
    }
}

impl Home {
    /// The home that the person named, else the platform's data directory; made with mode 0700 when missing.
    ///
    /// # Errors
    /// When there is no such directory and it cannot be made.
    pub fn open(named: Option<&Path>) -> Result<Self, Error> {
        let home = Self::at(named)?;
        let made = create_private(&home.dir);
        made.map_err(|source| Error::Create {
            path: home.dir.clone(),
            source,
        })?;
        Ok(home)
    }

    /// The same home, not made: for what makes it itself, or needs one that is there.
    ///
    /// # Errors
    /// When its place cannot be found out.
    pub fn at(named: Option<&Path>) -> Result<Self, Error> {
        let dir = match named {
            Some(dir) => dir.to_owned(),
            None => directories::ProjectDirs::from("", "", "treefort")
                .ok_or(Error::NoDataDir)?
                .data_dir()
                .to_owned(),
        };
        // Sandboxes, locks and records of files know a home by one path only.
        let dir = whole(&dir).map_err(|source| Error::Create { path: dir, source })?;
        Ok(Self { dir })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `run.json` says, when there is one.
    ///
    /// # Errors
    /// When it cannot be read, or another version wrote it.
    pub fn running(&self) -> Result<Option<Running>, Error> {
        use io::Read as _;
        let path = self.dir.join("run.json");
        let mut text = String::new();
        let read = std::fs::File::open(&path)
            .and_then(|file| file.take(RUNNING_MAX_BYTES).read_to_string(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
        }
        match serde_json::from_str::<Running>(&text) {
            Ok(running) if running.v == RUNNING_VERSION => Ok(Some(running)),
            Ok(_) => Err(Error::Malformed { path, source: None }),
            Err(source) => Err(Error::Malformed {
                path,
                source: Some(source),
            }),
        }
    }

    /// The bits of the home's mode that others than its owner have, when they have any.
    ///
    /// # Errors
    /// When the home is gone.
    pub fn open_to_others(&self) -> Result<Option<u32>, Error> {
        let mode = mode(&self.dir).map_err(|source| Error::Read {
            path: self.dir.clone(),
            source,
        })?;
        Ok((mode & 0o077 != 0).then_some(mode & 0o777))
    }
}

/// The path from the root, without links and `..` as far as there is something; what is to be made follows.
fn whole(dir: &Path) -> io::Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    let (mut there, mut missing) = (dir.as_path(), Vec::new());
    let mut whole = loop {
        match (there.canonicalize(), there.file_name(), there.parent()) {
            (Ok(found), ..) => break found,
            (Err(error), Some(name), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
                missing.push(name);
                there = parent;
            }
            (Err(error), ..) => return Err(error),
        }
    };
    whole.extend(missing.into_iter().rev());
    Ok(whole)
}

#[cfg(unix)]
fn create_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        // Two commands may start at once.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        other => other,
    }
}

#[cfg(not(unix))]
fn create_private(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)
}

#[cfg(unix)]
fn mode(dir: &Path) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::metadata(dir)?.permissions().mode())
}

#[cfg(not(unix))]
fn mode(dir: &Path) -> io::Result<u32> {
    std::fs::metadata(dir).map(|_| 0o700)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_home_for_its_owner_only() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(Some(&temp.path().join("a/b"))).unwrap();
        assert_eq!(home.open_to_others().unwrap(), None);
        assert_eq!(home.running().unwrap(), None);
    }

    #[test]
    fn a_home_has_one_path_however_it_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let real = temp.path().canonicalize().unwrap();
        std::fs::create_dir_all(real.join("a/b")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(real.join("a"), real.join("link")).unwrap();
        for (named, is) in [
            ("a/b/../home", "a/home"),
            ("a/./b", "a/b"),
            ("link/b/../../new/home", "new/home"),
        ] {
            let home = Home::at(Some(&temp.path().join(named))).unwrap();
            assert_eq!(home.dir(), real.join(is), "{named}");
        }
        assert!(!real.join("new").exists(), "it is not made");
        assert!(Home::at(Some(&temp.path().join("none/../home"))).is_err());
    }

    #[test]
    fn reads_where_a_treefort_runs() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(Some(temp.path())).unwrap();
        let relay = nostr::Keys::generate().public_key();
        let text = format!(r#"{{"v":1,"address":"127.0.0.1:4869","pid":7,"relay":"{relay}"}}"#);
        std::fs::write(temp.path().join("run.json"), text).unwrap();
        let running = home.running().unwrap().unwrap();
        assert_eq!((running.pid, running.relay), (7, relay));
        std::fs::write(temp.path().join("run.json"), "{}").unwrap();
        assert!(matches!(home.running(), Err(Error::Malformed { .. })));
    }
}
