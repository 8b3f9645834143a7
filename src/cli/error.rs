//! What a command fails with: a kind that decides the exit code, the cause, and hints what to do.

mod problem;

use std::{error::Error, fmt, io, process::ExitCode};

pub use self::problem::Problem;

use super::{client, home, text};

/// The exit codes, as `--help` shows them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the job failed, or what was checked is not right
  2  the command line, or a settings file, is wrong
  3  no sandbox: agents run in sandboxes only
  4  no model
  5  not admitted
  6  treefort cannot be reached";

/// The class of a failure; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The job failed, or what was checked is not right.
    Failed,
    /// The command line, or a settings file, is wrong.
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
    told: bool,
}

impl CommandError {
    /// A failure of a class, with its cause.
    pub fn new(kind: Kind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            source: source.into(),
            hints: Vec::new(),
            word: None,
            told: false,
        }
    }

    /// Names the failure for programs, more exactly than its class does.
    #[must_use]
    pub fn word(mut self, word: Option<&str>) -> Self {
        self.word = word.map(text::one_line);
        self
    }

    /// Programs know it already: what was written for them says it.
    #[must_use]
    pub fn told(mut self) -> Self {
        self.told = true;
        self
    }

    /// Whether programs know it already.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.told
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
