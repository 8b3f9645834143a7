//! `GET /events`: REQ up to EOSE, as a list.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    Asker, Line,
    answer::{self, Refusal, Reply},
    ask,
    body::Form,
};
use crate::{
    relay::{Error, Rejection, Shared, hub, subscription::admit, tap::Pace},
    store::Hit,
};

/// Bytes that are sent together, and that its reader has to take in a second, over the whole of a long answer.
const PAGE: usize = 64 << 10;
const SLOWEST: u64 = 16 << 10;
/// Up to where the log was read: a stream goes on after it.
const SEQ: HeaderName = HeaderName::from_static("treefort-seq");

pub(super) async fn answer(
    shared: &Arc<Shared>,
    line: &Line,
    asker: Asker,
    request: &Request<Incoming>,
) -> Result<Reply, Refusal> {
    let filters = ask::read(request.uri(), false)?.filters;
    let form = Form::wanted(request.headers());
    may_ask(shared, &asker, &filters)?;
    let up_to = shared.store.last_seq();
    let hits = shared.hits(filters, up_to, asker.rights.keys()).await;
    let hits = hits.map_err(|error| Rejection::from(&error))?;
    let mut pages = Pages {
        shared: Arc::clone(shared),
        hits: hits.into(),
        form,
        begun: false,
        ended: false,
        pace: Arc::clone(&line.pace),
        since: Instant::now(),
        sent: 0,
        _place: asker.place,
    };
    let first = pages.next().await;
    let first = first.map_err(|error| Rejection::from(&error))?;
    let mut reply = if pages.ended {
        answer::text(form.media_type(), first)
    } else {
        let rest = stream::unfold((Some(first), pages), |(first, mut pages)| async move {
            let page = match first {
                Some(first) => Ok(first),
                None if pages.ended => return None,
                None => pages.next().await,
            };
            Some((page.map(Frame::data), (None, pages)))
        });
        let mut reply = Response::new(StreamBody::new(rest).boxed_unsync());
        let media_type = HeaderValue::from_static(form.media_type());
        reply.headers_mut().insert(header::CONTENT_TYPE, media_type);
        reply
    };
    reply.headers_mut().insert(SEQ, HeaderValue::from(up_to));
    Ok(reply)
}

/// Whether somebody may ask for this.
pub(super) fn may_ask(
    shared: &Shared,
    asker: &Asker,
    filters: &[nostr::Filter],
) -> Result<(), Rejection> {
    admit(shared, &asker.rights, filters)?;
    let most = shared.config.max_filter_bytes;
    match hub::bytes(filters) > most {
        true => Err(Rejection::TooMuchFiltered(most)),
        false => Ok(()),
    }
}

/// Events that were found, read from the disk no faster than they are taken.
struct Pages {
    shared: Arc<Shared>,
    hits: VecDeque<Hit>,
    form: Form,
    begun: bool,
    ended: bool,
    pace: Arc<Pace>,
    since: Instant,
    sent: u64,
    _place: Option<OwnedSemaphorePermit>,
}

impl Pages {
    /// The next bytes; an error cuts the answer off, so that nobody takes a part for the whole.
    async fn next(&mut self) -> Result<Bytes, Error> {
        let idle = Duration::from_secs(self.shared.config.idle_timeout_s.max(2));
        // Who takes a little now and then does not hold the connection and what was found for days.
        let whole = idle + Duration::from_secs(self.sent / SLOWEST);
        let left = (self.since + whole).saturating_duration_since(Instant::now());
        self.pace.give(idle.min(left));
        let mut page = BytesMut::new();
        if !self.begun && self.form == Form::Json {
            page.extend_from_slice(b"[");
        }
        while page.len() < PAGE {
            let Some(hit) = self.hits.pop_front() else {
                if self.form == Form::Json {
                    page.extend_from_slice(b"]");
                }
                self.ended = true;
                break;
            };
            let json = match hit.json {
                Some(json) => Some(json),
                None => self.shared.read(hit.seq).await.inspect_err(|error| {
                    tracing::error!(error = error as &dyn std::error::Error, "a row is lost");
                })?,
            };
            // It was removed meanwhile.
            let Some(json) = json else {
                continue;
            };
            if self.form == Form::Json && self.begun {
                page.extend_from_slice(b",");
            }
            self.begun = true;
            page.extend_from_slice(&json);
            if self.form == Form::Lines {
                page.extend_from_slice(b"\n");
            }
        }
        self.sent += page.len() as u64;
        Ok(page.freeze())
    }
}
