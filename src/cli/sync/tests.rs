//! What a person reads.

use std::collections::BTreeMap;

use super::*;
use crate::{
    nips::Draft,
    sync::{Leaving, Left, Named, RelayPreview, RelayStatus, Tally, Trouble, policy::Stays},
};

fn show(whole: bool) -> Show {
    Show {
        file: "/home/me/.treefort/sync.toml".to_owned(),
        whole,
        list: false,
    }
}

fn one(byte: u8, kind: u16, alt: &str, project: Option<&str>) -> Leaving {
    Leaving {
        id: EventId::from_byte_array([byte; 32]),
        kind,
        created_at: 1,
        alt: alt.to_owned(),
        says: String::new(),
        project: project.map(str::to_owned),
        names_project: false,
        event: None,
    }
}

#[test]
fn without_streams_it_says_that_it_is_off() {
    let lines = [
        preview_lines(&Preview::default(), &show(false)),
        status_lines(&Status::default(), &show(false), 1),
    ]
    .concat();
    insta::assert_snapshot!(lines.join("\n"), @r"
    off: nothing leaves this machine, and no connection is made
    to share something, write /home/me/.treefort/sync.toml; `treefort sync --help` shows how
    off: nothing leaves this machine, and no connection is made
    to share something, write /home/me/.treefort/sync.toml; `treefort sync --help` shows how
    ");
}

#[test]
fn the_preview_names_every_event_and_why_others_stay() {
    let preview = Preview {
        on: true,
        changed: false,
        relays: vec![RelayPreview {
            url: "wss://relay.example/".into(),
            named: Vec::new(),
            leaves: vec![
                one(1, 4781, "Session started", Some("/home/me/shop")),
                one(2, 4785, "", None),
            ],
            secrets: vec![one(3, 1, "A\u{1b}[31m note", None)],
            stays: BTreeMap::from([(Stays::Private.to_string(), 2)]),
            settled: 1,
            tally: Tally {
                sent: 39,
                ..Tally::default()
            },
        }],
    };
    insta::assert_snapshot!(preview_lines(&preview, &show(true)).join("\n"), @r"
    wss://relay.example/: 2 events would leave
      until now: 39 sent
      done in /home/me/shop (this path stays here):
        0101010101010101010101010101010101010101010101010101010101010101  4781  Session started
      0202020202020202020202020202020202020202020202020202020202020202  4785  how a session ended
      these seem to hold a password or key, so they stay:
      0303030303030303030303030303030303030303030303030303030303030303     1  A[31m note
        → if it is a real password or key, change it; `treefort purge` deletes the session here
      2 stay: it is encrypted, or belongs to what is: a private job, or what your own commands asked about an agent's copy
        → nothing to do: what is private stays so; ask the same in the clear to share what comes of it
    ");
}

#[test]
fn the_status_tells_how_it_stands_with_a_relay() {
    let status = Status {
        on: true,
        running: false,
        relays: vec![RelayStatus {
            url: "wss://relay.example/".into(),
            streams: vec![
                ("public".into(), "up".into()),
                ("work".into(), "both".into()),
            ],
            connected: false,
            problem: Some("it takes too long to answer".into()),
            notice: None,
            spoken_at: 60,
            tally: Tally {
                waiting: 2,
                sent: 40,
                refused: 1,
                ..Tally::default()
            },
            refused_kinds: BTreeMap::from([(4781, "blocked: kind 4781".into())]),
            troubles: vec![Trouble {
                id: EventId::from_byte_array([1; 32]),
                kind: 4781,
                is: "refused".into(),
                words: "blocked: kind 4781".into(),
            }],
            ..RelayStatus::default()
        }],
        ..Status::default()
    };
    insta::assert_snapshot!(status_lines(&status, &show(false), 180).join("\n"), @r"
    treefort is not running: what waits leaves while `treefort up` runs
    wss://relay.example/ (public up, work both): last reached 2 min ago
      40 sent, 2 waiting, 1 refused
      trouble: it takes too long to answer
      takes nothing of kind 4781: blocked: kind 4781
      refused: 010101010101  4781  blocked: kind 4781
      what was refused or failed is not sent to this relay again
    ");
}

#[test]
fn the_status_says_what_to_do_about_a_relay_that_is_away_and_a_secret_that_was_kept() {
    let status = Status {
        on: true,
        running: true,
        relays: vec![RelayStatus {
            url: "wss://relay.example/".into(),
            streams: vec![("public".into(), "up".into())],
            problem: Some("wss://relay.example/ does not answer".into()),
            tally: Tally {
                waiting: 300,
                held: 1,
                ..Tally::default()
            },
            troubles: vec![Trouble {
                id: EventId::from_byte_array([3; 32]),
                kind: 1,
                is: "held".into(),
                words: "it seems to hold a password or key".into(),
            }],
            ..RelayStatus::default()
        }],
        ..Status::default()
    };
    insta::assert_snapshot!(status_lines(&status, &show(false), 180).join("\n"), @r"
    wss://relay.example/ (public up): never reached
      300 waiting, 1 kept here
      trouble: wss://relay.example/ does not answer
      kept here: 030303030303     1  it seems to hold a password or key
        → if it is a real password or key, change it; `treefort purge` deletes the session here
      it is tried again by itself; nothing is lost meanwhile, and nothing leaves twice
    ");
}

#[test]
fn who_named_a_relay_that_is_not_in_the_file_is_said() {
    let named = vec![Named {
        event: EventId::from_byte_array([1; 32]),
        key: nostr::PublicKey::from_byte_array([2; 32]),
    }];
    let status = Status {
        on: true,
        running: true,
        relays: vec![RelayStatus {
            url: "wss://named.example/".into(),
            named: named.clone(),
            ..RelayStatus::default()
        }],
        missing_folders: vec!["/home/me/sercet".into()],
        unplaced: 1,
        left_out: 2,
        ..Status::default()
    };
    let preview = Preview {
        on: true,
        changed: false,
        relays: vec![RelayPreview {
            url: "wss://named.example/".into(),
            named,
            leaves: vec![one(1, 6050, "", None)],
            ..RelayPreview::default()
        }],
    };
    let show = show(false);
    let lines = [
        status_lines(&status, &show, 1),
        preview_lines(&preview, &show),
    ]
    .concat();
    insta::assert_snapshot!(lines.join("\n"), @r"
    wss://named.example/ (not in sync.toml): never reached
      named by 020202020202, in 010101010101
    there is no folder /home/me/sercet: its rule in sync.toml keeps nothing here, is it spelt right?
    1 answer waits until a relay that was named can have a place (most and per_key in sync.toml)
    2 answers did not go to relays that were named, because too many are (most and per_key in sync.toml)
    wss://named.example/: 1 event would leave
      named by 020202020202, in 010101010101
      010101010101  6050  the answer to a job
    ");
}

#[test]
fn asking_back_says_that_it_is_a_request() {
    let shared = Shared {
        on: true,
        running: true,
        found: true,
        relays: vec!["wss://relay.example/".into()],
        goes: vec![one(1, 4785, "Session ended", None)],
        stays: vec![(one(2, 4782, "", None), "it was never shared".into())],
        until: 7,
        again: 1,
        kept: 1,
        ..Shared::default()
    };
    let lines = [
        publish_lines(&shared, &show(false), false),
        unpublish_lines(&shared, &show(false), true),
    ]
    .concat();
    insta::assert_snapshot!(lines.join("\n"), @r"
    1 event would leave to wss://relay.example/
      010101010101  4785  Session ended
    1 event stays: it was never shared
    sync.toml keeps 1 of these here, by a rule for their folder or session; this shares them all the same
    you took 1 of these back before: a relay that was asked to delete them may not take them again
    asks wss://relay.example/ to delete 1 event
      010101010101  4785  Session ended
    this is a request: nobody can promise that it is followed, and who has a copy keeps it
    1 event: it was never shared
    ");
}

#[test]
fn what_would_leave_is_shown_so_that_it_can_be_judged() {
    let content = format!("built\n\u{1b}[2J\u{202e}gpj.exe {}", "y".repeat(5000));
    let event = Draft::new(4782)
        .tag(["t", "a\u{1b}]0;x"])
        .content(content)
        .sign(&nostr::Keys::parse(&"01".repeat(32)).unwrap(), 1)
        .unwrap();
    let of = |byte: u8, project: Option<&str>| Leaving {
        says: "built".into(),
        event: Some(event.clone()),
        ..one(byte, 4782, "", project)
    };
    let mut named = of(3, Some("/home/me/b"));
    named.names_project = true;
    let shared = Shared {
        on: true,
        running: true,
        found: true,
        relays: vec!["wss://relay.example/".into()],
        goes: vec![
            of(1, Some("/home/me/a")),
            of(2, Some("/home/me/a")),
            named,
            of(4, None),
        ],
        ..Shared::default()
    };
    insta::assert_snapshot!(publish_lines(&shared, &show(false), false).join("\n"), @r"
    4 events would leave to wss://relay.example/
      done in /home/me/a (this path stays here):
        010101010101  4782  what an agent did or said
          | built
        020202020202  4782  what an agent did or said
          | built
      done in /home/me/b (these name this path, too):
        030303030303  4782  what an agent did or said
          | built
      040404040404  4782  what an agent did or said
        | built
      with --verbose: all words and tags of each; with --json: the events themselves
    ");
    let whole = Shared {
        goes: vec![of(1, None)],
        ..shared
    };
    let lines = publish_lines(&whole, &show(true), false);
    assert!(
        lines
            .iter()
            .all(|line| !line.contains(['\u{1b}', '\u{202e}']))
    );
    let shown: Vec<&str> = lines[2..5].iter().map(String::as_str).collect();
    assert_eq!(shown[0], r#"    ["t","a\u001b]0;x"]"#);
    assert_eq!(shown[1], "    | built");
    assert!(
        shown[2].starts_with(r"    | \u{1b}[2J\u{202e}gpj.exe yyy"),
        "{}",
        shown[2]
    );
    assert_eq!(lines[5], "    and 1019 more characters; --json shows them");
    assert!(lines.join("").len() < 6000);
}

#[test]
fn what_has_left_is_listed_with_words_for_it_and_what_was_before_stays_visible() {
    let left = |byte: u8, kind, is: &str| Left {
        id: EventId::from_byte_array([byte; 32]),
        kind,
        is: is.into(),
        at: 60,
    };
    let status = Status {
        changed: true,
        relays: vec![RelayStatus {
            url: "wss://relay.example/".into(),
            spoken_at: 60,
            tally: Tally {
                sent: 4,
                there: 1,
                ..Tally::default()
            },
            left: vec![left(1, 4785, "sent"), left(2, 1, "there")],
            ..RelayStatus::default()
        }],
        ..Status::default()
    };
    let mut show = show(false);
    show.list = true;
    insta::assert_snapshot!(status_lines(&status, &show, 180).join("\n"), @r"
    off: nothing leaves this machine, and no connection is made
    sync.toml changed since treefort started, which still goes by what was in it then: start it again
    what was shared before stays where it is:
    wss://relay.example/ (not in sync.toml): last reached 2 min ago
      4 sent, 1 there before
      `treefort unpublish` can ask for it back once sync.toml names this relay again
      010101010101  4785  sent          2 min ago    how a session ended
      020202020202     1  there before  2 min ago    a note
      and 3 before these
    ");
}
