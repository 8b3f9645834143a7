//! What may leave to which relay, and if not, why not: a function of the event and of what is known about it.
//!
//! Some things never leave, whatever the owner writes. Of the rest, the most exact rule says which kinds may: that of the
//! session, else that of the folder, else the general one.

use std::{collections::BTreeSet, path::Path};

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
    /// The folder that the work was done on.
    pub project: Option<String>,
    /// Whether it belongs to a private job.
    pub privacy: Privacy,
    /// Who asked for what it answers.
    pub asked: Option<Asked>,
    /// Relays that whoever it is said to named, as far as the owner lets them ([`super::named`]).
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
    #[error("it was not written here")]
    NotOurs,
    /// Nothing of its kind leaves.
    #[error("nothing of this kind ever leaves")]
    NeverLeaves,
    /// It belongs to a private job.
    #[error("it belongs to something private")]
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
            Self::OwnAnswer | Self::Unmarked | Self::Kind | Self::Stream | Self::Late
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
    if !kinds(facts, &sight.config.policy).contains(&of) {
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

/// The kinds that the most exact rule names.
fn kinds<'a>(facts: &Facts, policy: &'a PolicyConfig) -> &'a BTreeSet<u16> {
    let session = facts
        .session
        .and_then(|key| policy.session.iter().find(|rule| rule.key == key));
    if let Some(rule) = session {
        return &rule.kinds;
    }
    let project = facts.project.as_deref().and_then(|project| {
        policy
            .project
            .iter()
            .filter(|rule| Path::new(project).starts_with(&rule.path))
            .max_by_key(|rule| rule.path.len())
    });
    project.map_or(&policy.kinds, |rule| &rule.kinds)
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
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::{nips::Draft, sync::config::DEFAULT_KINDS};

    struct Case {
        config: Config,
        relay: RelayUrl,
        coordinator: Keys,
        keys: Keys,
    }

    impl Case {
        fn new(more: &str) -> Self {
            let text = format!(
                "{more}\n[[stream]]\nname = \"a\"\ndir = \"both\"\nrelays = [\"wss://relay.example\"]\n"
            );
            Self {
                config: Config::parse(&text).unwrap(),
                relay: RelayUrl::parse("wss://relay.example").unwrap(),
                coordinator: Keys::generate(),
                keys: Keys::generate(),
            }
        }

        fn of(&self, draft: &Draft, facts: &Facts) -> Result<(), Stays> {
            self.asked(draft, facts, false)
        }

        fn asked(&self, draft: &Draft, facts: &Facts, asked: bool) -> Result<(), Stays> {
            let event = draft.sign(&self.keys, 1000).unwrap();
            let sight = Sight {
                config: &self.config,
                relay: &self.relay,
                coordinator: self.coordinator.public_key(),
                now: 2000,
            };
            may_leave(&event, facts, sight, asked)
        }
    }

    fn ours() -> Facts {
        Facts {
            ours: true,
            ..Facts::default()
        }
    }

    fn answer(by_us: bool, from: Option<&str>) -> Facts {
        let from = from.map(str::to_owned);
        Facts {
            asked: Some(Asked { by_us, from }),
            ..ours()
        }
    }

    #[test]
    fn the_default_set_is_that_of_the_privacy_floor() {
        let case = Case::new("");
        for of in DEFAULT_KINDS {
            let stays = case.of(&Draft::new(of), &answer(false, None));
            let wanted = match of {
                kind::NOTE => Err(Stays::Unmarked),
                _ => Ok(()),
            };
            assert_eq!(stays, wanted, "{of}");
        }
        for of in [4782, 4783, 4784, 30078, 10002, 3, 5, 6050, 7000, 5050] {
            let draft = Draft::new(of).tag(["p", &Keys::generate().public_key().to_hex()]);
            let stays = case.of(&draft, &answer(false, None));
            assert_eq!(stays, Err(Stays::Kind), "{of}");
        }
        let marked = Draft::new(1).tag(["t", "share"]);
        assert_eq!(case.of(&marked, &ours()), Ok(()));
    }

    #[test]
    fn what_never_leaves_does_not_when_it_is_asked_for_either() {
        let case = Case::new("[policy]\nkinds = [1, 4785, 5050]");
        let private = |privacy| Facts { privacy, ..ours() };
        let start = Draft::new(4785);
        let us = case.coordinator.public_key().to_hex();
        for (draft, facts, why) in [
            (start.clone(), Facts::default(), Stays::NotOurs),
            (start.clone(), private(Privacy::Private), Stays::Private),
            (start.clone(), private(Privacy::Unknown), Stays::Unknown),
            (start.clone().tag(["-"]), ours(), Stays::Protected),
            (start.tag(["expiration", "1999"]), ours(), Stays::Expired),
            (Draft::new(5871), ours(), Stays::NeverLeaves),
            (Draft::new(22242), ours(), Stays::NeverLeaves),
            (Draft::new(24135), ours(), Stays::NeverLeaves),
            (Draft::new(1059), ours(), Stays::NeverLeaves),
            (Draft::new(5050), ours(), Stays::OwnJob),
            (Draft::new(5050).tag(["p", &us]), ours(), Stays::OwnJob),
        ] {
            for asked in [false, true] {
                assert_eq!(case.asked(&draft, &facts, asked), Err(why), "{why}");
            }
            assert!(why.is_final());
        }
    }

    #[test]
    fn the_most_exact_rule_decides() {
        let key = Keys::generate().public_key();
        let case = Case::new(&format!(
            "[policy]\nkinds = [4785]\n[[policy.project]]\npath = \"/w\"\nkinds = []\n\
             [[policy.project]]\npath = \"/w/open\"\nkinds = [4782]\n\
             [[policy.session]]\nkey = \"{}\"\nkinds = [4783]\n",
            key.to_hex()
        ));
        let at = |project: &str, session: Option<PublicKey>| Facts {
            project: Some(project.to_owned()),
            session,
            ..ours()
        };
        for (facts, leaves) in [
            (ours(), Some(4785)),
            (at("/elsewhere", None), Some(4785)),
            (at("/wide", None), Some(4785)),
            (at("/w", None), None),
            (at("/w/x", None), None),
            (at("/w/open/x", None), Some(4782)),
            (at("/w", Some(key)), Some(4783)),
        ] {
            for of in [4782, 4783, 4785] {
                let wanted = if leaves == Some(of) {
                    Ok(())
                } else {
                    Err(Stays::Kind)
                };
                assert_eq!(case.of(&Draft::new(of), &facts), wanted, "{facts:?} {of}");
                assert!(could_leave(&case.config, of));
            }
        }
        assert!(!could_leave(&case.config, 4784));
    }

    #[test]
    fn answers_leave_for_others_and_to_where_the_question_came_from() {
        let case = Case::new("");
        let here = Some("wss://relay.example/");
        for (of, facts, wanted) in [
            (6870, answer(false, None), Ok(())),
            (6870, answer(true, None), Err(Stays::OwnAnswer)),
            (6870, ours(), Err(Stays::OwnAnswer)),
            (7000, answer(false, None), Err(Stays::Kind)),
            (7000, answer(false, here), Ok(())),
            (6050, answer(true, here), Ok(())),
            (6050, answer(false, Some("wss://other/")), Err(Stays::Kind)),
        ] {
            assert_eq!(case.of(&Draft::new(of), &facts), wanted, "{of} {facts:?}");
        }
        assert_eq!(
            case.asked(&Draft::new(6870), &answer(true, None), true),
            Ok(())
        );
    }

    #[test]
    fn what_is_said_to_somebody_goes_where_they_say_and_nothing_else_does() {
        let mut case = Case::new("[policy]\nkinds = [1, 4785]\n[named_by_others]\njobs = true");
        case.relay = RelayUrl::parse("wss://named.example").unwrap();
        let naming = Naming {
            event: nostr::EventId::all_zeros(),
            key: Keys::generate().public_key(),
            at: 1000,
        };
        let named = |facts: Facts, url: &str, at: u64| Facts {
            named: vec![(RelayUrl::parse(url).unwrap(), Naming { at, ..naming })],
            ..facts
        };
        let here = "wss://named.example";
        let asked = answer(false, None);
        for (of, facts, wanted) in [
            (7000, named(asked.clone(), here, 1000), Ok(())),
            (6050, named(asked.clone(), here, 1000), Ok(())),
            (6050, asked.clone(), Err(Stays::Kind)),
            (
                6050,
                named(asked.clone(), "wss://other.example", 1000),
                Err(Stays::Kind),
            ),
            (1, named(ours(), here, 1000), Err(Stays::Unmarked)),
            (1111, named(ours(), here, 1000), Err(Stays::Kind)),
            // Of a session only what names whom it is said to.
            (4785, ours(), Err(Stays::Stream)),
        ] {
            assert_eq!(case.of(&Draft::new(of), &facts), wanted, "{of} {facts:?}");
        }
        let private = Facts {
            privacy: Privacy::Private,
            ..named(asked.clone(), here, 1000)
        };
        assert_eq!(case.of(&Draft::new(6050), &private), Err(Stays::Private));
        let event = Draft::new(6050).sign(&case.keys, 1000).unwrap();
        let at = |now: u64| {
            let sight = Sight {
                config: &case.config,
                relay: &case.relay,
                coordinator: case.coordinator.public_key(),
                now,
            };
            may_leave(&event, &named(asked.clone(), here, 1000), sight, false)
        };
        let last = 1000 + 7 * 24 * 3600;
        assert_eq!((at(last), at(last + 1)), (Ok(()), Err(Stays::Late)));
    }

    #[test]
    fn a_stream_narrows_what_may_leave() {
        let mut case = Case::new("");
        let only = nip01::parse_filter(r#"{"kinds":[4781]}"#).unwrap();
        case.config.streams[0].filter = Some(only);
        assert_eq!(case.of(&Draft::new(4781), &ours()), Ok(()));
        assert_eq!(case.of(&Draft::new(4785), &ours()), Err(Stays::Stream));
        case.config.streams[0].dir = crate::sync::config::Direction::Down;
        assert_eq!(case.of(&Draft::new(4781), &ours()), Err(Stays::Stream));
    }
}
