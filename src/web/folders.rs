//! The owner's folders, by name, so that one can be chosen. What is in a file is not read here.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::StatusCode;
use nostr::Url;
use serde::Serialize;

use super::{
    Page,
    reply::{self, Refusal},
};
use crate::relay::HttpReply;

/// Folders that are read at once: a disk that does not answer keeps its place.
pub(super) const AT_ONCE: usize = 4;
/// How long a disk may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Entries that are looked at, and folders that are named.
const MAX_ENTRIES: usize = 50_000;
const MAX_FOLDERS: usize = 2000;
/// Projects that are named.
const MAX_PROJECTS: usize = 100;
/// No path is longer.
const MAX_PATH: usize = 4096;

#[derive(Serialize)]
struct Listing {
    path: String,
    parent: Option<String>,
    folders: Vec<Folder>,
    /// Whether there are more folders than are named.
    more: bool,
    projects: Vec<String>,
}

#[derive(Serialize)]
struct Folder {
    name: String,
}

pub(super) async fn list(page: &Page, query: Option<&str>) -> Result<HttpReply, Refusal> {
    let asked = asked(query)?;
    let place = tokio::time::timeout(PATIENCE, page.folders.acquire()).await;
    let Ok(Ok(_place)) = place else {
        return Err(slow());
    };
    let read = tokio::task::spawn_blocking(move || {
        let path = fs::canonicalize(asked)?;
        read(&path).map(|(folders, more)| (path, folders, more))
    });
    let (path, folders, more) = match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(Ok(listing))) => listing,
        Ok(Ok(Err(error))) => return Err(unreadable(&error)),
        Ok(Err(error)) => return Err(Refusal::inside(&error)),
        Err(_) => return Err(slow()),
    };
    let projects = (page.projects)().await;
    let listing = Listing {
        parent: path.parent().and_then(text),
        path: text(&path).ok_or_else(nameless)?,
        folders: folders.into_iter().map(|name| Folder { name }).collect(),
        more,
        projects: projects
            .iter()
            .filter_map(|path| text(path))
            .take(MAX_PROJECTS)
            .collect(),
    };
    reply::json(&listing)
}

/// The folder that is asked for: the person's own when none is.
fn asked(query: Option<&str>) -> Result<PathBuf, Refusal> {
    let url = Url::parse(&format!("http://x/?{}", query.unwrap_or_default()))
        .map_err(|_| Refusal::bad("This is no query."))?;
    let path = url
        .query_pairs()
        .find_map(|(name, value)| (name == "path").then(|| value.into_owned()));
    let path = match path {
        Some(path) => PathBuf::from(path),
        None => std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
    };
    let bytes = path.as_os_str().as_encoded_bytes();
    if !path.is_absolute() || bytes.len() > MAX_PATH || bytes.contains(&0) {
        return Err(Refusal::bad("Name a folder from the top, like /home/you."));
    }
    Ok(path)
}

/// The names of the folders in a folder, and whether there are more. Names that are no text are left out: nobody
/// could ask for them here.
fn read(path: &Path) -> io::Result<(Vec<String>, bool)> {
    let mut entries = fs::read_dir(path)?;
    let mut names: Vec<String> = entries
        .by_ref()
        .take(MAX_ENTRIES)
        .filter_map(Result::ok)
        // A link to a folder is one, for who looks for it.
        .filter(|entry| fs::metadata(entry.path()).is_ok_and(|about| about.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let more = entries.next().is_some() || names.len() > MAX_FOLDERS;
    names.sort_unstable_by_key(|name| (name.starts_with('.'), name.to_lowercase()));
    names.truncate(MAX_FOLDERS);
    Ok((names, more))
}

fn text(path: &Path) -> Option<String> {
    path.to_str().map(str::to_owned)
}

fn nameless() -> Refusal {
    Refusal::bad("The name of this folder is no text, so it cannot be used here.")
}

fn slow() -> Refusal {
    Refusal::new(
        StatusCode::GATEWAY_TIMEOUT,
        "timeout",
        "This folder does not answer; is its disk there?",
    )
}

fn unreadable(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::NotFound => Refusal::missing("There is no such folder."),
        io::ErrorKind::NotADirectory => Refusal::bad("This is no folder."),
        io::ErrorKind::PermissionDenied => Refusal::new(
            StatusCode::FORBIDDEN,
            "unreadable",
            "You may not read this folder.",
        ),
        kind => {
            tracing::warn!(%error, "a folder could not be read");
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "unreadable",
                format!("This folder cannot be read: {kind}."),
            )
        }
    }
}
