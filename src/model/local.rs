//! The models of the local server: which there are, which to use, what is known about one.
//!
//! `ollama-rs` 0.3.6 serves `show`. Its list lacks what a model's record needs (digest, family), so
//! `/api/tags` is read here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ollama_rs::Ollama;
use ollama_rs::error::OllamaError;
use serde::Deserialize;

use super::provider::{OLLAMA, Providers, Target};
use super::{Config, ConfigError, Endpoint, ModelName};

/// Models to prefer when none is configured, the best first.
pub const PREFERRED: &[&str] = &[
    "qwen2.5-coder:7b",
    "qwen3:8b",
    "llama3.1:8b",
    "gemma3:4b",
    "llama3.2:3b",
    "qwen2.5-coder:3b",
];

/// How long a question to the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A model that the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// Its name with its tag; `provider:name` when it is not Ollama's.
    pub name: ModelName,
    /// Its provider.
    pub provider: String,
    /// Whether it runs on this machine or in its network: nothing leaves it.
    pub local: bool,
    /// Whether the model server itself asks somebody else for its answers, as Ollama does for its cloud's models.
    pub cloud: bool,
    /// Bytes on disk.
    pub size: u64,
    /// The digest of its manifest, hexadecimal; empty when not given.
    pub digest: String,
    /// When it was last changed, RFC 3339; empty when not given.
    pub modified: String,
    /// Its family (`qwen2`); empty when not given.
    pub family: String,
    /// The number of its parameters (`7.6B`); empty when not given.
    pub parameters: String,
}

impl ModelInfo {
    /// In the place of a model, for what needs none.
    #[must_use]
    pub fn none() -> Self {
        Self {
            name: "none".into(),
            provider: "none".to_owned(),
            local: true,
            cloud: false,
            size: 0,
            digest: String::new(),
            modified: String::new(),
            family: String::new(),
            parameters: String::new(),
        }
    }

    /// What is known about a model that is named and not looked for.
    #[must_use]
    pub fn named(target: &Target) -> Self {
        Self {
            name: target.name(),
            provider: target.provider.name().to_owned(),
            local: target.is_local(),
            cloud: target.is_of_ollamas_cloud(),
            size: 0,
            digest: String::new(),
            modified: String::new(),
            family: String::new(),
            parameters: String::new(),
        }
    }
}

/// What is known about one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDetails {
    /// What it can do (`completion`, `tools`, `vision`, `thinking`).
    pub capabilities: Vec<String>,
    /// The longest context that it was made for.
    pub context_length: Option<u64>,
}

/// Why there is no answer, or no model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's address.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody answers.
    #[error("no model server answers at {endpoint}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why; `None`: in time.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The server answers what it should not.
    #[error("the model server at {endpoint} gives no answer that treefort understands")]
    Answer {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The same, from `ollama-rs`.
    #[error("the model server at {endpoint} does not show {model}")]
    Show {
        /// Where.
        endpoint: String,
        /// The model.
        model: String,
        /// Why.
        #[source]
        source: OllamaError,
    },
    /// A model does not come.
    #[error("the model server does not get {model}: {why}")]
    Pull {
        /// The model.
        model: String,
        /// The server's sentence.
        why: String,
        /// The whole of it.
        #[source]
        source: OllamaError,
    },
    /// The same, without a word.
    #[error("the model server said nothing about {model} for {} s", after.as_secs())]
    Silent {
        /// The model.
        model: String,
        /// How long.
        after: Duration,
    },
    /// The default model's provider has no key.
    #[error("{provider} needs a key")]
    NoKey {
        /// The provider.
        provider: String,
        /// Where its key should be.
        env: String,
    },
    /// There is no model to use.
    #[error("{}", match configured {
        Some(name) => format!("the model server does not have the model {name}"),
        None => "the model server has no model".to_owned(),
    })]
    NoModel {
        /// The configured model that is missing.
        configured: Option<String>,
    },
}

