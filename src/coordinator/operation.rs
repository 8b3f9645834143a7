//! Workspace tasks: the owner looks at, undoes, takes home or discards what an agent did (kind 5871).
//!
//! The coordinator does them itself. A state that is brought back under an agent at work: the agent stands
//! still meanwhile, and is told afterwards.

use std::sync::Arc;

use nostr::PublicKey;
use tokio::sync::{mpsc, oneshot};

use super::{
    context::{Context, now},
    executor::{ExecutorEvent, Order},
    facts, housekeeping, states,
    turn::MAX_ANSWER,
    words,
    workspaces::{Live, Shared, Told},
};
use crate::{
    job::{Answer as JobAnswer, Failure, Report},
    nips::{
        Reference,
        session::{Outcome as Ending, Start},
        workspace::{Answer, CheckpointLine, FileLine, Operation, Outcome, State, StepLine, Task},
    },
    recorder::{Belonging, SessionLog},
    store::state::SessionRecord,
    workspace::{Checkpoint, ObjectId, Uncovered, Undone, apply, diff, inventory},
};

/// Files that an answer names.
const FILES: usize = 300;
/// Checkpoints that an answer names.
const CHECKPOINTS: usize = 200;
/// Bytes of a diff in an answer; its JSON is longer.
const DIFF: usize = 40_000;
/// How long a session may take to write an undo into its record.
const RECORD: std::time::Duration = std::time::Duration::from_secs(10);

/// Does a task and reports what became of it.
pub(super) async fn run(context: Arc<Context>, order: Order, reports: mpsc::Sender<ExecutorEvent>) {
    let report = match Box::pin(perform(&context, &order)).await {
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

async fn perform(context: &Arc<Context>, order: &Order) -> Result<JobAnswer, Failure> {
    let task =
        Task::parse(&order.request).map_err(|error| Failure::new("input", error.to_string()))?;
    let shared = match &task.operation {
        Operation::List => return answer(None, housekeeping::list(context).await?),
        Operation::Clean { copies, images } => {
            return answer(None, housekeeping::clean(context, copies, *images).await?);
        }
        _ => find(context, &task).await?,
    };
    let outcome = match task.operation {
        Operation::Checkpoints => checkpoints(&shared).await?,
        Operation::Diff { from, to } => difference(&shared, from, to).await?,
        Operation::Undo { to } => undo(context, order, &shared, &to).await?,
        Operation::Plan => plan(&shared).await?,
        Operation::Apply { plan } => apply_plan(&shared, plan).await?,
        Operation::TakeBack => take_back(&shared).await?,
        Operation::Discard => {
            let (bytes, files) = discard(&shared).await?;
            Outcome::Discard { bytes, files }
        }
        Operation::Locate | Operation::List | Operation::Clean { .. } => Outcome::Locate,
    };
    answer(Some(&shared), outcome)
}

async fn find(context: &Arc<Context>, task: &Task) -> Result<Arc<Shared>, Failure> {
    context
        .workspaces
        .find(&task.which, |session| workspace_of(context, session))
        .await
}

fn answer(shared: Option<&Shared>, outcome: Outcome) -> Result<JobAnswer, Failure> {
    let lossy = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let answer = Answer {
        workspace: shared.map(|shared| shared.id),
        project: shared.and_then(|shared| shared.about().project).map(lossy),
        path: shared.map(|shared| lossy(shared.tree_dir())),
        outcome,
    };
    let text = serde_json::to_string(&answer)
        .map_err(|error| Failure::new("workspace", error.to_string()))?;
    if text.len() > MAX_ANSWER {
        return Err(Failure::new(
            "workspace",
            "the answer is larger than one event may be; ask for less at once",
        ));
    }
    Ok(JobAnswer {
        text,
        inner: None,
        tags: shared
            .map(|shared| vec!["workspace".to_owned(), shared.id.to_hex()])
            .into_iter()
            .collect(),
    })
}

/// The copy that a session worked on.
fn workspace_of(context: &Context, session: &PublicKey) -> Option<PublicKey> {
    context.state.session(session).ok().flatten()?.workspace
}

async fn checkpoints(shared: &Arc<Shared>) -> Result<Outcome, Failure> {
    let lines = shared
        .with(|files| {
            let all = files.checkpoints()?;
            let skip = all.len().saturating_sub(CHECKPOINTS);
            all.iter()
                .skip(skip)
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
                .collect::<Result<Vec<_>, super::workspaces::Error>>()
        })
        .await?;
    Ok(Outcome::Checkpoints { checkpoints: lines })
}

/// The checkpoint that a person means.
fn pick<'a>(all: &'a [Checkpoint], state: &State) -> Result<&'a Checkpoint, Failure> {
    let none = || {
        let numbers = match (all.first(), all.last()) {
            (Some(first), Some(last)) => {
                format!("there are checkpoints {} to {}", first.number, last.number)
            }
            _ => "there are no checkpoints".to_owned(),
        };
        Failure::new(
            "workspace",
            format!("there is no checkpoint {state}: {numbers}"),
        )
    };
    match state {
        State::Number(number) => all.iter().find(|at| at.number == *number).ok_or_else(none),
        State::Id(id) => {
            let mut fitting = all.iter().filter(|at| {
                at.commit.to_string().starts_with(id) || at.tree.to_string().starts_with(id)
            });
            let first = fitting.next().ok_or_else(none)?;
            // Several with one tree are one state.
            if fitting.any(|other| other.tree != first.tree) {
                return Err(Failure::new(
                    "workspace",
                    format!("several checkpoints begin with {id}: give more of it"),
                ));
            }
            Ok(first)
        }
        // The one before the files became what they are.
        State::Last => {
            let latest = all.last().ok_or_else(none)?;
            all.iter()
                .rev()
                .find(|at| at.tree != latest.tree)
                .ok_or_else(|| {
                    Failure::new("workspace", "nothing changed yet: there is nothing to undo")
                })
        }
    }
}

