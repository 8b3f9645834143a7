//! The bridge: events over plain HTTP, for programs and proxies that have no WebSocket.
//!
//! `POST /events` is EVENT, `GET /events` is REQ up to EOSE, `GET /events/stream` is what REQ sends after that, as
//! server-sent events. Whoever asks has the [`Rights`] that a WebSocket from the same place would have, the same limits and
//! rates, and proves a key by NIP-98 in the place of NIP-42. There is no CORS: pages of other origins have the WebSocket.
//! `nips/bridge.md` says it for clients, `nips/openapi.json` for their tools.

mod answer;
mod ask;
mod body;
mod proof;
mod publish;
mod read;
mod stream;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use tokio::sync::OwnedSemaphorePermit;

use self::{answer::Refusal, proof::Proof};
pub(super) use self::{
    answer::{Reply, small},
    body::Room,
    proof::Proofs,
};
use super::{
    Read, Rejection, Shared,
    origin::{Sender, Site},
    rate::Patience,
    rights::{Reached, Rights},
    tap::Pace,
};

const EVENTS: &str = "/events";
const STREAM: &str = "/events/stream";
const OPENAPI: &str = "/openapi.json";
/// What of the bridge a program can read.
const DESCRIPTION: &str = include_str!("../../../nips/openapi.json");

/// One connection, over all of its requests.
pub(super) struct Line {
    pub(super) peer: IpAddr,
    pub(super) patience: Mutex<Patience>,
    pub(super) pace: Arc<Pace>,
}

/// Who asks, as far as it is known before a body is read.
struct Asker {
    rights: Rights,
    proof: Option<Proof>,
    /// The place of who is not this machine's own; there are few.
    place: Option<OwnedSemaphorePermit>,
}

/// Whether a path is the bridge's, also one below it that there is not: who asks there expects JSON.
pub(super) fn is_ours(path: &str) -> bool {
    let below = |path: &str| path.starts_with('/');
    path == OPENAPI
        || path
            .strip_prefix(EVENTS)
            .is_some_and(|rest| rest.is_empty() || below(rest))
}

/// Answers a request for the bridge.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    line: &Line,
    request: Request<Incoming>,
    sender: Sender,
) -> Reply {
    let reply = route(shared, line, request, sender).await;
    for_nobody_else(reply.unwrap_or_else(Refusal::into_reply))
}

/// Answers a request that is refused before anybody looks at what it asks for.
pub(super) fn refused(status: StatusCode, why: &str) -> Reply {
    for_nobody_else(Refusal::new(status, why).into_reply())
}

/// An answer that no page of another origin and no cache takes.
fn for_nobody_else(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}

async fn route(
    shared: &Arc<Shared>,
    line: &Line,
    request: Request<Incoming>,
    sender: Sender,
) -> Result<Reply, Refusal> {
    let path = request.uri().path().to_owned();
    if !matches!(path.as_str(), EVENTS | STREAM | OPENAPI) {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            format!("there is nothing here; there are {EVENTS}, {STREAM} and {OPENAPI}"),
        ));
    }
    let methods = match path.as_str() {
        EVENTS => "GET, HEAD, POST, OPTIONS",
        _ => "GET, HEAD, OPTIONS",
    };
    let method = request.method().clone();
    if method == Method::OPTIONS {
        // Without a word of CORS, a browser lets no page of another origin go on.
        let mut reply = answer::empty(StatusCode::NO_CONTENT);
        let allow = HeaderValue::from_static(methods);
        reply.headers_mut().insert(header::ALLOW, allow);
        return Ok(reply);
    }
    let posts = path == EVENTS && method == Method::POST;
    if !posts && !matches!(method, Method::GET | Method::HEAD) {
        return Err(Refusal::method(methods));
    }
    if path == OPENAPI {
        if sender.site == Site::Other {
            return Err(Rejection::AuthRequired.into());
        }
        return Ok(answer::text("application/json", DESCRIPTION));
    }
    let asker = asker(shared, line, &request, sender)?;
    if posts {
        publish::answer(shared, line, asker, request).await
    } else if path == EVENTS {
        read::answer(shared, line, asker, &request).await
    } else {
        stream::answer(shared, line, asker, &request)
    }
}

/// Finds out who asks, within the rates; a wrong proof is refused and never passed over.
fn asker(
    shared: &Arc<Shared>,
    line: &Line,
    request: &Request<Incoming>,
    sender: Sender,
) -> Result<Asker, Refusal> {
    let reached = Reached {
        peer: line.peer,
        local: sender.local,
        host: sender.host,
        // A page of another origin sends no `Origin` with an image or a script, but its browser says whose it is.
        trusted: sender.trusted && sender.site != Site::Other,
    };
    if shared.rates.messages(&reached, 1) == 0 {
        return Err(shared.rates.too_fast(&reached, 1).0.into());
    }
    let place = match reached.trusted {
        true => None,
        false => Some(
            Arc::clone(&shared.foreign)
                .try_acquire_owned()
                .map_err(|_| Refusal::from(Rejection::Crowded))?,
        ),
    };
    let proof = shared.proofs.read(shared, request, &reached)?;
    let rights = Rights::new(
        reached,
        Arc::clone(&shared.admission),
        shared.config.read == Read::Open,
    );
    if let Some(proof) = &proof {
        rights.authenticated(proof.key)?;
    }
    Ok(Asker {
        rights,
        proof,
        place,
    })
}
