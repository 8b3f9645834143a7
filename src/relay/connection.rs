//! One WebSocket: reads frames, answers, and hands events to the writer.
//!
//! tungstenite only reads; what it wants to write (pongs, the answer to a close) goes into the connection's
//! outbox like everything else.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use nostr::{Event, EventId, JsonUtil, Timestamp};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, tcp::OwnedReadHalf},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Rejection, Shared,
    client::Client,
    ingest::{Accepted, Examined, Origin, Reply},
    negotiation::Negotiator,
    outbox::Outbox,
    rate::Patience,
    rights::{Reached, Rights},
    subscription::Reader,
};
use crate::nips::{
    nip01::{self, ClientMessage, MessageError, write},
    nip42, nip77,
};

/// Frames and bytes that are read before they are answered.
const RUN: usize = 128;
const RUN_BYTES: usize = 1 << 20;
/// Events that one task verifies.
const CHUNK: usize = 8;
/// How long a closed connection may take to read what is left.
const GRACE: Duration = Duration::from_secs(10);

/// The read half of the socket; writes go into the outbox.
struct ReadSide {
    half: OwnedReadHalf,
    client: Arc<Client>,
}

impl AsyncRead for ReadSide {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_read(cx, buf)
    }
}

impl AsyncWrite for ReadSide {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.client.outbox.raw(buf);
        self.client.outbox.flush();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What an event's frame turned out to be, or whose it was and why it is refused.
type Outcome = Result<Examined, (Option<EventId>, Rejection)>;

struct Connection {
    shared: Arc<Shared>,
    client: Arc<Client>,
    reader: Reader,
    patience: Patience,
    negotiator: Negotiator,
}

/// Serves an upgraded connection until it ends or the relay stops.
pub(super) async fn run(
    shared: Arc<Shared>,
    stream: TcpStream,
    already_read: Bytes,
    reached: Reached,
) {
    let (read, write) = stream.into_split();
    let challenge = match challenge() {
        Ok(challenge) => challenge,
        Err(error) => {
            tracing::error!(%error, "no randomness for a challenge");
            return;
        }
    };
    let client = Arc::new(Client::new(
        shared.next_client(),
        Outbox::new(write, shared.config.max_outbox_bytes),
        Rights::new(
            reached,
            Arc::clone(&shared.admission),
            shared.config.read == super::Read::Open,
        ),
        challenge,
    ));
    let limits = WebSocketConfig::default()
        .max_message_size(Some(shared.config.max_frame_bytes))
        .max_frame_size(Some(shared.config.max_frame_bytes))
        .read_buffer_size(16 << 10);
    let side = ReadSide {
        half: read,
        client: Arc::clone(&client),
    };
    let mut frames = WebSocketStream::from_partially_read(
        side,
        already_read.to_vec(),
        Role::Server,
        Some(limits),
    )
    .await;
    client.send(&write::auth(&client.challenge));
    let mut connection = Connection {
        shared: Arc::clone(&shared),
        client: Arc::clone(&client),
        reader: Reader::new(Arc::clone(&shared), Arc::clone(&client)),
        patience: Patience::new(&shared.config),
        negotiator: Negotiator::new(Arc::clone(&shared), Arc::clone(&client)),
    };
    tokio::select! {
        () = connection.read(&mut frames) => {}
        () = client.outbox.drive() => {}
        () = client.outbox.closed().cancelled() => {}
        () = shared.stop.cancelled() => client.outbox.close(1001, "the relay is stopping"),
    }
    shared.hub.leave(client.id);
    // Answers the client's own close; nothing happens when ours went out already.
    client.outbox.close(1000, "");
    client.outbox.drain(GRACE).await;
}

fn challenge() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn now() -> u64 {
    Timestamp::now().as_secs()
}

impl Connection {
    async fn read(&mut self, frames: &mut WebSocketStream<ReadSide>) {
        let idle = Duration::from_secs(self.shared.config.idle_timeout_s.max(2));
        let mut heard = Instant::now();
        let mut ticks = tokio::time::interval(idle / 2);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let first = tokio::select! {
                frame = frames.next() => frame,
                _ = ticks.tick() => {
                    if heard.elapsed() >= idle {
                        self.client.outbox.close(1001, "no sign of life");
                        return;
                    }
                    if heard.elapsed() >= idle / 2 {
                        self.client.outbox.ping();
                        self.client.outbox.flush();
                    }
                    continue;
                }
            };
            heard = Instant::now();
            let mut run = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            let mut end = false;
            while let Some(frame) = next.take() {
                match frame {
                    Some(Ok(Message::Close(_))) | None => end = true,
                    Some(Ok(frame)) => {
                        bytes += frame.len();
                        run.push(frame);
                        if run.len() < RUN && bytes < RUN_BYTES {
                            next = frames.next().now_or_never();
                        }
                    }
                    Some(Err(error)) => {
                        self.broken(&error);
                        end = true;
                    }
                }
            }
            self.answer(run).await;
            if end {
                return;
            }
        }
    }

