//! Bodies of answers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio_util::task::AbortOnDropHandle;

/// Why a body broke off.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of any answer.
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is there already.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The body of an app's answer, with the task that reads it out of the sandbox: when the browser leaves, both go, and
/// so does the connection inside.
pub(super) struct FromApp {
    pub(super) body: Incoming,
    pub(super) _connection: AbortOnDropHandle<()>,
}

impl hyper::body::Body for FromApp {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
