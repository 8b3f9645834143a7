//! Workspace tasks: the owner looks at, undoes, takes home or discards what an agent did (kind 5871).
//!
//! The coordinator does them itself. A state that is brought back under an agent at work: the agent stands
//! still meanwhile, and is told afterwards.

use std::sync::Arc;

use nostr::PublicKey;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

mod home;
mod locate;
mod undo;

use super::{
    context::{Context, now},
    executor::{ExecutorEvent, Order},
    facts,
    hold::OperationHold,
    housekeeping,
    saying::MAX_ANSWER,
    shared::Shared,
    words,
};
use crate::{
    job::{Answer as JobAnswer, Failure, Report},
    nips::workspace::{Answer, CheckpointLine, FileLine, Operation, Outcome, State, Task, cut_to},
    workspace::{Checkpoint, diff, inventory},
};

/// Files that an answer names.
const FILES: usize = 300;
/// Bytes that a list in an answer takes.
const LIST: usize = 40_000;
/// Checkpoints that an answer names.
const CHECKPOINTS: usize = 200;
/// Bytes that the list of files beside a diff takes, and the diff's text.
const DIFF: (usize, usize) = (15_000, 30_000);
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
    let shared = match &task.operation {
        Operation::List => {
            let list = housekeeping::list(context, hidden).await?;
            return answer(context, None, list);
        }
        Operation::Clean { copies, images } => {
            let cleaned = housekeeping::clean(context, copies, *images).await?;
            return answer(context, None, cleaned);
        }
        _ => find(context, &task).await?,
    };
    if shared.about().private && !hidden {
        return Err(Failure::new("workspace", IN_CLEAR));
    }
    // What only looks at states that are there already needs nobody's leave.
    let hold = match &task.operation {
        Operation::Checkpoints | Operation::Diff { to: Some(_), .. } | Operation::Locate => None,
        Operation::Discard => {
            unless_withdrawn(Box::pin(OperationHold::to_discard(&shared))).await?
        }
        _ => unless_withdrawn(Box::pin(OperationHold::take(&shared))).await?,
    };
    let outcome = match task.operation {
        Operation::Checkpoints => checkpoints(&shared).await?,
        Operation::Diff { from, to } => difference(context, &shared, from, to).await?,
        Operation::Undo { to } => undo::undo(context, order, &shared, &to).await?,
        Operation::Plan => home::plan(&shared).await?,
        Operation::Apply { plan } => home::apply_plan(&shared, plan).await?,
        Operation::TakeBack => home::take_back(&shared).await?,
        Operation::Discard => {
            let (bytes, files) = match hold {
                Some(hold) => discard_held(&shared, hold).await?,
                None => discard(&shared).await?,
            };
            return answer(context, Some(&shared), Outcome::Discard { bytes, files });
        }
        Operation::Locate | Operation::List | Operation::Clean { .. } => locate::of(&shared).await,
    };
    answer(context, Some(&shared), outcome)
}

async fn find(context: &Arc<Context>, task: &Task) -> Result<Arc<Shared>, Failure> {
    context
        .workspaces
        .find(&task.which, |session| workspace_of(context, session))
        .await
}

fn answer(
    context: &Context,
    shared: Option<&Shared>,
    outcome: Outcome,
) -> Result<JobAnswer, Failure> {
    let lossy = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let answer = Answer {
        workspace: shared.map(|shared| shared.id),
        project: shared.and_then(|shared| shared.about().project).map(lossy),
        path: shared.map(|shared| lossy(shared.tree_dir())),
        title: shared.map(|shared| shared.about().title),
        at: shared.map(|shared| shared.about().created_at),
        outcome,
    };
    // Whatever was done was done: its answer is made short enough, never an error.
    let text = answer
        .to_text(MAX_ANSWER, |text| {
            context.redactor.redact(text).into_owned()
        })
        .map_err(|error| Failure::new("workspace", error.to_string()))?;
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
        // One step back from where the files are. After an undo that is the state that it brought back.
        State::Last => {
            let latest = all.last().ok_or_else(none)?;
            let here = place(all, latest);
            all.iter()
                .rev()
                .filter(|at| at.number < here.number)
                .find(|at| at.tree != here.tree)
                .ok_or_else(|| {
                    Failure::new(
                        "workspace",
                        "this is how the copy began: there is nothing to undo",
                    )
                })
        }
    }
}

/// Where a state stands in the order of the work: what an undo brought back stands where it stood.
fn place<'a>(all: &'a [Checkpoint], state: &'a Checkpoint) -> &'a Checkpoint {
    let mut here = state;
    // Each step goes to a lower number.
    while let Some(number) = undone_to(&here.reason)
        && number < here.number
        && let Some(target) = all.iter().find(|at| at.number == number)
        && target.tree == state.tree
    {
        here = target;
    }
    here
}

