//! A stream of the multiplexer that gives its place back when it is dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::duplex::Duplex;

/// See the module.
pub(super) struct Counted<T> {
    inner: Duplex<T>,
    shuts: bool,
    _permit: OwnedSemaphorePermit,
}

impl<T> Counted<T> {
    pub(super) fn new(stream: T, permit: OwnedSemaphorePermit) -> Self {
        Self {
            inner: Duplex::new(stream),
            shuts: true,
            _permit: permit,
        }
    }

    /// One that we opened. yamux says nothing when a stream is dropped whose writing side is closed already: the
    /// other side would write on, and hold its place. So it is closed by being dropped, and by nothing else.
    pub(super) fn closed_by_drop(stream: T, permit: OwnedSemaphorePermit) -> Self {
        Self {
            shuts: false,
            ..Self::new(stream, permit)
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.shuts {
            true => Pin::new(&mut self.get_mut().inner).poll_shutdown(cx),
            false => self.poll_flush(cx),
        }
    }
}
