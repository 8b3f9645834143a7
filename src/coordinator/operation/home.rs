//! The way of an agent's changes home, and back.

use std::{path::PathBuf, sync::Arc};

use super::FILES;
use crate::{
    coordinator::{context::now, shared::Shared, words},
    job::Failure,
    nips::workspace::{Outcome, StepLine},
    workspace::{ObjectId, about::Applied, apply},
};

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
    let at = now();
    shared
        .still(false, move |files| {
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

pub(super) async fn apply_plan(shared: &Arc<Shared>, id: String) -> Result<Outcome, Failure> {
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
            // An apply that wrote nothing leaves nothing to take back, and what went before still can be.
            if let Some(backup) = backup {
                about.applied = Some(Applied { backup, base, at });
            }
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

pub(super) async fn take_back(shared: &Arc<Shared>) -> Result<Outcome, Failure> {
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
