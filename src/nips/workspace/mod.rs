//! Workspace tasks (kinds 5871 and 6871): what an owner does with the copy that an agent worked on.
//!
//! A task is a NIP-90 job like any other (`nips/workspace.md`): its input is one word, its parameters say
//! which copy and which state. The result's content is one JSON object, [`Answer`].

mod answer;
mod fit;

use nostr::{Keys, PublicKey};

pub use self::answer::{
    Answer, CheckpointLine, CopyLine, FileLine, ImageLine, KeptLine, Outcome, StepLine, cut_to,
};

use super::{
    Draft, kind,
    nip90::{Input, JobRequest, Scheme, encryption::EncryptionError},
};

/// What is to be done, and with which copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Which copy.
    pub which: Which,
    /// What to do with it.
    pub operation: Operation,
}

/// Which copy of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one of this session, or of a session that went on in it.
    Session(PublicKey),
    /// The newest one of this project: the absolute path of its folder.
    Project(String),
    /// The newest one.
    Newest,
}

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
        "unknown workspace task {0:?}: use checkpoints, diff, undo, plan, apply, take-back, discard, locate, list or clean"
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
}

impl Task {
    /// What it says: the tags that [`Self::sealed`] hides.
    fn tags(&self) -> Vec<Vec<String>> {
        let mut params: Vec<(&str, String)> = match &self.which {
            Which::Session(session) => vec![("session", session.to_hex())],
            Which::Project(path) => vec![("project", path.clone())],
            Which::Newest => Vec::new(),
        };
        match &self.operation {
            Operation::Diff { from, to } => {
                params.extend(from.iter().map(|state| ("from", state.to_string())));
                params.extend(to.iter().map(|state| ("to", state.to_string())));
            }
            Operation::Undo { to } => params.push(("to", to.to_string())),
            Operation::Apply { plan } => params.push(("plan", plan.clone())),
            Operation::Clean { copies, images } => {
                params.extend(copies.iter().map(|copy| ("copy", copy.to_hex())));
                params.push(("images", images.to_string()));
            }
            _ => {}
        }
        let mut tags = vec![
            ["i", self.operation.word(), "text"]
                .map(str::to_owned)
                .to_vec(),
        ];
        tags.extend(
            params
                .into_iter()
                .map(|(name, value)| vec!["param".to_owned(), name.to_owned(), value]),
        );
        tags.push(["output", "application/json"].map(str::to_owned).to_vec());
        tags
    }

    /// The request in the clear, before it is signed; `coordinator` is to do it.
    #[must_use]
    pub fn draft(&self, coordinator: &PublicKey) -> Draft {
        Draft::new(kind::WORKSPACE_TASK)
            .tags(self.tags())
            .tag(["p", &coordinator.to_hex()])
            .tag([
                "alt".to_owned(),
                format!("Workspace task: {}", self.operation.word()),
            ])
    }

