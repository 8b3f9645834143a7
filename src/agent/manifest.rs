//! `agent.toml`: an agent as data, so that a new one needs no code.
//!
//! [`Manifest::parse`] says everything that is wrong at once, each with its line and what to write
//! instead ([`Problem`]); [`Manifest::environment`] fills in what is known only when it starts.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

mod check;
mod fill;

pub use fill::{Launch, PLACEHOLDERS, TOKEN_VARIABLE};

/// What treefort knows about one agent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name: `[a-z0-9-]{1,32}`, also its folder's.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// One sentence.
    pub description: String,
    /// The version of the agent that the image holds; the image's build gets it as `ARG VERSION`.
    pub version: String,
    /// The command inside the container, without `sandbox-init`.
    pub argv: Vec<String>,
    /// How it is driven.
    #[serde(default)]
    pub driver: Driver,
    /// Its environment, on top of what treefort sets; values may hold [`PLACEHOLDERS`].
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Configuration files that it finds in its home; their content may hold [`PLACEHOLDERS`].
    #[serde(default)]
    pub files: Vec<HomeFile>,
    /// Job kinds that it may serve (5050, 5870).
    pub kinds: Vec<u16>,
    /// Whether it works on a copy of a project.
    pub workspace: bool,
    /// How it gets a conversation's earlier turns.
    #[serde(default)]
    pub history: History,
    /// Whether a container of it is worth keeping ready for the next job.
    #[serde(default = "yes")]
    pub prewarm: bool,
    /// Seconds between closing its input and killing it.
    #[serde(default = "default_grace")]
    pub grace_s: u64,
    /// The ACP authentication method to call, for agents that insist.
    #[serde(default)]
    pub auth_method: Option<String>,
    /// The ACP session mode to set, for agents whose default does not work in a sandbox.
    #[serde(default)]
    pub session_mode: Option<String>,
    /// What `session/new` says to it beside the folder (`_meta`): an object of JSON.
    #[serde(default)]
    pub session_meta: Option<String>,
    /// Whether it asks its owner before it acts, when its owner wants that; see [`Manifest::asks`].
    #[serde(default)]
    pub asks: Option<bool>,
    /// The ACP session mode in which it asks, for agents that ask in one of their modes only.
    #[serde(default)]
    pub ask_mode: Option<String>,
    /// How a conversation goes on with its own memory of it in another sandbox; `None` when it cannot.
    #[serde(default)]
    pub resume: Option<Resume>,
    /// How it speaks to its model.
    #[serde(default)]
    pub model: ModelUse,
    /// Its image.
    pub image: ImageSource,
    /// How it runs on a machine without Docker; `None` when it cannot.
    #[serde(default)]
    pub embedded: Option<crate::sandbox::Host>,
    /// Its container's limits.
    #[serde(default)]
    pub limits: Limits,
}

/// How an agent is driven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// The Agent Client Protocol on its standard input and output.
    #[default]
    Acp,
    /// Its command, with the prompt as the last argument; what it writes is the answer, and its exit
    /// code says whether it succeeded.
    Exec,
}

/// How an agent gets a conversation's earlier turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum History {
    /// In `session/new`'s `_meta` (`treefort/history`).
    Meta,
    /// In front of the prompt.
    #[default]
    Prompt,
}

/// A file that the agent finds in its home, which is empty otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeFile {
    /// Its path below the agent's home.
    pub path: String,
    /// Its text.
    pub content: String,
}

/// What of an agent's own is kept so that it can go on with a conversation itself (ACP's `session/load` or
/// `session/resume`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// The folders below its home in which it keeps its conversations.
    pub state: Vec<String>,
}

/// How an agent speaks to its model, which it finds at `http://127.0.0.1:11434`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelUse {
    /// Whose API it speaks.
    pub dialect: Dialect,
    /// Names of models that the agent asks for by itself, each with the model that answers instead;
    /// `{model}` is the session's own.
    pub names: BTreeMap<String, String>,
    /// Tokens of context that it needs to work with: what it tells its model before the first word of a person is
    /// long. A model that was made for less gets what it was made for.
    pub context: Option<u32>,
}

