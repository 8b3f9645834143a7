//! The files below the log, as a trait, so that tests can take the power away ([`super::tests`]).
//!
//! What is promised is what POSIX promises: bytes are on the disk after [`File::sync`], names after [`Disk::sync`].

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// One folder of files.
pub(super) trait Disk: Send + Sync + 'static {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file; what had its name is gone.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// A file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name; what had that name is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names durable.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub(super) trait File: Send + Sync + 'static {
    /// How long it is.
    fn len(&self) -> io::Result<u64>;
    /// Reads at most so many bytes at a place; says how many.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of these bytes at a place.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes it this long, with zeros, and with room on the disk for all of it.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Makes its bytes and its length durable.
    fn sync(&self) -> io::Result<()>;
}

/// Reads exactly so many bytes.
pub(super) fn read_exact(file: &dyn File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.read_at(bytes, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                bytes = &mut bytes[count..];
                at += count as u64;
            }
        }
    }
    Ok(())
}

/// Reads a part of a file.
pub(super) fn read(file: &dyn File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    read_exact(file, &mut bytes, at)?;
    Ok(bytes)
}

/// Reads a whole file.
pub(super) fn read_all(file: &dyn File) -> io::Result<Vec<u8>> {
    let len = file.len()?;
    read(file, 0, usize::try_from(len).map_err(io::Error::other)?)
}

/// A folder of the machine.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Opens it, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.0)?.map(|entry| {
            let name = entry?.file_name().into_string();
            Ok(name.unwrap_or_default())
        });
        names.collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.mode(0o600).open(self.0.join(name))?;
        Ok(Arc::new(Real(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).open(self.0.join(name))?;
        Ok(Arc::new(Real(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.0)?.sync_all()
    }
}

struct Real(fs::File);

impl File for Real {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(bytes, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let from = self.0.metadata()?.len();
        if len <= from {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        {
            use rustix::{
                fs::{FallocateFlags, fallocate},
                io::Errno,
            };
            match fallocate(&self.0, FallocateFlags::empty(), from, len - from) {
                // This file system cannot.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                result => return Ok(result?),
            }
        }
        let zeros = vec![0; 1 << 20];
        let mut at = from;
        while at < len {
            let count = usize::try_from(len - at).map_or(zeros.len(), |left| left.min(zeros.len()));
            self.0.write_all_at(&zeros[..count], at)?;
            at += count as u64;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
