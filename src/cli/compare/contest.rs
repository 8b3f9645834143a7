//! A comparison: who was asked, what became of it, what it took.

use nostr::{Event, EventId, PublicKey, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::{
    cli::{
        error::{CommandError, Kind},
        figures::Figures,
        text::one_line,
        view::{self, JobState},
    },
    nips::workspace::FileLine,
};

/// There is no such number.
#[derive(Debug, thiserror::Error)]
#[error("nobody has the number {0}: there are {1}")]
struct Nobody(u16, usize);

/// Several jobs that asked the same.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Contest {
    /// What ties them together.
    pub(in crate::cli) id: EventId,
    /// When they were asked.
    pub(in crate::cli) at: Timestamp,
    /// What was asked.
    pub(in crate::cli) prompt: String,
    /// In the order in which they were asked.
    pub(in crate::cli) entries: Vec<Entry>,
}

impl Contest {
    /// The one with this number.
    ///
    /// # Errors
    /// When nobody has it.
    pub(super) fn entry(&self, n: u16) -> Result<&Entry, CommandError> {
        let found = self.entries.iter().find(|entry| entry.n == n);
        found.ok_or_else(|| CommandError::new(Kind::Usage, Nobody(n, self.entries.len())))
    }
}

/// One of them.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Entry {
    pub(in crate::cli) n: u16,
    pub(in crate::cli) job: EventId,
    pub(super) request: Option<Event>,
    pub(super) asked_agent: Option<String>,
    pub(super) asked_model: Option<String>,
    /// When it was handed to its session.
    pub(super) handed: Option<Timestamp>,
    pub(in crate::cli) session: Option<PublicKey>,
    pub(in crate::cli) state: JobState,
    pub(super) ended: Option<Timestamp>,
    pub(in crate::cli) figures: Figures,
    pub(in crate::cli) checks: Vec<Check>,
    pub(in crate::cli) answer: Option<String>,
    /// The exit code of a command that ended badly.
    pub(in crate::cli) exit: Option<String>,
    pub(in crate::cli) changed: Option<Changed>,
}

/// A command that was run on the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Check {
    pub(in crate::cli) command: String,
    pub(in crate::cli) ended: Ended,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Ended {
    Exit(i64),
    TookTooLong,
    /// It could not be run.
    NotRun,
}

/// What changed in a copy.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Changed {
    pub(in crate::cli) files: Vec<FileLine>,
    pub(in crate::cli) in_all: usize,
    pub(in crate::cli) text: String,
    pub(in crate::cli) cut: bool,
}

impl Check {
    /// Reads the checks of a result.
    pub(in crate::cli) fn of(result: &Event) -> Vec<Self> {
        view::tags(result, "check")
            .filter_map(|tag| {
                let word = tag.get(2).map(String::as_str);
                let command = one_line(tag.get(1)?);
                Some(Self {
                    // Of a private job it is not said.
                    command: if command.is_empty() {
                        "a check".to_owned()
                    } else {
                        command
                    },
                    ended: match word.map(str::parse) {
                        Some(Ok(code)) => Ended::Exit(code),
                        _ if word == Some("timeout") => Ended::TookTooLong,
                        _ => Ended::NotRun,
                    },
                })
            })
            .collect()
    }

    /// Whether it is as it should be.
    pub(in crate::cli) fn passed(&self) -> bool {
        self.ended == Ended::Exit(0)
    }

    /// Its exit code, if it has one.
    pub(in crate::cli) fn exit(&self) -> Option<i64> {
        match self.ended {
            Ended::Exit(code) => Some(code),
            Ended::TookTooLong | Ended::NotRun => None,
        }
    }

    /// How it ended, in words.
    pub(in crate::cli) fn how(&self) -> String {
        match self.ended {
            Ended::Exit(code) => format!("ended with exit code {code}"),
            Ended::TookTooLong => "took longer than it may".to_owned(),
            Ended::NotRun => "could not be run".to_owned(),
        }
    }
}

