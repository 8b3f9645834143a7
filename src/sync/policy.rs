//! What may leave to which relay, and if not, why not: a function of the event and of what is known about it.
//!
//! Some things never leave, whatever the owner writes. Of the rest, the most exact rule says which kinds may: that of the
//! session, else that of the folder, else the general one.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use nostr::{Event, PublicKey};
use serde::Serialize;

use super::{
    address::RelayUrl,
    config::{Config, PolicyConfig},
};
use crate::{
    nips::{kind, nip01, nip40, nip70, reference::named_keys},
    store::state::sync::Naming,
};

/// What is known about an event besides what it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether one of this treefort's keys signed it.
    pub ours: bool,
    /// The session that it belongs to.
    pub session: Option<PublicKey>,
    /// The folders that the work was done on, with those of what it goes on from.
    pub folders: Arc<BTreeSet<String>>,
    /// Whether it belongs to a private job.
    pub privacy: Privacy,
    /// Who asked for what it answers.
    pub asked: Option<Asked>,
    /// Whether its owner took it back.
    pub back: bool,
    /// Relays that whoever it is said to named, as far as the owner lets them (`sync::named`).
    pub named: Vec<(RelayUrl, Naming)>,
}

/// Whether an event belongs to a private job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Privacy {
    /// It does not.
    #[default]
    Clear,
    /// It does.
    Private,
    /// What it belongs to is gone, so nobody can say.
    Unknown,
}

/// Who asked for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whether it was the owner, or this treefort itself.
    pub by_us: bool,
    /// The relay that the job came from.
    pub from: Option<String>,
}

/// Whom events are for, and when it is.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// What the owner wrote.
    pub config: &'a Config,
    /// The relay in question.
    pub relay: &'a RelayUrl,
    /// This treefort's own keys that jobs are sent to.
    pub coordinator: PublicKey,
    /// Unix seconds.
    pub now: u64,
}

/// Why something stays here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Stays {
    /// Somebody else signed it.
    #[error("somebody else wrote it")]
    NotOurs,
    /// Nothing of its kind leaves.
    #[error("nothing of this kind ever leaves")]
    NeverLeaves,
    /// It belongs to a private job.
    #[error(
        "it is encrypted, or belongs to what is: a private job, or what your own commands asked about an agent's copy"
    )]
    Private,
    /// Nobody can say whether it belongs to a private job.
    #[error("what it belongs to is gone, so nobody can say whether it is private")]
    Unknown,
    /// Only its author may hand it on (NIP-70).
    #[error("it says itself that it is not to be handed on")]
    Protected,
    /// It has expired (NIP-40).
    #[error("it has expired")]
    Expired,
    /// A job that names nobody else to do it.
    #[error("it asks this treefort, or nobody in particular: elsewhere it would be done twice")]
    OwnJob,
    /// The answer to a question of the owner's own.
    #[error("it answers a question of your own")]
    OwnAnswer,
    /// The answer to a question that somebody asked here: it holds the question, which no relay has yet.
    #[error("it holds what somebody asked you here, and no relay knows that")]
    AskedHere,
    /// Its owner took it back.
    #[error("you took it back")]
    TakenBack,
    /// A note without the mark.
    #[error("it is a note that is not marked to be shared")]
    Unmarked,
    /// The policy names other kinds.
    #[error("sync.toml does not name its kind")]
    Kind,
    /// No stream of the relay takes it.
    #[error("no stream to this relay takes it")]
    Stream,
    /// It was named by somebody else, and some time ago.
    #[error("who named this relay did so too long ago")]
    Late,
    /// The last look found something.
    #[error("it seems to hold a password or key")]
    Secret,
}

impl Stays {
    /// Whether this holds also when the owner asks for the one event.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(
            self,
            Self::OwnAnswer
                | Self::AskedHere
                | Self::TakenBack
                | Self::Unmarked
                | Self::Kind
                | Self::Stream
                | Self::Late
        )
    }
}

/// Whether nothing of a kind ever leaves: proofs of who somebody is, what is not stored, what is for one reader alone, and
/// what an owner does with copies of files and with lists of whom to let in.
#[must_use]
pub fn never(of: u16) -> bool {
    const SEAL: u16 = 13;
    const DIRECT: u16 = 14;
    const OLD_DIRECT: u16 = 4;
    const GROUP_WRAP: u16 = 1060;
    matches!(
        of,
        kind::CLIENT_AUTH
            | kind::HTTP_AUTH
            | kind::VANISH
            | kind::GIFT_WRAP
            | GROUP_WRAP
            | SEAL
            | DIRECT
            | OLD_DIRECT
            | kind::WORKSPACE_TASK
            | kind::WORKSPACE_TASK_RESULT
            | kind::FOLLOW_SET
    ) || (20_000..30_000).contains(&of)
}

/// Whether anything of a kind could leave at all; what is known about an event need not be looked up otherwise.
#[must_use]
pub fn could_leave(config: &Config, of: u16) -> bool {
    let policy = &config.policy;
    !never(of)
        && (is_answer(of)
            || policy.kinds.contains(&of)
            || policy.project.iter().any(|rule| rule.kinds.contains(&of))
            || policy.session.iter().any(|rule| rule.kinds.contains(&of)))
}