impl Error {
    /// What to do about it, in one sentence for this platform. Errors of this kind are exit code 4.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Config(_) => {
                "Set OLLAMA_HOST, or `ollama` under [model] in treefort.toml, to an http address."
                    .into()
            }
            Self::Unreachable { endpoint, .. } if !is_local(endpoint) => {
                "Check OLLAMA_HOST, and that the machine which it names can be reached.".to_owned()
            }
            Self::Unreachable { .. } => start_hint(std::env::consts::OS).to_owned(),
            Self::Answer { .. } => {
                "Check that Ollama, and not another program, listens there.".into()
            }
            Self::Show { model, .. } => format!("Run `ollama pull {model}`."),
            Self::Pull { .. } => {
                "Check its name at https://ollama.com/library, the network, and the disk."
                    .to_owned()
            }
            Self::Silent { .. } => "Try again: what has come already is kept.".to_owned(),
            Self::NoKey { env, .. } => {
                format!("Set {env} in the environment of treefort, and start it again.")
            }
            Self::NoModel { configured } => {
                let model = configured.as_deref().unwrap_or(PREFERRED[0]);
                format!("Run `ollama pull {model}`.")
            }
        }
    }
}

/// Whether an address is on this machine.
fn is_local(endpoint: &str) -> bool {
    ["//localhost", "//127.", "//[::1]"]
        .iter()
        .any(|local| endpoint.contains(local))
}

fn start_hint(os: &str) -> &'static str {
    match os {
        "macos" => {
            "Start the Ollama app, or install it with `brew install ollama` and run `ollama serve`."
        }
        "windows" => "Start the Ollama app, or install it from https://ollama.com/download.",
        _ => {
            "Run `ollama serve`, or install it with `curl -fsSL https://ollama.com/install.sh | sh`."
        }
    }
}

/// The local model server's management side.
#[derive(Debug, Clone)]
pub struct Local {
    client: reqwest::Client,
    endpoint: Endpoint,
    /// What was said of models that were asked about, by digest.
    known: Arc<Mutex<HashMap<String, Option<ModelDetails>>>>,
}

#[derive(Deserialize)]
struct Tags {
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    modified_at: String,
    #[serde(default)]
    details: Details,
    /// Where it runs, and what it is called there, when that is not the server.
    #[serde(default)]
    remote_host: Option<String>,
    #[serde(default)]
    remote_model: Option<String>,
}

impl Tag {
    fn is_cloud(&self) -> bool {
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        given(&self.remote_host) || given(&self.remote_model) || is_cloud_name(&self.name)
    }
}

/// Whether a model's tag says that Ollama's cloud runs it: `gpt-oss:120b-cloud`, `glm-4.6:cloud`.
pub(super) fn is_cloud_name(name: &str) -> bool {
    let tag = name
        .rsplit('/')
        .next()
        .and_then(|name| name.split_once(':'));
    tag.is_some_and(|(_, tag)| tag == "cloud" || tag.ends_with("-cloud"))
}

