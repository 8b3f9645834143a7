//! The host's side of the multiplexer on a sandbox's attach stream.
//!
//! yamux carries many streams over one. The container opens those of the agent; the first byte of each is its
//! [`Tag`]. The host opens others into the container ([`Inward`]). Every byte is hostile: `frame_guard` checks the frames, the number of streams
//! is capped, and whatever nobody takes is closed. Main type: [`Driver`].

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use tokio_util::sync::CancellationToken;

use super::counted::Counted;
use super::duplex::Duplex;
use super::frame_guard::{Guard, MAX_STREAMS, Verdict, Violation};
use super::inward::{Inward, MAX_INWARD, Open};
use super::{AgentIo, BoxedStream, Tail};

/// HTTP connections of one sandbox that may be open at once.
pub const MAX_HTTP: usize = 64;
/// Connections of one sandbox to the host's proxy that may be open at once.
pub const MAX_NET: usize = 32;
/// How long a new stream may leave us waiting for its tag.
const TAG_TIMEOUT: Duration = Duration::from_secs(10);

/// What a stream carries; its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// The agent's standard input and output.
    Stdio = 1,
    /// The agent's standard error.
    Stderr = 2,
    /// One HTTP connection.
    Http = 3,
    /// One connection to the host's proxy; a sandbox that was given no network has nobody who takes it.
    Net = 4,
}

impl Tag {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Stdio, Self::Stderr, Self::Http, Self::Net]
            .into_iter()
            .find(|tag| *tag as u8 == byte)
    }
}

/// yamux's settings for both sides: no window grows beyond what the protocol starts with.
pub(super) fn yamux_config() -> yamux::Config {
    // The guard counts what the container opens. Of the host's own, yamux may not have noticed yet that as many
    // again are gone.
    let most = MAX_STREAMS + 2 * (MAX_INWARD + 1);
    let mut config = yamux::Config::default();
    config.set_max_num_streams(most);
    config.set_max_connection_receive_window(Some(most * yamux::DEFAULT_CREDIT as usize));
    config
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The sandbox's side went away, or ours was told to.
    Closed,
    /// The sandbox broke a rule.
    Violation(Violation),
}

/// What the driver hands out.
pub struct Streams {
    /// The agent's standard streams, once they are open.
    pub agent: oneshot::Receiver<AgentIo>,
    /// HTTP connections.
    pub http: mpsc::Receiver<BoxedStream>,
    /// Connections to the host's proxy.
    pub net: mpsc::Receiver<BoxedStream>,
    /// The way in.
    pub inward: Inward,
}

/// Who takes the connections of one kind, and how many there may be.
struct Takers {
    streams: mpsc::Sender<BoxedStream>,
    permits: Arc<Semaphore>,
}

impl Takers {
    fn new(most: usize) -> (Self, mpsc::Receiver<BoxedStream>) {
        let (streams, taken) = mpsc::channel(most);
        let permits = Arc::new(Semaphore::new(most));
        (Self { streams, permits }, taken)
    }

    fn give(&self, stream: MuxStream) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            tracing::debug!("sandbox has too many connections, one is closed");
            return;
        };
        let stream = Counted::new(stream, permit);
        if self.streams.try_send(Box::new(stream)).is_err() {
            tracing::debug!("nobody takes connections of this sandbox, one is closed");
        }
    }
}

/// Moves the bytes of one sandbox. Nothing moves unless [`Driver::run`] does.
pub struct Driver<T> {
    connection: yamux::Connection<Compat<Guard<T>>>,
    verdict: Verdict,
    agent: Option<oneshot::Sender<AgentIo>>,
    http: Takers,
    net: Takers,
    stderr: Tail,
    tasks: JoinSet<Option<(Tag, MuxStream)>>,
    /// Streams that the host wants to open.
    inward: mpsc::Receiver<Open>,
}

