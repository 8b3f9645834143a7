//! Names for commits: one file each under `refs/`, replaced atomically; `packed-refs` is read too.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use super::{
    super::{Error, ObjectId},
    Store, sync_folder, write_durably,
};

impl Store {
    /// Sets a reference (`refs/…`), durable on return.
    ///
    /// # Errors
    /// [`Error::RefName`] when git would refuse the name, [`Error::Io`].
    pub fn set_ref(&self, name: &str, id: &ObjectId) -> Result<(), Error> {
        let path = self.ref_path(name)?;
        let _one = self.refs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = Vec::new();
        let mut folder = path.parent();
        while let Some(missing) = folder.filter(|folder| !folder.exists()) {
            new.push(missing);
            folder = missing.parent();
        }
        for missing in new.iter().rev() {
            match fs::DirBuilder::new().mode(0o700).create(missing) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("making a folder of the store", missing)(error));
                }
                _ => {}
            }
            if let Some(above) = missing.parent() {
                sync_folder(above)?;
            }
        }
        write_durably(&path, format!("{id}\n").as_bytes())
    }

    /// What a reference names.
    ///
    /// # Errors
    /// [`Error::RefName`], [`Error::Io`].
    pub fn ref_(&self, name: &str) -> Result<Option<ObjectId>, Error> {
        let path = self.ref_path(name)?;
        if let Some(id) = read_ref(&path)? {
            return Ok(Some(id));
        }
        let packed = self.packed_refs()?;
        Ok(packed
            .into_iter()
            .find(|(found, _)| found == name)
            .map(|(_, id)| id))
    }

    /// The references whose name begins with a prefix that ends in a slash, sorted by name.
    ///
    /// # Errors
    /// [`Error::RefName`], [`Error::Io`].
    pub fn refs(&self, prefix: &str) -> Result<Vec<(String, ObjectId)>, Error> {
        let path = self.ref_path(prefix.trim_end_matches('/'))?;
        let mut found: std::collections::BTreeMap<String, ObjectId> = self
            .packed_refs()?
            .into_iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .collect();
        let mut folders = vec![path];
        while let Some(folder) = folders.pop() {
            let listing = match fs::read_dir(&folder) {
                Ok(listing) => listing,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(Error::io("listing references", &folder)(error)),
            };
            for entry in listing {
                let entry = entry.map_err(Error::io("listing references", &folder))?;
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(&self.path).ok().and_then(Path::to_str);
                let Some(name) = name.filter(|name| !name.ends_with(".lock")) else {
                    continue;
                };
                if let Some(id) = read_ref(&path)? {
                    found.insert(name.to_owned(), id);
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Removes a reference; that it is not there is no error.
    ///
    /// # Errors
    /// [`Error::RefName`], [`Error::Io`].
    pub fn delete_ref(&self, name: &str) -> Result<(), Error> {
        let path = self.ref_path(name)?;
        let _one = self.refs.lock().unwrap_or_else(PoisonError::into_inner);
        let packed = self.path.join("packed-refs");
        if let Some(text) = read_text(&packed)?
            && packed_lines(&text).any(|(found, _)| found == name)
        {
            let kept: String = text
                .lines()
                // A peeled line belongs to a tag before it, and we make none.
                .filter(|line| line.split_once(' ').is_none_or(|(_, found)| found != name))
                .flat_map(|line| [line, "\n"])
                .collect();
            write_durably(&packed, kept.as_bytes())?;
        }
        match fs::remove_file(&path) {
            Ok(()) => path.parent().map_or(Ok(()), sync_folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("removing a reference", &path)(error)),
        }
    }

    fn packed_refs(&self) -> Result<Vec<(String, ObjectId)>, Error> {
        let text = read_text(&self.path.join("packed-refs"))?.unwrap_or_default();
        Ok(packed_lines(&text)
            .map(|(name, id)| (name.to_owned(), id))
            .collect())
    }

    fn ref_path(&self, name: &str) -> Result<PathBuf, Error> {
        if is_ref_name(name) {
            Ok(self.path.join(name))
        } else {
            Err(Error::RefName(name.to_owned()))
        }
    }
}

fn packed_lines(text: &str) -> impl Iterator<Item = (&str, ObjectId)> {
    text.lines()
        .filter(|line| !line.starts_with(['#', '^']))
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(id, name)| Some((name, id.parse().ok()?)))
}

fn read_text(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("reading", path)(error)),
    }
}

fn read_ref(path: &Path) -> Result<Option<ObjectId>, Error> {
    let text = match read_text(path) {
        Err(Error::Io { source, .. })
            if matches!(
                source.kind(),
                io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory
            ) =>
        {
            None
        }
        text => text?,
    };
    Ok(text.and_then(|text| text.trim_end().parse().ok()))
}

/// git's rules for names, narrowed to what we use.
pub(crate) fn is_ref_name(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.ends_with('.')
            && !part.ends_with(".lock")
            && !part.contains("..")
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte))
    };
    name.len() <= 200 && name.starts_with("refs/") && name.split('/').all(is_part)
}
