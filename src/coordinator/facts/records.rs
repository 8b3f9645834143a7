//! The records of what really changed, and of what was only said.

use nostr::Event;

use super::op;
use crate::{
    coordinator::{
        claimed::Claimed, context::now, publisher::PublishError, session::Session, states::pair,
    },
    nips::session::ActionKind,
    workspace::diff::{Change, Rendered},
};

/// Changed files that the record of the rest names.
const NAMED: usize = 500;

/// Edits that were claimed and of which the files know nothing in this turn.
pub(super) fn unkept_claims(
    session: &mut Session,
    claims: &[Claimed],
    private: bool,
) -> Result<Vec<Event>, PublishError> {
    let mut events = Vec::new();
    for claimed in claims.iter().filter(|claimed| !claimed.anything) {
        let touched = |path: &Vec<u8>| {
            let bench = session.bench.as_ref();
            bench.is_some_and(|bench| bench.touched.contains(path))
        };
        if claimed.paths.is_empty() || claimed.paths.iter().any(touched) {
            continue;
        }
        let sentence = if private {
            "The agent says that it changed a file, but nothing changed there.".to_owned()
        } else {
            format!(
                "The agent says it {}, but nothing changed there.",
                claimed.title
            )
        };
        events.push(session.log.error("claim", true, &sentence, now())?.event);
    }
    Ok(events)
}

/// 4782 `file`: what really changed.
pub(super) async fn file(
    session: &mut Session,
    change: &Change,
    rendered: &Rendered,
    claim: Option<&Claimed>,
    private: bool,
) -> Result<Event, PublishError> {
    let path = String::from_utf8_lossy(&change.path).into_owned();
    let op = op(change.kind);
    let mut detail = Vec::new();
    if !private {
        detail.push(pair("path", &path));
    }
    detail.push(pair("op", op));
    detail.push(vec![
        "lines".to_owned(),
        format!("+{}", rendered.added),
        format!("-{}", rendered.removed),
    ]);
    if rendered.binary {
        detail.push(vec!["binary".to_owned()]);
    }
    match claim {
        Some(claim) => detail.push(pair("claimed", &claim.event.to_hex())),
        None => detail.push(vec!["unclaimed".to_owned()]),
    }
    let did = match op {
        "create" => "Created",
        "delete" => "Deleted",
        "mode" => "Changed the rights of",
        _ => "Edited",
    };
    let unclaimed = if claim.is_none() {
        ", which the agent did not say"
    } else {
        ""
    };
    let (alt, content) = if private {
        detail.push(pair("withheld", &rendered.text.len().to_string()));
        (format!("{did} a file{unclaimed}"), "")
    } else {
        let alt = format!(
            "{did} {path} (+{} −{}){unclaimed}",
            rendered.added, rendered.removed
        );
        (alt, rendered.text.as_str())
    };
    let entry = session
        .log
        .action(ActionKind::File, detail, alt, content, now())?;
    Ok(session.keep_whole(entry).await)
}

/// 4782 `file`, once for all files that have no record of their own.
pub(super) async fn record_many(
    session: &mut Session,
    changes: &[Change],
) -> Result<(), PublishError> {
    let count = changes.len();
    let detail = vec![pair("op", "many"), pair("files", &count.to_string())];
    let content = if session.private {
        String::new()
    } else {
        let mut lines: Vec<String> = changes
            .iter()
            .take(NAMED)
            .map(|change| {
                let path = String::from_utf8_lossy(&change.path);
                format!("{} {path}", op(change.kind))
            })
            .collect();
        if count > NAMED {
            lines.push(format!("and {} more", count - NAMED));
        }
        lines.join("\n")
    };
    let alt = format!("Changed {count} files");
    let entry = session
        .log
        .action(ActionKind::File, detail, alt, &content, now())?;
    session.publish(entry).await
}
