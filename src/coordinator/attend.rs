//! How a session attends to its owner while its agent works: it stands still and goes on, is steered, and asks.
//!
//! A job's time stands still as long as the agent does, and as long as one of its questions is open. Everything that
//! the owner does is on the record before it has its effect.

use std::time::Duration;

use nostr::EventId;
use tokio::time::Instant;

use super::{
    asking::{self, Waiting},
    clock::Clock,
    context::now,
    desk::{Answered, Seen, Word},
    executor::Order,
    publisher::PublishError,
    questions::Questions,
    saying::{report, tag},
    session::{Lines, Session},
};
use crate::{
    job::{Failure, Report},
    nips::{session::ActionKind, workspace::QuestionLine},
    sandbox,
};

/// How long an agent may take to stand still before its owner hears that it does not.
const FREEZE: Duration = Duration::from_secs(15);

/// How a turn stands.
#[derive(Debug)]
pub(super) struct Stand {
    /// What the job may take.
    pub(super) clock: Clock,
    /// What the agent waits for.
    pub(super) questions: Questions<Waiting>,
    /// Whether its owner has it stand still.
    pub(super) paused: bool,
    /// Whether its owner is asked for permissions.
    pub(super) asks: bool,
    /// Whether the agent was asked to stop: it waits for no answer any more.
    pub(super) stopping: bool,
}

impl Stand {
    /// Of a turn that may take so many seconds.
    pub(super) fn new(seconds: u64, asks: bool) -> Self {
        Self {
            clock: Clock::new(seconds, Instant::now()),
            questions: Questions::default(),
            paused: false,
            asks,
            stopping: false,
        }
    }

    /// Time runs unless something stands still.
    pub(super) fn settle(&mut self) {
        let now = Instant::now();
        let runs = !self.paused;
        self.questions.run(runs, now);
        self.clock.run(runs && self.questions.is_empty(), now);
    }
}

/// What a word means for the turn.
#[derive(Debug)]
pub(super) enum Attended {
    /// It was done.
    Done,
    /// The agent goes on after it stood still.
    GoesOn,
    /// The agent is to stop what it does and to do this.
    Steered(String),
}

/// Does what the owner says.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn hear(
    session: &mut Session,
    order: &Order,
    lines: &Lines,
    word: Word,
) -> Result<Attended, PublishError> {
    match word {
        Word::Look(heard) => {
            // Who asked may not wait any more, here and below.
            let _ = heard.send(Ok(seen(session)));
        }
        // It has something to do.
        Word::Leave => {}
        Word::Pause(heard) => {
            let paused = pause(session, order, lines).await?;
            let _ = heard.send(paused);
        }
        Word::Resume(heard) => {
            let was = session.stand.paused;
            let resumed = resume(session, order, lines, "owner").await?;
            let goes_on = was && resumed.is_ok();
            let _ = heard.send(resumed);
            if goes_on {
                return Ok(Attended::GoesOn);
            }
        }
        Word::Answer {
            question,
            option,
            heard,
        } => {
            let answered = answer(session, &question, &option).await?;
            let _ = heard.send(answered);
        }
        Word::Steer { text, note, heard } => {
            // It cannot hear anything while it stands still.
            if let Err(failure) = resume(session, order, lines, "owner").await? {
                let _ = heard.send(Err(failure));
                return Ok(Attended::Done);
            }
            record_steer(session, &text, note).await?;
            let _ = heard.send(Ok(()));
            return Ok(Attended::Steered(text));
        }
    }
    Ok(Attended::Done)
}

fn seen(session: &Session) -> Seen {
    let stand = &session.stand;
    Seen {
        paused: stand.paused,
        questions: stand
            .questions
            .open()
            .iter()
            .map(|question| QuestionLine {
                question: question.id.to_hex(),
                text: question.text.clone(),
                cut: 0,
                options: question.options.clone(),
                until: question.until,
            })
            .collect(),
    }
}