async fn difference(
    shared: &Arc<Shared>,
    from: Option<State>,
    to: Option<State>,
) -> Result<Outcome, Failure> {
    let all = shared.with(|files| Ok(files.checkpoints()?)).await?;
    let from = match from {
        Some(state) => pick(&all, &state)?.tree,
        None => match shared.about().base {
            Some(base) => base,
            None => {
                return Err(Failure::new(
                    "workspace",
                    "the copy has no beginning to compare with",
                ));
            }
        },
    };
    let to = match to {
        Some(state) => pick(&all, &state)?.tree,
        None => latest(shared).await?.tree,
    };
    shared
        .with(move |files| {
            let changes = diff::changes(files.store(), Some(&from), &to)?;
            let limits = diff::Limits::default();
            let (mut text, mut cut, mut lines) = (String::new(), false, Vec::new());
            for change in changes.iter().take(FILES) {
                let rendered = diff::unified(files.store(), change, &limits)?;
                lines.push(FileLine {
                    path: String::from_utf8_lossy(&change.path).into_owned(),
                    op: facts::op(change.kind).to_owned(),
                    added: rendered.added,
                    removed: rendered.removed,
                });
                cut |= rendered.cut;
                let room = DIFF.saturating_sub(text.len());
                let end = rendered
                    .text
                    .floor_char_boundary(room.min(rendered.text.len()));
                cut |= end < rendered.text.len();
                text.push_str(&rendered.text[..end]);
            }
            Ok(Outcome::Diff {
                files: lines,
                changed: changes.len(),
                text,
                cut: cut || changes.len() > FILES,
            })
        })
        .await
}

/// The state of the files as they are now: a checkpoint of its own when they changed since the last.
async fn latest(shared: &Arc<Shared>) -> Result<Checkpoint, Failure> {
    let _still = Still::stand(shared.live()).await?;
    let at = now();
    shared
        .with(move |files| {
            if let Some(checkpoint) = files.checkpoint_if_changed("as it is now", at)? {
                return Ok(Some(checkpoint));
            }
            Ok(files.checkpoints()?.pop())
        })
        .await?
        .ok_or_else(|| Failure::new("workspace", "the copy has no checkpoint"))
}

/// An agent that stands still while the files under it are looked at or changed.
struct Still(Option<Live>);

impl Still {
    async fn stand(live: Option<Live>) -> Result<Self, Failure> {
        if let Some(live) = &live
            && let Err(error) = live.pause.pause().await
        {
            // An agent that has ended changes nothing any more.
            tracing::debug!(%error, "the agent could not be paused");
            return Ok(Self(None));
        }
        Ok(Self(live))
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        if let Some(live) = self.0.take() {
            tokio::spawn(async move {
                if let Err(error) = live.pause.resume().await {
                    tracing::debug!(%error, "the agent could not be resumed");
                }
            });
        }
    }
}

async fn undo(
    context: &Arc<Context>,
    order: &Order,
    shared: &Arc<Shared>,
    to: &State,
) -> Result<Outcome, Failure> {
    let live = shared.live();
    let still = Still::stand(live.clone()).await?;
    let at = now();
    // What is there now is a state too: `last` counts from it.
    let all = shared
        .with(move |files| {
            files.checkpoint_if_changed("before the undo", at)?;
            Ok(files.checkpoints()?)
        })
        .await?;
    let target = pick(&all, to)?.clone();
    let commit = target.commit;
    let undone = shared
        .with(move |files| Ok(files.undo(&commit, at)?))
        .await?;
    drop(still);
    let outcome = Outcome::Undo {
        before: undone.before.number,
        to: target.number,
        after: undone.after.number,
        written: undone.written,
        removed: undone.removed,
        uncovered: undone.kept.iter().take(FILES).map(uncovered).collect(),
    };
    let undone = match live {
        Some(live) => match tell(&live, undone, target.number).await {
            None => return Ok(outcome),
            // The session ended in this moment: its record takes nothing any more.
            Some(undone) => undone,
        },
        None => undone,
    };
    record(context, order, shared, &undone, target.number).await?;
    Ok(outcome)
}

