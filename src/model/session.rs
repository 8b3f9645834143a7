//! One session's requests: conversations in one of five dialects ([`Route`]), and the little around them
//! that clients look at (`GET /api/version`, `/api/tags`, `/v1/models`, `/v1beta/models` and one model below those,
//! which name the session's model alone). Any other path is 403, so no session manages models. The session's token is checked
//! first and goes no further than here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::budget::Totals;
use super::chat::{Chat, Outgoing, Route};
use super::dialect::Dialect;
use super::dialect::prompt::Prompt;
use super::gateway::{CROWDED_TIME, Gateway, REQUEST_TIME};
use super::meter::{About, ModelCall, Running};
use super::provider::{OLLAMA, Target};
use super::respond::{Body, object, pieces, refusal};
use super::upstream::{Ask, Bounds, Call, Refused};
use super::{Budget, ModelError, ModelName, ModelOptions};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body; pictures are the reason that it is not smaller.
pub(super) const BODY_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) gateway: Gateway,
    /// The token's digest.
    pub(super) token: [u8; 32],
    /// The session's model, then those that are asked when it fails.
    pub(super) models: Vec<Target>,
    pub(super) options: ModelOptions,
    pub(super) num_ctx: u32,
    pub(super) budget: Budget,
    pub(super) calls: mpsc::Sender<ModelCall>,
    pub(super) totals: Arc<Totals>,
    pub(super) running: Arc<Semaphore>,
    /// Its requests that are read right now.
    pub(super) reading: Arc<Semaphore>,
}

/// What a request needs before it is read, so that no session fills the host's memory with what waits.
struct Admitted {
    /// One of the calls that run at once.
    slot: OwnedSemaphorePermit,
    /// Room in the session's record for the first call; further ones take their own.
    room: Option<mpsc::OwnedPermit<ModelCall>>,
    /// The session's turn to read, and everyone's; until the call is made of it.
    reading: Option<[OwnedSemaphorePermit; 2]>,
}

/// In whose words a request for a path is answered.
fn dialect_of(path: &str) -> Dialect {
    if path.starts_with("/v1/messages") {
        Dialect::Anthropic
    } else if path.starts_with("/v1/responses") {
        Dialect::Responses
    } else if path.starts_with("/v1beta") {
        Dialect::Gemini
    } else if path.starts_with("/v1") {
        Dialect::OpenAi
    } else {
        Dialect::Ollama
    }
}

/// Whether a path names one model.
fn is_model(path: &str, below: &str) -> bool {
    let name = path.strip_prefix(below);
    name.is_some_and(|name| !name.is_empty() && !name.contains(['/', ':']))
}

