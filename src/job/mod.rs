//! The life of one job, pure: no I/O, no clock.
//!
//! [`Job::handle`] takes what happened and returns what to do. The dispatcher stores the job before the
//! effects run, so each effect must be repeatable by job and attempt.

mod record;

use nostr::{EventId, Kind};
use serde::{Deserialize, Serialize};

pub use self::record::JobRecord;
use crate::nips::{Reference, kind, nip90::Status};

/// The life of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Where it stands.
    pub state: State,
    /// The number of the running or last attempt; 0 before the first.
    pub attempt: u32,
    /// How often it may be attempted when the host dies under it.
    pub max_attempts: u32,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its input is the output of another job, which is not done.
    Waiting {
        /// The other job.
        on: EventId,
    },
    /// An attempt is queued or running.
    Running,
    /// Exactly one result or one error went out.
    Done(Outcome),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// With a result.
    Delivered,
    /// With an error.
    Failed {
        /// The machine word of the error.
        code: String,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// It was accepted and can start.
    Accepted,
    /// It was accepted, and waits for another job's output; or, when it waits already, for the next one's.
    AcceptedWaiting {
        /// The other job.
        on: EventId,
    },
    /// It will not be done.
    Refused(Failure),
    /// The job that it waits for is done.
    InputDone {
        /// Whether there is an output.
        delivered: bool,
    },
    /// An attempt reports.
    Report {
        /// The attempt that reports; an older one is not heard.
        attempt: u32,
        /// What it says.
        report: Report,
    },
    /// The customer took it back.
    Cancelled,
    /// The host died or was stopped while it ran, and is back.
    Recovered,
}

/// What an attempt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A session does it from now on.
    Began,
    /// Text so far.
    Partial(String),
    /// Something that the customer should know while it goes on.
    Notice(String),
    /// It asks its owner something, and waits.
    Asks {
        /// A sentence.
        sentence: String,
        /// What is asked, in full.
        text: String,
        /// What programs read.
        tags: Vec<Vec<String>>,
    },
    /// The answer.
    Answered(Answer),
    /// It failed.
    Failed(Failure),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text, redacted.
    pub text: String,
    /// The session's own result, which this one rests on; none where the coordinator did the job itself.
    pub inner: Option<Reference>,
    /// Further tags of the result, such as `truncated`.
    pub tags: Vec<Vec<String>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A machine word, see `nips/90.md`.
    pub code: &'static str,
    /// A sentence for the customer.
    pub sentence: String,
}

impl Failure {
    /// A failure with its machine word and sentence.
    pub fn new(code: &'static str, sentence: impl Into<String>) -> Self {
        Self {
            code,
            sentence: sentence.into(),
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start an attempt.
    Start {
        /// Its number.
        attempt: u32,
    },
    /// Stop an attempt.
    Stop {
        /// Its number.
        attempt: u32,
    },
    /// Tell the customer.
    Feedback {
        /// One of NIP-90's words.
        status: Status,
        /// A sentence.
        sentence: String,
        /// A machine word, for errors.
        code: Option<&'static str>,
        /// Text so far, for `partial`; what is asked in full, for a question.
        text: String,
        /// Further tags.
        tags: Vec<Vec<String>>,
    },
    /// Give the customer the result.
    Result(Answer),
}

impl Job {
    /// A job of this kind, not accepted yet. What changes a workspace is attempted once, because what it did
    /// cannot be assumed undone; anything else once more after a crash.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            state: State::Running,
            attempt: 0,
            max_attempts: match kind.as_u16() {
                kind::AGENT_TASK | kind::WORKSPACE_TASK => 1,
                _ => 2,
            },
        }
    }

    /// Whether it ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// Takes what happened and says what to do.
    #[must_use]
    pub fn handle(&mut self, input: Input) -> Vec<Effect> {
        if self.is_done() {
            return Vec::new();
        }
        match input {
            Input::Accepted => self.start("accepted"),
            Input::AcceptedWaiting { on } if matches!(self.state, State::Waiting { .. }) => {
                self.state = State::Waiting { on };
                Vec::new()
            }
            Input::AcceptedWaiting { on } => {
                self.state = State::Waiting { on };
                vec![feedback(
                    Status::Processing,
                    "waiting for the job that this one builds on",
                )]
            }
            Input::InputDone { delivered: true } => self.start("starting"),
            Input::InputDone { delivered: false } => self.fail(&Failure::new(
                "input",
                "the job that this one builds on ended without a result",
            )),
            Input::Refused(failure) => self.fail(&failure),
            Input::Report { attempt, .. } if attempt != self.attempt => Vec::new(),
            Input::Report { report, .. } => match report {
                Report::Began => Vec::new(),
                Report::Partial(text) => vec![Effect::Feedback {
                    status: Status::Partial,
                    sentence: String::new(),
                    code: None,
                    text,
                    tags: Vec::new(),
                }],
                Report::Notice(sentence) => vec![feedback(Status::Processing, &sentence)],
                Report::Asks {
                    sentence,
                    text,
                    tags,
                } => vec![Effect::Feedback {
                    status: Status::Processing,
                    sentence,
                    code: None,
                    text,
                    tags,
                }],
                Report::Answered(answer) => {
                    self.state = State::Done(Outcome::Delivered);
                    vec![Effect::Result(answer), feedback(Status::Success, "done")]
                }
                Report::Failed(failure) => self.fail(&failure),
            },
            Input::Cancelled => {
                let attempt = self.attempt;
                let mut effects = self.fail(&Failure::new("cancelled", "cancelled"));
                effects.insert(0, Effect::Stop { attempt });
                effects
            }
            Input::Recovered if matches!(self.state, State::Waiting { .. }) => Vec::new(),
            Input::Recovered if self.attempt < self.max_attempts => {
                self.start("trying once more after an interruption")
            }
            Input::Recovered => self.fail(&Failure::new(
                "interrupted",
                "treefort was stopped while the job ran; send it again to go on",
            )),
        }
    }

