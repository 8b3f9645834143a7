//! Who may: the same as over a WebSocket, with NIP-98 in the place of AUTH.

use tokio::io::AsyncBufReadExt as _;

use super::*;
use crate::harness::{NO_DOCKER, PROGRAM};

/// Headers of what is not a program of this machine nor our own page.
const FOREIGN: [&str; 5] = [
    "Origin: https://evil.example\r\n",
    "Origin: null\r\n",
    "Origin: http://localhost:3000\r\n",
    // An image or a script has no origin, but the browser says whose it is.
    "Sec-Fetch-Site: cross-site\r\n",
    "Sec-Fetch-Site: same-site\r\n",
];

#[tokio::test]
async fn another_page_reads_writes_and_listens_only_as_an_admitted_key() {
    let bus = Bus::start(Config::default()).await;
    let stranger = Keys::generate();
    for foreign in FOREIGN {
        let body = note(&Keys::generate(), foreign).as_json();
        for (method, path, body) in [
            ("GET", "/events", ""),
            ("HEAD", "/events", ""),
            ("GET", "/events/stream", ""),
            ("POST", "/events", &*body),
        ] {
            let json = "Content-Type: application/json\r\n";
            let promise = (method == "POST").then_some(body);
            let ask = async |authorization: &str| {
                let headers = format!("{json}{foreign}{authorization}");
                bus.ask(method, path, &headers, body).await
            };
            let nobody = ask("").await;
            assert_eq!(nobody.status, 401, "{method} {path} {foreign}");
            assert_eq!(nobody.header("www-authenticate"), Some("Nostr"));
            let other = ask(&bus.proof(&stranger, method, path, promise)).await;
            assert_eq!(other.status, 403, "{method} {path} {foreign}");
            if path == "/events" {
                let owner = ask(&bus.proof(&bus.operator, method, path, promise)).await;
                assert_eq!(owner.status, 200, "{method} {path} {foreign} {owner:?}");
            } else {
                let headers = foreign.to_owned() + &bus.proof(&bus.operator, method, path, None);
                assert_eq!(bus.stream("", &headers).await.status(), 200);
            }
        }
    }
    let own = format!(
        "Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n",
        bus.address
    );
    assert_eq!(bus.read("", &own).await.status, 200);
    assert_eq!(
        bus.read("", "Sec-Fetch-Site: none\r\n").await.status,
        200,
        "a person"
    );
}

