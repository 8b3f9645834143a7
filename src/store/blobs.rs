//! Content-addressed blobs: what is too long for an event, under the SHA-256 that the event carries.

use std::{
    collections::HashSet,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use sha2::{Digest, Sha256};

/// Numbers the files that are being written; one that a crash left is written over.
static UNFINISHED: AtomicU64 = AtomicU64::new(0);

/// How the names of files end that are being written, and of those that are being removed.
const NEW: &str = ".new";
const GOING: &str = ".going";

/// Blobs of one home.
#[derive(Debug, Clone)]
pub struct Blobs {
    directory: PathBuf,
}

impl Blobs {
    /// Blobs in a directory, which is made when the first one comes.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Stores bytes that were redacted before, and returns their SHA-256 in hexadecimal.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put(&self, bytes: &[u8]) -> io::Result<String> {
        let hash = hex::encode(Sha256::digest(bytes));
        let path = self.directory.join(&hash);
        // It counts from now on, for whoever looks for what is old ([`Self::remove_older`]).
        if touch(&path).is_ok() && path.exists() {
            return Ok(hash);
        }
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.directory)?;
        // The same bytes may come twice at once, here and in another process, and one must not cut off what the other
        // renames.
        let number = UNFINISHED.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let unfinished = self.directory.join(format!("{process}-{number}{NEW}"));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(unfinished, path)?;
        Ok(hash)
    }

    /// Whether there is a blob of this name.
    #[must_use]
    pub fn has(&self, hash: &str) -> bool {
        is_hash(hash) && self.directory.join(hash).is_file()
    }

    /// As [`Self::get`], when it has at most so many bytes.
    ///
    /// # Errors
    /// As [`Self::get`], and when it has more.
    pub fn get_within(&self, hash: &str, most: u64) -> io::Result<Vec<u8>> {
        if !is_hash(hash) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if fs::symlink_metadata(self.directory.join(hash))?.len() > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.get(hash)
    }

    /// The blobs that were put last before a time. What was being written then and never became one is removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn older(&self, before: SystemTime) -> io::Result<HashSet<String>> {
        let mut old = HashSet::new();
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(old),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let metadata = match entry.metadata() {
                // Another one removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if !metadata.is_file() || metadata.modified()? >= before {
                continue;
            }
            if is_hash(&name) {
                old.insert(name);
            } else if name.ends_with(NEW) || name.ends_with(GOING) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(old)
    }

    /// Removes a blob unless it was put once more since a time; says whether it went.
    ///
    /// # Errors
    /// When it cannot be removed, or this is no hash.
    pub fn remove_older(&self, hash: &str, before: SystemTime) -> io::Result<bool> {
        if !is_hash(hash) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let path = self.directory.join(hash);
        let going = self.directory.join(format!("{hash}{GOING}"));
        // Whoever puts the same bytes either touches it before the look below, or finds it gone.
        match fs::rename(&path, &going) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            renamed => renamed?,
        }
        if fs::symlink_metadata(&going)?.modified()? >= before {
            fs::rename(&going, &path)?;
            return Ok(false);
        }
        fs::remove_file(&going)?;
        Ok(true)
    }

    /// Reads a blob and checks its address.
    ///
    /// # Errors
    /// When it is not there or its bytes are others.
    pub fn get(&self, hash: &str) -> io::Result<Vec<u8>> {
        let bytes = fs::read(self.directory.join(hash))?;
        if hex::encode(Sha256::digest(&bytes)) != hash {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the blob's bytes are others",
            ));
        }
        Ok(bytes)
    }
}

fn is_hash(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn touch(path: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().append(true).open(path)?;
    file.set_modified(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_blob_is_found_under_its_hash_and_a_changed_one_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(home.path().join("blobs"));
        let hash = blobs.put(b"long output").unwrap();
        assert_eq!(blobs.put(b"long output").unwrap(), hash);
        assert_eq!(blobs.get(&hash).unwrap(), b"long output");
        fs::write(home.path().join("blobs").join(&hash), "other").unwrap();
        assert!(blobs.get(&hash).is_err());
        let hash = blobs.put(b"12345").unwrap();
        assert_eq!(blobs.get_within(&hash, 5).unwrap(), b"12345");
        assert!(blobs.get_within(&hash, 4).is_err());
        assert!(blobs.get_within("../blobs", 9).is_err());
        assert!(blobs.has(&hash) && !blobs.has("../blobs"));
        let later = SystemTime::now() + Duration::from_secs(1);
        assert!(blobs.remove_older(&hash, later).unwrap());
        assert!(!blobs.remove_older(&hash, later).unwrap());
        assert!(!blobs.has(&hash) && blobs.remove_older("../blobs", later).is_err());
    }

    #[test]
    fn the_same_bytes_may_come_many_times_at_once() {
        let home = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(home.path().join("blobs"));
        let bytes = vec![7; 1 << 20];
        let hashes: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| blobs.put(&bytes).unwrap()))
                .collect();
            threads.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(hashes.iter().all(|hash| blobs.get(hash).unwrap() == bytes));
        assert_eq!(fs::read_dir(home.path().join("blobs")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_put_once_more_is_not_old() {
        let home = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(home.path().join("blobs"));
        let now = SystemTime::now();
        assert!(blobs.older(now).unwrap().is_empty());
        let hashes = ["a", "b"].map(|text| blobs.put(text.as_bytes()).unwrap());
        let long_ago = now - Duration::from_secs(7200);
        let hour_ago = now - Duration::from_secs(3600);
        for name in [&hashes[0], &hashes[1], "1-1.new"] {
            let path = home.path().join("blobs").join(name);
            let file = fs::OpenOptions::new().create(true).append(true).open(path);
            file.unwrap().set_modified(long_ago).unwrap();
        }
        blobs.put(b"b").unwrap();
        let old = blobs.older(hour_ago).unwrap();
        assert_eq!(old, HashSet::from([hashes[0].clone()]));
        assert!(!home.path().join("blobs/1-1.new").exists());
        assert!(!blobs.remove_older(&hashes[1], hour_ago).unwrap());
        assert_eq!(blobs.get(&hashes[1]).unwrap(), b"b");
        assert!(blobs.remove_older(&hashes[0], hour_ago).unwrap());
        assert!(!blobs.remove_older(&hashes[0], hour_ago).unwrap());
        assert!(blobs.get(&hashes[0]).is_err());
        assert!(blobs.remove_older("../blobs", now).is_err());
    }
}
