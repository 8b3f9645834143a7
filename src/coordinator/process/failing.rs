//! What went wrong with an agent, in words: what it said last, and what the host saw.

use std::time::Duration;

use super::Process;
use crate::{agent::acp, coordinator::context::Context, job::Failure, sandbox};

/// How long an agent's last words may come after the end of its output.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Lines of an agent's standard error in a sentence.
const LAST_LINES: usize = 3;
/// Characters of one of them.
const LINE_CHARS: usize = 300;

impl Process {
    /// The last lines of what the agent wrote to its standard error, for a person: bounded, and without what a
    /// terminal obeys, and without secrets.
    pub(in crate::coordinator) fn last_words(&self, lines: usize) -> Vec<String> {
        let text = self.stderr.text();
        let text = self.context.redactor.redact(&text);
        let written = text.lines().map(str::trim_end);
        let mut last: Vec<String> = written
            .filter(|line| !line.trim().is_empty())
            .rev()
            .take(lines)
            .map(|line| line.replace('\t', "  ").chars().take(LINE_CHARS).collect())
            .collect();
        last.reverse();
        last
    }

    /// What went wrong with the agent, with the facts that the host saw.
    pub(in crate::coordinator) async fn agent_failed(&self, error: &acp::Error) -> Failure {
        if matches!(error, acp::Error::Closed(_)) {
            // Its last words and its exit code come another way, and may come after its end.
            let mut exit = self.exit();
            let ended = tokio::time::timeout(LAST_WORDS, exit.wait_for(Option::is_some));
            let _seen = ended.await;
        }
        let mut sentence = format!("the agent {} failed: {error}", self.manifest.name);
        if let Some(exit) = self.exit.borrow().as_ref() {
            if exit.oom {
                sentence.push_str("; it was killed because its memory ran out");
            } else if let Some(code) = exit.code {
                sentence.push_str(&format!("; it exited with code {code}"));
            }
        }
        let words = self.last_words(LAST_LINES);
        if !words.is_empty() {
            sentence.push_str(&format!("; its last words: {}", words.join(" / ")));
        }
        Failure::new(
            "agent",
            self.context.redactor.redact(&sentence).into_owned(),
        )
    }
}

/// Why there is no container, and what to do about it.
pub(super) fn no_sandbox(context: &Context, error: &sandbox::Error, agent: &str) -> Failure {
    // A hint may name a command with the agent's name in it.
    let hint = error.hint().replace("NAME", agent);
    // A container's words are in it, and its secrets are known only as long as it is being started.
    let sentence = format!("{error}. {hint}");
    Failure::new(
        "no-sandbox",
        context.redactor.redact(&sentence).into_owned(),
    )
}
