//! `GET /events/stream`: what comes, as server-sent events that a reader can go on with after any of them.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>
//!
//! Every `id:` is a sequence number of the log up to which the reader has everything that matches. Who comes with one is
//! given what the log has after it, page by page, and then what its [`Tap`] takes, which is filled from one number of
//! the log on: so nothing is missed or sent twice.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use nostr::{Filter, JsonUtil as _, Timestamp};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Asker, Line,
    answer::{Refusal, Reply},
    ask,
    read::may_ask,
};
use crate::{
    nips::{nip01, nip40},
    relay::{
        Error, Rejection, Shared,
        origin::single,
        tap::{Live, Pace, Tap, TooSlow},
    },
};

/// The longest silence: what lies between us and the reader may end a connection that says nothing.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Rows of the log that are looked at together, and bytes that are sent of them.
const BATCH: usize = 256;
const PAGE: usize = 256 << 10;
/// Milliseconds after which a browser asks again.
const RETRY: &str = "retry: 3000\n";

/// Where a stream is.
enum Phase {
    /// Nothing was sent yet.
    Begin,
    /// In the log; with the tap open, up to a number.
    Log { up_to: Option<u64> },
    /// At what comes.
    Live,
    /// Its reader was told why.
    Ended,
}

struct Stream {
    shared: Arc<Shared>,
    tap: Arc<Tap>,
    filters: Vec<Filter>,
    /// The reader has everything up to here.
    cursor: u64,
    phase: Phase,
    /// Ephemeral events of the last minute, for who comes anew.
    missed: Vec<Live>,
    heartbeat: Duration,
    pace: Arc<Pace>,
    _places: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.hub.leave(self.tap.id);
    }
}

