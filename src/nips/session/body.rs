//! What a session record says, by kind.

use nostr::{Event, PublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::RecordError;
use crate::nips::{kind, reference::tag_value};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// 4781: the session began.
    Start(Start),
    /// 4782: a message, a command, a file change.
    Action(Action),
    /// 4783: a state that can be brought back.
    Checkpoint(Checkpoint),
    /// 4784: something went wrong.
    Error(Fault),
    /// 4785: the session ended.
    End(End),
}

/// Who works, on what, with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The owner.
    pub operator: Option<PublicKey>,
    /// Behaviour hash of the recipe, if one was used.
    pub behavior: Option<String>,
    /// What the agent is for, such as `chat`.
    pub role: String,
    /// Model with its tag, such as `qwen2.5-coder:7b`.
    pub model: String,
    /// Who runs the model, such as `ollama`.
    pub provider: String,
    /// `local`, `cloud` or `frontier`.
    pub tier: String,
    /// The agent's name.
    pub adapter: String,
    /// The image it ran in, by content.
    pub image: String,
    /// Platform and sandbox, such as `linux/amd64`.
    pub env: Vec<String>,
    /// See [`Start::config_of`].
    pub config: String,
    /// Further tags, after `config`.
    pub extra: Vec<Vec<String>>,
}

impl Start {
    /// The hash by which reputation is kept, because session keys are disposable: SHA-256 over the RFC 8785
    /// form of `{adapter, behavior, model, provider, role}`.
    #[must_use]
    pub fn config_of(
        adapter: &str,
        behavior: &str,
        model: &str,
        provider: &str,
        role: &str,
    ) -> String {
        let map = std::collections::BTreeMap::from([
            ("adapter", adapter),
            ("behavior", behavior),
            ("model", model),
            ("provider", provider),
            ("role", role),
        ]);
        // A sorted map of plain strings has one compact JSON form, which is the canonical one.
        let json = serde_json::to_string(&map).unwrap_or_default();
        hex::encode(Sha256::digest(json))
    }

    pub(super) fn before_recipe(&self) -> Option<Vec<String>> {
        self.operator.map(|key| vec!["p".to_owned(), key.to_hex()])
    }

    pub(super) fn after_recipe(&self) -> Vec<Vec<String>> {
        let mut tags = Vec::new();
        tags.extend(
            self.behavior
                .as_ref()
                .map(|hash| vec!["x".to_owned(), hash.clone(), "behavior".to_owned()]),
        );
        for (name, value) in [
            ("role", &self.role),
            ("model", &self.model),
            ("provider", &self.provider),
            ("tier", &self.tier),
            ("adapter", &self.adapter),
            ("image", &self.image),
        ] {
            tags.push(pair(name, value));
        }
        let mut env = vec!["env".to_owned()];
        env.extend(self.env.clone());
        tags.push(env);
        tags.push(pair("config", &self.config));
        tags.extend(self.extra.clone());
        tags
    }
}

/// What an action was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionKind {
    /// A file was created, changed, moved or deleted.
    File,
    /// A command ran.
    Command,
    /// Something was said.
    Message,
    /// Version control.
    Git,
    /// Something that a later version records; its `alt` says what.
    Other(String),
}

impl ActionKind {
    /// The label on the wire, in the namespace `agent.action`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::File => "file",
            Self::Command => "command",
            Self::Message => "message",
            Self::Git => "git",
            Self::Other(label) => label,
        }
    }
}

/// An action and its details, such as `["cmd", …]`, `["exit", "0"]`, `["path", …]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What it was.
    pub kind: ActionKind,
    /// Details in order.
    pub detail: Vec<Vec<String>>,
}

/// A state that can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Details in order: `r`, `commit`, `tree`, `reason`.
    pub detail: Vec<Vec<String>>,
}

/// Something went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The owner, so that a notification view lists it.
    pub operator: Option<PublicKey>,
    /// A machine word.
    pub code: String,
    /// Details between `code` and `recoverable`.
    pub detail: Vec<Vec<String>>,
    /// Whether the session went on.
    pub recoverable: bool,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did what was asked.
    Success,
    /// It did a part.
    Partial,
    /// It did not.
    Failed,
    /// The host died; written afterwards.
    Abandoned,
    /// It was stopped.
    Interrupted,
}

impl Outcome {
    /// The label on the wire, in the namespace `agent.outcome`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::Interrupted => "interrupted",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [
            Self::Success,
            Self::Partial,
            Self::Failed,
            Self::Abandoned,
            Self::Interrupted,
        ]
        .into_iter()
        .find(|outcome| outcome.as_str() == word)
    }
}

/// The last record of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The owner.
    pub operator: Option<PublicKey>,
    /// Behaviour hash of the recipe, if one was used.
    pub behavior: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Details in order: `ending`, `duration_s`, `actions`, `checkpoints`, `errors`, `tokens`, `model`, `role`.
    pub detail: Vec<Vec<String>>,
}

impl Body {
    /// The kind on the wire.
    #[must_use]
    pub fn kind(&self) -> u16 {
        match self {
            Self::Start(_) => kind::SESSION_START,
            Self::Action(_) => kind::ACTION,
            Self::Checkpoint(_) => kind::CHECKPOINT,
            Self::Error(_) => kind::ERROR,
            Self::End(_) => kind::SESSION_END,
        }
    }

