//! `sync.toml`: which relays the owner shares what with, and whom it listens to. Without the file nothing leaves.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use nostr::{Filter, PublicKey};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::address::{AddressError, RelayUrl};
use crate::{
    nips::{kind, nip01},
    plain_toml::mistake,
};

/// The name of the file in a home.
pub const FILE: &str = "sync.toml";

/// The kinds that leave unless the owner says otherwise: enough for others to see that work was done and how it ended,
/// and nothing of what its owner asked. Who asked on another relay has said it there.
pub const DEFAULT_KINDS: [u16; 14] = [
    kind::PROFILE,
    kind::NOTE,
    kind::RECIPE,
    kind::RECIPE_HEAD,
    kind::SESSION_START,
    kind::SESSION_END,
    kind::RECEIPT,
    kind::VERIFICATION,
    kind::AGENT_TASK_RESULT,
    30382,
    30383,
    30384,
    30385,
    kind::HANDLER,
];

/// The most relays that an owner lets others add, and days.
const MOST_NAMED: u64 = 256;
const MOST_DAYS: u64 = 365;

/// What an owner shares, and what is listened to.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Whether connections are made at all: a command that starts treefort for itself makes none.
    pub connect: bool,
    /// Which kinds may leave.
    pub policy: PolicyConfig,
    /// Which relays others may add.
    pub named: NamedConfig,
    /// Where to, and from where.
    pub streams: Vec<Stream>,
    /// The home that this was read from, with the [`fingerprint`] of its file.
    pub file: Option<(PathBuf, String)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect: true,
            policy: PolicyConfig::default(),
            named: NamedConfig::default(),
            streams: Vec::new(),
            file: None,
        }
    }
}

/// `[policy]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// The kinds that may leave.
    pub kinds: BTreeSet<u16>,
    /// Other kinds for what was done in one folder.
    pub project: Vec<ProjectRule>,
    /// Other kinds for one session.
    pub session: Vec<SessionRule>,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            kinds: DEFAULT_KINDS.into(),
            project: Vec::new(),
            session: Vec::new(),
        }
    }
}

/// `[[policy.project]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectRule {
    /// The folder, and all below it.
    pub path: String,
    /// The kinds that may leave of what was done there.
    pub kinds: BTreeSet<u16>,
    /// Where that is when links are followed; nothing when there is no such folder.
    #[serde(skip)]
    pub real: Option<PathBuf>,
}

impl ProjectRule {
    /// Whether a folder is that of the rule, or below it.
    #[must_use]
    pub fn covers(&self, folder: &Path) -> bool {
        let below = |path: &Path| folder.starts_with(path);
        below(Path::new(&self.path)) || self.real.as_deref().is_some_and(below)
    }
}

/// `[[policy.session]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRule {
    /// The session, as `treefort jobs --json` names it.
    #[serde(deserialize_with = "session")]
    pub key: PublicKey,
    /// The kinds that may leave of it.
    pub kinds: BTreeSet<u16>,
}

fn session<'de, D: serde::Deserializer<'de>>(from: D) -> Result<PublicKey, D::Error> {
    let text = String::deserialize(from)?;
    PublicKey::parse(&text).map_err(|_| {
        serde::de::Error::custom("this is no session's key; `treefort jobs --json` shows it")
    })
}

/// `[named_by_others]`: relays that are not in this file, for what is said to those who name them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamedConfig {
    /// Answers to a job go also to the relays that the job names (NIP-90, `relays`).
    pub jobs: bool,
    /// Answers to a job that names none, replies, comments and reactions go also to where those read whom they are said
    /// to (NIP-65).
    pub readers: bool,
    /// Relays that one job, or one list, may add.
    pub per_job: usize,
    /// Relays that one key may have added at a time.
    pub per_key: usize,
    /// Relays that all may have added at a time.
    pub most: usize,
    /// Days after a job in which its answers leave for them.
    pub days: u64,
}

