//! The files of a copy as a web site: read-only, from the folder on the disk or out of the store.
//!
//! The folder is its agent's, who may change it at any moment. Each step is relative to an open folder and follows no
//! link ([`crate::workspace::beneath`]), what is no regular file is not opened, and names that begin with a dot are
//! not there: they are settings and secrets, and no part of a site.

use std::{fs::File, io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{self, HeaderValue},
};
use rustix::{fs::FileType, io::Errno};
use tokio::{
    io::AsyncReadExt as _,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::io::ReaderStream;

mod whole;

use super::{
    body::{Body, full},
    headers, media, pages,
};
use crate::workspace::{
    Error, ObjectId, beneath,
    browse::{self, Found},
    objects::Store,
};

/// How deep a file may lie, and how long its address may be.
const MAX_DEPTH: usize = 64;
const MAX_PATH: usize = 4096;
/// Names that are shown of a folder without a page.
const MAX_NAMES: usize = 500;
/// Names that a folder may have for that.
const MAX_READ: usize = 20_000;
/// Folders in which builds leave a site, looked at in this order when there is no page at the top.
const SITES: [&str; 6] = ["dist", "build", "out", "public", "_site", "site"];
const INDEX: &str = "index.html";

/// Where files are read.
#[derive(Debug, Clone)]
pub enum Root {
    /// In this folder, as they are.
    Folder(PathBuf),
    /// In a store, as they were.
    State(Arc<Store>, ObjectId),
}

/// The files of a preview.
#[derive(Debug, Clone)]
pub struct Files {
    root: Root,
    /// The folder below it that is the top.
    top: Vec<String>,
    /// Places of the files that are held whole: those of the store are.
    whole: Arc<Semaphore>,
}

/// What is at an address.
enum Entry {
    File(Content),
    /// The names in it, folders with a slash, and whether there are more.
    Folder(Vec<String>, bool),
    Nothing,
}

enum Content {
    Open(File, u64),
    Whole(Vec<u8>),
}

impl Files {
    /// The files below `folder`, or where a site is when that is not said. Waits for the disk.
    ///
    /// # Errors
    /// When there is no such folder, or it cannot be read.
    pub fn open(root: Root, folder: Option<&str>) -> io::Result<Self> {
        let mut files = Self {
            root,
            top: Vec::new(),
            whole: Arc::new(Semaphore::new(whole::AT_ONCE)),
        };
        if let Some(folder) = folder {
            files.top = parts(folder).ok_or(io::ErrorKind::InvalidInput)?;
            return match files.look(&[])? {
                Entry::Folder(..) => Ok(files),
                Entry::File(_) => Err(io::ErrorKind::NotADirectory.into()),
                Entry::Nothing => Err(io::ErrorKind::NotFound.into()),
            };
        }
        let has_page = |below: &[&str]| -> io::Result<bool> {
            let path: Vec<String> = below.iter().copied().map(str::to_owned).collect();
            Ok(matches!(files.look(&path)?, Entry::File(_)))
        };
        if !has_page(&[INDEX])? {
            for site in SITES {
                if has_page(&[site, INDEX])? {
                    files.top = vec![site.to_owned()];
                    break;
                }
            }
        }
        Ok(files)
    }

    /// The folder that is the top, below the copy's own.
    #[must_use]
    pub fn folder(&self) -> String {
        self.top.join("/")
    }

    /// What is at a path below the top; the disk is waited for.
    fn look(&self, path: &[String]) -> io::Result<Entry> {
        let all: Vec<&String> = self.top.iter().chain(path).collect();
        if all.len() > MAX_DEPTH || all.iter().any(|part| is_hidden(part)) {
            return Ok(Entry::Nothing);
        }
        match &self.root {
            Root::Folder(folder) => in_folder(folder, &all),
            Root::State(store, tree) => {
                in_state(store, tree, &all).map_err(|error| io::Error::other(error.to_string()))
            }
        }
    }
}

/// Names that are not there.
fn is_hidden(name: &str) -> bool {
    (name.starts_with('.') && name != ".well-known") || beneath::is_git_name(name.as_bytes())
}

/// The parts of a path; `None` when one of them leads elsewhere.
fn parts(path: &str) -> Option<Vec<String>> {
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<String> = parts.map(str::to_owned).collect();
    let leads_on = |part: &String| part != ".." && !part.contains(['\0', '/']);
    parts.iter().all(leads_on).then_some(parts)
}

fn in_folder(folder: &std::path::Path, path: &[&String]) -> io::Result<Entry> {
    // A link on the way is one of the last two.
    let gone = |error: &io::Error| {
        let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP];
        Errno::from_io_error(error).is_some_and(|error| gone.contains(&error))
    };
    let mut at = beneath::open_root(folder)?;
    let Some((last, before)) = path.split_last() else {
        return listed(&at);
    };
    for part in before {
        at = match beneath::open_dir(&at, part.as_bytes()) {
            Ok(next) => next,
            Err(error) if gone(&error) => return Ok(Entry::Nothing),
            Err(error) => return Err(error),
        };
    }
    let Some(stat) = beneath::stat(&at, last.as_bytes())? else {
        return Ok(Entry::Nothing);
    };
    match beneath::kind(&stat) {
        FileType::Directory => match beneath::open_dir(&at, last.as_bytes()) {
            Ok(folder) => listed(&folder),
            Err(error) if gone(&error) => Ok(Entry::Nothing),
            Err(error) => Err(error),
        },
        FileType::RegularFile => {
            let opened = beneath::open_file(&at, last.as_bytes())?;
            Ok(opened.map_or(Entry::Nothing, |(file, stat)| {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                Entry::File(Content::Open(file, size))
            }))
        }
        _ => Ok(Entry::Nothing),
    }
}

