//! What its owner wants to know of a result: commands that are run when the agent's turn has ended, and how they end.
//!
//! They run in sandboxes of the shell agent, one after the other, on a copy of the agent's copy that is made for them
//! while the agent stands still, and thrown away. So the agent's copy stays byte for byte as the agent left it, also
//! what no checkpoint covers (`node_modules`, `target`), which tests need and write to; and a check that is cut off
//! leaves nothing to be put back. Exit codes and times are facts: the host saw them.

mod one;

use super::{
    context::now,
    executor::Order,
    image,
    opening::excerpt,
    publisher::PublishError,
    saying::tag,
    session::{Lines, Session, Turn},
    turn::Ended,
};
use crate::{
    agent::manifest::{Driver, Manifest},
    job::Failure,
    nips::{
        nip90::{
            JobRequest,
            request::{MAX_CHECK, MAX_CHECKS},
        },
        session::ActionKind,
    },
};

/// The agent in whose sandbox checks run.
const SHELL: &str = "shell";

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// With an exit code that the host saw.
    Exit(i64),
    /// It took longer than it may.
    Timeout,
    /// It could not be run, or not to its end; why.
    Error(String),
}

impl Verdict {
    /// As it stands in `exit` and `check`.
    fn word(&self) -> String {
        match self {
            Self::Exit(code) => code.to_string(),
            Self::Timeout => "timeout".to_owned(),
            Self::Error(_) => "error".to_owned(),
        }
    }
}

/// A check that was run.
#[derive(Debug)]
struct Checked {
    verdict: Verdict,
    /// The end of what it wrote.
    tail: String,
    /// Milliseconds.
    ms: u128,
}

impl Checked {
    fn error(why: String) -> Self {
        Self {
            verdict: Verdict::Error(why),
            tail: String::new(),
            ms: 0,
        }
    }
}

/// What ended one check.
enum Step {
    Checked(Checked),
    /// Its owner brought an earlier state back: all checks are about files that are gone.
    Undone,
    /// The job ends.
    Ended(Ended),
}

/// What became of all checks.
pub(super) enum Checks {
    /// The result's tags.
    Done(Vec<Vec<String>>),
    /// The job ends.
    Ended(Ended),
}

/// Why a job's checks are refused.
pub(super) fn refused(request: &JobRequest, operator: bool) -> Option<Failure> {
    let mut count = 0;
    for check in request.checks() {
        count += 1;
        if !operator {
            let sentence = "only the owner of this machine may have results checked by a command";
            return Some(Failure::new("not-admitted", sentence));
        }
        if check.trim().is_empty() || check.contains('\0') || check.len() > MAX_CHECK {
            let sentence = format!("a check is a command of at most {MAX_CHECK} bytes");
            return Some(Failure::new("input", sentence));
        }
    }
    (count > MAX_CHECKS).then(|| {
        let sentence = format!("a job has at most {MAX_CHECKS} checks; this one has {count}");
        Failure::new("input", sentence)
    })
}

/// Whether an agent leaves something behind that can be checked. A command says itself how it ended.
pub(super) fn can(manifest: &Manifest) -> bool {
    manifest.workspace && manifest.driver == Driver::Acp
}

/// Whether a job has any.
pub(super) fn any(order: &Order) -> bool {
    order.request.checks().next().is_some()
}

/// Runs a job's checks on what its agent left, and records each.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn run(
    session: &mut Session,
    turn: &Turn,
    lines: &Lines,
) -> Result<Checks, PublishError> {
    let Some(shared) = session.bench.as_ref().map(|bench| bench.shared.clone()) else {
        return Ok(Checks::Done(Vec::new()));
    };
    session.rests(false);
    // Who stands still for its owner is the check from now on: the agent has nothing to do.
    let owners = session.owners.clone();
    let done = rounds(session, turn, lines).await;
    session.owners = owners;
    session.process.stand_still(false);
    shared.drop_duplicate().await;
    session.rests(true);
    done
}

async fn rounds(session: &mut Session, turn: &Turn, lines: &Lines) -> Result<Checks, PublishError> {
    let commands: Vec<String> = turn.order.request.checks().map(str::to_owned).collect();
    // Once more for each time that its owner brings a state back.
    'round: loop {
        let mut tags = Vec::new();
        let files = match one::prepare(session, turn, lines).await? {
            one::Prepared::Ready(files) => files,
            one::Prepared::Undone => continue 'round,
            one::Prepared::Ended(ended) => return Ok(Checks::Ended(ended)),
        };
        for command in &commands {
            let checked = match &files {
                Err(failure) => Checked::error(failure.sentence.clone()),
                Ok(tree) => match one::check(session, turn, lines, command, tree).await? {
                    Step::Checked(checked) => checked,
                    Step::Undone => continue 'round,
                    Step::Ended(ended) => return Ok(Checks::Ended(ended)),
                },
            };
            tags.push(record(session, command, &checked).await?);
        }
        return Ok(Checks::Done(tags));
    }
}

/// Records how a check ended; gives the result's tag.
async fn record(
    session: &mut Session,
    command: &str,
    checked: &Checked,
) -> Result<Vec<String>, PublishError> {
    let redactor = session.context.redactor.clone();
    let command = redactor.redact(command).into_owned();
    let word = checked.verdict.word();
    let written = match &checked.verdict {
        Verdict::Error(why) => redactor.redact(why).into_owned(),
        Verdict::Exit(_) | Verdict::Timeout => checked.tail.clone(),
    };
    let seconds = checked.ms as f64 / 1000.0;
    let how = match &checked.verdict {
        Verdict::Exit(0) => format!("passed ({seconds:.1} s)"),
        Verdict::Exit(code) => format!("failed (exit {code}, {seconds:.1} s)"),
        Verdict::Timeout => format!("took longer than it may ({seconds:.1} s)"),
        Verdict::Error(_) => "could not be run".to_owned(),
    };
    let mut detail = vec![
        tag("exit", [word.clone()]),
        tag("ms", [checked.ms.to_string()]),
    ];
    let (alt, content, named) = if session.private {
        detail.push(tag("withheld", [written.len().to_string()]));
        (format!("A check {how}"), String::new(), String::new())
    } else {
        let words = ["sh".to_owned(), "-c".to_owned(), command.clone()];
        detail.insert(0, tag("cmd", words));
        let line = excerpt(&redactor, &command);
        let content = format!("$ {command}\n{written}");
        (format!("Check `{line}` {how}"), content, command)
    };
    let kind = ActionKind::Other("check".to_owned());
    let entry = session.log.action(kind, detail, alt, &content, now())?;
    session.publish(entry).await?;
    Ok(tag("check", [named, word]))
}
