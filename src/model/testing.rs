//! A model server that misbehaves on purpose, byte by byte.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// What the server does with a request, in order; then it closes the connection.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Does nothing for a while.
    Wait(Duration),
    /// Waits until the other side closes.
    Hang,
}

/// The head of a streamed answer whose end is the connection's end.
pub(super) const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n";

#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) url: String,
    /// Every request, head and body.
    pub(super) requests: Arc<Mutex<Vec<String>>>,
    /// What it does from now on.
    acts: Arc<Mutex<Vec<Act>>>,
    /// Connections that the other side closed while the server hung.
    closed: Arc<Mutex<usize>>,
    _serving: AbortOnDropHandle<()>,
}

impl Upstream {
    /// Has it do something else with the next requests.
    pub(super) fn set(&self, acts: Vec<Act>) {
        *self.acts.lock().unwrap() = acts;
    }

    /// Waits until the other side has closed a connection on which the server hung.
    pub(super) async fn is_left(&self) {
        let left = async {
            while *self.closed.lock().unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), left)
            .await
            .unwrap();
    }
}

pub(super) fn send(text: impl AsRef<[u8]>) -> Act {
    Act::Send(text.as_ref().to_vec())
}

/// Answers every connection's first request with the same acts.
pub(super) async fn upstream(acts: Vec<Act>) -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests: Arc<Mutex<Vec<String>>> = Arc::default();
    let closed: Arc<Mutex<usize>> = Arc::default();
    let acts = Arc::new(Mutex::new(acts));
    let script = Arc::clone(&acts);
    let (seen, gone) = (Arc::clone(&requests), Arc::clone(&closed));
    let serving = tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let acts = script.lock().unwrap().clone();
            let (seen, gone) = (Arc::clone(&seen), Arc::clone(&gone));
            tasks.spawn(async move {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !whole(&request) {
                    match stream.read(&mut buffer).await {
                        Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
                        _ => return,
                    }
                }
                seen.lock()
                    .unwrap()
                    .push(String::from_utf8(request).unwrap());
                for act in acts {
                    match act {
                        Act::Send(bytes) => {
                            if stream.write_all(&bytes).await.is_err() {
                                *gone.lock().unwrap() += 1;
                                return;
                            }
                        }
                        Act::Wait(time) => tokio::time::sleep(time).await,
                        Act::Hang => {
                            let _closed = stream.read(&mut buffer).await;
                            *gone.lock().unwrap() += 1;
                        }
                    }
                }
            });
        }
    });
    Upstream {
        url,
        requests,
        acts,
        closed,
        _serving: AbortOnDropHandle::new(serving),
    }
}

fn whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|at| at == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    request.len() >= end + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap())
}
