//! What a request carries, read within bounds: of bytes, of time, and of how many at once.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::{Body as _, Incoming},
    header,
};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::reply::Refusal;
use crate::nips::nip90::MAX_FILE_BYTES;

/// How many at once wait for the answer to a wrong code or bearer, ask as the page, and send or fetch a file; and how
/// long one of the page waits for its turn.
const WRONG: usize = 16;
const REQUESTS: usize = 16;
const FILES: usize = 2;
const TURN: Duration = Duration::from_secs(20);

/// Room for bodies.
pub(super) struct Places {
    wrong: Semaphore,
    requests: Semaphore,
    files: Semaphore,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            wrong: Semaphore::new(WRONG),
            requests: Semaphore::new(REQUESTS),
            files: Semaphore::new(FILES),
        }
    }
}

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Size {
    /// A code, from whom we do not know yet.
    Code,
    /// An event before it is signed.
    Draft,
    /// Events.
    Events,
    /// A file.
    File,
}

impl Size {
    pub(super) const fn most(self) -> usize {
        match self {
            Self::Code => 1 << 10,
            Self::Draft => 1 << 20,
            Self::Events => 8 << 20,
            Self::File => MAX_FILE_BYTES,
        }
    }

    const fn time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Code => 5,
            Self::Draft | Self::Events => 30,
            Self::File => 120,
        })
    }

    const fn too_large(self) -> &'static str {
        match self {
            Self::Code => "This is no code.",
            Self::Draft => "This is too long to be asked.",
            Self::Events => "These are too many events at once.",
            Self::File => "This file is too large: one may have 16 MiB.",
        }
    }
}

impl Places {
    /// A place for a body and what is made of it; held until the answer is made.
    pub(super) async fn take(&self, size: Size) -> Result<SemaphorePermit<'_>, Refusal> {
        let places = match size {
            Size::Code | Size::Draft | Size::Events => &self.requests,
            Size::File => &self.files,
        };
        match tokio::time::timeout(TURN, places.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy()),
        }
    }
}

/// How long who shows something wrong waits for the answer.
const SLOW: Duration = Duration::from_millis(300);

impl Places {
    /// The answer to a wrong code or bearer: it comes after a while, few can wait for it, and the others are refused
    /// at once without another word.
    pub(super) async fn slowly(&self, refusal: Refusal) -> Refusal {
        let Ok(_place) = self.wrong.try_acquire() else {
            return busy();
        };
        tokio::time::sleep(SLOW).await;
        refusal
    }
}

fn busy() -> Refusal {
    Refusal::new(
        StatusCode::TOO_MANY_REQUESTS,
        "busy",
        "Too much is asked at once; try again in a moment.",
    )
}

/// The bytes of a body.
pub(super) async fn read(request: Request<Incoming>, size: Size) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", size.too_large());
    let body = request.into_body();
    if body.size_hint().lower() > size.most() as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(size.time(), Limited::new(body, size.most()).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refusal::bad("The request broke off.")),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "The request took too long.",
        )),
    }
}

/// A body of JSON. A form cannot send this content type, so a page of another origin would have to ask first, and
/// is told no.
pub(super) async fn json<T: DeserializeOwned>(
    request: Request<Incoming>,
    size: Size,
) -> Result<T, Refusal> {
    if content_type(request.headers()).as_deref() != Some("application/json") {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            "Say `Content-Type: application/json`.",
        ));
    }
    let bytes = read(request, size).await?;
    serde_json::from_slice(&bytes)
        .map_err(|_| Refusal::bad("This is not the JSON that is asked for here."))
}

/// The type of a body without its parameters, when it is one and only one.
pub(super) fn content_type(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let essence = value.split(';').next()?.trim().to_ascii_lowercase();
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let (kind, form) = essence.split_once('/')?;
    (essence.len() <= 127 && token(kind) && token(form)).then_some(essence)
}

/// Whether a request only reads.
pub(super) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}
