//! A network as its sandbox meets it: streams in, servers on this computer that the settings name, and a resolver of the
//! test's own.

mod bounds;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    net::TcpListener,
    sync::mpsc,
    task::JoinHandle,
};

use super::{reach::Lookup, *};

/// A network whose contacts are recorded at once, and what was recorded.
struct Fixture {
    network: Network,
    seen: Arc<Mutex<Vec<(String, Verdict)>>>,
    looked: Arc<AtomicUsize>,
}

/// Answers, one for each look-up; the last one again and again.
fn answers(answers: Vec<Vec<SocketAddr>>) -> (Lookup, Arc<AtomicUsize>) {
    let looked = Arc::new(AtomicUsize::new(0));
    let (count, left) = (looked.clone(), Mutex::new(VecDeque::from(answers)));
    let lookup: Lookup = Arc::new(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        let mut left = left.lock().unwrap();
        let next = match left.len() {
            0 | 1 => left.front().cloned().unwrap_or_default(),
            _ => left.pop_front().unwrap(),
        };
        Box::pin(async move { Ok(next) })
    });
    (lookup, looked)
}

fn fixture(config: Config, rules: &[&str], addresses: Vec<Vec<SocketAddr>>) -> Fixture {
    let (lookup, looked) = answers(addresses);
    let egress = Egress::with(config, lookup).unwrap();
    let (network, contacts) = egress.open(egress.rules(rules.iter().copied()).unwrap());
    network.begin();
    let seen = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(record(contacts, seen.clone(), Said::Nothing));
    Fixture {
        network,
        seen,
        looked,
    }
}

async fn record(
    mut contacts: mpsc::Receiver<Contact>,
    seen: Arc<Mutex<Vec<(String, Verdict)>>>,
    said: Said,
) {
    while let Some(contact) = contacts.recv().await {
        match contact {
            Contact::Seen {
                place,
                verdict,
                recorded,
            } => {
                seen.lock().unwrap().push((place.to_string(), verdict));
                let _ = recorded.send(());
            }
            Contact::Asks { answer, .. } => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = answer.send(said);
            }
            Contact::Spent => seen
                .lock()
                .unwrap()
                .push(("spent".to_owned(), Verdict::Refused(Why::NotNamed))),
        }
    }
}

impl Fixture {
    /// A connection out of the sandbox.
    fn open(&self) -> (DuplexStream, JoinHandle<()>) {
        let (theirs, ours) = duplex(64 * 1024);
        let network = self.network.clone();
        (
            theirs,
            tokio::spawn(async move { network.serve(ours).await }),
        )
    }

    async fn says(&self, text: &str) -> String {
        let (mut stream, _serving) = self.open();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), reading)
            .await
            .expect("it answers")
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn seen(&self) -> Vec<(String, Verdict)> {
        self.seen.lock().unwrap().clone()
    }
}

fn connect(place: &str) -> String {
    format!("CONNECT {place} HTTP/1.1\r\n\r\n")
}

fn with_private(places: &[String]) -> Config {
    Config {
        private: places.to_vec(),
        ..Config::default()
    }
}

