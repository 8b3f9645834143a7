//! The records of states of a workspace: checkpoints, and what brought one back.

use nostr::Event;

use super::{context::now, publisher::PublishError, session::Session, words};
use crate::{
    nips::session::ActionKind,
    workspace::{Checkpoint, Uncovered},
};

/// Reasons of states that were kept for the owner, and are on no record.
const OF_NO_RECORD: [&str; 3] = ["before the undo", "before undo", "as it is now"];
/// Paths without cover that a checkpoint names.
const UNCOVERED: usize = 20;

/// 4783.
pub(super) fn checkpoint_event(
    session: &mut Session,
    checkpoint: &Checkpoint,
    reason: &str,
    changed: usize,
) -> Result<Event, PublishError> {
    let id = session.bench.as_ref().map(|bench| bench.shared.id);
    let detail = checkpoint_detail(id, checkpoint, reason, session.private);
    let alt = format!("Checkpoint {}: {reason}", checkpoint.number);
    let mut content = match changed {
        0 => String::new(),
        1 => "1 file changed since the checkpoint before.".to_owned(),
        n => format!("{n} files changed since the checkpoint before."),
    };
    if checkpoint.left_out > 0 {
        let sentence = "What the agent did to the uncovered paths cannot be undone or applied.";
        if !content.is_empty() {
            content.push(' ');
        }
        content.push_str(sentence);
    }
    Ok(session.log.checkpoint(detail, alt, &content, now())?.event)
}

/// The tags of a 4783. What is not covered is named: undo never pretends.
pub(super) fn checkpoint_detail(
    workspace: Option<nostr::PublicKey>,
    checkpoint: &Checkpoint,
    reason: &str,
    private: bool,
) -> Vec<Vec<String>> {
    let id = workspace.map_or_else(String::new, |id| id.to_hex());
    let mut detail = vec![
        pair("r", &format!("refs/treefort/{id}/{}", checkpoint.number)),
        pair("commit", &checkpoint.commit.to_string()),
        pair("tree", &checkpoint.tree.to_string()),
        pair("reason", reason),
        vec![
            "size".to_owned(),
            checkpoint.files.to_string(),
            checkpoint.bytes.to_string(),
        ],
    ];
    let count = checkpoint.uncovered.iter().map(|left| left.paths());
    let count = count.fold(0, u64::saturating_add);
    if !private {
        detail.extend(checkpoint.uncovered.iter().take(UNCOVERED).map(uncovered));
    }
    if count > UNCOVERED as u64 || (private && count > 0) {
        detail.push(pair("uncovered-in-all", &count.to_string()));
    }
    detail
}

fn uncovered(uncovered: &Uncovered) -> Vec<String> {
    vec![
        "uncovered".to_owned(),
        String::from_utf8_lossy(&uncovered.path).into_owned(),
        words::uncovered(uncovered.why),
    ]
}

/// The records of an undo: the state before unless it is there already, the undo, the state after.
///
/// # Errors
/// When they cannot be signed.
pub(super) fn undo_events(
    log: &mut crate::recorder::SessionLog,
    workspace: nostr::PublicKey,
    undone: &crate::workspace::Undone,
    to: u32,
    private: bool,
) -> Result<Vec<Event>, crate::nips::draft::SignError> {
    let (before, after) = (&undone.before, &undone.after);
    let state = |log: &mut crate::recorder::SessionLog, at: &Checkpoint, reason: &str| {
        let detail = checkpoint_detail(Some(workspace), at, reason, private);
        let alt = format!("Checkpoint {}: {reason}", at.number);
        log.checkpoint(detail, alt, "", now())
    };
    // A state that is on the record already is not there twice under one number.
    let mut events = Vec::new();
    if OF_NO_RECORD.contains(&before.reason.as_str()) {
        events.push(state(log, before, "before the undo")?.event);
    }
    let detail = vec![
        pair("op", "undo"),
        pair("from", &before.commit.to_string()),
        pair("to", &to.to_string()),
        pair("tree", &after.tree.to_string()),
        vec![
            "files".to_owned(),
            format!("written {}", undone.written),
            format!("removed {}", undone.removed),
        ],
    ];
    let alt = format!("Brought back checkpoint {to}");
    let kind = ActionKind::Other("undo".to_owned());
    events.push(log.action(kind, detail, alt, "", now())?.event);
    events.push(state(log, after, "after the undo")?.event);
    Ok(events)
}

pub(super) fn pair(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}
