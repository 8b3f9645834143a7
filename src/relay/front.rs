//! What else is served on the relay's port, which the relay knows nothing of: the page.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};

pub use super::origin::{Sender, Site};

/// An answer over HTTP.
pub type Reply = Response<Full<Bytes>>;

/// Answers the requests that are not for the relay itself.
///
/// The relay has looked at `Host`: who asks used one of its names. All else is for the front to look at, with what
/// [`Sender`] says. A front bounds what it reads, in bytes and in time.
pub trait Front: Send + Sync {
    /// Answers one request.
    fn answer<'a>(&'a self, request: Request<Incoming>, sender: Sender) -> BoxFuture<'a, Reply>;
}
