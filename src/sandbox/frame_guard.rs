//! A guard between a hostile byte stream and the yamux library.
//!
//! yamux bounds bytes, but trusts its peer in places: a window update that overflows panics where
//! overflow is checked, a window filled by frames of one byte costs fifty times its size, and after
//! a protocol error it keeps talking. [`Guard`] reads the frame headers in both directions and
//! turns every such thing into an I/O error and a [`Violation`], before yamux sees it.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Streams that one sandbox may have open: 64 HTTP connections, 32 to the proxy, its standard streams and slack
/// for streams that only one side has closed.
pub(super) const MAX_STREAMS: usize = 128;
/// The largest body of a frame; our own side sends 16 KiB at most.
const MAX_BODY: u32 = 16 * 1024;
/// The largest single credit; far from any overflow.
const MAX_CREDIT: u32 = 16 * 1024 * 1024;
/// Frames in all streams that the host has not made room for again: bounds what small frames cost.
const MAX_UNREAD_FRAMES: u32 = 256 * 1024;

const HEADER: usize = 12;
const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const GO_AWAY: u8 = 3;
const SYN: u16 = 1;
const FIN: u16 = 4;
const RST: u16 = 8;

/// The rule of the multiplexer that a sandbox broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A frame that yamux does not know.
    #[error("it sent a frame that the multiplexer does not know")]
    BadFrame,
    /// A frame longer, or a credit larger, than any of ours.
    #[error("it sent a frame larger than the multiplexer allows")]
    Oversized,
    /// A stream opened twice, or with an identifier that is the host's.
    #[error("it opened a stream that it may not open")]
    BadStream,
    /// Too many streams at once.
    #[error("it opened too many streams")]
    TooManyStreams,
    /// Too many small frames that the host had no reason to read yet.
    #[error("it flooded the multiplexer with small frames")]
    Flood,
    /// yamux itself found an error, such as a window overrun.
    #[error("it broke the multiplexer's flow control")]
    FlowControl,
    /// More than one stream of a kind of which there is one.
    #[error("it opened a second stream for the agent")]
    DuplicateAgent,
}

/// What one stream has cost so far.
#[derive(Debug, Default)]
struct StreamState {
    unread_frames: u32,
    fin_in: bool,
    fin_out: bool,
}

/// The headers of one direction, cut out of a byte stream.
#[derive(Debug, Default)]
struct Headers {
    header: [u8; HEADER],
    filled: usize,
    body_left: u32,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    version: u8,
    kind: u8,
    flags: u16,
    stream: u32,
    length: u32,
}

impl Headers {
    /// Calls `check` with every header that completes within `bytes`.
    fn feed(
        &mut self,
        mut bytes: &[u8],
        mut check: impl FnMut(Header) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let skip = bytes.len().min(self.body_left as usize);
                bytes = &bytes[skip..];
                self.body_left -= skip as u32;
                continue;
            }
            let take = bytes.len().min(HEADER - self.filled);
            self.header[self.filled..self.filled + take].copy_from_slice(&bytes[..take]);
            self.filled += take;
            bytes = &bytes[take..];
            if self.filled < HEADER {
                continue;
            }
            self.filled = 0;
            let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = self.header;
            let header = Header {
                version,
                kind,
                flags: u16::from_be_bytes([f0, f1]),
                stream: u32::from_be_bytes([s0, s1, s2, s3]),
                length: u32::from_be_bytes([l0, l1, l2, l3]),
            };
            check(header)?;
            if header.kind == DATA {
                self.body_left = header.length;
            }
        }
        Ok(())
    }
}

/// The books that both directions keep.
#[derive(Debug, Default)]
struct Books {
    streams: HashMap<u32, StreamState>,
    unread_frames: u32,
}

