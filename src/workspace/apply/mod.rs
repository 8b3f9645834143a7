//! What a session made, brought home: a plan that a person can read, and its execution.
//!
//! [`plan`] compares three states of every path that the agent changed: the *base* that it began with, its *result*,
//! and the project as it is *now*. [`apply`] executes a plan and nothing else, and only while every path that it
//! touches is still as the plan saw it. Before that it stores what it will touch, so that [`take_back`] can undo it,
//! also when the process is killed in the middle.
//!
//! Invariants: nothing of the person's is overwritten that is not in the store first; no link of the project is
//! written through; nothing is written into a `.git`; nothing is run, no hook, filter or driver; git's index is left
//! alone.
//!
//! The merge base moves: after an apply, the next plan of the same session begins at what was applied of the result
//! ([`Plan::next`]).

mod back;
mod backup;
mod links;
mod names;
mod next;
mod project;
mod states;
mod temporary;
mod three_way;
mod write;

pub use self::{
    back::{Kept, TakenBack, take_back},
    temporary::token,
};
pub use super::flags::Flag;

use std::{io, path::Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Error as StoreError, ObjectId, Uncovered, diff, merge, objects::Store, snapshot};

/// Everything that an apply will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// SHA-256 (hex) of all that follows: two plans with one id do the same to the same project.
    pub id: String,
    /// The tree that the session began with.
    pub base: ObjectId,
    /// The tree that it ended with.
    pub result: ObjectId,
    /// The tree that the next plan begins at when this one is done: the result, but what could not be written is as
    /// in the base, so that it is offered again.
    pub next: ObjectId,
    /// Device and inode of the project's folder.
    pub folder: (u64, u64),
    /// What happens to each path, sorted by path.
    pub steps: Vec<Step>,
    /// Paths that are never written, whatever the person says.
    pub refused: Vec<Refused>,
    /// Changed paths that need nothing, because the project has them already.
    pub already: u64,
    /// The writes, in the order in which they are done.
    pub writes: Vec<Write>,
}

/// What happens to one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Relative to the project.
    pub path: Vec<u8>,
    /// What is done.
    pub action: Action,
    /// What of it would run on the host later, or reach out of the project.
    pub flags: Vec<Flag>,
    /// Names in the project that differ from this one by case only; one of the two is lost on some file systems.
    pub collides: Vec<Vec<u8>>,
    /// Where the agent's version goes when it cannot go to `path`.
    pub beside: Option<Vec<u8>>,
}

/// What is done with a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A new file.
    Create,
    /// The person did not change it, the agent's content comes.
    Replace,
    /// Both changed it, in different places.
    Merge,
    /// The agent deleted it, the person did not change it.
    Delete,
    /// Only its permissions change.
    Mode,
    /// A link comes, or points elsewhere.
    Link,
    /// A new folder that is empty.
    Folder,
    /// A folder goes, if nothing of the person's is in it.
    RemoveFolder,
    /// Both changed it and both cannot be had.
    Conflict(Why),
    /// No checkpoint covers it, so it stays in the copy.
    LeftOut(snapshot::Why),
}

/// Why both versions cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Both changed the same lines, in so many places; the file gets markers.
    Text(usize),
    /// Both changed it and it is no text.
    Binary,
    /// Both changed it, too much to compare.
    TooFar,
    /// The agent changed what the person deleted.
    YouDeleted,
    /// The agent deleted what the person changed; the person's stays.
    AgentDeleted,
    /// Both added it, with different content.
    BothAdded,
    /// The agent added what the person has as a file that git ignores, so that the agent never saw it.
    Ignored,
    /// It is a file for one and a link for the other.
    Kind,
    /// A folder is where the file should go, or a file where the folder should.
    Folder,
    /// A folder on the way is a link in the project.
    ThroughLink(Vec<u8>),
    /// What is there is a device or the like, may not be read, or is too large.
    Unreadable,
    /// Both changed its permissions; the person's stay.
    Permissions,
}

/// A path that is never written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refused {
    /// Up to the part that is at fault.
    pub path: Vec<u8>,
    /// What is at fault.
    pub why: Refusal,
}

/// What is at fault with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// A part of it is `.git`, or what a file system takes for it.
    Git,
    /// A part of it is no name: empty, `.`, `..`, with a NUL or a slash, or longer than names are.
    Name,
    /// A link whose target is no path.
    Target,
    /// The agent's checkpoint does not cover it, so that nobody can tell whether it is gone.
    Uncovered,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing.
    Absent,
    /// A file.
    File {
        /// Its permission bits (`0o777`).
        mode: u32,
        /// Its content.
        id: ObjectId,
    },
    /// A link.
    Link {
        /// Its target.
        id: ObjectId,
    },
    /// A folder.
    Folder,
    /// Something that is left alone: a device, unreadable, or too large.
    Other,
}

/// One write: it is done only when what is there is as expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Relative to the project.
    pub path: Vec<u8>,
    /// What the plan saw.
    pub expect: State,
    /// What will be there.
    pub put: State,
}

