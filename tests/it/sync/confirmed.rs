//! `publish` and `unpublish` ask before anything leaves: only a yes is one.

use std::process::Stdio;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};

use super::*;
use crate::harness::PROGRAM;

/// A command at a terminal of its own, up to its question.
struct Asking {
    child: Child,
    shown: String,
}

impl Asking {
    async fn begin(treefort: &Treefort, arguments: &str, question: &str) -> Self {
        let home = treefort.home().display();
        let line = format!("stty cols 80; exec {PROGRAM} --home {home} {arguments}");
        let child = Command::new("script")
            .args(["-qefc", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("RUST_LOG")
            .envs([NO_DOCKER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut asking = Self {
            child,
            shown: String::new(),
        };
        while !asking.shown.contains(question) {
            assert!(asking.read().await, "it ended: {}", asking.shown);
        }
        asking
    }

    async fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let out = self.child.stdout.as_mut().unwrap();
        let read = tokio::time::timeout(PATIENCE, out.read(&mut bytes)).await;
        let read = read.unwrap_or_else(|_| panic!("it stands still: {}", self.shown));
        let read = read.unwrap_or(0);
        self.shown
            .push_str(&String::from_utf8_lossy(&bytes[..read]));
        read > 0
    }

    /// Types keys; gives the exit code and all that was shown.
    async fn types(mut self, keys: &[u8]) -> (Option<i32>, String) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys).await.unwrap();
        while self.read().await {}
        let status = self.child.wait().await.unwrap();
        (status.code(), self.shown)
    }
}

/// No, Enter alone, another word, the end of input, Ctrl-C: with what is said and how it ends.
const NOS: [(&str, &[u8], bool); 5] = [
    ("no", b"no\n", true),
    ("enter", b"\n", true),
    ("a word", b"yes please\n", true),
    ("the end", b"\x04", true),
    ("ctrl-c", b"\x03", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn only_a_yes_shares_and_only_a_yes_asks_back_and_once() {
    let model = ModelServer::start().await;
    let foreign = Foreign::start(Manner::default()).await;
    let treefort = treefort(&model, &stream("up", &[foreign.url()])).await;
    let operator = treefort.operator();
    let mut client = treefort.client(&operator).await;
    let (note, mark) = (
        Draft::new(1)
            .content("for me")
            .sign(&operator, now())
            .unwrap(),
        recipe(&operator, 1),
    );
    give(&mut client, std::slice::from_ref(&note)).await;
    let id = note.id.to_hex();
    let outbox = async || {
        let status = told(&treefort, &["sync", "--json"]).await;
        status["relays"][0]["tally"].clone()
    };
    let before = outbox().await;
    let question = "Share all of this?";
    for (what, keys, has_words) in NOS {
        let asking = Asking::begin(&treefort, &format!("publish {id}"), question).await;
        assert!(asking.shown.contains(&id[..12]), "{}", asking.shown);
        let (code, shown) = asking.types(keys).await;
        assert_eq!(code == Some(0), has_words, "{what}: {code:?} {shown}");
        assert_eq!(
            shown.contains("\nnothing was shared"),
            has_words,
            "{what}: {shown}"
        );
        assert_eq!(outbox().await, before, "{what}");
    }
    let nobody = treefort.command(&["publish", &id]).await;
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert_eq!(nobody.status.code(), Some(2), "{said}");
    assert!(
        said.contains("not confirmed") && said.contains("--yes"),
        "{said}"
    );
    // What may leave by itself does; had the note been on its way, it would have gone first.
    give(&mut client, std::slice::from_ref(&mark)).await;
    until("the mark arrives", &treefort, async || {
        foreign.has(&mark.id)
    })
    .await;
    assert!(!foreign.has(&note.id));

    let asking = Asking::begin(&treefort, &format!("publish {id}"), question).await;
    let (code, shown) = asking.types(b"y\n").await;
    assert_eq!(code, Some(0), "{shown}");
    until("the note arrives", &treefort, async || {
        foreign.has(&note.id)
    })
    .await;

    settled(&treefort).await;
    let count = foreign.count();
    let settled = outbox().await;
    let question = "Ask for all of this back?";
    for (what, keys, has_words) in NOS {
        let asking = Asking::begin(&treefort, &format!("unpublish {id}"), question).await;
        let (code, shown) = asking.types(keys).await;
        assert_eq!(code == Some(0), has_words, "{what}: {code:?} {shown}");
        assert_eq!(
            shown.contains("\nnobody was asked"),
            has_words,
            "{what}: {shown}"
        );
        assert_eq!(outbox().await, settled, "{what}");
    }
    let nobody = treefort.command(&["unpublish", &id]).await;
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert_eq!(nobody.status.code(), Some(2), "{said}");
    assert!(
        said.contains("not confirmed") && said.contains("--yes"),
        "{said}"
    );
    let mark = recipe(&operator, 2);
    give(&mut client, std::slice::from_ref(&mark)).await;
    until("the mark arrives", &treefort, async || {
        foreign.has(&mark.id)
    })
    .await;
    assert_eq!(foreign.count(), count + 1, "something else left");

    let asking = Asking::begin(&treefort, &format!("unpublish {id}"), question).await;
    let (code, shown) = asking.types(b"YES\n").await;
    assert_eq!(code, Some(0), "{shown}");
    until("it is asked", &treefort, async || {
        foreign.count() == count + 2
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(foreign.count(), count + 2);
    assert!(
        foreign.sent().values().all(|sent| *sent == 1),
        "one was sent twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_says_while_its_owner_reads_is_not_shared_with_it() {
    let model = ModelServer::start().await;
    let foreign = Foreign::start(Manner::default()).await;
    let treefort = treefort(&model, &stream("up", &[foreign.url()])).await;
    let asked = treefort.command(&["run", "hello"]).await;
    assert!(asked.status.success(), "{asked:?}");
    let operator = treefort.operator();
    let mut client = treefort.client(&operator).await;
    let start = client.query(json!({"kinds": [4781]})).await.remove(0);
    let session = start.pubkey.to_hex();
    let keys =
        std::fs::read_to_string(treefort.home().join(format!("keys/sessions/{session}.key")));
    let keys = Keys::parse(keys.unwrap().trim()).unwrap();
    let asking = Asking::begin(
        &treefort,
        &format!("publish {session}"),
        "Share all of this?",
    )
    .await;
    let late = Draft::new(1).content("a slip").sign(&keys, now()).unwrap();
    let mut agent = treefort.client(&keys).await;
    agent.raw(json!(["EVENT", late]).to_string()).await;
    assert_eq!(agent.next().await[2], true);
    let (code, shown) = asking.types(b"y\n").await;
    assert_eq!(code, Some(0), "{shown}");
    until("it leaves", &treefort, async || foreign.has(&start.id)).await;
    let mark = recipe(&operator, 1);
    give(&mut client, std::slice::from_ref(&mark)).await;
    until("the mark arrives", &treefort, async || {
        foreign.has(&mark.id)
    })
    .await;
    assert!(!foreign.has(&late.id), "it was not shown, and left");
}
