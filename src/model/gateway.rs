//! The way from a session to its model: a small HTTP server per connection from the container, which
//! speaks the part of Ollama's API that a conversation needs and nothing else.
//!
//! `POST /api/chat`, `GET /api/version`, `GET /api/tags` (which lists the session's model alone). Any
//! other path is 403, so no session manages models. The session's token is checked first and goes no
//! further than here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::endpoint::{ConfigError, Endpoint};
use super::meter::{ModelCall, Running, Totals};
use super::request::ChatRequest;
use super::upstream::{Ask, Bounds, Call, Refused};
use super::{Budget, Config, ModelName, ModelOptions};

/// A request's body; pictures are the reason that it is not smaller.
const BODY_BYTES: usize = 16 * 1024 * 1024;
/// A request's head.
const HEAD_BYTES: usize = 64 * 1024;
const HEADERS: usize = 64;
/// How long a session may take to send a request.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// Calls of one session that run at once; more wait.
const CALLS: usize = 4;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What leads to the model server. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Gateway {
    client: reqwest::Client,
    endpoint: Endpoint,
    config: Arc<Config>,
}

/// What one session may do.
#[derive(Debug)]
pub struct SessionPolicy {
    /// The session's token: `Authorization: Bearer <token>`.
    pub token: String,
    /// The only model that it reaches.
    pub model: ModelName,
    /// How that model answers.
    pub options: ModelOptions,
    /// What it may use in all.
    pub budget: Budget,
    /// Where its calls are recorded; a session whose record is full waits.
    pub calls: mpsc::Sender<ModelCall>,
}

/// One session's gateway. Clones share its budget.
#[derive(Debug, Clone)]
pub struct SessionGateway(Arc<Session>);

#[derive(Debug)]
struct Session {
    gateway: Gateway,
    token: [u8; 32],
    model: ModelName,
    options: ModelOptions,
    num_ctx: u32,
    budget: Budget,
    calls: mpsc::Sender<ModelCall>,
    totals: Arc<Totals>,
    running: Arc<Semaphore>,
}

impl Gateway {
    /// A gateway to the configured model server. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When the server's address cannot be used.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self {
            client: config.client()?,
            endpoint: config.endpoint()?,
            config: Arc::new(config),
        })
    }

    /// Opens the gateway for one session.
    #[must_use]
    pub fn admit(&self, policy: SessionPolicy) -> SessionGateway {
        let mut options = policy.options;
        let num_ctx = *options.num_ctx.get_or_insert(self.config.num_ctx);
        SessionGateway(Arc::new(Session {
            gateway: self.clone(),
            token: Sha256::digest(&policy.token).into(),
            model: policy.model,
            options,
            num_ctx,
            budget: policy.budget,
            calls: policy.calls,
            totals: Arc::default(),
            running: Arc::new(Semaphore::new(CALLS)),
        }))
    }
}

impl SessionGateway {
    /// Refuses further calls: the session is over. Those that run end with their connections.
    pub fn close(&self) {
        self.0.running.close();
    }

    /// Serves one HTTP connection of the session's until it ends. Dropping the future ends the calls
    /// that run on it.
    pub async fn serve<S>(&self, io: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| {
            let session = Arc::clone(&self.0);
            async move { Ok::<_, Infallible>(session.answer(request).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIME)
            .max_headers(HEADERS)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(io), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a session's model connection ended early");
        }
    }
}

impl Session {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        if !self.knows(&request) {
            return refusal(
                StatusCode::UNAUTHORIZED,
                "the token is not this session's",
                "model",
            );
        }
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/api/chat") => self.chat(request.into_body()).await,
            (&Method::GET, "/api/version") => self.version().await,
            (&Method::GET, "/api/tags") => json_response(
                StatusCode::OK,
                &json!({"models": [{"name": self.model, "model": self.model}]}),
            ),
            _ => refusal(
                StatusCode::FORBIDDEN,
                "treefort does not offer this to a session",
                "model",
            ),
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
            Ok(Ok(answer)) => {
                json_response(StatusCode::OK, &json!({"version": answer.get("version")}))
            }
            _ => refusal(
                StatusCode::BAD_GATEWAY,
                "no model server answers",
                "no-model",
            ),
        }
    }

    async fn chat(self: Arc<Self>, body: Incoming) -> Response<Body> {
        let collected =
            tokio::time::timeout(REQUEST_TIME, Limited::new(body, BODY_BYTES).collect());
        let body = match collected.await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let sentence = "the request is larger than 16 MiB";
                return refusal(StatusCode::PAYLOAD_TOO_LARGE, sentence, "input");
            }
            _ => {
                return refusal(
                    StatusCode::BAD_REQUEST,
                    "the request did not come whole",
                    "input",
                );
            }
        };
        let request = match ChatRequest::parse(&body) {
            Ok(request) => request,
            Err(sentence) => return refusal(StatusCode::BAD_REQUEST, &sentence, "input"),
        };
        drop(body);
        match self.call(&request).await {
            Ok((call, first, slot)) => stream_response(call, first, slot, request.streams()),
            Err(refused) => json_response(refused.status, &refused.body),
        }
    }

    async fn call(
        &self,
        request: &ChatRequest,
    ) -> Result<(Call, Bytes, OwnedSemaphorePermit), Refused> {
        let over = || Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            body: json!({"error": "the session is over", "code": "cancelled"}),
        };
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
            request.least_tokens(),
        );
        let left = match self.totals.check(self.budget) {
            Ok(left) => left,
            Err(error) => {
                let refused = Refused {
                    status: error.status(),
                    body: error.to_json(),
                };
                running.fail(error);
                return Err(refused);
            }
        };
        let config = &self.gateway.config;
        let ask = Ask {
            client: &self.gateway.client,
            url: self.gateway.endpoint.at("api/chat"),
            model: &self.model.0,
            body: request.rebuild(&self.model, &self.options, &config.keep_alive),
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

fn stream_response(
    call: Call,
    first: Bytes,
    slot: OwnedSemaphorePermit,
    pieces: bool,
) -> Response<Body> {
    let lines = stream::unfold(
        (Some(first), call, slot),
        async |(first, mut call, slot)| {
            let line = match first {
                Some(line) => line,
                None => call.next().await?,
            };
            Some((Ok(Frame::data(line)), (None, call, slot)))
        },
    );
    let kind = if pieces {
        "application/x-ndjson"
    } else {
        "application/json"
    };
    response(StatusCode::OK, kind, StreamBody::new(lines).boxed_unsync())
}

fn refusal(status: StatusCode, sentence: &str, code: &str) -> Response<Body> {
    json_response(status, &json!({"error": sentence, "code": code}))
}

fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).boxed_unsync();
    response(status, "application/json", body)
}

fn response(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;
