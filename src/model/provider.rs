//! Where models are: Ollama on this machine, and the providers that an owner names.
//!
//! A model's name is `provider:name`, or an Ollama name (`qwen2.5-coder:7b`). Keys are read from the
//! environment at the start and go nowhere but into the provider's own header. A key chooses nothing:
//! only a name does.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::HeaderValue;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::endpoint::{ConfigError, Endpoint};
use super::local::is_cloud_name;
use super::{Config, Dialect, ModelName};

/// The name of the local provider.
pub const OLLAMA: &str = "ollama";

/// Providers that need no configuration: name, dialect, address, and where their key is.
const BUILT_IN: &[(&str, Dialect, &str, &str)] = &[
    (
        "openai",
        Dialect::OpenAi,
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
    ),
    (
        "anthropic",
        Dialect::Anthropic,
        "https://api.anthropic.com",
        "ANTHROPIC_API_KEY",
    ),
    (
        "gemini",
        Dialect::Gemini,
        "https://generativelanguage.googleapis.com",
        "GEMINI_API_KEY",
    ),
];

/// `[model.providers.<name>]`: a provider of the owner's, or what differs for a built-in one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderConfig {
    /// The API that it speaks; `openai` when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// Where it is: for `openai` up to and with `/v1`, for the others up to what comes before `/v1`.
    pub url: String,
    /// The environment variable that holds its key; empty: it takes none.
    pub key_env: String,
    /// US dollars for a million tokens read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_in: Option<f64>,
    /// US dollars for a million tokens written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_out: Option<f64>,
}

/// What a token costs, in millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// A token read.
    pub input: f64,
    /// A token written.
    pub output: f64,
}

impl Price {
    /// What so many tokens cost, in micro-dollars, rounded up.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "prices are checked to be small and positive, and a cast saturates"
    )]
    pub fn of(self, read: u64, written: u64) -> u64 {
        (read as f64 * self.input + written as f64 * self.output).ceil() as u64
    }
}

/// A provider's key. It is shown nowhere.
#[derive(Clone)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// A text without the key.
    pub(super) fn cut(&self, text: &str) -> String {
        text.replace(&self.0, "[redacted]")
    }

    /// A header's value that no log shows.
    pub(super) fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where models of one kind are.
#[derive(Debug)]
pub struct Provider {
    name: String,
    dialect: Dialect,
    /// Without a slash at its end.
    url: String,
    key: Option<Secret>,
    key_env: String,
    price: Option<Price>,
    local: bool,
}

impl Provider {
    /// Its name, as in `provider:model`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The API that it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The environment variable of its key; empty when it takes none.
    #[must_use]
    pub fn key_env(&self) -> &str {
        &self.key_env
    }

    /// Whether its key is there, if it takes one.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.key_env.is_empty() || self.key.is_some()
    }

    /// What tokens cost there, when the owner said so. What runs on the owner's machines costs nothing.
    #[must_use]
    pub fn price(&self) -> Option<Price> {
        self.price
    }

    /// Whether it is on this machine or in the owner's network: nothing leaves it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.local
    }

    pub(super) fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    /// Whether it is the company's own service, which is strict about fields.
    pub(super) fn is_built_in(&self) -> bool {
        BUILT_IN.iter().any(|(name, ..)| *name == self.name)
    }

    fn build(
        name: &str,
        base: (Dialect, &str, &str),
        config: &ProviderConfig,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let (dialect, url, key_env) = base;
        let or = |given: &str, base: &str| {
            let given = given.trim();
            if given.is_empty() { base } else { given }.to_owned()
        };
        let dialect = config.dialect.unwrap_or(dialect);
        let why = match dialect {
            Dialect::Ollama => Some(
                "Ollama's address is `ollama` under [model]; a provider speaks openai, anthropic or gemini",
            ),
            Dialect::Responses => Some(
                "`responses` is how agents speak; a provider with that API speaks openai as well",
            ),
            Dialect::OpenAi | Dialect::Anthropic | Dialect::Gemini => None,
        };
        if let Some(why) = why {
            let name = name.to_owned();
            return Err(ConfigError::Provider { name, why });
        }
        let given = or(&config.url, url);
        let url = provider_url(name, &given)?;
        let local = url.scheme() == "http";
        let key_env = or(&config.key_env, key_env);
        let key = (!key_env.is_empty())
            .then(|| env(&key_env))
            .flatten()
            .map(|key| key.trim().to_owned())
            .filter(|key| !key.is_empty() && key.chars().all(|c| c.is_ascii_graphic()));
        Ok(Self {
            name: name.to_owned(),
            dialect,
            url: url.as_str().trim_end_matches('/').to_owned(),
            key: key.map(Secret),
            key_env,
            price: price(name, config, local)?,
            local,
        })
    }
}

