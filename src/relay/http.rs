//! The relay's HTTP: WebSocket upgrade, NIP-11, the bridge and the proof of who we are. What is not the relay's
//! goes to a [`Front`].

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use nostr::{JsonUtil, Timestamp};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{
    Read, Shared, bridge, connection,
    front::{Front, Reply},
    origin::{self, Sender, Site},
    rate::Patience,
    rights::Reached,
    steady::Steady,
    tap::Pace,
};
use crate::nips::{
    Draft, kind,
    nip01::MAX_SUBSCRIPTION_ID,
    nip11::{self, Information, Limitation},
};

/// Bytes of the head of a request.
const MAX_HEAD: usize = 32 << 10;
/// How long the reader of a stream may take to read that it ends, when the relay stops.
const FAREWELL: Duration = Duration::from_millis(300);
const PROOF_PATH: &str = "/.well-known/treefort";
const NIPS: [u16; 12] = [1, 9, 11, 17, 40, 42, 45, 50, 59, 62, 70, 77];

/// An upgrade that was answered and now has to be served.
type Upgrade = Arc<Mutex<Option<(OnUpgrade, Sender, Place)>>>;

/// The place of a connection that is not this machine's own; there are few.
type Place = Option<OwnedSemaphorePermit>;

/// Serves one accepted connection: HTTP requests, or a WebSocket after an upgrade.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    front: Option<&dyn Front>,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let Some(_place) = shared.connections.take(peer, local) else {
        tracing::warn!(%peer, "too many connections");
        return;
    };
    shared.ingest.arrived(local);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    let upgrade: Upgrade = Arc::default();
    let line = bridge::Line {
        peer: peer.ip(),
        patience: Mutex::new(Patience::new(&shared.config)),
        pace: Arc::new(Pace::default()),
    };
    let service = service_fn(|request| {
        let answer = answer(shared, request, peer, local, &upgrade);
        let line = &line;
        // The last answer was taken.
        line.pace.forget();
        async move {
            Ok::<_, Infallible>(bridge::small(match (answer, front) {
                (Answer::Reply(reply), _) => reply,
                (Answer::Refused(status, why), _) => return Ok(bridge::refused(status, why)),
                (Answer::Bridge(request, sender), _) => {
                    return Ok(bridge::answer(shared, line, request, sender).await);
                }
                (Answer::Front(request, sender), Some(front)) => {
                    front.answer(request, sender).await
                }
                (Answer::Front(..), None) => plain(StatusCode::NOT_FOUND, "There is nothing here."),
            }))
        }
    });
    let timeout = Duration::from_secs(shared.config.handshake_timeout_s.max(1));
    let idle = Duration::from_secs(shared.config.idle_timeout_s.max(2));
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .max_headers(64)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Steady::new(stream, idle)), service)
        .with_upgrades();
    tokio::pin!(http);
    let served = tokio::select! {
        served = &mut http => served,
        () = line.pace.over() => {
            tracing::info!(%peer, "closing a connection that takes nothing of its answer");
            return;
        }
        () = shared.stop.cancelled() => {
            if !line.pace.is_given() {
                return;
            }
            // Whoever reads a stream is told that it ends.
            http.as_mut().graceful_shutdown();
            match tokio::time::timeout(FAREWELL, http).await {
                Ok(served) => served,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a request failed");
        return;
    }
    let waiting = upgrade
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let Some((upgrade, sender, _place)) = waiting else {
        return;
    };
    match upgrade
        .await
        .map(|upgraded| upgraded.downcast::<TokioIo<Steady>>())
    {
        Ok(Ok(parts)) => {
            shared.open.fetch_add(1, Ordering::Relaxed);
            let _open = Open(shared);
            let reached = Reached {
                peer: peer.ip(),
                local,
                host: sender.host,
                trusted: sender.trusted,
            };
            connection::run(
                Arc::clone(shared),
                parts.io.into_inner().into_inner(),
                parts.read_buf,
                reached,
            )
            .await;
        }
        Ok(Err(_)) => tracing::error!("an upgraded connection is not a TCP stream"),
        Err(error) => tracing::debug!(%peer, %error, "an upgrade failed"),
    }
}

/// Counts an open connection while it lives.
struct Open<'a>(&'a Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What becomes of a request.
enum Answer {
    /// The relay answers.
    Reply(Reply),
    /// It would be for the bridge, which says why it is not.
    Refused(StatusCode, &'static str),
    /// It is for the bridge.
    Bridge(Request<Incoming>, Sender),
    /// It is not for the relay.
    Front(Request<Incoming>, Sender),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

fn answer(
    shared: &Shared,
    mut request: Request<Incoming>,
    peer: SocketAddr,
    local: SocketAddr,
    upgrade: &Upgrade,
) -> Answer {
    let Some(sender) = origin::sender(request.headers(), peer, local, &shared.config.hosts) else {
        let why = "This name is not one of this relay's.";
        return match bridge::is_ours(request.uri().path()) {
            true => Answer::Refused(StatusCode::FORBIDDEN, why),
            false => plain(StatusCode::FORBIDDEN, why).into(),
        };
    };
    let path = request.uri().path();
    if path == "/" {
        if request.method() == Method::OPTIONS {
            return with_cors(plain(StatusCode::NO_CONTENT, "")).into();
        }
        if wants_upgrade(request.headers()) {
            return connect(shared, &mut request, sender, upgrade).into();
        }
        if is_read(request.method()) && accepts_document(request.headers()) {
            return document(shared, &sender).into();
        }
    }
    if bridge::is_ours(path) {
        return Answer::Bridge(request, sender);
    }
    if path != PROOF_PATH {
        return Answer::Front(request, sender);
    }
    if sender.site == Site::Other {
        plain(StatusCode::FORBIDDEN, "Other sites may not ask.").into()
    } else if is_read(request.method()) {
        proof(shared, request.uri().query()).into()
    } else {
        plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET.").into()
    }
}

/// Takes a WebSocket handshake.
fn connect(
    shared: &Shared,
    request: &mut Request<Incoming>,
    sender: Sender,
    upgrade: &Upgrade,
) -> Reply {
    let place = if sender.trusted {
        None
    } else {
        let Ok(place) = Arc::clone(&shared.foreign).try_acquire_owned() else {
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "All places for other sites and machines are taken.",
            );
        };
        Some(place)
    };
    match accept_key(request) {
        Ok(key) => {
            let pending = hyper::upgrade::on(request);
            *upgrade.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((pending, sender, place));
            switching(&key)
        }
        Err(reason) => plain(StatusCode::BAD_REQUEST, reason),
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether a comma-separated header names a token.
fn names(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| {
            value
                .split(';')
                .next()
                .is_some_and(|value| value.trim().eq_ignore_ascii_case(token))
        })
}

fn accepts_document(headers: &HeaderMap) -> bool {
    names(headers, header::ACCEPT, nip11::MEDIA_TYPE)
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    names(headers, header::UPGRADE, "websocket")
}

/// RFC 6455, 4.2.1.
fn accept_key(request: &Request<Incoming>) -> Result<String, &'static str> {
    let headers = request.headers();
    if request.method() != Method::GET || !names(headers, header::CONNECTION, "upgrade") {
        return Err("Not a WebSocket handshake.");
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err("WebSocket version 13 only.");
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or("The handshake has no key.")?;
    Ok(derive_accept_key(key.as_bytes()))
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn plain(status: StatusCode, text: &'static str) -> Reply {
    reply(status, "text/plain; charset=utf-8", text)
}

fn switching(key: &str) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(key) = HeaderValue::from_str(key) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    reply
}

fn with_cors(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}

/// The relay information document, with the limits that hold for the one who asks.
fn document(shared: &Shared, sender: &Sender) -> Reply {
    let config = &shared.config;
    let information = Information {
        name: config.name.clone(),
        description: shared.identity.description.clone(),
        // Any web site may read this: it is not told whose relay it found.
        pubkey: sender.trusted.then(|| shared.admission.operator().to_hex()),
        self_key: shared.identity.keys.public_key().to_hex(),
        supported_nips: (NIPS.into_iter())
            .filter(|nip| *nip != 50 || shared.search.get().is_some())
            .collect(),
        software: env!("CARGO_PKG_NAME"),
        version: sender.trusted.then_some(env!("CARGO_PKG_VERSION")),
        limitation: Limitation {
            max_message_length: config.max_message_bytes,
            max_subscriptions: config.max_subscriptions,
            max_limit: config.max_limit,
            default_limit: config.default_limit,
            max_subid_length: MAX_SUBSCRIPTION_ID,
            max_event_tags: config.max_tags,
            max_content_length: config.max_content,
            min_pow_difficulty: 0,
            auth_required: !sender.trusted || config.read == Read::Auth,
            payment_required: false,
            restricted_writes: !sender.trusted,
            created_at_upper_limit: config.max_future_s,
        },
    };
    match serde_json::to_vec(&information) {
        Ok(json) => with_cors(reply(StatusCode::OK, nip11::MEDIA_TYPE, json)),
        Err(error) => {
            tracing::error!(%error, "failed to write the relay information document");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong.")
        }
    }
}

/// Signs a challenge under the relay's key, so that a local program knows that it talks to the relay of its
/// home and not to one that took its port.
fn proof(shared: &Shared, query: Option<&str>) -> Reply {
    let challenge = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("challenge="))
        .filter(|value| {
            value.len() == 64
                && value
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        });
    let Some(challenge) = challenge else {
        return plain(
            StatusCode::BAD_REQUEST,
            "A challenge of 64 hexadecimal digits is missing.",
        );
    };
    let event = Draft::new(kind::HTTP_AUTH)
        .tag(["challenge", challenge])
        .sign(&shared.identity.keys, Timestamp::now().as_secs());
    match event {
        Ok(event) => reply(StatusCode::OK, "application/json", event.as_json()),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "failed to sign a challenge"
            );
            plain(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong.")
        }
    }
}
