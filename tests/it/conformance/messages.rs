//! NIP-01: frames that are not right, and what is said about them.

use super::{
    Row, row,
    script::{A, Script},
};
use nostr::JsonUtil as _;
use serde_json::json;
use treefort::nips::Draft;

/// Something that is no message is answered with a NOTICE, and the connection lives on.
fn noticed(s: &mut Script, frame: &str) {
    s.raw(A, frame);
    s.hear(A, json!(["NOTICE", "*"]));
    let note = s.note("still here");
    s.publish(A, &note);
}

/// Something is refused, one way or the other, and the connection lives on.
fn refused(s: &mut Script, name: &str, frame: &str) {
    s.raw(A, frame);
    s.hear_one_of(A, [json!(["CLOSED", name, "*:*"]), json!(["NOTICE", "*"])]);
    let note = s.note("still here");
    s.publish(A, &note);
}

pub(super) const ROWS: &[Row] = &[
    row(1, "what is not JSON gets a NOTICE", |s| {
        noticed(s, "nonsense")
    }),
    row(1, "an object gets a NOTICE", |s| noticed(s, "{}")),
    row(1, "an empty array gets a NOTICE", |s| noticed(s, "[]")),
    row(1, "an unknown verb gets a NOTICE", |s| {
        noticed(s, r#"["HELLO","you"]"#)
    }),
    row(1, "a verb that is no string gets a NOTICE", |s| {
        noticed(s, "[1,2]")
    }),
    row(1, "EVENT without an event gets a NOTICE", |s| {
        noticed(s, r#"["EVENT"]"#)
    }),
    row(1, "REQ without a name gets a NOTICE", |s| {
        noticed(s, r#"["REQ"]"#)
    }),
    row(1, "JSON that is cut off gets a NOTICE", |s| {
        noticed(s, r#"["REQ","a",{"kinds":[1"#)
    }),
    row(1, "JSON that is deeply nested gets a NOTICE", |s| {
        noticed(s, &"[".repeat(20_000));
    }),
    row(1, "a filter that is no object is refused", |s| {
        refused(s, "a", r#"["REQ","a",[]]"#)
    }),
    row(1, "kinds that are no numbers are refused", |s| {
        refused(s, "a", r#"["REQ","a",{"kinds":["x"]}]"#);
    }),
    row(1, "ids that are not hexadecimal are refused", |s| {
        refused(s, "a", r#"["REQ","a",{"ids":["abc"]}]"#);
    }),
    row(1, "a limit below zero is refused", |s| {
        refused(s, "a", r#"["REQ","a",{"limit":-1}]"#)
    }),
    row(1, "a REQ without a filter is refused", |s| {
        refused(s, "a", r#"["REQ","a"]"#)
    }),
    row(1, "a name of 65 characters is refused", |s| {
        let name = "x".repeat(65);
        refused(s, &name, &json!(["REQ", name, {"limit": 1}]).to_string());
    }),
    row(1, "an empty name is refused", |s| {
        refused(s, "", r#"["REQ","",{"limit":1}]"#)
    }),
    row(1, "a name of 64 characters of any kind is taken", |s| {
        let name = format!("\"\\é{}", "x".repeat(61));
        let note = s.note("x");
        s.publish(A, &note);
        let filter = json!({"authors": [s.author()]});
        s.subscribe(A, &name, &[filter], &[&note]);
    }),
    row(
        1,
        "a field that a filter does not know is passed over",
        |s| {
            let note = s.note("x");
            s.publish(A, &note);
            s.stored(
                A,
                &[json!({"ids": [note.id], "surely": "unknown"})],
                &[&note],
            );
        },
    ),
    row(1, "CLOSE of what is not open is not answered", |s| {
        s.say(A, json!(["CLOSE", "never"]));
        s.silence(A);
    }),
    row(1, "frames may have any spacing", |s| {
        let note = s.note("spaced");
        s.raw(A, format!(" [ \"EVENT\" ,\n {} ] ", note.as_json()));
        s.hear(A, json!(["OK", note.id, true, "*"]));
        s.kept(&[&note]);
    }),
    row(1, "an event's fields may have any order", |s| {
        let note = s.note("ordered");
        let (kind, tags) = (1, json!([]));
        s.raw(
            A,
            format!(
                r#"["EVENT",{{"sig":"{}","content":"ordered","tags":{tags},"kind":{kind},"created_at":{},"pubkey":"{}","id":"{}"}}]"#,
                note.sig, note.created_at, note.pubkey, note.id
            ),
        );
        s.hear(A, json!(["OK", note.id, true, "*"]));
        s.kept(&[&note]);
    }),
    row(
        1,
        "an event of a wrong shape is refused under its id",
        |s| {
            let id = "a".repeat(64);
            s.say(A, json!(["EVENT", {"id": id, "kind": "x"}]));
            s.hear(A, json!(["OK", id, false, "invalid:*"]));
        },
    ),
    row(1, "an id that is not the hash is refused", |s| {
        let mut note = s.note("a");
        note.content.push('b');
        s.refused(A, &note, "invalid:");
    }),
    row(1, "a signature of something else is refused", |s| {
        let mut note = s.note("a");
        note.sig = s.note("b").sig;
        s.refused(A, &note, "invalid:");
        s.kept(&[]);
    }),
    row(1, "a signature of somebody else is refused", |s| {
        let mut note = s.note("a");
        let other = Draft::new(1).content("a").sign(&s.bob, s.now).unwrap();
        note.sig = other.sig;
        s.refused(A, &note, "invalid:");
    }),
    row(1, "an event from the far future is refused", |s| {
        let note = s.sign_at(Draft::new(1), s.now + 400_000_000);
        s.refused(A, &note, "invalid:");
    }),
    row(1, "every character comes back as it was", |s| {
        let text = "\n\"\\\r\t\u{8}\u{c}\u{1}\u{7f} é 漢字 👩‍👩‍👧 \u{2028}";
        let note = s.sign(Draft::new(1).content(text).tag(["x", text]));
        s.publish(A, &note);
        let whole = json!({
            "id": note.id, "pubkey": note.pubkey, "created_at": s.now, "kind": 1,
            "tags": [["x", text]], "content": text, "sig": note.sig,
        });
        s.say(A, json!(["REQ", "a", {"ids": [note.id]}]));
        s.hear(A, json!(["EVENT", "a", whole]));
        s.hear(A, json!(["EOSE", "a"]));
    }),
    row(1, "an OK has four elements and names the event", |s| {
        let note = s.note("x");
        s.send(A, &note);
        s.hear(A, json!(["OK", note.id, true, "*"]));
        s.silence(A);
    }),
];
