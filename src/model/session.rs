//! One session's requests: `POST /api/chat`, `POST /v1/chat/completions`, and the little around them
//! that clients look at (`GET /api/version`, `/api/tags`, `/v1/models`, which name the session's model
//! alone). Any other path is 403, so no session manages models. The session's token is checked first and
//! goes no further than here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::chat::Chat;
use super::dialect::Dialect;
use super::dialect::answer::Reader;
use super::gateway::{Gateway, REQUEST_TIME};
use super::meter::{ModelCall, Running, Totals};
use super::respond::{Body, object, pieces, refusal};
use super::upstream::{Ask, Bounds, Call, Refused};
use super::{Budget, ModelName, ModelOptions};

/// A request's body; pictures are the reason that it is not smaller.
pub(super) const BODY_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) gateway: Gateway,
    /// The token's digest.
    pub(super) token: [u8; 32],
    pub(super) model: ModelName,
    pub(super) options: ModelOptions,
    pub(super) num_ctx: u32,
    pub(super) budget: Budget,
    pub(super) calls: mpsc::Sender<ModelCall>,
    pub(super) totals: Arc<Totals>,
    pub(super) running: Arc<Semaphore>,
}

/// In whose words a request for a path is answered.
fn dialect_of(path: &str) -> Dialect {
    if path.starts_with("/v1") {
        Dialect::OpenAi
    } else {
        Dialect::Ollama
    }
}

impl Session {
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let dialect = dialect_of(request.uri().path());
        if !self.knows(&request) {
            let sentence = "the token is not this session's";
            return refusal(dialect, StatusCode::UNAUTHORIZED, sentence, "model");
        }
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/api/chat" | "/v1/chat/completions") => {
                self.chat(dialect, request.into_body()).await
            }
            (&Method::GET, "/api/version") => self.version().await,
            (&Method::GET, "/api/tags") => object(
                StatusCode::OK,
                &json!({"models": [{"name": self.model, "model": self.model}]}),
            ),
            (&Method::GET, "/v1/models") => object(
                StatusCode::OK,
                &json!({"object": "list", "data": [{
                    "id": self.model, "object": "model", "created": 0, "owned_by": "treefort",
                }]}),
            ),
            _ => {
                let sentence = "treefort does not offer this to a session";
                refusal(dialect, StatusCode::FORBIDDEN, sentence, "model")
            }
        }
    }

    /// Compares digests in constant time, so that neither the token nor its length shows.
    fn knows(&self, request: &Request<Incoming>) -> bool {
        let header = request
            .headers()
            .get(AUTHORIZATION)
            .map(|value| value.as_bytes());
        let Some(token) = header.and_then(|value| value.strip_prefix(b"Bearer ")) else {
            return false;
        };
        let given: [u8; 32] = Sha256::digest(token).into();
        let pairs = given.iter().zip(&self.token);
        std::hint::black_box(pairs.fold(0, |differ, (a, b)| differ | (a ^ b))) == 0
    }

    async fn version(&self) -> Response<Body> {
        let asking = async {
            let request = self
                .gateway
                .client
                .get(self.gateway.endpoint.at("api/version"));
            request
                .send()
                .await?
                .error_for_status()?
                .json::<Value>()
                .await
        };
        let after = Duration::from_secs(self.gateway.config.connect_s.max(1));
        match tokio::time::timeout(after, asking).await {
            Ok(Ok(answer)) => object(StatusCode::OK, &json!({"version": answer.get("version")})),
            _ => {
                let sentence = "no model server answers";
                refusal(
                    Dialect::Ollama,
                    StatusCode::BAD_GATEWAY,
                    sentence,
                    "no-model",
                )
            }
        }
    }

    async fn chat(self: Arc<Self>, dialect: Dialect, body: Incoming) -> Response<Body> {
        let refuse = |status, sentence: &str| refusal(dialect, status, sentence, "input");
        let collected =
            tokio::time::timeout(REQUEST_TIME, Limited::new(body, BODY_BYTES).collect());
        let body = match collected.await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let sentence = "the request is larger than 16 MiB";
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, sentence);
            }
            _ => return refuse(StatusCode::BAD_REQUEST, "the request did not come whole"),
        };
        let chat = match Chat::parse(dialect, &body) {
            Ok(chat) => chat,
            Err(sentence) => return refuse(StatusCode::BAD_REQUEST, &sentence),
        };
        drop(body);
        match self.call(&chat).await {
            Ok((call, first, slot)) => {
                pieces(call, first, slot, dialect.content_type(chat.streams()))
            }
            Err(refused) => object(refused.status, &refused.body),
        }
    }

    async fn call(&self, chat: &Chat) -> Result<(Call, Bytes, OwnedSemaphorePermit), Refused> {
        let dialect = chat.dialect();
        let over = || {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Refused {
                status,
                body: dialect.refusal(status, "the session is over", "cancelled"),
            }
        };
        let config = &self.gateway.config;
        let (body, output) = chat
            .for_ollama(&self.model, &self.options, &config.keep_alive)
            .map_err(|sentence| Refused {
                status: StatusCode::BAD_REQUEST,
                body: dialect.refusal(StatusCode::BAD_REQUEST, &sentence, "input"),
            })?;
        let slot = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| over())?;
        let permit = self
            .calls
            .clone()
            .reserve_owned()
            .await
            .map_err(|_| over())?;
        let mut running = Running::start(
            permit,
            Arc::clone(&self.totals),
            self.model.clone(),
            self.num_ctx,
            chat.least_tokens(),
        );
        let left = match self.totals.check(self.budget) {
            Ok(left) => left,
            Err(error) => {
                let refused = Refused::new(dialect, &error);
                running.fail(error);
                return Err(refused);
            }
        };
        let ask = Ask {
            client: &self.gateway.client,
            url: self.gateway.endpoint.at("api/chat"),
            model: &self.model.0,
            body,
            reader: Reader::new(Dialect::Ollama, chat.streams()),
            output,
            dialect,
        };
        let bounds = Bounds {
            first_byte: Duration::from_secs(config.first_byte_s),
            idle: Duration::from_secs(config.idle_s),
            deadline: left.map(|left| Instant::now() + left),
            budget: self.budget,
        };
        let (call, first) = Call::begin(ask, running, Arc::clone(&self.totals), bounds).await?;
        Ok((call, first, slot))
    }
}
