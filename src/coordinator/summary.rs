//! What an agent that does not remember a conversation is told of it: what was asked and answered, which files were
//! changed, and that a state was brought back.

use std::sync::Arc;

use super::{conversation::Said, facts::op, shared::Shared};
use crate::{
    job::Failure,
    workspace::{
        Checkpoint, UNDO_REASON,
        diff::{self, ChangeKind},
    },
};

/// Changed files that are named.
const NAMED: usize = 60;
/// How a checkpoint begins at which an agent went on: what was undone before it was told then.
pub(super) const GOES_ON: &str = "before going on";

/// What happened to the files of a copy, for an agent that was not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// What is different from the beginning, in words, and how many more there are.
    changed: Vec<String>,
    more: usize,
    /// The checkpoint that was brought back last.
    restored: Option<u32>,
}

impl Files {
    /// Looks at a copy.
    ///
    /// # Errors
    /// When its checkpoints cannot be read.
    pub(super) async fn of(shared: &Arc<Shared>) -> Result<Self, Failure> {
        shared
            .with(|files| {
                let all = files.checkpoints()?;
                let (Some(first), Some(last)) = (all.first(), all.last()) else {
                    return Ok(Self::default());
                };
                let changes = diff::changes(files.store(), Some(&first.tree), &last.tree)?;
                let named = changes.iter().take(NAMED).map(|change| {
                    let path = String::from_utf8_lossy(&change.path);
                    // A line for each, whatever is in a name.
                    let path = path.replace(|c: char| c.is_control(), "?");
                    format!("{} {path}", word(change.kind))
                });
                Ok(Self {
                    changed: named.collect(),
                    more: changes.len().saturating_sub(NAMED),
                    restored: restored(&all),
                })
            })
            .await
    }
}

fn word(kind: ChangeKind) -> &'static str {
    match op(kind) {
        "create" => "new",
        "delete" => "deleted",
        _ => "changed",
    }
}

/// The checkpoint that was brought back since an agent went on last.
fn restored(all: &[Checkpoint]) -> Option<u32> {
    // The last of them is the one with which this one goes on.
    let before = all.iter().rev().skip(1);
    let since = before.take_while(|at| at.reason != GOES_ON);
    let mut undone = since.filter_map(|at| at.reason.strip_prefix(UNDO_REASON));
    undone.next()?.parse().ok()
}

/// The conversation before, for the front of a prompt; nothing when there was none.
pub(super) fn introduction(history: &[Said], files: &Files) -> Option<String> {
    if history.is_empty() && *files == Files::default() {
        return None;
    }
    let mut text = String::new();
    if !history.is_empty() {
        text.push_str("What was said before:\n");
        for said in history {
            text.push_str(&format!("\n[{}]\n{}\n", said.role, said.text));
        }
    }
    if !files.changed.is_empty() {
        text.push_str("\nWhat was changed in /workspace until now:\n");
        for changed in &files.changed {
            text.push_str(&format!("- {changed}\n"));
        }
        if files.more > 0 {
            text.push_str(&format!("- and {} more\n", files.more));
        }
    }
    if let Some(number) = files.restored {
        text.push_str(&format!(
            "\nThe owner brought the files back to an earlier state since (checkpoint {number}): what was said \
             about them may not hold any more.\n"
        ));
    }
    text.push_str("\nNow:\n");
    Some(text.trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_there_is_told_what_was_said_and_done_and_undone() {
        assert_eq!(introduction(&[], &Files::default()), None);
        let said = |role, text: &str| Said {
            role,
            text: text.to_owned(),
        };
        let history = [said("user", "write it"), said("assistant", "done")];
        let files = Files {
            changed: vec!["new a.txt".to_owned(), "deleted b.txt".to_owned()],
            more: 3,
            restored: Some(2),
        };
        insta::assert_snapshot!(introduction(&history, &files).unwrap(), @r"
        What was said before:

        [user]
        write it

        [assistant]
        done

        What was changed in /workspace until now:
        - new a.txt
        - deleted b.txt
        - and 3 more

        The owner brought the files back to an earlier state since (checkpoint 2): what was said about them may not hold any more.

        Now:
        ");
        let plain = introduction(&history, &Files::default()).unwrap();
        assert!(plain.ends_with("[assistant]\ndone\n\nNow:\n"));
    }
}
