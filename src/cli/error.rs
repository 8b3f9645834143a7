//! What a command fails with: a kind that decides the exit code, the cause, and hints what to do.

use std::{error::Error, fmt, io, process::ExitCode};

use super::{client, home, text};

/// The exit codes, as `--help` shows them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the job failed, or what was checked is not right
  2  the command line is wrong
  3  no sandbox: agents run in sandboxes only
  4  no model
  5  not admitted
  6  treefort cannot be reached";

/// The class of a failure; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The job failed, or what was checked is not right.
    Failed,
    /// The command line is wrong.
    Usage,
    /// There is nothing to run agents in.
    NoSandbox,
    /// There is no model to ask.
    NoModel,
    /// The key may not do this here.
    NotAdmitted,
    /// treefort cannot be reached.
    Unreachable,
    /// Whoever read our output stopped reading: `treefort jobs | head -1` is no failure.
    OutputClosed,
}

impl Kind {
    /// The exit code of the class.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoSandbox => 3,
            Self::NoModel => 4,
            Self::NotAdmitted => 5,
            Self::Unreachable => 6,
        }
    }

    /// The class of a failed job by the `code` of its error feedback.
    #[must_use]
    pub fn of_job_code(code: Option<&str>) -> Self {
        match code {
            Some("no-model") => Self::NoModel,
            Some("no-sandbox") => Self::NoSandbox,
            Some("not-admitted") => Self::NotAdmitted,
            _ => Self::Failed,
        }
    }
}

/// A command's failure, ready to be shown.
#[derive(Debug)]
pub struct CommandError {
    kind: Kind,
    source: Box<dyn Error + Send + Sync>,
    hints: Vec<String>,
    word: Option<String>,
}

impl CommandError {
    /// A failure of a class, with its cause.
    pub fn new(kind: Kind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            source: source.into(),
            hints: Vec::new(),
            word: None,
        }
    }

    /// Names the failure for programs, more exactly than its class does.
    #[must_use]
    pub fn word(mut self, word: Option<&str>) -> Self {
        self.word = word.map(text::one_line);
        self
    }

    /// The failure as an object for programs: `error` is the sentence, `code` one word.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let word = self.word.as_deref().unwrap_or(match self.kind {
            Kind::OutputClosed => "output-closed",
            Kind::Failed => "failed",
            Kind::Usage => "usage",
            Kind::NoSandbox => "no-sandbox",
            Kind::NoModel => "no-model",
            Kind::NotAdmitted => "not-admitted",
            Kind::Unreachable => "unreachable",
        });
        serde_json::json!({"error": self.message(), "code": word})
    }

    /// Adds what the person can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says what the person can do, in place of what was said before.
    #[must_use]
    pub fn instead(mut self, hint: impl Into<String>) -> Self {
        self.hints = vec![hint.into()];
        self
    }

    /// The class.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Writes `error:` with the causes, then the hints, to stderr; the exit code follows from the kind.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        if self.kind != Kind::OutputClosed {
            use io::Write as _;
            // When stderr is gone there is nobody left to tell.
            let _ = write!(
                anstream::stderr().lock(),
                "{}",
                self.shown(super::output::progress_columns())
            );
        }
        ExitCode::from(self.kind.code())
    }
}

impl CommandError {
    /// The causes, in one line unless a cause has lines of its own: a place in a file is shown in its lines.
    #[must_use]
    pub fn message(&self) -> String {
        let said = |error: &dyn Error| text::sanitize(&error.to_string()).trim().to_owned();
        let mut line = said(&*self.source);
        let mut cause = self.source.source();
        while let Some(inner) = cause {
            let inner_line = said(inner);
            // Transparent wrappers repeat their source; saying it once is enough.
            if !line.contains(&inner_line) {
                line.push_str(": ");
                line.push_str(&inner_line);
            }
            cause = inner.source();
        }
        line
    }

    /// What to do first; empty when nothing is known.
    #[must_use]
    pub fn first_hint(&self) -> String {
        self.hints.first().cloned().unwrap_or_default()
    }
}

impl CommandError {
    /// The lines for a person, at most `columns` wide; what may be copied is not broken.
    fn shown(&self, columns: usize) -> String {
        let error = anstyle::AnsiColor::Red.on_default().bold();
        let hint = anstyle::AnsiColor::Cyan.on_default().bold();
        let mut lines = super::output::hanging(
            &format!("{error}error:{error:#} "),
            &self.message(),
            columns,
        );
        for text in &self.hints {
            let head = format!("{hint}hint:{hint:#} ");
            lines.extend(super::output::hanging(&head, text, columns));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown(1 << 20))
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Kind::OutputClosed, error),
            _ => Self::new(Kind::Failed, error),
        }
    }
}

