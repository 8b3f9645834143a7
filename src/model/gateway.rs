//! The way from a session to its model: a small HTTP server per connection from the container, which
//! speaks the part of the models' APIs that a conversation needs and nothing else ([`super::session`]).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};

use super::endpoint::{ConfigError, Endpoint};
use super::meter::ModelCall;
use super::session::Session;
use super::{Budget, Config, ModelName, ModelOptions};

/// A request's head.
const HEAD_BYTES: usize = 64 * 1024;
const HEADERS: usize = 64;
/// How long a session may take to send a request.
pub(super) const REQUEST_TIME: Duration = Duration::from_secs(60);
/// Calls of one session that run at once; more wait.
const CALLS: usize = 4;

/// What leads to the model server. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Gateway {
    pub(super) client: reqwest::Client,
    pub(super) endpoint: Endpoint,
    pub(super) config: Arc<Config>,
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

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "gateway_v1_tests.rs"]
mod v1_tests;