/// What an apply did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Files and links written.
    pub written: u64,
    /// Files and links removed.
    pub removed: u64,
    /// Paths that are left for the person to settle.
    pub conflicts: Vec<Vec<u8>>,
    /// The commit that [`take_back`] takes; `None` when there was nothing to write.
    pub backup: Option<ObjectId>,
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path is not as it was when the plan was made.
    #[error("{} changed since the preview; look at a new one", String::from_utf8_lossy(path).escape_debug())]
    Changed {
        /// Relative to the project.
        path: Vec<u8>,
    },
    /// The project's folder is another one than when the plan was made.
    #[error("the project's folder is not the one that the preview was made for")]
    Moved,
    /// A plan that does not have the id that it says.
    #[error("the plan was changed after it was made")]
    Tampered,
    /// The commit is no backup of an apply.
    #[error("{0} is no backup of an apply")]
    NoBackup(ObjectId),
    /// The trees could not be compared.
    #[error("could not compare the checkpoints")]
    Diff(#[from] diff::Error),
    /// The store failed.
    #[error("could not read or write the checkpoints")]
    Store(#[from] StoreError),
    /// The project could not be read.
    #[error("could not read {}", String::from_utf8_lossy(path).escape_debug())]
    Io {
        /// Relative to the project, or the project itself.
        path: Vec<u8>,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is needed to take it back could not be kept, so nothing was written.
    #[error("could not keep what is needed to take it back, so nothing was written")]
    Record(#[source] io::Error),
    /// A write failed in the middle.
    #[error("could not write {}; {}", String::from_utf8_lossy(path).escape_debug(), if *undone { "everything is as it was before" } else { "what was there before is in the backup" })]
    Write {
        /// Relative to the project.
        path: Vec<u8>,
        /// What the system said.
        #[source]
        source: io::Error,
        /// Whether the writes before it were taken back.
        undone: bool,
    },
}

/// Plans how to bring the changes from tree `base` to tree `result` into `project`. Nothing is changed but the
/// store, which gets the merged texts.
///
/// `uncovered` is what the checkpoint of `result` leaves out: that a path is missing in `result` means nothing there,
/// and what of it is work becomes a step that says so.
pub fn plan(
    store: &Store,
    base: &ObjectId,
    result: &ObjectId,
    project: &Path,
    uncovered: &[Uncovered],
) -> Result<Plan, Error> {
    let mut plan = three_way::Planner::new(store, base, result, project)?.run(uncovered)?;
    // The agent's work that no checkpoint holds cannot go home: say so.
    let refused = |path: &[u8]| plan.refused.iter().any(|refused| refused.path == path);
    let left_out = uncovered
        .iter()
        .filter(|left| left.work && !refused(&left.path));
    let left_out: Vec<&Uncovered> = left_out.collect();
    plan.steps
        .extend(left_out.into_iter().map(|uncovered| Step {
            path: uncovered.path.clone(),
            action: Action::LeftOut(uncovered.why),
            flags: Vec::new(),
            collides: Vec::new(),
            beside: None,
        }));
    plan.steps.sort_by(|a, b| a.path.cmp(&b.path));
    plan.id = plan.hash();
    Ok(plan)
}

/// How an apply is kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep<'a> {
    /// The reference under which what it touches is stored.
    pub name: &'a str,
    /// From [`token`]: what the names of its unfinished files follow from.
    pub token: &'a str,
    /// When, in Unix seconds.
    pub at: u64,
}

/// Executes a plan. What it touches is stored first; then, before the first write, `record` puts the backup and the
/// token on a record that lasts, with which [`take_back`] can undo what was written also when this process is killed.
///
/// Either all writes are done or, as far as the system allows, none.
pub fn apply(
    store: &Store,
    plan: &Plan,
    project: &Path,
    keep: Keep<'_>,
    record: impl FnOnce(ObjectId) -> io::Result<()>,
) -> Result<Applied, Error> {
    if plan.id != plan.hash() {
        return Err(Error::Tampered);
    }
    let mut opened = project::Project::open(project)?;
    if opened.identity != plan.folder {
        return Err(Error::Moved);
    }
    let mut applied = Applied {
        conflicts: plan
            .steps
            .iter()
            .filter(|step| matches!(step.action, Action::Conflict(_)))
            .map(|step| step.path.clone())
            .collect(),
        ..Applied::default()
    };
    if plan.writes.is_empty() {
        return Ok(applied);
    }
    let message = format!("Before applying {}", plan.result);
    let (backup, rights) = backup::keep(store, &mut opened, &plan.writes, &message, keep.at)?;
    store.set_ref(keep.name, &backup)?;
    record(backup).map_err(Error::Record)?;
    applied.backup = Some(backup);
    write::Writer::new(store, &opened, keep.token, &rights).all(&plan.writes)?;
    // The record says next that all of it is done: no crash may take some of it away again.
    opened.write_back()?;
    for write in &plan.writes {
        match write.put {
            State::File { .. } | State::Link { .. } => applied.written += 1,
            State::Absent if write.expect != State::Folder => applied.removed += 1,
            _ => {}
        }
    }
    Ok(applied)
}

impl Error {
    /// Whether the project is as it was before the apply that ended so.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        !matches!(self, Self::Write { undone: false, .. })
    }
}

impl Plan {
    /// The id that belongs to what the plan says.
    fn hash(&self) -> String {
        let mut bare = self.clone();
        bare.id = String::new();
        // Serialising numbers, strings and lists cannot fail; if it did, no id would match.
        let text = serde_json::to_vec(&bare).unwrap_or_default();
        hex::encode(Sha256::digest(text))
    }
}

/// How merges are bounded inside a plan.
fn merge_limits() -> merge::Limits {
    merge::Limits::default()
}

#[cfg(test)]
mod tests;