pub(super) fn answer(
    shared: &Arc<Shared>,
    line: &Line,
    asker: Asker,
    request: &Request<Incoming>,
) -> Result<Reply, Refusal> {
    let asked = ask::read(request.uri(), true)?;
    may_ask(shared, &asker, &asked.filters)?;
    let headers = request.headers();
    let last = HeaderName::from_static("last-event-id");
    // What the reader saw last is newer than what its address says.
    let after = match headers.contains_key(&last) {
        true => {
            let id = single(headers, last).unwrap_or_default();
            Some(ask::number("Last-Event-ID", id)?)
        }
        false => asked.after,
    };
    let stored = shared.store.last_seq();
    if after.is_some_and(|after| after > stored) {
        // Waiting until the log is there would pass over what comes before.
        return Err(Rejection::Ahead(stored).into());
    }
    let most = shared.config.max_streams;
    let place = Arc::clone(&shared.streams).try_acquire_owned();
    let place = place.map_err(|_| Rejection::TooManyStreams(most))?;
    let tap = Arc::new(Tap::new(
        shared.next_client(),
        asker.rights,
        shared.config.max_outbox_bytes,
        Arc::clone(&line.pace),
    ));
    let idle = Duration::from_secs(shared.config.idle_timeout_s.max(2));
    let mut stream = Stream {
        shared: Arc::clone(shared),
        filters: asked.filters,
        tap,
        cursor: after.unwrap_or_default(),
        phase: Phase::Begin,
        missed: Vec::new(),
        heartbeat: HEARTBEAT.min(idle / 2),
        pace: Arc::clone(&line.pace),
        _places: (place, asker.place),
    };
    if after.is_none() {
        // What comes from the answer on is in the tap.
        let begun = stream.open();
        stream.cursor = begun;
    }
    let resumed = after.is_some();
    let body = stream::unfold((stream, resumed), |(mut stream, resumed)| async move {
        let page = stream.next(resumed).await?;
        Some((Ok::<_, Error>(Frame::data(page)), (stream, resumed)))
    });
    let mut reply = Response::new(StreamBody::new(body).boxed_unsync());
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        // It is the connection's last answer; and a proxy hands on what it gets at once.
        (header::CONNECTION, "close"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        reply
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(reply)
}

impl Stream {
    /// Opens the tap; what is stored up to the number is the log's, what comes after it the tap's.
    fn open(&mut self) -> u64 {
        let registered = self.shared.hub.tap(&self.tap, self.filters.clone());
        let rights = &self.tap.rights;
        self.missed = (registered.missed.into_iter())
            .filter(|record| rights.receives(&record.event))
            .map(|record| (None, record))
            .collect();
        registered.up_to
    }

    /// What is sent next; nothing after the end.
    async fn next(&mut self, resumed: bool) -> Option<Bytes> {
        let idle = Duration::from_secs(self.shared.config.idle_timeout_s.max(2));
        // Asked for whenever the connection takes more; a reader that takes nothing loses it.
        self.pace.give(idle + self.heartbeat);
        if matches!(self.phase, Phase::Ended) {
            return None;
        }
        let stop = self.shared.stop.clone();
        let heartbeat = self.heartbeat;
        let next = async {
            match self.phase {
                Phase::Begin => Ok(Some(self.begin(resumed))),
                Phase::Log { up_to } => self.log(up_to).await,
                Phase::Live => self.live().await,
                Phase::Ended => Ok(None),
            }
        };
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Rejection::Stopping),
            next = tokio::time::timeout(heartbeat, next) => next.unwrap_or(Ok(None)),
        };
        // Asked last: the owner may have changed his mind meanwhile.
        let next = self.tap.rights.may_read().and(next);
        Some(match next {
            Ok(Some(page)) => page,
            Ok(None) => self.beat(),
            Err(rejection) => self.end(&rejection),
        })
    }

    fn begin(&mut self, resumed: bool) -> Bytes {
        self.phase = match resumed {
            true => Phase::Log { up_to: None },
            false => Phase::Live,
        };
        let mut page = BytesMut::from(RETRY);
        page.put_slice(format!("id: {}\n\n", self.cursor).as_bytes());
        for (seq, record) in std::mem::take(&mut self.missed) {
            put(&mut page, seq, &record.json);
        }
        page.freeze()
    }

    /// A sign of life, with how far everything was sent, so that who comes again does not begin further back.
    fn beat(&mut self) -> Bytes {
        if matches!(self.phase, Phase::Live)
            && let Some(reached) = self.shared.hub.reached(&self.tap)
        {
            self.cursor = self.cursor.max(reached);
        }
        format!(": \nid: {}\n\n", self.cursor).into()
    }

    /// What the log has next, among the queries that go through much; nothing when a while passed without a match.
    async fn log(&mut self, mut up_to: Option<u64>) -> Result<Option<Bytes>, Rejection> {
        loop {
            if up_to.is_some_and(|up_to| self.cursor >= up_to) {
                self.phase = Phase::Live;
                return self.live().await;
            }
            let shared = Arc::clone(&self.shared);
            let timeout = Duration::from_secs(shared.config.query_timeout_s);
            let place = shared.lanes.slow(timeout).await;
            let place = place.map_err(|_| Rejection::Stopping)?;
            let (cursor, filters, tap) = (self.cursor, self.filters.clone(), Arc::clone(&self.tap));
            let read = shared.blocking(move |store| {
                let now = Timestamp::now().as_secs();
                let mut page = BytesMut::new();
                let mut reached = None;
                let rows = store.read_after(cursor, BATCH)?;
                let all = rows.len() < BATCH;
                for row in rows {
                    if page.len() >= PAGE || up_to.is_some_and(|up_to| row.seq > up_to) {
                        return Ok((page, reached, false));
                    }
                    reached = Some(row.seq);
                    let event = &row.event;
                    if filters.iter().any(|filter| nip01::matches(filter, event))
                        && tap.rights.receives(event)
                        && !nip40::is_expired(event, now)
                    {
                        put(&mut page, Some(row.seq), event.as_json().as_bytes());
                    }
                }
                Ok((page, reached, all))
            });
            let read = read.await.map_err(|error| Rejection::from(&error))?;
            drop(place);
            let (page, reached, all) = read;
            self.cursor = reached.unwrap_or(cursor).max(cursor);
            match up_to {
                None if all => {
                    // A resumed stream had the ephemeral events that came while it listened.
                    up_to = Some(self.open());
                    self.missed.clear();
                    self.phase = Phase::Log { up_to };
                }
                // The rest was removed.
                Some(up_to) if all || reached.is_none() => self.cursor = up_to.max(self.cursor),
                _ => {}
            }
            if !page.is_empty() {
                return Ok(Some(page.freeze()));
            }
        }
    }

    /// What comes next.
    async fn live(&mut self) -> Result<Option<Bytes>, Rejection> {
        let waiting: VecDeque<Live> = match self.tap.take().await {
            Ok(waiting) => waiting,
            Err(TooSlow) => return Err(Rejection::TooSlow),
        };
        let mut page = BytesMut::new();
        for (seq, record) in waiting {
            put(&mut page, seq, &record.json);
            self.cursor = seq.unwrap_or_default().max(self.cursor);
        }
        Ok(Some(page.freeze()))
    }

    /// Tells why it ends.
    fn end(&mut self, rejection: &Rejection) -> Bytes {
        self.phase = Phase::Ended;
        let why = json!({"error": rejection.to_string(), "code": rejection.prefix()});
        format!("event: closed\ndata: {why}\n\n").into()
    }
}

/// One event; JSON as it is stored has no line breaks.
fn put(page: &mut BytesMut, seq: Option<u64>, json: &[u8]) {
    if let Some(seq) = seq {
        page.put_slice(format!("id: {seq}\n").as_bytes());
    }
    page.put_slice(b"data: ");
    page.put_slice(json);
    page.put_slice(b"\n\n");
}