    fn start(&mut self, sentence: &str) -> Vec<Effect> {
        self.state = State::Running;
        self.attempt += 1;
        vec![
            feedback(Status::Processing, sentence),
            Effect::Start {
                attempt: self.attempt,
            },
        ]
    }

    fn fail(&mut self, failure: &Failure) -> Vec<Effect> {
        self.state = State::Done(Outcome::Failed {
            code: failure.code.to_owned(),
        });
        vec![Effect::Feedback {
            status: Status::Error,
            sentence: failure.sentence.clone(),
            code: Some(failure.code),
            text: String::new(),
            tags: Vec::new(),
        }]
    }
}

fn feedback(status: Status, sentence: &str) -> Effect {
    Effect::Feedback {
        status,
        sentence: sentence.to_owned(),
        code: None,
        text: String::new(),
        tags: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(attempt: u32) -> Input {
        let inner = Some(Reference {
            id: EventId::all_zeros(),
            relay: String::new(),
            author: None,
        });
        Input::Report {
            attempt,
            report: Report::Answered(Answer {
                text: "42".into(),
                inner,
                tags: Vec::new(),
            }),
        }
    }

    fn failed(attempt: u32) -> Input {
        Input::Report {
            attempt,
            report: Report::Failed(Failure::new("model", "no")),
        }
    }

    fn statuses(effects: &[Effect]) -> Vec<&'static str> {
        effects
            .iter()
            .map(|effect| match effect {
                Effect::Start { .. } => "start",
                Effect::Stop { .. } => "stop",
                Effect::Feedback { status, .. } => status.as_str(),
                Effect::Result(_) => "result",
            })
            .collect()
    }

    #[test]
    fn the_result_goes_out_before_success_and_nothing_after() {
        let mut job = Job::new(Kind::from(5050));
        assert_eq!(
            statuses(&job.handle(Input::Accepted)),
            ["processing", "start"]
        );
        assert_eq!(statuses(&job.handle(answered(1))), ["result", "success"]);
        for late in [answered(1), failed(1), Input::Cancelled, Input::Recovered] {
            assert!(job.handle(late).is_empty());
        }
    }

    #[test]
    fn an_older_attempt_is_not_heard() {
        let mut job = Job::new(Kind::from(5050));
        let _ = job.handle(Input::Accepted);
        assert_eq!(
            statuses(&job.handle(Input::Recovered)),
            ["processing", "start"]
        );
        assert!(job.handle(answered(1)).is_empty());
        assert_eq!(statuses(&job.handle(answered(2))), ["result", "success"]);
    }

    #[test]
    fn a_text_job_is_tried_once_more_and_an_agent_task_is_not() {
        let mut text = Job::new(Kind::from(5050));
        let _ = text.handle(Input::Accepted);
        let _ = text.handle(Input::Recovered);
        assert_eq!(statuses(&text.handle(Input::Recovered)), ["error"]);

        let mut task = Job::new(Kind::from(5870));
        let _ = task.handle(Input::Accepted);
        assert_eq!(statuses(&task.handle(Input::Recovered)), ["error"]);
    }

    #[test]
    fn a_cancelled_job_stops_and_ends_in_one_error() {
        let mut job = Job::new(Kind::from(5050));
        let _ = job.handle(Input::Accepted);
        assert_eq!(statuses(&job.handle(Input::Cancelled)), ["stop", "error"]);
        assert!(job.handle(answered(1)).is_empty());
    }

    #[test]
    fn a_job_waits_for_its_input_across_a_restart() {
        let mut job = Job::new(Kind::from(5050));
        let on = EventId::all_zeros();
        let _ = job.handle(Input::AcceptedWaiting { on });
        assert!(job.handle(Input::Recovered).is_empty());
        let mut other = job.clone();
        assert_eq!(
            statuses(&job.handle(Input::InputDone { delivered: true })),
            ["processing", "start"]
        );
        assert_eq!(
            statuses(&other.handle(Input::InputDone { delivered: false })),
            ["error"]
        );
    }

    /// Whatever comes in whatever order, a job ends in at most one result or one error.
    #[test]
    fn every_order_of_inputs_ends_in_one_terminal_answer() {
        let inputs = [
            Input::Accepted,
            answered(1),
            failed(1),
            Input::Cancelled,
            Input::Recovered,
            answered(2),
        ];
        let n = inputs.len();
        for code in 0..n.pow(6) {
            let mut job = Job::new(Kind::from(5050));
            let mut code = code;
            let mut terminal = 0;
            for _ in 0..6 {
                let effects = job.handle(inputs[code % n].clone());
                code /= n;
                terminal += statuses(&effects)
                    .iter()
                    .filter(|status| matches!(**status, "result" | "error"))
                    .count();
            }
            assert!(terminal <= 1);
            assert_eq!(terminal == 1, job.is_done());
        }
    }
}