fn price(name: &str, config: &ProviderConfig, local: bool) -> Result<Option<Price>, ConfigError> {
    let price = match (config.price_in, config.price_out) {
        (None, None) if local => Price {
            input: 0.0,
            output: 0.0,
        },
        (None, None) => return Ok(None),
        (input, output) => Price {
            input: input.unwrap_or(0.0),
            output: output.unwrap_or(0.0),
        },
    };
    let sane = |price: f64| (0.0..1e6).contains(&price);
    if sane(price.input) && sane(price.output) {
        return Ok(Some(price));
    }
    Err(ConfigError::Provider {
        name: name.to_owned(),
        why: "a price is US dollars for a million tokens, from 0 up",
    })
}

/// An address that a key and a conversation may be sent to: https, or http within the owner's network.
fn provider_url(name: &str, text: &str) -> Result<Url, ConfigError> {
    let wrong = |why| ConfigError::Provider {
        name: name.to_owned(),
        why,
    };
    if text.is_empty() {
        return Err(wrong("it has no `url`"));
    }
    let url = Url::parse(text).map_err(|_| wrong("its `url` is not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "its `url` holds a name or a password; keys belong into the environment",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("its `url` has a `?` or `#`"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_private(&url) => Ok(url),
        "http" => Err(wrong(
            "its `url` is http to an address outside of this machine and its network, so that everyone on the way could read along; use https",
        )),
        _ => Err(wrong("its `url` is neither https nor http")),
    }
}

/// Whether a URL's host is this machine, or one that only its own network reaches.
fn is_private(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => host == "localhost",
    }
}

/// A model at its provider.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it is.
    pub provider: Arc<Provider>,
    /// What it is called there.
    pub model: String,
}

impl Target {
    /// Whether it runs on this machine or in the owner's network, as far as names and addresses say.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.provider.is_local() && !self.is_of_ollamas_cloud()
    }

    /// Whether its name says that Ollama's cloud runs it.
    pub(super) fn is_of_ollamas_cloud(&self) -> bool {
        self.provider.name == OLLAMA && is_cloud_name(&self.model)
    }

    /// Its whole name: `provider:model`, or as Ollama has it.
    #[must_use]
    pub fn name(&self) -> ModelName {
        if self.provider.name == OLLAMA {
            ModelName(self.model.clone())
        } else {
            ModelName(format!("{}:{}", self.provider.name, self.model))
        }
    }
}

/// All providers that can be named. Clones share them.
#[derive(Debug, Clone)]
pub struct Providers {
    ollama: Arc<Provider>,
    named: Arc<BTreeMap<String, Arc<Provider>>>,
}

impl Providers {
    /// The built-in ones and those of the configuration, with their keys from `env`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a provider that cannot be used as it is configured.
    pub fn new(
        config: &Config,
        ollama: &Endpoint,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut named = BTreeMap::new();
        let nothing = ProviderConfig::default();
        for (name, dialect, url, key_env) in BUILT_IN {
            let config = config.providers.get(*name).unwrap_or(&nothing);
            let provider = Provider::build(name, (*dialect, url, key_env), config, env)?;
            named.insert((*name).to_owned(), Arc::new(provider));
        }
        for (name, config) in &config.providers {
            if named.contains_key(name) {
                continue;
            }
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name == OLLAMA || !name.chars().all(good) {
                return Err(ConfigError::Provider {
                    name: name.clone(),
                    why: "a provider's name has small letters, digits and `-`, and is not `ollama`",
                });
            }
            let provider = Provider::build(name, (Dialect::OpenAi, "", ""), config, env)?;
            named.insert(name.clone(), Arc::new(provider));
        }
        let ollama = Provider {
            name: OLLAMA.to_owned(),
            dialect: Dialect::Ollama,
            local: ollama.is_private(),
            url: ollama.to_string(),
            key: None,
            key_env: String::new(),
            price: Some(Price {
                input: 0.0,
                output: 0.0,
            }),
        };
        Ok(Self {
            ollama: Arc::new(ollama),
            named: Arc::new(named),
        })
    }

    /// Which model a name means.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Target {
        let name = name.trim();
        let (provider, model) = match name.split_once(':') {
            Some((OLLAMA, model)) => (&self.ollama, model),
            Some((provider, model)) => match self.named.get(provider) {
                Some(provider) => (provider, model),
                None => (&self.ollama, name),
            },
            None => (&self.ollama, name),
        };
        Target {
            provider: Arc::clone(provider),
            model: model.to_owned(),
        }
    }

    /// The providers beside Ollama, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.named.values().map(|provider| &**provider)
    }

    /// The keys, for whoever cuts secrets out of texts.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let keys = self.named.values().filter_map(|provider| provider.key());
        keys.map(|key| key.expose().to_owned()).collect()
    }
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