    fn broken(&self, error: &tungstenite::Error) {
        match error {
            tungstenite::Error::Capacity(_) => {
                let most = self.shared.config.max_frame_bytes;
                self.client.outbox.text(&[write::notice(&format!(
                    "invalid: a frame has at most {most} bytes"
                ))
                .as_bytes()]);
                self.client.outbox.close(1009, "frame too large");
            }
            tungstenite::Error::Utf8(_) => self.client.outbox.close(1007, "not UTF-8"),
            tungstenite::Error::Protocol(_) => {
                self.client.outbox.close(1002, "not a WebSocket frame");
            }
            _ => {}
        }
    }

    /// Answers a run of frames in order; neighbouring events are verified together.
    async fn answer(&mut self, mut run: Vec<Message>) {
        let mut events = Vec::new();
        let reached = &self.client.rights.reached;
        let granted = self.shared.rates.messages(reached, run.len());
        let refused = run.split_off(granted);
        for frame in run {
            match frame {
                Message::Text(text) if is_event(&text) => events.push(text),
                Message::Text(text) => {
                    self.events(std::mem::take(&mut events)).await;
                    self.message(&text).await;
                }
                Message::Binary(_) => {
                    self.events(std::mem::take(&mut events)).await;
                    self.notice("invalid: binary frames are not understood");
                }
                _ => {}
            }
        }
        self.events(events).await;
        if !refused.is_empty() {
            self.slow_down(refused).await;
        }
    }

    /// Refuses what came too fast, and reads nothing for a while.
    async fn slow_down(&mut self, refused: Vec<Message>) {
        let (rejection, wait) =
            (self.shared.rates).too_fast(&self.client.rights.reached, refused.len());
        let wire = rejection.to_wire();
        for frame in refused {
            let Message::Text(text) = frame else {
                continue;
            };
            let answer = match ClientMessage::parse(&text) {
                Ok(ClientMessage::Event(raw) | ClientMessage::Auth(raw)) => {
                    nip01::claimed_id(raw.get()).map(|id| write::ok(&id, false, &wire))
                }
                Ok(
                    ClientMessage::Req { subscription, .. }
                    | ClientMessage::Count { subscription, .. },
                ) => {
                    self.shared.hub.close(&self.client, &subscription);
                    Some(write::closed(&subscription, &wire))
                }
                // Costs nothing, and leaves less to do.
                Ok(ClientMessage::Close(subscription)) => {
                    self.shared.hub.close(&self.client, &subscription);
                    continue;
                }
                Ok(ClientMessage::Negentropy(message)) => {
                    match message {
                        nip77::Message::Open { subscription, .. }
                        | nip77::Message::Message { subscription, .. } => {
                            self.negotiator.refuse(&subscription, &rejection);
                        }
                        close @ nip77::Message::Close(_) => self.negotiator.hear(close),
                    }
                    continue;
                }
                Err(_) => None,
            };
            let answer = answer.unwrap_or_else(|| write::notice(&wire));
            self.client.outbox.text(&[answer.as_bytes()]);
        }
        self.client.outbox.flush();
        tokio::time::sleep(wait).await;
    }

    fn notice(&self, text: &str) {
        self.client.send(&write::notice(text));
    }

    async fn events(&mut self, mut texts: Vec<Utf8Bytes>) {
        match texts.len() {
            0 => {}
            1 => {
                let mut in_flight = self.shared.ingest.announce(1);
                if let Some(text) = texts.pop() {
                    let examined = examine(&self.shared, &self.client, &text);
                    in_flight.done();
                    self.submit(examined).await;
                }
            }
            count => {
                let mut in_flight = self.shared.ingest.announce(count);
                let chunks: Vec<_> = texts
                    .chunks(CHUNK)
                    .map(|chunk| {
                        let (shared, client) = (Arc::clone(&self.shared), Arc::clone(&self.client));
                        let chunk = chunk.to_vec();
                        AbortOnDropHandle::new(tokio::spawn(async move {
                            chunk
                                .iter()
                                .map(|text| examine(&shared, &client, text))
                                .collect::<Vec<_>>()
                        }))
                    })
                    .collect();
                for chunk in chunks {
                    // A panic while verifying would end the connection's task, too.
                    for examined in chunk.await.unwrap_or_default() {
                        in_flight.done();
                        self.submit(examined).await;
                    }
                }
            }
        }
    }