fn uncovered(uncovered: &Uncovered) -> String {
    format!(
        "{} ({})",
        String::from_utf8_lossy(&uncovered.path),
        words::uncovered(uncovered.why)
    )
}

/// Tells the session that works there; gives the undo back when nobody hears.
async fn tell(live: &Live, undone: Undone, to: u32) -> Option<Undone> {
    let (recorded, done) = oneshot::channel();
    let told = Told::Restored {
        undone,
        to,
        recorded,
    };
    match live.told.try_send(told) {
        Ok(()) => {
            // It is on its way into the record, whether we wait for it or not.
            let _in_time = tokio::time::timeout(RECORD, done).await;
            None
        }
        Err(error) => match error.into_inner() {
            Told::Restored { undone, .. } => Some(undone),
        },
    }
}

/// An undo in a copy that no session works on has a small session of its own: every change of files is on a
/// record that verifies.
async fn record(
    context: &Arc<Context>,
    order: &Order,
    shared: &Arc<Shared>,
    undone: &Undone,
    to: u32,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(
            "workspace",
            format!("the files were brought back, but not recorded: {error}"),
        )
    };
    let keys = context
        .keyring
        .new_session()
        .map_err(|error| failed(&error))?;
    context
        .redactor
        .learn(crate::keys::keyring::spellings(&keys));
    let mut session = SessionRecord {
        v: 1,
        session: keys.public_key(),
        agent: "treefort".to_owned(),
        job: order.event.id,
        workspace: Some(shared.id),
        started_at: now(),
        ended: false,
    };
    let state = context.state.clone();
    let begun = session.clone();
    tokio::task::spawn_blocking(move || state.put_session(&begun))
        .await
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))?;
    let root = Reference::to(&order.event, &context.relay_url);
    let belonging = Belonging {
        operator: context.admission.operator(),
        root: Some(root.clone()),
        relay: context.relay_url.clone(),
    };
    let mut log = SessionLog::new(keys, context.redactor.clone(), belonging);
    let sign = |error: crate::nips::draft::SignError| failed(&error);
    let started = log.start(start(context), &root, "", now()).map_err(sign)?;
    let mut events = vec![started.event];
    events.extend(states::undo_events(&mut log, shared.id, undone, to, false).map_err(sign)?);
    events.push(
        log.end(Ending::Success, "undone", "", now())
            .map_err(sign)?
            .event,
    );
    context
        .publisher
        .publish_all(events)
        .await
        .map_err(|error| failed(&error))?;
    session.ended = true;
    let state = context.state.clone();
    let stored = tokio::task::spawn_blocking(move || state.put_session(&session)).await;
    if !matches!(stored, Ok(Ok(()))) {
        tracing::error!("the end of an undo's session could not be noted");
    }
    Ok(())
}

/// The start of a session that is the owner's own hand.
fn start(context: &Context) -> Start {
    Start {
        operator: Some(context.admission.operator()),
        behavior: None,
        role: "undo".to_owned(),
        model: "none".to_owned(),
        provider: "none".to_owned(),
        tier: "local".to_owned(),
        adapter: "treefort".to_owned(),
        image: "none".to_owned(),
        env: vec![format!(
            "{}/{}",
            std::env::consts::OS,
            std::env::consts::ARCH
        )],
        config: Start::config_of("treefort", "", "none", "none", "undo"),
        extra: Vec::new(),
    }
}

/// The project that a copy was made of.
fn project(shared: &Shared) -> Result<(std::path::PathBuf, ObjectId), Failure> {
    let about = shared.about();
    match (about.project, about.base) {
        (Some(project), Some(base)) => Ok((project, base)),
        _ => Err(Failure::new(
            "workspace",
            "the agent began with an empty folder, so there is no project to apply to; `treefort open` says where its files are",
        )),
    }
}

