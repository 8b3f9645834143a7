//! A stream of the multiplexer whose two directions different tasks may use.
//!
//! A yamux stream has one queue to its connection, which remembers one task only. When the reader
//! asks for room in it to send a window update, it takes the place of a writer that waits there,
//! and the writer is never woken: bytes stop for ever, now and then. [`Duplex`] gives the stream
//! one waker that wakes both.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module.
pub(super) struct Duplex<T> {
    inner: T,
    tasks: Arc<Tasks>,
    waker: Waker,
}

#[derive(Default)]
struct Tasks {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Tasks {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

impl<T> Duplex<T> {
    pub(super) fn new(inner: T) -> Self {
        let tasks = Arc::<Tasks>::default();
        Self {
            inner,
            waker: Arc::clone(&tasks).into(),
            tasks,
        }
    }
}

impl<T: AsyncWrite + Unpin> Duplex<T> {
    fn write<R>(
        &mut self,
        cx: &mut Context<'_>,
        with: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        self.tasks.writer.register(cx.waker());
        with(
            Pin::new(&mut self.inner),
            &mut Context::from_waker(&self.waker),
        )
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Duplex<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.tasks.reader.register(cx.waker());
        Pin::new(&mut this.inner).poll_read(&mut Context::from_waker(&this.waker), buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Duplex<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |inner, cx| inner.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(cx, |inner, cx| inner.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(cx, |inner, cx| inner.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, sink};
    use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

    use super::super::mux::yamux_config;
    use super::*;

    const BYTES: usize = 1 << 20;

    #[tokio::test]
    async fn a_reader_does_not_take_the_place_of_a_writer_that_waits() {
        let (ours, theirs) = duplex(64 * 1024);
        let connection = |io: tokio::io::DuplexStream, mode| {
            yamux::Connection::new(io.compat(), yamux_config(), mode)
        };
        let mut client = connection(ours, yamux::Mode::Client);
        let mut server = connection(theirs, yamux::Mode::Server);
        let stream = poll_fn(|cx| client.poll_new_outbound(cx)).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(Duplex::new(stream.compat()));

        // Nothing moves yet: the writer fills its queue and waits, then the reader comes along.
        let written = tokio::spawn(async move {
            writer.write_all(&vec![7; BYTES]).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        tokio::task::yield_now().await;
        let _reading = tokio::spawn(async move { reader.read_u8().await });
        tokio::task::yield_now().await;

        tokio::spawn(
            async move { while poll_fn(|cx| client.poll_next_inbound(cx)).await.is_some() {} },
        );
        let inbound = poll_fn(|cx| server.poll_next_inbound(cx))
            .await
            .unwrap()
            .unwrap();
        tokio::spawn(
            async move { while poll_fn(|cx| server.poll_next_inbound(cx)).await.is_some() {} },
        );
        let read = tokio::spawn(async move {
            tokio::io::copy(&mut inbound.compat(), &mut sink())
                .await
                .unwrap()
        });
        let all = tokio::time::timeout(Duration::from_secs(10), async {
            written.await.unwrap();
            read.await.unwrap()
        });
        assert_eq!(all.await.expect("the writer is woken"), BYTES as u64);
    }
}
