//! An app that runs in a sandbox of either kind.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{wire::read_until, *};

/// A test for each kind of sandbox.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod docker {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name("docker").await; })+
        }
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name("embedded").await; })+
        }
    };
}

on_both!(
    an_app_is_seen_recorded_and_opened_and_streams_both_ways,
    a_thousand_requests_leave_no_stream,
    a_session_stays_open_as_long_as_somebody_looks_and_its_end_is_said,
);

/// An agent that started the app, and left it running.
async fn started(runtime: &str, idle_s: u64) -> Fort {
    let fort = fort(runtime, idle_s).await;
    fort.run(&format!("{STARTS} says it runs")).await.ok();
    fort.wait_for_served(1).await;
    fort
}

async fn an_app_is_seen_recorded_and_opened_and_streams_both_ways(runtime: &str) {
    let fort = started(runtime, 60).await;
    let answer = fort.preview(&[]).await.ok().json();
    assert_eq!(
        (answer["task"].as_str(), answer["port"].as_u64()),
        (Some("preview"), Some(8000))
    );
    let url = answer["url"].as_str().unwrap();
    let preview = Opened::by(url).await;
    assert!(preview.host.contains(".localhost:"), "{url}");

    // The app believes that its own page asks it at localhost, and never sees the key.
    let origin = format!("http://{}", preview.host);
    let cookie = format!("mine=1; {}", preview.cookie);
    let more = [("Origin", origin.as_str()), ("Cookie", cookie.as_str())];
    let hello = preview.ask("GET", "/hello?a=b", &more).await;
    assert_eq!(
        hello.text(),
        "GET /hello?a=b host=localhost:8000 origin=http://localhost:8000 cookie=mine=1"
    );
    let policy = &hello.headers["content-security-policy"];
    assert!(
        policy.contains("default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:;")
            && policy.contains(&format!("connect-src 'self' ws://{} ", preview.host)),
        "{policy}"
    );
    for (name, value) in [
        ("referrer-policy", "same-origin"),
        ("x-dns-prefetch-control", "off"),
        ("connection-allowlist", "(response-origin);redirects=allow"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(hello.headers[name], value);
    }
    assert!(hello.headers["permissions-policy"].contains("camera=()"));

    let there = preview.get("/there").await;
    let to = format!("http://{}/hello", preview.host);
    assert_eq!((there.status, &there.headers["location"]), (302, &to));
    let away = preview.get("/away").await;
    assert!(
        away.status == 403 && !away.headers.contains_key("location"),
        "{away:?}"
    );
    let cookie = preview.get("/cookie").await;
    assert_eq!(cookie.headers["set-cookie"], "a=b; Path=/");
    let policy = preview.get("/bad-policy").await;
    let all = format!("{:?}", policy.headers);
    assert!(
        policy.headers["content-security-policy"].starts_with("default-src *\ndefault-src 'self'"),
        "{all}"
    );
    assert!(
        !all.contains("report-uri") && !all.contains("evil") && !all.contains("allow-origin"),
        "{all}"
    );

    // Bodies both ways, as they come.
    let body = "x".repeat(300_000);
    let length = body.len().to_string();
    let mut post = tokio::net::TcpStream::connect(preview.address)
        .await
        .unwrap();
    let head = wire::request(
        "POST",
        "/post",
        &[
            ("Host", &preview.host),
            ("Cookie", &preview.cookie),
            ("Content-Length", &length),
            ("Connection", "close"),
        ],
    );
    post.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = post.split();
    let mut got = Vec::new();
    let (wrote, got_all) =
        tokio::join!(write.write_all(body.as_bytes()), read.read_to_end(&mut got));
    wrote.unwrap();
    got_all.unwrap();
    assert!(got.ends_with(body.as_bytes()), "{} bytes", got.len());
    let mut stream = preview.begin("/stream", &[]).await;
    let began = Instant::now();
    read_until(&mut stream, b"one").await;
    assert!(began.elapsed() < Duration::from_millis(1500), "held back");
    read_until(&mut stream, b"two").await;
    assert!(began.elapsed() > Duration::from_millis(1500));

    // A WebSocket, as hot reload has it.
    let shake = [
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Origin", origin.as_str()),
    ];
    let mut socket = preview.begin("/ws", &shake).await;
    let head = read_until(&mut socket, b"\r\n\r\n").await;
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 101") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{head}"
    );
    for word in ["one", "two"] {
        socket.write_all(word.as_bytes()).await.unwrap();
        read_until(&mut socket, word.as_bytes()).await;
    }
    drop(socket);
    // Nothing listens there.
    fort.preview(&["--port", "8001"])
        .await
        .fails(1, "nothing listens on port 8001");

    let ended = fort.say(&["preview", "--end", "--json"]).await.ok().json();
    assert_eq!(ended["ended"], 1);
    assert!(
        tokio::net::TcpStream::connect(preview.address)
            .await
            .is_err()
    );
    assert_eq!(fort.served().await, [("8000".to_owned(), false)]);
}

async fn a_thousand_requests_leave_no_stream(runtime: &str) {
    let fort = started(runtime, 120).await;
    let preview = fort.opened(&["--port", "8000"]).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let preview = preview.clone();
        asking.spawn(async move {
            for _ in 0..125 {
                assert_eq!(preview.get("/hello").await.status, 200);
            }
        });
    }
    while let Some(done) = asking.join_next().await {
        done.unwrap();
    }
    // As many as may be open at once are, at last.
    let mut open = Vec::new();
    for _ in 0..treefort::sandbox::inward::MAX_INWARD {
        let mut stream = preview.begin("/stream", &[]).await;
        read_until(&mut stream, b"one").await;
        open.push(stream);
    }
    drop(open);
    assert_eq!(preview.get("/hello").await.status, 200);
}

async fn a_session_stays_open_as_long_as_somebody_looks_and_its_end_is_said(runtime: &str) {
    let fort = started(runtime, 8).await;
    let preview = fort.opened(&[]).await;
    // Longer than its idle time.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(preview.get("/hello").await.status, 200);
    let mut held = preview.begin("/silent", &[]).await;
    // The conversation goes on in the same sandbox, and the app still runs.
    fort.say(&[
        "run",
        "--agent",
        "scripted",
        "--continue",
        "kill $app; says it is gone",
    ])
    .await
    .ok();
    let served = fort.wait_for_served(2).await;
    assert_eq!(served[1], ("8000".to_owned(), true));
    let gone = preview.get("/hello").await;
    assert!(
        gone.status == 502 && gone.text().contains("Nothing listens on port 8000"),
        "{gone:?}"
    );

    // Nobody looks any more; the end is said where it was, and the files are there still.
    fort.say(&["preview", "--end"]).await.ok();
    let again = fort.preview(&["--port", "8000"]).await;
    again.fails(1, "nothing listens on port 8000");
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, held.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "what was open ended with the preview");
    wait_for_end(&fort).await;
    fort.preview(&[])
        .await
        .fails(1, "no agent works on this copy");
    let files = fort.opened(&["--static"]).await;
    assert_eq!(files.get("/a.txt").await.text(), "one\ntwo\nthree\n");
}

/// Waits for the end of the only session.
async fn wait_for_end(fort: &Fort) {
    let began = Instant::now();
    while of_kind(&fort.session().await, 4785).is_empty() {
        assert!(began.elapsed() < PATIENCE, "the session does not end");
    }
}
