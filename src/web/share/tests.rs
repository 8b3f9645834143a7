//! What is in a shared file, and what never is.

use nostr::{JsonUtil as _, Keys};

use super::*;
use crate::nips::Draft;

const GOLDEN: &str = include_str!("../../../tests/page/fixtures/builder.jsonl");

fn exported() -> Vec<Event> {
    GOLDEN
        .lines()
        .map(|line| Event::from_json(line).unwrap())
        .collect()
}

fn session(events: &[Event]) -> PublicKey {
    let start = events
        .iter()
        .find(|event| event.kind.as_u16() == kind::SESSION_START);
    start.unwrap().pubkey
}

fn bundle(events: Vec<Event>) -> Bundle {
    let redactor = Redactor::new(Vec::new());
    Bundle::of(session(&events), events, &redactor).unwrap()
}

fn kinds(bundle: &Bundle) -> BTreeSet<u16> {
    let kinds = bundle.events.iter().map(|event| event.kind.as_u16());
    kinds.collect()
}

fn signed(keys: &Keys, draft: Draft) -> Event {
    draft.sign(keys, 1_795_000_000).unwrap()
}

#[test]
fn a_session_comes_with_its_jobs_and_answers_and_without_its_thread() {
    let shared = bundle(exported());
    let wanted = [4781, 4782, 4783, 4784, 4785, 5870, 6870, 7000];
    assert_eq!(kinds(&shared), BTreeSet::from(wanted));
    let both = |kind: u16| {
        let mut events = shared.events.iter();
        let keys: BTreeSet<PublicKey> = events
            .by_ref()
            .filter(|event| event.kind.as_u16() == kind)
            .map(|event| event.pubkey)
            .collect();
        keys.len()
    };
    // Asked by the customer and handed on; answered by the session and to the customer.
    assert_eq!((both(5870), both(6870)), (2, 2));
    let order: Vec<u64> = shared
        .events
        .iter()
        .filter(|event| is_record(event))
        .map(seq)
        .collect();
    assert!(order.iter().copied().eq(0..28), "{order:?}");
    assert!(!shared.private && shared.left_out == 0);
}

#[test]
fn nothing_of_another_session_or_of_a_stranger_is_in_it() {
    let mut events = exported();
    let ours = bundle(events.clone()).events.len();
    let start = events
        .iter()
        .find(|event| event.kind.as_u16() == kind::SESSION_START)
        .unwrap();
    let job = names(start, "E").next().unwrap().clone();
    let stranger = Keys::generate();
    let session = start.pubkey.to_hex();
    events.extend([
        // Another session of the same job, and a stranger who claims to be one.
        signed(
            &stranger,
            Draft::new(4782)
                .tag(["E", job.as_str()])
                .tag(["seq", "3"])
                .tag(["l", "message"]),
        ),
        signed(&stranger, Draft::new(6870).tag(["E", job.as_str()])),
        signed(
            &stranger,
            Draft::new(5870)
                .tag(["E", job.as_str()])
                .tag(["p", session.as_str()]),
        ),
        signed(&stranger, Draft::new(7000).tag(["e", job.as_str()])),
        signed(&stranger, Draft::new(0).content("{\"name\":\"somebody\"}")),
    ]);
    assert_eq!(bundle(events).events.len(), ours);
}

#[test]
fn names_of_those_who_signed_are_in_it() {
    let mut events = exported();
    let keys = Keys::generate();
    let request = signed(&keys, Draft::new(5870).tag(["i", "do it", "text"]));
    let start = signed(
        &keys,
        Draft::new(4781)
            .tag(["v", "0"])
            .tag(["seq", "0"])
            .tag(["E", request.id.to_hex().as_str()])
            .tags(
                [
                    "role", "model", "provider", "tier", "adapter", "image", "env", "config",
                ]
                .map(|name| vec![name.to_owned(), "x".to_owned()]),
            ),
    );
    let name = signed(&keys, Draft::new(0).content("{\"name\":\"me\"}"));
    events.extend([request, start, name]);
    let shared = Bundle::of(keys.public_key(), events, &Redactor::new(Vec::new())).unwrap();
    assert_eq!(kinds(&shared), BTreeSet::from([0, 4781, 5870]));
}

