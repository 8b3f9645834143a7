//! The way out for a job that was given a network: a proxy on the host with a list of what may be reached.
//!
//! A sandbox has no network. A job of the owner's may name hosts; then its sandbox gets one more kind of stream over the
//! multiplexer, which ends here and nowhere else. [`Egress`] holds what the owner set, [`Network`] is one session's:
//! it speaks HTTP's `CONNECT` and plain requests with a whole address, and connects to what its [`Rules`] name.
//! Invariants: what is not named is refused; a name is looked up once, and the connection goes to the very address that
//! was checked; addresses of this computer and of private networks are no destination unless the owner's settings name
//! them; a contact is told to whoever keeps the record before a byte flows; what comes from the sandbox is hostile, and
//! bounded in bytes, count and time.

pub mod address;
mod carry;
mod head;
mod host;
mod network;
mod reach;
mod rules;
mod serve;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

pub use self::{
    host::{Host, Odd, Place},
    network::{Contact, Network, Said, Tally, Verdict, Why},
    rules::{ASK, RuleError, Rules},
};

/// The hosts of `packages`: the registries of npm, PyPI, crates.io and Debian, and where they keep their files.
const PACKAGES: [&str; 8] = [
    "registry.npmjs.org",
    "pypi.org",
    "files.pythonhosted.org",
    "crates.io",
    "index.crates.io",
    "static.crates.io",
    "deb.debian.org",
    "security.debian.org",
];

/// `[network]`: what jobs may reach that are given a network, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `host:port` in private networks or on this computer that a job's rules may lead to.
    pub private: Vec<String>,
    /// The proxy on the way out (`http://host:port`); empty: none, whatever the environment says.
    pub proxy: String,
    /// MiB that one job may send.
    pub out_mb: u64,
    /// MiB that one job may receive.
    pub in_mb: u64,
    /// Names for lists of hosts.
    pub presets: BTreeMap<String, Vec<String>>,
}

impl Default for Config {
    fn default() -> Self {
        let packages = PACKAGES.map(str::to_owned).to_vec();
        Self {
            private: Vec::new(),
            proxy: String::new(),
            out_mb: 64,
            in_mb: 4096,
            presets: BTreeMap::from([("packages".to_owned(), packages)]),
        }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// An entry of `private` is no host and port.
    #[error("`private` under [network] of treefort.toml: `{0}` is no host:port")]
    Private(String),
    /// The proxy is not one that can be used.
    #[error("`proxy` under [network] of treefort.toml is not of the form http://host:port")]
    Proxy,
    /// A preset names something that is no rule.
    #[error("`{name}` under [network.presets] of treefort.toml: {source}")]
    Preset {
        /// The preset.
        name: String,
        /// What is wrong with it.
        #[source]
        source: RuleError,
    },
}

/// What the owner set, read. Its clones are the same.
#[derive(Clone)]
pub struct Egress(Arc<Settings>);

/// What every session's network shares.
pub(crate) struct Settings {
    presets: BTreeMap<String, Vec<String>>,
    private: Vec<Place>,
    proxy: Option<Place>,
    out_bytes: u64,
    in_bytes: u64,
    lookup: reach::Lookup,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress")
            .field("private", &self.0.private)
            .finish_non_exhaustive()
    }
}

impl Egress {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one of them says nothing that can be used.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Self::with(config, reach::system())
    }

    /// The same, with another way to look up names.
    fn with(config: Config, lookup: reach::Lookup) -> Result<Self, ConfigError> {
        let private = config.private.iter().map(|text| {
            Place::parse(text, None)
                .map_err(|_| ConfigError::Private(text.chars().take(80).collect()))
        });
        let private: Vec<Place> = private.collect::<Result<_, _>>()?;
        let proxy = match config.proxy.trim() {
            "" => None,
            text => {
                let place = text
                    .strip_prefix("http://")
                    .map(|rest| rest.trim_end_matches('/'));
                let place = place.and_then(|place| Place::parse(place, None).ok());
                Some(place.ok_or(ConfigError::Proxy)?)
            }
        };
        let mib = |amount: u64| amount.saturating_mul(1 << 20);
        let egress = Self(Arc::new(Settings {
            presets: config.presets,
            private,
            proxy,
            out_bytes: mib(config.out_mb),
            in_bytes: mib(config.in_mb),
            lookup,
        }));
        for name in egress.0.presets.keys() {
            let read = match rules::is_a_name(name) {
                true => egress.rules([name.as_str()]).map(drop),
                false => Err(RuleError::Unknown(
                    name.chars().take(80).collect(),
                    String::new(),
                )),
            };
            read.map_err(|source| ConfigError::Preset {
                name: name.clone(),
                source,
            })?;
        }
        Ok(egress)
    }

    /// Reads what a job may reach.
    ///
    /// # Errors
    /// A sentence that says which word is no rule.
    pub fn rules<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<Rules, RuleError> {
        Rules::read(words, &self.0.presets, &self.0.private)
    }

    /// A session's way out under these rules, closed until its first turn begins; and what is to be recorded of it.
    #[must_use]
    pub fn open(&self, rules: Rules) -> (Network, tokio::sync::mpsc::Receiver<Contact>) {
        Network::new(self.0.clone(), rules)
    }
}