#[tokio::test]
async fn no_page_is_told_that_it_may_ask() {
    let bus = Bus::start(Config::default()).await;
    for path in ["/events", "/events/stream", "/openapi.json"] {
        for origin in ["https://evil.example", "null"] {
            let headers = format!(
                "Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
                 Access-Control-Request-Headers: authorization,content-type\r\n\
                 Access-Control-Request-Private-Network: true\r\n"
            );
            for method in ["OPTIONS", "GET"] {
                let answer = bus.ask(method, path, &headers, "").await;
                assert!(
                    !answer.head.to_lowercase().contains("access-control"),
                    "{answer:?}"
                );
                assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
                assert_eq!(
                    answer.header("cross-origin-resource-policy"),
                    Some("same-origin")
                );
                if method == "OPTIONS" {
                    assert_eq!(answer.status, 204);
                    assert!(answer.header("allow").is_some());
                }
            }
        }
    }
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_not_served() {
    let bus = Bus::start(Config::default()).await;
    let port = bus.address.port();
    for host in [
        format!("evil.example:{port}"),
        format!("127.0.0.1.nip.io:{port}"),
        format!("localhost.evil.example:{port}"),
        String::new(),
    ] {
        for (method, path) in [
            ("GET", "/events"),
            ("POST", "/events"),
            ("OPTIONS", "/events"),
            ("GET", "/events/stream"),
            ("GET", "/openapi.json"),
        ] {
            let headers = format!("Host: {host}\r\n");
            let answer = bus.ask(method, path, &headers, "").await;
            assert_eq!(answer.status, 403, "{host}");
            assert_eq!(answer.code(), "invalid", "{host}");
        }
    }
}

#[tokio::test]
async fn a_proof_is_for_one_request_at_one_place_and_time_and_counts_once() {
    let before = now() - 1;
    let bus = Bus::start(Config {
        read: Read::Auth,
        ..Config::default()
    })
    .await;
    assert_eq!(bus.read("", "").await.status, 401);
    let (owner, port) = (&bus.operator, bus.address.port());
    let base = format!("http://127.0.0.1:{port}");
    let proofs = [
        (
            "another path",
            proof(owner, "GET", &format!("{base}/events/stream"), None, now()),
        ),
        (
            "another query",
            proof(owner, "GET", &format!("{base}/events?limit=1"), None, now()),
        ),
        (
            "another method",
            proof(owner, "POST", &format!("{base}/events"), None, now()),
        ),
        (
            "another port",
            proof(owner, "GET", "http://127.0.0.1:1/events", None, now()),
        ),
        (
            "another scheme",
            proof(
                owner,
                "GET",
                &format!("https://127.0.0.1:{port}/events"),
                None,
                now(),
            ),
        ),
        (
            "a name that was not used",
            proof(
                owner,
                "GET",
                &format!("http://localhost:{port}/events"),
                None,
                now(),
            ),
        ),
        (
            "too old",
            proof(owner, "GET", &format!("{base}/events"), None, now() - 70),
        ),
        (
            "of an earlier run",
            proof(owner, "GET", &format!("{base}/events"), None, before),
        ),
        (
            "too early",
            proof(owner, "GET", &format!("{base}/events"), None, now() + 70),
        ),
        ("nothing", "Authorization: Nostr\r\n".to_owned()),
        ("not base64", "Authorization: Nostr !\r\n".to_owned()),
        ("another scheme", "Authorization: Bearer x\r\n".to_owned()),
        (
            "two",
            format!(
                "{}{}",
                bus.proof(owner, "GET", "/events", None),
                bus.proof(owner, "GET", "/events", None)
            ),
        ),
    ];
    for (what, proof) in &proofs {
        let answer = bus.read("", proof).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        assert_eq!(answer.code(), "auth-required");
    }
    // A port that is not ours, which whoever has it could name to us.
    let passed_on = proof(owner, "GET", "http://localhost:1/events", None, now());
    let answer = bus
        .read("", &format!("Host: localhost:1\r\n{passed_on}"))
        .await;
    assert_eq!(answer.status, 401);

    let once = bus.proof(owner, "GET", "/events?limit=1", None);
    assert_eq!(bus.read("?limit=1", &once).await.status, 200);
    let again = bus.read("?limit=1", &once).await;
    assert_eq!(again.status, 401, "{again:?}");
    assert!(again.body.contains("used before"));
    // Under the name that was used, if it leads here.
    let by_name = proof(
        owner,
        "GET",
        &format!("http://localhost:{port}/events"),
        None,
        now(),
    );
    let named = format!("Host: localhost:{port}\r\n{by_name}");
    // Another program may have that port of `[::1]`, where a client tries first, and have passed it on.
    assert_eq!(bus.read("", &named).await.status, 401);
    bus.relay.answers_for_localhost();
    assert_eq!(bus.read("", &named).await.status, 200);
    let forbidden = bus.proof(&Keys::generate(), "GET", "/events", None);
    assert_eq!(bus.read("", &forbidden).await.status, 403);
}

#[tokio::test]
async fn a_proof_for_a_body_is_for_that_body() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    let protected = Draft::new(1)
        .tag(["-"])
        .sign(&keys, now())
        .unwrap()
        .as_json();
    for promise in [None, Some("another body"), Some("")] {
        let proof = bus.proof(&keys, "POST", "/events", promise);
        let answer = bus.post(&protected, &proof).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "auth-required")
        );
        assert!(answer.body.contains("payload"));
    }
    let other = bus.proof(&Keys::generate(), "POST", "/events", Some(&protected));
    let answer = bus.post(&protected, &other).await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.json()["message"]
            .as_str()
            .unwrap()
            .starts_with("restricted:")
    );
    let own = bus.proof(&keys, "POST", "/events", Some(&protected));
    assert_eq!(bus.post(&protected, &own).await.status, 200);
    assert_eq!(bus.relay.last_seq(), 1);
}

