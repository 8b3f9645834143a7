//! What an apply would do, in words for its owner.

use crate::{
    nips::workspace::StepLine,
    workspace::{
        self,
        apply::{Action, Refusal, Refused, Step, Why},
        import,
    },
};

/// Paths without cover that an answer names.
const LEFT_OUT: usize = 20;

/// Whether both versions cannot be had.
pub(super) fn is_conflict(step: &Step) -> bool {
    matches!(step.action, Action::Conflict(_))
}

/// A step as its owner reads it.
pub(super) fn step(step: &Step) -> StepLine {
    let action = match &step.action {
        Action::Create => "create",
        Action::Replace => "replace",
        Action::Merge => "merge",
        Action::Delete => "delete",
        Action::Mode => "mode",
        Action::Link => "link",
        Action::Folder => "folder",
        Action::RemoveFolder => "remove-folder",
        Action::Conflict(_) => "conflict",
        Action::LeftOut(_) => "left-out",
    };
    let mut notes = Vec::new();
    if let Action::Conflict(why) = &step.action {
        notes.push(conflict(why));
    }
    if let Action::LeftOut(why) = &step.action {
        notes.push(format!("it stays in the copy: {}", uncovered(*why)));
    }
    notes.extend(step.flags.iter().map(|flag| flag.meaning().to_owned()));
    for other in &step.collides {
        notes.push(format!(
            "differs from {} in upper and lower case only",
            text(other)
        ));
    }
    if let Some(beside) = &step.beside {
        notes.push(format!("the agent's version will be in {}", text(beside)));
    }
    StepLine {
        path: text(&step.path),
        action: action.to_owned(),
        notes,
    }
}

/// A path that is never written, as its owner reads it.
pub(super) fn refused(refused: &Refused) -> StepLine {
    let why = match refused.why {
        Refusal::Git => "git's own files are never written",
        Refusal::Name => "this name is not safe on every system",
        Refusal::Target => "the link leads nowhere that can be written down",
        Refusal::Uncovered => "no checkpoint covers it, so nobody knows whether it is gone",
    };
    StepLine {
        path: text(&refused.path),
        action: "left-out".to_owned(),
        notes: vec![why.to_owned()],
    }
}

/// Why no checkpoint covers a path.
pub(super) fn uncovered(why: workspace::Why) -> String {
    use workspace::Why;
    match why {
        Why::Rule => "made again by tools, so not kept".to_owned(),
        Why::TooLarge(bytes) => format!("too large: {bytes} bytes"),
        Why::Special => "no file: a pipe, socket or device".to_owned(),
        Why::Unreadable => "could not be read".to_owned(),
        Why::TooMany => "more than a checkpoint holds".to_owned(),
        Why::Collision => "made to look like another file".to_owned(),
        Why::Gone => "deleted; no checkpoint holds it".to_owned(),
        Why::InTheWay => {
            "was in the way of what came back; moved to kept, beside the copy".to_owned()
        }
        Why::More(count) => format!("{count} more"),
    }
}

/// What the agent made, changed or removed that no checkpoint covers, a line each, and how much there is.
pub(super) fn left_out(all: &[workspace::Uncovered]) -> (Vec<String>, u64) {
    let work = all.iter().filter(|uncovered| uncovered.work);
    let line = |uncovered: &workspace::Uncovered| match uncovered.why {
        workspace::Why::More(_) => self::uncovered(uncovered.why),
        why => format!("{} ({})", text(&uncovered.path), self::uncovered(why)),
    };
    let count = work.clone().map(workspace::Uncovered::paths);
    let count = count.fold(0, u64::saturating_add);
    (work.take(LEFT_OUT).map(line).collect(), count)
}

/// Why a copy of a project leaves something out.
pub(super) fn skipped(why: import::Reason) -> &'static str {
    use import::Reason;
    match why {
        Reason::NestedGit => "git's own folder of a repository inside",
        Reason::Special => "no file: a pipe, socket or device",
        Reason::Mount => "another disk is mounted there",
        Reason::Unreadable => "could not be read",
        Reason::TooDeep => "lies too deep",
    }
}

fn conflict(why: &Why) -> String {
    match why {
        Why::Text(1) => "both of you changed the same lines in one place".to_owned(),
        Why::Text(places) => format!("both of you changed the same lines in {places} places"),
        Why::Binary => "both of you changed it, and it is no text".to_owned(),
        Why::TooFar => "both of you changed too much of it to merge".to_owned(),
        Why::YouDeleted => "you deleted what the agent changed".to_owned(),
        Why::AgentDeleted => "the agent deleted what you changed; yours stays".to_owned(),
        Why::BothAdded => "both of you made it, each with other content".to_owned(),
        Why::Ignored => {
            "you have a file there that git ignores, so the agent did not see it".to_owned()
        }
        Why::Kind => "it is a file for one of you and a link for the other".to_owned(),
        Why::Folder => "a folder is where the file should go, or the other way round".to_owned(),
        Why::ThroughLink(link) => {
            format!(
                "{} is a link in your folder; nothing is written through it",
                text(link)
            )
        }
        Why::Unreadable => "what you have there cannot be read or is too large".to_owned(),
        Why::Permissions => "both of you changed its rights; yours stay".to_owned(),
    }
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