/// The checkpoint that an undo brought back, by what it says of itself.
fn undone_to(reason: &str) -> Option<u32> {
    reason
        .strip_prefix(crate::workspace::UNDO_REASON)?
        .trim()
        .parse()
        .ok()
}

async fn difference(
    context: &Context,
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
    let is_now = to.is_none();
    let redactor = context.redactor.clone();
    let to = match to {
        Some(state) => pick(&all, &state)?.tree,
        None => latest(shared).await?.tree,
    };
    shared
        .with(move |files| {
            let changes = diff::changes(files.store(), Some(&from), &to)?;
            let limits = diff::Limits::default();
            let (mut text, mut cut, mut lines) = (String::new(), false, Vec::new());
            let mut room = DIFF.1;
            for change in changes.iter().take(FILES) {
                let rendered = diff::unified(files.store(), change, &limits)?;
                lines.push(FileLine {
                    path: String::from_utf8_lossy(&change.path).into_owned(),
                    op: facts::op(change.kind).to_owned(),
                    added: rendered.added,
                    removed: rendered.removed,
                });
                cut |= rendered.cut;
                // Half a secret would look like none.
                let clean = redactor.redact(&rendered.text);
                let end = written(&clean, room);
                cut |= end.0 < clean.len();
                room -= end.1;
                text.push_str(&clean[..end.0]);
            }
            let uncovered = if is_now { files.uncovered() } else { &[] };
            let (left_out, left_out_in_all) = words::left_out(uncovered);
            let (files, _) = cut_to(lines, DIFF.0);
            Ok(Outcome::Diff {
                left_out,
                left_out_in_all,
                cut: cut || changes.len() > files.len(),
                files,
                changed: changes.len(),
                text,
            })
        })
        .await
}

/// How much of a text fits into so many bytes of JSON, and how many it takes there.
fn written(text: &str, room: usize) -> (usize, usize) {
    let mut bytes = 0;
    for (at, char) in text.char_indices() {
        let more = match char {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            char if u32::from(char) < 0x20 => 6,
            char => char.len_utf8(),
        };
        if bytes + more > room {
            return (at, bytes);
        }
        bytes += more;
    }
    (text.len(), bytes)
}

/// The state of the files as they are now: a checkpoint of its own when they changed since the last.
async fn latest(shared: &Arc<Shared>) -> Result<Checkpoint, Failure> {
    let at = now();
    shared
        .still(false, move |files| {
            if let Some(checkpoint) = files.checkpoint_if_changed("as it is now", at)? {
                return Ok(Some(checkpoint));
            }
            Ok(files.checkpoints()?.pop())
        })
        .await?
        .ok_or_else(|| Failure::new("workspace", "the copy has no checkpoint"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(number: u32, tree: u8) -> Checkpoint {
        Checkpoint {
            number,
            commit: format!("{number:02x}").repeat(20).parse().unwrap(),
            tree: format!("{tree:02x}").repeat(20).parse().unwrap(),
            before: None,
            reason: String::new(),
            at: 0,
            files: 0,
            bytes: 0,
            left_out: 0,
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
    fn one_step_back_and_another_one_go_back_twice() {
        let undone = |number, tree, to: u32| Checkpoint {
            reason: format!("{}{to}", crate::workspace::UNDO_REASON),
            ..checkpoint(number, tree)
        };
        let mut all = vec![checkpoint(1, 1), checkpoint(2, 2), checkpoint(3, 3)];
        assert_eq!(pick(&all, &State::Last).unwrap().number, 2);
        all.push(undone(4, 2, 2));
        assert_eq!(pick(&all, &State::Last).unwrap().number, 1);
        all.push(undone(5, 1, 1));
        assert!(pick(&all, &State::Last).is_err());
        // Work after an undo is a step of its own.
        all.push(checkpoint(6, 6));
        assert_eq!(pick(&all, &State::Last).unwrap().number, 5);
    }

    #[test]
    fn a_text_is_cut_by_what_it_takes_when_it_is_written() {
        for text in [
            "a\"b\\c\n",
            "\u{1}\u{1}",
            "grün 日本",
            "\u{7f}\t\u{8}\u{c}\r",
            "",
        ] {
            let json = serde_json::to_string(text).unwrap().len() - 2;
            assert_eq!(written(text, 1000), (text.len(), json), "{text:?}");
            for room in 0..json {
                let (end, bytes) = written(text, room);
                let cut = serde_json::to_string(&text[..end]).unwrap().len() - 2;
                assert_eq!(bytes, cut);
                assert!(cut <= room && end < text.len());
            }
        }
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
