//! Workspace tasks: the owner looks at, undoes, takes home or discards what an agent did (kind 5871).
//!
//! The coordinator does them itself. A state that is brought back under an agent at work: the agent stands
//! still meanwhile, and is told afterwards.

use std::sync::Arc;

use nostr::PublicKey;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

mod difference;
mod files;
mod home;
mod live;
mod locate;
pub(super) mod note;
mod preview;
mod state;
mod undo;

use super::{
    context::Context,
    executor::{ExecutorEvent, Order},
    hold::OperationHold,
    housekeeping, purge,
    saying::MAX_ANSWER,
    shared::Shared,
};
use crate::{
    job::{Answer as JobAnswer, Failure, Report},
    nips::workspace::{Answer, CheckpointLine, Operation, Outcome, Task, cut_to},
    workspace::{diff, inventory},
};

/// Files that an answer names.
const FILES: usize = 300;
/// Bytes that a list in an answer takes.
const LIST: usize = 40_000;
/// Checkpoints that an answer names.
const CHECKPOINTS: usize = 200;
/// What waits for a copy.
type HoldFuture<'a> =
    std::pin::Pin<Box<dyn Future<Output = Result<OperationHold, Failure>> + Send + 'a>>;
/// What a task in clear text on a private copy hears.
const IN_CLEAR: &str = "this is the copy of a private job: anybody who reads the relay could read this task and its \
    answer. Send it encrypted (NIP-44), as the `treefort` command does";

/// Does a task and reports what became of it. One that still waits for its copy can be withdrawn; one that has begun
/// cannot, and says what it did.
pub(in crate::coordinator) async fn run(
    context: Arc<Context>,
    order: Order,
    reports: mpsc::Sender<ExecutorEvent>,
    cancel: CancellationToken,
) {
    let report = match Box::pin(perform(&context, &order, &cancel)).await {
        Ok(answer) => Report::Answered(answer),
        Err(failure) => Report::Failed(failure),
    };
    let event = ExecutorEvent {
        job: order.event.id,
        attempt: order.attempt,
        thread: None,
        session: None,
        report,
    };
    if reports.send(event).await.is_err() {
        tracing::debug!("nobody hears a report any more");
    }
}

async fn perform(
    context: &Arc<Context>,
    order: &Order,
    cancel: &CancellationToken,
) -> Result<JobAnswer, Failure> {
    let unless_withdrawn = async |hold: HoldFuture<'_>| {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::new("cancelled", "cancelled")),
            held = hold => held.map(Some),
        }
    };
    let task =
        Task::parse(&order.request).map_err(|error| Failure::new("input", error.to_string()))?;
    let hidden = order.request.scheme.is_private();
    let (shared, passed_over) = match &task.operation {
        Operation::List => {
            let list = housekeeping::list(context, hidden).await?;
            return answer(context, None, 0, list);
        }
        Operation::Clean { copies, images } => {
            let cleaned = housekeeping::clean(context, copies, *images).await?;
            return answer(context, None, 0, cleaned);
        }
        Operation::Purge(wanted) => {
            let purged = purge::purge(context, wanted).await?;
            return answer(context, None, 0, purged);
        }
        Operation::AtWork => return live::at_work(context, &task.which, hidden).await,
        Operation::Answer { .. }
        | Operation::Pause
        | Operation::Resume
        | Operation::Steer { .. } => return live::say(context, task, hidden).await,
        _ => find(context, &task).await?,
    };
    if shared.about().private && !hidden {
        return Err(Failure::new("workspace", IN_CLEAR));
    }
    if matches!(task.operation, Operation::Discard) {
        // A session that is open for them alone ends then.
        context.previews.end(&shared.id.to_hex(), None);
    }
    // What only looks at states that are there already needs nobody's leave.
    let hold = match &task.operation {
        Operation::Checkpoints
        | Operation::Diff { to: Some(_), .. }
        | Operation::Files { at: Some(_), .. }
        | Operation::File { at: Some(_), .. }
        | Operation::Locate
        | Operation::Preview(_)
        | Operation::PreviewEnd { .. } => None,
        Operation::Discard => {
            unless_withdrawn(Box::pin(OperationHold::to_discard(&shared))).await?
        }
        _ => unless_withdrawn(Box::pin(OperationHold::take(&shared))).await?,
    };
    let outcome = match task.operation {
        Operation::Checkpoints => checkpoints(&shared).await?,
        Operation::Diff { from, to } => difference::difference(context, &shared, from, to).await?,
        Operation::Files { at, path, offset } => {
            files::list(&shared, at.as_ref(), path, offset).await?
        }
        Operation::File { at, path, offset } => {
            files::read(context, &shared, at.as_ref(), path, offset).await?
        }
        Operation::Preview(_) if !hidden => {
            return Err(Failure::new("input", preview::IN_CLEAR));
        }
        Operation::Preview(show) => preview::open(context, &shared, show).await?,
        Operation::PreviewEnd { only } => preview::end(context, &shared, only).await?,
        Operation::Undo { to } => undo::undo(context, order, &shared, &to).await?,
        Operation::Plan => home::plan(&shared).await?,
        Operation::Apply { plan } => home::apply_plan(&shared, plan).await?,
        Operation::TakeBack => home::take_back(&shared).await?,
        Operation::Discard => {
            let (bytes, files) = match hold {
                Some(hold) => discard_held(&shared, hold).await?,
                None => discard(&shared).await?,
            };
            let outcome = Outcome::Discard { bytes, files };
            return answer(context, Some(&shared), passed_over, outcome);
        }
        Operation::Locate
        | Operation::List
        | Operation::Clean { .. }
        | Operation::Purge(_)
        | Operation::AtWork
        | Operation::Answer { .. }
        | Operation::Pause
        | Operation::Resume
        | Operation::Steer { .. } => locate::of(&shared).await,
    };
    answer(context, Some(&shared), passed_over, outcome)
}

