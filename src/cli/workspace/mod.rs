//! What a person does with the copy of a folder that an agent worked on: look, undo, take home, discard.
//!
//! Each is a workspace task (kind 5871), which treefort itself does; these commands only ask and show.

pub mod answer;
pub mod apply;
pub mod checkpoints;
pub mod clean;
pub mod diff;
pub mod discard;
pub mod files;
pub mod open;
pub mod preview;
pub mod steer;
pub mod undo;

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use nostr::{EventId, Filter, Kind as EventKind, Timestamp};
use tokio::time::Instant;

use super::{
    client::Update,
    error::{CommandError, Kind, Problem},
    gather::{self, Target},
    keyboard,
    launch::Connection,
    output,
    render::plural,
    text::{ago, one_line, truncate},
    view::Feedback,
};
use crate::nips::{
    kind,
    nip90::{Scheme, Status},
    workspace::{Answer, Operation, Task, Which},
};

/// The columns of what an agent was asked, beside what this is about.
const TITLE: usize = 50;
/// How long a task may take; an apply of many files waits for the disk.
const PATIENCE: Duration = Duration::from_secs(600);

/// Asks for a task on the copy that is meant: the one of the named session, else the newest of this folder.
///
/// # Errors
/// When there is no such copy, or the task fails.
pub(super) async fn ask(
    connection: &mut Connection,
    session: Option<&str>,
    operation: Operation,
) -> Result<Answer, CommandError> {
    let which = which(connection, session).await?;
    request(connection, &Task { which, operation }).await
}

/// The copy that is meant.
///
/// # Errors
/// When nothing or several things are called so.
pub(super) async fn which(
    connection: &mut Connection,
    session: Option<&str>,
) -> Result<Which, CommandError> {
    if session.is_some() {
        let coordinator = connection.coordinator();
        let target = gather::resolve(&mut connection.client, coordinator, session).await?;
        return match target {
            Target::Session(key) => Ok(Which::Session(key)),
            Target::Job(id) => session_of(connection, id).await,
        };
    }
    let here = std::env::current_dir()?;
    Ok(Which::Project(here.to_string_lossy().into_owned()))
}

/// The session that a job was given to.
async fn session_of(connection: &mut Connection, job: EventId) -> Result<Which, CommandError> {
    let handed = super::view::of_kind(kind::AGENT_TASK)
        .author(connection.coordinator())
        .custom_tag(gather::ROOT, job.to_hex());
    let newest = connection.client.newest(handed, 1).await?;
    newest
        .first()
        .and_then(|inner| super::view::people(inner).next())
        .map(Which::Session)
        .ok_or_else(|| CommandError::new(Kind::Failed, Problem::NoSession))
}

/// Asks for a task and waits for what became of it.
///
/// # Errors
/// When it fails.
pub(super) async fn request(
    connection: &mut Connection,
    task: &Task,
) -> Result<Answer, CommandError> {
    let coordinator = connection.coordinator();
    let operator = connection.keyring.operator().clone();
    // Hidden, whatever copy it is about: which ones are private is for their owner to know.
    let job = task
        .sealed(&operator, &coordinator)
        .map_err(|error| CommandError::new(Kind::Failed, error))?
        .sign(&operator, Timestamp::now().as_secs())
        .map_err(super::client::Error::from)?;
    let filter = Filter::new()
        .kinds([kind::JOB_FEEDBACK, kind::WORKSPACE_TASK_RESULT].map(EventKind::from))
        .author(coordinator)
        .event(job.id);
    connection.client.subscribe(vec![filter]).await?;
    connection.client.publish(&job).await?;
    let deadline = Instant::now() + PATIENCE;
    let answer = loop {
        let update = tokio::time::timeout_at(deadline, connection.client.next())
            .await
            .map_err(|_| CommandError::new(Kind::Failed, Problem::NoAnswer(PATIENCE.as_secs())))?;
        let Update::Event(event) = update?.1 else {
            continue;
        };
        // An earlier task's last word may still come.
        if super::view::ids(&event, "e").next() != Some(job.id) {
            continue;
        }
        if event.kind.as_u16() == kind::WORKSPACE_TASK_RESULT {
            let text = Scheme::of(&event)
                .decrypt(&operator, &coordinator, &event.content)
                .map_err(|error| CommandError::new(Kind::Failed, error))?;
            break serde_json::from_str(&text)
                .map_err(|error| CommandError::new(Kind::Failed, error))?;
        }
        if let Some(feedback) = Feedback::to(&event, &operator)
            && feedback.status == Status::Error
        {
            let code = feedback.code.as_deref();
            let problem = Problem::Job(feedback.sentence.clone());
            return Err(CommandError::new(Kind::of_job_code(code), problem).word(code));
        }
    };
    Ok(answer)
}