/// Has the agent stand still; one that does already is no error.
async fn pause(
    session: &mut Session,
    order: &Order,
    lines: &Lines,
) -> Result<Result<(), Failure>, PublishError> {
    if session.stand.paused {
        return Ok(Ok(()));
    }
    let held = tokio::time::timeout(FREEZE, session.owners.pause()).await;
    let why = match held {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("it did not stand still in time".to_owned()),
    };
    if let Some(why) = why {
        // Half a hold is none.
        drop(session.owners.resume().await);
        let sentence = format!("the agent could not be made to stand still: {why}");
        return Ok(Err(Failure::new("workspace", sentence)));
    }
    session.stand.paused = true;
    session.process.stand_still(true);
    session.stand.settle();
    record_by(session, "pause", "owner", "Stands still, as its owner said").await?;
    let sentence = "The agent stands still until you let it go on (treefort resume).";
    report(session, order, lines, Report::Notice(sentence.to_owned())).await;
    Ok(Ok(()))
}

/// Lets the agent go on; one that does already is no error.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn resume(
    session: &mut Session,
    order: &Order,
    lines: &Lines,
    by: &str,
) -> Result<Result<(), Failure>, PublishError> {
    if !session.stand.paused {
        return Ok(Ok(()));
    }
    match session.owners.resume().await {
        // What has ended, be it in this moment, does not stand still any more.
        Ok(()) | Err(sandbox::Error::Ended) => {}
        Err(error) => {
            let sentence = format!("the agent could not be woken: {error}");
            return Ok(Err(Failure::new("workspace", sentence)));
        }
    }
    session.stand.paused = false;
    session.process.stand_still(false);
    session.stand.settle();
    record_by(session, "resume", by, "Goes on").await?;
    let sentence = "The agent goes on.".to_owned();
    report(session, order, lines, Report::Notice(sentence)).await;
    Ok(Ok(()))
}

/// Answers a question in its owner's words.
async fn answer(
    session: &mut Session,
    question: &EventId,
    option: &str,
) -> Result<Result<Option<Answered>, Failure>, PublishError> {
    match session.stand.questions.take(question, option) {
        Ok(None) => Ok(Ok(None)),
        Ok(Some((question, place))) => {
            let chosen = question.options[place].clone();
            asking::answer(session, question, Some(place), "owner").await?;
            Ok(Ok(Some(Answered {
                option: chosen.id,
                kind: chosen.kind,
                name: chosen.name,
            })))
        }
        Err(failure) => Ok(Err(failure)),
    }
}

async fn record_by(
    session: &mut Session,
    label: &str,
    by: &str,
    alt: &str,
) -> Result<(), PublishError> {
    let kind = ActionKind::Other(label.to_owned());
    let detail = vec![tag("by", [by.to_owned()])];
    let entry = session
        .log
        .action(kind, detail, alt.to_owned(), "", now())?;
    session.publish(entry).await
}

async fn record_steer(
    session: &mut Session,
    text: &str,
    note: Option<EventId>,
) -> Result<(), PublishError> {
    let mut detail = vec![tag("by", ["owner".to_owned()])];
    detail.extend(note.map(|note| tag("note", [note.to_hex()])));
    let content = if session.private {
        detail.push(tag("withheld", [text.len().to_string()]));
        ""
    } else {
        text
    };
    let kind = ActionKind::Other("steer".to_owned());
    let alt = "Was told to do something else".to_owned();
    let entry = session.log.action(kind, detail, alt, content, now())?;
    session.publish(entry).await
}

/// The turn is over and the session stays open: it does not stand still with nothing to do. No, when it cannot be
/// woken.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn goes_on(
    session: &mut Session,
    order: &Order,
    lines: &Lines,
) -> Result<bool, PublishError> {
    let woken = resume(session, order, lines, "policy").await?;
    Ok(woken.is_ok())
}
