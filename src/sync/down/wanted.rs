//! What may come in from another relay.

use std::collections::BTreeSet;

use nostr::{Event, EventId, PublicKey, Timestamp};

use super::{super::Error, ANSWERS, JOBS, Listening, SAID};
use crate::{
    keys::Admit,
    nips::{
        kind,
        nip01::{self, first_tag},
        nip40,
        nip90::Scheme,
        reference::named_keys,
    },
};

/// Of those whom something is said to, so many are looked at.
const SPOKEN_TO: usize = 100;
/// How far a job may be ahead of our clock, in seconds.
const AHEAD: u64 = 120;

/// Why something that a relay sent is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwanted {
    #[error("nobody asked for this kind")]
    Kind,
    #[error("this treefort wrote it")]
    Ours,
    #[error("it is not said to anybody here")]
    NotForUs,
    #[error("it is a job that is not for this treefort alone")]
    OtherJob,
    #[error("it is a private job, and its answer could not go back")]
    Private,
    #[error("whoever asks is not admitted")]
    NotAdmitted,
    #[error("it is old, or from the future")]
    Stale,
    #[error("it answers nothing that was asked of its author")]
    NotAsked,
    #[error("it takes back what is not here")]
    Nothing,
    #[error("no stream from this relay takes it")]
    Stream,
}

impl Listening<'_> {
    /// Whether an event may come in.
    pub(super) async fn wanted(&self, event: &Event) -> Result<Result<(), Unwanted>, Error> {
        let around = &self.hub.around;
        let operator = around.keyring.operator().public_key();
        let of = event.kind.as_u16();
        let ours = around.is_ours(&event.pubkey)?;
        if ours && event.pubkey != operator {
            return Ok(Err(Unwanted::Ours));
        }
        let takes = self.hub.config.of(&self.link.url).any(|stream| {
            stream.dir.is_down()
                && (stream.filter.as_ref()).is_none_or(|filter| nip01::matches(filter, event))
        });
        if !takes {
            return Ok(Err(Unwanted::Stream));
        }
        if of == kind::RELAY_LIST {
            let asked = self.lists.as_ref();
            let asked = asked.is_some_and(|(_, keys)| keys.contains(&event.pubkey));
            return Ok(if asked { Ok(()) } else { Err(Unwanted::Kind) });
        }
        if SAID.contains(&of) {
            for key in named_keys(event).into_iter().take(SPOKEN_TO) {
                if around.is_ours(&key)? {
                    return Ok(Ok(()));
                }
            }
            return Ok(Err(Unwanted::NotForUs));
        }
        if ANSWERS.contains(&of) {
            return self.was_asked(event).await;
        }
        if JOBS.contains(&of) {
            let admission = &self.hub.admission;
            let admitted =
                admission.is_admitted(&event.pubkey) || admission.mode() == Admit::Anyone;
            let now = Timestamp::now().as_secs();
            return Ok(job(
                event,
                self.hub.coordinator(),
                admitted,
                self.hub.max_age_s,
                now,
            ));
        }
        if of == kind::DELETION {
            return self.takes_back(event).await;
        }
        Ok(Err(Unwanted::Kind))
    }

    /// Whether an event answers a job of ours, and whoever signed it is who the job was for.
    async fn was_asked(&self, event: &Event) -> Result<Result<(), Unwanted>, Error> {
        let around = &self.hub.around;
        let named = first_tag(event, "e").and_then(|id| EventId::from_hex(id).ok());
        let job = match named {
            Some(id) => around.relay.get(id).await?,
            None => None,
        };
        let Some(job) = job.filter(|job| kind::is_job_request(job.kind)) else {
            return Ok(Err(Unwanted::NotAsked));
        };
        let asked = around.is_ours(&job.pubkey)? && named_keys(&job).contains(&event.pubkey);
        Ok(if asked {
            Ok(())
        } else {
            Err(Unwanted::NotAsked)
        })
    }

    /// Whether a request to delete takes back jobs that came from other relays, and nothing else: what is here by its
    /// author, the owner's own above all, is not deleted from afar.
    async fn takes_back(&self, event: &Event) -> Result<Result<(), Unwanted>, Error> {
        let around = &self.hub.around;
        let mut any = false;
        for tag in event.tags.iter().map(nostr::Tag::as_slice) {
            match tag[0].as_str() {
                "a" => return Ok(Err(Unwanted::Nothing)),
                "e" => {}
                _ => continue,
            }
            let named = tag.get(1).and_then(|id| EventId::from_hex(id).ok());
            let Some(id) = named else { continue };
            let Some(job) = around.relay.get(id).await? else {
                continue;
            };
            let came = around.state.sync_came_from(&id)?.is_some();
            if !came || !kind::is_job_request(job.kind) || job.pubkey != event.pubkey {
                return Ok(Err(Unwanted::Nothing));
            }
            any = true;
        }
        Ok(if any { Ok(()) } else { Err(Unwanted::Nothing) })
    }
}

/// Whether a job from another relay may come in. It names this treefort and no other one: of two that are asked at once
/// and follow each other, both would do it.
fn job(
    event: &Event,
    coordinator: PublicKey,
    admitted: bool,
    max_age_s: u64,
    now: u64,
) -> Result<(), Unwanted> {
    let named: BTreeSet<PublicKey> = named_keys(event).into_iter().collect();
    if named != BTreeSet::from([coordinator]) {
        return Err(Unwanted::OtherJob);
    }
    if !admitted {
        return Err(Unwanted::NotAdmitted);
    }
    if Scheme::of(event).is_private() {
        return Err(Unwanted::Private);
    }
    let at = event.created_at.as_secs();
    if at.saturating_add(max_age_s) < now
        || at > now.saturating_add(AHEAD)
        || nip40::is_expired(event, now)
    {
        return Err(Unwanted::Stale);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::nips::Draft;

    #[test]
    fn a_job_comes_in_that_is_for_us_alone_and_fresh() {
        let (us, other) = (Keys::generate().public_key(), Keys::generate().public_key());
        let to = |keys: &[&PublicKey]| {
            keys.iter().fold(Draft::new(5050), |draft, key| {
                draft.tag(["p", &key.to_hex()])
            })
        };
        let is = |draft: &Draft, at: u64, admitted: bool| {
            let event = draft.sign(&Keys::generate(), at).unwrap();
            job(&event, us, admitted, 3600, 10_000)
        };
        assert_eq!(is(&to(&[&us]), 9000, true), Ok(()));
        assert_eq!(is(&to(&[&us, &us]), 9000, true), Ok(()));
        for keys in [vec![], vec![&other], vec![&us, &other]] {
            assert_eq!(is(&to(&keys), 9000, true), Err(Unwanted::OtherJob));
        }
        assert_eq!(is(&to(&[&us]), 9000, false), Err(Unwanted::NotAdmitted));
        for at in [6399, 10_121] {
            assert_eq!(is(&to(&[&us]), at, true), Err(Unwanted::Stale));
        }
        let expired = to(&[&us]).tag(["expiration", "9999"]);
        assert_eq!(is(&expired, 9000, true), Err(Unwanted::Stale));
        let private = to(&[&us]).tag(["encrypted"]);
        assert_eq!(is(&private, 9000, true), Err(Unwanted::Private));
    }
}
