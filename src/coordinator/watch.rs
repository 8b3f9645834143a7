//! The size of a workspace while an agent works on it: over its quota the agent stands still until there is
//! room, and the owner is told.

use std::{path::PathBuf, time::Duration};

use tokio::time::Instant;

use super::{
    context::now,
    executor::Order,
    memory,
    publisher::PublishError,
    saying::report,
    session::{Lines, Session},
};
use crate::{
    job::Report,
    sandbox::{
        Handle,
        disk::{self, Quota},
    },
};

/// How long after one look the next one comes, at least; a long look makes the pause longer.
const EVERY: Duration = Duration::from_secs(2);
/// A look may take this long.
const LOOK: Duration = Duration::from_secs(1);

/// What is watched of a workspace.
#[derive(Debug)]
pub(super) struct Watch {
    tree: PathBuf,
    quota: Quota,
    /// What its agent keeps.
    state: Option<PathBuf>,
    next: Instant,
    /// Whether the agent stands still because of it.
    pub(super) over: bool,
}

/// What a look saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing new.
    Same,
    /// It is too large now: a sentence for the owner.
    Over(String),
    /// It is small enough again.
    Within,
}

impl Watch {
    pub(super) fn new(tree: PathBuf, quota: Quota) -> Self {
        Self {
            tree,
            quota,
            state: None,
            next: Instant::now() + EVERY,
            over: false,
        }
    }

    /// Looks at what the agent keeps, too.
    pub(super) fn also(&mut self, state: PathBuf) {
        self.state = Some(state);
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Instant {
        self.next
    }

    /// Measures the workspace.
    pub(super) async fn look(&mut self) -> Seen {
        let began = Instant::now();
        let (tree, quota) = (self.tree.clone(), self.quota);
        let state = self.state.clone();
        let look = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
            let (usage, over) = disk::check(&tree, &quota, LOOK)?;
            let over = over.map(|over| over.to_string());
            match (over, state) {
                (None, Some(state)) => {
                    let kept = disk::usage(&state, &memory::QUOTA, LOOK)?;
                    let too_much = kept
                        .over(&memory::QUOTA)
                        .map(|_| memory::TOO_MUCH.to_owned());
                    Ok((usage, too_much))
                }
                (over, _) => Ok((usage, over)),
            }
        })
        .await;
        // A tree that takes long to measure is not measured all the time.
        self.next = Instant::now() + EVERY + began.elapsed() * 4;
        let Ok(Ok((usage, over))) = look else {
            return Seen::Same;
        };
        // What could not be counted to its end may still be too much.
        if self.over && over.is_none() && usage.stopped.is_some() {
            return Seen::Same;
        }
        match (self.over, over) {
            (false, Some(over)) => {
                self.over = true;
                Seen::Over(over)
            }
            (true, None) => {
                self.over = false;
                Seen::Within
            }
            _ => Seen::Same,
        }
    }
}

/// Stops an agent that must not go on; whether it stands still. One that does not is ended, or has ended.
pub(super) async fn stands_still(hold: &Handle) -> bool {
    match hold.pause_or_end().await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "an agent that must not go on could not be paused");
            false
        }
    }
}

/// Measures the files; stops the agent over its quota, lets it go on within, and tells the owner of both.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn watch_disk(
    session: &mut Session,
    order: &Order,
    lines: &Lines,
) -> Result<(), PublishError> {
    let Some(bench) = &mut session.bench else {
        return Ok(());
    };
    let hold = bench.hold.clone();
    match bench.watch.look().await {
        Seen::Same => Ok(()),
        Seen::Over(why) => {
            let sentence = if stands_still(&hold).await {
                format!(
                    "The agent stands still: {why}. Undo its last step or delete files in its copy, and it \
                     goes on; or stop it (Ctrl-C)."
                )
            } else {
                format!(
                    "The agent was ended: {why}, and it did not stand still. Its files are still there: look \
                     at them (treefort diff), undo, or discard the copy."
                )
            };
            let entry = session.log.error("disk", true, &sentence, now())?;
            session.publish(entry).await?;
            report(session, order, lines, Report::Notice(sentence)).await;
            Ok(())
        }
        // It stands still for another reason too.
        Seen::Within if bench.store_full => Ok(()),
        Seen::Within => {
            if let Err(error) = hold.resume().await {
                tracing::warn!(%error, "a paused agent could not be resumed");
            }
            let sentence = "There is room again: the agent goes on.".to_owned();
            report(session, order, lines, Report::Notice(sentence)).await;
            Ok(())
        }
    }
}

/// Measures the files that a command left: one that ends between two looks is seen too.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn ended_too_large(
    session: &mut Session,
    order: &Order,
    lines: &Lines,
) -> Result<(), PublishError> {
    let Some(bench) = &mut session.bench else {
        return Ok(());
    };
    let Seen::Over(why) = bench.watch.look().await else {
        return Ok(());
    };
    let sentence = format!(
        "The command has ended, and {why}. Look at its files (treefort diff), undo, or discard the copy."
    );
    let entry = session.log.error("disk", true, &sentence, now())?;
    session.publish(entry).await?;
    report(session, order, lines, Report::Notice(sentence)).await;
    Ok(())
}

/// Measures the files of a session that has nothing to do; whether what its agent left running filled them over
/// their quota. Then it is on the record, and the session is to end.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn grew_too_large(session: &mut Session) -> Result<bool, PublishError> {
    let Some(bench) = &mut session.bench else {
        return Ok(false);
    };
    let Seen::Over(why) = bench.watch.look().await else {
        return Ok(false);
    };
    // Ending it takes a moment in which it would write on.
    stands_still(&bench.hold.clone()).await;
    let sentence = format!(
        "The agent was stopped: {why}, although it had nothing to do. Its files are still there: look at them \
         (treefort diff), undo, or discard the copy."
    );
    let entry = session.log.error("disk", true, &sentence, now())?;
    session.publish(entry).await?;
    Ok(true)
}

/// The files were brought back under an agent that stands still because of them: it goes on, if only to hear
/// of it; the next look stops it again when there is still no room.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn let_go(
    session: &mut Session,
    order: &Order,
    lines: &Lines,
) -> Result<(), PublishError> {
    let is_over = |session: &Session| {
        let bench = session.bench.as_ref();
        bench.is_some_and(|bench| bench.watch.over)
    };
    if !is_over(session) {
        return Ok(());
    }
    watch_disk(session, order, lines).await?;
    if is_over(session)
        && let Some(bench) = &mut session.bench
    {
        bench.watch.over = false;
        if let Err(error) = bench.hold.resume().await {
            tracing::warn!(%error, "a paused agent could not be resumed");
        }
    }
    Ok(())
}
