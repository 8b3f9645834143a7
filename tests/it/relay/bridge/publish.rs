//! `POST /events`: what OK would say, and the status that fits.

use super::*;

#[tokio::test]
async fn one_event_is_answered_with_what_ok_says_and_is_stored_when_that_comes() {
    let bus = Bus::start(Config::default()).await;
    let event = note(&Keys::generate(), "über HTTP");
    let answer = bus.post(&event.as_json(), "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = event.id.to_hex();
    assert_eq!(
        answer.json(),
        json!({"id": id, "accepted": true, "message": "", "seq": 1})
    );
    assert_eq!(
        bus.client().await.req("a", &[json!({})]).await,
        std::slice::from_ref(&id)
    );
    let again = bus.post(&event.as_json(), "").await;
    assert_eq!(again.status, 200);
    assert_eq!(
        again.json(),
        json!({"id": id, "accepted": true, "message": "duplicate: already have this event"})
    );
}

#[tokio::test]
async fn several_events_are_answered_in_their_order_in_json_and_in_lines() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    let events: Vec<Event> = (0..50).map(|n| note(&keys, &n.to_string())).collect();
    let mut forged: Value = serde_json::from_str(&events[1].as_json()).unwrap();
    forged["sig"] = json!("0".repeat(128));
    let mut list: Vec<Value> = events.iter().map(|event| json!(event)).collect();
    list[1] = forged;
    list.insert(2, json!({"no": "event"}));
    let answer = bus.post(&json!(list).to_string(), "").await;
    assert_eq!(answer.status, 400, "that of the first that was refused");
    let said = answer.json();
    assert_eq!(said.as_array().unwrap().len(), 51);
    for (n, (said, sent)) in said.as_array().unwrap().iter().zip(&list).enumerate() {
        assert_eq!(said["id"], sent["id"], "{n}");
        assert_eq!(said["accepted"], !(1..=2).contains(&n), "{n}: {said}");
    }
    assert!(
        said[1]["message"]
            .as_str()
            .unwrap()
            .starts_with("invalid: the signature")
    );
    assert!(
        said[2]["message"]
            .as_str()
            .unwrap()
            .starts_with("invalid: not an event")
    );
    assert_eq!(bus.relay.last_seq(), 49);

    let lines: String = events
        .iter()
        .map(|event| event.as_json() + "\r\n")
        .collect();
    for media_type in ["application/x-ndjson", "application/jsonl; charset=utf-8"] {
        let headers = format!("Content-Type: {media_type}\r\nAccept: {media_type}\r\n");
        let answer = bus.ask("POST", "/events", &headers, &lines).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        assert_eq!(answer.body.lines().count(), 50);
        for (line, event) in answer.body.lines().zip(&events) {
            let said: Value = serde_json::from_str(line).unwrap();
            assert_eq!(said["id"], event.id.to_hex());
            assert_eq!(said["accepted"], true);
        }
    }
    assert_eq!(bus.relay.last_seq(), 50);
}

#[tokio::test]
async fn each_reason_has_its_status() {
    let bus = Bus::start(Config {
        max_content: 10,
        ..Config::default()
    })
    .await;
    let keys = Keys::generate();
    let at = |kind: u16, time: u64| Draft::new(kind).sign(&keys, time).unwrap();
    let mut other_id: Value = json!(note(&keys, "x"));
    other_id["content"] = json!("y");
    let mut forged: Value = json!(note(&keys, "x"));
    forged["sig"] = json!("0".repeat(128));
    let newer = at(0, now());
    assert_eq!(bus.post(&newer.as_json(), "").await.status, 200);
    let deleted = note(&keys, "deleted");
    let deletion = Draft::new(5)
        .tag(["e", &deleted.id.to_hex()])
        .sign(&keys, now())
        .unwrap();
    assert_eq!(bus.post(&deletion.as_json(), "").await.status, 200);
    let protected = Draft::new(1).tag(["-"]).sign(&keys, now()).unwrap();
    let expired = Draft::new(1)
        .tag(["expiration", "1"])
        .sign(&keys, now())
        .unwrap();
    for (sent, status, message) in [
        (
            json!(other_id),
            400,
            "invalid: the id is not the event's hash",
        ),
        (json!(forged), 400, "invalid: the signature does not verify"),
        (json!({}), 400, "invalid: not an event"),
        (json!(7), 400, "invalid: not an event"),
        (
            json!(at(1, now() + 10_000)),
            400,
            "invalid: created_at is more",
        ),
        (
            json!(at(1, 1 << 40)),
            400,
            "invalid: created_at is out of range",
        ),
        (json!(at(22242, now())), 400, "invalid: kind 22242"),
        (json!(expired), 400, "invalid: the event has expired"),
        (json!(protected), 401, "auth-required: "),
        (
            json!(at(0, now() - 9)),
            409,
            "duplicate: have a newer version",
        ),
        (json!(deleted), 410, "blocked: this event was deleted"),
        (
            json!(note(&keys, "12345678901")),
            413,
            "invalid: content has at most 10",
        ),
    ] {
        let answer = bus.post(&sent.to_string(), "").await;
        assert_eq!(answer.status, status, "{answer:?}");
        let said = answer.json();
        assert_eq!(said["accepted"], false);
        assert!(
            said["message"].as_str().unwrap().starts_with(message),
            "{said}"
        );
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
    }
}

#[tokio::test]
async fn a_body_that_is_none_is_refused_as_a_whole() {
    let bus = Bus::start(Config {
        max_frame_bytes: 2000,
        ..Config::default()
    })
    .await;
    for body in ["", "[]", "{", "[{]", "\u{0}", "{}{}"] {
        let answer = bus.post(body, "").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid"),
            "{body}"
        );
    }
    for media_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "text/json",
        "",
    ] {
        let headers = format!("Content-Type: {media_type}\r\n");
        assert_eq!(bus.ask("POST", "/events", &headers, "{}").await.status, 415);
    }
    assert_eq!(bus.ask("POST", "/events", "", "{}").await.status, 415);
    let long = " ".repeat(2001);
    assert_eq!(bus.post(&long, "").await.status, 413);
    // One that does not say how long it is.
    let headers = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nContent-Length:";
    let chunked = format!("7d1\r\n{long}\r\n0\r\n\r\n");
    let headers = headers.trim_end_matches("Content-Length:");
    let request = format!(
        "POST /events HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n{chunked}",
        bus.address
    );
    assert!(bus.http(&request).await.starts_with("HTTP/1.1 413 "));
    let many = format!("[{}]", vec!["0"; 1001].join(",")).replace("0,", "0,");
    let bus = Bus::start(Config::default()).await;
    assert_eq!(bus.post(&many, "").await.status, 413);
    assert_eq!(bus.relay.last_seq(), 0);
}

#[tokio::test]
async fn an_ephemeral_event_goes_to_who_listens_and_has_no_number() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    client.req("a", &[json!({"kinds": [20001]})]).await;
    let event = Draft::new(20001).sign(&Keys::generate(), now()).unwrap();
    let answer = bus.post(&event.as_json(), "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json().get("seq"), None);
    assert_eq!(client.next().await[2]["id"], event.id.to_hex());
}