/// The copy that is meant, and how many newer ones were passed over.
async fn find(context: &Arc<Context>, task: &Task) -> Result<(Arc<Shared>, usize), Failure> {
    context
        .workspaces
        .find(&task.which, &task.operation, |session| {
            workspace_of(context, session)
        })
        .await
}

fn answer(
    context: &Context,
    shared: Option<&Shared>,
    passed_over: usize,
    outcome: Outcome,
) -> Result<JobAnswer, Failure> {
    let lossy = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let answer = Answer {
        workspace: shared.map(|shared| shared.id),
        project: shared.and_then(|shared| shared.about().project).map(lossy),
        path: shared.map(|shared| lossy(shared.tree_dir())),
        title: shared.map(|shared| shared.about().title),
        at: shared.map(|shared| shared.about().created_at),
        passed_over,
        outcome,
    };
    Ok(JobAnswer {
        text: text_of(context, answer)?,
        inner: None,
        tags: shared
            .map(|shared| vec!["workspace".to_owned(), shared.id.to_hex()])
            .into_iter()
            .collect(),
    })
}

/// An answer as it goes out. Whatever was done was done: it is made short enough, never an error.
fn text_of(context: &Context, answer: Answer) -> Result<String, Failure> {
    answer
        .to_text(MAX_ANSWER, |text| {
            context.redactor.redact(text).into_owned()
        })
        .map_err(|error| Failure::new("workspace", error.to_string()))
}

/// The copy that a session worked on.
fn workspace_of(context: &Context, session: &PublicKey) -> Option<PublicKey> {
    context.state.session(session).ok().flatten()?.workspace
}

async fn checkpoints(shared: &Arc<Shared>) -> Result<Outcome, Failure> {
    let (lines, all) = shared
        .with(|files| {
            let all = files.checkpoints()?;
            let lines = all
                .iter()
                .rev()
                .take(CHECKPOINTS)
                .map(|checkpoint| {
                    let changed = match checkpoint.before {
                        Some(before) if before != checkpoint.tree => {
                            diff::changes(files.store(), Some(&before), &checkpoint.tree)?.len()
                        }
                        _ => 0,
                    };
                    Ok(CheckpointLine {
                        number: checkpoint.number,
                        commit: checkpoint.commit.to_string(),
                        tree: checkpoint.tree.to_string(),
                        reason: checkpoint.reason.clone(),
                        at: checkpoint.at,
                        changed,
                    })
                })
                .collect::<Result<Vec<_>, super::workspaces::Error>>()?;
            Ok((lines, all.len()))
        })
        .await?;
    // The newest are kept.
    let (mut lines, _) = cut_to(lines, LIST);
    lines.reverse();
    Ok(Outcome::Checkpoints {
        earlier: all - lines.len(),
        checkpoints: lines,
    })
}

/// Deletes a copy with its checkpoints; gives bytes and files that went.
///
/// # Errors
/// When an agent works on it, or the disk refuses.
pub(in crate::coordinator) async fn discard(shared: &Arc<Shared>) -> Result<(u64, u64), Failure> {
    let hold = OperationHold::to_discard(shared).await?;
    discard_held(shared, hold).await
}

async fn discard_held(shared: &Arc<Shared>, hold: OperationHold) -> Result<(u64, u64), Failure> {
    let about = shared.about();
    let torn = about.applied.last().is_some_and(|last| last.unfinished);
    if torn && about.project.is_some_and(|project| project.is_dir()) {
        return Err(Failure::new(
            "workspace",
            "an apply of this copy was cut off in the middle: take it back first (`treefort apply --take-back`), then discard",
        ));
    }
    let dir = shared.dir().to_owned();
    let backups = home::backups(shared);
    let freed = shared
        .with(move |files| {
            let size = inventory::size(&dir)?;
            // Whoever has it at hand finds no half of it, whatever happens from here on.
            hold.gone();
            for prefix in [files.ref_prefix().to_owned(), backups] {
                for (name, _) in files.store().refs(&prefix)? {
                    files.store().delete_ref(&name)?;
                }
            }
            inventory::remove(&dir)?;
            Ok((size.bytes, size.entries))
        })
        .await?;
    Ok(freed)
}
