//! No secret leaves the keyring: not into files, events, containers, logs or what a person reads.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nostr::{Event, JsonUtil as _, Keys, ToBech32 as _};
use serde_json::{Value, json};
use treefort::nips::{Draft, nip90::Scheme};

use crate::{
    harness::{Client, Treefort, client::status},
    jobs::{AT_ONCE, statuses},
    model_server::{Behaviour, ModelServer},
};

/// A key of a well-known shape, and one that only its variable's name gives away.
const API_KEYS: [(&str, &str); 2] = [
    ("OPENAI_API_KEY", "sk-test-0123456789abcdefghijklmnop"),
    ("BACKUP_PASSWORD", "correct-horse/battery+staple"),
];

/// What must not be found, and what it is.
struct Needle {
    what: String,
    bytes: Vec<u8>,
}

impl Needle {
    fn new(what: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            what: what.to_owned(),
            bytes: bytes.into(),
        }
    }
}

/// Every way to write every secret key of a home.
fn secret_keys(treefort: &Treefort) -> Vec<Needle> {
    let keys = treefort.home().join("keys");
    let mut needles = Vec::new();
    for file in files(&keys) {
        let keys = Keys::parse(fs::read_to_string(&file).unwrap().trim()).unwrap();
        let secret = keys.secret_key();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let hex = secret.to_secret_hex();
        needles.push(Needle::new(&format!("{name} (HEX)"), hex.to_uppercase()));
        needles.push(Needle::new(&format!("{name} (hex)"), hex));
        needles.push(Needle::new(
            &format!("{name} (nsec)"),
            secret.to_bech32().unwrap(),
        ));
        needles.push(Needle::new(
            &format!("{name} (raw)"),
            secret.to_secret_bytes(),
        ));
    }
    needles
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Where needles are: `(what, where)`. One pass over the hay for all of them.
fn hits(needles: &[Needle], place: &str, hay: &[u8]) -> Vec<(String, String)> {
    let start = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    let mut starts = vec![false; 1 << 16];
    for needle in needles {
        starts[start(&needle.bytes)] = true;
    }
    (0..hay.len().saturating_sub(1))
        .filter(|at| starts[start(&hay[*at..])])
        .flat_map(|at| {
            let here = needles
                .iter()
                .filter(move |needle| hay[at..].starts_with(&needle.bytes));
            here.map(|needle| (needle.what.clone(), place.to_owned()))
        })
        .collect()
}

fn nowhere(needles: &[Needle], place: &str, hay: &[u8]) {
    assert_eq!(hits(needles, place, hay), []);
}

/// What the engine knows about the home's containers, with the token that each may know.
async fn inspected(treefort: &Treefort) -> (String, Vec<Needle>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut command = Command::new("docker");
        command.arg("inspect").args(treefort.containers());
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let containers: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        if containers
            .iter()
            .any(|container| container["State"]["Running"] == true)
        {
            let tokens = containers
                .iter()
                .flat_map(|container| container["Config"]["Env"].as_array().unwrap())
                .filter_map(|variable| variable.as_str().unwrap().strip_prefix("TREEFORT_TOKEN="))
                .map(|token| Needle::new("a session's token", token))
                .collect();
            for container in &containers {
                assert_eq!(container["Mounts"], json!([]));
                assert_eq!(container["HostConfig"]["NetworkMode"], "none");
            }
            return (text, tokens);
        }
        assert!(Instant::now() < deadline, "no container runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Does a private job and returns the text of its result.
async fn private_job(client: &mut Client, treefort: &Treefort, scheme: Scheme) -> String {
    let provider = treefort.coordinator();
    let hidden = json!([["i", "instant", "text"]]).to_string();
    let draft = Draft::new(5050)
        .tag(["p", &provider.to_hex()])
        .tag(["encrypted"])
        .content(scheme.encrypt(&client.keys, &provider, &hidden).unwrap());
    let job = client.sign(&draft);
    let filter = json!({"kinds": [6050], "#e": [job.id.to_hex()]});
    client.subscribe("private", filter).await;
    client.raw(json!(["EVENT", job]).to_string()).await;
    let result = client.next_event().await;
    client.raw(json!(["CLOSE", "private"]).to_string()).await;
    scheme
        .decrypt(&client.keys, &provider, &result.content)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_found_outside_the_keyring() {
    let model = ModelServer::start().await;
    let mut environment = API_KEYS.to_vec();
    environment.push(("RUST_LOG", "debug"));
    let mut treefort = Treefort::start_in(&model, &[], AT_ONCE, &environment);
    let mut client = treefort.client(&treefort.operator()).await;
    let mut watcher = treefort.client(&Keys::generate()).await;
    watcher.subscribe("all", json!({})).await;
    // Also what is never stored; the last job says that all has been seen.
    let watching = tokio::spawn(async move {
        let mut seen: Vec<Event> = Vec::new();
        while seen.last().is_none_or(|event| event.content != "the last") {
            seen.push(watcher.next_event().await);
        }
        seen
    });
    let api_keys: Vec<Needle> = API_KEYS
        .iter()
        .map(|(name, value)| Needle::new(name, *value))
        .collect();
    let [(_, shaped), (_, named)] = API_KEYS;

    // A plain job, whose model gives the keys away bit by bit while its container is looked at.
    let given = format!("take {shaped} and {named} with you");
    model.then(Behaviour::Letters(given, Duration::from_millis(20)));
    let job = client.sign(&client.job(treefort.coordinator(), "plain"));
    client.send(&job).await;
    let (inspected, tokens) = inspected(&treefort).await;
    assert!(!tokens.is_empty(), "{inspected}");
    nowhere(
        &secret_keys(&treefort),
        "docker inspect",
        inspected.as_bytes(),
    );
    nowhere(&api_keys, "docker inspect", inspected.as_bytes());
    let home = treefort.home().to_string_lossy().into_owned();
    assert!(!inspected.contains(&home), "{inspected}");
    let answers = client.do_signed_job(&job).await;
    assert_eq!(status(answers.last().unwrap()), "success");
    let result = answers.iter().find(|answer| answer.kind.as_u16() == 6050);
    let result = result.unwrap();
    assert_eq!(
        result.content.trim(),
        "take [redacted] and [redacted] with you"
    );

    // One that goes on from it, with an answer that is too long for an event.
    let long = format!("{}{shaped} {named}", "long ".repeat(20_000));
    model.then(Behaviour::Say(long));
    let draft = client
        .job(treefort.coordinator(), "continued")
        .tag(["e", &result.id.to_hex()]);
    let (_, answers) = client.do_job(&draft).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success");

    // Private ones, a failed one, and one of an agent.
    for scheme in [Scheme::Nip04, Scheme::Nip44] {
        model.then(Behaviour::Say(format!("{named} {shaped}")));
        let text = private_job(&mut client, &treefort, scheme).await;
        assert_eq!(text.trim(), "[redacted] [redacted]");
    }
    let draft = client.job(treefort.coordinator(), "fail-500");
    let (_, answers) = client.do_job(&draft).await;
    assert_eq!(statuses(&answers).last().unwrap(), "error");
    let task = Draft::new(5870).tag(["i", "instant", "text"]);
    client.do_job(&task).await;
    treefort.wait_for_no_containers().await;

    let mut needles = secret_keys(&treefort);
    // The operator, the relay, the coordinator, and a session for each of six jobs.
    assert_eq!(needles.len(), (3 + 6) * 4);
    needles.extend(tokens);
    for arguments in [
        &["key", "show"][..],
        &["key", "show", "--verbose"],
        &["status", "--json"],
        &["timeline", "--verbose"],
        &["jobs", "--json"],
        &["export"],
        &["verify", "--verbose"],
        &["doctor"],
        &["run", "hello", "--verbose"],
    ] {
        let output = treefort.command(arguments).await;
        for text in [output.stdout, output.stderr] {
            nowhere(&needles, &arguments.join(" "), &text);
            nowhere(&api_keys, &arguments.join(" "), &text);
        }
    }

    // Stores compress what they hold, so their events are looked at one by one too.
    let stored = client.query(json!({"limit": 5000})).await;
    client.publish(&Draft::new(1).content("the last")).await;
    let seen = watching.await.unwrap();
    assert!(seen.iter().any(|event| event.kind.as_u16() == 24135));
    assert!(stored.len() > 50, "{} events", stored.len());
    for event in stored.iter().chain(&seen) {
        let place = format!("event of kind {}", event.kind.as_u16());
        nowhere(&needles, &place, event.as_json().as_bytes());
        nowhere(&api_keys, &place, event.as_json().as_bytes());
    }

    treefort.terminate();
    let keys = treefort.home().join("keys");
    let mut found = 0;
    for file in files(treefort.home()) {
        let bytes = fs::read(&file).unwrap();
        let place = file.display().to_string();
        if file.starts_with(&keys) {
            found += hits(&needles, &place, &bytes).len();
            continue;
        }
        nowhere(&needles, &place, &bytes);
        // What an agent said is kept as it was, on this host only.
        if !file.starts_with(treefort.home().join("journal")) {
            nowhere(&api_keys, &place, &bytes);
        }
    }
    // The search finds what is there: each key in its file.
    assert!(found >= 3 + 6, "{found}");
    assert!(treefort.log().contains("DEBUG"));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_can_open_what_a_home_holds() {
    use std::os::unix::fs::PermissionsExt as _;
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = treefort.client(&treefort.operator()).await;
    let draft = client.job(treefort.coordinator(), "instant");
    client.do_job(&draft).await;
    treefort.wait_for_no_containers().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let run_file = treefort.home().join("run.json");
    assert_eq!(mode(&run_file), 0o600);
    for folder in ["keys", "keys/sessions", "journal", "events", "state"] {
        assert_eq!(mode(&treefort.home().join(folder)), 0o700, "{folder}");
    }
    for file in files(&treefort.home().join("state")) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    // A home that treefort makes is its owner's alone; a folder that was there is not touched.
    let fresh = treefort.home().join("fresh");
    let output = treefort.command_in(&fresh, &["key", "show"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(mode(&fresh), 0o700);
    let keys = treefort.home().join("keys");
    for key in files(&keys) {
        assert_eq!(mode(&key), 0o600, "{}", key.display());
    }
    treefort.terminate();
    assert!(!run_file.exists());
}
