//! What differs between the results of two who were asked the same.

use std::collections::BTreeSet;

use super::contest::Entry;
use crate::{
    cli::{
        error::{CommandError, Kind},
        launch::Connection,
        output,
        text::name,
        workspace,
    },
    nips::workspace::{Outcome, Which},
    workspace::diff::{Limits, texts},
};

/// Files that are compared at most.
const MAX_FILES: usize = 100;

/// Why two cannot be compared.
#[derive(Debug, thiserror::Error)]
#[error("one of them has no copy of a folder, or it is gone")]
struct NoCopy;

/// What a file of a copy is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum File {
    Missing,
    Text(String),
    /// Its size, and its bytes in base64 if they were given.
    Other(u64, Option<String>),
}

impl File {
    /// What it says; nothing when it is no text.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Missing => Some(""),
            Self::Text(text) => Some(text),
            Self::Other(..) => None,
        }
    }
}

/// Writes what differs from the first's files to the second's, for every file that one of them changed.
///
/// # Errors
/// When a copy is gone, or treefort cannot be asked.
pub(super) async fn show(
    connection: &mut Connection,
    first: &Entry,
    second: &Entry,
) -> Result<(), CommandError> {
    let copies = (
        first.session,
        second.session,
        &first.changed,
        &second.changed,
    );
    let (Some(old), Some(new), Some(a), Some(b)) = copies else {
        return Err(CommandError::new(Kind::Failed, NoCopy));
    };
    let named = a.files.iter().chain(&b.files);
    let paths: BTreeSet<&str> = named.map(|file| file.path.as_str()).collect();
    output::line(format!("from {}. {}", first.n, first.name()))?;
    output::line(format!("  to {}. {}", second.n, second.name()))?;
    let mut differ = 0;
    for path in paths.iter().take(MAX_FILES) {
        let old = read(connection, Which::Session(old), path).await?;
        let new = read(connection, Which::Session(new), path).await?;
        if old == new {
            continue;
        }
        differ += 1;
        output::line("")?;
        match (old.text(), new.text()) {
            (Some(old), Some(new)) => {
                let rendered = texts(path, old, new, &Limits::default());
                workspace::diff::text(&rendered.text)?;
            }
            _ => output::line(format!("{}: differs, and is no text", name(path)))?,
        }
    }
    if differ == 0 {
        output::progress("Both came to the same files.");
    }
    let more = paths.len().saturating_sub(MAX_FILES);
    let unnamed = a.in_all > a.files.len() || b.in_all > b.files.len();
    if more > 0 || unnamed {
        output::progress("Not all files were compared: they changed too many.");
    }
    Ok(())
}

async fn read(connection: &mut Connection, which: Which, path: &str) -> Result<File, CommandError> {
    let answer = match workspace::files::look(connection, which, None, path).await {
        Ok(answer) => answer,
        // It is not there.
        Err(error) if error.kind() == Kind::Failed => return Ok(File::Missing),
        Err(error) => return Err(error),
    };
    Ok(match answer.outcome {
        Outcome::File {
            text: Some(text), ..
        } => File::Text(text),
        Outcome::File { size, base64, .. } => File::Other(size, base64),
        _ => File::Missing,
    })
}
