//! What is to be done with a copy: the word of a task and what its parameters say.

use nostr::{EventId, PublicKey};

use super::Purge;
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
    /// Who is at work, and what each of them waits for.
    AtWork,
    /// Answer an agent's question.
    Answer {
        /// Its record.
        question: EventId,
        /// The option's id.
        option: String,
    },
    /// Have the session stand still.
    Pause,
    /// Let it go on.
    Resume,
    /// Break off what the agent does, and have it do this.
    Steer {
        /// What it is told.
        text: String,
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
    /// Open what the agent built in its owner's browser.
    Preview(Show),
    /// End that.
    PreviewEnd {
        /// Only what shows this; all previews of the copy when absent.
        only: Option<Show>,
    },
    /// List all copies, and what else takes room.
    List,
    /// Make room.
    Clean {
        /// The copies that go: the keys of the sessions that began them.
        copies: Vec<PublicKey>,
        /// Whether the agents' images go too; they are built again when they are needed.
        images: bool,
    },
    /// Delete for good.
    Purge(Purge),
}

/// What is shown of what an agent built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Show {
    /// A web app that runs in its sandbox.
    App {
        /// Where it listens; what the host saw when absent.
        port: Option<u16>,
    },
    /// The files of the copy, as they lie there.
    Files {
        /// Which state; as it is now when absent.
        at: Option<State>,
        /// The folder that is the top; where a site is when absent.
        path: Option<String>,
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
        "unknown workspace task {0:?}: use checkpoints, diff, files, file, undo, plan, apply, take-back, discard, locate, preview, preview-end, list, clean, purge, at-work, answer, pause, resume or steer"
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
    /// A question that is no event id.
    #[error("a question is named by the id of its record in hexadecimal")]
    Question,
    /// Something to purge that is no id.
    #[error(
        "`{0}` of a purge is 64 hexadecimal digits: the key of a session, or the id of a job or event"
    )]
    Purged(&'static str),
    /// There is nothing to say.
    #[error("`steer` needs a second input: what the agent is told")]
    NoText,
    /// A number that is none.
    #[error("`{0}` is a number of 0 or more")]
    Number(&'static str),
    /// A port that is none.
    #[error("`port` is a number from 1 to 65535")]
    Port,
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
            Self::AtWork => "at-work",
            Self::Answer { .. } => "answer",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Steer { .. } => "steer",
            Self::Undo { .. } => "undo",
            Self::Plan => "plan",
            Self::Apply { .. } => "apply",
            Self::TakeBack => "take-back",
            Self::Discard => "discard",
            Self::Locate => "locate",
            Self::Preview(_) => "preview",
            Self::PreviewEnd { .. } => "preview-end",
            Self::List => "list",
            Self::Clean { .. } => "clean",
            Self::Purge(_) => "purge",
        }
    }

    /// What is said beside the word.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Steer { text } => Some(text),
            _ => None,
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
            Self::Answer { question, option } => {
                params.push(("question", question.to_hex()));
                params.push(("option", option.clone()));
            }
            Self::Undo { to } => params.push(("to", to.to_string())),
            Self::Apply { plan } => params.push(("plan", plan.clone())),
            Self::Clean { copies, images } => {
                params.extend(copies.iter().map(|copy| ("copy", copy.to_hex())));
                params.push(("images", images.to_string()));
            }
            Self::Purge(purge) => params.extend(purge.params()),
            Self::Preview(show) | Self::PreviewEnd { only: Some(show) } => {
                params.extend(show.params());
            }
            Self::PreviewEnd { only: None }
            | Self::Checkpoints
            | Self::AtWork
            | Self::Pause
            | Self::Resume
            | Self::Steer { .. }
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
            "at-work" => Self::AtWork,
            "answer" => Self::Answer {
                question: EventId::from_hex(&needed("answer", "question")?)
                    .map_err(|_| TaskError::Question)?,
                option: needed("answer", "option")?,
            },
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            "steer" => match request.inputs.get(1) {
                Some(Input::Text(text)) if !text.trim().is_empty() => {
                    Self::Steer { text: text.clone() }
                }
                _ => return Err(TaskError::NoText),
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
            "preview" => Self::Preview(Show::parse(request)?.unwrap_or(Show::App { port: None })),
            "preview-end" => Self::PreviewEnd {
                only: Show::parse(request)?,
            },
            "purge" => Self::Purge(Purge::parse(request)?),
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

impl Show {
    fn params(&self) -> Vec<(&'static str, String)> {
        let mut params = Vec::new();
        match self {
            Self::App { port } => params.extend(port.map(|port| ("port", port.to_string()))),
            Self::Files { at, path } => {
                params.push(("static", "true".to_owned()));
                params.extend(at.as_ref().map(|state| ("at", state.to_string())));
                params.extend(path.clone().map(|path| ("path", path)));
            }
        }
        params
    }

    /// What a request names; `None` when it names nothing.
    fn parse(request: &JobRequest) -> Result<Option<Self>, TaskError> {
        if request.param("static") == Some("true") {
            return Ok(Some(Self::Files {
                at: request.param("at").map(State::parse).transpose()?,
                path: request.param("path").map(str::to_owned),
            }));
        }
        let port = request.param("port").map(|port| port.trim().parse());
        match port {
            Some(Ok(0) | Err(_)) => Err(TaskError::Port),
            Some(Ok(port)) => Ok(Some(Self::App { port: Some(port) })),
            None => Ok(None),
        }
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
