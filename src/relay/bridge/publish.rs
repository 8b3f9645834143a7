//! `POST /events`: EVENT, one or several, each answered with what its OK would say.

use std::sync::{Arc, PoisonError};

use hyper::{Request, StatusCode, body::Incoming};
use nostr::{EventId, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Asker, Line,
    answer::{self, Refusal, Reply},
    body::Form,
};
use crate::relay::{
    Accepted, Rejection, Shared,
    ingest::{self, Examined, Origin},
    rights::Rights,
};

/// Events of one request.
const MOST: usize = 1000;
/// Events that one task verifies.
const CHUNK: usize = 8;

/// What became of one event.
#[derive(Serialize)]
struct Said {
    id: Option<EventId>,
    accepted: bool,
    message: String,
    /// Its sequence number, when it was stored now.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip)]
    status: StatusCode,
}

/// What is known about an event, or will be.
enum Fate {
    Known(Option<EventId>, Result<Accepted, Rejection>),
    Submitted(EventId, oneshot::Receiver<Result<Accepted, Rejection>>),
}

/// An examined event, or whose it was and why it is refused.
type Outcome = Result<Examined, (Option<EventId>, Rejection)>;

pub(super) async fn answer(
    shared: &Arc<Shared>,
    line: &Line,
    asker: Asker,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let form = Form::sent(request.headers())?;
    let wanted = Form::wanted(request.headers());
    // Before the body: who may not publish takes no room.
    asker.rights.may_write()?;
    let trusted = asker.rights.reached.trusted;
    let most = shared.config.max_frame_bytes;
    let body = request.into_body();
    let body = shared.bodies.read(body, most, trusted).await?;
    if let Some(proof) = &asker.proof {
        let hash = hex::encode(Sha256::digest(&body.bytes));
        if (proof.payload.as_ref()).is_none_or(|said| !said.eq_ignore_ascii_case(&hash)) {
            let why = "the tag payload of the event of NIP-98 has to be the SHA-256 of the body";
            return Err(Rejection::Proof(why.to_owned()).into());
        }
    }
    let (texts, one) = split(&body.bytes, form)?;
    let rights = Arc::new(asker.rights);
    // One was counted with the request.
    let granted = 1 + shared.rates.messages(&rights.reached, texts.len() - 1);
    let refused = texts.len() - granted.min(texts.len());
    let mut said = Vec::with_capacity(texts.len());
    for fate in examine(shared, line, &rights, &texts[..texts.len() - refused]).await {
        said.push(fate.said().await);
    }
    for text in &texts[texts.len() - refused..] {
        let rejection = shared.rates.too_fast(&rights.reached, refused).0;
        let id = crate::nips::nip01::claimed_id(text);
        said.push(Fate::Known(id, Err(rejection)).said().await);
    }
    drop(asker.place);
    let first_refused = said.iter().find(|one| !one.accepted);
    let status = first_refused.map_or(StatusCode::OK, |one| one.status);
    let written = match (wanted, one) {
        (Form::Json, true) => serde_json::to_vec(&said[0]),
        (Form::Json, false) => serde_json::to_vec(&said),
        (Form::Lines, _) => said.iter().try_fold(Vec::new(), |mut lines, one| {
            serde_json::to_writer(&mut lines, one)?;
            lines.push(b'\n');
            Ok::<_, serde_json::Error>(lines)
        }),
    };
    let written = written.map_err(|error| {
        tracing::error!(%error, "failed to write an answer");
        Refusal::from(Rejection::Store)
    })?;
    let mut reply = answer::text(wanted.media_type(), written);
    answer::say(&mut reply, status);
    Ok(reply)
}