/// Whose API an agent speaks to its model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// `/v1/chat/completions`, which most agents can be told to use.
    #[default]
    Openai,
    /// `/v1/responses`.
    Responses,
    /// `/v1/messages`.
    Anthropic,
    /// `/v1beta/models/…`.
    Gemini,
    /// `/api/chat`.
    Ollama,
}

impl Dialect {
    /// The dialect's name, as a manifest has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
        }
    }
}

/// Where an agent's image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSource {
    /// The Dockerfile, relative to the agent's folder, which is also the build's context.
    #[serde(default = "default_dockerfile")]
    pub dockerfile: String,
    /// Whether it builds on treefort's own base, which is built first and given as `ARG BASE`.
    #[serde(default)]
    pub base: bool,
    /// Whether its build may use the network. Agents in the home are then built only when the owner
    /// says so by name.
    #[serde(default)]
    pub network: bool,
}

/// What a container of the agent may use.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory without swap, in MiB.
    pub memory_mb: u64,
    /// Processors.
    pub cpus: f64,
    /// Processes and threads.
    pub pids: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_mb: 2048,
            cpus: 2.0,
            pids: 256,
        }
    }
}

fn default_grace() -> u64 {
    5
}

fn default_dockerfile() -> String {
    "Dockerfile".to_owned()
}

fn yes() -> bool {
    true
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not of this format, though nothing in particular is wrong with it.
    #[error("{0}")]
    Parse(#[source] Box<toml::de::Error>),
    /// All that is wrong.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// Every problem found, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The field, like `limits.pids`; empty when the file is not TOML there.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.field.is_empty() {
            write!(f, "{} ", self.field)?;
        }
        f.write_str(&self.message)?;
        if !self.fix.is_empty() {
            write!(f, " ({})", self.fix)?;
        }
        Ok(())
    }
}

/// The names of all fields, the outermost ones.
#[cfg(test)]
pub(super) fn fields() -> impl Iterator<Item = &'static str> {
    check::names()
}

/// Whether a text can be an agent's name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    check::name(text).is_ok()
}

impl Manifest {
    /// Whether its jobs need a model. A command does when something that it is started with names the model.
    #[must_use]
    pub fn needs_a_model(&self) -> bool {
        let texts = self
            .env
            .values()
            .chain(self.files.iter().map(|file| &file.content));
        self.driver == Driver::Acp || texts.into_iter().any(|text| text.contains("{model}"))
    }

    /// Whether it can ask its owner before it acts: one that speaks ACP, unless its manifest says otherwise. A
    /// command cannot.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.driver == Driver::Acp && self.asks.unwrap_or(true)
    }

    /// Tokens of context that its models are given, where the configuration says `usual`.
    #[must_use]
    pub fn context(&self, usual: u32) -> u32 {
        self.model.context.unwrap_or_default().max(usual)
    }

    /// What `session/new` says to it beside the folder.
    #[must_use]
    pub fn meta(&self) -> Map<String, Value> {
        let text = self.session_meta.as_deref();
        // What is no object was refused when the manifest was read.
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// The ACP session mode of a job, with or without questions.
    #[must_use]
    pub fn mode(&self, asks: bool) -> Option<&str> {
        let asking = self.ask_mode.as_ref().filter(|_| asks);
        asking.or(self.session_mode.as_ref()).map(String::as_str)
    }

    /// Reads and checks a manifest.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with everything that is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let problems = check::problems(text);
        if !problems.is_empty() {
            return Err(Error::Invalid { problems });
        }
        toml::from_str(text).map_err(|error| Error::Parse(Box::new(error)))
    }
}

#[cfg(test)]
mod tests;
