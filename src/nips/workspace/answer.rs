//! What became of a workspace task: the content of kind 6871.

use std::collections::BTreeMap;

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use super::lines::{
    CheckpointLine, CopyLine, EntryLine, FileLine, ImageLine, KeptLine, StepLine, WorkLine,
};

/// What became of a task: the result's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The copy: the key of the session that began it; none for what concerns all of them.
    pub workspace: Option<PublicKey>,
    /// The folder that it is a copy of; none when the agent began with nothing.
    pub project: Option<String>,
    /// Where the copy lies on the machine that treefort runs on.
    pub path: Option<String>,
    /// The beginning of what its agent was asked for first.
    #[serde(default)]
    pub title: Option<String>,
    /// When it began, in Unix seconds.
    #[serde(default)]
    pub at: Option<u64>,
    /// How many newer copies of the folder were passed over, since nothing was changed in them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub passed_over: usize,
    /// What was asked for.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What was asked for, by task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "task")]
pub enum Outcome {
    /// The checkpoints, oldest first.
    Checkpoints {
        /// Each.
        checkpoints: Vec<CheckpointLine>,
        /// How many earlier ones were left out.
        #[serde(default)]
        earlier: usize,
    },
    /// A difference.
    Diff {
        /// Changed files, with what changed in them.
        files: Vec<FileLine>,
        /// How many files changed in all; `files` may hold fewer.
        changed: usize,
        /// The unified diff.
        text: String,
        /// Whether the text was cut.
        cut: bool,
        /// Paths that the agent made, changed or removed and that no checkpoint covers, each with the reason.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left_out: Vec<String>,
        /// How many of them there are in all; `left_out` may hold fewer.
        #[serde(default, skip_serializing_if = "is_none")]
        left_out_in_all: u64,
        /// How many applies can be taken back.
        #[serde(default)]
        earlier: usize,
    },
    /// What is in a folder.
    Files {
        /// The number of the checkpoint that was looked at.
        checkpoint: u32,
        /// What is in it, in the order of the names; for a path that is a file, that file alone.
        entries: Vec<EntryLine>,
        /// How many entries the folder has in all.
        total: u64,
        /// The `offset` of those that come after these, if there are any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<u64>,
        /// Of the copy as it is now: what the agent made, changed or removed that no checkpoint covers, each with the
        /// reason.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left_out: Vec<String>,
        /// How many of them there are in all; `left_out` may hold fewer.
        #[serde(default, skip_serializing_if = "is_none")]
        left_out_in_all: u64,
    },
    /// What is in a file.
    File {
        /// The number of the checkpoint that was looked at.
        checkpoint: u32,
        /// Its path in the copy.
        file: String,
        /// Its bytes in all.
        size: u64,
        /// A piece of it, when it is text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// A piece of it in base64, when it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
        /// The `offset` of the piece after this one, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<u64>,
        /// Whether something that looks like a password or key was cut out of the text.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        redacted: bool,
        /// Why there is neither text nor base64.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        withheld: Option<String>,
    },
    /// A state was brought back.
    Undo {
        /// The state before: undoing this brings the work back.
        before: u32,
        /// The state that was asked for.
        to: u32,
        /// The new checkpoint that holds it.
        after: u32,
        /// Files written.
        written: u64,
        /// Files removed.
        removed: u64,
        /// Paths that no checkpoint covers, left as they were.
        uncovered: Vec<String>,
        /// How many those are in all; `uncovered` may hold fewer.
        #[serde(default)]
        uncovered_in_all: u64,
        /// Paths that were in the way of what came back, and were moved to `kept`, beside the copy.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        moved: Vec<String>,
        /// Why the undo is not on the record, if it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unrecorded: Option<String>,
    },
    /// What an apply would do.
    Plan {
        /// Its id, which [`Operation::Apply`](super::Operation::Apply) names.
        plan: String,
        /// What it would do, file by file.
        steps: Vec<StepLine>,
        /// How many steps there are in all; `steps` may hold fewer.
        total: usize,
        /// How many of them are conflicts.
        conflicts: usize,
        /// Of the steps that `steps` has no room for, how many need a look, by what they are about.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        hidden: BTreeMap<String, usize>,
        /// How many applies went before it and can be taken back.
        #[serde(default)]
        earlier: usize,
        /// When an earlier apply had been cut off in the middle: how many files of it were taken back first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settled: Option<u64>,
        /// Files that this left as they are.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unsettled: Vec<KeptLine>,
    },
    /// The changes are in the project.
    Apply {
        /// Files written.
        written: u64,
        /// Files removed.
        removed: u64,
        /// Files that need a look: both versions cannot be had.
        conflicts: Vec<String>,
        /// How many those are in all; `conflicts` may hold fewer.
        #[serde(default)]
        in_conflict: usize,
    },
    /// The last apply was taken back.
    TakeBack {
        /// Files that are as they were before.
        restored: u64,
        /// How many of them keep what the person changed in them since.
        #[serde(default)]
        merged: u64,
        /// Files that stay as they are.
        #[serde(default)]
        kept: Vec<KeptLine>,
        /// How many those are in all; `kept` may hold fewer.
        #[serde(default)]
        kept_in_all: usize,
        /// How many earlier applies can be taken back too.
        #[serde(default)]
        earlier: usize,
    },
    /// The copy is gone.
    Discard {
        /// Bytes that became free.
        bytes: u64,
        /// Files that were in it.
        files: u64,
    },
    /// Where the copy is.
    Locate {
        /// Whether the repository at its top is the agent's still, and could run its programs.
        #[serde(default)]
        agents_git: bool,
        /// What else in it git takes for a repository, as of the last checkpoint.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        repositories: Vec<String>,
    },
    /// Who is at work.
    AtWork {
        /// The sessions, the newest job first.
        sessions: Vec<WorkLine>,
        /// How many there are in all; `sessions` may hold fewer.
        #[serde(default)]
        total: usize,
    },
    /// A question was answered.
    #[serde(rename = "answer")]
    Answered {
        /// The session that asked.
        session: PublicKey,
        /// The option.
        option: String,
        /// Its kind, in the agent's word.
        kind: String,
        /// What it is called.
        name: String,
    },
    /// The session stands still.
    Pause {
        /// Which one.
        session: PublicKey,
    },
    /// The session goes on.
    Resume {
        /// Which one.
        session: PublicKey,
    },
    /// The session was told to do something else.
    Steer {
        /// Which one.
        session: PublicKey,
    },
    /// What the agent built can be seen.
    Preview {
        /// Where; it opens once, in a browser.
        url: String,
        /// The same for programs that do not look names below `.localhost` up as this machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by_address: Option<String>,
        /// The port in the agent's sandbox, for an app that runs there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// The folder that is shown, for files; empty for the top of the copy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<String>,
        /// The checkpoint whose files are shown, if not those that are there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint: Option<u32>,
    },
    /// It cannot be seen any more.
    PreviewEnd {
        /// How many previews ended.
        ended: usize,
    },
    /// What takes room.
    List {
        /// The copies, newest first.
        copies: Vec<CopyLine>,
        /// How many copies there are in all; `copies` may hold fewer.
        #[serde(default)]
        total: usize,
        /// The agents' images.
        images: Vec<ImageLine>,
        /// Bytes of all checkpoints.
        checkpoints: u64,
    },
    /// Room was made.
    Clean {
        /// Copies that went.
        copies: usize,
        /// Images that went.
        images: usize,
        /// Containers that had been left behind.
        containers: usize,
        /// Bytes that became free, of copies and checkpoints.
        bytes: u64,
        /// Why copies that should have gone are still there.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<String>,
    },
    /// What goes for good, or went.
    Purge {
        /// Whether it went; otherwise this is what would.
        done: bool,
        /// The sessions.
        sessions: Vec<PublicKey>,
        /// How many those are in all; `sessions` may hold fewer.
        sessions_in_all: usize,
        /// Customers' jobs.
        jobs: usize,
        /// Events, all of them.
        events: usize,
        /// Long texts and attached files that nothing else names.
        blobs: usize,
        /// Copies of folders, with their checkpoints.
        copies: usize,
        /// Copies that stay, since a session that stays works on them.
        copies_kept: usize,
        /// How often the agents' changes were applied to the owner's folders; what was applied stays there.
        applied: usize,
        /// Sessions of the same conversations that stay.
        linked: Vec<PublicKey>,
        /// How many of the events other relays have or may get at any moment.
        #[serde(default)]
        shared: usize,
        /// How many relays those are.
        #[serde(default)]
        relays: usize,
        /// Whether the bytes are off the disk. If not, somebody was reading; it is tried again at the next start.
        erased: bool,
    },
}

