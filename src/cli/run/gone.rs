//! Which answers a conversation went on from: the next job goes on from one that none did.

use std::collections::HashSet;

use nostr::{Event, EventId, PublicKey};

use crate::{
    cli::view::{self, Feedback},
    nips::{kind, nip90::Status},
};

/// What these jobs went on from. A job that ended without an answer, because it was cut off or withdrawn, leaves what it
/// went on from to be gone on from again.
pub(super) fn on_from<'a>(
    jobs: impl IntoIterator<Item = &'a Event>,
    feedback: impl IntoIterator<Item = &'a Event>,
    coordinator: PublicKey,
) -> HashSet<EventId> {
    let failed: HashSet<EventId> = feedback
        .into_iter()
        .filter(|event| event.pubkey == coordinator && event.kind.as_u16() == kind::JOB_FEEDBACK)
        .filter(|event| Feedback::of(event).is_some_and(|it| it.status == Status::Error))
        .flat_map(|event| view::ids(event, "e"))
        .collect();
    jobs.into_iter()
        .filter(|job| !failed.contains(&job.id))
        .flat_map(|job| view::ids(job, "e"))
        .collect()
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::nips::Draft;

    #[test]
    fn a_job_without_an_answer_leaves_what_it_went_on_from() {
        let (owner, coordinator, other) = (Keys::generate(), Keys::generate(), Keys::generate());
        let result = Draft::new(6870).sign(&coordinator, 1).unwrap();
        let job = Draft::new(5870).tag(["e", &result.id.to_hex()]);
        let job = job.sign(&owner, 2).unwrap();
        let says = |keys: &Keys, status: &str| {
            let draft = Draft::new(7000).tag(["status", status]);
            let draft = draft.tag(["e", &job.id.to_hex()]);
            draft.sign(keys, 3).unwrap()
        };
        let gone = |feedback: &Event| on_from([&job], [feedback], coordinator.public_key());
        assert!(gone(&says(&coordinator, "processing")).contains(&result.id));
        assert!(gone(&says(&other, "error")).contains(&result.id));
        assert!(gone(&says(&coordinator, "error")).is_empty());
    }
}