impl Session {
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let dialect = dialect_of(request.uri().path());
        if !self.knows(&request) {
            let sentence = "the token is not this session's";
            return refusal(dialect, StatusCode::UNAUTHORIZED, sentence, "model");
        }
        if request.method() == Method::POST
            && let Some(route) = Route::of_path(
                request.uri().path(),
                request.uri().query().unwrap_or_default(),
            )
        {
            let (head, body) = request.into_parts();
            return self.chat(route, dialect, &head.headers, body).await;
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/api/version") => self.version().await,
            (&Method::GET, "/api/tags") => {
                let name = self.name();
                object(
                    StatusCode::OK,
                    &json!({"models": [{"name": name, "model": name}]}),
                )
            }
            // OpenAI's and Anthropic's clients and Codex ask the same path and look at different fields.
            (&Method::GET, "/v1/models") => object(
                StatusCode::OK,
                &json!({"object": "list", "has_more": false, "first_id": self.name(), "last_id": self.name(),
                    "data": [self.model()], "models": []}),
            ),
            (&Method::GET, "/v1beta/models") => {
                object(StatusCode::OK, &json!({"models": [self.gemini_model()]}))
            }
            // Whichever is asked for, the session's own is the one that there is.
            (&Method::GET, path) if is_model(path, "/v1/models/") => {
                object(StatusCode::OK, &self.model())
            }
            (&Method::GET, path) if is_model(path, "/v1beta/models/") => {
                object(StatusCode::OK, &self.gemini_model())
            }
            _ => {
                let sentence = "treefort does not offer this to a session";
                refusal(dialect, StatusCode::FORBIDDEN, sentence, "model")
            }
        }
    }

    /// The session's model as OpenAI's and Anthropic's clients know one.
    fn model(&self) -> Value {
        json!({
            "id": self.name(), "object": "model", "type": "model", "display_name": self.name(),
            "created": 0, "created_at": "1970-01-01T00:00:00Z", "owned_by": "treefort",
        })
    }

    fn gemini_model(&self) -> Value {
        let name = self.name();
        let methods = ["generateContent", "countTokens"];
        json!({"name": format!("models/{name}"), "displayName": name, "inputTokenLimit": self.num_ctx,
            "supportedGenerationMethods": methods})
    }

    /// The name of the session's model.
    fn name(&self) -> ModelName {
        self.models
            .first()
            .map_or_else(|| ModelName::from(""), Target::name)
    }

    /// Whether the session's token is in one of the places where clients put a key.
    fn knows(&self, request: &Request<Incoming>) -> bool {
        let header = |name: &str| request.headers().get(name).map(|value| value.as_bytes());
        let bearer =
            header(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix(b"Bearer "));
        let query = request.uri().query().unwrap_or_default();
        let query = query.split('&').find_map(|pair| pair.strip_prefix("key="));
        let places = [
            bearer,
            header("x-api-key"),
            header("x-goog-api-key"),
            query.map(str::as_bytes),
        ];
        places
            .into_iter()
            .flatten()
            .any(|token| self.is_token(token))
    }

    /// Compares digests in constant time, so that neither the token nor its length shows.
    fn is_token(&self, token: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(token).into();
        let pairs = given.iter().zip(&self.token);
        std::hint::black_box(pairs.fold(0, |differ, (a, b)| differ | (a ^ b))) == 0
    }

    async fn version(&self) -> Response<Body> {
        let ollama = self.models.first();
        if ollama.is_some_and(|target| target.provider.name() != OLLAMA) {
            let version = env!("CARGO_PKG_VERSION");
            return object(StatusCode::OK, &json!({"version": version}));
        }
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
                let (status, sentence) = (StatusCode::BAD_GATEWAY, "no model server answers");
                refusal(Dialect::Ollama, status, sentence, "no-model")
            }
        }
    }

    async fn chat(
        self: Arc<Self>,
        route: Route,
        dialect: Dialect,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Response<Body> {
        let refuse = |status, sentence: &str| refusal(dialect, status, sentence, "input");
        let Some(admitted) = self.admitted().await else {
            let refused = self.over(dialect);
            return object(refused.status, &refused.body);
        };
        let body = match self.whole(body).await {
            Some(Ok(body)) => body,
            Some(Err(error)) if error.is::<LengthLimitError>() => {
                let sentence = "the request is larger than 16 MiB";
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, sentence);
            }
            _ => return refuse(StatusCode::BAD_REQUEST, "the request did not come whole"),
        };
        let chat = match Chat::parse(route, headers, &body) {
            Ok(chat) => chat,
            Err(sentence) => return refuse(StatusCode::BAD_REQUEST, &sentence),
        };
        drop(body);
        let counts = |target: &Target| chat.only_counts() && !chat.is_own(&target.provider);
        if self.models.first().is_some_and(counts) {
            return match chat.counted() {
                Ok(counted) => object(StatusCode::OK, &counted),
                Err(sentence) => refuse(StatusCode::BAD_REQUEST, &sentence),
            };
        }
        match self.call(&chat, admitted).await {
            Ok((call, first, slot)) => pieces(call, first, slot, chat.content_type()),
            Err(refused) => object(refused.status, &refused.body),
        }
    }

    /// A request's body; none when it does not come in time.
    async fn whole(&self, body: Incoming) -> Option<Result<Bytes, BoxError>> {
        let mut collecting = std::pin::pin!(Limited::new(body, BODY_BYTES).collect());
        let began = Instant::now();
        loop {
            tokio::select! {
                collected = &mut collecting => return Some(collected.map(|body| body.to_bytes())),
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    let crowded = self.gateway.reading.available_permits() == 0;
                    let most = if crowded { CROWDED_TIME } else { REQUEST_TIME };
                    if began.elapsed() >= most {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits for its turn; none when the session is over. What all sessions share is taken last: who waits for
    /// something of its own holds nobody up.
    async fn admitted(&self) -> Option<Admitted> {
        let slot = Arc::clone(&self.running).acquire_owned().await.ok()?;
        let room = self.calls.clone().reserve_owned().await.ok()?;
        let own = Arc::clone(&self.reading).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.gateway.reading);
        let all = all.acquire_owned().await.ok()?;
        Some(Admitted {
            slot,
            room: Some(room),
            reading: Some([own, all]),
        })
    }

    /// Asks the session's models in their order, until one begins to answer.
    async fn call(
        &self,
        chat: &Chat,
        mut admitted: Admitted,
    ) -> Result<(Call, Bytes, OwnedSemaphorePermit), Refused> {
        let mut fell_back_from = None;
        let mut refused = self.over(chat.dialect());
        for (at, target) in self.models.iter().enumerate() {
            // Where nothing is counted, nothing can be asked for the counts.
            if at > 0 && chat.only_counts() && !chat.is_own(&target.provider) {
                continue;
            }
            let asked = self.ask(chat, target, fell_back_from.take(), &mut admitted);
            refused = match asked.await {
                Ok((call, first)) => return Ok((call, first, admitted.slot)),
                Err(refused) if refused.may_fall_back => refused,
                Err(refused) => return Err(refused),
            };
            fell_back_from = Some(target.name());
        }
        Err(refused)
    }

    fn over(&self, dialect: Dialect) -> Refused {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Refused {
            status,
            body: dialect.refusal(status, "the session is over", "cancelled"),
            may_fall_back: false,
        }
    }

    async fn ask(
        &self,
        chat: &Chat,
        target: &Target,
        fell_back_from: Option<ModelName>,
        admitted: &mut Admitted,
    ) -> Result<(Call, Bytes), Refused> {
        let dialect = chat.dialect();
        let permit = match admitted.room.take() {
            Some(room) => room,
            None => {
                let room = self.calls.clone().reserve_owned().await;
                room.map_err(|_| self.over(dialect))?
            }
        };
        let is_ollama = target.provider.name() == OLLAMA;
        let about = About {
            target: target.clone(),
            num_ctx: is_ollama.then_some(self.num_ctx),
            fell_back_from,
        };
        let mut running = Running::start(permit, Arc::clone(&self.totals), about);
        let config = &self.gateway.config;
        let (client, call) = match self.ready(chat, target, &mut running, admitted).await {
            Ok(ready) => ready,
            Err(error) => {
                let refused = Refused::new(dialect, &error);
                running.fail(error);
                return Err(refused);
            }
        };
        let ask = Ask {
            client,
            target,
            call,
            stream: chat.streams(),
            dialect,
        };
        let bounds = Bounds {
            first_byte: Duration::from_secs(config.first_byte_s),
            idle: Duration::from_secs(config.idle_s),
            budget: self.budget,
        };
        Call::begin(ask, running, bounds).await
    }

    /// The call as it can be made, with its prompt taken out of the budget.
    async fn ready(
        &self,
        chat: &Chat,
        target: &Target,
        running: &mut Running,
        admitted: &mut Admitted,
    ) -> Result<(&reqwest::Client, Outgoing), ModelError> {
        let provider = &target.provider;
        if self.budget.microusd.is_some() && provider.price().is_none() {
            return Err(ModelError::NoPrice {
                provider: provider.name().to_owned(),
            });
        }
        let client = self.gateway.client_for(provider)?;
        let call = chat.call(target, &self.options, &self.gateway.config.keep_alive)?;
        drop(admitted.reading.take());
        let prompt = if chat.only_counts() {
            Prompt::default()
        } else {
            Prompt::of(&call.body)
        };
        running.reserve(self.budget, prompt).await?;
        Ok((client, call))
    }
}
