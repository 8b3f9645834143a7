//! Requests to an app in a sandbox, and its answers.
//!
//! Each request has a connection into the sandbox of its own, which goes with it: nothing of one is left for the
//! next. Bodies stream both ways, as fast as the slower side takes them; heads are bounded in bytes, fields and time.

use std::{pin::Pin, time::Duration};

use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Held,
    body::{Body, FromApp, full},
    headers, pages,
};
use crate::sandbox::Inward;

/// How long an app may take until its answer begins: a development server builds the page meanwhile.
const HEAD: Duration = Duration::from_secs(120);
/// Fields of an answer's head, and the bytes that are held of it.
const MAX_HEADERS: usize = 128;
const MAX_BUFFER: usize = 128 << 10;
/// Bytes of a tunnel that are held in each direction.
const PIECE: usize = 16 << 10;

/// Asks the app; the second value is what the browser's connection becomes when it was upgraded.
pub(super) async fn forward(
    inward: &Inward,
    port: u16,
    host: &str,
    mut request: Request<Incoming>,
    held: Held,
) -> (Response<Body>, Option<Tunnel>) {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return (pages::refused("A preview takes no such request."), None);
    }
    let Some(uri) = origin_form(request.uri()) else {
        return (pages::refused("This is no address of a page."), None);
    };
    let stream = match inward.connect(port).await {
        Ok(stream) => stream,
        Err(error) => return (pages::unreachable(error, port), None),
    };
    let made = hyper::client::conn::http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .handshake(TokioIo::new(stream))
        .await;
    let Ok((mut sender, connection)) = made else {
        return (pages::broken(), None);
    };
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        let _held = held;
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to an app ended early");
        }
    }));
    let websocket = wants_websocket(&request);
    let browser = websocket.then(|| hyper::upgrade::on(&mut request));
    let head = headers::inward(request.headers(), host, port, websocket);
    let method = request.method().clone();
    let mut asked = Request::new(request.into_body());
    *asked.method_mut() = method;
    *asked.uri_mut() = uri;
    *asked.version_mut() = Version::HTTP_11;
    *asked.headers_mut() = head;
    let mut response = match tokio::time::timeout(HEAD, sender.send_request(asked)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::debug!(%error, "an app did not answer properly");
            let page = match inward.is_gone() {
                true => pages::unreachable(crate::sandbox::InwardError::Gone, port),
                false => pages::broken(),
            };
            return (page, None);
        }
        Err(_) => return (pages::silent(), None),
    };
    let mut kept = match headers::outward(response.headers(), host, port) {
        Ok(kept) => kept,
        Err(headers::Elsewhere(to)) => return (pages::elsewhere(&to), None),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(browser) = browser else {
            return (pages::broken(), None);
        };
        let app = hyper::upgrade::on(&mut response);
        let tunnel = Tunnel {
            browser,
            app,
            _connection: connection,
        };
        return (switching(kept), Some(tunnel));
    }
    kept.remove(header::CONNECTION);
    let status = response.status();
    let body = FromApp {
        body: response.into_body(),
        _connection: connection,
    };
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = status;
    *answer.headers_mut() = kept;
    (answer, None)
}

/// The path and query alone, which is how an app is asked.
fn origin_form(uri: &Uri) -> Option<Uri> {
    let path = uri.path_and_query()?;
    path.as_str().starts_with('/').then(|| path.clone().into())
}

fn wants_websocket(request: &Request<Incoming>) -> bool {
    let names = |name: HeaderName, token: &str| {
        let values = request.headers().get_all(name).iter();
        let mut words = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        words.any(|word| word.trim().eq_ignore_ascii_case(token))
    };
    request.method() == Method::GET
        && names(header::CONNECTION, "upgrade")
        && names(header::UPGRADE, "websocket")
}

/// The answer to a handshake: of the app's head only what belongs to it.
fn switching(kept: HeaderMap) -> Response<Body> {
    let mut answer = Response::new(full(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    for (name, value) in &kept {
        if name.as_str().starts_with("sec-websocket-") || *name == header::SET_COOKIE {
            headers.append(name.clone(), value.clone());
        }
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer
}

/// A WebSocket between a browser and an app.
#[derive(Debug)]
pub(super) struct Tunnel {
    browser: OnUpgrade,
    app: OnUpgrade,
    _connection: AbortOnDropHandle<()>,
}

impl Tunnel {
    /// Carries bytes until either side ends; `heard` is called when the browser says something.
    pub(super) async fn run(self, heard: impl Fn()) {
        let (Ok(browser), Ok(app)) = tokio::join!(self.browser, self.app) else {
            tracing::debug!("an upgrade failed");
            return;
        };
        let (mut from_browser, mut to_browser) = split(browser);
        let (mut from_app, mut to_app) = split(app);
        let inward = copy(&mut from_browser, &mut to_app, heard);
        let outward = async {
            copy(&mut from_app, &mut to_browser, || {}).await?;
            to_browser.shutdown().await
        };
        let ended = tokio::select! {
            ended = inward => ended,
            ended = outward => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection that was held open ended early");
        }
    }
}

type Half = TokioIo<Upgraded>;

fn split(upgraded: Upgraded) -> (ReadHalf<Half>, WriteHalf<Half>) {
    tokio::io::split(TokioIo::new(upgraded))
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    heard: impl Fn(),
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut to = Pin::new(to);
    loop {
        let bytes = from.read(&mut piece).await?;
        if bytes == 0 {
            return Ok(());
        }
        heard();
        to.write_all(&piece[..bytes]).await?;
        to.flush().await?;
    }
}
