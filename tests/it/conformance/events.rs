//! NIP-01: what becomes of events by their kinds.

use super::{
    Row, row,
    script::{A, B, Script},
};
use nostr::Event;
use serde_json::json;
use treefort::nips::Draft;

/// Two versions that differ in nothing but what decides.
fn versions(s: &Script, kind: u16, times: [u64; 2]) -> [Event; 2] {
    ["old", "new"].map(|text| {
        let at = times[usize::from(text == "new")];
        s.sign_at(Draft::new(kind).tag(["d", "x"]).content(text), at)
    })
}

/// The newer version stays, in whichever order they come.
fn newest_stays(s: &mut Script, kind: u16) {
    let [old, new] = versions(s, kind, [s.now - 1, s.now]);
    s.publish(A, &old);
    s.publish(A, &new);
    s.kept(&[&new]);
    s.send(A, &old);
    s.hear(A, json!(["OK", old.id, "*", "*"]));
    s.kept(&[&new]);
}

/// At the same time the lowest id stays, in whichever order they come.
fn lowest_stays(s: &mut Script, kind: u16, lowest_first: bool) {
    let mut both = versions(s, kind, [s.now, s.now]);
    both.sort_by_key(|event| event.id);
    let [low, high] = &both;
    let order = if lowest_first {
        [low, high]
    } else {
        [high, low]
    };
    for event in order {
        s.send(A, event);
        s.hear(A, json!(["OK", event.id, "*", "*"]));
    }
    s.kept(&[low]);
}

/// Both of two events of a kind stay.
fn both_stay(s: &mut Script, first: Draft, second: Draft) {
    let first = s.sign_at(first, s.now - 1);
    let second = s.sign(second);
    s.publish(A, &first);
    s.publish(A, &second);
    s.kept(&[&second, &first]);
}

pub(super) const ROWS: &[Row] = &[
    row(1, "what is taken is served", |s| {
        let note = s.note("x");
        s.publish(A, &note);
        s.stored(B, &[json!({"ids": [note.id]})], &[&note]);
    }),
    row(1, "a duplicate is taken and said to be one", |s| {
        let note = s.note("x");
        s.publish(A, &note);
        s.send(B, &note);
        s.hear(B, json!(["OK", note.id, true, "duplicate:*"]));
        s.kept(&[&note]);
    }),
    row(1, "a duplicate is one whatever its signature", |s| {
        let note = s.note("x");
        let mut other = note.clone();
        other.sig = s.note("y").sig;
        s.publish(A, &note);
        s.send(A, &other);
        s.hear(A, json!(["OK", note.id, true, "duplicate:*"]));
        s.kept(&[&note]);
    }),
    row(1, "the newest version of kind 0 stays", |s| {
        newest_stays(s, 0)
    }),
    row(1, "the newest version of kind 3 stays", |s| {
        newest_stays(s, 3)
    }),
    row(1, "the newest version of kind 10000 stays", |s| {
        newest_stays(s, 10_000)
    }),
    row(1, "the newest version of kind 19999 stays", |s| {
        newest_stays(s, 19_999)
    }),
    row(1, "the newest version of an address stays", |s| {
        newest_stays(s, 30_000)
    }),
    row(1, "the newest version of kind 39999 stays", |s| {
        newest_stays(s, 39_999)
    }),
    row(1, "on a tie the lowest id stays, coming first", |s| {
        lowest_stays(s, 10_001, true)
    }),
    row(1, "on a tie the lowest id stays, coming last", |s| {
        lowest_stays(s, 10_001, false)
    }),
    row(1, "on a tie of addresses the lowest id stays", |s| {
        lowest_stays(s, 30_001, false)
    }),
    row(1, "addresses differ by d", |s| {
        let of = |d: &str| Draft::new(30_000).tag(["d", d]);
        both_stay(s, of("x"), of("y"));
    }),
    row(1, "addresses differ by kind", |s| {
        let of = |kind| Draft::new(kind).tag(["d", "x"]);
        both_stay(s, of(30_000), of(30_001));
    }),
    row(1, "only the first d counts", |s| {
        let of = |d: &str| Draft::new(30_000).tag(["d", d]).tag(["d", "x"]);
        both_stay(s, of("a"), of("b"));
    }),
    row(1, "no d is an empty d", |s| {
        let old = s.sign_at(Draft::new(30_000), s.now - 1);
        let new = s.sign(Draft::new(30_000).tag(["d", ""]));
        s.publish(A, &old);
        s.publish(A, &new);
        s.kept(&[&new]);
    }),
    row(1, "regular events stay beside each other", |s| {
        both_stay(s, Draft::new(1), Draft::new(1));
    }),
    row(1, "kind 9999 is regular", |s| {
        both_stay(s, Draft::new(9999), Draft::new(9999))
    }),
    row(1, "kind 40000 is regular", |s| {
        both_stay(s, Draft::new(40_000), Draft::new(40_000))
    }),
    row(1, "a version is its author's", |s| {
        let first = s.sign(Draft::new(0).tag(["t", &s.word]));
        let draft = Draft::new(0).tag(["t", &s.word]);
        let other = draft.sign(&s.bob, s.now - 1).unwrap();
        s.publish(A, &first);
        s.publish(A, &other);
        s.stored(A, &[json!({"#t": [s.word]})], &[&first, &other]);
    }),
    row(
        1,
        "ephemeral events go to who listens and are not stored",
        |s| {
            let filter = json!({"authors": [s.author()]});
            s.subscribe(B, "live", std::slice::from_ref(&filter), &[]);
            let event = s.sign(Draft::new(20_001));
            s.publish(A, &event);
            s.live(B, "live", &event);
            s.silence(B);
            s.say(A, json!(["COUNT", "c", filter]));
            s.hear(A, json!(["COUNT", "c", {"count": 0}]));
        },
    ),
    row(1, "kind 29999 is ephemeral", |s| {
        let filter = json!({"kinds": [29_999], "authors": [s.author()]});
        s.subscribe(B, "live", std::slice::from_ref(&filter), &[]);
        let event = s.sign(Draft::new(29_999));
        s.publish(A, &event);
        s.live(B, "live", &event);
        s.say(A, json!(["COUNT", "c", filter]));
        s.hear(A, json!(["COUNT", "c", {"count": 0}]));
    }),
];
