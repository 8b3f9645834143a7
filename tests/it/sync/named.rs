//! Relays that a job names, in a network of the test's own in which names lead to the internet: what is said to who asked
//! goes there when the owner opts in, and nothing goes anywhere else.

use std::sync::atomic::Ordering;

use super::{
    far::{Far, in_own_network, names, trap},
    tls::certificate,
    *,
};

#[test]
fn answers_go_where_a_job_names_when_the_owner_says_so_and_never_near() {
    in_own_network(
        "sync::named::answers_go_where_a_job_names_when_the_owner_says_so_and_never_near",
        inside(),
    );
}

/// Somebody's job names no relay; where they read becomes known after its answers.
async fn readers_too(treefort: &mut Treefort, relay: &Foreign, before: Vec<Event>) -> Vec<Event> {
    set(treefort, "[named_by_others]\nreaders = true\n");
    let reader = Keys::generate();
    let key = reader.public_key().to_hex();
    let allow = treefort.command(&["allow", &key]).await;
    assert!(allow.status.success(), "{allow:?}");
    let mut client = treefort.client(&reader).await;
    let us = treefort.coordinator();
    let job = client.sign(&client.job(us, "where I read"));
    client.do_signed_job(&job).await;
    let list = Draft::new(10002)
        .tag(["r", "wss://loop.example", "write"])
        .tag(["r", "wss://relay.example/inbox"])
        .sign(&reader, now())
        .unwrap();
    assert_eq!(client.send(&list).await[2], true);
    let mine = json!({"kinds": [7000, 6050], "authors": [us.to_hex()], "#e": [job.id]});
    let answers = treefort
        .client(&treefort.operator())
        .await
        .query(mine)
        .await;
    assert!(!answers.is_empty());
    until("the answers are where they read", treefort, async || {
        relay.count() >= before.len() + answers.len()
    })
    .await;
    let all: Vec<Event> = before.into_iter().chain(answers).collect();
    same_bytes(relay, &all);
    all
}

