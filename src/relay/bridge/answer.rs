//! Answers of the bridge, and the status that each refusal has.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    header::{self, HeaderValue},
};
use serde_json::json;

use crate::relay::{Error, Rejection};

/// What a connection sends: all at once, or as the other end takes it.
type Body = UnsyncBoxBody<Bytes, Error>;
/// An answer over HTTP.
pub(in crate::relay) type Reply = Response<Body>;

/// Seconds after which who came at a bad moment may come again.
const RETRY_AFTER: &str = "1";

/// An answer that is ready.
pub(in crate::relay) fn small(reply: Response<Full<Bytes>>) -> Reply {
    reply.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

pub(super) fn text(content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = small(Response::new(Full::new(body.into())));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = small(Response::new(Full::default()));
    *reply.status_mut() = status;
    reply
}

/// A request that is not answered with what it asks for.
#[derive(Debug)]
pub(super) enum Refusal {
    /// For a reason that a WebSocket knows, too.
    Relay(Rejection),
    /// For a reason of HTTP.
    Http {
        status: StatusCode,
        sentence: String,
        allow: Option<&'static str>,
    },
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Relay(rejection)
    }
}

impl Refusal {
    pub(super) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self::Http {
            status,
            sentence: sentence.into(),
            allow: None,
        }
    }

    pub(super) fn bad(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    pub(super) fn method(allow: &'static str) -> Self {
        Self::Http {
            status: StatusCode::METHOD_NOT_ALLOWED,
            sentence: format!("this answers {allow} only"),
            allow: Some(allow),
        }
    }

    pub(super) fn into_reply(self) -> Reply {
        let (status, code, sentence, allow) = match self {
            Self::Relay(rejection) => (
                status(&rejection),
                rejection.prefix(),
                rejection.to_string(),
                None,
            ),
            Self::Http {
                status,
                sentence,
                allow,
            } => (status, "invalid", sentence, allow),
        };
        let body = json!({"error": sentence, "code": code});
        let mut reply = text("application/json", body.to_string());
        if let Some(allow) = allow {
            let allow = HeaderValue::from_static(allow);
            reply.headers_mut().insert(header::ALLOW, allow);
        }
        say(&mut reply, status);
        reply
    }
}

/// Sets the status, and the headers that belong to it.
pub(super) fn say(reply: &mut Reply, status: StatusCode) {
    *reply.status_mut() = status;
    let header = match status {
        StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Nostr"),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::INSUFFICIENT_STORAGE => (header::RETRY_AFTER, RETRY_AFTER),
        // What is left of the request is not read.
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
            (header::CONNECTION, "close")
        }
        _ => return,
    };
    reply
        .headers_mut()
        .insert(header.0, HeaderValue::from_static(header.1));
}

/// The status that says the same as a refusal.
pub(super) fn status(rejection: &Rejection) -> StatusCode {
    match rejection {
        Rejection::Superseded => StatusCode::CONFLICT,
        Rejection::Deleted => StatusCode::GONE,
        Rejection::TooLong(_)
        | Rejection::TooManyTags(_)
        | Rejection::ContentTooLong(_)
        | Rejection::TooMuchFiltered(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Rejection::Expired
        | Rejection::Malformed(_)
        | Rejection::Future(_)
        | Rejection::TimeOutOfRange
        | Rejection::Id
        | Rejection::Signature
        | Rejection::AuthEvent
        | Rejection::TooManyFilters(_)
        | Rejection::Filter(_)
        | Rejection::NoSearch
        | Rejection::Uncountable(_)
        | Rejection::TooMuch(_)
        | Rejection::Negentropy(_)
        | Rejection::NotOpen
        | Rejection::Silent
        | Rejection::Ahead(_) => StatusCode::BAD_REQUEST,
        Rejection::AuthRequired
        | Rejection::GiftWraps
        | Rejection::Auth(_)
        | Rejection::Proof(_)
        | Rejection::Protected {
            authenticated: false,
        } => StatusCode::UNAUTHORIZED,
        Rejection::NotAdmitted
        | Rejection::Protected {
            authenticated: true,
        } => StatusCode::FORBIDDEN,
        Rejection::TooManySubscriptions(_)
        | Rejection::TooManyKeys(_)
        | Rejection::TooFast(_)
        | Rejection::KeyTooFast(_)
        | Rejection::TooManyReconciliations(_)
        | Rejection::TooManyStreams(_)
        | Rejection::WrongSignatures
        | Rejection::TooSlow
        | Rejection::Busy => StatusCode::TOO_MANY_REQUESTS,
        Rejection::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        Rejection::Store => StatusCode::INTERNAL_SERVER_ERROR,
        Rejection::Deadline
        | Rejection::SearchBehind
        | Rejection::Crowded
        | Rejection::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    }
}
