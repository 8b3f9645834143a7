//! Files that go with a question.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::{
    cli::{
        error::{CommandError, Kind, Problem},
        text::one_line,
    },
    nips::nip90::{MAX_FILE_BYTES, MAX_FILES},
    server,
};

/// A file that treefort keeps for the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Kept {
    sha256: String,
    name: String,
}

impl Kept {
    /// As an input of the job.
    pub(super) fn tag(&self) -> Vec<String> {
        ["i", &self.sha256, "blob", "", &self.name]
            .map(str::to_owned)
            .to_vec()
    }
}

/// Reads files, and keeps them for the job in a home.
///
/// # Errors
/// When one cannot be read, or is too large.
pub(super) fn keep(paths: &[PathBuf], home: &Path) -> Result<Vec<Kept>, CommandError> {
    if paths.len() > MAX_FILES {
        return Err(CommandError::new(
            Kind::Usage,
            Problem::TooManyFiles(MAX_FILES),
        ));
    }
    let mut files = Vec::new();
    for path in paths {
        let shown = one_line(&path.to_string_lossy());
        let failed = |source| {
            let path = shown.clone();
            CommandError::new(Kind::Usage, Problem::File { path, source })
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        // A pipe has no size, and a folder cannot be read.
        file.take(MAX_FILE_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() > MAX_FILE_BYTES {
            let problem = Problem::FileTooLarge(shown, MAX_FILE_BYTES >> 20);
            return Err(CommandError::new(Kind::Usage, problem));
        }
        let name = path.file_name().unwrap_or_default();
        files.push((bytes, one_line(&name.to_string_lossy())));
    }
    // Nothing is kept before all of them could be read.
    let keep = |(bytes, name): (Vec<u8>, String)| {
        let sha256 = server::keep_file(home, &bytes)?;
        Ok(Kept { sha256, name })
    };
    files
        .into_iter()
        .map(|file| {
            keep(file).map_err(|error: std::io::Error| CommandError::new(Kind::Failed, error))
        })
        .collect()
}
