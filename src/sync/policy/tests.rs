//! What leaves and what stays, by rule.

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
        // An answer to somebody who asked on another relay.
        let stays = case.of(&Draft::new(of), &answer(false, Some("wss://other/")));
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
        folders: Arc::new(BTreeSet::from([project.to_owned()])),
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
        // Who asked here told nobody else, and the answer repeats the question.
        (6870, answer(false, None), Err(Stays::AskedHere)),
        (6870, answer(false, Some("wss://other/")), Ok(())),
        (6870, answer(true, None), Err(Stays::OwnAnswer)),
        (6870, ours(), Err(Stays::OwnAnswer)),
        (7000, answer(false, None), Err(Stays::Kind)),
        (7000, answer(false, here), Ok(())),
        (6050, answer(true, here), Ok(())),
        (6050, answer(false, Some("wss://other/")), Err(Stays::Kind)),
    ] {
        assert_eq!(case.of(&Draft::new(of), &facts), wanted, "{of} {facts:?}");
    }
    for facts in [answer(true, None), answer(false, None)] {
        assert_eq!(case.asked(&Draft::new(6870), &facts, true), Ok(()));
    }
}

#[test]
fn what_was_taken_back_stays_whatever_else_holds() {
    let case = Case::new("[policy]\nkinds = [4785]\n[named_by_others]\njobs = true");
    let back = Facts {
        back: true,
        ..ours()
    };
    for asked in [false, true] {
        let stays = case.asked(&Draft::new(4785), &back, asked);
        assert_eq!(stays, Err(Stays::TakenBack));
    }
    assert!(!Stays::TakenBack.is_final());
}

#[test]
fn of_several_folders_each_has_to_let_it_leave() {
    let home = tempfile::tempdir().unwrap();
    let folder = |name: &str| home.path().join(name).display().to_string();
    std::fs::create_dir(folder("secret")).unwrap();
    std::os::unix::fs::symlink(folder("secret"), folder("link")).unwrap();
    let case = Case::new(&format!(
        "[policy]\nkinds = [4781, 4785]\n[[policy.project]]\npath = {:?}\nkinds = []\n\
         [[policy.project]]\npath = {:?}\nkinds = [4781, 4782]\n",
        folder("link"),
        folder("open"),
    ));
    let missing: Vec<&str> = case.config.missing_folders().collect();
    assert_eq!(missing, [folder("open")]);
    let at = |names: &[&str]| Facts {
        folders: Arc::new(names.iter().map(|name| folder(name)).collect()),
        ..ours()
    };
    for (names, leave) in [
        (&["elsewhere"][..], &[4781, 4785][..]),
        (&["open"], &[4781, 4782]),
        (&["open", "elsewhere"], &[4781]),
        (&["link"], &[]),
        (&["secret/below"], &[]),
        (&["open", "secret"], &[]),
    ] {
        for of in [4781, 4782, 4785] {
            let is = case.of(&Draft::new(of), &at(names));
            assert_eq!(is.is_ok(), leave.contains(&of), "{names:?} {of}");
        }
    }
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
