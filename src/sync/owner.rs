//! What the owner asks over HTTP: `POST /api/sync`, signed with the owner's key (NIP-98), the body too.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use nostr::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Door, Error};
use crate::{
    nips::{nip01::first_tag, nip98},
    relay::{HttpReply, Sender, single},
};

/// Where it is asked.
pub const PATH: &str = "/api/sync";
/// No question is longer, or takes longer.
const MAX_BODY: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(5);
/// Signed requests that are remembered, so that none counts twice.
pub(super) const REMEMBERED: usize = 1024;

/// What the owner wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Wish {
    /// What would leave.
    Preview {
        /// Whether to show all of each event.
        #[serde(default)]
        whole: bool,
    },
    /// What has left.
    Status,
    /// Share an event or a session.
    Publish {
        /// Which.
        what: String,
        /// Whether only to say what would happen.
        look: bool,
        /// Nothing that came after this number of the record, since the owner said yes to what was shown.
        #[serde(default)]
        until: Option<u64>,
        /// Whether to show all of each event.
        #[serde(default)]
        whole: bool,
    },
    /// Ask for it back.
    Unpublish {
        /// Which.
        what: String,
        /// Whether only to say what would happen.
        look: bool,
        /// Nothing that came after this number of the record, since the owner said yes to what was shown.
        #[serde(default)]
        until: Option<u64>,
        /// Whether to show all of each event.
        #[serde(default)]
        whole: bool,
    },
}

impl Door {
    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>, sender: &Sender) -> HttpReply {
        if request.method() != Method::POST {
            return refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "This answers POST only.",
            );
        }
        let signed = single(request.headers(), header::AUTHORIZATION).and_then(nip98::read);
        // The address is ours and not what `Host` says: who took our old port could pass it on.
        let local =
            std::net::SocketAddr::new(sender.local.ip().to_canonical(), sender.local.port());
        let url = format!("http://{local}{PATH}");
        let operator = self.hub.around.keyring.operator().public_key();
        let now = Timestamp::now().as_secs();
        let signed = signed.filter(|event| {
            sender.trusted && event.pubkey == operator && nip98::is_for(event, &url, "POST", now)
        });
        let Some(signed) = signed else {
            return locked();
        };
        let read = Limited::new(request.into_body(), MAX_BODY).collect();
        let body = match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(body)) => body.to_bytes(),
            _ => {
                return refusal(
                    StatusCode::BAD_REQUEST,
                    "bad-request",
                    "The question is too long, or took too long.",
                );
            }
        };
        let hash = hex::encode(Sha256::digest(&body));
        if first_tag(&signed, "payload") != Some(hash.as_str())
            || self.hub.owner.take(&signed).is_err()
        {
            return locked();
        }
        let Ok(wish) = serde_json::from_slice::<Wish>(&body) else {
            return refusal(
                StatusCode::BAD_REQUEST,
                "bad-request",
                "There is no such question.",
            );
        };
        match self.do_it(wish).await {
            Ok(answer) => reply(StatusCode::OK, answer),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a question about sync failed"
                );
                refusal(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "inside",
                    "Something went wrong inside treefort; its log says more.",
                )
            }
        }
    }

    async fn do_it(&self, wish: Wish) -> Result<serde_json::Value, Error> {
        Ok(match wish {
            Wish::Preview { whole } => json!(self.preview(whole).await?),
            Wish::Status => json!(self.status()?),
            Wish::Publish {
                what,
                look,
                until,
                whole,
            } => json!(self.publish(&what, look, until, whole).await?),
            Wish::Unpublish {
                what,
                look,
                until,
                whole,
            } => json!(self.unpublish(&what, look, until, whole).await?),
        })
    }
}

fn locked() -> HttpReply {
    refusal(
        StatusCode::UNAUTHORIZED,
        "locked",
        "Only the owner may ask this, with a request that the owner's key signed just now.",
    )
}

fn refusal(status: StatusCode, code: &str, sentence: &str) -> HttpReply {
    reply(status, json!({"error": sentence, "code": code}))
}

fn reply(status: StatusCode, body: serde_json::Value) -> HttpReply {
    let mut reply = Response::new(Full::new(Bytes::from(body.to_string())));
    *reply.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        reply
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    reply
}