async fn plan(shared: &Arc<Shared>) -> Result<Outcome, Failure> {
    let planned = planned(shared).await?;
    let steps = &planned.steps;
    let (total, refused) = (steps.len(), planned.refused.len());
    let conflicts = steps.iter().filter(|step| words::is_conflict(step)).count();
    // Conflicts and what would run later come first when not all fit.
    let mut shown: Vec<&apply::Step> = steps.iter().collect();
    if total > FILES {
        shown.sort_by_key(|step| (!words::is_conflict(step), step.flags.is_empty()));
        shown.truncate(FILES);
    }
    let mut lines: Vec<StepLine> = shown.into_iter().map(words::step).collect();
    lines.extend(planned.refused.iter().take(FILES).map(words::refused));
    Ok(Outcome::Plan {
        plan: planned.id,
        steps: lines,
        total: total + refused,
        conflicts,
    })
}

/// What an apply would do now.
async fn planned(shared: &Arc<Shared>) -> Result<apply::Plan, Failure> {
    let (project, base) = project(shared)?;
    let _still = Still::stand(shared.live()).await?;
    let at = now();
    shared
        .with(move |files| {
            // One of its own also when nothing changed: it says what it does not cover.
            let last = files.checkpoint("before applying", at)?;
            Ok(apply::plan(
                files.store(),
                &base,
                &last.tree,
                &project,
                &last.uncovered,
            )?)
        })
        .await
}

async fn apply_plan(shared: &Arc<Shared>, id: String) -> Result<Outcome, Failure> {
    let (project, base) = project(shared)?;
    let plan = planned(shared).await?;
    if plan.id != id {
        return Err(Failure::new(
            "workspace",
            "the project or the copy changed since you looked; look at the changes again, then apply",
        ));
    }
    let result = plan.result;
    let at = now();
    let name = format!("refs/treefort-backup/{}/{at}", shared.id.to_hex());
    let applied = shared
        .with(move |files| Ok(apply::apply(files.store(), &plan, &project, &name, at)?))
        .await?;
    let backup = applied.backup;
    shared
        .remember(move |about| {
            about.applied =
                backup.map(|backup| crate::workspace::about::Applied { backup, base, at });
            about.base = Some(result);
        })
        .await?;
    Ok(Outcome::Apply {
        written: applied.written,
        removed: applied.removed,
        conflicts: applied
            .conflicts
            .iter()
            .take(FILES)
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect(),
    })
}

async fn take_back(shared: &Arc<Shared>) -> Result<Outcome, Failure> {
    let (project, _) = project(shared)?;
    let Some(applied) = shared.about().applied else {
        return Err(Failure::new(
            "workspace",
            "nothing was applied, so there is nothing to take back",
        ));
    };
    let backup = applied.backup;
    let restored = shared
        .with(move |files| Ok(apply::take_back(files.store(), &backup, &project)?))
        .await?;
    shared
        .remember(move |about| {
            about.base = Some(applied.base);
            about.applied = None;
        })
        .await?;
    Ok(Outcome::TakeBack {
        restored: restored.written + restored.removed,
    })
}

/// Deletes a copy with its checkpoints; gives bytes and files that went.
///
/// # Errors
/// When an agent works on it, or the disk refuses.
pub(super) async fn discard(shared: &Arc<Shared>) -> Result<(u64, u64), Failure> {
    if shared.live().is_some() {
        return Err(Failure::new(
            "workspace",
            "an agent still works on this copy; let it end or stop it (Ctrl-C), then discard",
        ));
    }
    let dir = shared.dir().to_owned();
    let freed = shared
        .with(move |files| {
            let size = inventory::size(&dir)?;
            let prefix = files.ref_prefix().to_owned();
            for (name, _) in files.store().refs(&prefix)? {
                files.store().delete_ref(&name)?;
            }
            inventory::remove(&dir)?;
            Ok((size.bytes, size.entries))
        })
        .await?;
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(number: u32, tree: u8) -> Checkpoint {
        Checkpoint {
            number,
            commit: ObjectId::from([number as u8; 20]),
            tree: ObjectId::from([tree; 20]),
            before: None,
            reason: String::new(),
            at: 0,
            files: 0,
            bytes: 0,
            uncovered: Vec::new(),
        }
    }

    #[test]
    fn the_last_state_is_the_one_before_the_files_became_what_they_are() {
        let all = [
            checkpoint(1, 1),
            checkpoint(2, 2),
            checkpoint(3, 3),
            checkpoint(4, 3),
        ];
        assert_eq!(pick(&all, &State::Last).unwrap().number, 2);
        assert!(pick(&all[..1], &State::Last).is_err());
    }

    #[test]
    fn a_state_is_named_by_number_or_by_the_beginning_of_its_id() {
        let all = [checkpoint(1, 1), checkpoint(2, 2)];
        assert_eq!(pick(&all, &State::Number(2)).unwrap().number, 2);
        assert_eq!(pick(&all, &State::Id("0202020".into())).unwrap().number, 2);
        let error = pick(&all, &State::Number(9)).unwrap_err();
        assert!(error.sentence.contains("1 to 2"), "{}", error.sentence);
    }
}