#[test]
fn of_a_private_job_only_the_records_get_out() {
    let mut events = exported();
    let keys = Keys::generate();
    let start = events
        .iter()
        .find(|event| event.kind.as_u16() == kind::SESSION_START)
        .unwrap();
    let (job, session) = (names(start, "E").next().unwrap().clone(), start.pubkey);
    // The coordinator's own word says that it is private.
    events.push(signed(
        &keys,
        Draft::new(5870)
            .tag(["encrypted"])
            .tag(["E", job.as_str()])
            .content("AhAx"),
    ));
    let shared = Bundle::of(session, events, &Redactor::new(Vec::new())).unwrap();
    assert!(shared.private);
    assert!(shared.events.iter().all(is_record));
    assert!(
        shared
            .html()
            .contains("<title>A private session · treefort</title>")
    );
}

#[test]
fn a_secret_does_not_get_out() {
    let events = exported();
    let session = session(&events);
    // In the request and what repeats it, but in no record.
    let place = Redactor::new(vec!["/tmp/w3/shop".to_owned()]);
    let shared = Bundle::of(session, events.clone(), &place).unwrap();
    assert_eq!(shared.left_out, 2);
    assert!(!shared.lines().contains("/tmp/w3/shop"));
    // In a record, which cannot be changed.
    let word = Redactor::new(vec!["water the plants".to_owned()]);
    let refused = Bundle::of(session, events, &word).unwrap_err();
    assert!(
        matches!(refused, ShareError::Secret(seq) if seq > 0),
        "{refused}"
    );
}

#[test]
fn what_an_agent_wrote_ends_no_element_and_is_the_same_when_it_is_read_back() {
    let keys = Keys::generate();
    let hostile = "</script><script>alert(1)</script><!-- \u{2028}\u{2029} {{RECORD}} \"'";
    let request = signed(
        &keys,
        Draft::new(5870)
            .tag(["i", "</title><script>alert(2)</script>", "text"])
            .content(hostile),
    );
    let shared = Bundle {
        session: keys.public_key(),
        events: vec![request.clone()],
        private: false,
        left_out: 0,
        title: title(std::slice::from_ref(&request)).unwrap(),
    };
    let html = shared.html();
    assert!(
        !html.contains("alert(1)</script>") && !html.contains("<script>alert"),
        "{html}"
    );
    assert_eq!(
        html.matches("<script").count(),
        VIEWER.matches("<script").count()
    );
    let (record, ours) = record_of(&html).unwrap();
    assert!(ours);
    let read = Event::from_json(record).unwrap();
    assert_eq!(read, request);
    assert!(read.verify().is_ok());
}

#[test]
fn a_page_that_was_changed_is_known() {
    let html = bundle(exported()).html();
    assert_eq!(record_of(&html).map(|(_, ours)| ours), Some(true));
    assert!(is_html(&html));
    for changed in [
        html.replacen("<title>", "<title></title><script>1</script><title>", 1),
        html.replacen("</body>", "<p>more</p></body>", 1),
        html.replacen("script-src", "script-src 'unsafe-inline'", 1),
    ] {
        assert_ne!(changed, html);
        assert_eq!(record_of(&changed).map(|(_, ours)| ours), Some(false));
    }
    assert!(record_of("<!doctype html><p>hello").is_none());
}

#[test]
fn the_viewer_has_its_places_once_and_asks_nothing_of_any_network() {
    for place in [TITLE, RECORD, BEGIN] {
        assert_eq!(VIEWER.matches(place).count(), 1, "{place}");
    }
    assert!(VIEWER.contains("default-src 'none'; script-src 'sha256-"));
    assert!(!VIEWER.contains("src=\"") && !VIEWER.contains("%SCRIPT"));
}
