//! Workspace tasks (kinds 5871 and 6871): what an owner does with the copy that an agent worked on.
//!
//! A task is a NIP-90 job like any other (`nips/workspace.md`): its input is one word, its parameters say
//! which copy and which state. The result's content is one JSON object, [`Answer`].

mod answer;
mod asked;
mod fit;
mod lines;
mod operation;
mod purge;

use nostr::{Keys, PublicKey};

pub use self::{
    answer::{Answer, Outcome, cut_to},
    asked::cut_questions,
    lines::{
        CheckpointLine, CopyLine, EntryLine, FileLine, ImageLine, KeptLine, OptionLine,
        QuestionLine, StepLine, WorkLine,
    },
    operation::{Operation, Show, State, TaskError},
    purge::Purge,
};

use super::{
    Draft, kind,
    nip90::{JobRequest, Scheme, encryption::EncryptionError},
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

impl Task {
    /// What it says: the tags that [`Self::sealed`] hides.
    fn tags(&self) -> Vec<Vec<String>> {
        let mut params: Vec<(&str, String)> = match &self.which {
            Which::Session(session) => vec![("session", session.to_hex())],
            Which::Project(path) => vec![("project", path.clone())],
            Which::Newest => Vec::new(),
        };
        params.extend(self.operation.params());
        let inputs = std::iter::once(self.operation.word()).chain(self.operation.text());
        let mut tags: Vec<Vec<String>> = inputs
            .map(|input| ["i", input, "text"].map(str::to_owned).to_vec())
            .collect();
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
        let operation = Operation::parse(request)?;
        Ok(Self { which, operation })
    }
}

#[cfg(test)]
mod tests {
    use nostr::EventId;

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
            Operation::Files {
                at: None,
                path: String::new(),
                offset: 0,
            },
            Operation::File {
                at: Some(State::Last),
                path: "a b/c".into(),
                offset: 40_000,
            },
            Operation::AtWork,
            Operation::Answer {
                question: EventId::all_zeros(),
                option: "2".into(),
            },
            Operation::Pause,
            Operation::Resume,
            Operation::Steer {
                text: "no, the\nother one".into(),
            },
            Operation::Undo { to: State::Last },
            Operation::Plan,
            Operation::Apply { plan: "p".into() },
            Operation::TakeBack,
            Operation::Discard,
            Operation::Locate,
            Operation::Preview(Show::App { port: None }),
            Operation::Preview(Show::App { port: Some(5173) }),
            Operation::Preview(Show::Files {
                at: Some(State::Number(3)),
                path: Some("dist".into()),
            }),
            Operation::PreviewEnd { only: None },
            Operation::PreviewEnd {
                only: Some(Show::Files {
                    at: None,
                    path: None,
                }),
            },
            Operation::List,
            Operation::Clean {
                copies: vec![session, Keys::generate().public_key()],
                images: true,
            },
            Operation::Purge(Purge {
                targets: vec![EventId::all_zeros(); 2],
                events: Vec::new(),
                conversation: true,
                look: false,
            }),
            Operation::Purge(Purge {
                events: vec![EventId::all_zeros()],
                look: true,
                ..Purge::default()
            }),
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
    fn an_answer_is_one_flat_object() {
        let answer = Answer {
            workspace: Some(Keys::generate().public_key()),
            project: Some("/p".into()),
            path: Some("/w".into()),
            title: Some("make it blue".into()),
            at: Some(1),
            passed_over: 0,
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