impl Changed {
    /// Lines that were added and taken away, of the files that are named.
    pub(in crate::cli) fn lines(&self) -> (u64, u64) {
        self.files.iter().fold((0, 0), |sum, file| {
            (sum.0 + file.added as u64, sum.1 + file.removed as u64)
        })
    }
}

impl Entry {
    /// The agent's name.
    pub(in crate::cli) fn agent(&self) -> String {
        let agent = self.figures.adapter.as_ref().or(self.asked_agent.as_ref());
        agent.map_or_else(|| "the agent".to_owned(), |agent| one_line(agent))
    }

    /// The model's name.
    pub(in crate::cli) fn model(&self) -> Option<String> {
        let model = self.figures.model.as_ref().or(self.asked_model.as_ref());
        model.map(|model| one_line(model))
    }

    /// Agent and model.
    pub(in crate::cli) fn name(&self) -> String {
        match self.model() {
            Some(model) => format!("{} · {model}", self.agent()),
            None => self.agent(),
        }
    }

    /// Whether it has its answer.
    pub(in crate::cli) fn done(&self) -> bool {
        self.state == JobState::Done
    }

    /// Whether nothing that was checked is wrong.
    pub(in crate::cli) fn passed(&self) -> bool {
        self.checks.iter().all(Check::passed)
    }

    /// Milliseconds that it took, once it ended.
    pub(in crate::cli) fn ms(&self) -> Option<u64> {
        let ended = self.ended?;
        if self.figures.ms > 0 {
            return Some(self.figures.ms);
        }
        let handed = self.handed?;
        Some(ended.as_secs().saturating_sub(handed.as_secs()) * 1000)
    }

    /// Changed files, and the lines added to and taken from them: of the copy as it is, else of the record.
    pub(in crate::cli) fn changes(&self) -> (u64, u64, u64) {
        match &self.changed {
            Some(changed) => {
                let (added, removed) = changed.lines();
                (changed.in_all as u64, added, removed)
            }
            None => {
                let (added, removed) = self.figures.lines();
                (self.figures.changed(), added, removed)
            }
        }
    }

    /// What the result is, by content: two that are equal came to the same.
    pub(in crate::cli) fn content(&self) -> Option<String> {
        if !self.done() {
            return None;
        }
        self.figures.tree.clone().or_else(|| {
            let answer = self.answer.as_deref()?.trim();
            Some(hex::encode(Sha256::digest(answer)))
        })
    }
}

impl Entry {
    pub(super) fn new(n: u16, job: EventId, agent: Option<String>, model: Option<String>) -> Self {
        Self {
            n,
            job,
            request: None,
            asked_agent: agent,
            asked_model: model,
            handed: None,
            session: None,
            state: JobState::Waiting,
            ended: None,
            figures: Figures::default(),
            checks: Vec::new(),
            answer: None,
            exit: None,
            changed: None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use nostr::Keys;

    use super::*;
    use crate::nips::Draft;

    /// A contestant that is done, with these figures.
    pub(in crate::cli::compare) fn entry(n: u16, agent: &str, ms: u64) -> Entry {
        let mut entry = Entry::new(
            n,
            EventId::from_slice(&[n as u8; 32]).unwrap(),
            Some(agent.to_owned()),
            None,
        );
        entry.state = JobState::Done;
        entry.ended = Some(Timestamp::from(9));
        entry.figures.ms = ms;
        entry.answer = Some("done".to_owned());
        entry
    }

    #[test]
    fn checks_are_read_from_the_result() {
        let result = Draft::new(6870)
            .tag(["check", "cargo test", "0"])
            .tag(["check", "a\u{1b}[2J", "101"])
            .tag(["check", "never ran", "error"])
            .tag(["check", "", "timeout"])
            .tag(["check"])
            .sign(&Keys::generate(), 1)
            .unwrap();
        let checks = Check::of(&result);
        let passed: Vec<bool> = checks.iter().map(Check::passed).collect();
        assert_eq!(passed, [true, false, false, false]);
        assert_eq!(checks[1].command, "a[2J");
        assert_eq!(checks[2].how(), "could not be run");
        assert_eq!(checks[3].how(), "took longer than it may");
    }
}
