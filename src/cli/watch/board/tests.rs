//! What is read out of events, by whom.

use nostr::Keys;

use super::*;
use crate::{cli::text::columns_of, nips::Draft};

const START: &[&[&str]] = &[
    &["role", "opencode"],
    &["model", "m"],
    &["provider", "ollama"],
    &["tier", "local"],
    &["adapter", "opencode"],
    &["image", "sha256:00"],
    &["env", "linux/amd64"],
    &["config", "00"],
    &["alt", "Session started"],
];

struct Scene {
    coordinator: Keys,
    session: Keys,
    root: EventId,
    board: Board,
    seq: u64,
}

impl Scene {
    fn new(only: Option<Target>) -> Self {
        let coordinator = Keys::generate();
        Self {
            board: Board::new(coordinator.public_key(), only, false),
            coordinator,
            session: Keys::generate(),
            root: EventId::all_zeros(),
            seq: 0,
        }
    }

    fn hand(&mut self) -> Option<Vec<String>> {
        let task = Draft::new(kind::AGENT_TASK)
            .tag(["i", "Add a\u{1b}[31m dark mode", "text"])
            .tag(["p", &self.session.public_key().to_hex()])
            .tag(["E", &self.root.to_hex()]);
        let task = task.sign(&self.coordinator, 100).unwrap();
        self.board.hear(&task, 100)
    }

    fn record(&mut self, kind: u16, at: u64, tags: &[&[&str]]) -> Option<Vec<String>> {
        let seq = self.seq.to_string();
        self.seq += 1;
        let root = self.root.to_hex();
        let mut draft = Draft::new(kind)
            .tag(["v", "0"])
            .tag(["seq", seq.as_str()])
            .tag(["prev", root.as_str()])
            .tag(["e", root.as_str()])
            .tag(["E", root.as_str()]);
        for tag in tags {
            draft = draft.tag(tag.iter().copied());
        }
        let event = draft.sign(&self.session, at).unwrap();
        self.board.hear(&event, at)
    }

    fn start(&mut self) {
        let shown = self.record(kind::SESSION_START, 101, START);
        assert!(shown.is_some());
    }

    fn rows(&self, now: u64) -> String {
        let rows = self.board.rows(now, 70).join("\n");
        let name = short(&self.session.public_key().to_hex());
        let rows = anstream::adapter::strip_str(&rows).to_string();
        rows.replace(&name, "01234567")
    }
}

#[test]
fn the_bottom_lines_say_what_an_agent_is_doing() {
    let mut scene = Scene::new(None);
    assert!(scene.board.is_empty());
    scene.hand().unwrap();
    scene.start();
    scene.record(
        kind::ACTION,
        103,
        &[
            &["L", "agent.action"],
            &["l", "model", "agent.action"],
            &["tokens", "41000", "212"],
            &["microusd", "31000"],
            &["alt", "Asked the model"],
        ],
    );
    let delta = |seq: &str, text: &str| {
        Draft::new(kind::LIVE_DELTA)
            .tag(["stream-seq", seq])
            .content(text)
    };
    for (seq, text) in [
        ("0", "First line\nI am wri"),
        ("1", "ting it"),
        ("0", "again"),
    ] {
        let event = delta(seq, text).sign(&scene.session, 104).unwrap();
        assert_eq!(scene.board.hear(&event, 104), Some(vec![]));
    }
    insta::assert_snapshot!(scene.rows(172), @r"

    ● opencode 01234567  Add a[31m…  1:12 · 1 step · 41.2k tokens · $0.03
      ✎ I am writing it
    ");
    for row in scene.rows(172).lines() {
        assert!(columns_of(row) < 70 + 3, "{row}");
    }
    scene.record(
        kind::SESSION_END,
        180,
        &[
            &["L", "agent.outcome"],
            &["l", "success", "agent.outcome"],
            &["alt", "done"],
        ],
    );
    assert_eq!(scene.rows(181), "");
    assert!(scene.board.is_empty());
}

#[test]
fn what_the_coordinator_did_not_hand_on_is_nobodys() {
    let mut scene = Scene::new(None);
    assert_eq!(scene.record(kind::SESSION_START, 1, START), None);
    let other = Target::Job(EventId::from_slice(&[7; 32]).unwrap());
    let mut scene = Scene::new(Some(other));
    assert_eq!(scene.hand(), None);
    assert!(scene.rows(5).is_empty());
}

#[test]
fn an_event_that_comes_twice_is_shown_once() {
    let mut scene = Scene::new(None);
    let task = Draft::new(kind::AGENT_TASK)
        .tag(["i", "x", "text"])
        .tag(["p", &scene.session.public_key().to_hex()])
        .sign(&scene.coordinator, 100)
        .unwrap();
    assert!(scene.board.hear(&task, 100).is_some());
    assert_eq!(scene.board.hear(&task, 100), None);
}
