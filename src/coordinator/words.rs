//! What an apply would do, in words for its owner.

use crate::{
    nips::workspace::StepLine,
    workspace::{
        self,
        apply::{Action, Flag, Kept, Refusal, Refused, Step, Why},
        import,
    },
};

/// Paths without cover that an answer names.
const NAMED: usize = 20;

/// Whether both versions cannot be had.
pub(super) fn is_conflict(step: &Step) -> bool {
    matches!(step.action, Action::Conflict(_))
}

/// What is left out comes after what needs a look, and before the rest.
pub(super) const LEFT_OUT: u8 = 3;

/// How much a step needs a look: conflicts first, then what would act by itself later, then what could be run.
pub(super) fn rank(step: &Step) -> u8 {
    match &step.action {
        Action::Conflict(_) => 0,
        Action::LeftOut(_) => LEFT_OUT,
        _ if step.flags.iter().any(|flag| *flag != Flag::Executable) => 1,
        _ if !step.flags.is_empty() || !step.collides.is_empty() => 2,
        _ => LEFT_OUT + 1,
    }
}

/// In a few words each, why a step needs a look; nothing when it does not.
pub(super) fn about(step: &Step) -> Vec<&'static str> {
    let mut about = Vec::new();
    match &step.action {
        Action::Conflict(_) => about.push("in conflict"),
        Action::LeftOut(_) => about.push("left out"),
        _ => {}
    }
    about.extend(step.flags.iter().map(Flag::meaning));
    if !step.collides.is_empty() {
        about.push("differs from another name in upper and lower case only");
    }
    about
}

/// Why a take-back left a file as it is.
pub(super) const fn kept(why: Kept) -> &'static str {
    match why {
        Kept::Changed => "you changed it since, in the same place",
        Kept::Gone => "you deleted it since",
        Kept::InTheWay => "something else is there now",
        Kept::Unreadable => "it cannot be read or is too large",
        Kept::Unfinished => "a write was cut off here; look whether you need it",
    }
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
        notes.push(conflict(why, step.beside.as_deref()));
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
    let count = work.clone().map(workspace::Uncovered::paths);
    let count = count.fold(0, u64::saturating_add);
    (work.take(NAMED).map(not_covered).collect(), count)
}

/// A path that no checkpoint covers, with why; or how many more there are.
pub(super) fn not_covered(path: &workspace::Uncovered) -> String {
    match path.why {
        workspace::Why::More(_) => uncovered(path.why),
        why => format!("{} ({})", text(&path.path), uncovered(why)),
    }
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

/// Why both versions cannot be had, and what will be written where.
fn conflict(why: &Why, beside: Option<&[u8]>) -> String {
    let reason = match why {
        Why::Text(1) => "you and the agent changed the same lines in one place".to_owned(),
        Why::Text(places) => format!("you and the agent changed the same lines in {places} places"),
        Why::Binary => "you and the agent changed it, and it is no text".to_owned(),
        Why::TooFar => "you and the agent changed too much of it to merge".to_owned(),
        Why::YouDeleted => "you deleted what the agent changed".to_owned(),
        Why::AgentDeleted => "you changed what the agent deleted".to_owned(),
        Why::BothAdded => "you and the agent made it, each with other content".to_owned(),
        Why::Ignored => {
            "you have a file there that git ignores, so the agent did not see it".to_owned()
        }
        Why::Kind => "it is a file on one side and a link on the other".to_owned(),
        Why::Folder => "it is a file on one side and a folder on the other".to_owned(),
        Why::ThroughLink(link) => {
            let link = text(link);
            format!("{link} is a link in your folder, and nothing is written through it")
        }
        Why::Unreadable => "what you have there cannot be read or is too large".to_owned(),
        Why::Permissions => "you and the agent changed its rights".to_owned(),
    };
    let written = match (why, beside) {
        (Why::Text(_), _) => {
            "both versions will be in the file, between <<<<<<< and >>>>>>>".to_owned()
        }
        (Why::YouDeleted, Some(beside)) => {
            format!("it stays deleted, the agent's will be in {}", text(beside))
        }
        (_, Some(beside)) => format!("yours stays, the agent's will be in {}", text(beside)),
        (Why::YouDeleted, None) => "it stays deleted".to_owned(),
        (Why::Permissions | Why::AgentDeleted, None) => "yours stays".to_owned(),
        (_, None) => "yours stays, the agent's is not written".to_owned(),
    };
    format!("{reason}: {written}")
}

/// A path as text.
pub(super) fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_says_what_will_be_written_where() {
        let beside = Some(&b"f.treefort"[..]);
        for (why, beside, sentence) in [
            (
                Why::Text(2),
                None,
                "you and the agent changed the same lines in 2 places: both versions will be in the file, between <<<<<<< and >>>>>>>",
            ),
            (
                Why::Binary,
                beside,
                "you and the agent changed it, and it is no text: yours stays, the agent's will be in f.treefort",
            ),
            (
                Why::YouDeleted,
                beside,
                "you deleted what the agent changed: it stays deleted, the agent's will be in f.treefort",
            ),
            (
                Why::AgentDeleted,
                None,
                "you changed what the agent deleted: yours stays",
            ),
            (
                Why::Kind,
                None,
                "it is a file on one side and a link on the other: yours stays, the agent's is not written",
            ),
        ] {
            assert_eq!(conflict(&why, beside), sentence);
        }
    }

    #[test]
    fn what_needs_a_look_comes_before_what_does_not() {
        let step = |action, flags: &[Flag]| Step {
            path: Vec::new(),
            action,
            flags: flags.to_vec(),
            collides: Vec::new(),
            beside: None,
        };
        let steps = [
            step(Action::Conflict(Why::Binary), &[]),
            step(Action::Create, &[Flag::Executable, Flag::GitHook]),
            step(Action::Create, &[Flag::Executable]),
            step(Action::LeftOut(workspace::Why::Rule), &[]),
            step(Action::Create, &[]),
        ];
        assert!(steps.iter().map(rank).is_sorted_by(|one, next| one < next));
        assert_eq!(about(&steps[1]), ["can be run", "git runs it"]);
        assert!(about(&steps[4]).is_empty());
    }
}
