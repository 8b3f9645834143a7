//! Who may not see a preview, and an app that does its worst.

use tokio::io::AsyncReadExt as _;

use super::{
    wire::{parts, request, send},
    *,
};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_a_preview_without_its_key_or_from_another_place() {
    let fort = fort("auto", 60).await;
    fort.run(&format!("{STARTS} says it runs")).await.ok();
    fort.wait_for_served(1).await;
    let answer = fort.preview(&[]).await.ok().json();
    let url = answer["url"].as_str().unwrap();
    let (address, host, path) = parts(url);
    let preview = Opened::by(url).await;
    let own = format!("http://{host}");
    let ok = |headers: &[(&str, &str)]| {
        let mut all = vec![("Connection", "close")];
        all.extend(headers);
        request("GET", "/hello", &all)
    };
    let (host, cookie) = (("Host", host.as_str()), ("Cookie", preview.cookie.as_str()));
    assert_eq!(send(address, &ok(&[host, cookie])).await.status, 200);
    let port = address.port();
    for (headers, why) in [
        (vec![host], "no cookie"),
        (
            vec![
                host,
                ("Cookie", "__treefort=00000000000000000000000000000000"),
            ],
            "a guess",
        ),
        (
            vec![("Host", &format!("127.0.0.1:{port}")), cookie],
            "the address",
        ),
        (
            vec![("Host", &format!("localhost:{port}")), cookie],
            "another name",
        ),
        (
            vec![("Host", "evil.example"), cookie],
            "a name that was made to point here",
        ),
        (
            vec![host, cookie, ("Origin", "https://evil.example")],
            "another site",
        ),
        (
            vec![
                host,
                cookie,
                ("Origin", &format!("http://{}", fort.treefort.address)),
            ],
            "treefort's own page",
        ),
        (
            vec![
                host,
                cookie,
                ("Origin", &format!("http://127.0.0.1:{port}")),
            ],
            "another name of this origin",
        ),
        (
            vec![host, cookie, ("Origin", "null")],
            "a frame without an origin",
        ),
        (
            vec![host, cookie, ("Sec-Fetch-Site", "cross-site")],
            "an image on another site",
        ),
        (
            vec![host, cookie, ("Sec-Fetch-Site", "same-site")],
            "another port",
        ),
        (
            vec![host, cookie, ("Origin", &own), ("Origin", &own)],
            "two origins",
        ),
    ] {
        let answer = send(address, &ok(&headers)).await;
        assert_eq!(answer.status, 403, "{why}");
        assert!(!answer.text().contains("host="), "{why}");
        assert!(
            !answer.headers.contains_key("access-control-allow-origin"),
            "{why}"
        );
        assert!(!answer.headers.contains_key("set-cookie"), "{why}");
    }
    // A WebSocket of another page is one of these requests too.
    let shake = [
        host,
        cookie,
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Origin", "http://127.0.0.1:4869"),
    ];
    assert_eq!(
        send(address, &request("GET", "/ws", &shake)).await.status,
        403
    );
    // The code has been used; a service worker would answer without the policy.
    let again = send(
        address,
        &request("GET", &path, &[host, ("Connection", "close")]),
    )
    .await;
    assert_eq!(again.status, 403);
    let worker = preview
        .ask("GET", "/hello", &[("Service-Worker", "script")])
        .await;
    assert_eq!(worker.status, 403);
    let by_address = answer["by_address"].as_str();
    if cfg!(target_os = "linux") {
        // The same in another place: codes work once, wherever they are brought.
        let (own, ..) = parts(by_address.unwrap());
        assert!(own.ip().is_loopback() && own.ip().to_string() != "127.0.0.1");
        let fresh = fort.preview(&[]).await.ok().json();
        let there = Opened::by(fresh["by_address"].as_str().unwrap()).await;
        assert_eq!(there.get("/hello").await.status, 200);
        assert_eq!((there.address, preview.cookie == there.cookie), (own, true));
    }
    // Whoever asks in the clear would have the answer read by others.
    let mut client = fort.client().await;
    let draft = treefort::nips::Draft::new(5871)
        .tag(["i", "preview", "text"])
        .tag(["p", &fort.treefort.coordinator().to_hex()]);
    let (_, answers) = client.do_job(&draft).await;
    let said = format!("{answers:?}");
    assert!(
        said.contains("Send it encrypted") && !said.contains(".localhost"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_does_its_worst_costs_an_error_page_and_nothing_else() {
    let fort = fort("auto", 120).await;
    fort.run(&format!("{STARTS} says it runs")).await.ok();
    fort.wait_for_served(1).await;
    let preview = fort.opened(&[]).await;
    for path in ["/headers", "/line", "/garbage", "/hangup", "/upgrade"] {
        let answer = preview.get(path).await;
        assert_eq!(answer.status, 502, "{path}: {}", answer.text());
        assert!(
            answer
                .text()
                .contains("did not answer as a web server does"),
            "{path}"
        );
    }
    let short = preview.get("/short").await;
    assert_eq!((short.status, short.text().as_str()), (200, "short"));
    // Ten gigabytes that nobody reads, and an answer that does not come: both hold their place and no more.
    let before = memory(&fort);
    let mut big = Vec::new();
    for _ in 0..10 {
        big.push(preview.begin("/big", &[]).await);
        big.push(preview.begin("/silent", &[]).await);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(preview.get("/hello").await.status, 200);
    let grown = memory(&fort).saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
    // Who reads gets as much as it takes.
    let mut piece = vec![0; 32 << 20];
    big[0].read_exact(&mut piece).await.unwrap();
    drop(big);
    for _ in 0..20 {
        assert_eq!(preview.get("/hello").await.status, 200);
    }

    // The sandbox ends in the middle of a request.
    let mut silent = preview.begin("/silent", &[]).await;
    let mut big = preview.begin("/big", &[]).await;
    wire::read_until(&mut big, b"\r\n\r\n").await;
    fort.say(&["run", "--agent", "scripted", "--continue", "exit 3"])
        .await;
    let mut said = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut said)).await;
    drop(ended.expect("it ends"));
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains(" 410 ") || said.contains(" 502 "), "{said}");
    let ended = tokio::time::timeout(PATIENCE, async {
        let mut piece = vec![0; 1 << 20];
        while !matches!(big.read(&mut piece).await, Ok(0) | Err(_)) {}
    });
    ended.await.expect("it breaks off");
    let gone = preview.get("/hello").await;
    assert!(
        gone.status == 410 && gone.text().contains("The session has ended"),
        "{gone:?}"
    );
}

/// Kilobytes of memory that the program has.
fn memory(fort: &Fort) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", fort.treefort.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_come_and_go_without_end_fill_no_record() {
    let fort = fort("auto", 60).await;
    // Each port is seen at most: there is a look every half a second.
    let script = "i=0; while [ $i -lt 30 ]; do i=$((i+1)); \
                  busybox timeout 120 busybox nc -ll -p $((9000+i)) -e busybox true </dev/null >/dev/null 2>&1 & done; \
                  busybox sleep 2; says done";
    fort.run(script).await.ok();
    fort.wait_for_served(20).await;
    // No more come.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let served = fort.served().await;
    assert_eq!(served.len(), 20, "{served:?}");
    let records = fort.sessions().await.into_values().next().unwrap();
    let errors = of_kind(&records, 4784);
    let codes: Vec<_> = errors
        .iter()
        .filter_map(|error| tag(error, "code"))
        .collect();
    assert_eq!(codes, ["truncated-record"]);
    // Several are a question.
    fort.preview(&[]).await.fails(1, "say which one");
}
