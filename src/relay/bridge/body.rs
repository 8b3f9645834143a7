//! What a request carries, read within bounds: of bytes, of time, and of memory over all requests.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, StatusCode,
    body::{Body as _, Incoming},
    header,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Refusal;
use crate::relay::{Rejection, origin};

/// KiB of bodies in memory: of programs on this machine, and of everybody else.
const OWN_KIB: usize = 64 << 10;
const FOREIGN_KIB: usize = 16 << 10;
/// How long a body may take.
const TIME: Duration = Duration::from_secs(30);

/// Room for bodies.
pub(in crate::relay) struct Room {
    own: Arc<Semaphore>,
    foreign: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            own: Arc::new(Semaphore::new(OWN_KIB)),
            foreign: Arc::new(Semaphore::new(FOREIGN_KIB)),
        }
    }
}

/// A body, with the room that it takes.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _room: Vec<OwnedSemaphorePermit>,
}

impl Room {
    /// Reads a body. Room is taken as bytes come, so that who only announces many takes none.
    pub(super) async fn read(
        &self,
        mut body: Incoming,
        most: usize,
        trusted: bool,
    ) -> Result<Held, Refusal> {
        let too_large = || {
            Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("a request has at most {most} bytes"),
            )
        };
        if body.size_hint().lower() > most as u64 {
            return Err(too_large());
        }
        let free = if trusted { &self.own } else { &self.foreign };
        let read = async {
            let mut bytes = BytesMut::new();
            let mut room = Vec::new();
            let mut held = 0;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| Refusal::bad("the request broke off"))?;
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if bytes.len() + data.len() > most {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&data);
                let need = bytes.len().div_ceil(1024) - held;
                if need > 0 {
                    let kib = u32::try_from(need).unwrap_or(u32::MAX);
                    let permit = Arc::clone(free).try_acquire_many_owned(kib);
                    room.push(permit.map_err(|_| Refusal::from(Rejection::Crowded))?);
                    held += need;
                }
            }
            Ok(Held {
                bytes: bytes.freeze(),
                _room: room,
            })
        };
        tokio::time::timeout(TIME, read).await.unwrap_or_else(|_| {
            Err(Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                "the request took too long",
            ))
        })
    }
}

/// How events stand in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON.
    Json,
    /// A JSON value a line.
    Lines,
}

impl Form {
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
        }
    }

    fn of(essence: &str) -> Option<Self> {
        let is = |name: &str| essence.trim().eq_ignore_ascii_case(name);
        if is("application/json") {
            Some(Self::Json)
        } else if is("application/x-ndjson") || is("application/jsonl") {
            Some(Self::Lines)
        } else {
            None
        }
    }

    /// What a body is said to be. A form of a web page can say neither.
    pub(super) fn sent(headers: &HeaderMap) -> Result<Self, Refusal> {
        origin::single(headers, header::CONTENT_TYPE)
            .and_then(|value| Self::of(value.split(';').next()?))
            .ok_or_else(|| {
                Refusal::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "say `Content-Type: application/json` (an event or a list of them) or \
                     `application/x-ndjson` (an event a line)",
                )
            })
    }

    /// What is asked for: the first form that `Accept` names, JSON if it names none.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .find_map(|value| Self::of(value.split(';').next()?))
            .unwrap_or(Self::Json)
    }
}
