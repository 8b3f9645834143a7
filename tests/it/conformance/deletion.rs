//! NIP-09, 40 and 62: what goes, and does not come back.

use super::{
    Row, row,
    script::{A, B, Script},
};
use nostr::Event;
use serde_json::json;
use treefort::nips::Draft;

fn deletion(s: &Script, event: &Event) -> Event {
    s.sign(Draft::new(5).tag(["e", &event.id.to_hex()]))
}

fn by_bob(s: &Script, draft: Draft) -> Event {
    draft.sign(&s.bob, s.now).unwrap()
}

fn address(s: &Script, kind: u16, d: &str) -> String {
    format!("{kind}:{}:{d}", s.author())
}

/// A request to vanish, now.
fn vanish(s: &Script, relay: &str) -> Event {
    s.sign(Draft::new(62).tag(["relay", relay]))
}

/// Everything of Alice's goes, up to the request, which alone is kept.
fn vanishes(s: &mut Script, relay: &str) {
    let (note, profile) = (s.note_ago("x", 3), s.sign_at(Draft::new(0), s.now - 2));
    let others = by_bob(s, Draft::new(1).content("stays"));
    for event in [&note, &profile, &others] {
        s.publish(A, event);
    }
    let request = vanish(s, relay);
    s.publish(A, &request);
    s.kept(&[&request]);
    s.stored(A, &[json!({"ids": [others.id]})], &[&others]);
    s.refused(A, &note, "blocked:");
    s.refused(B, &profile, "blocked:");
    s.kept(&[&request]);
}

