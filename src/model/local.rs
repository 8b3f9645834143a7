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
    /// Its name with its tag.
    pub name: ModelName,
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
    /// The contexts of models that were asked about, by digest.
    contexts: Arc<Mutex<HashMap<String, Option<u64>>>>,
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
            contexts: Arc::default(),
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
        let info = |tag: Tag| ModelInfo {
            name: ModelName(tag.name),
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

    /// The longest context that a model was made for, when the server says so. Each model is asked about
    /// once.
    pub async fn context_length(&self, model: &ModelInfo) -> Option<u64> {
        let key = format!("{} {}", model.name, model.digest);
        let known = self
            .contexts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .copied();
        if let Some(known) = known {
            return known;
        }
        let length = match self.show(&model.name).await {
            Ok(details) => details.context_length,
            Err(error) => {
                tracing::debug!(%error, "the model server does not say how much the model reads");
                None
            }
        };
        let mut contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        contexts.insert(key, length);
        length
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

    fn unreachable(&self, source: Option<reqwest::Error>) -> Error {
        Error::Unreachable {
            endpoint: self.endpoint.to_string(),
            source,
        }
    }
}

/// Chooses from a list that has the most recently changed first. Embedding models are never chosen.
///
/// # Errors
///
/// [`Error::NoModel`].
pub fn choose(models: Vec<ModelInfo>, configured: &str) -> Result<ModelInfo, Error> {
    let configured = configured.trim();
    let at = if configured.is_empty() {
        let of_name = |name: &&str| models.iter().position(|model| model.name.0 == **name);
        let talks = |model: &ModelInfo| !model.family.contains("bert");
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
mod tests {
    use super::*;
    use crate::model::testing::{send, upstream};

    fn models(names: &[(&str, &str)]) -> Vec<ModelInfo> {
        let model = |(name, family): &(&str, &str)| ModelInfo {
            name: ModelName::from(*name),
            size: 1,
            digest: String::new(),
            modified: String::new(),
            family: (*family).to_owned(),
            parameters: String::new(),
        };
        names.iter().map(model).collect()
    }

    #[test]
    fn chooses_the_configured_then_a_preferred_then_the_newest() {
        let some = [
            ("nomic-embed-text:latest", "nomic-bert"),
            ("new:1b", "x"),
            ("qwen2.5-coder:7b", "qwen2"),
            ("a:latest", "x"),
        ];
        for (count, configured, expected) in [
            (4, "", Some("qwen2.5-coder:7b")),
            (2, "", Some("new:1b")),
            (1, "", None),
            (0, "", None),
            (4, "new:1b", Some("new:1b")),
            (4, " a ", Some("a:latest")),
            (4, "b", None),
        ] {
            let chosen = choose(models(&some[..count]), configured);
            let chosen = chosen.as_ref().map(|model| model.name.0.as_str());
            assert_eq!(chosen.ok(), expected, "{count} {configured:?}");
        }
    }

    #[test]
    fn every_platform_is_told_what_to_do() {
        for os in ["linux", "macos", "windows"] {
            assert!(start_hint(os).contains("ollama") || start_hint(os).contains("Ollama"));
        }
        let missing = choose(Vec::new(), "").unwrap_err();
        assert_eq!(missing.fix(), "Run `ollama pull qwen2.5-coder:7b`.");
    }

    #[tokio::test]
    async fn reads_what_ollama_lists_through_the_name_localhost() {
        let body = r#"{"models":[{"name":"old:1b","modified_at":"2026-01-01T00:00:00Z","size":1},
            {"name":"new:1b","modified_at":"2026-02-01T00:00:00Z","size":2,"digest":"ab","details":
            {"family":"qwen2","parameter_size":"7.6B","families":null},"model":"new:1b"}]}"#;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let server = upstream(vec![send(head)]).await;
        let url = server.url.replace("127.0.0.1", "localhost");
        let local = Local::new(&Config {
            ollama: url,
            ..Config::default()
        })
        .unwrap();
        let models = local.list().await.unwrap();
        assert_eq!(
            models[0],
            ModelInfo {
                name: "new:1b".into(),
                size: 2,
                digest: "ab".into(),
                modified: "2026-02-01T00:00:00Z".into(),
                family: "qwen2".into(),
                parameters: "7.6B".into(),
            }
        );
        assert_eq!(models.len(), 2);
    }

    #[tokio::test]
    async fn another_program_on_the_port_is_told_from_no_server() {
        let server = upstream(vec![send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")]).await;
        let local = Local::new(&Config {
            ollama: server.url.clone(),
            ..Config::default()
        })
        .unwrap();
        assert!(matches!(local.list().await, Err(Error::Answer { .. })));
    }
}
