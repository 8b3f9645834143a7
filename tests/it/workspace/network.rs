//! A job that was given a network: it reaches what its owner named and nothing else, on every sandbox, and every host is
//! on the record before it heard a byte.

mod asked;

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use nostr::Keys;
use treefort::nips::{Draft, nip90::Scheme};

use super::*;
use crate::jobs::error;

/// A server on this computer. 127.0.0.2, because programs do not take that one for their own computer's.
struct Registry {
    port: u16,
    /// The heads of what it was asked.
    asked: Arc<Mutex<Vec<String>>>,
    _serving: tokio::task::JoinSet<()>,
}

impl Registry {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut serving = tokio::task::JoinSet::new();
        let heard = asked.clone();
        serving.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let heard = heard.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    heard.lock().unwrap().push(String::from_utf8(head).unwrap());
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\nit is there";
                    let _gone = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self {
            port,
            asked,
            _serving: serving,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The settings with which a job's rules may lead to it.
    fn settings(&self) -> String {
        format!("{AT_ONCE}[network]\nprivate = [\"{}\"]\n", self.place())
    }

    fn place(&self) -> String {
        format!("127.0.0.2:{}", self.port)
    }
}

/// A command that says these bytes to the proxy and prints what comes back.
fn says(bytes: &str) -> String {
    format!(
        "bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128 && printf \"{bytes}\" >&3 && timeout 20 cat <&3'; echo; "
    )
}

fn connect(place: &str) -> String {
    says(&format!(
        "CONNECT {place} HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n"
    ))
}

fn get(place: &str) -> String {
    says(&format!(
        "GET http://{place}/a?b=secret-word HTTP/1.1\\r\\nHost: {place}\\r\\nX-Key: another-secret\\r\\n\\r\\n"
    ))
}

async fn run(fort: &Fort, network: &str, command: &str) -> Said {
    fort.say(&["run", "--agent", "shell", "--network", network, command])
        .await
}

fn of_network(records: &[Event]) -> Vec<&Event> {
    records
        .iter()
        .filter(|record| sort(record) == "network")
        .collect()
}

fn all(record: &Event, name: &str) -> Vec<String> {
    let mut tags = record.tags.iter().map(nostr::Tag::as_slice);
    tags.find(|tag| tag[0] == name)
        .map(|tag| tag[1..].to_vec())
        .unwrap_or_default()
}

async fn named_hosts_are_reached(fort: Fort, registry: Registry) {
    let place = registry.place();
    let port = registry.port.to_string();
    // Through a tunnel and by a plain request, and what no rule names by neither.
    let tunnel = format!(
        "bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128 && printf \"CONNECT {place} HTTP/1.1\\r\\n\\r\\n\" >&3 && read -r first <&3 && \
         echo \"$first\" && printf \"GET /t HTTP/1.0\\r\\n\\r\\n\" >&3 && timeout 20 cat <&3'; echo; "
    );
    let command = [
        tunnel,
        get(&place),
        connect("evil.example:443"),
        connect("evil.example:443"),
        connect("169.254.169.254:80"),
        get("127.0.0.1:11434"),
        "env | grep -i proxy | sort; echo routes $(wc -l < /proc/net/route)".to_owned(),
    ]
    .concat();
    let said = run(&fort, &place, &command).await.ok();
    assert_eq!(said.out.matches("it is there").count(), 2, "{said:?}");
    assert!(
        said.out.contains("HTTP/1.1 200 Connection established"),
        "{said:?}"
    );
    let refused =
        format!("403 treefort: this job may not reach evil.example:443: its network is {place}");
    assert_eq!(said.out.matches(&refused).count(), 2, "{said:?}");
    assert!(
        said.out.contains("may not reach 169.254.169.254:80"),
        "{said:?}"
    );
    assert!(
        said.out.contains("may not reach 127.0.0.1:11434"),
        "{said:?}"
    );
    assert!(
        said.out.contains("HTTPS_PROXY=http://127.0.0.1:3128")
            && said.out.contains("NO_PROXY=127.0.0.1,localhost")
    );
    // The sandbox itself has no more of a network than any other.
    // The head of the table alone.
    assert!(said.out.contains("routes 1\n"), "{said:?}");
    assert!(
        said.err.contains("· Network: the agent may reach")
            && said.err.contains("it may also send your files to"),
        "{said:?}"
    );
    assert_eq!(registry.asked().len(), 2);
    assert!(registry.asked()[1].starts_with(&format!(
        "GET /a?b=secret-word HTTP/1.1\r\nHost: {place}\r\n"
    )));

    let records = fort.session().await;
    assert!(
        all(&records[0], "env").contains(&"network=proxy".to_owned()),
        "{:?}",
        records[0].tags
    );
    assert_eq!(all(&records[0], "network"), [place.as_str()]);
    let network = of_network(&records);
    let firsts: Vec<_> = network
        .iter()
        .filter(|record| tag(record, "count").is_none())
        .collect();
    let sums: Vec<_> = network
        .iter()
        .filter(|record| tag(record, "count").is_some())
        .collect();
    assert_eq!(firsts.len(), 4, "{network:#?}");
    assert_eq!(all(firsts[0], "host"), ["127.0.0.2", &port]);
    assert_eq!(all(firsts[0], "verdict"), ["allowed", &place]);
    assert_eq!(all(firsts[1], "host"), ["evil.example", "443"]);
    assert_eq!(all(firsts[1], "verdict"), ["refused", "not-named"]);
    // What it came to: the host that was reached, and the one that was tried twice.
    assert_eq!(sums.len(), 2, "{network:#?}");
    let sum = |host: &str| sums.iter().find(|sum| all(sum, "host")[0] == host).unwrap();
    let bytes = all(sum("127.0.0.2"), "bytes");
    let bytes: Vec<u64> = bytes.iter().map(|bytes| bytes.parse().unwrap()).collect();
    assert!(bytes[0] > 60 && bytes[1] > 100, "{bytes:?}");
    assert_eq!(all(sum("127.0.0.2"), "count"), ["2"]);
    assert_eq!(all(sum("evil.example"), "count"), ["2"]);
    let timeline = fort.say(&["timeline"]).await.ok();
    assert!(
        timeline.out.contains("Reached 127.0.0.2")
            && timeline.out.contains("May not reach evil.example"),
        "{timeline:?}"
    );
    // Neither paths nor headers of it are on any record; the command itself is one.
    for record in network {
        let text = format!("{record:?}");
        assert!(
            !text.contains("secret-word") && !text.contains("another-secret"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn named_hosts_are_reached_and_no_others() {
    let registry = Registry::start().await;
    named_hosts_are_reached(Fort::embedded(&registry.settings()).await, registry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_in_a_container() {
    let registry = Registry::start().await;
    named_hosts_are_reached(Fort::start_with(&registry.settings()).await, registry).await;
}

async fn without_the_parameter_there_is_nothing(fort: Fort) {
    let probe = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128' 2>&1; env | grep -i _proxy; echo done";
    let said = fort.say(&["run", "--agent", "shell", probe]).await.ok();
    assert!(
        said.out.contains("refused") && !said.out.contains("PROXY"),
        "{said:?}"
    );
    let records = fort.session().await;
    assert!(all(&records[0], "env").contains(&"network=none".to_owned()));
    assert!(of_network(&records).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_given_none_has_no_proxy() {
    without_the_parameter_there_is_nothing(Fort::embedded(AT_ONCE).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_in_a_container() {
    without_the_parameter_there_is_nothing(Fort::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_rule_is_refused_before_anything_starts() {
    let fort = Fort::embedded(AT_ONCE).await;
    run(&fort, "pakages", "true")
        .await
        .fails(2, "the lists are packages and ask");
    run(&fort, "10.0.0.1:80", "true")
        .await
        .fails(2, "`private` under [network]");
    run(&fort, "*", "true")
        .await
        .fails(2, "stands for too much");
    assert!(fort.sessions().await.is_empty());
    // Who sends the job itself hears the same.
    let mut client = fort.client().await;
    let job = Draft::new(5870)
        .tag(["i", "true", "text"])
        .tag(["p", &fort.treefort.coordinator().to_hex()])
        .tag(["param", "agent", "shell"])
        .tag(["param", "network", "pakages"]);
    let (_, answers) = client.do_job(&job).await;
    assert_eq!(error(&answers).0, "input", "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_gives_a_job_a_network() {
    let friend = Keys::generate();
    let fort = Fort::embedded(AT_ONCE).await;
    fort.say(&["allow", &friend.public_key().to_hex()])
        .await
        .ok();
    let mut client = fort.treefort.client(&friend).await;
    let job = |network: bool| {
        let draft = Draft::new(5870)
            .tag(["i", "env | grep -ci _proxy", "text"])
            .tag(["p", &fort.treefort.coordinator().to_hex()])
            .tag(["param", "agent", "shell"]);
        match network {
            true => draft.tag(["param", "network", "packages"]),
            false => draft,
        }
    };
    let (_, answers) = client.do_job(&job(true)).await;
    let (code, sentence) = error(&answers);
    assert_eq!(code, "not-admitted");
    assert!(
        sentence.contains("only the owner of this machine may give a job a network"),
        "{sentence}"
    );
    // The same job without is done, with none.
    let (_, answers) = client.do_job(&job(false)).await;
    let result = answers
        .iter()
        .find(|answer| answer.kind.as_u16() == 6870)
        .unwrap();
    assert_eq!(result.content.trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_job_leaves_no_host_on_any_record() {
    let registry = Registry::start().await;
    let fort = Fort::embedded(&registry.settings()).await;
    let mut client = fort.client().await;
    let coordinator = fort.treefort.coordinator();
    let place = registry.place();
    let command = [
        get(&place),
        connect("whisper.example:443"),
        connect("whisper.example:443"),
    ]
    .concat();
    let hidden = json!([
        ["i", command, "text"],
        ["param", "agent", "shell"],
        ["param", "network", place, "hush.example"]
    ]);
    let content = Scheme::Nip44
        .encrypt(&client.keys, &coordinator, &hidden.to_string())
        .unwrap();
    let draft = Draft::new(5870)
        .tag(["encrypted"])
        .tag(["p", &coordinator.to_hex()])
        .content(content);
    client.publish(&draft).await;
    let answers = json!({"kinds": [6870], "authors": [coordinator.to_hex()]});
    while client.query(answers.clone()).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(registry.asked().len(), 1);
    let records = fort.session().await;
    assert!(all(&records[0], "env").contains(&"network=proxy".to_owned()));
    let network = of_network(&records);
    let verdicts: Vec<String> = network
        .iter()
        .map(|record| all(record, "verdict").join(" "))
        .collect();
    assert_eq!(
        verdicts,
        [
            "allowed",
            "refused not-named",
            "refused not-named",
            "allowed"
        ]
    );
    let everything = client.query(json!({"limit": 5000})).await;
    for event in &everything {
        let text = serde_json::to_string(event).unwrap();
        for word in [
            "whisper",
            "hush",
            &format!("127.0.0.2:{}", registry.port),
            "127.0.0.2\",\"",
        ] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_was_kept_ready_is_not_one_with_a_network() {
    let registry = Registry::start().await;
    let settings = registry.settings().replace("warm = 0", "warm = 1");
    let fort = Fort::embedded(&settings).await;
    let place = registry.place();
    let reach = format!("wget -q -O - http://{place}/a > out 2>&1; says $(cat out)");
    // One is ready after the first job, and stays for a job without a network.
    fort.run("says hi").await.ok();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let said = fort
        .say(&["run", "--agent", "scripted", "--network", &place, &reach])
        .await
        .ok();
    assert!(said.out.contains("it is there"), "{said:?}");
    let said = fort.run(&reach).await.ok();
    assert!(
        !said.out.contains("it is there") && said.out.contains("refused"),
        "{said:?}"
    );
    assert_eq!(registry.asked().len(), 1);
}
