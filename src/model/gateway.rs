//! The way from a session to its model: a small HTTP server per connection from the container, which
//! speaks the part of the models' APIs that a conversation needs and nothing else.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};

use super::endpoint::{ConfigError, Endpoint};
use super::meter::ModelCall;
use super::provider::{OLLAMA, Provider, Providers};
use super::session::Session;
use super::{Budget, Config, ModelError, ModelName, ModelOptions};

/// A request's head.
const HEAD_BYTES: usize = 64 * 1024;
const HEADERS: usize = 64;
/// How long a session may take to send a request.
pub(super) const REQUEST_TIME: Duration = Duration::from_secs(60);
/// How long, while as many are read as may be: nobody's slow ones keep the others waiting.
pub(super) const CROWDED_TIME: Duration = Duration::from_secs(3);
/// Calls of one session that run at once; more wait.
const CALLS: usize = 4;
/// Requests that are read and held whole at once: of one session, and of all. A request can be as long as
/// [`super::session::BODY_BYTES`], and takes a multiple of that once it is read.
const READING: usize = 2;
const READING_IN_ALL: usize = 4;

/// What leads to the model server. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// For Ollama.
    pub(super) client: reqwest::Client,
    pub(super) endpoint: Endpoint,
    pub(super) config: Arc<Config>,
    providers: Providers,
    /// For providers; made when the first one is asked.
    providers_client: Arc<OnceLock<reqwest::Client>>,
    /// Requests of all sessions that are read right now.
    pub(super) reading: Arc<Semaphore>,
}

/// What one session may do.
#[derive(Debug)]
pub struct SessionPolicy {
    /// The session's token: `Authorization: Bearer <token>`.
    pub token: String,
    /// The only model that it reaches, as [`Providers::resolve`] takes it.
    pub model: ModelName,
    /// The models that are asked in its place, in this order, when it fails before its first word.
    pub fallback: Vec<ModelName>,
    /// How that model answers.
    pub options: ModelOptions,
    /// What it may use for a job.
    pub budget: Budget,
    /// Where its calls are recorded; a session whose record is full waits.
    pub calls: mpsc::Sender<ModelCall>,
}

/// One session's gateway. Clones share its budget.
#[derive(Debug, Clone)]
pub struct SessionGateway(Arc<Session>);

impl Gateway {
    /// A gateway to the configured model servers, with keys from the environment. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When a server cannot be used as it is configured.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Self::with_environment(config, &|name| std::env::var(name).ok())
    }

    /// The same with keys from elsewhere.
    ///
    /// # Errors
    ///
    /// When a server cannot be used as it is configured.
    pub fn with_environment(
        config: Config,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let endpoint = config.endpoint()?;
        Ok(Self {
            client: config.client()?,
            providers: Providers::new(&config, &endpoint, env)?,
            endpoint,
            config: Arc::new(config),
            providers_client: Arc::default(),
            reading: Arc::new(Semaphore::new(READING_IN_ALL)),
        })
    }

    /// The providers that can be named.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// The models of the configuration that are asked when the first one fails.
    #[must_use]
    pub fn fallback(&self) -> &[String] {
        &self.config.fallback
    }

    /// The client that reaches a provider.
    pub(super) fn client_for(&self, provider: &Provider) -> Result<&reqwest::Client, ModelError> {
        if provider.name() == OLLAMA {
            return Ok(&self.client);
        }
        if let Some(client) = self.providers_client.get() {
            return Ok(client);
        }
        let client = self.config.providers_client().map_err(ModelError::Client)?;
        Ok(self.providers_client.get_or_init(|| client))
    }

    /// Opens the gateway for one session.
    #[must_use]
    pub fn admit(&self, policy: SessionPolicy) -> SessionGateway {
        let mut options = policy.options;
        let num_ctx = *options.num_ctx.get_or_insert(self.config.num_ctx);
        SessionGateway(Arc::new(Session {
            gateway: self.clone(),
            token: Sha256::digest(&policy.token).into(),
            models: std::iter::once(&policy.model)
                .chain(&policy.fallback)
                .map(|name| self.providers.resolve(&name.0))
                .collect(),
            options,
            num_ctx,
            budget: policy.budget,
            calls: policy.calls,
            totals: Arc::default(),
            running: Arc::new(Semaphore::new(CALLS)),
            reading: Arc::new(Semaphore::new(READING)),
        }))
    }
}

impl SessionGateway {
    /// Waits until every call that runs has been recorded, but no longer than `patience`: an agent may have its
    /// answer a moment before the record has its end.
    pub async fn settled(&self, patience: Duration) {
        let all = u32::try_from(CALLS).unwrap_or(u32::MAX);
        // Out of patience: nothing more is waited for.
        let _idle = tokio::time::timeout(patience, self.0.running.acquire_many(all)).await;
    }

    /// The next job begins: nothing of the budget is used, but for what calls that still run hold.
    pub fn new_budget(&self) {
        self.0.totals.clear();
    }

    /// The session stands still from now on, and what its calls may take with it, or goes on.
    pub fn stand_still(&self, still: bool) {
        self.0.totals.stand_still(still);
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

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "gateway_v1_tests.rs"]
mod v1_tests;

#[cfg(test)]
#[path = "gateway_providers_tests.rs"]
mod providers_tests;

#[cfg(test)]
#[path = "gateway_fallback_tests.rs"]
mod fallback_tests;

#[cfg(test)]
#[path = "gateway_budget_tests.rs"]
mod budget_tests;

#[cfg(test)]
#[path = "gateway_dialects_tests.rs"]
mod dialects_tests;

#[cfg(test)]
#[path = "gateway_codex_tests.rs"]
mod codex_tests;

#[cfg(test)]
#[path = "gateway_gemini_tests.rs"]
mod gemini_tests;