    pub(super) fn tags(&self) -> Vec<Vec<String>> {
        match self {
            Self::Start(start) => start.after_recipe(),
            Self::Action(action) => {
                let mut tags = label("agent.action", action.kind.as_str());
                tags.extend(action.detail.clone());
                tags
            }
            Self::Checkpoint(checkpoint) => checkpoint.detail.clone(),
            Self::Error(fault) => {
                let mut tags: Vec<_> = fault
                    .operator
                    .iter()
                    .map(|key| pair("p", &key.to_hex()))
                    .collect();
                tags.push(pair("code", &fault.code));
                tags.extend(fault.detail.clone());
                tags.push(pair(
                    "recoverable",
                    if fault.recoverable { "true" } else { "false" },
                ));
                tags
            }
            Self::End(end) => {
                let mut tags: Vec<_> = end
                    .operator
                    .iter()
                    .map(|key| pair("p", &key.to_hex()))
                    .collect();
                tags.extend(
                    end.behavior
                        .as_ref()
                        .map(|hash| vec!["x".to_owned(), hash.clone(), "behavior".to_owned()]),
                );
                tags.extend(label("agent.outcome", end.outcome.as_str()));
                tags.extend(end.detail.clone());
                tags
            }
        }
    }

    pub(super) fn parse(event: &Event) -> Result<Self, RecordError> {
        let value = |name: &'static str| {
            tag_value(event, name)
                .map(str::to_owned)
                .ok_or(RecordError::Tag(name))
        };
        let operator = tag_value(event, "p").and_then(|key| PublicKey::from_hex(key).ok());
        Ok(match event.kind.as_u16() {
            kind::SESSION_START => Self::Start(Start {
                operator,
                behavior: hash(event, "behavior"),
                role: value("role")?,
                model: value("model")?,
                provider: value("provider")?,
                tier: value("tier")?,
                adapter: value("adapter")?,
                image: value("image")?,
                env: slices(event)
                    .find(|tag| tag[0] == "env")
                    .map(|tag| tag[1..].to_vec())
                    .ok_or(RecordError::Tag("env"))?,
                config: value("config")?,
                extra: slices(event)
                    .skip_while(|tag| tag[0] != "config")
                    .skip(1)
                    .filter(|tag| tag[0] != "alt")
                    .map(<[String]>::to_vec)
                    .collect(),
            }),
            kind::ACTION => Self::Action(Action {
                kind: match value("l")?.as_str() {
                    "file" => ActionKind::File,
                    "command" => ActionKind::Command,
                    "message" => ActionKind::Message,
                    "git" => ActionKind::Git,
                    other => ActionKind::Other(other.to_owned()),
                },
                detail: detail(event),
            }),
            kind::CHECKPOINT => Self::Checkpoint(Checkpoint {
                detail: detail(event),
            }),
            kind::ERROR => Self::Error(Fault {
                operator,
                code: value("code")?,
                recoverable: value("recoverable")? == "true",
                detail: detail(event)
                    .into_iter()
                    .filter(|tag| !matches!(tag[0].as_str(), "p" | "code" | "recoverable"))
                    .collect(),
            }),
            kind::SESSION_END => Self::End(End {
                operator,
                behavior: hash(event, "behavior"),
                outcome: Outcome::parse(&value("l")?).ok_or(RecordError::Tag("l"))?,
                detail: detail(event)
                    .into_iter()
                    .filter(|tag| tag[0] != "p")
                    .collect(),
            }),
            other => return Err(RecordError::Kind(other)),
        })
    }
}

/// The tags that belong to the kind, not to the chain, the recipe or the label.
fn detail(event: &Event) -> Vec<Vec<String>> {
    const COMMON: [&str; 10] = ["v", "seq", "prev", "e", "E", "x", "L", "l", "alt", ""];
    slices(event)
        .filter(|tag| !COMMON.contains(&tag[0].as_str()))
        .map(<[String]>::to_vec)
        .collect()
}

fn slices(event: &Event) -> impl Iterator<Item = &[String]> {
    event.tags.iter().map(nostr::Tag::as_slice)
}

/// The hash of an `x` tag with this marker.
pub(super) fn hash(event: &Event, marker: &str) -> Option<String> {
    slices(event)
        .find(|tag| tag[0] == "x" && tag.get(2).is_some_and(|m| m == marker))
        .and_then(|tag| tag.get(1).cloned())
}

fn pair(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}

fn label(namespace: &str, value: &str) -> Vec<Vec<String>> {
    vec![
        pair("L", namespace),
        vec!["l".to_owned(), value.to_owned(), namespace.to_owned()],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_hash_equals_the_golden_one() {
        let hash = Start::config_of(
            "builtin",
            "bac2467b015d09f90205374640994d039d2685d8df75142d1f92463efaa62c12",
            "qwen2.5-coder:7b",
            "ollama",
            "builder",
        );
        assert_eq!(
            hash,
            "aff2703c310693889d395164ec42a0e23a54f300d0d80f8c07c0c41815b6ddb3"
        );
    }
}