impl Default for NamedConfig {
    fn default() -> Self {
        Self {
            jobs: false,
            readers: false,
            per_job: 3,
            per_key: 8,
            most: 32,
            days: 7,
        }
    }
}

impl NamedConfig {
    /// Whether others may add any.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.jobs || self.readers
    }

    /// For how many seconds a naming counts.
    #[must_use]
    pub fn keep_s(&self) -> u64 {
        self.days.saturating_mul(24 * 3600)
    }
}

/// Which way events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What is ours leaves.
    Up,
    /// What is for us comes in.
    Down,
    /// Both.
    Both,
}

impl Direction {
    /// Whether events leave.
    #[must_use]
    pub fn is_up(self) -> bool {
        self != Self::Down
    }

    /// Whether events come in.
    #[must_use]
    pub fn is_down(self) -> bool {
        self != Self::Up
    }
}

/// `[[stream]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// Its name, for people.
    pub name: String,
    /// Which way events go.
    pub dir: Direction,
    /// Only these, of those that may.
    pub filter: Option<Filter>,
    /// The relays.
    pub relays: Vec<RelayUrl>,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    policy: PolicyConfig,
    named_by_others: NamedConfig,
    stream: Vec<WrittenStream>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStream {
    name: String,
    dir: Direction,
    relays: Vec<String>,
    #[serde(default)]
    filter: Option<toml::Value>,
}

/// Why `sync.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("sync.toml cannot be read")]
    Read(#[source] io::Error),
    /// It says something that is not known, or in a way that cannot be read.
    #[error("sync.toml: {0}")]
    Parse(String),
    /// A relay's address.
    #[error("sync.toml, stream \"{stream}\": {source}")]
    Address {
        /// The stream.
        stream: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// A filter.
    #[error("sync.toml, stream \"{stream}\": the filter cannot be read: {why}")]
    Filter {
        /// The stream.
        stream: String,
        /// What is wrong with it.
        why: String,
    },
    /// A stream that leads nowhere.
    #[error("sync.toml, stream \"{0}\": it names no relay")]
    NoRelay(String),
    /// Two streams of one name.
    #[error("sync.toml: two streams are called \"{0}\"")]
    Twice(String),
    /// A folder that is not named from the root.
    #[error("sync.toml, [[policy.project]]: {0} is not a whole path; begin it with /")]
    Path(String),
    /// A bound that is none.
    #[error(
        "sync.toml, [named_by_others]: {key} is 1 to {most}; without `jobs` and `readers` nothing is added"
    )]
    Bound {
        /// Which.
        key: &'static str,
        /// The highest that it may be.
        most: u64,
    },
    /// A kind that never leaves.
    #[error("sync.toml: kind {0} never leaves this machine, so no policy can name it")]
    Never(u16),
}