type MuxStream = Compat<yamux::Stream>;

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// A driver over the attach stream `io`; `stderr` takes the agent's standard error.
    pub fn new(io: T, stderr: Tail) -> (Self, Streams) {
        let (guard, verdict) = Guard::new(io);
        let (agent_tx, agent) = oneshot::channel();
        let (to_http, http) = Takers::new(MAX_HTTP);
        let (to_net, net) = Takers::new(MAX_NET);
        let (way_in, inward) = Inward::new();
        let driver = Self {
            connection: yamux::Connection::new(guard.compat(), yamux_config(), yamux::Mode::Server),
            verdict,
            agent: Some(agent_tx),
            http: to_http,
            net: to_net,
            stderr,
            tasks: JoinSet::new(),
            inward,
        };
        let streams = Streams {
            agent,
            http,
            net,
            inward: way_in,
        };
        (driver, streams)
    }

    /// Runs until the sandbox's side ends, breaks a rule, or `closing` is cancelled. Bytes that
    /// arrived before can still be read from the streams afterwards.
    pub async fn run(mut self, closing: CancellationToken) -> End {
        let outcome = loop {
            tokio::select! {
                biased;
                // No goodbye: yamux forgets to wake its streams when it closes in good order.
                () = closing.cancelled() => break Ok(()),
                Some(done) = self.tasks.join_next() => {
                    if let Err(violation) = self.dispatch(done.ok().flatten()) {
                        break Err(violation);
                    }
                }
                inbound = poll_fn(|cx| self.connection.poll_next_inbound(cx)) => match inbound {
                    Some(Ok(stream)) => { self.tasks.spawn(identify(stream.compat())); }
                    Some(Err(error)) => break self.judge(&error),
                    None => break Ok(()),
                },
                // Last, so that yamux has seen which streams are gone.
                Some(open) = self.inward.recv() => self.open(open).await,
            }
        };
        // Nobody waits for a stream that will not be.
        drop(self.inward);
        let mut outcome = match self.verdict.get() {
            Some(violation) => Err(*violation),
            None => outcome,
        };
        // Closes what is still open, so that no task below waits for more than is buffered.
        drop(self.connection);
        while let Some(done) = self.tasks.join_next().await {
            let Some((tag, stream)) = done.ok().flatten() else {
                continue;
            };
            if outcome.is_ok() {
                outcome = deliver(
                    &mut self.tasks,
                    &mut self.agent,
                    (&self.http, &self.net),
                    &self.stderr,
                    tag,
                    stream,
                );
            }
        }
        match outcome {
            Ok(()) => End::Closed,
            Err(violation) => End::Violation(violation),
        }
    }

    /// Opens a stream for whoever asked, unless it cannot be had at once: nothing else moves meanwhile.
    async fn open(&mut self, reply: Open) {
        let opened = poll_fn(|cx| Poll::Ready(self.connection.poll_new_outbound(cx))).await;
        if let Poll::Ready(Ok(stream)) = opened {
            // Whoever asked may have gone; the stream is dropped then.
            drop(reply.send(stream));
        }
    }

    /// A killed container may end in the middle of a frame; only what it wrote itself is its fault.
    fn judge(&self, error: &yamux::ConnectionError) -> Result<(), Violation> {
        tracing::debug!(%error, "multiplexer ended");
        match error {
            yamux::ConnectionError::Decode(
                yamux::FrameDecodeError::Header(_) | yamux::FrameDecodeError::FrameTooLarge(_),
            ) => Err(Violation::BadFrame),
            _ => Ok(()),
        }
    }

    fn dispatch(&mut self, done: Option<(Tag, MuxStream)>) -> Result<(), Violation> {
        let Some((tag, stream)) = done else {
            return Ok(());
        };
        deliver(
            &mut self.tasks,
            &mut self.agent,
            (&self.http, &self.net),
            &self.stderr,
            tag,
            stream,
        )
    }
}