/// A server that says what it was sent first, and then sends `more`.
async fn server(more: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut first = vec![0; 1024];
                let read = stream.read(&mut first).await.unwrap_or(0);
                let _gone = stream.write_all(&first[..read]).await;
                let _gone = stream.write_all(&vec![b'x'; more]).await;
            });
        }
    });
    (address, accepted)
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_reached_at_the_address_that_was_checked() {
    let (good, accepted) = server(0).await;
    let place = format!("registry.lan:{}", good.port());
    // The second answer, had it been asked for, would lead elsewhere.
    let evil = SocketAddr::from(([127, 0, 0, 9], good.port()));
    let it = fixture(
        with_private(std::slice::from_ref(&place)),
        &[&place],
        vec![vec![good], vec![evil]],
    );
    let (mut stream, _serving) = it.open();
    stream.write_all(connect(&place).as_bytes()).await.unwrap();
    let mut head = [0; 39];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 Connection established\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "hello");
    assert_eq!(
        (
            it.looked.load(Ordering::Relaxed),
            accepted.load(Ordering::Relaxed)
        ),
        (1, 1)
    );
    assert_eq!(
        it.seen(),
        [(place.clone(), Verdict::Allowed(place.clone()))]
    );
    let tally = it.network.end().await;
    assert_eq!(
        (tally[0].count, tally[0].sent, tally[0].received),
        (1, 5, 5)
    );
    // The next turn begins with nothing, and between the two there is no network.
    assert!(it.says(&connect(&place)).await.starts_with("HTTP/1.1 503 "));
    it.network.begin();
    assert!(it.network.end().await.is_empty());
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_whatever_it_is() {
    let (own, accepted) = server(0).await;
    let public = SocketAddr::from(([93, 184, 215, 14], 443));
    let leads = |address: &str| SocketAddr::new(address.parse().unwrap(), own.port());
    let addresses = [
        vec![own],
        vec![public, own],
        vec![leads("10.1.2.3")],
        vec![leads("192.168.0.1")],
        vec![leads("169.254.169.254")],
        vec![leads("100.64.0.1")],
        vec![leads("0.0.0.0")],
        vec![leads("::1")],
        vec![leads("::ffff:127.0.0.1")],
        vec![leads("::ffff:169.254.169.254")],
        vec![leads("64:ff9b::a00:1")],
        vec![leads("2002:7f00:1::")],
        vec![leads("fd00:ec2::254")],
        vec![leads("fe80::1")],
    ];
    for address in addresses {
        let it = fixture(
            Config::default(),
            &["rebound.example"],
            vec![address.clone()],
        );
        let said = it.says(&connect("rebound.example:443")).await;
        assert!(
            said.starts_with("HTTP/1.1 403 ") && said.contains("into a private network"),
            "{address:?} {said}"
        );
        assert_eq!(it.seen()[0].1, Verdict::Refused(Why::Private));
    }
    // Link-local stays refused where the settings name it, too.
    let place = "metadata.lan:80".to_owned();
    let metadata = SocketAddr::from(([169, 254, 169, 254], 80));
    let it = fixture(
        with_private(std::slice::from_ref(&place)),
        &[&place],
        vec![vec![metadata]],
    );
    assert!(it.says(&connect(&place)).await.starts_with("HTTP/1.1 403 "));
    assert_eq!(accepted.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_name_in_private_gives_it_to_no_job_and_to_no_other_port() {
    let (own, accepted) = server(0).await;
    let place = format!("registry.lan:{}", own.port());
    let it = fixture(
        with_private(std::slice::from_ref(&place)),
        &["packages"],
        vec![vec![own]],
    );
    assert!(
        it.says(&connect(&place))
            .await
            .contains("its network is packages")
    );
    let other = fixture(
        with_private(&["registry.lan:1".to_owned()]),
        &[&place],
        vec![vec![own]],
    );
    assert!(
        other
            .says(&connect(&place))
            .await
            .contains("into a private network")
    );
    assert_eq!(accepted.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn further_addresses_are_tried_when_the_first_does_not_answer() {
    let (good, _) = server(0).await;
    // Nothing listens there.
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
        listener.local_addr().unwrap()
    };
    let place = format!("registry.lan:{}", good.port());
    let it = fixture(
        with_private(std::slice::from_ref(&place)),
        &[&place],
        vec![vec![dead, good]],
    );
    let said = it
        .says(&format!("GET http://{place}/ HTTP/1.1\r\n\r\n"))
        .await;
    assert!(
        said.starts_with("GET / HTTP/1.1\r\nHost: registry.lan"),
        "{said}"
    );
    let none = fixture(
        with_private(std::slice::from_ref(&place)),
        &[&place],
        vec![vec![dead]],
    );
    assert!(
        none.says(&connect(&place))
            .await
            .starts_with("HTTP/1.1 504 ")
    );
}

#[tokio::test]
async fn only_the_body_of_one_request_goes_on() {
    let (own, accepted) = server(0).await;
    let place = format!("registry.lan:{}", own.port());
    let it = fixture(
        with_private(std::slice::from_ref(&place)),
        &[&place],
        vec![vec![own]],
    );
    let two = format!(
        "POST http://{place}/ HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodyGET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    );
    let said = it.says(&two).await;
    assert!(!said.contains("evil"), "{said}");
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
    // Bytes before the tunnel is open are no tunnel's.
    let early = format!("{}early", connect(&place));
    assert!(it.says(&early).await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn who_asks_for_one_host_at_once_asks_once() {
    let (own, _) = server(0).await;
    let place = format!("registry.lan:{}", own.port());
    for (said, asked_again) in [(Said::Once, true), (Said::Always, false), (Said::No, false)] {
        let (lookup, _) = answers(vec![vec![own]]);
        let egress = Egress::with(with_private(std::slice::from_ref(&place)), lookup).unwrap();
        let (network, mut contacts) = egress.open(egress.rules([ASK]).unwrap());
        network.begin();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::new(AtomicUsize::new(0));
        let (forward, forwarded) = mpsc::channel(64);
        let count = asked.clone();
        tokio::spawn(async move {
            while let Some(contact) = contacts.recv().await {
                count.fetch_add(
                    usize::from(matches!(contact, Contact::Asks { .. })),
                    Ordering::Relaxed,
                );
                forward.send(contact).await.unwrap();
            }
        });
        tokio::spawn(record(forwarded, seen.clone(), said));
        let it = Fixture {
            network,
            seen,
            looked: Arc::default(),
        };
        let get = format!("GET http://{place}/ HTTP/1.1\r\n\r\n");
        let both = tokio::join!(it.says(&get), it.says(&get));
        let allowed = said != Said::No;
        for answer in [both.0, both.1] {
            assert_eq!(answer.starts_with("GET / "), allowed, "{said:?} {answer}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "{said:?}");
        it.says(&get).await;
        assert_eq!(
            asked.load(Ordering::Relaxed),
            1 + usize::from(asked_again),
            "{said:?}"
        );
        // A no is for its turn, a yes for the session.
        it.network.end().await;
        it.network.begin();
        it.says(&get).await;
        let more = usize::from(said != Said::Always);
        assert_eq!(
            asked.load(Ordering::Relaxed),
            1 + usize::from(asked_again) + more,
            "{said:?}"
        );
    }
}

#[tokio::test]
async fn with_a_proxy_of_the_owners_the_name_goes_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        proxy: format!("http://{}", listener.local_addr().unwrap()),
        ..Config::default()
    };
    let proxying = tokio::spawn(async move {
        let mut heads = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let answer = match head.starts_with("CONNECT") {
                true => "HTTP/1.1 200 OK\r\nVia: x\r\n\r\nthrough",
                false => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain",
            };
            heads.push(head);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        heads
    });
    let it = fixture(config, &["example.com"], vec![]);
    let tunnel = it.says(&connect("example.com:443")).await;
    assert!(tunnel.ends_with("\r\n\r\nthrough"), "{tunnel}");
    let plain = it.says("GET http://example.com/x HTTP/1.1\r\n\r\n").await;
    assert!(plain.ends_with("plain"), "{plain}");
    let heads = proxying.await.unwrap();
    assert!(heads[0].starts_with("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n"));
    assert!(heads[1].starts_with("GET http://example.com:80/x HTTP/1.1\r\nHost: example.com\r\n"));
    assert_eq!(it.looked.load(Ordering::Relaxed), 0);
}
