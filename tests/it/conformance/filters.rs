//! NIP-01: what matches a filter, and in which order it comes.

use super::{
    Row, row,
    script::{A, Script},
};
use nostr::Event;
use serde_json::{Value, json};
use treefort::nips::Draft;

/// Stores five notes, a second apart; the newest comes first.
fn five(s: &mut Script) -> [Event; 5] {
    let notes = [0, 1, 2, 3, 4].map(|n| {
        let draft = Draft::new(if n % 2 == 0 { 1 } else { 7 })
            .content(n.to_string())
            .tag(["e", &s.word])
            .tag(["E", "upper"])
            .tag(["t", &format!("{n}"), "second"]);
        s.sign_at(draft, s.now - n)
    });
    for note in &notes {
        s.publish(A, note);
    }
    notes
}

/// Filters, made of the author, the word and the present, find these of the five.
fn find(s: &mut Script, filters: impl Fn(&str, &str, u64) -> Value, wanted: &[usize]) {
    let notes = five(s);
    let Value::Array(filters) = filters(&s.author(), &s.word, s.now) else {
        panic!("filters are a list");
    };
    let wanted: Vec<&Event> = wanted.iter().map(|at| &notes[*at]).collect();
    s.stored(A, &filters, &wanted);
}

pub(super) const ROWS: &[Row] = &[
    row(1, "by id", |s| {
        let notes = five(s);
        s.stored(
            A,
            &[json!({"ids": [notes[3].id, notes[1].id]})],
            &[&notes[1], &notes[3]],
        );
    }),
    row(1, "by author, newest first", |s| {
        find(
            s,
            |author, _, _| json!([{"authors": [author]}]),
            &[0, 1, 2, 3, 4],
        );
    }),
    row(1, "by author and kind", |s| {
        find(
            s,
            |author, _, _| json!([{"authors": [author], "kinds": [7, 9]}]),
            &[1, 3],
        );
    }),
    row(1, "by a thousand kinds", |s| {
        let all: Vec<u16> = (0..1000).collect();
        let notes = five(s);
        let wanted: Vec<&Event> = notes.iter().collect();
        s.stored(
            A,
            &[json!({"authors": [s.author()], "kinds": all})],
            &wanted,
        );
    }),
    row(1, "by tag", |s| {
        find(s, |_, word, _| json!([{"#e": [word]}]), &[0, 1, 2, 3, 4]);
    }),
    row(1, "one of several values of a tag", |s| {
        find(
            s,
            |author, _, _| json!([{"authors": [author], "#t": ["1", "4", "9"]}]),
            &[1, 4],
        );
    }),
    row(1, "all of several tags", |s| {
        find(s, |_, word, _| json!([{"#e": [word], "#t": ["2"]}]), &[2]);
    }),
    row(1, "upper-case tags are other tags", |s| {
        find(
            s,
            |author, word, _| json!([{"authors": [author], "#E": [word]}, {"authors": [author], "#e": ["upper"]}]),
            &[],
        );
    }),
    row(1, "by upper-case tag", |s| {
        find(
            s,
            |author, _, _| json!([{"authors": [author], "#E": ["upper"]}]),
            &[0, 1, 2, 3, 4],
        );
    }),
    row(1, "only a tag's first value counts", |s| {
        find(
            s,
            |author, _, _| json!([{"authors": [author], "#t": ["second"]}]),
            &[],
        );
    }),
    row(1, "a tag that nobody has", |s| {
        find(
            s,
            |author, _, _| json!([{"authors": [author], "#q": ["x"]}]),
            &[],
        );
    }),
    row(1, "since and until are inclusive", |s| {
        find(
            s,
            |author, _, now| json!([{"authors": [author], "since": now - 3, "until": now - 1}]),
            &[1, 2, 3],
        );
    }),
    row(1, "since after until finds nothing", |s| {
        find(
            s,
            |author, _, now| json!([{"authors": [author], "since": now, "until": now - 1}]),
            &[],
        );
    }),
    row(1, "limit takes the newest", |s| {
        find(
            s,
            |author, _, _| json!([{"authors": [author], "limit": 2}]),
            &[0, 1],
        );
    }),
    row(1, "limit takes the newest of what matches", |s| {
        find(
            s,
            |_, word, _| json!([{"#e": [word], "kinds": [7], "limit": 1}]),
            &[1],
        );
    }),
    row(1, "limit 0 finds nothing", |s| {
        find(
            s,
            |author, _, _| json!([{"authors": [author], "limit": 0}]),
            &[],
        );
    }),
    row(1, "kinds: [] matches nothing", |s| {
        find(
            s,
            |author, _, _| json!([{"authors": [author], "kinds": []}]),
            &[],
        );
    }),
    row(1, "ids: [] matches nothing", |s| {
        find(
            s,
            |author, _, _| json!([{"authors": [author], "ids": []}]),
            &[],
        );
    }),
    row(1, "authors: [] matches nothing", |s| {
        find(s, |_, word, _| json!([{"#e": [word], "authors": []}]), &[]);
    }),
    row(1, "an empty tag matches nothing", |s| {
        find(
            s,
            |author, _, _| json!([{"authors": [author], "#e": []}]),
            &[],
        );
    }),
    row(1, "filters are a union without doubles", |s| {
        find(
            s,
            |author, word, _| json!([{"authors": [author], "kinds": [7]}, {"#e": [word]}, {"#t": ["0"], "authors": [author]}]),
            &[0, 1, 2, 3, 4],
        );
    }),
    row(1, "each filter has its own limit", |s| {
        find(
            s,
            |author, _, _| json!([{"authors": [author], "kinds": [1], "limit": 1}, {"authors": [author], "kinds": [7], "limit": 1}]),
            &[0, 1],
        );
    }),
    row(1, "at equal times the lowest id comes first", |s| {
        let mut notes = ["a", "b", "c", "d"].map(|text| s.note(text));
        for note in &notes {
            s.publish(A, note);
        }
        notes.sort_by_key(|note| note.id);
        let [first, second, third, fourth] = &notes;
        s.kept(&[first, second, third, fourth]);
        let newest = json!({"authors": [s.author()], "limit": 2});
        s.stored(A, &[newest], &[first, second]);
    }),
    row(1, "an event of the year 1970 is an event", |s| {
        let note = s.sign_at(Draft::new(1), 0);
        s.publish(A, &note);
        s.kept(&[&note]);
        s.stored(A, &[json!({"authors": [s.author()], "until": 0})], &[&note]);
    }),
    row(
        1,
        "a tag of many letters is no reason to answer with everything",
        |s| {
            let note = s.note("x");
            s.publish(A, &note);
            s.say(
                A,
                json!(["REQ", "a", {"authors": [s.author()], "#alt": ["x"]}]),
            );
            s.hear_one_of(A, [json!(["CLOSED", "a", "*:*"]), json!(["EOSE", "a"])]);
        },
    ),
];