async fn inside() {
    let folder = tempfile::tempdir().unwrap();
    let far = Far::new();
    let _names = names(folder.path());
    let tls = certificate(folder.path(), "relay.example");
    let relay = Foreign::start_on(far.listen(443), Manner::default(), Some(tls));
    let near = trap(443);
    let model = ModelServer::start().await;
    let roots = folder.path().join("relay.example.pem");
    let environment = [NO_DOCKER, ("SSL_CERT_FILE", roots.to_str().unwrap())];
    let mut treefort = Treefort::start_in(&model, &[], "", &environment);
    let friend = Keys::generate();
    let allow = treefort
        .command(&["allow", &friend.public_key().to_hex()])
        .await;
    assert!(allow.status.success(), "{allow:?}");
    let us = treefort.coordinator().to_hex();
    let ask = |keys: &Keys, text: &str, relays: &[&str]| {
        Draft::new(5050)
            .tag(["i", text, "text"])
            .tag(["p", &us])
            .tag(std::iter::once("relays").chain(relays.iter().copied()))
            .sign(keys, now())
            .unwrap()
    };
    let spellings = [
        "ws://relay.example",
        "wss://127.0.0.1",
        "wss://me@relay.example",
        "wss://RELAY.example:443/",
        "wss://relay.example./other",
        "wss://loop.example",
        "wss://half.example",
        // One too many.
        "wss://other.example",
    ];
    let first = ask(
        &friend,
        "before the owner says so",
        &["wss://relay.example"],
    );
    let mut client = treefort.client(&friend).await;
    let answers = client.do_signed_job(&first).await;
    assert!(!answers.is_empty());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(relay.connections(), 0, "off is off");
    // A recipe may leave, for the owner's streams; there is none.
    set(&mut treefort, "[named_by_others]\njobs = true\n");
    let operator = treefort.operator();
    give(
        &mut treefort.client(&operator).await,
        &[recipe(&operator, 1)],
    )
    .await;
    let mut client = treefort.client(&friend).await;
    let job = ask(&friend, "hello", &spellings);
    client.do_signed_job(&job).await;
    let others = [
        "wss://cloud.example",
        "wss://private.example",
        "wss://mapped.example",
        "wss://nat.example",
        "wss://own.example",
    ];
    for names in others.chunks(3) {
        client.do_signed_job(&ask(&friend, names[0], names)).await;
    }
    let own = ask(&operator, "the owner's", &["wss://other.example"]);
    let mut at_home = treefort.client(&operator).await;
    at_home.do_signed_job(&own).await;
    let of_jobs = json!({"kinds": [7000, 6050], "authors": [us], "#e": [first.id, job.id]});
    let expected = at_home.query(of_jobs.clone()).await;
    assert!(expected.iter().any(|event| event.kind.as_u16() == 7000));
    until("the answers are there", &treefort, async || {
        relay.count() == expected.len()
    })
    .await;
    until("the others are refused", &treefort, async || {
        let status = told(&treefort, &["sync", "--json"]).await;
        let relays = status["relays"].as_array().unwrap();
        relays.len() == 8
            && relays.iter().all(|one| {
                let problem = one["problem"].as_str().unwrap_or_default();
                one["url"] == "wss://relay.example/" || problem.contains("where it must not go")
            })
    })
    .await;
    same_bytes(&relay, &expected);
    assert_eq!(near.load(Ordering::SeqCst), 0, "nothing here was asked");
    let status = told(&treefort, &["sync", "--json"]).await;
    let of = |url: &str| {
        let relays = status["relays"].as_array().unwrap();
        relays
            .iter()
            .find(|one| one["url"] == url)
            .cloned()
            .unwrap()
    };
    let shown = of("wss://relay.example/");
    assert_eq!(shown["tally"]["sent"], expected.len());
    let by: Vec<_> = shown["named"].as_array().unwrap().clone();
    assert!(by.iter().any(|one| one["event"] == job.id.to_hex()));
    assert!(
        by.iter()
            .all(|one| one["key"] == friend.public_key().to_hex())
    );
    let said = treefort.command(&["sync"]).await;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains("wss://relay.example/ (not in sync.toml)"),
        "{said}"
    );
    assert!(
        said.contains(&format!("named by {}", &friend.public_key().to_hex()[..12])),
        "{said}"
    );
    let expected = readers_too(&mut treefort, &relay, expected).await;
    assert_eq!(near.load(Ordering::SeqCst), 0);
    set(&mut treefort, "[named_by_others]\njobs = true\n");
    // Killed and started again, nothing leaves twice, and what waits is known.
    treefort.kill();
    treefort.up();
    tokio::time::sleep(Duration::from_secs(3)).await;
    same_bytes(&relay, &expected);
    let preview = told(&treefort, &["sync", "preview", "--json"]).await;
    let would = |url: &str| {
        let relays = preview["relays"].as_array().unwrap();
        let one = relays.iter().find(|one| one["url"] == url).unwrap();
        one["leaves"].as_array().unwrap().len()
    };
    assert_eq!(would("wss://relay.example/"), 0);
    assert!(
        would("wss://loop.example/") > 0,
        "it is tried until the days are over"
    );
    // The owner changes his mind: nobody is asked any more.
    let stream = "[[stream]]\nname = \"x\"\ndir = \"up\"\nrelays = [\"ws://127.0.0.1:1\"]\n";
    set(&mut treefort, stream);
    until("what waited is kept here", &treefort, async || {
        let status = told(&treefort, &["sync", "--json"]).await;
        let relays = status["relays"].as_array().unwrap();
        let of_others = relays
            .iter()
            .filter(|one| one["url"] != "ws://127.0.0.1:1/");
        of_others.clone().count() == 9
            && of_others
                .into_iter()
                .all(|one| one["tally"]["waiting"] == 0)
    })
    .await;
    assert_eq!(near.load(Ordering::SeqCst), 0);
    same_bytes(&relay, &expected);
}
