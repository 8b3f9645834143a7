//! The walk that copies.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod,
        fchown, futimens, mkdirat, openat, readlinkat, symlinkat, utimensat,
    },
    io::Errno,
};

use super::{Error, Imported, MAX_SKIPPED, Options, Reason, Skipped, beneath, ignored::Rules};

/// The most names in one folder; a copy of more is refused by the caps anyway.
pub(super) const MAX_NAMES: usize = 1_000_000;

/// A path and one more part.
pub(super) fn join(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(name))
}

/// A copy under way.
pub(super) struct Walk<'a> {
    source: &'a Path,
    options: &'a Options,
    owner: Option<(Uid, Gid)>,
    /// The file system that the project is on.
    device: u64,
    imported: Imported,
    /// Files, links and folders so far.
    entries: u64,
    /// Files and bytes below each entry of the top level, to say what is too large.
    weights: BTreeMap<Vec<u8>, (u64, u64)>,
}

/// A folder of the project and its copy.
struct Pair<'a> {
    from: &'a OwnedFd,
    into: &'a OwnedFd,
    /// Relative to the project, without a slash at the end; empty at the top.
    path: &'a [u8],
    rules: Option<Arc<Rules>>,
    depth: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        source: &'a Path,
        options: &'a Options,
        owner: Option<(u32, u32)>,
        from: &OwnedFd,
    ) -> Result<Self, Error> {
        let stat = rustix::fs::fstat(from).map_err(|error| Error::Io {
            path: source.to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            source,
            options,
            owner: owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid))),
            device: stat.st_dev,
            imported: Imported::default(),
            entries: 0,
            weights: BTreeMap::new(),
        })
    }

    pub(super) fn run(mut self, from: &OwnedFd, into: &OwnedFd) -> Result<Imported, Error> {
        let rules = if self.options.ignored {
            None
        } else {
            Rules::of_project(self.source)
        };
        self.folder(&Pair {
            from,
            into,
            path: b"",
            rules,
            depth: 0,
        })?;
        Ok(self.imported)
    }

    fn io(&self, path: &[u8]) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = join(self.source, path);
        |source| Error::Io { path, source }
    }

    fn skip(&mut self, path: Vec<u8>, why: Reason) {
        if self.imported.skipped.len() < MAX_SKIPPED {
            self.imported.skipped.push(Skipped { path, why });
        } else {
            self.imported.skipped_more += 1;
        }
    }

    fn folder(&mut self, pair: &Pair<'_>) -> Result<(), Error> {
        let names = beneath::names(pair.from, MAX_NAMES).map_err(self.io(pair.path))?;
        for name in names {
            let mut path = pair.path.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            if !self.options.git && beneath::is_git_name(&name) {
                if pair.depth > 0 {
                    self.skip(path, Reason::NestedGit);
                }
                continue;
            }
            let Some(stat) = beneath::stat(pair.from, &name).map_err(self.io(&path))? else {
                continue;
            };
            let kind = beneath::kind(&stat);
            let is_dir = kind == FileType::Directory;
            let ignored = pair
                .rules
                .as_ref()
                .is_some_and(|rules| rules.ignore(&join(self.source, &path), is_dir));
            if ignored {
                self.imported.ignored += 1;
                continue;
            }
            match kind {
                FileType::Directory => self.subfolder(pair, &name, path, &stat)?,
                FileType::RegularFile => self.file(pair, &name, path)?,
                FileType::Symlink => self.link(pair, &name, &path, &stat)?,
                _ => self.skip(path, Reason::Special),
            }
        }
        Ok(())
    }

    fn subfolder(
        &mut self,
        pair: &Pair<'_>,
        name: &[u8],
        path: Vec<u8>,
        stat: &Stat,
    ) -> Result<(), Error> {
        if stat.st_dev != self.device {
            self.skip(path, Reason::Mount);
            return Ok(());
        }
        if pair.depth >= beneath::MAX_DEPTH {
            self.skip(path, Reason::TooDeep);
            return Ok(());
        }
        let from = match beneath::open_dir(pair.from, name) {
            Ok(from) => from,
            Err(error) => return self.unopened(path, error),
        };
        self.count(&path, 0)?;
        mkdirat(pair.into, name, Mode::RWXU).map_err(|error| self.io(&path)(error.into()))?;
        let into = beneath::open_dir(pair.into, name).map_err(self.io(&path))?;
        let rules = pair
            .rules
            .clone()
            .map(|rules| Rules::enter(Some(rules), &join(self.source, &path), &from));
        self.folder(&Pair {
            from: &from,
            into: &into,
            path: &path,
            rules,
            depth: pair.depth + 1,
        })?;
        self.finish(&into, stat).map_err(self.io(&path))
    }

    fn file(&mut self, pair: &Pair<'_>, name: &[u8], path: Vec<u8>) -> Result<(), Error> {
        let (from, stat) = match beneath::open_file(pair.from, name) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Ok(()),
            Err(error) => return self.unopened(path, error),
        };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.count(&path, size)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let into = openat(pair.into, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| self.io(&path)(error.into()))?;
        let mut into = File::from(into);
        let copied = copy_bytes(
            &from,
            &mut into,
            self.options.max_bytes - self.imported.bytes + size,
        )
        .map_err(self.io(&path))?;
        // It may have grown or shrunk since it was looked at.
        self.imported.bytes = self.imported.bytes - size + copied;
        self.check(self.imported.bytes, self.options.max_bytes, "bytes")?;
        self.imported.files += 1;
        self.finish(&OwnedFd::from(into), &stat)
            .map_err(self.io(&path))
    }

    fn link(
        &mut self,
        pair: &Pair<'_>,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
    ) -> Result<(), Error> {
        let target = match readlinkat(pair.from, name, Vec::new()) {
            Ok(target) => target,
            // It vanished, or became something else.
            Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
            Err(error) => return self.unopened(path.to_vec(), error.into()),
        };
        self.count(path, 0)?;
        let made = || -> rustix::io::Result<()> {
            symlinkat(target.as_c_str(), pair.into, name)?;
            utimensat(pair.into, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?;
            if let Some((uid, gid)) = self.owner {
                chownat(
                    pair.into,
                    name,
                    Some(uid),
                    Some(gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
            Ok(())
        };
        made().map_err(|error| self.io(path)(error.into()))?;
        self.imported.files += 1;
        Ok(())
    }

    /// Mode, times and owner, when the content is in place.
    fn finish(&self, into: &OwnedFd, stat: &Stat) -> io::Result<()> {
        fchmod(
            into,
            Mode::from_raw_mode(stat.st_mode & beneath::PERMISSIONS),
        )?;
        futimens(into, &times(stat))?;
        if let Some((uid, gid)) = self.owner {
            fchown(into, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// What could not be opened: gone is no failure, forbidden is named.
    fn unopened(&mut self, path: Vec<u8>, error: io::Error) -> Result<(), Error> {
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Some(Errno::ACCESS | Errno::PERM) => {
                self.skip(path, Reason::Unreadable);
                Ok(())
            }
            _ => Err(self.io(&path)(error)),
        }
    }

    /// Counts one more entry of `size` bytes against the caps.
    fn count(&mut self, path: &[u8], size: u64) -> Result<(), Error> {
        let top = path.split(|byte| *byte == b'/').next().unwrap_or_default();
        if let Some(weight) = self.weights.get_mut(top) {
            *weight = (weight.0 + 1, weight.1.saturating_add(size));
        } else {
            self.weights.insert(top.to_vec(), (1, size));
        }
        self.imported.bytes = self.imported.bytes.saturating_add(size);
        self.entries += 1;
        self.check(self.entries, self.options.max_files, "files")?;
        self.check(self.imported.bytes, self.options.max_bytes, "bytes")
    }

    fn check(&self, count: u64, max: u64, unit: &'static str) -> Result<(), Error> {
        if count <= max {
            return Ok(());
        }
        Err(too_large(&self.weights, max, unit))
    }
}

/// What is too large, by the files and bytes below each entry of the top level.
pub(super) fn too_large(
    weights: &BTreeMap<Vec<u8>, (u64, u64)>,
    max: u64,
    unit: &'static str,
) -> Error {
    let by = |(files, bytes): &(u64, u64)| if unit == "files" { *files } else { *bytes };
    let heaviest = weights.iter().max_by_key(|(_, weight)| by(weight));
    Error::TooLarge {
        max,
        unit,
        heaviest: heaviest.map_or_else(String::new, |(name, _)| {
            String::from_utf8_lossy(name).escape_debug().to_string()
        }),
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: stat.st_mtime_nsec.cast_signed(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Copies at most `max` bytes and one more: shared blocks where the file system can (btrfs, XFS), otherwise inside
/// the kernel (`copy_file_range`, which the standard library uses between files).
fn copy_bytes(from: &File, into: &mut File, max: u64) -> io::Result<u64> {
    #[cfg(target_os = "linux")]
    if rustix::fs::ioctl_ficlone(&*into, from).is_ok() {
        return Ok(into.metadata()?.len());
    }
    io::copy(&mut from.take(max.saturating_add(1)), into)
}
