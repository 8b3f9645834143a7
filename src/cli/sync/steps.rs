//! What a person can do about something that stays, for each reason that [`Stays`] gives.

use crate::sync::policy::Stays;

/// All reasons; those that come over HTTP are compared with what these say.
const REASONS: [Stays; 15] = [
    Stays::NotOurs,
    Stays::NeverLeaves,
    Stays::Private,
    Stays::Unknown,
    Stays::Protected,
    Stays::Expired,
    Stays::OwnJob,
    Stays::OwnAnswer,
    Stays::AskedHere,
    Stays::TakenBack,
    Stays::Unmarked,
    Stays::Kind,
    Stays::Stream,
    Stays::Late,
    Stays::Secret,
];

/// The next step, if the reason is one that is known.
pub(super) fn step(why: &str) -> Option<&'static str> {
    let reason = REASONS.into_iter().find(|one| one.to_string() == why)?;
    Some(match reason {
        Stays::NotOurs => "whoever wrote it can share it",
        Stays::NeverLeaves => {
            "share the session that it is about; this itself is for this machine only"
        }
        Stays::Private => {
            "nothing to do: what is private stays so; ask the same in the clear to share what comes of it"
        }
        Stays::Unknown => {
            "try again when all of it is there; what was deleted for good cannot be shared any more"
        }
        Stays::Protected => "publish it again without the tag \"-\"",
        Stays::Expired => "nothing to do: its time is over",
        Stays::OwnJob => "share the session that did it: `treefort jobs` lists them",
        Stays::OwnAnswer => "`treefort publish ID` shares it all the same",
        Stays::AskedHere => {
            "whoever asked reads it here; `treefort publish ID` shares it, with what was asked"
        }
        Stays::TakenBack => "`treefort publish ID` shares it again",
        Stays::Unmarked => {
            "mark it with the tag [\"t\", \"share\"], or `treefort publish ID` shares this one"
        }
        Stays::Kind => {
            "name the kind in sync.toml under `kinds`, or `treefort publish ID` shares single things"
        }
        Stays::Stream => {
            "the filter of the stream in sync.toml leaves it out; `treefort publish ID` shares single things"
        }
        Stays::Late => "`days` in sync.toml says for how long answers are tried",
        Stays::Secret => {
            "if it is a real password or key, change it; `treefort purge` deletes the session here"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_next_step_of_its_own() {
        let mut steps: Vec<_> = REASONS
            .iter()
            .map(|reason| step(&reason.to_string()).unwrap())
            .collect();
        steps.sort_unstable();
        steps.dedup();
        assert_eq!(steps.len(), REASONS.len());
        assert_eq!(step("the relay said something"), None);
    }
}
