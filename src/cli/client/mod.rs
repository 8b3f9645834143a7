//! A Nostr client for the treefort of a home, over loopback.
//!
//! [`Client`] is one WebSocket connection owned by one command: no task runs behind it, so nothing is
//! buffered beyond what arrives while the command waits for an answer, and that is bounded. Before the
//! connection is used, [`prove`] makes sure that the program behind the port is the treefort of the home.
//! The id and signature of every event are verified before anybody sees it.

mod error;
mod open;
mod proof;

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use nostr::{
    Event, EventId, Filter, JsonUtil as _, Keys, RelayMessage, SubscriptionId, Timestamp,
    message::ClientMessage,
};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use self::open::Open;
pub use self::{
    error::{Error, Refused},
    proof::{Relay, prove},
};

/// How long the relay may take for one answer.
const ANSWER: Duration = Duration::from_secs(20);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// What may arrive for subscriptions while the command waits for another answer.
const MAX_WAITING: usize = 100_000;
/// No message of the relay is longer.
const MAX_MESSAGE: usize = 16 << 20;

/// What a subscription yields.
#[derive(Debug, Clone)]
pub enum Update {
    /// An event, verified.
    Event(Box<Event>),
    /// All that was stored has been sent; what follows is live.
    Live,
}

/// What the relay said that concerns a request of ours.
enum Heard {
    Update(SubscriptionId, Update),
    /// An event that does not verify; nobody sees it, but it took its place in the answer.
    Forged(SubscriptionId, Timestamp),
    Accepted(EventId, Result<(), Refused>),
    Ended(SubscriptionId, Refused),
    Count(SubscriptionId, usize),
}

/// One answer of the relay.
#[derive(Default)]
struct Page {
    /// The events that verify.
    events: Vec<Event>,
    /// How many the relay sent, and the oldest time among them.
    received: usize,
    oldest: Option<Timestamp>,
}

impl Page {
    fn count(&mut self, at: Timestamp) {
        self.received += 1;
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
    }
}

