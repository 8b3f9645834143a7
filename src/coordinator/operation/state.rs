//! Which state of a copy a person means.

use std::sync::Arc;

use crate::{
    coordinator::{context::now, shared::Shared},
    job::Failure,
    nips::workspace::State,
    workspace::Checkpoint,
};

/// The state of the files as they are now: a checkpoint of its own when they changed since the last.
pub(super) async fn latest(shared: &Arc<Shared>) -> Result<Checkpoint, Failure> {
    let at = now();
    shared
        .still(false, move |files| {
            if let Some(checkpoint) = files.checkpoint_if_changed("as it is now", at)? {
                return Ok(Some(checkpoint));
            }
            Ok(files.checkpoints()?.pop())
        })
        .await?
        .ok_or_else(|| Failure::new("workspace", "the copy has no checkpoint"))
}

/// The checkpoint that a person means.
pub(super) fn pick<'a>(all: &'a [Checkpoint], state: &State) -> Result<&'a Checkpoint, Failure> {
    let none = || {
        let numbers = match (all.first(), all.last()) {
            (Some(first), Some(last)) => {
                format!("there are checkpoints {} to {}", first.number, last.number)
            }
            _ => "there are no checkpoints".to_owned(),
        };
        Failure::new(
            "workspace",
            format!("there is no checkpoint {state}: {numbers}"),
        )
    };
    match state {
        State::Number(number) => all.iter().find(|at| at.number == *number).ok_or_else(none),
        State::Id(id) => {
            let mut fitting = all.iter().filter(|at| {
                at.commit.to_string().starts_with(id) || at.tree.to_string().starts_with(id)
            });
            let first = fitting.next().ok_or_else(none)?;
            // Several with one tree are one state.
            if fitting.any(|other| other.tree != first.tree) {
                return Err(Failure::new(
                    "workspace",
                    format!("several checkpoints begin with {id}: give more of it"),
                ));
            }
            Ok(first)
        }
        // One step back from where the files are. After an undo that is the state that it brought back.
        State::Last => {
            let latest = all.last().ok_or_else(none)?;
            let here = place(all, latest);
            all.iter()
                .rev()
                .filter(|at| at.number < here.number)
                .find(|at| at.tree != here.tree)
                .ok_or_else(|| {
                    Failure::new(
                        "workspace",
                        "this is how the copy began: there is nothing to undo",
                    )
                })
        }
    }
}

/// Where a state stands in the order of the work: what an undo brought back stands where it stood.
fn place<'a>(all: &'a [Checkpoint], state: &'a Checkpoint) -> &'a Checkpoint {
    let mut here = state;
    // Each step goes to a lower number.
    while let Some(number) = undone_to(&here.reason)
        && number < here.number
        && let Some(target) = all.iter().find(|at| at.number == number)
        && target.tree == state.tree
    {
        here = target;
    }
    here
}

/// The checkpoint that an undo brought back, by what it says of itself.
fn undone_to(reason: &str) -> Option<u32> {
    reason
        .strip_prefix(crate::workspace::UNDO_REASON)?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(number: u32, tree: u8) -> Checkpoint {
        Checkpoint {
            number,
            commit: format!("{number:02x}").repeat(20).parse().unwrap(),
            tree: format!("{tree:02x}").repeat(20).parse().unwrap(),
            before: None,
            reason: String::new(),
            at: 0,
            files: 0,
            bytes: 0,
            left_out: 0,
            uncovered: Vec::new(),
        }
    }

    #[test]
    fn the_last_state_is_the_one_before_the_files_became_what_they_are() {
        let all = [
            checkpoint(1, 1),
            checkpoint(2, 2),
            checkpoint(3, 3),
            checkpoint(4, 3),
        ];
        assert_eq!(pick(&all, &State::Last).unwrap().number, 2);
        assert!(pick(&all[..1], &State::Last).is_err());
    }

    #[test]
    fn one_step_back_and_another_one_go_back_twice() {
        let undone = |number, tree, to: u32| Checkpoint {
            reason: format!("{}{to}", crate::workspace::UNDO_REASON),
            ..checkpoint(number, tree)
        };
        let mut all = vec![checkpoint(1, 1), checkpoint(2, 2), checkpoint(3, 3)];
        assert_eq!(pick(&all, &State::Last).unwrap().number, 2);
        all.push(undone(4, 2, 2));
        assert_eq!(pick(&all, &State::Last).unwrap().number, 1);
        all.push(undone(5, 1, 1));
        assert!(pick(&all, &State::Last).is_err());
        // Work after an undo is a step of its own.
        all.push(checkpoint(6, 6));
        assert_eq!(pick(&all, &State::Last).unwrap().number, 5);
    }

    #[test]
    fn a_state_is_named_by_number_or_by_the_beginning_of_its_id() {
        let all = [checkpoint(1, 1), checkpoint(2, 2)];
        assert_eq!(pick(&all, &State::Number(2)).unwrap().number, 2);
        assert_eq!(pick(&all, &State::Id("0202020".into())).unwrap().number, 2);
        let error = pick(&all, &State::Number(9)).unwrap_err();
        assert!(error.sentence.contains("1 to 2"), "{}", error.sentence);
    }
}