impl Books {
    fn inbound(&mut self, h: Header) -> Result<(), Violation> {
        if h.version != 0 || h.kind > GO_AWAY || h.flags & !0xf != 0 {
            return Err(Violation::BadFrame);
        }
        if h.kind != DATA && h.kind != WINDOW_UPDATE {
            return Ok(());
        }
        let bound = if h.kind == DATA { MAX_BODY } else { MAX_CREDIT };
        if h.length > bound {
            return Err(Violation::Oversized);
        }
        if h.flags & RST != 0 {
            // yamux takes no body of a reset stream.
            self.forget(h.stream);
            return Ok(());
        }
        if h.flags & SYN != 0 {
            // The container is the client: its streams are the odd ones.
            if h.stream.is_multiple_of(2) || self.streams.contains_key(&h.stream) {
                return Err(Violation::BadStream);
            }
            let own = self.streams.keys().filter(|id| !id.is_multiple_of(2));
            if own.count() >= MAX_STREAMS {
                return Err(Violation::TooManyStreams);
            }
            self.streams.insert(h.stream, StreamState::default());
        }
        let Some(stream) = self.streams.get_mut(&h.stream) else {
            return Ok(());
        };
        if h.kind == DATA && h.length > 0 {
            stream.unread_frames += 1;
            self.unread_frames += 1;
            if self.unread_frames > MAX_UNREAD_FRAMES {
                return Err(Violation::Flood);
            }
        }
        if h.flags & FIN != 0 {
            stream.fin_in = true;
            if stream.fin_out {
                self.forget(h.stream);
            }
        }
        Ok(())
    }

    fn outbound(&mut self, h: Header) -> Result<(), Violation> {
        if h.kind == GO_AWAY && h.length != 0 {
            return Err(Violation::FlowControl);
        }
        if h.flags & RST != 0 {
            self.forget(h.stream);
            return Ok(());
        }
        if h.flags & SYN != 0 {
            // The host bounds its own; what comes back on them is counted like everything else.
            self.streams.entry(h.stream).or_default();
        }
        let Some(stream) = self.streams.get_mut(&h.stream) else {
            return Ok(());
        };
        if h.kind == WINDOW_UPDATE && h.length > 0 {
            // yamux gives credit when half of a window was read.
            self.unread_frames -= stream.unread_frames;
            stream.unread_frames = 0;
        }
        if h.flags & FIN != 0 {
            stream.fin_out = true;
            if stream.fin_in {
                self.forget(h.stream);
            }
        }
        Ok(())
    }

    fn forget(&mut self, id: u32) {
        if let Some(stream) = self.streams.remove(&id) {
            self.unread_frames -= stream.unread_frames;
        }
    }
}

/// Where the first violation is kept.
pub(super) type Verdict = Arc<OnceLock<Violation>>;

/// The guarded stream.
#[derive(Debug)]
pub(super) struct Guard<T> {
    inner: T,
    inbound: Headers,
    outbound: Headers,
    books: Books,
    verdict: Verdict,
    /// The other side takes no more: what it said before that is still to be read, so writing goes
    /// nowhere instead of failing, until reading finds the end.
    deaf: bool,
}

impl<T> Guard<T> {
    pub(super) fn new(inner: T) -> (Self, Verdict) {
        let verdict = Verdict::default();
        let guard = Self {
            inner,
            inbound: Headers::default(),
            outbound: Headers::default(),
            books: Books::default(),
            verdict: Arc::clone(&verdict),
            deaf: false,
        };
        (guard, verdict)
    }

