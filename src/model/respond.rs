//! HTTP answers to a session.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::dialect::Dialect;
use super::upstream::Call;

/// The body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The answer of a model, as it comes.
pub(super) fn pieces(
    call: Call,
    first: Bytes,
    slot: OwnedSemaphorePermit,
    content_type: &'static str,
) -> Response<Body> {
    let pieces = stream::unfold(
        (Some(first), call, slot),
        async |(first, mut call, slot)| {
            let piece = match first {
                Some(piece) => piece,
                None => match call.next().await {
                    Some(piece) => piece,
                    None => {
                        // Recorded first: whoever waits for the slot finds the record.
                        drop(call);
                        drop(slot);
                        return None;
                    }
                },
            };
            Some((Ok(Frame::data(piece)), (None, call, slot)))
        },
    );
    let body = StreamBody::new(pieces).boxed_unsync();
    response(StatusCode::OK, content_type, body)
}

/// A refusal in the words of the session's API.
pub(super) fn refusal(
    dialect: Dialect,
    status: StatusCode,
    sentence: &str,
    code: &str,
) -> Response<Body> {
    object(status, &dialect.refusal(status, sentence, code))
}

/// One JSON object.
pub(super) fn object(status: StatusCode, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).boxed_unsync();
    response(status, "application/json", body)
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
