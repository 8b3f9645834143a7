//! Files that a person gives to a job, and what a record names by its hash.

use hyper::{
    Request,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use nostr::Url;
use serde_json::json;

use super::{
    Page,
    body::{self, Size},
    reply::{self, Refusal},
};
use crate::relay::HttpReply;

const NAME: HeaderName = HeaderName::from_static("x-name");
/// No file's name is longer, in bytes.
const MAX_NAME: usize = 255;

/// Keeps a file; a job names it by its hash.
pub(super) async fn put(page: &Page, request: Request<Incoming>) -> Result<HttpReply, Refusal> {
    let content_type = body::content_type(request.headers())
        .unwrap_or_else(|| "application/octet-stream".to_owned());
    let name = name(request.headers().get(NAME))?;
    let _place = page.places.take(Size::File).await?;
    let bytes = body::read(request, Size::File).await?;
    let size = bytes.len();
    let blobs = page.blobs.clone();
    let kept = tokio::task::spawn_blocking(move || blobs.put(&bytes)).await;
    let sha256 = kept
        .map_err(|error| Refusal::inside(&error))?
        .map_err(|error| Refusal::inside(&error))?;
    reply::json(&json!({"sha256": sha256, "size": size, "type": content_type, "name": name}))
}

/// The bytes under a hash. A browser does not show them: it does not know what they are.
pub(super) async fn get(page: &Page, hash: &str) -> Result<HttpReply, Refusal> {
    let none = || Refusal::missing("There is no such file.");
    let is_hash = hash.len() == 64
        && hash
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !is_hash {
        return Err(none());
    }
    let (blobs, hash) = (page.blobs.clone(), hash.to_owned());
    let _place = page.places.take(Size::File).await?;
    let read = tokio::task::spawn_blocking(move || blobs.get(&hash)).await;
    let bytes = match read.map_err(|error| Refusal::inside(&error))? {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(none()),
        Err(error) => return Err(Refusal::inside(&error)),
    };
    let mut reply = reply::bytes("application/octet-stream", bytes);
    reply::set(&mut reply, header::CONTENT_DISPOSITION, "attachment");
    Ok(reply)
}

/// The name of a file: its last part, as one line.
fn name(header: Option<&HeaderValue>) -> Result<String, Refusal> {
    let refused = || Refusal::bad("The name of the file is no name.");
    let Some(header) = header else {
        return Ok(String::new());
    };
    // A percent-encoded name has none of the characters that mean something in a query.
    let encoded = header.to_str().map_err(|_| refused())?;
    if encoded.contains(['&', '#', '=']) || encoded.len() > 3 * MAX_NAME {
        return Err(refused());
    }
    let url = Url::parse(&format!("http://x/?n={encoded}")).map_err(|_| refused())?;
    let whole = url
        .query_pairs()
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default();
    let name = whole.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_name = !name.is_empty()
        && !matches!(name, "." | "..")
        && name.len() <= MAX_NAME
        && !name.chars().any(char::is_control);
    is_name.then(|| name.to_owned()).ok_or_else(refused)
}