/// The events of a body, and whether it is a single one and no list.
fn split(body: &[u8], form: Form) -> Result<(Vec<String>, bool), Refusal> {
    let not_json =
        |error: &dyn std::fmt::Display| Refusal::bad(format!("the body is not JSON: {error}"));
    let text = std::str::from_utf8(body).map_err(|error| not_json(&error))?;
    let one = form == Form::Json && !text.trim_start().starts_with('[');
    let texts: Vec<String> = match form {
        Form::Lines => text
            .split('\n')
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect(),
        Form::Json if one => {
            let value: &RawValue = serde_json::from_str(text).map_err(|error| not_json(&error))?;
            vec![value.get().to_owned()]
        }
        Form::Json => serde_json::from_str::<Vec<&RawValue>>(text)
            .map_err(|error| not_json(&error))?
            .into_iter()
            .map(|value| value.get().to_owned())
            .collect(),
    };
    match texts.len() {
        0 => Err(Refusal::bad("there is no event in this request")),
        1..=MOST => Ok((texts, one)),
        _ => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a request has at most {MOST} events"),
        )),
    }
}

/// Verifies events side by side, and hands those that pass to the writer in their order.
async fn examine(
    shared: &Arc<Shared>,
    line: &Line,
    rights: &Arc<Rights>,
    texts: &[String],
) -> Vec<Fate> {
    let mut in_flight = shared.ingest.announce(texts.len());
    let chunks: Vec<_> = texts
        .chunks(CHUNK)
        .map(|chunk| {
            let (shared, rights) = (Arc::clone(shared), Arc::clone(rights));
            let chunk = chunk.to_vec();
            AbortOnDropHandle::new(tokio::spawn(async move {
                let now = Timestamp::now().as_secs();
                let from = Origin::Client(&rights);
                let one = |text: &String| shared.ingest.examine_json(text, from, now);
                chunk.iter().map(one).collect::<Vec<_>>()
            }))
        })
        .collect();
    let mut fates = Vec::with_capacity(texts.len());
    for (chunk, texts) in chunks.into_iter().zip(texts.chunks(CHUNK)) {
        let outcomes = chunk.await.unwrap_or_else(|error| {
            tracing::error!(%error, "failed to verify events");
            let failed = |_| Err((None, Rejection::Store));
            texts.iter().map(failed).collect()
        });
        for outcome in outcomes {
            in_flight.done();
            fates.push(submit(shared, line, rights, outcome).await);
        }
    }
    fates
}

async fn submit(shared: &Shared, line: &Line, rights: &Rights, outcome: Outcome) -> Fate {
    let admitted = match outcome {
        Ok(Examined::New(admitted)) => admitted,
        Ok(Examined::Known(id)) => return Fate::Known(Some(id), Ok(Accepted::Duplicate)),
        Err((id, rejection)) => {
            let wrong = matches!(rejection, Rejection::Id | Rejection::Signature);
            let patience = || {
                let mut patience = line.patience.lock().unwrap_or_else(PoisonError::into_inner);
                patience.another()
            };
            let rejection = match wrong && !patience() {
                true => Rejection::WrongSignatures,
                false => rejection,
            };
            return Fate::Known(id, Err(rejection));
        }
    };
    let event = &admitted.record.event;
    let id = event.id;
    if let Err(rejection) = shared.rates.author(&rights.reached, &event.pubkey) {
        return Fate::Known(Some(id), Err(rejection));
    }
    let (sender, receiver) = oneshot::channel();
    match shared
        .ingest
        .submit(*admitted, ingest::Reply::Task(sender))
        .await
    {
        Ok(()) => Fate::Submitted(id, receiver),
        Err(rejection) => Fate::Known(Some(id), Err(rejection)),
    }
}

impl Fate {
    /// Waits for the commit.
    async fn said(self) -> Said {
        let (id, result) = match self {
            Self::Known(id, result) => (id, result),
            Self::Submitted(id, receiver) => {
                let result = receiver.await.unwrap_or(Err(Rejection::Stopping));
                (Some(id), result)
            }
        };
        let seq = match result {
            Ok(Accepted::New { seq }) => Some(seq),
            _ => None,
        };
        let (accepted, status, message) = match result {
            Ok(accepted) => (true, StatusCode::OK, accepted.message().to_owned()),
            Err(rejection) => (false, answer::status(&rejection), rejection.to_wire()),
        };
        Said {
            id,
            accepted,
            message,
            seq,
            status,
        }
    }
}