#[derive(Deserialize, Default)]
struct Details {
    #[serde(default)]
    family: String,
    #[serde(default)]
    parameter_size: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

impl Local {
    /// For the configured server. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When the server's address cannot be used.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            client: config.client()?,
            endpoint: config.endpoint()?,
            known: Arc::default(),
        })
    }

    /// Where the server is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The server's version.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`], [`Error::Answer`].
    pub async fn version(&self) -> Result<String, Error> {
        let answer: Version = self.get("api/version").await?;
        Ok(answer.version)
    }

    /// The server's models, the most recently changed first.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`], [`Error::Answer`].
    pub async fn list(&self) -> Result<Vec<ModelInfo>, Error> {
        let tags: Tags = self.get("api/tags").await?;
        let near = self.endpoint.is_private();
        let info = |tag: Tag| ModelInfo {
            local: near && !tag.is_cloud(),
            cloud: tag.is_cloud(),
            name: ModelName(tag.name),
            provider: OLLAMA.to_owned(),
            size: tag.size,
            digest: tag.digest,
            modified: tag.modified_at,
            family: tag.details.family,
            parameters: tag.details.parameter_size,
        };
        let mut models: Vec<ModelInfo> = tags.models.into_iter().map(info).collect();
        models.sort_by(|a, b| b.modified.cmp(&a.modified));
        Ok(models)
    }

    /// The longest context that a model was made for, when the server says so.
    pub async fn context_length(&self, model: &ModelInfo) -> Option<u64> {
        self.details(model).await?.context_length
    }

    /// What the server says about a model, if it says anything. Each model is asked about once.
    pub async fn details(&self, model: &ModelInfo) -> Option<ModelDetails> {
        if model.provider != OLLAMA {
            return None;
        }
        let key = format!("{} {}", model.name, model.digest);
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(known) = known {
            return known;
        }
        let details = match self.show(&model.name).await {
            Ok(details) => Some(details),
            Err(error) => {
                tracing::debug!(%error, "the model server does not say what the model can do");
                None
            }
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, details.clone());
        details
    }

    /// What is known about one model.
    ///
    /// # Errors
    ///
    /// [`Error::Show`], [`Error::Unreachable`].
    pub async fn show(&self, model: &ModelName) -> Result<ModelDetails, Error> {
        // `Ollama::builder().host()` panics on a bad URL and its default client follows proxies and
        // redirects; both are given here.
        let url = self.endpoint.url().clone();
        let ollama = Ollama::builder()
            .url(url)
            .reqwest_client(self.client.clone())
            .build();
        let asking = tokio::time::timeout(TIMEOUT, ollama.show_model_info(model.0.clone()));
        let shown = match asking.await {
            Err(_) => return Err(self.unreachable(None)),
            Ok(Err(OllamaError::ReqwestError(error))) if error.is_connect() => {
                return Err(self.unreachable(Some(error)));
            }
            Ok(shown) => shown.map_err(|source| Error::Show {
                endpoint: self.endpoint.to_string(),
                model: model.0.clone(),
                source,
            })?,
        };
        let context = shown
            .model_info
            .iter()
            .find(|(key, _)| key.ends_with(".context_length"));
        Ok(ModelDetails {
            capabilities: shown.capabilities,
            context_length: context.and_then(|(_, value)| value.as_u64()),
        })
    }

    /// The model to use: the configured one, else the first of [`PREFERRED`] that is there, else the
    /// most recently changed.
    ///
    /// # Errors
    ///
    /// [`Error::NoModel`] when the server has none (or not the configured one); [`Error::Unreachable`].
    pub async fn choose(&self, configured: &str) -> Result<ModelInfo, Error> {
        choose(self.list().await?, configured)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let request = self.client.get(self.endpoint.at(path)).timeout(TIMEOUT);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.unreachable(Some(error))),
        };
        let read = async { response.error_for_status()?.json().await };
        read.await.map_err(|source| Error::Answer {
            endpoint: self.endpoint.to_string(),
            source,
        })
    }

    /// The client for the server.
    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    pub(super) fn unreachable(&self, source: Option<reqwest::Error>) -> Error {
        Error::Unreachable {
            endpoint: self.endpoint.to_string(),
            source,
        }
    }
}

/// The default model's name: the configured one, wherever it is, else a choice among the installed ones.
///
/// # Errors
///
/// [`Error::NoModel`], [`Error::NoKey`].
pub fn default_of(
    providers: &Providers,
    configured: &str,
    installed: Vec<ModelInfo>,
) -> Result<ModelName, Error> {
    let target = providers.resolve(configured);
    let provider = &target.provider;
    if provider.name() == OLLAMA {
        return choose(installed, &target.model).map(|model| model.name);
    }
    if provider.is_ready() {
        return Ok(target.name());
    }
    Err(Error::NoKey {
        provider: provider.name().to_owned(),
        env: provider.key_env().to_owned(),
    })
}

/// Chooses from a list that has the most recently changed first. Embedding models are never chosen,
/// and models of Ollama's cloud only when they are named.
///
/// # Errors
///
/// [`Error::NoModel`].
pub fn choose(models: Vec<ModelInfo>, configured: &str) -> Result<ModelInfo, Error> {
    let configured = configured.trim();
    let at = if configured.is_empty() {
        let of_name = |name: &&str| {
            let is_it = |model: &ModelInfo| model.name.0 == **name && !model.cloud;
            models.iter().position(is_it)
        };
        let talks = |model: &ModelInfo| !model.family.contains("bert") && !model.cloud;
        PREFERRED
            .iter()
            .find_map(of_name)
            .or_else(|| models.iter().position(talks))
    } else {
        // A name without a tag means `latest`, as in Ollama.
        let latest = format!("{configured}:latest");
        models
            .iter()
            .position(|model| model.name.0 == configured || model.name.0 == latest)
    };
    at.and_then(|at| models.into_iter().nth(at))
        .ok_or_else(|| Error::NoModel {
            configured: (!configured.is_empty()).then(|| configured.to_owned()),
        })
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