#[tokio::test]
async fn gift_wraps_go_to_whom_they_name_alone() {
    let bus = Bus::start(Config::default()).await;
    let recipient = Keys::generate();
    let wrap = |n: u64| {
        Draft::new(1059)
            .content(n.to_string())
            .tag(["p", &recipient.public_key().to_hex()])
            .sign(&Keys::generate(), now())
            .unwrap()
    };
    bus.relay.publish(wrap(1)).await.unwrap();
    assert_eq!(bus.read("?kinds=1059", "").await.status, 401);
    assert_eq!(bus.read("", "").await.ids().len(), 0);
    let proof = bus.proof(&Keys::generate(), "GET", "/events?kinds=1059", None);
    assert_eq!(bus.read("?kinds=1059", &proof).await.ids().len(), 0);
    let proof = bus.proof(&recipient, "GET", "/events", None);
    assert_eq!(bus.read("", &proof).await.ids().len(), 1);
    // The same while they come, and out of the log.
    let mut nobody = bus.stream("?after=0", "").await;
    let proof = bus.proof(&recipient, "GET", "/events/stream?after=0", None);
    let mut named = bus.stream("?after=0", &proof).await;
    named.event().await;
    bus.relay.publish(wrap(2)).await.unwrap();
    named.event().await;
    let seen = note(&recipient, "for everybody");
    bus.relay.publish(seen.clone()).await.unwrap();
    for stream in [&mut nobody, &mut named] {
        assert_eq!(stream.event().await, (Some(3), seen.id.to_hex()));
    }
}

#[tokio::test]
async fn a_stream_of_a_key_that_is_no_longer_admitted_ends() {
    let bus = Bus::start(Config {
        idle_timeout_s: 2,
        ..Config::default()
    })
    .await;
    let keys = Keys::generate();
    bus.admission.set_allowed([keys.public_key()]);
    let proof = bus.proof(&keys, "GET", "/events/stream", None);
    let mut stream = bus.stream("", &format!("Origin: null\r\n{proof}")).await;
    assert_eq!(stream.status(), 200);
    bus.relay.publish(note(&keys, "1")).await.unwrap();
    stream.event().await;
    bus.admission.set_allowed([]);
    let secret = note(&keys, "2");
    bus.relay.publish(secret.clone()).await.unwrap();
    let sent = stream.next().await.expect("to be told");
    assert_eq!(sent.event.as_deref(), Some("closed"), "{sent:?}");
    assert_eq!(sent.json()["code"], "restricted");
    assert_eq!(stream.block().await, None);
}

/// The program itself, and another user's that has its port of the other loopback.
#[tokio::test]
async fn what_was_proved_to_another_program_behind_localhost_counts_for_nothing() {
    let Ok(other) = std::net::TcpListener::bind("[::1]:0") else {
        panic!("this machine has no IPv6 loopback, so that there is nothing to take");
    };
    let port = other.local_addr().unwrap().port();
    let home = tempfile::tempdir().unwrap();
    let mut child = tokio::process::Command::new(PROGRAM)
        .args(["up", "--listen", &format!("127.0.0.1:{port}"), "--home"])
        .arg(home.path())
        .envs([NO_DOCKER])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = tokio::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let warned = loop {
        let line = said.next_line().await.unwrap().expect("a warning");
        if line.contains("another program") {
            break line;
        }
    };
    assert!(warned.contains(&format!("port {port}")), "{warned}");
    let key = std::fs::read_to_string(home.path().join("keys/operator.key")).unwrap();
    let owner = Keys::parse(key.trim()).unwrap();
    for (host, status) in [("localhost", "401"), ("127.0.0.1", "200")] {
        let url = format!("http://{host}:{port}/events");
        let proof = proof(&owner, "GET", &url, None, now());
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!(
            "GET /events HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n{proof}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    let doctor = tokio::process::Command::new(PROGRAM)
        .args(["doctor", "--home"])
        .arg(home.path())
        .envs([NO_DOCKER])
        .output()
        .await
        .unwrap();
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.contains("another program has port"), "{doctor}");
}
