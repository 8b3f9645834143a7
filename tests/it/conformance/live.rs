//! NIP-01: subscriptions, before and after EOSE; and ephemeral events for who comes late, which clients of agents rely on.

use super::{
    Row, row,
    script::{A, B, Script, Step},
};
use nostr::Event;
use serde_json::{Value, json};
use treefort::nips::Draft;

fn mine(s: &Script) -> [Value; 1] {
    [json!({"authors": [s.author()]})]
}

fn delta(s: &Script, text: &str) -> Event {
    s.sign(Draft::new(24_135).content(text).tag(["e", &s.word]))
}

pub(super) const ROWS: &[Row] = &[
    row(
        1,
        "what is stored comes before EOSE, what is new after it",
        |s| {
            let (old, new) = (s.note_ago("old", 5), s.note("new"));
            s.publish(A, &old);
            let filters = mine(s);
            s.subscribe(B, "a", &filters, &[&old]);
            s.publish(A, &new);
            s.live(B, "a", &new);
            s.silence(B);
        },
    ),
    row(
        1,
        "new events go to the subscriptions that they match",
        |s| {
            s.subscribe(
                B,
                "a",
                &[json!({"authors": [s.author()], "kinds": [7]})],
                &[],
            );
            s.subscribe(
                B,
                "b",
                &[
                    json!({"#t": [s.word]}),
                    json!({"kinds": [1], "authors": []}),
                ],
                &[],
            );
            let (note, reaction) = (s.note("x"), s.sign(Draft::new(7)));
            let tagged = s.sign(Draft::new(1).tag(["t", &s.word]));
            s.publish(A, &note);
            s.publish(A, &reaction);
            s.live(B, "a", &reaction);
            s.publish(A, &tagged);
            s.live(B, "b", &tagged);
            s.silence(B);
        },
    ),
    row(
        1,
        "every subscription that matches gets an event once",
        |s| {
            let filters = [mine(s), mine(s)].concat();
            s.subscribe(B, "a", &filters, &[]);
            s.subscribe(B, "b", &filters, &[]);
            let note = s.note("x");
            s.publish(A, &note);
            let wanted = ["a", "b"].map(|name| json!(["EVENT", name, {"id": note.id}]));
            s.hear_all(B, wanted);
        },
    ),
    row(1, "a duplicate is not sent again", |s| {
        let filters = mine(s);
        s.subscribe(B, "a", &filters, &[]);
        let note = s.note("x");
        s.publish(A, &note);
        s.live(B, "a", &note);
        s.publish(A, &note);
        s.silence(B);
    }),
    row(1, "an old version is not sent", |s| {
        let (new, old) = (s.sign(Draft::new(0)), s.sign_at(Draft::new(0), s.now - 9));
        s.publish(A, &new);
        s.subscribe(B, "a", &[json!({"authors": [s.author()], "limit": 0})], &[]);
        s.send(A, &old);
        s.hear(A, json!(["OK", old.id, "*", "*"]));
        s.silence(B);
    }),
    row(1, "limit is for what is stored alone", |s| {
        s.subscribe(B, "a", &[json!({"authors": [s.author()], "limit": 1})], &[]);
        for text in ["a", "b", "c"] {
            let note = s.note(text);
            s.publish(A, &note);
            s.live(B, "a", &note);
        }
    }),
    row(1, "until holds for new events too", |s| {
        s.subscribe(
            B,
            "a",
            &[json!({"authors": [s.author()], "until": s.now - 5})],
            &[],
        );
        let (new, old) = (s.note("new"), s.note_ago("old", 9));
        s.publish(A, &new);
        s.publish(A, &old);
        s.live(B, "a", &old);
        s.silence(B);
    }),
    row(1, "CLOSE ends a subscription", |s| {
        let filters = mine(s);
        s.subscribe(B, "a", &filters, &[]);
        s.say(B, json!(["CLOSE", "a"]));
        s.silence(B);
        let note = s.note("x");
        s.publish(A, &note);
        s.silence(B);
    }),
    row(1, "a REQ of the same name replaces a subscription", |s| {
        let filters = mine(s);
        s.subscribe(B, "a", &filters, &[]);
        s.subscribe(
            B,
            "a",
            &[json!({"authors": [s.author()], "kinds": [7]})],
            &[],
        );
        let (note, reaction) = (s.note("x"), s.sign(Draft::new(7)));
        s.publish(A, &note);
        s.publish(A, &reaction);
        s.live(B, "a", &reaction);
        s.silence(B);
    }),
    row(1, "names belong to their connection", |s| {
        let (mine, reactions) = (mine(s), json!({"authors": [s.author()], "kinds": [7]}));
        s.subscribe(A, "a", &mine, &[]);
        s.subscribe(B, "a", &[reactions], &[]);
        s.say(B, json!(["CLOSE", "a"]));
        s.silence(B);
        let note = s.note("x");
        s.send(B, &note);
        s.hear(B, json!(["OK", note.id, true, "*"]));
        s.live(A, "a", &note);
    }),
    row(
        1,
        "nothing is missed or doubled between stored and live",
        |s| {
            let notes: Vec<Event> = (0..80).map(|n| s.note(&n.to_string())).collect();
            let filters = mine(s);
            for note in &notes[..40] {
                s.send(A, note);
            }
            s.say(B, json!(["REQ", "a", filters[0]]));
            for note in &notes[40..] {
                s.send(A, note);
            }
            let ids = notes.iter().map(|note| note.id).collect();
            s.steps.push(Step::HearOnce(B, "a", ids));
        },
    ),
    row(1, "who wrote finds it in what it asks next", |s| {
        let notes: Vec<Event> = (0..20).map(|n| s.note_ago("x", n)).collect();
        for note in &notes {
            s.send(A, note);
            s.hear(A, json!(["OK", note.id, true, "*"]));
            s.stored(A, &[json!({"ids": [note.id]})], &[note]);
        }
    }),
    row(
        1,
        "ephemeral events of the last minute come before EOSE",
        |s| {
            let (first, second) = (delta(s, "first"), delta(s, "second"));
            s.publish(A, &first);
            s.publish(A, &second);
            s.subscribe(B, "a", &[json!({"#e": [s.word]})], &[&first, &second]);
            s.silence(B);
        },
    ),
    row(
        1,
        "an ephemeral event that came live is not repeated",
        |s| {
            let filter = [json!({"#e": [s.word]})];
            s.subscribe(B, "a", &filter, &[]);
            let (first, second) = (delta(s, "first"), delta(s, "second"));
            s.publish(A, &first);
            s.live(B, "a", &first);
            s.subscribe(A, "late", &filter, &[&first]);
            s.publish(A, &second);
            s.live(A, "late", &second);
            s.live(B, "a", &second);
            s.silence(A);
            s.silence(B);
        },
    ),
    row(1, "ephemeral events come after what is stored", |s| {
        let (piece, note) = (delta(s, "first"), s.note("x"));
        s.publish(A, &piece);
        s.publish(A, &note);
        let filters = mine(s);
        s.subscribe(B, "a", &filters, &[&note, &piece]);
    }),
    row(1, "ephemeral events match like others", |s| {
        let piece = delta(s, "first");
        s.publish(A, &piece);
        s.stored(B, &[json!({"#e": ["other"]})], &[]);
        s.stored(B, &[json!({"#e": [s.word], "kinds": [1]})], &[]);
        s.stored(B, &[json!({"#e": [s.word], "since": s.now + 1})], &[]);
        s.stored(B, &[json!({"#e": [s.word], "limit": 0})], &[]);
        s.stored(
            B,
            &[json!({"kinds": [24_135], "authors": [s.author()]})],
            &[&piece],
        );
    }),
    row(1, "limit takes the newest ephemeral events", |s| {
        let pieces = ["a", "b", "c"].map(|text| delta(s, text));
        for piece in &pieces {
            s.publish(A, piece);
        }
        s.stored(
            B,
            &[json!({"#e": [s.word], "limit": 2})],
            &[&pieces[1], &pieces[2]],
        );
    }),
];
