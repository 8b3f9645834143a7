//! The host's way into a sandbox: streams that only the host opens, over the multiplexer.
//!
//! On one of them the host asks our own process inside (`init_inward`) for a connection to a port of
//! the sandbox's loopback, or for the ports on which something listens there. Main type: [`Inward`].
//! Invariants: how many are open is bounded here, nothing from inside opens one, and what does not answer in
//! time is given up. What comes back is as hostile as everything else out of a sandbox.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use super::counted::Counted;
use super::{BoxedStream, MODEL_PORT, PROXY_PORT};

/// Connections into one sandbox that may be open at once.
pub const MAX_INWARD: usize = 48;
/// How long the way in may take: a place, the stream, and the connection at its end.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most ports that one answer names.
pub(super) const MAX_PORTS: u8 = 64;

/// What the host asks for; the first bytes of a stream that it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// A connection to this port of the loopback.
    Connect(u16),
    /// The ports on which something listens.
    Ports,
}

/// How a connection was answered; the first byte that comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reply {
    /// It is there: from here on the stream is the connection.
    Connected = 0,
    /// Nothing listens there, or it does not answer.
    Refused = 1,
}

const CONNECT: u8 = 1;
const PORTS: u8 = 2;

impl Ask {
    fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Connect(port) => [&[CONNECT][..], &port.to_be_bytes()].concat(),
            Self::Ports => vec![PORTS],
        }
    }

    /// Reads one; `None` for what is none.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        Ok(match from.read_u8().await? {
            CONNECT => Some(Self::Connect(from.read_u16().await?)),
            PORTS => Some(Self::Ports),
            _ => None,
        })
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InwardError {
    /// The sandbox has ended.
    #[error("the sandbox has ended")]
    Gone,
    /// Nothing listens on the port.
    #[error("nothing listens on this port")]
    Refused,
    /// As many are open as may be.
    #[error("too many connections into the sandbox are open")]
    Busy,
    /// The sandbox did not answer in time; it may stand still.
    #[error("the sandbox does not answer")]
    Silent,
    /// It is a port of treefort's own.
    #[error("this port is treefort's own")]
    Own,
}

/// Where the driver of the multiplexer puts a stream that it opened.
pub(super) type Open = oneshot::Sender<yamux::Stream>;

/// The way into one sandbox; its clones are the same one.
#[derive(Debug, Clone)]
pub struct Inward {
    requests: mpsc::Sender<Open>,
    connections: Arc<Semaphore>,
    /// The place of a question, which waits for no connection.
    question: Arc<Semaphore>,
    patience: Duration,
}

impl Inward {
    /// A way in, and what the driver takes its requests from.
    pub(super) fn new() -> (Self, mpsc::Receiver<Open>) {
        let (requests, inbox) = mpsc::channel(8);
        let inward = Self {
            requests,
            connections: Arc::new(Semaphore::new(MAX_INWARD)),
            question: Arc::new(Semaphore::new(1)),
            patience: PATIENCE,
        };
        (inward, inbox)
    }

    /// The way into a sandbox that has ended.
    #[cfg(test)]
    pub(crate) fn gone_already() -> Self {
        Self::new().0
    }

    /// A connection to a port of the sandbox's own loopback. Dropping it ends the connection; shutting its
    /// writing side down only flushes it, since our process inside takes the end of ours for the end of both.
    ///
    /// # Errors
    /// When nothing listens there, or the sandbox does not answer, or is gone.
    pub async fn connect(&self, port: u16) -> Result<BoxedStream, InwardError> {
        if matches!(port, MODEL_PORT | PROXY_PORT) {
            return Err(InwardError::Own);
        }
        let mut stream = self.ask(&self.connections, Ask::Connect(port)).await?;
        match timeout(self.patience, stream.read_u8()).await {
            Ok(Ok(code)) if code == Reply::Connected as u8 => Ok(Box::new(stream)),
            Ok(Ok(_)) => Err(InwardError::Refused),
            // Reset: there is no place for it inside, or no inside.
            Ok(Err(_)) if self.is_gone() => Err(InwardError::Gone),
            Ok(Err(_)) => Err(InwardError::Busy),
            Err(_) => Err(InwardError::Silent),
        }
    }

    /// The ports on which something listens on the sandbox's loopback, without treefort's own.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn ports(&self) -> Result<BTreeSet<u16>, InwardError> {
        let mut stream = self.ask(&self.question, Ask::Ports).await?;
        let answer = async {
            let count = stream.read_u8().await?.min(MAX_PORTS);
            let mut ports = BTreeSet::new();
            for _ in 0..count {
                ports.insert(stream.read_u16().await?);
            }
            Ok::<_, io::Error>(ports)
        };
        let ports = match timeout(self.patience, answer).await {
            Ok(Ok(ports)) => ports,
            Ok(Err(_)) if self.is_gone() => return Err(InwardError::Gone),
            Ok(Err(_)) => return Err(InwardError::Busy),
            Err(_) => return Err(InwardError::Silent),
        };
        let others = ports
            .into_iter()
            .filter(|port| !matches!(*port, 0 | MODEL_PORT | PROXY_PORT));
        Ok(others.collect())
    }

    /// Whether the sandbox has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.requests.is_closed()
    }

    /// Returns when the sandbox has ended.
    pub async fn gone(&self) {
        self.requests.closed().await;
    }

    async fn ask(
        &self,
        places: &Arc<Semaphore>,
        ask: Ask,
    ) -> Result<Counted<Compat<yamux::Stream>>, InwardError> {
        let place = timeout(self.patience, Arc::clone(places).acquire_owned());
        let permit = match place.await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(InwardError::Gone),
            Err(_) => return Err(InwardError::Busy),
        };
        let opened = async {
            let (reply, stream) = oneshot::channel();
            self.requests.send(reply).await.ok()?;
            let stream = stream.await.ok()?;
            let mut stream = Counted::closed_by_drop(stream.compat(), permit);
            stream.write_all(&ask.to_bytes()).await.ok()?;
            stream.flush().await.ok()?;
            Some(stream)
        };
        match timeout(self.patience, opened).await {
            Ok(Some(stream)) => Ok(stream),
            Ok(None) => Err(InwardError::Gone),
            Err(_) => Err(InwardError::Silent),
        }
    }
}

#[cfg(test)]
mod tests;
