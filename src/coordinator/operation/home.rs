//! The way of an agent's changes home, and back.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use super::{FILES, LIST};
use crate::{
    coordinator::{context::now, shared::Shared, words, workspaces},
    job::Failure,
    nips::workspace::{KeptLine, Outcome, StepLine, cut_to},
    workspace::{
        About, ObjectId, Workspace,
        about::Applied,
        apply::{self, TakenBack},
    },
};

/// Paths that a sentence names.
const NAMED: usize = 10;

impl Shared {
    /// Changes what is remembered of it, on a thread that may wait for the disk; durable on return.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::coordinator) fn remember_now(
        &self,
        change: impl FnOnce(&mut About),
    ) -> std::io::Result<()> {
        let mut about = self.about.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = about.clone();
        change(&mut new);
        new.write(self.dir())?;
        *about = new;
        Ok(())
    }
}

/// The project that a copy was made of.
fn project(shared: &Shared) -> Result<(PathBuf, ObjectId), Failure> {
    let about = shared.about();
    match (about.project, about.base) {
        (Some(project), Some(base)) => Ok((project, base)),
        _ => Err(Failure::new(
            "workspace",
            "the agent began with an empty folder, so there is no project to apply to; `treefort open` says where its files are",
        )),
    }
}

pub(super) async fn plan(shared: &Arc<Shared>) -> Result<Outcome, Failure> {
    let (project, _) = project(shared)?;
    let (this, at) = (shared.clone(), now());
    let (planned, settled) = shared
        .still(false, move |files| {
            let settled = settle(&this, files, &project)?;
            Ok((look(&this, files, &project, at)?, settled))
        })
        .await?;
    let conflicts = planned.steps.iter().filter(|step| words::is_conflict(step));
    let conflicts = conflicts.count();
    let (steps, hidden) = shown(&planned);
    Ok(Outcome::Plan {
        total: planned.steps.len() + planned.refused.len(),
        plan: planned.id,
        steps,
        conflicts,
        hidden,
        earlier: shared.about().applied.len(),
        unsettled: settled.as_ref().map(kept_lines).unwrap_or_default(),
        settled: settled.map(|taken| taken.written + taken.removed),
    })
}