fn listed(at: &std::os::fd::OwnedFd) -> io::Result<Entry> {
    let mut all = Vec::new();
    // One with more names has no list.
    for name in beneath::names(at, MAX_READ).unwrap_or_default() {
        let Ok(name) = String::from_utf8(name) else {
            continue;
        };
        if is_hidden(&name) || all.len() > MAX_NAMES {
            continue;
        }
        match beneath::stat(at, name.as_bytes())?.map(|stat| beneath::kind(&stat)) {
            Some(FileType::Directory) => all.push(format!("{name}/")),
            Some(FileType::RegularFile) => all.push(name),
            _ => {}
        }
    }
    Ok(cut(all))
}

fn in_state(store: &Store, tree: &ObjectId, path: &[&String]) -> Result<Entry, Error> {
    let path: Vec<&str> = path.iter().map(|part| part.as_str()).collect();
    Ok(match browse::find(store, tree, &path.join("/"))? {
        Found::File { id, link: false } => Entry::File(Content::Whole(store.blob(&id)?)),
        Found::Folder(id) => {
            let entries = browse::entries(store, &id)?;
            let names = entries.into_iter().filter_map(|entry| {
                let folder = entry.is_dir();
                let shown = !entry.is_link();
                let name = String::from_utf8(entry.name).ok()?;
                (shown && !is_hidden(&name)).then(|| match folder {
                    true => format!("{name}/"),
                    false => name,
                })
            });
            cut(names.take(MAX_NAMES + 1).collect())
        }
        _ => Entry::Nothing,
    })
}

fn cut(mut names: Vec<String>) -> Entry {
    let more = names.len() > MAX_NAMES;
    names.truncate(MAX_NAMES);
    Entry::Folder(names, more)
}

/// What a request for a file gets.
enum Reply {
    File(Content, String),
    /// It is a folder: its page would look for its parts one level above without the slash.
    ToFolder,
    Names(Vec<String>, bool),
    Nothing,
}

