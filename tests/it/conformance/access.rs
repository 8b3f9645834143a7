//! NIP-42, 70, 17 and 59: who is who, and who gets what.

use super::{
    Row, row,
    script::{A, B, Script},
};
use serde_json::json;
use treefort::nips::Draft;

/// Alice proves her key on B; nobody is on A.
fn alice_on_b(s: &mut Script) {
    let alice = s.alice.clone();
    s.auth(B, &alice);
}

/// One subscription asks for private events alone: nobody gets none, and may be told why.
fn nothing_for_nobody(s: &mut Script, filter: &serde_json::Value) {
    s.say(A, json!(["REQ", "private", filter]));
    s.hear_one_of(
        A,
        [
            json!(["CLOSED", "private", "auth-required:*"]),
            json!(["EOSE", "private"]),
        ],
    );
    s.say(A, json!(["CLOSE", "private"]));
    s.silence(A);
}

pub(super) const ROWS: &[Row] = &[
    row(42, "a challenge comes, and its answer counts", |s| {
        let alice = s.alice.clone();
        s.auth(A, &alice);
    }),
    row(42, "one connection may prove several keys", |s| {
        let (alice, bob) = (s.alice.clone(), s.bob.clone());
        s.auth(A, &alice);
        s.auth(A, &bob);
        for keys in [&alice, &bob] {
            let note = Draft::new(1).tag(["-"]).sign(keys, s.now).unwrap();
            s.publish(A, &note);
        }
    }),
    row(42, "an answer to another challenge does not count", |s| {
        let alice = s.alice.clone();
        s.answer(A, &alice, "{relay}", "other", 0, false);
    }),
    row(42, "an answer for another relay does not count", |s| {
        let alice = s.alice.clone();
        s.answer(A, &alice, "wss://relay.example", "{challenge}", 0, false);
    }),
    row(42, "an answer of an hour ago does not count", |s| {
        let alice = s.alice.clone();
        s.answer(A, &alice, "{relay}", "{challenge}", 3600, false);
    }),
    row(42, "an answer from the future does not count", |s| {
        let alice = s.alice.clone();
        s.now += 3600;
        s.answer(A, &alice, "{relay}", "{challenge}", 0, false);
        s.now -= 3600;
    }),
    row(42, "AUTH without an event gets a NOTICE", |s| {
        s.say(A, json!(["AUTH", {}]));
        s.hear(A, json!(["NOTICE", "*"]));
        s.silence(A);
    }),
    row(
        42,
        "kind 22242 is refused as an event and not stored",
        |s| {
            let draft = Draft::new(22_242)
                .tag(["relay", &s.relay])
                .tag(["challenge", "x"]);
            let event = s.sign(draft);
            s.refused(A, &event, "invalid:");
            s.kept(&[]);
        },
    ),
    row(
        42,
        "an answer to the challenge is neither stored nor forwarded",
        |s| {
            s.subscribe(B, "a", &[json!({"authors": [s.author()]})], &[]);
            let alice = s.alice.clone();
            s.auth(A, &alice);
            s.kept(&[]);
            s.silence(B);
        },
    ),
    row(70, "a protected event needs its author to be known", |s| {
        let note = s.sign(Draft::new(1).tag(["-"]));
        s.refused(A, &note, "auth-required:");
        alice_on_b(s);
        s.publish(B, &note);
        s.kept(&[&note]);
    }),
    row(70, "a protected event comes from nobody else", |s| {
        let note = s.sign(Draft::new(1).tag(["-"]));
        let bob = s.bob.clone();
        s.auth(A, &bob);
        s.refused(A, &note, "restricted:");
    }),
    row(59, "a gift wrap is taken from anybody", |s| {
        let wrap = s.wrap(1059);
        s.publish(A, &wrap);
    }),
    row(59, "a stored gift wrap goes to its recipient alone", |s| {
        let wrap = s.wrap(1059);
        s.publish(A, &wrap);
        alice_on_b(s);
        let filter = json!({"kinds": [1059], "#p": [s.author()]});
        s.stored(B, std::slice::from_ref(&filter), &[&wrap]);
        nothing_for_nobody(s, &filter);
    }),
    row(
        59,
        "a stored gift wrap does not go to another who is known",
        |s| {
            let wrap = s.wrap(1059);
            s.publish(A, &wrap);
            let bob = s.bob.clone();
            s.auth(B, &bob);
            s.stored(B, &[json!({"kinds": [1059], "#p": [s.author()]})], &[]);
        },
    ),
    row(59, "nor by its id", |s| {
        let wrap = s.wrap(1059);
        s.publish(B, &wrap);
        s.stored(A, &[json!({"ids": [wrap.id]})], &[]);
        s.stored(A, &[json!({"authors": [wrap.pubkey]})], &[]);
    }),
    row(59, "nor by its tag without a kind", |s| {
        let (wrap, note) = (s.wrap(1059), s.sign(Draft::new(1).tag(["p", &s.author()])));
        s.publish(B, &wrap);
        s.publish(B, &note);
        s.stored(A, &[json!({"#p": [s.author()]})], &[&note]);
    }),
    row(59, "what is not seen takes nothing of a limit", |s| {
        let note = s.sign_at(Draft::new(1).tag(["p", &s.author()]), s.now - 9);
        s.publish(B, &note);
        for _ in 0..3 {
            let wrap = s.wrap(1059);
            s.publish(B, &wrap);
        }
        s.stored(A, &[json!({"#p": [s.author()], "limit": 1})], &[&note]);
    }),
    row(59, "a new gift wrap goes to its recipient alone", |s| {
        alice_on_b(s);
        let filter = json!({"#p": [s.author()]});
        s.subscribe(A, "a", std::slice::from_ref(&filter), &[]);
        s.subscribe(B, "a", std::slice::from_ref(&filter), &[]);
        let (wrap, note) = (s.wrap(1059), s.sign(Draft::new(1).tag(["p", &s.author()])));
        s.publish(B, &wrap);
        s.live(B, "a", &wrap);
        s.publish(B, &note);
        s.live(B, "a", &note);
        s.live(A, "a", &note);
    }),
    row(
        59,
        "a subscription from before the proof gets new gift wraps after it",
        |s| {
            s.subscribe(B, "a", &[json!({"#p": [s.author()]})], &[]);
            alice_on_b(s);
            let wrap = s.wrap(1059);
            s.publish(A, &wrap);
            s.live(B, "a", &wrap);
        },
    ),
    row(
        59,
        "gift wraps are counted for their recipient alone",
        |s| {
            let wrap = s.wrap(1059);
            s.publish(A, &wrap);
            alice_on_b(s);
            let filter = json!({"#p": [s.author()], "kinds": [1059, 1]});
            s.say(A, json!(["COUNT", "c", filter]));
            s.hear(A, json!(["COUNT", "c", {"count": 0}]));
            s.say(B, json!(["COUNT", "c", filter]));
            s.hear(B, json!(["COUNT", "c", {"count": 1}]));
        },
    ),
    row(
        59,
        "gift wraps are reconciled for their recipient alone",
        |s| {
            let (wrap, note) = (s.wrap(1059), s.sign(Draft::new(1).tag(["p", &s.author()])));
            s.publish(A, &wrap);
            s.publish(A, &note);
            alice_on_b(s);
            let filter = json!({"#p": [s.author()]});
            s.reconcile(A, filter.clone(), &[], &[&note], &[]);
            s.reconcile(B, filter, &[], &[&note, &wrap], &[]);
        },
    ),
    row(
        59,
        "a gift wrap that is ephemeral is repeated for its recipient alone",
        |s| {
            let wrap = s.wrap(21_059);
            s.publish(A, &wrap);
            alice_on_b(s);
            let filter = json!({"#p": [s.author()]});
            s.stored(A, std::slice::from_ref(&filter), &[]);
            s.stored(B, &[filter], &[&wrap]);
        },
    ),
];