/// The same for a number of things.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Whether a count is left out of an answer.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// As many of these, from the first, as take at most so many bytes as JSON, and how many were left out.
///
/// An event holds only so much; what an answer lists is cut by this and says how much there is in all.
pub fn cut_to<T: Serialize>(items: impl IntoIterator<Item = T>, bytes: usize) -> (Vec<T>, usize) {
    let (mut kept, mut room) = (Vec::new(), bytes);
    let mut rest = items.into_iter();
    for item in rest.by_ref() {
        // One that cannot be written takes all the room there is.
        let size =
            serde_json::to_vec(&item).map_or(usize::MAX, |text| text.len().saturating_add(1));
        let Some(left) = room.checked_sub(size) else {
            return (kept, 1 + rest.count());
        };
        room = left;
        kept.push(item);
    }
    (kept, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_by_the_bytes_that_it_takes_when_it_is_written() {
        // Three quotes and a comma; a control character takes six.
        let list = ["a", "b", "\u{1}", "c"];
        assert_eq!(cut_to(list, 1_000), (list.to_vec(), 0));
        assert_eq!(cut_to(list, 8), (vec!["a", "b"], 2));
        assert_eq!(cut_to(list, 16), (vec!["a", "b"], 2));
        assert_eq!(cut_to(list, 17), (vec!["a", "b", "\u{1}"], 1));
        assert_eq!(cut_to(list, 0), (vec![], 4));
        let (kept, left_out) = cut_to(vec!["x".repeat(70); 1_000], 40_000);
        assert!(serde_json::to_string(&kept).unwrap().len() <= 40_001);
        assert_eq!(kept.len() + left_out, 1_000);
    }
}