/// Whether an event may leave for a relay; `asked` says that the owner asked for this one.
///
/// # Errors
/// With the reason why it stays.
pub fn may_leave(event: &Event, facts: &Facts, sight: Sight<'_>, asked: bool) -> Result<(), Stays> {
    always(event, facts, sight)?;
    if facts.back {
        return Err(Stays::TakenBack);
    }
    if asked {
        return Ok(());
    }
    let Err(stays) = by_stream(event, facts, sight) else {
        return Ok(());
    };
    match (facts.named.iter()).find(|(relay, _)| relay == sight.relay) {
        Some((_, naming)) => by_name(event, facts, naming, sight),
        None => Err(stays),
    }
}

/// Whether a stream of the owner's takes it there.
fn by_stream(event: &Event, facts: &Facts, sight: Sight<'_>) -> Result<(), Stays> {
    let of = event.kind.as_u16();
    if is_answer(of) {
        match &facts.asked {
            // What a relay brought is answered there, whatever else leaves.
            Some(Asked {
                from: Some(from), ..
            }) if *from == sight.relay.as_str() => {
                let answered =
                    |stream: &super::config::Stream| stream.dir.is_up() && stream.dir.is_down();
                return stream_takes(event, sight, answered);
            }
            Some(Asked { by_us: false, .. }) => {}
            _ => return Err(Stays::OwnAnswer),
        }
    }
    of_kind(event, facts, sight)?;
    // No relay has the question, which the answer repeats.
    if is_answer(of) && (facts.asked.as_ref()).is_some_and(|asked| asked.from.is_none()) {
        return Err(Stays::AskedHere);
    }
    stream_takes(event, sight, |stream| stream.dir.is_up())
}

/// Whether it leaves for a relay that whoever it is said to named: answers do, all else only when it may leave anyway.
fn by_name(event: &Event, facts: &Facts, naming: &Naming, sight: Sight<'_>) -> Result<(), Stays> {
    if sight.now > naming.at.saturating_add(sight.config.named.keep_s()) {
        return Err(Stays::Late);
    }
    match is_answer(event.kind.as_u16()) {
        true => Ok(()),
        false => of_kind(event, facts, sight),
    }
}

/// Whether the policy lets its kind leave.
fn of_kind(event: &Event, facts: &Facts, sight: Sight<'_>) -> Result<(), Stays> {
    let of = event.kind.as_u16();
    if !is_let_out(facts, &sight.config.policy, of) {
        return Err(Stays::Kind);
    }
    if of == kind::NOTE && !is_marked(event) {
        return Err(Stays::Unmarked);
    }
    Ok(())
}

/// What holds whatever the owner writes or asks.
fn always(event: &Event, facts: &Facts, sight: Sight<'_>) -> Result<(), Stays> {
    if !facts.ours {
        return Err(Stays::NotOurs);
    }
    if never(event.kind.as_u16()) {
        return Err(Stays::NeverLeaves);
    }
    match facts.privacy {
        Privacy::Clear => {}
        Privacy::Private => return Err(Stays::Private),
        Privacy::Unknown => return Err(Stays::Unknown),
    }
    if nip70::is_protected(event) {
        return Err(Stays::Protected);
    }
    if nip40::is_expired(event, sight.now) {
        return Err(Stays::Expired);
    }
    if kind::is_job_request(event.kind) {
        let named = named_keys(event);
        if named.is_empty() || named.contains(&sight.coordinator) {
            return Err(Stays::OwnJob);
        }
    }
    Ok(())
}

fn stream_takes(
    event: &Event,
    sight: Sight<'_>,
    way: impl Fn(&super::config::Stream) -> bool,
) -> Result<(), Stays> {
    let takes = sight.config.of(sight.relay).any(|stream| {
        way(stream) && (stream.filter.as_ref()).is_none_or(|filter| nip01::matches(filter, event))
    });
    if takes { Ok(()) } else { Err(Stays::Stream) }
}

/// Whether a kind may leave.
fn is_let_out(facts: &Facts, policy: &PolicyConfig, of: u16) -> bool {
    all(facts, policy, |rule| {
        rule.unwrap_or(&policy.kinds).contains(&of)
    })
}

/// Whether a rule for its session or folder keeps an event here.
pub(super) fn is_kept_by_rule(event: &Event, facts: &Facts, policy: &PolicyConfig) -> bool {
    let of = event.kind.as_u16();
    !all(facts, policy, |rule| {
        rule.is_none_or(|kinds| kinds.contains(&of))
    })
}

/// Whether something holds of the most exact rule, or of those of all folders that the work was about: what may not leave
/// of one does not leave by way of another.
fn all(
    facts: &Facts,
    policy: &PolicyConfig,
    holds: impl Fn(Option<&BTreeSet<u16>>) -> bool,
) -> bool {
    let session = facts
        .session
        .and_then(|key| policy.session.iter().find(|rule| rule.key == key));
    if let Some(rule) = session {
        return holds(Some(&rule.kinds));
    }
    let of_folder = |folder: &String| {
        let rules = policy.project.iter();
        rules
            .filter(|rule| rule.covers(Path::new(folder)))
            .max_by_key(|rule| rule.path.len())
            .map(|rule| &rule.kinds)
    };
    match facts.folders.is_empty() {
        true => holds(None),
        false => facts.folders.iter().all(|folder| holds(of_folder(folder))),
    }
}

/// Whether a kind answers a job.
pub(super) fn is_answer(of: u16) -> bool {
    of == kind::JOB_FEEDBACK || kind::JOB_RESULTS.contains(&of)
}

/// Whether a note is marked to be shared, which any client can do.
fn is_marked(event: &Event) -> bool {
    nip01::has_tag(event, "t", "share")
}

#[cfg(test)]
mod tests;