/// Says which copy this is about, for a person only.
pub(super) fn which_one(answer: &Answer) {
    if let (Some(title), Some(at)) = (&answer.title, answer.at) {
        let now = Timestamp::now().as_secs();
        aside(&format!(
            "the agent's copy for “{}”, {}",
            truncate(&one_line(title), TITLE),
            ago(at, now)
        ));
    }
    if answer.passed_over > 0 {
        aside(&format!(
            "passed over, since nothing was changed in {}: {} of this folder (--session names any)",
            if answer.passed_over == 1 {
                "it"
            } else {
                "them"
            },
            plural(answer.passed_over as u64, "newer session"),
        ));
    }
}

/// A command of ours for the same copy.
pub(super) fn again(command: &str, session: Option<&str>) -> String {
    match session {
        Some(session) if command.contains("undo") || command.contains("diff") => {
            format!("{command} --session {}", one_line(session))
        }
        Some(session) => format!("{command} {}", one_line(session)),
        None => command.to_owned(),
    }
}

/// What a person said to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Yes.
    Yes,
    /// Anything else.
    No,
    /// There is no terminal to ask on.
    Nobody,
}

/// Asks a person yes or no on the terminal.
///
/// # Errors
/// When the terminal cannot be read.
pub(super) fn confirmed(question: &str) -> Result<Said, CommandError> {
    answered(&format!("{question} [y/N] "), &["y", "yes"])
}

/// Asks a person to type some words on the terminal, where a habit of saying yes is not enough.
///
/// # Errors
/// When the terminal cannot be read.
pub(super) fn typed(question: &str, words: &str) -> Result<Said, CommandError> {
    answered(&format!("{question} `{words}`: "), &[words])
}

fn answered(question: &str, yes: &[&str]) -> Result<Said, CommandError> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(Said::Nobody);
    }
    keyboard::forget();
    let mut err = anstream::stderr().lock();
    write!(err, "{question}")?;
    err.flush()?;
    let Some(line) = keyboard::line_now() else {
        // Nobody pressed Enter, so what is said next would stand behind the question.
        writeln!(err)?;
        return Ok(Said::No);
    };
    Ok(said(&line, yes))
}

/// What a line says: yes, when it is one of these words.
fn said(line: &str, yes: &[&str]) -> Said {
    let line = line.trim().to_ascii_lowercase();
    if yes.contains(&line.as_str()) {
        Said::Yes
    } else {
        Said::No
    }
}

/// What a command that was not confirmed ends with.
///
/// # Errors
/// When there was nobody to ask; saying no is no error.
pub(super) fn not_confirmed(said: Said, command: &str) -> Result<(), CommandError> {
    if said == Said::No {
        output::progress("nothing was changed");
        return Ok(());
    }
    Err(CommandError::new(Kind::Usage, Problem::NotConfirmed)
        .hint(format!("to do it without being asked: {command}")))
}

/// Writes a hint after the data, for a person only.
pub(super) fn aside(text: &str) {
    let dim = anstyle::Style::new().dimmed();
    output::progress(format!("{dim}{text}{dim:#}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_habit_of_saying_yes_is_no_answer_to_a_question_for_words() {
        assert_eq!(said("Y\n", &["y", "yes"]), Said::Yes);
        assert_eq!(said("\n", &["y", "yes"]), Said::No);
        assert_eq!(said(" apply all \n", &["apply all"]), Said::Yes);
        for line in ["y", "yes", "apply", "all", ""] {
            assert_eq!(said(line, &["apply all"]), Said::No);
        }
    }
}