    /// The request before it is signed, with everything that it says hidden from all but `coordinator`
    /// (NIP-44), as its answers will be.
    ///
    /// # Errors
    /// When it is longer than NIP-44 takes.
    pub fn sealed(&self, keys: &Keys, coordinator: &PublicKey) -> Result<Draft, EncryptionError> {
        let hidden = serde_json::to_string(&self.tags()).map_err(EncryptionError::NotTags)?;
        let content = Scheme::Nip44.encrypt(keys, coordinator, &hidden)?;
        Ok(Draft::new(kind::WORKSPACE_TASK)
            .tag(["encrypted"])
            .tag(["p", &coordinator.to_hex()])
            .tag(["alt", "Workspace task"])
            .content(content))
    }

    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong, in a sentence for the owner.
    pub fn parse(request: &JobRequest) -> Result<Self, TaskError> {
        let which = match (request.param("session"), request.param("project")) {
            (Some(session), _) => {
                Which::Session(PublicKey::from_hex(session).map_err(|_| TaskError::Session)?)
            }
            (None, Some(path)) => Which::Project(path.to_owned()),
            (None, None) => Which::Newest,
        };
        let state = |name: &str| request.param(name).map(State::parse).transpose();
        let word = match request.inputs.first() {
            Some(Input::Text(word)) => word.trim(),
            _ => "",
        };
        let operation = match word {
            "checkpoints" => Operation::Checkpoints,
            "diff" => Operation::Diff {
                from: state("from")?,
                to: state("to")?,
            },
            "undo" => Operation::Undo {
                to: state("to")?.ok_or(TaskError::Missing {
                    task: "undo",
                    param: "to",
                })?,
            },
            "plan" => Operation::Plan,
            "apply" => Operation::Apply {
                plan: request
                    .param("plan")
                    .ok_or(TaskError::Missing {
                        task: "apply",
                        param: "plan",
                    })?
                    .to_owned(),
            },
            "take-back" => Operation::TakeBack,
            "discard" => Operation::Discard,
            "locate" => Operation::Locate,
            "list" => Operation::List,
            "clean" => Operation::Clean {
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
        };
        Ok(Self { which, operation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The task as it is read, in the clear and hidden.
    fn round_trip(task: &Task) -> [Task; 2] {
        let (coordinator, owner) = (Keys::generate(), Keys::generate());
        let clear = task.draft(&coordinator.public_key());
        let sealed = task.sealed(&owner, &coordinator.public_key()).unwrap();
        [clear, sealed].map(|draft| {
            let event = draft.sign(&owner, 1).unwrap();
            let request = JobRequest::parse(&event, &coordinator).unwrap();
            Task::parse(&request).unwrap()
        })
    }

    #[test]
    fn a_sealed_task_tells_nothing_but_whom_it_is_for() {
        let (coordinator, owner) = (Keys::generate(), Keys::generate());
        let task = Task {
            which: Which::Project("/home/me/shop".into()),
            operation: Operation::Undo { to: State::Last },
        };
        let draft = task.sealed(&owner, &coordinator.public_key()).unwrap();
        let names: Vec<&str> = draft.tags.iter().map(|tag| tag[0].as_str()).collect();
        assert_eq!(names, ["encrypted", "p", "alt"]);
        let event = draft.sign(&owner, 1).unwrap();
        let text = serde_json::to_string(&event).unwrap();
        assert!(!text.contains("shop") && !text.contains("undo"), "{text}");
        // As many copies as a list names fit.
        let task = Task {
            which: Which::Newest,
            operation: Operation::Clean {
                copies: vec![owner.public_key(); 500],
                images: false,
            },
        };
        assert!(task.sealed(&owner, &coordinator.public_key()).is_ok());
    }

    #[test]
    fn every_task_reads_back_as_it_was_written() {
        let session = Keys::generate().public_key();
        for operation in [
            Operation::Checkpoints,
            Operation::Diff {
                from: Some(State::Number(2)),
                to: Some(State::Id("0123456789".into())),
            },
            Operation::Undo { to: State::Last },
            Operation::Plan,
            Operation::Apply { plan: "p".into() },
            Operation::TakeBack,
            Operation::Discard,
            Operation::Locate,
            Operation::List,
            Operation::Clean {
                copies: vec![session, Keys::generate().public_key()],
                images: true,
            },
        ] {
            for which in [
                Which::Session(session),
                Which::Project("/a b".into()),
                Which::Newest,
            ] {
                let task = Task {
                    which,
                    operation: operation.clone(),
                };
                assert_eq!(round_trip(&task), [task.clone(), task]);
            }
        }
    }

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

    #[test]
    fn an_answer_is_one_flat_object() {
        let answer = Answer {
            workspace: Some(Keys::generate().public_key()),
            project: Some("/p".into()),
            path: Some("/w".into()),
            title: Some("make it blue".into()),
            at: Some(1),
            outcome: Outcome::Undo {
                before: 4,
                to: 2,
                after: 5,
                written: 1,
                removed: 0,
                uncovered: vec!["node_modules".into()],
                uncovered_in_all: 1,
                unrecorded: None,
                moved: Vec::new(),
            },
        };
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["task"], "undo");
        assert_eq!(json["before"], 4);
        assert_eq!(serde_json::from_value::<Answer>(json).unwrap(), answer);
    }
}
