//! The steps in which a sandbox is built, and how the one that failed is told to the host.

use std::io::{self, Write};
use std::process::ExitCode;

/// A step of building a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Plan,
    Namespaces,
    Maps,
    Capabilities,
    Start,
    Root,
    Process,
    Shown,
    Workspace,
    Network,
    Identity,
    Limits,
    Landlock,
    Seccomp,
}

impl Step {
    const ALL: [(Self, &'static str); 14] = [
        (Self::Plan, "plan"),
        (Self::Namespaces, "namespaces"),
        (Self::Maps, "maps"),
        (Self::Capabilities, "capabilities"),
        (Self::Start, "start"),
        (Self::Root, "root"),
        (Self::Process, "proc"),
        (Self::Shown, "files"),
        (Self::Workspace, "workspace"),
        (Self::Network, "network"),
        (Self::Identity, "identity"),
        (Self::Limits, "limits"),
        (Self::Landlock, "landlock"),
        (Self::Seccomp, "seccomp"),
    ];

    /// Its name in a report.
    pub(super) fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(step, _)| *step == self);
        found.map_or("start", |(_, word)| word)
    }
}

/// A step that failed, and why.
#[derive(Debug)]
pub(super) struct Failure {
    step: Step,
    /// What it was about.
    about: String,
    source: io::Error,
}

/// In front of the line that [`Failure::report`] writes.
const MARK: &str = "treefort-sandbox: ";

impl Failure {
    pub(super) fn new(step: Step, source: impl Into<io::Error>) -> Self {
        Self {
            step,
            about: String::new(),
            source: source.into(),
        }
    }

    /// The step, and what the kernel said.
    pub(super) fn parts(&self) -> (Step, String) {
        let said = format!("{} {}", self.about, self.source);
        (self.step, said.trim().to_owned())
    }

    /// Whether it only is that the other side has gone, which knows better why.
    pub(super) fn is_the_end(&self) -> bool {
        let kinds = [io::ErrorKind::BrokenPipe, io::ErrorKind::UnexpectedEof];
        kinds.contains(&self.source.kind())
    }

    /// Says it on standard error; the exit code of a sandbox that could not be set up.
    pub(super) fn report(self) -> ExitCode {
        let (step, said) = self.parts();
        let line = format!("{MARK}{} {said}\n", step.word());
        // Nobody is left to tell when this fails, but the exit code.
        let _ = io::stderr().write_all(line.as_bytes());
        ExitCode::from(125)
    }
}

/// Names the step of a result.
pub(super) fn at<T, E: Into<io::Error>>(step: Step, result: Result<T, E>) -> Result<T, Failure> {
    result.map_err(|error| Failure::new(step, error))
}

/// The same, and what it was about.
pub(super) fn at_path<T, E: Into<io::Error>>(
    step: Step,
    path: &std::path::Path,
    result: Result<T, E>,
) -> Result<T, Failure> {
    result.map_err(|error| Failure {
        about: path.display().to_string(),
        ..Failure::new(step, error)
    })
}

/// The step and the words of a report among what a sandbox wrote on standard error.
pub(super) fn reported(stderr: &str) -> Option<(Step, &str)> {
    let line = stderr.lines().find_map(|line| line.strip_prefix(MARK))?;
    let (word, rest) = line.split_once(' ')?;
    let (step, _) = Step::ALL.into_iter().find(|(_, known)| *known == word)?;
    Some((step, rest.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_back() {
        for (step, word) in Step::ALL {
            assert_eq!(step.word(), word);
            let said = format!("other\n{MARK}{word} /a b: no\n");
            assert_eq!(reported(&said), Some((step, "/a b: no")));
        }
        assert_eq!(reported("treefort-sandbox: nothing known"), None);
        assert_eq!(reported(""), None);
    }
}
