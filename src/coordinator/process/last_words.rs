//! What an agent wrote to its standard error, and what that says about its end.

use std::time::Duration;

use super::Process;
use crate::{agent::acp, job::Failure};

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