    fn refuse(&self, violation: Violation) -> io::Error {
        // The first one counts.
        let _ = self.verdict.set(violation);
        io::Error::new(io::ErrorKind::InvalidData, violation)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(violation) = this.verdict.get() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, *violation)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let books = &mut this.books;
        let checked = this
            .inbound
            .feed(&buf.filled()[before..], |h| books.inbound(h));
        Poll::Ready(checked.map_err(|v| this.refuse(v)))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.deaf {
            return Poll::Ready(Ok(buf.len()));
        }
        let Ok(n) = ready!(Pin::new(&mut this.inner).poll_write(cx, buf)) else {
            this.deaf = true;
            return Poll::Ready(Ok(buf.len()));
        };
        let books = &mut this.books;
        match this.outbound.feed(&buf[..n], |h| books.outbound(h)) {
            Ok(()) => Poll::Ready(Ok(n)),
            Err(v) => Poll::Ready(Err(this.refuse(v))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.deaf && ready!(Pin::new(&mut this.inner).poll_flush(cx)).is_err() {
            this.deaf = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8, flags: u16, stream: u32, length: u32) -> Header {
        Header {
            version: 0,
            kind,
            flags,
            stream,
            length,
        }
    }

    #[test]
    fn headers_are_found_across_any_cut() {
        let mut bytes = Vec::new();
        for id in [1u32, 3, 5] {
            bytes.extend([0, DATA, 0, 1]);
            bytes.extend(id.to_be_bytes());
            bytes.extend(5u32.to_be_bytes());
            bytes.extend(b"hello");
        }
        for cut in 1..bytes.len() {
            let mut seen = Vec::new();
            let mut headers = Headers::default();
            for piece in bytes.chunks(cut) {
                headers
                    .feed(piece, |h| {
                        seen.push((h.stream, h.length));
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(seen, [(1, 5), (3, 5), (5, 5)], "cut at {cut}");
        }
    }

    #[test]
    fn refuses_a_credit_that_would_overflow() {
        let mut books = Books::default();
        let h = header(WINDOW_UPDATE, SYN, 1, u32::MAX);
        assert_eq!(books.inbound(h), Err(Violation::Oversized));
    }

    #[test]
    fn refuses_unknown_versions_kinds_and_flags() {
        let mut books = Books::default();
        let mut h = header(DATA, SYN, 1, 0);
        h.version = 1;
        assert_eq!(books.inbound(h), Err(Violation::BadFrame));
        assert_eq!(books.inbound(header(4, 0, 0, 0)), Err(Violation::BadFrame));
        assert_eq!(
            books.inbound(header(DATA, 0x10, 1, 0)),
            Err(Violation::BadFrame)
        );
    }

    #[test]
    fn refuses_a_stream_opened_twice_or_of_the_host() {
        let mut books = Books::default();
        books.inbound(header(DATA, SYN, 1, 1)).unwrap();
        let again = books.inbound(header(DATA, SYN, 1, 1));
        assert_eq!(again, Err(Violation::BadStream));
        let even = books.inbound(header(DATA, SYN, 2, 1));
        assert_eq!(even, Err(Violation::BadStream));
    }

    #[test]
    fn bounds_the_number_of_open_streams_and_counts_closed_ones_out() {
        let mut books = Books::default();
        for i in 0..10_000u32 {
            let id = 2 * i + 1;
            books.inbound(header(DATA, SYN, id, 1)).unwrap();
            books.inbound(header(DATA, FIN, id, 0)).unwrap();
            books.outbound(header(DATA, FIN, id, 0)).unwrap();
        }
        assert!(books.streams.is_empty());
        assert_eq!(books.unread_frames, 0);
        for i in 0..MAX_STREAMS as u32 {
            books.inbound(header(DATA, SYN, 2 * i + 1, 1)).unwrap();
        }
        let one_more = books.inbound(header(DATA, SYN, 999_999, 1));
        assert_eq!(one_more, Err(Violation::TooManyStreams));
    }

    #[test]
    fn streams_of_the_host_take_no_place_of_the_sandboxs_and_what_comes_back_on_them_is_bounded() {
        let mut books = Books::default();
        for i in 1..=MAX_STREAMS as u32 {
            books.outbound(header(DATA, SYN, 2 * i, 3)).unwrap();
        }
        for i in 0..MAX_STREAMS as u32 {
            books.inbound(header(DATA, SYN, 2 * i + 1, 1)).unwrap();
        }
        let one_more = books.inbound(header(DATA, SYN, 999_999, 1));
        assert_eq!(one_more, Err(Violation::TooManyStreams));
        let again = books.inbound(header(DATA, SYN, 2, 1));
        assert_eq!(again, Err(Violation::BadStream));
        let refused =
            (0..MAX_UNREAD_FRAMES + 1).find_map(|_| books.inbound(header(DATA, 0, 2, 1)).err());
        assert_eq!(refused, Some(Violation::Flood));
        books.outbound(header(DATA, RST, 2, 0)).unwrap();
        books.inbound(header(DATA, RST, 4, 0)).unwrap();
        assert!(!books.streams.contains_key(&2) && !books.streams.contains_key(&4));
    }

    #[test]
    fn bounds_small_frames_that_nobody_reads() {
        let mut books = Books::default();
        books.inbound(header(DATA, SYN, 1, 1)).unwrap();
        let refused =
            (0..MAX_UNREAD_FRAMES + 1).find_map(|_| books.inbound(header(DATA, 0, 1, 1)).err());
        assert_eq!(refused, Some(Violation::Flood));
    }

    #[test]
    fn sees_that_yamux_gave_up_on_the_peer() {
        let mut books = Books::default();
        assert_eq!(
            books.outbound(header(GO_AWAY, 0, 0, 1)),
            Err(Violation::FlowControl)
        );
        assert_eq!(books.outbound(header(GO_AWAY, 0, 0, 0)), Ok(()));
    }
}
