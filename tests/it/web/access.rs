//! Who may ask: our own page with a bearer, and nobody else, from wherever and however they try.

use std::time::Instant;

use nostr::{Event, Keys};
use treefort::nips::{Draft, nip98};

use super::*;

/// Every request of the API that a bearer is needed for.
const REQUESTS: [(&str, &str, &str); 9] = [
    ("GET", "/api/who", ""),
    ("POST", "/api/link", ""),
    (
        "POST",
        "/api/sign",
        r#"{"kind":5050,"tags":[],"content":"x"}"#,
    ),
    ("POST", "/api/decrypt", r#"{"events":[]}"#),
    ("GET", "/api/folders?path=/", ""),
    ("POST", "/api/demo", ""),
    ("PUT", "/api/files", "bytes"),
    (
        "GET",
        "/api/blob/0000000000000000000000000000000000000000000000000000000000000000",
        "",
    ),
    ("GET", "/api/share/00?form=html", ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_neither_reads_nor_acts() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let own = page.address().to_owned();
    let port = own.split(':').nth(1).unwrap();
    let foreign = [
        "Origin: https://evil.example\r\n".to_owned(),
        "Origin: null\r\n".to_owned(),
        "Origin: \r\n".to_owned(),
        "Origin: file://\r\n".to_owned(),
        // Another port of this machine, the same one under another name, another scheme, more of the same name.
        "Origin: http://127.0.0.1:3000\r\n".to_owned(),
        format!("Origin: http://localhost:{port}\r\n"),
        format!("Origin: https://{own}\r\n"),
        format!("Origin: http://{own}.evil.example\r\n"),
        format!("Origin: http://{own}/\r\n"),
        format!("Origin: http://{own}\r\nOrigin: https://evil.example\r\n"),
        // Without an Origin: pictures, scripts, frames, links, and what a person types.
        "Sec-Fetch-Site: cross-site\r\n".to_owned(),
        "Sec-Fetch-Site: same-site\r\n".to_owned(),
        "Sec-Fetch-Site: none\r\n".to_owned(),
        "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n".to_owned(),
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
            .to_owned(),
        format!("Origin: http://{own}\r\nSec-Fetch-Site: same-site\r\n"),
        // A name that leads here and is not ours.
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\n"),
        format!("Host: {own}; x\r\n"),
        "Host: 169.254.1.1\r\n".to_owned(),
    ];
    let code = page.code().await;
    let enter = json!({ "code": code }).to_string();
    for headers in &foreign {
        let with_bearer = format!("{}{headers}", page.bearer());
        for (method, path, body) in REQUESTS {
            let answer = page.send(method, path, &with_bearer, body).await;
            assert_eq!(answer.status, 403, "{method} {path} {headers}");
            assert!(!answer.head.to_lowercase().contains("access-control"));
            assert!(answer.body.len() < 300, "{}", answer.text());
        }
        let answer = page.send("POST", "/api/enter", headers, &enter).await;
        assert_eq!(answer.status, 403, "{headers}");
        let asks_first = format!("{headers}Access-Control-Request-Method: POST\r\n");
        let answer = page.send("OPTIONS", "/api/sign", &asks_first, "").await;
        assert_eq!(answer.status, 403, "{headers}");
        assert!(!answer.head.to_lowercase().contains("access-control"));
    }
    // The code was tried from all of these places, and none of them used it up.
    assert_eq!(page.enter(&code).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_no_bearer_gets_nothing() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let good = page.bearer.clone();
    let (claims, mac) = good.rsplit_once('.').unwrap();
    let (end, nonce) = claims.split_once('.').unwrap();
    let later = format!("{}.{nonce}.{mac}", end.parse::<u64>().unwrap() + 1);
    let bearers = [
        String::new(),
        "Authorization: Bearer \r\n".to_owned(),
        "Authorization: Bearer ..\r\n".to_owned(),
        format!("Authorization: Bearer {later}\r\n"),
        format!("Authorization: Bearer {claims}.{}\r\n", "0".repeat(64)),
        format!("Authorization: Bearer {claims}.{}\r\n", &mac[..62]),
        format!("Authorization: Bearer {claims}\r\n"),
        format!("Authorization: Bearer {good}{}\r\n", "0".repeat(200)),
        format!("Authorization: Basic {good}\r\n"),
        format!("Authorization: {good}\r\n"),
        format!("Authorization: Bearer {good}\r\nAuthorization: Bearer {good}\r\n"),
        format!("Cookie: bearer={good}\r\n"),
    ];
    for (method, path, body) in REQUESTS {
        for headers in &bearers {
            let answer = page.send(method, path, headers, body).await;
            assert_eq!(answer.status, 401, "{method} {path} {headers}");
            assert_eq!(answer.code(), "locked");
        }
        let with_query = format!(
            "{path}{}bearer={good}",
            if path.contains('?') { '&' } else { '?' }
        );
        assert_eq!(page.send(method, &with_query, "", body).await.status, 401);
    }
    // Nor does it learn what there is.
    assert_eq!(page.send("GET", "/api/nothing", "", "").await.status, 401);
    // A program of this machine with a bearer is the owner's; so is the page under any name of this machine.
    assert_eq!(
        page.send("GET", "/api/who", &page.bearer(), "")
            .await
            .status,
        200
    );
    let port = page.address().split(':').nth(1).unwrap();
    let named = format!(
        "{}Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n",
        page.bearer()
    );
    assert_eq!(page.send("GET", "/api/who", &named, "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_works_once_and_no_bearer_outlives_the_program() {
    let model = ModelServer::start().await;
    let mut page = Page::open(&model).await;
    let code = page.code().await;
    assert_eq!(code.len(), 32, "128 bits: {code}");
    let other = page.code().await;
    assert_ne!(code, other);
    let entered = page.enter(&code).await.json();
    let who = page.get("/api/who").await.json();
    assert_eq!(entered["operator"], who["operator"]);
    assert_eq!(
        who["operator"],
        page.treefort.operator().public_key().to_hex()
    );
    assert_eq!(who["coordinator"], page.treefort.coordinator().to_hex());
    assert!(page.treefort.home_id().len() == 16);
    assert!(
        who["relay"]
            .as_str()
            .unwrap()
            .starts_with(&page.treefort.home_id())
    );
    assert_eq!(who["home"], page.treefort.home().to_str().unwrap());
    assert!(who["version"].is_string() && who["ask"].is_string());
    // What its owner may choose from is what the settings say.
    assert_eq!(who["at_once"], 4);
    let packages = who["networks"]["packages"].as_array().unwrap();
    assert!(packages.contains(&"registry.npmjs.org".into()));
    assert!(who["bearer"].is_null());
    for wrong in [code.as_str(), "", "0", &"0".repeat(32), &other[..31]] {
        let began = Instant::now();
        let answer = page.enter(wrong).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "code"),
            "{wrong}"
        );
        assert!(
            began.elapsed() >= Duration::from_millis(300),
            "a guess costs time"
        );
    }

    // The page asks for a link for another tab.
    let url = page.post("/api/link", &json!({})).await.json()["url"].clone();
    let link = url.as_str().unwrap().to_owned();
    let (place, third) = link.split_once("/#t=").unwrap();
    assert_eq!(place, format!("http://{}", page.address()));
    assert_eq!(page.enter(third).await.status, 200);

    let log = page.treefort.log();
    for secret in [&code, &other, third, &page.bearer] {
        assert!(!log.contains(secret), "in the log");
    }
    // Whoever had the port meanwhile was told it by an open tab.
    page.treefort.terminate();
    page.treefort.up();
    assert_eq!(page.get("/api/who").await.status, 401);
    assert_eq!(page.enter(&other).await.status, 401, "nor a code");

    let other = Page::open(&model).await;
    assert_eq!(
        other
            .send("GET", "/api/who", &page.bearer(), "")
            .await
            .status,
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_for_a_link_is_the_owners_for_here_and_works_once() {
    let model = ModelServer::start().await;
    let before = treefort::coordinator::now() - 1;
    let page = Page::open(&model).await;
    let url = format!("http://{}/api/link", page.address());
    let now = treefort::coordinator::now();
    let operator = page.treefort.operator();
    let signed = |draft: Draft, keys: &Keys, at: u64| -> Event { draft.sign(keys, at).unwrap() };
    let header = |event: &Event| format!("Authorization: {}\r\n", nip98::header(event));
    let good = signed(nip98::draft(&url, "POST"), &operator, now);
    assert_eq!(
        page.send("POST", "/api/link", &header(&good), "")
            .await
            .status,
        200
    );
    let elsewhere = "http://127.0.0.1:1/api/link";
    for (why, event) in [
        ("again", good),
        (
            "another key",
            signed(nip98::draft(&url, "POST"), &Keys::generate(), now),
        ),
        (
            "old",
            signed(nip98::draft(&url, "POST"), &operator, now - 120),
        ),
        (
            "of an earlier run",
            signed(nip98::draft(&url, "POST"), &operator, before),
        ),
        (
            "of the future",
            signed(nip98::draft(&url, "POST"), &operator, now + 120),
        ),
        (
            "another method",
            signed(nip98::draft(&url, "GET"), &operator, now),
        ),
        (
            "another place",
            signed(nip98::draft(elsewhere, "POST"), &operator, now),
        ),
        (
            "a note",
            signed(
                Draft {
                    kind: 1,
                    ..nip98::draft(&url, "POST")
                },
                &operator,
                now,
            ),
        ),
    ] {
        let answer = page.send("POST", "/api/link", &header(&event), "").await;
        assert_eq!(answer.status, 401, "{why}");
    }
    // Who took the port of an earlier run and passes on what it got there names its own address.
    let event = signed(nip98::draft(elsewhere, "POST"), &operator, now);
    let passed_on = format!("{}Host: 127.0.0.1:1\r\n", header(&event));
    assert_eq!(
        page.send("POST", "/api/link", &passed_on, "").await.status,
        401
    );
    // It opens nothing else.
    let other = signed(
        nip98::draft(&format!("http://{}/api/who", page.address()), "GET"),
        &operator,
        now,
    );
    assert_eq!(
        page.send("GET", "/api/who", &header(&other), "")
            .await
            .status,
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_cannot_speak_for_the_owner() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let body = r#"{"kind":1,"tags":[],"content":"x"}"#;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; application/json",
        "application/jsonp",
        "",
    ] {
        let headers = format!("{}Content-Type: {content_type}\r\n", page.bearer());
        let answer = page.send("POST", "/api/sign", &headers, body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (415, "media-type"),
            "{content_type}"
        );
    }
    let twice = "Content-Type: application/json\r\nContent-Type: text/plain\r\n";
    let headers = format!("{}{twice}", page.bearer());
    assert_eq!(
        page.send("POST", "/api/sign", &headers, body).await.status,
        415
    );
    let headers = format!(
        "{}Content-Type: Application/JSON; charset=utf-8\r\n",
        page.bearer()
    );
    assert_eq!(
        page.send("POST", "/api/sign", &headers, body).await.status,
        200
    );
    let code = json!({"code": page.code().await}).to_string();
    let answer = page
        .send("POST", "/api/enter", "Content-Type: text/plain\r\n", &code)
        .await;
    assert_eq!(answer.status, 415);
}
