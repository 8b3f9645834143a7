//! What the lists of an answer hold.

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

/// One copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyLine {
    /// Its id.
    pub workspace: PublicKey,
    /// The folder that it is a copy of.
    pub project: Option<String>,
    /// The beginning of what was asked for.
    pub title: String,
    /// When it began, in Unix seconds.
    pub at: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Whether anything was changed in it: work that can be applied, undone, or taken back.
    pub work: bool,
    /// Whether an agent works on it.
    pub busy: bool,
}

/// A session that is on a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkLine {
    /// Its key.
    pub session: PublicKey,
    /// Its agent.
    pub agent: String,
    /// The beginning of what it was asked.
    pub title: String,
    /// When it turned to its job, in Unix seconds.
    pub at: u64,
    /// The copy that it works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<PublicKey>,
    /// The folder that it is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Whether its owner has it stand still.
    #[serde(default)]
    pub paused: bool,
    /// What it waits for an answer to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionLine>,
    /// How many questions it waits for an answer to beside these, for which there was no room.
    #[serde(default, skip_serializing_if = "is_none")]
    pub more_questions: usize,
    /// Whether it was too busy to say what it waits for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
}

/// Whether a count is left out of an answer.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A question that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionLine {
    /// The id of its record.
    pub question: String,
    /// What is asked.
    pub text: String,
    /// Bytes of the text that are not in it, because there was no room; it ends with a `…` then.
    #[serde(default, skip_serializing_if = "is_none")]
    pub cut: usize,
    /// What may be answered.
    pub options: Vec<OptionLine>,
    /// Until when, in Unix seconds; later by as long as the session stands still.
    pub until: u64,
}

/// What may be answered to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionLine {
    /// What names it in an answer.
    pub id: String,
    /// `allow_once`, `allow_always`, `reject_once`, `reject_always`, or another word of the agent's.
    pub kind: String,
    /// For people.
    pub name: String,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLine {
    /// Its name and tag.
    pub name: String,
    /// Bytes, of which several images may share a part.
    pub bytes: u64,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointLine {
    /// Its number, from 1.
    pub number: u32,
    /// Its commit.
    pub commit: String,
    /// Its tree.
    pub tree: String,
    /// Why it was made.
    pub reason: String,
    /// When, in Unix seconds.
    pub at: u64,
    /// Files that changed since the checkpoint before.
    pub changed: usize,
}

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLine {
    /// Its path in the copy.
    pub path: String,
    /// `create`, `modify`, `delete`, `mode` or `type`.
    pub op: String,
    /// Lines added.
    pub added: u32,
    /// Lines removed.
    pub removed: u32,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryLine {
    /// Its path in the copy.
    pub path: String,
    /// `file`, `folder` or `link`.
    pub kind: String,
    /// Bytes; of a link those of where it leads, of a folder 0.
    pub size: u64,
    /// Where a link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A file that a take-back left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLine {
    /// The path in the project.
    pub path: String,
    /// Why.
    pub why: String,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLine {
    /// The path in the project.
    pub path: String,
    /// `create`, `replace`, `merge`, `delete`, `mode`, `link`, `folder`, `remove-folder`, `conflict` or `left-out`.
    pub action: String,
    /// What to know about it before it is there: what would run on this machine later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