/// Gives a stream to whoever waits for its kind; one that nobody takes is dropped, which resets it.
fn deliver(
    tasks: &mut JoinSet<Option<(Tag, MuxStream)>>,
    agent: &mut Option<oneshot::Sender<AgentIo>>,
    (http, net): (&Takers, &Takers),
    stderr: &Tail,
    tag: Tag,
    stream: MuxStream,
) -> Result<(), Violation> {
    match tag {
        Tag::Stdio => {
            let waiting = agent.take().ok_or(Violation::DuplicateAgent)?;
            // Nobody waits when the start was given up; the supervisor ends the sandbox then.
            let _ = waiting.send(Box::new(Duplex::new(stream)));
        }
        Tag::Stderr => {
            let tail = stderr.clone();
            tasks.spawn(async move {
                drain(stream, &tail).await;
                None
            });
        }
        Tag::Http => http.give(stream),
        Tag::Net => net.give(stream),
    }
    Ok(())
}

/// Reads a stream's tag. `None` closes it.
async fn identify(mut stream: MuxStream) -> Option<(Tag, MuxStream)> {
    let byte = tokio::time::timeout(TAG_TIMEOUT, stream.read_u8())
        .await
        .ok()?
        .ok()?;
    let tag = Tag::from_byte(byte)?;
    Some((tag, stream))
}