pub(super) const ROWS: &[Row] = &[
    row(9, "an author deletes an event", |s| {
        let note = s.note_ago("x", 1);
        s.publish(A, &note);
        let request = deletion(s, &note);
        s.publish(A, &request);
        s.kept(&[&request]);
    }),
    row(9, "what is deleted is not taken again", |s| {
        let note = s.note_ago("x", 1);
        s.publish(A, &note);
        let request = deletion(s, &note);
        s.publish(A, &request);
        s.refused(B, &note, "");
        s.kept(&[&request]);
    }),
    row(9, "a deletion holds for what comes after it", |s| {
        let note = s.note_ago("x", 1);
        let request = deletion(s, &note);
        s.publish(A, &request);
        s.refused(A, &note, "");
        s.kept(&[&request]);
    }),
    row(9, "nobody deletes what is somebody else's", |s| {
        let note = s.note("x");
        s.publish(A, &note);
        let request = by_bob(s, Draft::new(5).tag(["e", &note.id.to_hex()]));
        s.send(A, &request);
        s.hear(A, json!(["OK", request.id, "*", "*"]));
        s.kept(&[&note]);
    }),
    row(
        9,
        "nobody deletes beforehand what is somebody else's",
        |s| {
            let note = s.note("x");
            let request = by_bob(s, Draft::new(5).tag(["e", &note.id.to_hex()]));
            s.publish(A, &request);
            s.publish(A, &note);
            s.kept(&[&note]);
        },
    ),
    row(9, "an address is deleted up to the request's time", |s| {
        let of = |s: &Script, at| s.sign_at(Draft::new(30_000).tag(["d", "x"]), at);
        let (old, new) = (of(s, s.now - 5), of(s, s.now + 5));
        s.publish(A, &old);
        let request = s.sign(Draft::new(5).tag(["a", &address(s, 30_000, "x")]));
        s.publish(A, &request);
        s.kept(&[&request]);
        s.refused(A, &old, "");
        s.publish(A, &new);
        s.kept(&[&new, &request]);
    }),
    row(9, "an address of a replaceable kind is deleted", |s| {
        let profile = s.sign_at(Draft::new(0), s.now - 5);
        s.publish(A, &profile);
        let request = s.sign(Draft::new(5).tag(["a", &address(s, 0, "")]));
        s.publish(A, &request);
        s.kept(&[&request]);
    }),
    row(9, "nobody deletes somebody else's address", |s| {
        let event = s.sign_at(Draft::new(30_000).tag(["d", "x"]), s.now - 5);
        s.publish(A, &event);
        let request = by_bob(s, Draft::new(5).tag(["a", &address(s, 30_000, "x")]));
        s.send(A, &request);
        s.hear(A, json!(["OK", request.id, "*", "*"]));
        s.kept(&[&event]);
    }),
    row(9, "a deletion cannot be deleted", |s| {
        let note = s.note_ago("x", 2);
        s.publish(A, &note);
        let first = s.sign_at(Draft::new(5).tag(["e", &note.id.to_hex()]), s.now - 1);
        s.publish(A, &first);
        let second = deletion(s, &first);
        s.send(A, &second);
        s.hear(A, json!(["OK", second.id, "*", "*"]));
        s.stored(A, &[json!({"ids": [first.id]})], &[&first]);
        s.refused(A, &note, "");
    }),
    row(9, "a deletion goes to who listens", |s| {
        let note = s.note_ago("x", 1);
        s.publish(A, &note);
        s.subscribe(B, "a", &[json!({"kinds": [5], "#e": [note.id]})], &[]);
        let request = deletion(s, &note);
        s.publish(A, &request);
        s.live(B, "a", &request);
    }),
    row(40, "what has expired is refused", |s| {
        let note = s.sign(Draft::new(1).tag(["expiration", "100"]));
        s.refused(A, &note, "invalid:");
    }),
    row(40, "what expires is served until then", |s| {
        let soon = (s.now + 12).to_string();
        let note = s.sign(Draft::new(1).tag(["expiration", &soon]));
        s.publish(A, &note);
        s.kept(&[&note]);
        s.wait(12_500);
        s.kept(&[]);
        s.say(A, json!(["COUNT", "c", {"authors": [s.author()]}]));
        s.hear(A, json!(["COUNT", "c", {"count": 0}]));
    }),
    row(
        40,
        "an ephemeral event that has expired is not repeated",
        |s| {
            let soon = (s.now + 12).to_string();
            let piece = s.sign(Draft::new(24_135).tag(["expiration", &soon]));
            s.publish(A, &piece);
            s.kept(&[&piece]);
            s.wait(12_500);
            s.kept(&[]);
        },
    ),
    row(62, "who asks this relay to be forgotten is", |s| {
        let relay = s.relay.clone();
        vanishes(s, &relay);
    }),
    row(62, "who asks all relays to be forgotten is", |s| {
        vanishes(s, "ALL_RELAYS")
    }),
    row(62, "a request to another relay changes nothing", |s| {
        let note = s.note_ago("x", 3);
        s.publish(A, &note);
        let request = vanish(s, "wss://relay.example");
        s.send(A, &request);
        s.hear(A, json!(["OK", request.id, "*", "*"]));
        s.stored(A, &[json!({"ids": [note.id]})], &[&note]);
    }),
    row(62, "who was forgotten may begin again", |s| {
        let request = s.sign_at(Draft::new(62).tag(["relay", "ALL_RELAYS"]), s.now - 5);
        s.publish(A, &request);
        let note = s.note("again");
        s.publish(A, &note);
        s.kept(&[&note, &request]);
    }),
    row(62, "deletions go too, and hold", |s| {
        let note = s.note_ago("x", 5);
        let delete = s.sign_at(Draft::new(5).tag(["e", &note.id.to_hex()]), s.now - 4);
        s.publish(A, &note);
        s.publish(A, &delete);
        let request = vanish(s, "ALL_RELAYS");
        s.publish(A, &request);
        s.kept(&[&request]);
        s.refused(A, &note, "blocked:");
        s.refused(A, &delete, "blocked:");
    }),
    row(62, "gift wraps to who was forgotten go", |s| {
        let wrap = s.wrap(1059);
        s.publish(B, &wrap);
        let alice = s.alice.clone();
        s.auth(A, &alice);
        s.stored(A, &[json!({"ids": [wrap.id]})], &[&wrap]);
        let request = vanish(s, "ALL_RELAYS");
        s.publish(A, &request);
        s.stored(A, &[json!({"ids": [wrap.id]})], &[]);
        s.refused(B, &wrap, "blocked:");
    }),
    row(62, "a deletion does not undo a request to vanish", |s| {
        let note = s.note_ago("x", 5);
        s.publish(A, &note);
        let request = s.sign_at(Draft::new(62).tag(["relay", "ALL_RELAYS"]), s.now - 1);
        s.publish(A, &request);
        let delete = deletion(s, &request);
        s.send(A, &delete);
        s.hear(A, json!(["OK", delete.id, "*", "*"]));
        s.stored(A, &[json!({"ids": [request.id]})], &[&request]);
        s.refused(A, &note, "blocked:");
    }),
    row(62, "a request that came again changes nothing", |s| {
        let request = s.sign_at(Draft::new(62).tag(["relay", "ALL_RELAYS"]), s.now - 5);
        s.publish(A, &request);
        let note = s.note("again");
        s.publish(A, &note);
        s.send(B, &request);
        s.hear(B, json!(["OK", request.id, true, "duplicate:*"]));
        s.kept(&[&note, &request]);
    }),
];
