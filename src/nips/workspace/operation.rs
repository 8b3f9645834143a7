//! What is to be done with a copy: the word of a task and what its parameters say.

use nostr::PublicKey;

use crate::nips::nip90::{Input, JobRequest};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// List the checkpoints.
    Checkpoints,
    /// What changed between two states.
    Diff {
        /// The earlier one; the copy as it began when absent.
        from: Option<State>,
        /// The later one; as it is now when absent.
        to: Option<State>,
    },
    /// What is in a folder of a state.
    Files {
        /// Which state; as it is now when absent.
        at: Option<State>,
        /// The folder, or one file; the whole copy when empty.
        path: String,
        /// How many entries to pass over.
        offset: u64,
    },
    /// What is in a file of a state.
    File {
        /// Which state; as it is now when absent.
        at: Option<State>,
        /// The file.
        path: String,
        /// Where to begin, as the answer before said.
        offset: u64,
    },
    /// Bring a state back.
    Undo {
        /// Which one.
        to: State,
    },
    /// What [`Operation::Apply`] would do.
    Plan,
    /// Bring the agent's changes into the project.
    Apply {
        /// The plan that its owner saw.
        plan: String,
    },
    /// Take the last apply back.
    TakeBack,
    /// Delete the copy.
    Discard,
    /// Where the copy is.
    Locate,
    /// List all copies, and what else takes room.
    List,
    /// Make room.
    Clean {
        /// The copies that go: the keys of the sessions that began them.
        copies: Vec<PublicKey>,
        /// Whether the agents' images go too; they are built again when they are needed.
        images: bool,
    },
}

/// A state of a copy, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// A checkpoint's number, from 1.
    Number(u32),
    /// A checkpoint's commit or tree, or the beginning of it.
    Id(String),
    /// The checkpoint before the last change.
    Last,
}

/// Why a job is no workspace task, in words for the owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The input is none of the words.
    #[error(
        "unknown workspace task {0:?}: use checkpoints, diff, files, file, undo, plan, apply, take-back, discard, locate, list or clean"
    )]
    Unknown(String),
    /// A parameter that this task needs.
    #[error("a workspace task `{task}` needs a parameter `{param}`")]
    Missing {
        /// The word.
        task: &'static str,
        /// The parameter.
        param: &'static str,
    },
    /// A session or copy that is no public key.
    #[error("a session or copy is named by its public key in hexadecimal")]
    Session,
    /// A state that names nothing.
    #[error("{0:?} is no checkpoint: give its number, its id, or `last`")]
    State(String),
    /// A number that is none.
    #[error("`{0}` is a number of 0 or more")]
    Number(&'static str),
}

impl State {
    /// Reads what a person typed.
    ///
    /// # Errors
    /// [`TaskError::State`] when it cannot name a state.
    pub fn parse(word: &str) -> Result<Self, TaskError> {
        let wrong = || TaskError::State(word.chars().take(64).collect());
        if word == "last" {
            return Ok(Self::Last);
        }
        if word.len() < 7
            && let Ok(number) = word.trim_start_matches('#').parse()
        {
            return Ok(Self::Number(number));
        }
        let hex = (7..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| Self::Id(word.to_ascii_lowercase()))
            .ok_or_else(wrong)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Id(id) => f.write_str(id),
            Self::Last => f.write_str("last"),
        }
    }
}

impl Operation {
    /// The word on the wire.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Checkpoints => "checkpoints",
            Self::Diff { .. } => "diff",
            Self::Files { .. } => "files",
            Self::File { .. } => "file",
            Self::Undo { .. } => "undo",
            Self::Plan => "plan",
            Self::Apply { .. } => "apply",
            Self::TakeBack => "take-back",
            Self::Discard => "discard",
            Self::Locate => "locate",
            Self::List => "list",
            Self::Clean { .. } => "clean",
        }
    }

    /// Its parameters.
    pub(super) fn params(&self) -> Vec<(&'static str, String)> {
        let state =
            |name, state: &Option<State>| state.as_ref().map(|state| (name, state.to_string()));
        let mut params = Vec::new();
        match self {
            Self::Diff { from, to } => {
                params.extend(state("from", from));
                params.extend(state("to", to));
            }
            Self::Files { at, path, offset } | Self::File { at, path, offset } => {
                params.extend(state("at", at));
                if !path.is_empty() {
                    params.push(("path", path.clone()));
                }
                if *offset > 0 {
                    params.push(("offset", offset.to_string()));
                }
            }
            Self::Undo { to } => params.push(("to", to.to_string())),
            Self::Apply { plan } => params.push(("plan", plan.clone())),
            Self::Clean { copies, images } => {
                params.extend(copies.iter().map(|copy| ("copy", copy.to_hex())));
                params.push(("images", images.to_string()));
            }
            Self::Checkpoints
            | Self::Plan
            | Self::TakeBack
            | Self::Discard
            | Self::Locate
            | Self::List => {}
        }
        params
    }

    /// Reads it out of a request.
    pub(super) fn parse(request: &JobRequest) -> Result<Self, TaskError> {
        let state = |name: &str| request.param(name).map(State::parse).transpose();
        let needed = |task, param| {
            let value = request.param(param).map(str::to_owned);
            value.ok_or(TaskError::Missing { task, param })
        };
        let offset = || match request.param("offset") {
            Some(number) => {
                let number = number.trim().parse();
                number.map_err(|_| TaskError::Number("offset"))
            }
            None => Ok(0),
        };
        let word = match request.inputs.first() {
            Some(Input::Text(word)) => word.trim(),
            _ => "",
        };
        Ok(match word {
            "checkpoints" => Self::Checkpoints,
            "diff" => Self::Diff {
                from: state("from")?,
                to: state("to")?,
            },
            "files" => Self::Files {
                at: state("at")?,
                path: request.param("path").unwrap_or_default().to_owned(),
                offset: offset()?,
            },
            "file" => Self::File {
                at: state("at")?,
                path: needed("file", "path")?,
                offset: offset()?,
            },
            "undo" => Self::Undo {
                to: State::parse(&needed("undo", "to")?)?,
            },
            "plan" => Self::Plan,
            "apply" => Self::Apply {
                plan: needed("apply", "plan")?,
            },
            "take-back" => Self::TakeBack,
            "discard" => Self::Discard,
            "locate" => Self::Locate,
            "list" => Self::List,
            "clean" => Self::Clean {
                copies: request
                    .params
                    .iter()
                    .filter(|(name, _)| name == "copy")
                    .filter_map(|(_, values)| values.first())
                    .map(|key| PublicKey::from_hex(key).map_err(|_| TaskError::Session))
                    .collect::<Result<_, _>>()?,
                images: request.param("images") == Some("true"),
            },
            other => return Err(TaskError::Unknown(other.chars().take(64).collect())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_numbers_ids_or_the_last() {
        assert_eq!(State::parse("#12").unwrap(), State::Number(12));
        assert_eq!(State::parse("last").unwrap(), State::Last);
        assert_eq!(
            State::parse("ABCDEF1").unwrap(),
            State::Id("abcdef1".into())
        );
        for wrong in ["", "-1", "abc", "../../x", "zzzzzzzz"] {
            assert!(State::parse(wrong).is_err(), "{wrong}");
        }
    }
}