/// What is at an address; the disk is waited for.
fn find(files: &Files, path: &[String], as_folder: bool) -> io::Result<Reply> {
    Ok(match files.look(path)? {
        Entry::File(content) if !as_folder => {
            Reply::File(content, path.last().cloned().unwrap_or_default())
        }
        Entry::Folder(..) if !as_folder => Reply::ToFolder,
        Entry::Folder(names, more) => {
            let page = [path, &[INDEX.to_owned()]].concat();
            match files.look(&page)? {
                Entry::File(content) => Reply::File(content, INDEX.to_owned()),
                _ => Reply::Names(names, more),
            }
        }
        _ => Reply::Nothing,
    })
}

/// Answers a request for a file.
pub(super) async fn answer(
    files: Arc<Files>,
    host: &str,
    request: &Request<Incoming>,
) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return pages::read_only();
    }
    let path = request.uri().path();
    let Some(parts) = decode(path).as_deref().and_then(parts) else {
        return pages::nothing();
    };
    let as_folder = path.ends_with('/');
    let place = match files.root {
        Root::State(..) => files.whole.clone().acquire_owned().await.ok(),
        Root::Folder(_) => None,
    };
    let looked = parts.clone();
    let found = tokio::task::spawn_blocking(move || {
        // Whoever does not wait any more leaves the reading to end with its place.
        find(&files, &looked, as_folder).map(|reply| (reply, place))
    });
    let mut response = match found.await {
        Ok(Ok((Reply::File(content, name), place))) => file(content, &name, place),
        Ok(Ok((Reply::ToFolder, _))) => to_folder(&parts),
        Ok(Ok((Reply::Names(names, more), _))) => list(&names, more),
        Ok(Ok((Reply::Nothing, _))) => return pages::nothing(),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a file of a preview could not be read");
            return pages::unreadable();
        }
        Err(_) => return pages::unreadable(),
    };
    let kept = response.headers_mut();
    headers::protect(kept, host);
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The agent may change it at any moment.
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        kept.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn file(content: Content, name: &str, place: Option<OwnedSemaphorePermit>) -> Response<Body> {
    let (size, body) = match content {
        Content::Whole(bytes) => (bytes.len() as u64, whole::body(bytes, place)),
        Content::Open(file, size) => {
            // Never more than was promised; of one that shrinks meanwhile the answer breaks off.
            let pieces = ReaderStream::new(tokio::fs::File::from_std(file).take(size));
            let frames = pieces.map_ok(Frame::<Bytes>::data).map_err(Into::into);
            (size, StreamBody::new(frames).boxed_unsync())
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media::of(name)),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    response
}

/// The same folder with its slash, below this origin whatever its name is.
fn to_folder(path: &[String]) -> Response<Body> {
    let to: String = path
        .iter()
        .map(|part| format!("/{}", encode(part)))
        .collect();
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::FOUND;
    if let Ok(to) = HeaderValue::from_str(&format!("{to}/")) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

/// The names in a folder that has no page.
fn list(names: &[String], more: bool) -> Response<Body> {
    let mut text = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"color-scheme\" \
        content=\"light dark\"><title>Files</title><h1>Files</h1><p>There is no index.html here.</p><ul>\n"
        .to_owned();
    for name in names {
        let (plain, slash) = match name.strip_suffix('/') {
            Some(plain) => (plain, "/"),
            None => (name.as_str(), ""),
        };
        let (to, shown) = (encode(plain), pages::escape(name));
        text.push_str(&format!("<li><a href=\"./{to}{slash}\">{shown}</a></li>\n"));
    }
    text.push_str("</ul>");
    if more {
        text.push_str("<p>There are more.</p>");
    }
    text.push_str("</html>\n");
    let mut response = Response::new(full(text));
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}

/// A name as a part of an address.
fn encode(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// The text of an address; `None` for what is none.
fn decode(path: &str) -> Option<String> {
    if path.len() > MAX_PATH {
        return None;
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
