//! The HTTP server of one preview.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    Preview, Source,
    access::{self, Access},
    body::Body,
    files, pages,
    proxy::{self, Tunnel},
};

/// How long a request's head may take, and a connection may wait for its next one.
const HEAD: Duration = Duration::from_secs(30);
/// Headers of a request, and the bytes that are held of one.
const MAX_HEADERS: usize = 100;
const MAX_BUFFER: usize = 64 << 10;

/// Where the task of a connection finds what it becomes after an upgrade.
type Becomes = Arc<Mutex<Option<Tunnel>>>;

/// Serves a preview until it is ended.
pub(super) async fn until_ended(preview: Arc<Preview>, listeners: Vec<TcpListener>) {
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(preview.clone(), listener));
    }
    preview.ended.cancelled().await;
    // What is open ends here too.
    accepting.shutdown().await;
}

async fn accept(preview: Arc<Preview>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let local = stream.local_addr();
                    let Some(place) = local.ok().and_then(|local| preview.connections.take(peer, local))
                    else {
                        continue;
                    };
                    let preview = preview.clone();
                    connections.spawn(async move {
                        serve(&preview, stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(preview: &Arc<Preview>, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    let becomes = Becomes::default();
    let service = service_fn(|request| {
        let (preview, becomes) = (preview.clone(), becomes.clone());
        async move { Ok::<_, Infallible>(Box::pin(answer(&preview, request, &becomes)).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
        return;
    }
    let tunnel = becomes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(tunnel) = tunnel {
        let _held = preview.hold();
        tunnel.run(|| preview.touch()).await;
    }
}

async fn answer(
    preview: &Arc<Preview>,
    request: Request<Incoming>,
    becomes: &Becomes,
) -> Response<Body> {
    let (method, path) = (request.method(), request.uri().path());
    let access = access::of(
        &preview.keys,
        &preview.hosts,
        method,
        path,
        request.headers(),
    );
    let host = match access {
        Access::Own(host) => host,
        Access::First => {
            preview.touch();
            return pages::first(&preview.keys.set_cookie());
        }
        Access::Locked => return pages::locked(),
        Access::Nothing => return pages::nothing(),
        Access::WrongHost | Access::Foreign => return pages::foreign(),
    };
    preview.touch();
    if request.headers().contains_key("service-worker") {
        // It would answer for its pages without the policy that keeps them to this origin, and outlive the preview.
        return pages::refused("A preview has no service workers.");
    }
    match preview.source() {
        Source::App { inward, port } => {
            let held = preview.hold();
            let (response, tunnel) = proxy::forward(&inward, port, &host, request, held).await;
            *becomes.lock().unwrap_or_else(PoisonError::into_inner) = tunnel;
            response
        }
        Source::Files(all) => files::answer(all, &host, &request).await,
    }
}
