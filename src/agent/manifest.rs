//! `agent.toml`: an agent as data, so that a new one needs no code.

use std::path::{Component, Path};

use serde::Deserialize;

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
    /// The version of the agent that the image holds.
    pub version: String,
    /// The command inside the container, without `sandbox-init`.
    pub argv: Vec<String>,
    /// Its environment, on top of what treefort sets.
    #[serde(default)]
    pub env: std::collections::BTreeMap<String, String>,
    /// Job kinds that it may serve (5050, 5870).
    pub kinds: Vec<u16>,
    /// Whether it works on a copy of a project.
    pub workspace: bool,
    /// How it gets a conversation's earlier turns.
    pub history: History,
    /// Seconds between closing its input and killing it.
    #[serde(default = "default_grace")]
    pub grace_s: u64,
    /// The ACP authentication method to call, for agents that insist.
    #[serde(default)]
    pub auth_method: Option<String>,
    /// The ACP session mode to set, for agents whose default does not work in a sandbox.
    #[serde(default)]
    pub session_mode: Option<String>,
    /// Its image.
    pub image: ImageSource,
    /// Its container's limits.
    #[serde(default)]
    pub limits: Limits,
}

/// How an agent gets a conversation's earlier turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum History {
    /// In `session/new`'s `_meta` (`treefort/history`).
    Meta,
    /// In front of the prompt.
    Prompt,
}

/// Where an agent's image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSource {
    /// The Dockerfile, relative to the agent's folder, which is also the build's context.
    pub dockerfile: String,
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

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not TOML, or not this format.
    #[error("{0}")]
    Parse(#[source] Box<toml::de::Error>),
    /// The fields' values; all that is wrong.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// Every problem found.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The name.
    #[error("name {0:?} is not 1 to 32 of a-z, 0-9 and -")]
    Name(String),
    /// No command.
    #[error("argv is empty or its command is not an absolute path")]
    Argv,
    /// A NUL in the command or the environment, or `=` in a variable's name.
    #[error("{0} holds a character that no process can be given")]
    Character(String),
    /// No kinds, or one that is no job request.
    #[error("kinds holds {0:?}, not one or more NIP-90 request kinds (5000-5999)")]
    Kinds(Vec<u16>),
    /// The Dockerfile's path.
    #[error("image.dockerfile {0:?} does not stay in the agent's folder")]
    Dockerfile(String),
    /// A limit.
    #[error("limits.{0} is out of range")]
    Limit(&'static str),
    /// The grace.
    #[error("grace_s is over 60")]
    Grace,
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    ///
    /// [`Error::Parse`] for the format, [`Error::Invalid`] with every wrong value.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let manifest: Self = toml::from_str(text).map_err(|error| Error::Parse(Box::new(error)))?;
        let problems = manifest.problems();
        if problems.is_empty() {
            Ok(manifest)
        } else {
            Err(Error::Invalid { problems })
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |good: bool, problem: Problem| {
            if !good {
                problems.push(problem);
            }
        };
        check(is_name(&self.name), Problem::Name(self.name.clone()));
        check(
            self.argv
                .first()
                .is_some_and(|command| command.starts_with('/')),
            Problem::Argv,
        );
        check(
            !self.argv.iter().any(|arg| arg.contains('\0')),
            Problem::Character("argv".into()),
        );
        for (key, value) in &self.env {
            let good = !key.is_empty() && !key.contains(['=', '\0']) && !value.contains('\0');
            check(good, Problem::Character(format!("env.{key}")));
        }
        let requests = crate::nips::kind::JOB_REQUESTS;
        check(
            !self.kinds.is_empty() && self.kinds.iter().all(|kind| requests.contains(kind)),
            Problem::Kinds(self.kinds.clone()),
        );
        let dockerfile = &self.image.dockerfile;
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_));
        check(
            !dockerfile.is_empty() && Path::new(dockerfile).components().all(inside),
            Problem::Dockerfile(dockerfile.clone()),
        );
        check(
            (16..=1 << 20).contains(&self.limits.memory_mb),
            Problem::Limit("memory_mb"),
        );
        check(
            (0.05..=1024.0).contains(&self.limits.cpus),
            Problem::Limit("cpus"),
        );
        check(
            (8..=65_536).contains(&self.limits.pids),
            Problem::Limit("pids"),
        );
        check(self.grace_s <= 60, Problem::Grace);
        problems
    }
}

fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(good) && !name.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_unknown_keys() {
        let text = include_str!("../../agents/chat/agent.toml");
        let error = Manifest::parse(&format!("colour = \"red\"\n{text}")).unwrap_err();
        assert!(error.to_string().contains("colour"), "{error}");
    }

    #[test]
    fn names_every_problem_at_once() {
        let text = "name = \"../x\"\ntitle = \"\"\ndescription = \"\"\nversion = \"\"\nargv = [\"sh\"]\n\
            kinds = [1]\nworkspace = true\nhistory = \"prompt\"\ngrace_s = 61\nenv = { \"A=\" = \"\" }\n\
            image = { dockerfile = \"../Dockerfile\" }\nlimits = { memory_mb = 1, cpus = 0.0, pids = 1 }";
        let Err(Error::Invalid { problems }) = Manifest::parse(text) else {
            panic!()
        };
        assert_eq!(problems.len(), 9, "{problems:?}");
    }
}