/// One connection.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    relay: Relay,
    open: Open,
    /// What subscriptions yielded, or why they ended, while something else was awaited.
    waiting: VecDeque<(SubscriptionId, Result<Update, Refused>)>,
    next_id: u64,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("relay", &self.relay)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to a relay that [`prove`] returned. With keys, challenges (NIP-42) are answered.
    ///
    /// # Errors
    /// When the connection cannot be made in time.
    pub async fn connect(relay: Relay, keys: Option<Keys>) -> Result<Self, Error> {
        let address = relay.address;
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let config = WebSocketConfig::default()
                .max_message_size(Some(MAX_MESSAGE))
                .max_frame_size(Some(MAX_MESSAGE));
            tokio_tungstenite::client_async_with_config(relay.url(), stream, Some(config)).await
        };
        let (socket, _) = tokio::time::timeout(CONNECT, connect)
            .await
            .map_err(|_| Error::Silent)?
            .map_err(|source| Error::Connect { address, source })?;
        Ok(Self {
            socket,
            relay,
            open: Open::new(keys),
            waiting: VecDeque::new(),
            next_id: 0,
        })
    }

    /// The relay behind the connection.
    #[must_use]
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Publishes an event; returns when it is stored.
    ///
    /// # Errors
    /// [`Error::Refused`] with the relay's words, or when the connection is gone.
    pub async fn publish(&mut self, event: &Event) -> Result<(), Error> {
        for attempt in 0..2 {
            self.send(&ClientMessage::event(event.clone())).await?;
            match self.answer(event.id).await? {
                Ok(()) => return Ok(()),
                Err(refused) if attempt == 0 && refused.wants_auth() && self.open.has_keys() => {
                    self.authenticate().await?;
                }
                Err(refused) => return Err(refused.into()),
            }
        }
        Err(Error::Silent)
    }

    /// All stored events that match, newest first, however many answers that takes.
    ///
    /// # Errors
    /// When the relay refuses, breaks off, or one second holds more events than one answer.
    pub async fn query(&mut self, filter: Filter) -> Result<Vec<Event>, Error> {
        let page_size = self.relay.max_limit;
        let mut seen = HashSet::new();
        let mut events = Vec::new();
        let mut until: Option<Timestamp> = filter.until;
        loop {
            let mut page_filter = filter.clone().limit(page_size);
            if let Some(until) = until {
                page_filter = page_filter.until(until);
            }
            let page = self.page(vec![page_filter]).await?;
            let (full, oldest) = (page.received >= page_size, page.oldest);
            events.extend(
                page.events
                    .into_iter()
                    .filter(|event| seen.insert(event.id)),
            );
            match oldest {
                Some(oldest) if full => {
                    if until == Some(oldest) {
                        return Err(Error::TooDense { limit: page_size });
                    }
                    until = Some(oldest);
                }
                _ => break,
            }
        }
        events.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
        Ok(events)
    }

    /// The newest stored events that match, at most `limit`, newest first.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn newest(&mut self, filter: Filter, limit: usize) -> Result<Vec<Event>, Error> {
        let limit = limit.min(self.relay.max_limit);
        let mut events = self.page(vec![filter.limit(limit)]).await?.events;
        events.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
        Ok(events)
    }

    /// How many stored events match (NIP-45).
    ///
    /// # Errors
    /// When the relay refuses or breaks off.
    pub async fn count(&mut self, filter: Filter) -> Result<usize, Error> {
        let id = self.new_id();
        let count = ClientMessage::count(id.clone(), filter);
        self.open.ask(id.clone(), &count);
        self.pay().await?;
        loop {
            match self.hear_in_time().await? {
                Heard::Count(of, count) if of == id => {
                    self.open.done(&id);
                    return Ok(count);
                }
                Heard::Ended(of, refused) if of == id => return Err(refused.into()),
                other => self.keep(other)?,
            }
        }
    }

    /// Opens a subscription; what it yields comes from [`Client::next`].
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn subscribe(&mut self, filters: Vec<Filter>) -> Result<SubscriptionId, Error> {
        let id = self.new_id();
        let request = ClientMessage::req(id.clone(), filters);
        self.open.ask(id.clone(), &request);
        self.pay().await?;
        Ok(id)
    }

    /// The next update of any subscription. Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// When the relay ends a subscription, or the connection is gone.
    pub async fn next(&mut self) -> Result<(SubscriptionId, Update), Error> {
        if let Some((id, update)) = self.waiting.pop_front() {
            return Ok((id, update?));
        }
        loop {
            match self.hear().await? {
                Heard::Update(id, update) => return Ok((id, update)),
                Heard::Ended(_, refused) => return Err(refused.into()),
                Heard::Forged(..) | Heard::Accepted(..) | Heard::Count(..) => {}
            }
        }
    }

    /// Closes the connection.
    pub async fn close(mut self) {
        // The relay ends the connection too when this does not reach it.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.socket.close(None)).await;
    }

    async fn page(&mut self, filters: Vec<Filter>) -> Result<Page, Error> {
        let mut page = Page::default();
        let id = self.subscribe(filters).await?;
        loop {
            match self.hear_in_time().await? {
                Heard::Update(of, Update::Event(event)) if of == id => {
                    if page.received >= MAX_WAITING {
                        return Err(Error::Flooded);
                    }
                    page.count(event.created_at);
                    page.events.push(*event);
                }
                Heard::Forged(of, at) if of == id => page.count(at),
                Heard::Update(of, Update::Live) if of == id => break,
                Heard::Ended(of, refused) if of == id => return Err(refused.into()),
                other => self.keep(other)?,
            }
        }
        self.open.done(&id);
        self.send(&ClientMessage::close(id)).await?;
        Ok(page)
    }

    async fn answer(&mut self, event: EventId) -> Result<Result<(), Refused>, Error> {
        loop {
            match self.hear_in_time().await? {
                Heard::Accepted(of, answer) if of == event => return Ok(answer),
                other => self.keep(other)?,
            }
        }
    }

    /// Waits until our key is proved.
    async fn authenticate(&mut self) -> Result<(), Error> {
        loop {
            if let Some(proved) = self.open.is_proved() {
                return Ok(proved?);
            }
            let heard = self.hear_in_time().await?;
            self.keep(heard)?;
        }
    }

    fn keep(&mut self, heard: Heard) -> Result<(), Error> {
        let (id, update) = match heard {
            Heard::Update(id, update) => (id, Ok(update)),
            Heard::Ended(id, refused) => (id, Err(refused)),
            // Answers to what nobody waits for any more.
            Heard::Forged(..) | Heard::Accepted(..) | Heard::Count(..) => return Ok(()),
        };
        if self.waiting.len() >= MAX_WAITING {
            return Err(Error::Flooded);
        }
        self.waiting.push_back((id, update));
        Ok(())
    }

    async fn hear_in_time(&mut self) -> Result<Heard, Error> {
        tokio::time::timeout(ANSWER, self.hear())
            .await
            .map_err(|_| Error::Silent)?
    }

    async fn hear(&mut self) -> Result<Heard, Error> {
        loop {
            self.pay().await?;
            if let Some((id, refused)) = self.open.ended.pop_front() {
                return Ok(Heard::Ended(id, refused));
            }
            let text = match self.socket.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(frame))) => return Err(closed(frame.as_ref())),
                Some(Ok(_)) => continue,
                Some(Err(error)) if is_end(&error) => return Err(Error::Stopped),
                Some(Err(error)) => return Err(Error::Broken(error)),
                None => return Err(Error::Stopped),
            };
            match RelayMessage::from_json(text.as_str()) {
                Ok(RelayMessage::Event {
                    subscription_id,
                    event,
                }) => {
                    if event.verify().is_err() {
                        tracing::warn!(id = %event.id, "dropped an event that does not verify");
                        return Ok(Heard::Forged(
                            subscription_id.into_owned(),
                            event.created_at,
                        ));
                    }
                    let event = Box::new(event.into_owned());
                    return Ok(Heard::Update(
                        subscription_id.into_owned(),
                        Update::Event(event),
                    ));
                }
                Ok(RelayMessage::EndOfStoredEvents(id)) => {
                    return Ok(Heard::Update(id.into_owned(), Update::Live));
                }
                Ok(RelayMessage::Ok {
                    event_id,
                    status,
                    message,
                }) => {
                    let answer = if status {
                        Ok(())
                    } else {
                        Err(Refused::new(&message))
                    };
                    self.open.answered(event_id, &answer);
                    return Ok(Heard::Accepted(event_id, answer));
                }
                Ok(RelayMessage::Closed {
                    subscription_id,
                    message,
                }) => {
                    self.open
                        .closed(subscription_id.into_owned(), Refused::new(&message));
                }
                Ok(RelayMessage::Count {
                    subscription_id,
                    count,
                }) => return Ok(Heard::Count(subscription_id.into_owned(), count)),
                Ok(RelayMessage::Auth { challenge }) => {
                    self.open.challenged(&challenge, &self.relay.url())?;
                }
                Ok(RelayMessage::Notice(notice)) => {
                    tracing::info!(notice = %super::text::one_line(&notice), "treefort notes");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "treefort said something that is no message"),
            }
        }
    }

    async fn send(&mut self, message: &ClientMessage<'_>) -> Result<(), Error> {
        self.open.owed.push_back(message.as_json());
        self.pay().await
    }

    /// Sends what is owed to the relay. When the wait is cancelled, what is left is sent later.
    async fn pay(&mut self) -> Result<(), Error> {
        let failed = |error| match is_end(&error) {
            true => Error::Stopped,
            false => Error::Broken(error),
        };
        if self.open.owed.is_empty() {
            return Ok(());
        }
        while let Some(text) = self.open.owed.front() {
            let message = Message::text(text.clone());
            self.socket.feed(message).await.map_err(failed)?;
            self.open.owed.pop_front();
        }
        self.socket.flush().await.map_err(failed)
    }

    fn new_id(&mut self) -> SubscriptionId {
        self.next_id += 1;
        SubscriptionId::new(format!("cli-{}", self.next_id))
    }
}

/// What a close of the relay's means: it stops, or it has a reason to close this connection alone.
fn closed(frame: Option<&CloseFrame>) -> Error {
    let reason = frame.map(|frame| super::text::one_line(&frame.reason));
    match (frame.map(|frame| frame.code), reason) {
        (Some(CloseCode::Away), Some(reason)) if reason.ends_with("is stopping") => Error::Stopped,
        (_, Some(reason)) if !reason.is_empty() => Error::Closed(reason),
        _ => Error::Stopped,
    }
}

/// Whether the other side went away without a word, as a program that is killed does.
fn is_end(error: &tungstenite::Error) -> bool {
    use tungstenite::error::{Error as Socket, ProtocolError};
    match error {
        Socket::ConnectionClosed
        | Socket::AlreadyClosed
        | Socket::Protocol(ProtocolError::ResetWithoutClosingHandshake) => true,
        Socket::Io(error) => matches!(
            error.kind(),
            std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::ConnectionAborted
                | std::io::ErrorKind::BrokenPipe
                | std::io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
