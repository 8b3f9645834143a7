//! Models: reached by a session through the [`gateway`] only, chosen and listed in [`local`].
//!
//! The host speaks to Ollama's native API; a session speaks the same API to the gateway, which pins
//! the model, sets the options, meters every call and lets nothing else through (DESIGN.md #10).

mod budget;
mod chat;
mod dialect;
pub mod endpoint;
mod error;
pub mod gateway;
pub mod local;
mod meter;
mod output;
pub mod provider;
pub mod pull;
mod respond;
pub mod scripted;
mod session;
#[cfg(test)]
mod testing;
mod upstream;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::dialect::Dialect;
pub use self::endpoint::{ConfigError, Endpoint};
pub use self::error::ModelError;
pub use self::meter::{CallStatus, ModelCall};
pub use self::provider::ProviderConfig;

/// Seconds to connect to a provider, at the least: it is not next door.
const PROVIDER_CONNECT_S: u64 = 10;

/// The `[model]` part of `treefort.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where Ollama is, in any form that `OLLAMA_HOST` takes; empty: `OLLAMA_HOST`, else
    /// `http://localhost:11434`.
    pub ollama: String,
    /// The default model, `provider:name` or Ollama's name; empty: [`local::choose`] decides.
    pub default: String,
    /// Models to ask, in this order, when the default one is not there or fails before its first word.
    pub fallback: Vec<String>,
    /// The context that a model is given, in tokens; at most what the model was made for. Always sent: Ollama's own
    /// default truncates long prompts silently.
    pub num_ctx: u32,
    /// How long Ollama keeps a model loaded after a call (`10m`, `-1s` for ever).
    pub keep_alive: String,
    /// Seconds to connect to the model server.
    pub connect_s: u64,
    /// Seconds until the first piece of an answer; loading a large model counts.
    pub first_byte_s: u64,
    /// Seconds between two pieces of an answer.
    pub idle_s: u64,
    /// The proxy for providers outside of this machine's network; empty: none, whatever the environment says.
    pub proxy: String,
    /// Providers beside Ollama, by name.
    pub providers: BTreeMap<String, ProviderConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ollama: String::new(),
            default: String::new(),
            fallback: Vec::new(),
            num_ctx: 8192,
            keep_alive: "10m".to_owned(),
            connect_s: 2,
            first_byte_s: 300,
            idle_s: 60,
            proxy: String::new(),
            providers: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Where the model server is: this configuration, else `OLLAMA_HOST`, else the default.
    ///
    /// # Errors
    ///
    /// When the address cannot be used.
    pub fn endpoint(&self) -> Result<Endpoint, ConfigError> {
        if !self.ollama.trim().is_empty() {
            return Endpoint::parse(&self.ollama);
        }
        Endpoint::parse(&std::env::var("OLLAMA_HOST").unwrap_or_default())
    }

    /// A client for the model server: no proxies, no redirects, names of this machine without DNS.
    fn client(&self) -> Result<reqwest::Client, ConfigError> {
        let loopback = [
            ([127, 0, 0, 1], 0).into(),
            ([0, 0, 0, 0, 0, 0, 0, 1], 0).into(),
        ];
        reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .resolve_to_addrs("localhost", &loopback)
            .connect_timeout(Duration::from_secs(self.connect_s))
            // Reading all of the system's certificates takes time, and http needs none.
            .tls_built_in_root_certs(self.endpoint()?.url().scheme() == "https")
            .build()
            .map_err(ConfigError::Client)
    }

    /// A client for providers: rustls with the machine's certificates, no redirects, and no proxy but the
    /// configured one.
    fn providers_client(&self) -> Result<reqwest::Client, ConfigError> {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(self.connect_s.max(PROVIDER_CONNECT_S)));
        let proxy = self.proxy.trim();
        if !proxy.is_empty() {
            let proxy = reqwest::Proxy::https(proxy).map_err(ConfigError::Proxy)?;
            builder = builder.proxy(proxy);
        }
        builder.build().map_err(ConfigError::Client)
    }
}

/// A model's name with its tag, as Ollama lists it (`qwen2.5-coder:7b`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelName(pub String);

impl std::fmt::Display for ModelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ModelName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// What the host decides about how a model answers. What is `None` is the model's own default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelOptions {
    /// Randomness.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Tokens to choose from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Probability mass to choose from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Penalty for tokens by how often they occurred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// The longest answer, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_predict: Option<i64>,
    /// The context, in tokens; `None`: [`Config::num_ctx`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_ctx: Option<u32>,
    /// For the same answer again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
}

/// What a session may use in all. `None` is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// Tokens read and written.
    pub tokens: Option<u64>,
    /// Seconds of the model's time.
    pub seconds: Option<u64>,
    /// Money, in millionths of a US dollar. A model whose price is not known is not asked then.
    pub microusd: Option<u64>,
}
