//! How much there is to copy, before anything is copied.

use std::{collections::BTreeMap, os::fd::OwnedFd, path::Path, sync::Arc};

use rustix::fs::FileType;

use super::{
    Error, Options, beneath,
    ignored::Rules,
    walk::{MAX_NAMES, join, too_large},
};

/// What a copy of a project would hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Files and links.
    pub files: u64,
    /// Bytes in files.
    pub bytes: u64,
}

/// Counts what [`super::copy`] would copy, and stops at the first cap. What cannot be read counts nothing here.
///
/// # Errors
/// [`Error::TooLarge`], or that `source` is no folder.
pub fn weigh(source: &Path, options: &Options) -> Result<Weight, Error> {
    let top = beneath::open_root(source).map_err(|error| Error::NotAFolder {
        path: source.to_owned(),
        source: Some(error),
    })?;
    let device = rustix::fs::fstat(&top).map_or(0, |stat| stat.st_dev);
    let rules = if options.ignored {
        None
    } else {
        Rules::of_project(source)
    };
    let mut scale = Scale {
        source,
        options,
        device,
        weight: Weight::default(),
        entries: 0,
        weights: BTreeMap::new(),
    };
    scale.folder(&top, b"", rules.as_ref(), 0)?;
    Ok(scale.weight)
}

struct Scale<'a> {
    source: &'a Path,
    options: &'a Options,
    device: u64,
    weight: Weight,
    /// Files, links and folders.
    entries: u64,
    weights: BTreeMap<Vec<u8>, (u64, u64)>,
}

impl Scale<'_> {
    fn folder(
        &mut self,
        folder: &OwnedFd,
        path: &[u8],
        rules: Option<&Arc<Rules>>,
        depth: usize,
    ) -> Result<(), Error> {
        for name in beneath::names(folder, MAX_NAMES).unwrap_or_default() {
            if beneath::is_git_name(&name) {
                continue;
            }
            let mut below = path.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(&name);
            let Ok(Some(stat)) = beneath::stat(folder, &name) else {
                continue;
            };
            let kind = beneath::kind(&stat);
            let is_dir = kind == FileType::Directory;
            let full = join(self.source, &below);
            if rules.is_some_and(|rules| rules.ignore(&full, is_dir)) {
                continue;
            }
            match kind {
                FileType::Directory if stat.st_dev != self.device => {}
                FileType::Directory if depth >= beneath::MAX_DEPTH => {}
                FileType::Directory => {
                    let Ok(inner) = beneath::open_dir(folder, &name) else {
                        continue;
                    };
                    self.count(&below, 0)?;
                    let rules = rules
                        .cloned()
                        .map(|rules| Rules::enter(Some(rules), &full, &inner));
                    self.folder(&inner, &below, rules.as_ref(), depth + 1)?;
                }
                FileType::RegularFile => {
                    self.weight.files += 1;
                    self.count(&below, u64::try_from(stat.st_size).unwrap_or(0))?;
                }
                FileType::Symlink => {
                    self.weight.files += 1;
                    self.count(&below, 0)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn count(&mut self, path: &[u8], size: u64) -> Result<(), Error> {
        let top = path.split(|byte| *byte == b'/').next().unwrap_or_default();
        let weight = self.weights.entry(top.to_vec()).or_default();
        *weight = (weight.0 + 1, weight.1.saturating_add(size));
        self.entries += 1;
        self.weight.bytes = self.weight.bytes.saturating_add(size);
        let Options {
            max_files,
            max_bytes,
            ..
        } = *self.options;
        if self.entries > max_files {
            return Err(too_large(&self.weights, max_files, "files"));
        }
        if self.weight.bytes > max_bytes {
            return Err(too_large(&self.weights, max_bytes, "bytes"));
        }
        Ok(())
    }
}