async fn drain(mut stream: MuxStream, tail: &Tail) {
    let mut buf = vec![0; 4096];
    while let Ok(n) = stream.read(&mut buf).await {
        if n == 0 {
            break;
        }
        tail.push(&buf[..n]);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Random enough for a test, and the same each time.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % sides
        }
    }

    /// A frame as a hostile sandbox may write it.
    fn frame(kind: u8, flags: u16, stream: u32, length: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, kind];
        bytes.extend(flags.to_be_bytes());
        bytes.extend(stream.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// Feeds `bytes` to a host whose streams nobody reads, and returns how it ended.
    async fn feed(bytes: Vec<u8>) -> End {
        let (ours, theirs) = duplex(64 * 1024);
        let (driver, _streams) = Driver::new(ours, Tail::default());
        let (mut from_host, mut to_host) = tokio::io::split(theirs);
        let mut both = JoinSet::new();
        both.spawn(async move {
            // The host may hang up before it has read everything.
            let _ = to_host.write_all(&bytes).await;
            let _ = to_host.shutdown().await;
        });
        both.spawn(async move {
            let _ = tokio::io::copy(&mut from_host, &mut tokio::io::sink()).await;
        });
        let run = tokio::spawn(driver.run(CancellationToken::new()));
        tokio::time::timeout(Duration::from_secs(15), run)
            .await
            .expect("the host ends")
            .expect("the host does not panic")
    }

    #[tokio::test]
    async fn random_bytes_end_the_connection_and_nothing_else() {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for _ in 0..300 {
            let len = dice.roll(2000) as usize;
            let bytes = (0..len).map(|_| dice.roll(256) as u8).collect();
            feed(bytes).await;
        }
    }

    #[tokio::test]
    async fn random_frames_end_the_connection_and_nothing_else() {
        let mut dice = Dice(0x2545_f491_4f6c_dd1d);
        let mut violations = 0;
        for _ in 0..400 {
            let mut bytes = Vec::new();
            for _ in 0..dice.roll(60) {
                let kind = dice.roll(4) as u8;
                // Mostly plain, so that a run gets deep before it is refused.
                let flags = [0, 0, 1, 1, 2, 4, 8, 5][dice.roll(8) as usize];
                let stream = dice.roll(12) as u32;
                let length = match dice.roll(40) {
                    0 => u32::MAX,
                    1 => 300_000,
                    _ => dice.roll(50) as u32,
                };
                let body = if kind == 0 && length < 50 {
                    (0..length).map(|_| dice.roll(5) as u8).collect()
                } else {
                    Vec::new()
                };
                bytes.extend(frame(kind, flags, stream, length, &body));
            }
            violations += usize::from(matches!(feed(bytes).await, End::Violation(_)));
        }
        assert!(violations > 50, "{violations}");
    }

    #[tokio::test]
    async fn what_would_overflow_in_yamux_is_a_violation() {
        let end = feed(frame(1, 1, 1, u32::MAX, b"")).await;
        assert_eq!(end, End::Violation(Violation::Oversized));
    }

    #[tokio::test]
    async fn a_window_overrun_is_a_violation() {
        let body = vec![9; 16 * 1024];
        let mut bytes = frame(0, 1, 1, 1, &[Tag::Http as u8]);
        for _ in 0..40 {
            bytes.extend(frame(0, 0, 1, body.len() as u32, &body));
        }
        assert_eq!(feed(bytes).await, End::Violation(Violation::FlowControl));
    }

    #[tokio::test]
    async fn a_second_agent_is_a_violation() {
        let mut bytes = frame(0, 1, 1, 1, &[Tag::Stdio as u8]);
        bytes.extend(frame(0, 1, 3, 1, &[Tag::Stdio as u8]));
        let end = feed(bytes).await;
        assert_eq!(end, End::Violation(Violation::DuplicateAgent));
    }

    #[tokio::test]
    async fn more_streams_than_there_are_places_are_a_violation() {
        let bytes = (0..140)
            .flat_map(|i| frame(0, 1, 2 * i + 1, 0, b""))
            .collect();
        let end = feed(bytes).await;
        assert_eq!(end, End::Violation(Violation::TooManyStreams));
    }

    #[tokio::test]
    async fn an_unknown_tag_closes_its_stream_only() {
        let mut bytes = frame(0, 1, 1, 1, &[77]);
        bytes.extend(frame(0, 1, 3, 1, &[Tag::Http as u8]));
        let (ours, mut theirs) = duplex(64 * 1024);
        let (driver, mut streams) = Driver::new(ours, Tail::default());
        let closing = CancellationToken::new();
        let run = tokio::spawn(driver.run(closing.clone()));
        theirs.write_all(&bytes).await.unwrap();
        let http = streams.http.recv().await;
        assert!(http.is_some());
        let reset = read_frame(&mut theirs).await;
        assert_eq!((reset[1], reset[3] & 8, reset[7]), (0, 8, 1));
        closing.cancel();
        assert_eq!(run.await.unwrap(), End::Closed);
    }

    /// The next frame that is not a ping.
    async fn read_frame(from: &mut DuplexStream) -> [u8; 12] {
        let mut header = [0; 12];
        loop {
            from.read_exact(&mut header).await.unwrap();
            if header[1] != 2 {
                return header;
            }
        }
    }

    #[tokio::test]
    async fn connections_beyond_the_cap_are_reset() {
        let (ours, mut theirs) = duplex(64 * 1024);
        let (driver, mut streams) = Driver::new(ours, Tail::default());
        let closing = CancellationToken::new();
        let run = tokio::spawn(driver.run(closing.clone()));
        for i in 0..MAX_HTTP as u32 + 1 {
            let open = frame(0, 1, 2 * i + 1, 1, &[Tag::Http as u8]);
            theirs.write_all(&open).await.unwrap();
        }
        let reset = read_frame(&mut theirs).await;
        assert_eq!(reset[3] & 8, 8);
        let mut waiting = 0;
        while streams.http.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, MAX_HTTP);
        closing.cancel();
        run.await.unwrap();
    }

    #[tokio::test]
    async fn bytes_that_came_before_the_end_can_still_be_read() {
        let mut bytes = frame(
            0,
            1,
            1,
            6,
            &[Tag::Stdio as u8, b'h', b'e', b'l', b'l', b'o'],
        );
        let stderr = [&[Tag::Stderr as u8][..], b"why"].concat();
        bytes.extend(frame(0, 1, 3, 4, &stderr));
        let (ours, mut theirs) = duplex(64 * 1024);
        let tail = Tail::default();
        let (driver, streams) = Driver::new(ours, tail.clone());
        theirs.write_all(&bytes).await.unwrap();
        drop(theirs);
        assert_eq!(driver.run(CancellationToken::new()).await, End::Closed);
        let mut text = String::new();
        let mut agent = streams.agent.await.unwrap();
        agent.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), tail.text().as_str()), ("hello", "why"));
    }
}