    async fn submit(&mut self, outcome: Outcome) {
        let (id, refused) = match outcome {
            Ok(Examined::New(admitted)) => {
                let event = &admitted.record.event;
                let id = event.id;
                let fits = self
                    .shared
                    .rates
                    .author(&self.client.rights.reached, &event.pubkey);
                let reply = Reply::Client(Arc::clone(&self.client));
                let submitted = match fits {
                    Ok(()) => self.shared.ingest.submit(*admitted, reply).await,
                    Err(rejection) => Err(rejection),
                };
                match submitted {
                    Ok(()) => return,
                    Err(rejection) => (Some(id), rejection),
                }
            }
            Ok(Examined::Known(id)) => {
                let message = Accepted::Duplicate.message();
                self.client.send(&write::ok(&id, true, message));
                return;
            }
            Err(refused) => refused,
        };
        match id {
            Some(id) => self.client.send(&write::ok(&id, false, &refused.to_wire())),
            None => self.notice(&refused.to_wire()),
        }
        if matches!(refused, Rejection::Id | Rejection::Signature) && !self.patience.another() {
            let why = Rejection::WrongSignatures.to_wire();
            self.notice(&why);
            self.client.outbox.close(1008, &why);
        }
    }

    async fn message(&mut self, text: &str) {
        let most = self.shared.config.max_message_bytes;
        if text.len() > most {
            self.notice(&Rejection::TooLong(most).to_wire());
            return;
        }
        match ClientMessage::parse(text) {
            // `is_event` did not know it by its first bytes.
            Ok(ClientMessage::Event(_)) => {
                let examined = examine(&self.shared, &self.client, text);
                self.submit(examined).await;
            }
            Ok(ClientMessage::Req {
                subscription,
                filters,
            }) => self.reader.subscribe(subscription, filters).await,
            Ok(ClientMessage::Count {
                subscription,
                filters,
            }) => self.reader.count(subscription, filters).await,
            Ok(ClientMessage::Close(subscription)) => {
                self.shared.hub.close(&self.client, &subscription);
            }
            Ok(ClientMessage::Auth(raw)) => self.authenticate(raw.get()),
            Ok(ClientMessage::Negentropy(message)) => self.negotiator.hear(message),
            Err(MessageError::Negentropy(error)) => match error.subscription() {
                Some(name) => self
                    .negotiator
                    .refuse(name, &Rejection::Negentropy(error.to_string())),
                None => self.notice(&format!("invalid: {error}")),
            },
            Err(MessageError::Filter {
                subscription,
                source,
            }) => self
                .reader
                .refuse(&subscription, &Rejection::Filter(source.to_string())),
            Err(error) => self.notice(&format!("invalid: {error}")),
        }
    }

    fn authenticate(&self, json: &str) {
        let Ok(event) = Event::from_json(json) else {
            let rejection = Rejection::Malformed("AUTH needs a signed event".to_owned());
            match nip01::claimed_id(json) {
                Some(id) => self
                    .client
                    .send(&write::ok(&id, false, &rejection.to_wire())),
                None => self.notice(&rejection.to_wire()),
            }
            return;
        };
        let reached = &self.client.rights.reached;
        let local = reached.local.to_string();
        let result = nip42::check(
            &event,
            &self.client.challenge,
            &[&reached.host, &local],
            now(),
        )
        .and_then(|()| match nip42::is_for_localhost(&event) {
            // Another program may be there, and pass on what was signed for it.
            true if !self.shared.is_localhost(reached) => Err(nip42::AuthError::Relay),
            _ => Ok(()),
        })
        .map_err(Rejection::from)
        .and_then(|()| self.shared.ingest.verify(&event))
        .and_then(|()| self.client.rights.authenticated(event.pubkey));
        let (accepted, message) = match result {
            Ok(()) => (true, String::new()),
            Err(rejection) => (false, rejection.to_wire()),
        };
        self.client.send(&write::ok(&event.id, accepted, &message));
    }
}

/// Whether a frame is an event, by its first bytes; unusual spacing is left to the parser.
fn is_event(text: &str) -> bool {
    text.starts_with(r#"["EVENT""#)
}

/// Runs off the connection's task for runs of events.
fn examine(shared: &Shared, client: &Client, text: &str) -> Outcome {
    let malformed = |reason: String| (None, Rejection::Malformed(reason));
    let json = match ClientMessage::parse(text) {
        Ok(ClientMessage::Event(raw)) => raw.get(),
        Ok(_) => return Err(malformed("not an EVENT".to_owned())),
        Err(error) => return Err(malformed(error.to_string())),
    };
    shared
        .ingest
        .examine_json(json, Origin::Client(&client.rights), now())
}