impl From<home::Error> for CommandError {
    fn from(error: home::Error) -> Self {
        let hint = error.hint();
        let error = Self::new(Kind::Failed, error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl From<client::Error> for CommandError {
    fn from(error: client::Error) -> Self {
        let error = match error {
            client::Error::Refused(refusal) if refusal.is_stopping() => client::Error::Stopped,
            other => other,
        };
        let (kind, hint) = match &error {
            client::Error::Imposter { .. } => (
                Kind::Unreachable,
                Some(
                    "another program took treefort's port; `treefort up --listen 127.0.0.1:0` takes a free one",
                ),
            ),
            client::Error::Refused(refusal) if refusal.is_not_admitted() => (
                Kind::NotAdmitted,
                Some("the owner lets you in with `treefort allow`"),
            ),
            client::Error::Refused(_) | client::Error::Sign(_) | client::Error::TooDense { .. } => {
                (Kind::Failed, None)
            }
            client::Error::Stopped | client::Error::Closed(_) => (Kind::Unreachable, None),
            _ => (
                Kind::Unreachable,
                Some("`treefort doctor` says what is wrong"),
            ),
        };
        let error = Self::new(kind, error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// What can go wrong in a command itself, as one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A question was not answered with yes.
    #[error("nothing was done: it was not confirmed")]
    NotConfirmed,
    /// More of an apply needs a look than the preview can show.
    #[error("there is more to look at than the preview shows ({0})")]
    NotShown(String),
    /// Nobody waits for an answer.
    #[error("no agent waits for this answer: nothing is asked, or it was answered already")]
    NoQuestion,
    /// Several things are asked.
    #[error("{0} questions are open")]
    SeveralQuestions(usize),
    /// The answer is none of those that the agent offers.
    #[error("'{0}' is no answer to this question")]
    NoOption(String),
    /// The agent has no use for a folder.
    #[error("the agent {0} does not work on files")]
    NoFiles(String),
    /// The agent acts without asking, or does nothing to ask for.
    #[error("the agent {0} cannot ask before it acts")]
    NeverAsks(String),
    /// The folder to work on is not there.
    #[error("the folder {0} cannot be worked on")]
    NoFolder(String, #[source] io::Error),
    /// A command ended with another exit code than 0.
    #[error("the command ended with exit code {0}")]
    Exit(String),
    /// A check of the result did not pass.
    #[error("the agent is done, but a check did not pass: {0}")]
    CheckFailed(String),
    /// Several checks of the result did not pass.
    #[error("the agent is done, but {failed} of {of} checks did not pass: {}", .named.join("; "))]
    ChecksFailed {
        /// How many did not.
        failed: usize,
        /// Of how many.
        of: usize,
        /// Which ones, and how each of them ended.
        named: Vec<String>,
    },
    /// Of several that were asked, each has an answer that is not right.
    #[error("{done} of {of} are done, and none of these passed its checks")]
    NonePassed {
        /// How many have an answer.
        done: usize,
        /// Of how many.
        of: usize,
    },
    /// Several were asked the last question, and none of them was chosen.
    #[error("the last question went to several, so name the one that you mean: {}", .0.join(", "))]
    SeveralAsked(Vec<String>),
    /// Both sides changed the same lines.
    #[error(
        "these files need a look, because your version and the agent's do not fit together: {0}"
    )]
    Conflicts(String),
    /// Nothing has happened yet.
    #[error("there is no session yet")]
    NoSession,
    /// The id names nothing.
    #[error("nothing here is called '{0}'")]
    Unknown(String),
    /// The id names several things.
    #[error("'{needle}' could be any of these: {}", candidates.join(", "))]
    Ambiguous {
        /// What was given.
        needle: String,
        /// What it could mean.
        candidates: Vec<String>,
    },
    /// The id is neither hexadecimal nor an npub.
    #[error(
        "'{0}' is not an id: give the first characters that the timeline or `treefort jobs` shows"
    )]
    NotAnId(String),
    /// The file is not there.
    #[error("there is no file '{0}', and no session or job is called so")]
    NoFile(String),
    /// The id names a comparison, and one of its jobs is wanted.
    #[error("'{needle}' is a comparison: name one of those who were asked: {}", jobs.join(", "))]
    Compared {
        /// What was given.
        needle: String,
        /// Numbers and ids of its jobs.
        jobs: Vec<String>,
    },
    /// The key cannot be read.
    #[error("'{0}' is not a public key: give an npub or 64 hexadecimal characters")]
    NotAKey(String),
    /// The prompt came as several arguments.
    #[error("the question came in several parts: put it in quotation marks")]
    PromptInWords,
    /// There is nothing to do.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The prompt is no text.
    #[error("what came in is not text (UTF-8)")]
    NotText,
    /// The prompt is longer than an event may be.
    #[error("the prompt has {}{len} bytes; at most {max} fit", if *.more { "more than " } else { "" })]
    PromptTooLong {
        /// Its bytes, as far as they were read.
        len: usize,
        /// Whether there were more.
        more: bool,
        /// The most that fits.
        max: usize,
    },
    /// More files than one question may have.
    #[error("at most {0} files can be attached")]
    TooManyFiles(usize),
    /// A file is too large to be attached.
    #[error("'{0}' has more than {1} MiB, which is the most that can be attached")]
    FileTooLarge(String, usize),
    /// The job ended without an answer.
    #[error("{0}")]
    Job(String),
    /// The person stopped the job.
    #[error("the job was cancelled")]
    Cancelled,
    /// The time that `--timeout` gave is over.
    #[error("no answer within {0} s; the job was cancelled")]
    TimedOut(u64),
    /// Nobody answered for so long; nothing was cancelled.
    #[error("no answer within {0} s; it may still be going on: treefort jobs --all")]
    NoAnswer(u64),
    /// The file cannot be read or written.
    #[error("cannot use '{path}'")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The record is not what was signed, or not all of it.
    #[error("{0}")]
    NotVerified(String),
    /// The session cannot be handed on; why.
    #[error("{0}")]
    NotShared(String),
    /// The secret key cannot be read.
    #[error("this is no secret key: an nsec, ncryptsec or 64 hexadecimal characters were expected")]
    NotASecret,
    /// The password does not open the key.
    #[error("the password does not open this key")]
    WrongPassword,
    /// Two entered passwords differ.
    #[error("the two passwords are not the same")]
    PasswordsDiffer,
    /// There is no password.
    #[error("the password is empty")]
    EmptyPassword,
    /// A plain secret key may only go to a file.
    #[error("a plain secret key goes to a file only")]
    PlainNeedsFile,
    /// The conversation has no answer that the next question could go on from.
    #[error("nothing was answered in '{0}' yet, so there is nothing to go on with")]
    NothingToContinue(String),
    /// Nothing runs agents here; why.
    #[error("{0}")]
    NoSandbox(String),
    /// A store of the home cannot be opened.
    #[error(
        "{what} in '{path}' cannot be opened: it is damaged, or of another version of treefort"
    )]
    Damaged {
        /// What it holds.
        what: &'static str,
        /// The store.
        path: String,
    },
    /// A store of the home is of another version.
    #[error(
        "{what} in '{path}' is of format {found}, which this version of treefort does not read"
    )]
    OtherVersion {
        /// What it holds.
        what: &'static str,
        /// The store.
        path: String,
        /// Its format.
        found: String,
    },
    /// A store of the home cannot be used because of where it is.
    #[error("{what} in '{path}' cannot be used: {why}")]
    Unusable {
        /// What it holds.
        what: &'static str,
        /// The store.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// The home has no record yet.
    #[error("there is no record in '{0}' yet")]
    NoRecord(String),
    /// What is stored is not all right.
    #[error(
        "the record is damaged: {unreadable} entries cannot be read, {unfound} are not found by all that should lead to them, {loose} index rows lead to nothing"
    )]
    NotWhole {
        /// Entries that cannot be read.
        unreadable: u64,
        /// Entries that are not found.
        unfound: u64,
        /// Index rows that lead to nothing.
        loose: u64,
    },
    /// A part of the record was to be read and could not be.
    #[error("a part of the record cannot be read any more")]
    Unreadable,
    /// Entries could not be written out.
    #[error("{0} entries could not be read and are left out")]
    LeftOut(u64),
    /// Lines were not taken in because they are not right.
    #[error("{count} lines are not right; the first of them is line {line}")]
    WrongLines {
        /// How many.
        count: u64,
        /// The first of them.
        line: u64,
    },
    /// Jobs would be passed over.
    #[error("nothing was taken in: there are jobs that treefort has not looked at yet")]
    JobsWait,
    /// The disk takes no more.
    #[error("the record cannot be written any more; what was written is safe")]
    Unwritable,
    /// A part of treefort failed, which only those who know its parts can do something about.
    #[error("treefort failed")]
    Inside,
    /// There is no model to ask; why.
    #[error("{0}")]
    NoModel(String),
    /// The first problem that `doctor` found.
    #[error("not ready: {0}")]
    NotReady(String),
}
