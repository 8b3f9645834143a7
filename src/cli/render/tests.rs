//! What a person reads of the golden session, and of a hostile one.

use super::*;
use crate::{cli::gather::sort_oldest_first, nips::Draft};

fn golden() -> Vec<Event> {
    let vectors: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(include_str!("../../../tests/it/fixtures/events.json")).unwrap();
    let mut events: Vec<Event> = vectors
        .into_iter()
        .map(|(_, value)| serde_json::from_value::<Event>(value).unwrap())
        .filter(|event| {
            let kind = event.kind.as_u16();
            kind::RECORDS.contains(&kind)
                || kind::is_job_request(event.kind)
                || kind == 7000
                || kind == 6870
        })
        .collect();
    sort_oldest_first(&mut events);
    events
}

fn show(events: &[Event], verbose: bool) -> String {
    let view = View {
        columns: 72,
        verbose,
        now: 1_773_187_400,
    };
    let coordinator =
        PublicKey::from_hex("d01115d548e7561b15c38f004d734633687cf4419620095bc5b0f47070afe85a")
            .unwrap();
    let mut renderer = Renderer::new(view, Some(coordinator));
    let mut lines = Vec::new();
    let starts = |event: &&Event| event.kind.as_u16() == kind::SESSION_START;
    lines.extend(
        events
            .iter()
            .filter(starts)
            .map(|event| renderer.title(event)),
    );
    lines.extend(events.iter().filter_map(|event| renderer.entry(event)));
    anstream::adapter::strip_str(&lines.join("\n")).to_string()
}

#[test]
fn the_golden_session_reads_as_a_story() {
    insta::assert_snapshot!(show(&golden(), false), @r#"
    Session f28773c2 · builder with qwen2.5-coder:7b · 3 min ago
       0:00  › asked
               Add a --json flag to the status command and a test for it
       0:04  ▶ started builder with qwen2.5-coder:7b  in a container
       0:05  ◆ Checkpoint 1 (commit 9fceb02)
       0:06  ✎ edited src/status.rs  +12 −3
       0:07  $ cargo test  8.3 s
       0:08  » said
               @verifier: ready. `cargo test` is green; the flag prints one
               JSON object.
       0:09  ! problem
               Write to libs/shared/algo.rs was blocked: path is protected
               and the commit message has no [COMMISSION] flag. Attempted:
               refactor of score().
       0:10  ✓ answered
               Implemented `status --json`; 1 new test; `cargo test` is
               green.
       0:21  ■ done  17 s, 3 actions, 1 problem, 41200 tokens
    "#);
}

#[test]
fn verbose_shows_kinds_ids_and_numbers() {
    insta::assert_snapshot!(show(&golden(), true), @r#"
    Session f28773c2 · builder with qwen2.5-coder:7b · 3 min ago
    key f28773c2d975288bc7d1d205c3748651b075fbc6610e58cddeeddf8f19405aa8
       0:00  › asked  [5870 5cd9a985 by d7924d4f]
               Add a --json flag to the status command and a test for it
       0:01  · Job accepted: assigned to builder-7f3a  [7000 47c2eafa by d01115d5]
       0:02  · Delegated to builder-7f3a: implement status --json  [5870 815db94c by d01115d5]
       0:03  · Delegated to verifier-19c0: verify builder's result  [5870 4bc97f14 by d01115d5]
       0:04  ▶ started builder with qwen2.5-coder:7b  in a container  [4781 seq 0 dd586416 by f28773c2]
       0:05  ◆ Checkpoint 1 (commit 9fceb02)  [4783 seq 1 2aa34de1 by f28773c2]
       0:06  ✎ edited src/status.rs  +12 −3  [4782 seq 2 f7200869 by f28773c2]
               --- a/src/status.rs
               +++ b/src/status.rs
               @@ -1,3 +1,12 @@
               +#[derive(Serialize)]
       0:07  $ cargo test  8.3 s  [4782 seq 3 6f2cb6ae by f28773c2]
               $ cargo test
               test result: ok. 14 passed; 0 failed
       0:08  » said  [4782 seq 4 e73db1a3 by f28773c2]
               @verifier: ready. `cargo test` is green; the flag prints one
               JSON object.
       0:09  ! problem  [4784 seq 5 facc3f34 by f28773c2]
               Write to libs/shared/algo.rs was blocked: path is protected
               and the commit message has no [COMMISSION] flag. Attempted:
               refactor of score().
       0:10  ✓ answered  [6870 6e34d0c3 by f28773c2]
               Implemented `status --json`; 1 new test; `cargo test` is
               green.
       0:11  · Receipt: builder-7f3a says task 5870 was delivered (1 criter…  [4786 19003e8b by f28773c2]
       0:20  · Verified: receipt settled (1/1 criteria) by verifier-19c0  [4787 be4563ad by 499fdf9e]
       0:21  ■ done  17 s, 3 actions, 1 problem, 41200 tokens  [4785 seq 6 1be94177 by f28773c2]
    "#);
}

#[test]
fn what_a_hostile_agent_writes_cannot_move_the_cursor() {
    let hostile = "\u{1b}[2J\u{1b}]0;x\u{7}\r\u{202e}evil\u{9b}1A\u{200b}";
    let keys = nostr::Keys::generate();
    let record = |label: &str, tags: Vec<Vec<String>>| {
        Draft::new(kind::ACTION)
            .tag(["v", "0"])
            .tag(["seq", "1"])
            .tag(["l", label, "agent.action"])
            .tags(tags)
            .tag(["alt", hostile])
            .content(hostile)
            .sign(&keys, 1)
            .unwrap()
    };
    let pair = |name: &str| vec![name.to_owned(), hostile.to_owned()];
    let events = [
        record("message", vec![]),
        record("command", vec![pair("cmd"), pair("exit"), pair("ms")]),
        record("file", vec![pair("path"), pair("op"), pair("lines")]),
        record("git", vec![]),
        Draft::new(7000)
            .tag(["status", "error", hostile])
            .sign(&keys, 1)
            .unwrap(),
        Draft::new(5050).tag(["i", hostile]).sign(&keys, 1).unwrap(),
        Draft::new(6050)
            .content(format!("{hostile}2"))
            .sign(&keys, 1)
            .unwrap(),
        Draft::new(1).content(hostile).sign(&keys, 1).unwrap(),
    ];
    for verbose in [false, true] {
        let view = View {
            columns: 60,
            verbose,
            now: 1,
        };
        let mut renderer = Renderer::new(view, None);
        for event in &events {
            let Some(lines) = renderer.entry(event) else {
                continue;
            };
            // Our own colours are the only sequences.
            let plain = anstream::adapter::strip_str(&lines).to_string();
            assert_eq!(sanitize(&plain), plain);
            assert!(!lines.contains("\u{1b}[2J") && !lines.contains("\u{1b}]"));
        }
    }
}
