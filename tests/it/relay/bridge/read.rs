//! `GET /events`: the same events as a REQ.

use super::*;

#[tokio::test]
async fn a_query_gives_what_a_req_gives() {
    let bus = Bus::searched(Config::default()).await;
    let (keys, other) = (Keys::generate(), Keys::generate());
    for n in 0..20 {
        let event = Draft::new(if n % 2 == 0 { 1 } else { 7 })
            .content(format!("note {n}"))
            .tag(["t", if n % 3 == 0 { "a,b" } else { "c" }])
            .sign(if n % 5 == 0 { &other } else { &keys }, now() - n)
            .unwrap();
        bus.relay.publish(event).await.unwrap();
    }
    let author = other.public_key().to_hex();
    let since = now() - 7;
    let mut client = bus.client().await;
    for (query, filters) in [
        (String::new(), vec![json!({})]),
        (
            "?kinds=1,7&limit=3".to_owned(),
            vec![json!({"kinds": [1, 7], "limit": 3})],
        ),
        (
            format!("?authors={author}"),
            vec![json!({"authors": [author]})],
        ),
        (
            format!("?since={since}&kinds=7"),
            vec![json!({"since": since, "kinds": [7]})],
        ),
        ("?t=a%2Cb".to_owned(), vec![json!({"#t": ["a,b"]})]),
        ("?%23t=c".to_owned(), vec![json!({"#t": ["c"]})]),
        (
            "?search=note+3".to_owned(),
            vec![json!({"search": "note 3"})],
        ),
        (
            "?filter=%7B%22kinds%22:%5B1%5D%7D&filter=%7B%22%23t%22:%5B%22a,b%22%5D%7D".to_owned(),
            vec![json!({"kinds": [1]}), json!({"#t": ["a,b"]})],
        ),
        (
            "?filter=%7B%22kinds%22:%5B%5D%7D".to_owned(),
            vec![json!({"kinds": []})],
        ),
    ] {
        let over_http = bus.read(&query, "").await;
        assert_eq!(over_http.header("treefort-seq"), Some("20"));
        let over_websocket = client.req("a", &filters).await;
        assert_eq!(over_http.ids(), over_websocket, "{query}");
        let lines = bus.read(&query, "Accept: application/x-ndjson\r\n").await;
        assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
        let ids = lines
            .body
            .lines()
            .map(|line| Event::from_json(line).unwrap().id.to_hex());
        assert_eq!(ids.collect::<Vec<_>>(), over_websocket);
    }
    for event in bus.read("", "").await.json().as_array().unwrap() {
        Event::from_json(event.to_string())
            .unwrap()
            .verify()
            .unwrap();
    }
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let bus = Bus::start(Config {
        max_filters: 2,
        max_filter_bytes: 4000,
        ..Config::default()
    })
    .await;
    for query in [
        "?author=x",
        "?kinds=x",
        "?kinds=70000",
        "?ids=abc",
        "?limit=-1",
        "?filter=%7B",
        "?filter=%7B%7D&kinds=1",
        "?after=0",
        "?filter={}&filter={}&filter={}",
        "?filter={%22kindz%22:[1],%22limit%22:1}",
        "?%23xx=1",
        "?search=x",
    ] {
        let answer = bus.read(query, "").await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        answer.code();
    }
    let ids: Vec<String> = (0..50).map(|n| format!("{n:064x}")).collect();
    assert_eq!(
        bus.read(&format!("?ids={}", ids.join(",")), "")
            .await
            .status,
        413
    );
    for (method, path, allow) in [
        ("PUT", "/events", "GET, HEAD, POST, OPTIONS"),
        ("DELETE", "/events", "GET, HEAD, POST, OPTIONS"),
        ("TRACE", "/events", "GET, HEAD, POST, OPTIONS"),
        ("POST", "/events/stream", "GET, HEAD, OPTIONS"),
        ("POST", "/openapi.json", "GET, HEAD, OPTIONS"),
    ] {
        let answer = bus.ask(method, path, "", "").await;
        assert_eq!(answer.status, 405);
        assert_eq!(answer.header("allow"), Some(allow));
    }
    for below in ["/", "/none"] {
        let answer = bus.read(below, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "invalid"));
    }
}

#[tokio::test]
async fn an_answer_of_many_megabytes_is_whole_and_a_head_has_none() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    for n in 0..40 {
        let text = format!("{n} {}", "x".repeat(200_000));
        bus.relay.publish(note(&keys, &text)).await.unwrap();
    }
    let answer = bus.read("", "").await;
    assert_eq!(answer.ids().len(), 40);
    assert!(answer.body.len() > 8_000_000);
    let head = bus.ask("HEAD", "/events", "", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("treefort-seq"), Some("40"));
}

#[tokio::test]
async fn the_description_is_served_and_is_the_one_of_the_documents() {
    let bus = Bus::start(Config::default()).await;
    let answer = bus.ask("GET", "/openapi.json", "", "").await;
    assert_eq!(answer.status, 200);
    let file = std::fs::read_to_string("nips/openapi.json").unwrap();
    assert_eq!(answer.body, file);
    assert_eq!(answer.json()["openapi"], "3.1.0");
}