/// The steps that an answer has room for, in the order of their paths, and by what they are about how many more
/// need a look.
///
/// What needs a look is never left out for something that does not.
fn shown(plan: &apply::Plan) -> (Vec<StepLine>, BTreeMap<String, usize>) {
    enum Line<'p> {
        Step(&'p apply::Step),
        Refused(&'p apply::Refused),
    }
    let steps = plan.steps.iter().map(Line::Step);
    let mut lines: Vec<(u8, usize, Line<'_>)> = steps
        .chain(plan.refused.iter().map(Line::Refused))
        .enumerate()
        .map(|(place, line)| {
            let rank = match &line {
                Line::Step(step) => words::rank(step),
                Line::Refused(_) => words::LEFT_OUT,
            };
            (rank, place, line)
        })
        .collect();
    lines.sort_by_key(|(rank, place, _)| (*rank, *place));
    let written = lines.iter().take(FILES).map(|(_, _, line)| match line {
        Line::Step(step) => words::step(step),
        Line::Refused(refused) => words::refused(refused),
    });
    let (kept, _) = cut_to(written, LIST);
    let mut hidden = BTreeMap::new();
    for (_, _, line) in &lines[kept.len()..] {
        let about = match line {
            Line::Step(step) => words::about(step),
            Line::Refused(_) => vec!["left out"],
        };
        for word in about {
            *hidden.entry(word.to_owned()).or_default() += 1;
        }
    }
    let places = lines.iter().map(|(_, place, _)| *place);
    let mut placed: Vec<(usize, StepLine)> = places.zip(kept).collect();
    placed.sort_by_key(|(place, _)| *place);
    (placed.into_iter().map(|(_, line)| line).collect(), hidden)
}

/// What an apply would do now.
fn look(
    shared: &Shared,
    files: &mut Workspace,
    project: &Path,
    at: u64,
) -> Result<apply::Plan, workspaces::Error> {
    let base = shared.about().base.ok_or(workspaces::Error::Gone)?;
    // One of its own also when nothing changed: it says what it does not cover.
    let last = files.checkpoint("before applying", at)?;
    let uncovered = &last.uncovered;
    let store = files.store();
    Ok(apply::plan(store, &base, &last.tree, project, uncovered)?)
}

/// Takes back what an apply had written that was cut off, so that what follows begins at a state that somebody knows.
fn settle(
    shared: &Shared,
    files: &Workspace,
    project: &Path,
) -> Result<Option<TakenBack>, workspaces::Error> {
    let unfinished = shared.about().applied.pop().filter(|last| last.unfinished);
    unfinished
        .map(|last| back(shared, files, project, &last))
        .transpose()
}

/// Takes one apply back.
fn back(
    shared: &Shared,
    files: &Workspace,
    project: &Path,
    applied: &Applied,
) -> Result<TakenBack, workspaces::Error> {
    let taken = apply::take_back(files.store(), &applied.backup, &applied.token, project)?;
    shared.remember_now(|about| about.forget_apply(applied))?;
    Ok(taken)
}

pub(super) async fn apply_plan(shared: &Arc<Shared>, id: String) -> Result<Outcome, Failure> {
    let (project, _) = project(shared)?;
    let (this, at) = (shared.clone(), now());
    let applied = shared
        .still(false, move |files| {
            let settled = settle(&this, files, &project)?;
            if let Some(failure) = settled.as_ref().and_then(unsettled) {
                return Ok(Err(failure));
            }
            let plan = look(&this, files, &project, at)?;
            if plan.id != id {
                return Ok(Err(Failure::new(
                    "workspace",
                    "the project or the copy changed since you looked; look at the changes again, then apply",
                )));
            }
            bring(&this, files, &project, &plan, at).map(Ok)
        })
        .await??;
    let paths = applied.conflicts.iter();
    let (conflicts, _) = cut_to(paths.take(FILES).map(|path| words::text(path)), LIST);
    Ok(Outcome::Apply {
        written: applied.written,
        removed: applied.removed,
        conflicts,
        in_conflict: applied.conflicts.len(),
    })
}

/// What the names begin with under which the store keeps what the applies of a copy touched.
pub(super) fn backups(shared: &Shared) -> String {
    format!("refs/treefort-backup/{}/", shared.id.to_hex())
}

/// Does what a plan says, so that it can be taken back at any moment of it.
fn bring(
    shared: &Shared,
    files: &Workspace,
    project: &Path,
    plan: &apply::Plan,
    at: u64,
) -> Result<apply::Applied, workspaces::Error> {
    let token = apply::token()?;
    let name = format!("{}{at}-{token}", backups(shared));
    let keep = apply::Keep {
        name: &name,
        token: &token,
        at,
    };
    let begun = |backup| Applied {
        backup,
        base: plan.base,
        at,
        token: token.clone(),
        unfinished: true,
    };
    let mut backup = None;
    let record = |kept| {
        backup = Some(kept);
        shared.remember_now(|about| about.begin_apply(begun(kept)))
    };
    match apply::apply(files.store(), plan, project, keep, record) {
        Ok(applied) => {
            // One that wrote nothing leaves nothing to take back, and what went before still can be.
            shared.remember_now(|about| about.end_apply(&token, plan.next))?;
            Ok(applied)
        }
        Err(error) => {
            if let Some(backup) = backup.filter(|_| error.is_clean()) {
                shared.remember_now(|about| about.forget_apply(&begun(backup)))?;
            }
            Err(error.into())
        }
    }
}

/// What a take-back left as it is, as far as an answer has room for it.
fn kept_lines(taken: &TakenBack) -> Vec<KeptLine> {
    let lines = taken.kept.iter().take(FILES).map(|(path, why)| KeptLine {
        path: words::text(path),
        why: words::kept(*why).to_owned(),
    });
    cut_to(lines, LIST / 2).0
}

/// Why an apply does not go on after one before it that was cut off: not all of that could be taken back.
fn unsettled(taken: &TakenBack) -> Option<Failure> {
    if taken.kept.is_empty() {
        return None;
    }
    let mut named: Vec<String> = taken
        .kept
        .iter()
        .take(NAMED)
        .map(|(path, why)| format!("{} ({})", words::text(path), words::kept(*why)))
        .collect();
    if taken.kept.len() > NAMED {
        named.push(format!("and {} more", taken.kept.len() - NAMED));
    }
    Some(Failure::new(
        "workspace",
        format!(
            "an apply before this one was cut off in the middle; it was taken back, but these were left as they are: {}; look at them, then apply again",
            named.join(", ")
        ),
    ))
}

pub(super) async fn take_back(shared: &Arc<Shared>) -> Result<Outcome, Failure> {
    let (project, _) = project(shared)?;
    let this = shared.clone();
    let taken = shared
        .with(move |files| {
            let last = this.about().applied.pop();
            last.map(|last| back(&this, files, &project, &last))
                .transpose()
        })
        .await?;
    let Some(taken) = taken else {
        return Err(Failure::new(
            "workspace",
            "nothing was applied, so there is nothing to take back",
        ));
    };
    let kept = kept_lines(&taken);
    Ok(Outcome::TakeBack {
        restored: taken.written + taken.removed,
        merged: taken.merged,
        kept,
        kept_in_all: taken.kept.len(),
        earlier: shared.about().applied.len(),
    })
}
