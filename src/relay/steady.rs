//! A connection that ends when its other end takes nothing of what it is sent.
//!
//! It stands below HTTP, so that it holds for every answer: of the bridge, the page and whatever else there is on the port,
//! long or short, and for who sends request after request and reads none of the answers.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

/// Bytes a second that somebody has to take who takes no whole answer in time.
const SLOWEST: u64 = 1024;

/// See the module.
pub(super) struct Steady {
    stream: TcpStream,
    patience: Duration,
    stall: Option<Stall>,
}

/// Something waits that the other end has not taken.
struct Stall {
    began: Instant,
    taken: u64,
    over: Pin<Box<Sleep>>,
}

impl Steady {
    /// A connection whose other end takes what it is sent within `patience`, or steadily.
    pub(super) fn new(stream: TcpStream, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            stall: None,
        }
    }

    /// The connection alone, for what has bounds of its own.
    pub(super) fn into_inner(self) -> TcpStream {
        self.stream
    }

    /// Counts what was taken, and ends the connection of who takes too little.
    fn watch(
        &mut self,
        wrote: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if wrote.is_ready() {
            if let (Poll::Ready(Ok(bytes)), Some(stall)) = (&wrote, &mut self.stall) {
                stall.taken += *bytes as u64;
            }
            return wrote;
        }
        let patience = self.patience;
        let stall = self.stall.get_or_insert_with(|| Stall {
            began: Instant::now(),
            taken: 0,
            over: Box::pin(tokio::time::sleep(patience)),
        });
        let until = stall.began + patience + Duration::from_secs(stall.taken / SLOWEST);
        if stall.over.deadline() != until {
            stall.over.as_mut().reset(until);
        }
        ready!(stall.over.as_mut().poll(context));
        tracing::info!("closing a connection that takes nothing of its answer");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Steady {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Steady {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(wrote, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(wrote, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Asked for when everything so far was taken.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stall = None;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpSocket},
    };

    use super::*;

    async fn pair(patience: Duration) -> (Steady, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        let other = socket
            .connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (Steady::new(stream, patience), other)
    }

    #[tokio::test]
    async fn who_takes_nothing_is_given_up_and_who_takes_slowly_is_not() {
        let big = vec![7; 16 << 20];
        let (mut steady, deaf) = pair(Duration::from_millis(500)).await;
        let began = Instant::now();
        let error = steady.write_all(&big).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= Duration::from_millis(500));
        drop(deaf);
        // Each pause is shorter than the patience, all of it together is longer.
        let (mut steady, mut slow) = pair(Duration::from_secs(1)).await;
        let reading = tokio::spawn(async move {
            let mut all = 0;
            let mut bytes = vec![0; 1 << 20];
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                match slow.read(&mut bytes).await.unwrap() {
                    0 => break all,
                    read => all += read,
                }
            }
        });
        steady.write_all(&big).await.unwrap();
        drop(steady);
        assert_eq!(reading.await.unwrap(), big.len());
    }
}
