//! NIP-77: two sides find out what each of them lacks.

use super::{
    Row, row,
    script::{A, B, Script},
};
use nostr::Event;
use serde_json::{Value, json};
use treefort::nips::Draft;

/// The first message of somebody who has nothing.
const NOTHING: &str = "6100000200";

fn mine(s: &Script) -> Value {
    json!({"authors": [s.author()]})
}

fn stored(s: &mut Script, count: u64) -> Vec<Event> {
    let notes: Vec<Event> = (0..count)
        .map(|n| s.note_ago(&n.to_string(), n % 7))
        .collect();
    for note in &notes {
        s.send(B, note);
    }
    for note in &notes {
        s.hear(B, json!(["OK", note.id, true, "*"]));
    }
    notes
}

/// What is not right gets NEG-ERR, and the connection lives on.
fn refused(s: &mut Script, frame: Value) {
    s.say(A, frame);
    s.hear(A, json!(["NEG-ERR", "n", "*:*"]));
    s.silence(A);
}

pub(super) const ROWS: &[Row] = &[
    row(77, "who has nothing finds out what there is", |s| {
        let notes = stored(s, 5);
        let all: Vec<&Event> = notes.iter().collect();
        s.reconcile(A, mine(s), &[], &all, &[]);
    }),
    row(77, "a relay that has nothing is found out", |s| {
        let notes: Vec<Event> = (0..5).map(|n| s.note_ago("x", n)).collect();
        let all: Vec<&Event> = notes.iter().collect();
        s.reconcile(A, mine(s), &all, &[], &all);
    }),
    row(77, "both find out what they lack, in several rounds", |s| {
        let notes = stored(s, 200);
        let new: Vec<Event> = (0..30).map(|n| s.note_ago("new", 100 + n)).collect();
        let have: Vec<&Event> = notes[50..].iter().chain(&new).collect();
        let need: Vec<&Event> = notes[..50].iter().collect();
        let lacks: Vec<&Event> = new.iter().collect();
        s.reconcile(A, mine(s), &have, &need, &lacks);
    }),
    row(77, "equal sets are found to be equal", |s| {
        let notes = stored(s, 60);
        let all: Vec<&Event> = notes.iter().collect();
        s.reconcile(A, mine(s), &all, &[], &[]);
    }),
    row(77, "a filter says what is compared", |s| {
        let notes = stored(s, 3);
        let reaction = s.sign(Draft::new(7));
        s.publish(B, &reaction);
        let filter = json!({"authors": [s.author()], "kinds": [7]});
        s.reconcile(A, filter, &[], &[&reaction], &[]);
        let filter = json!({"ids": [notes[1].id]});
        s.reconcile(A, filter, &[], &[&notes[1]], &[]);
        let filter = json!({"authors": [s.author()], "kinds": []});
        s.reconcile(A, filter, &[], &[], &[]);
    }),
    row(77, "several reconciliations may be open", |s| {
        let filter = mine(s);
        for name in ["a", "b"] {
            s.say(A, json!(["NEG-OPEN", name, filter, NOTHING]));
            s.hear(A, json!(["NEG-MSG", name, "61*"]));
        }
        for name in ["b", "a"] {
            s.say(A, json!(["NEG-MSG", name, NOTHING]));
            s.hear(A, json!(["NEG-MSG", name, "61*"]));
        }
        for name in ["a", "b"] {
            s.say(A, json!(["NEG-CLOSE", name]));
        }
        s.silence(A);
    }),
    row(77, "NEG-OPEN of the same name begins anew", |s| {
        let notes = stored(s, 2);
        let filter = mine(s);
        s.say(A, json!(["NEG-OPEN", "neg", filter, NOTHING]));
        s.hear(A, json!(["NEG-MSG", "neg", "61*"]));
        let other = json!({"ids": [notes[0].id]});
        s.reconcile(A, other, &[], &[&notes[0]], &[]);
    }),
    row(
        77,
        "another version of the protocol is answered with ours",
        |s| {
            let filter = mine(s);
            s.say(A, json!(["NEG-OPEN", "n", filter, "62"]));
            s.hear(A, json!(["NEG-MSG", "n", "61"]));
        },
    ),
    row(77, "a message that is not hexadecimal gets NEG-ERR", |s| {
        let filter = mine(s);
        refused(s, json!(["NEG-OPEN", "n", filter, "xyz"]));
    }),
    row(77, "a message that is cut off gets NEG-ERR", |s| {
        let filter = mine(s);
        refused(s, json!(["NEG-OPEN", "n", filter, "6100000205ab"]));
    }),
    row(77, "an empty message gets NEG-ERR", |s| {
        let filter = mine(s);
        refused(s, json!(["NEG-OPEN", "n", filter, ""]));
    }),
    row(77, "a filter that is not one gets NEG-ERR", |s| {
        refused(s, json!(["NEG-OPEN", "n", {"kinds": ["x"]}, NOTHING]));
    }),
    row(77, "NEG-MSG for what is not open gets NEG-ERR", |s| {
        refused(s, json!(["NEG-MSG", "n", NOTHING]));
    }),
    row(77, "NEG-MSG after NEG-CLOSE gets NEG-ERR", |s| {
        let filter = mine(s);
        s.say(A, json!(["NEG-OPEN", "n", filter, NOTHING]));
        s.hear(A, json!(["NEG-MSG", "n", "61*"]));
        s.say(A, json!(["NEG-CLOSE", "n"]));
        refused(s, json!(["NEG-MSG", "n", NOTHING]));
    }),
    row(77, "NEG-CLOSE of what is not open is not answered", |s| {
        s.say(A, json!(["NEG-CLOSE", "never"]));
        s.silence(A);
    }),
];