impl Config {
    /// Reads `sync.toml` in a home; without one nothing is synced.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub fn load(home: &Path) -> Result<Self, ConfigError> {
        let path = home.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(ConfigError::Read(error)),
        };
        let mut config = Self::parse(&text)?;
        config.file = Some((home.to_owned(), hash(text.as_bytes())));
        Ok(config)
    }

    /// Whether the file says something else by now; what this treefort goes by is what was in it.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.file
            .as_ref()
            .is_some_and(|(home, was)| fingerprint(home).as_ref() != Some(was))
    }

    /// Reads the text of a `sync.toml`.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let written: Written =
            toml::from_str(text).map_err(|error| ConfigError::Parse(mistake(&error)))?;
        let mut policy = written.policy;
        for rule in &mut policy.project {
            if !Path::new(&rule.path).is_absolute() {
                return Err(ConfigError::Path(rule.path.clone()));
            }
            rule.real = std::fs::canonicalize(&rule.path).ok();
        }
        let named = std::iter::once(&policy.kinds)
            .chain(policy.project.iter().map(|rule| &rule.kinds))
            .chain(policy.session.iter().map(|rule| &rule.kinds));
        for kind in named.flatten() {
            if super::policy::never(*kind) {
                return Err(ConfigError::Never(*kind));
            }
        }
        let named = written.named_by_others;
        for (key, value, most) in [
            ("per_job", named.per_job as u64, MOST_NAMED),
            ("per_key", named.per_key as u64, MOST_NAMED),
            ("most", named.most as u64, MOST_NAMED),
            ("days", named.days, MOST_DAYS),
        ] {
            if !(1..=most).contains(&value) {
                return Err(ConfigError::Bound { key, most });
            }
        }
        let mut streams: Vec<Stream> = Vec::new();
        for stream in written.stream {
            if streams.iter().any(|known| known.name == stream.name) {
                return Err(ConfigError::Twice(stream.name));
            }
            streams.push(read_stream(stream)?);
        }
        Ok(Self {
            connect: true,
            policy,
            named,
            streams,
            file: None,
        })
    }

    /// Whether there is nothing to sync.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.streams.is_empty() && !self.named.is_on()
    }

    /// Folders of rules that are not there: of what such a rule is to keep, all may leave.
    pub fn missing_folders(&self) -> impl Iterator<Item = &str> {
        let missing = (self.policy.project.iter()).filter(|rule| rule.real.is_none());
        missing.map(|rule| rule.path.as_str())
    }

    /// Every relay that is named, once, in the order in which they are.
    #[must_use]
    pub fn relays(&self) -> Vec<RelayUrl> {
        let mut relays: Vec<RelayUrl> = Vec::new();
        for relay in self.streams.iter().flat_map(|stream| &stream.relays) {
            if !relays.contains(relay) {
                relays.push(relay.clone());
            }
        }
        relays
    }

    /// Whether a stream names a relay.
    #[must_use]
    pub fn names(&self, relay: &RelayUrl) -> bool {
        self.of(relay).next().is_some()
    }

    /// The streams of a relay.
    pub fn of<'a>(&'a self, relay: &'a RelayUrl) -> impl Iterator<Item = &'a Stream> {
        self.streams
            .iter()
            .filter(move |stream| stream.relays.contains(relay))
    }
}

/// What tells one text of a home's `sync.toml` from another; none is as one without words. `None` when it cannot be read.
#[must_use]
pub fn fingerprint(home: &Path) -> Option<String> {
    match std::fs::read(home.join(FILE)) {
        Ok(bytes) => Some(hash(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(hash(b"")),
        Err(_) => None,
    }
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn read_stream(written: WrittenStream) -> Result<Stream, ConfigError> {
    let name = written.name;
    if written.relays.is_empty() {
        return Err(ConfigError::NoRelay(name));
    }
    let relays = written
        .relays
        .iter()
        .map(|relay| RelayUrl::parse(relay))
        .collect::<Result<_, _>>()
        .map_err(|source| ConfigError::Address {
            stream: name.clone(),
            source,
        })?;
    let filter = written
        .filter
        .map(|filter| read_filter(&filter))
        .transpose()
        .map_err(|why| ConfigError::Filter {
            stream: name.clone(),
            why,
        })?;
    Ok(Stream {
        name,
        dir: written.dir,
        filter,
        relays,
    })
}

/// A filter as events are asked for, written as a table.
fn read_filter(table: &toml::Value) -> Result<Filter, String> {
    let toml::Value::Table(entries) = table else {
        return Err("it is a table, such as { kinds = [4785] }".to_owned());
    };
    for key in entries.keys() {
        // A limit would let some of what matches leave, and nobody could say which.
        if matches!(key.as_str(), "search" | "limit") || !nip01::is_filter_field(key) {
            return Err(format!(
                "unknown key `{key}`; there are ids, authors, kinds, since, until and tags such as \"#t\""
            ));
        }
    }
    let json = serde_json::to_string(table).map_err(|error| error.to_string())?;
    nip01::parse_filter(&json).map_err(|error| {
        format!(
            "{error}; ids and authors are lists of 64 hexadecimal digits, kinds of numbers, tags of words, since and \
             until are seconds since 1970"
        )
    })
}

#[cfg(test)]
mod tests;
