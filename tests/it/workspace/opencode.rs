//! The real OpenCode, from the prompt to the change in the person's folder and back, with Docker and without.

use super::*;
use crate::{harness::NO_DOCKER, model_server::Behaviour, opencode::program::program};

#[tokio::test(flavor = "multi_thread")]
async fn opencode_works_on_a_copy_and_its_changes_come_home_and_go_again() {
    works_and_comes_home(Fort::start().await, "docker").await;
}

/// As who installed it with npm has it: on the `PATH`.
#[tokio::test(flavor = "multi_thread")]
async fn opencode_works_and_its_changes_come_home_without_docker() {
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program().parent().unwrap().display());
    let environment = [NO_DOCKER, ("PATH", &path)];
    let fort = Fort::start_in(AT_ONCE, &environment).await;
    works_and_comes_home(fort, "embedded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opencode_asks_its_owner_before_it_acts() {
    asks_before_it_acts(Fort::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opencode_asks_its_owner_without_docker() {
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program().parent().unwrap().display());
    let environment = [NO_DOCKER, ("PATH", &path)];
    asks_before_it_acts(Fort::start_in(AT_ONCE, &environment).await).await;
}

/// A file is written when its owner says so, a command is not run when its owner says no.
async fn asks_before_it_acts(fort: Fort) {
    let write = json!({"filePath": "/workspace/hello.txt", "content": "hello\n"});
    let run = json!({"command": "echo ran > ran.txt", "description": "Runs"});
    fort.model.then(Behaviour::Call("write", write.clone()));
    fort.model.then(Behaviour::Call("bash", run.clone()));
    fort.model.then(Behaviour::Say("Done.".to_owned()));
    let working = fort.begin(&["run", "--agent", "opencode", "--ask", "write hello.txt"]);
    // Its image may have to be built first.
    let deadline = Instant::now() + PATIENCE * 4;
    while fort.model.chats().is_empty() {
        assert!(Instant::now() < deadline, "it asked its model for nothing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let question = fort.questions(1).await.remove(0);
    let text = question["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("It wants to write hello.txt."), "{text}");
    let copy = fort.copy().await;
    assert!(!copy.join("hello.txt").exists());
    fort.say(&["answer", "y"]).await.ok();
    let text = loop {
        let asked = fort.questions(1).await.remove(0);
        if asked != question {
            break asked["text"].as_str().unwrap().to_owned();
        }
    };
    assert!(text.contains("run `echo ran > ran.txt`"), "{text}");
    assert_eq!(
        std::fs::read_to_string(copy.join("hello.txt")).unwrap(),
        "hello\n"
    );
    fort.say(&["answer", "n"]).await.ok();
    let said = working.await.unwrap();
    assert!(!copy.join("ran.txt").exists(), "{said:?}");
    let records = fort.session().await;
    let asked = records.iter().filter(|record| sort(record) == "question");
    assert_eq!(asked.count(), 2);
}

async fn works_and_comes_home(fort: Fort, backend: &str) {
    let write = json!({"filePath": "/workspace/hello.txt", "content": "hello from the fort\n"});
    fort.model.then(Behaviour::Call("write", write));
    let look = "echo more >> hello.txt; tail -n +3 /proc/net/dev | cut -d : -f 1; cat /proc/net/route | wc -l";
    let look = json!({"command": look, "description": "Adds a line"});
    fort.model.then(Behaviour::Call("bash", look));
    fort.model
        .then(Behaviour::Say("I wrote hello.txt.".to_owned()));
    let mine = tree(fort.project.path());
    let said = fort
        .say(&["run", "--agent", "opencode", "write hello.txt"])
        .await
        .ok();
    assert_eq!(said.out.trim(), "I wrote hello.txt.");
    assert!(said.err.contains("hello.txt"), "{said:?}");
    assert_eq!(
        tree(fort.project.path()),
        mine,
        "the project is untouched until apply"
    );
    fort.treefort.wait_for_no_containers().await;

    // It saw the project, and nothing beyond: one interface, no route.
    let chats = fort.model.chats();
    assert_eq!(chats.len(), 3, "{chats:?}");
    let last = chats[2]["messages"].to_string();
    assert!(
        last.contains("lo\\\\n1") || last.contains("lo\\n1"),
        "{last}"
    );

    let records = fort.session().await;
    let env = records[0]
        .tags
        .iter()
        .find(|tag| tag.as_slice()[0] == "env");
    let sandbox = format!("sandbox={backend}");
    let env = &env.unwrap().as_slice()[2..];
    // What it does not isolate or limit is said beside it; nothing limits the disk.
    assert_eq!(env[..3], [&sandbox, "network=none", "shares=kernel"]);
    assert!(env[3].starts_with("unlimited=disk"), "{env:?}");
    assert!(
        records.iter().all(|record| sort(record) != "serve"),
        "the server that it has inside is nothing that it built"
    );
    let file: Vec<&Event> = records
        .iter()
        .filter(|record| tag(record, "path").as_deref() == Some("hello.txt"))
        .collect();
    let ops: Vec<String> = file.iter().map(|file| tag(file, "op").unwrap()).collect();
    assert_eq!(ops.first().unwrap(), "create", "{file:?}");
    let diffs: String = file.iter().map(|file| file.content.as_str()).collect();
    assert!(
        diffs.contains("+hello from the fort") && diffs.contains("+more"),
        "{diffs}"
    );
    for file in &file {
        let claim = tag(file, "claimed").expect("it said so");
        let claim = records
            .iter()
            .find(|record| record.id.to_hex() == claim)
            .unwrap();
        assert_eq!(
            (sort(claim).as_str(), tag(claim, "claim").unwrap().as_str()),
            ("command", "completed")
        );
    }
    assert!(of_kind(&records, 4784).is_empty(), "{records:?}");
    fort.say(&["verify", &records[0].pubkey.to_hex()])
        .await
        .ok();

    let copy = fort.copy().await;
    let worked = files(&copy);
    assert_eq!(worked["hello.txt"].1, b"hello from the fort\nmore\n");
    let undone = fort.say(&["undo", "1", "--json"]).await.ok().json();
    assert_eq!(
        files(&copy),
        files(fort.project.path()),
        "as the project was, byte for byte"
    );
    fort.say(&["undo", &undone["before"].to_string()])
        .await
        .ok();
    assert_eq!(files(&copy), worked);
    fort.say(&["apply", "--yes"]).await.ok();
    assert_eq!(fort.read("hello.txt"), "hello from the fort\nmore\n");
    fort.say(&["apply", "--take-back"]).await.ok();
    assert_eq!(tree(fort.project.path()), mine);
}

/// With a network of its own, its model is reached as before: without the proxy.
async fn its_model_is_no_host_of_its_network(fort: Fort) {
    let look = "curl -s http://nowhere.example/ || node -e 'fetch(\"http://nowhere.example/\").then(r => r.text()).then(console.log)'";
    let look = json!({"command": look, "description": "Looks"});
    fort.model.then(Behaviour::Call("bash", look));
    fort.model.then(Behaviour::Say("It is refused.".to_owned()));
    let said = fort
        .say(&[
            "run",
            "--agent",
            "opencode",
            "--network",
            "example.com",
            "look",
        ])
        .await
        .ok();
    assert_eq!(said.out.trim(), "It is refused.");
    let chats = fort.model.chats();
    assert_eq!(chats.len(), 2, "{chats:?}");
    // It was told that there is one, and its programs keep to it.
    let told = chats[0]["messages"].to_string();
    assert!(
        told.contains("there is a network after all") && told.contains("example.com"),
        "{told}"
    );
    let last = chats[1]["messages"].to_string();
    assert!(
        last.contains("this job may not reach nowhere.example"),
        "{last}"
    );
    let records = fort.session().await;
    let network: Vec<_> = records
        .iter()
        .filter(|record| sort(record) == "network")
        .collect();
    for record in &network {
        assert_eq!(tag(record, "verdict").unwrap(), "refused", "{record:?}");
        assert_ne!(tag(record, "host").unwrap(), "127.0.0.1", "{record:?}");
    }
    assert!(
        network
            .iter()
            .any(|record| tag(record, "host").unwrap() == "nowhere.example")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn opencode_with_a_network_reaches_its_model_as_before() {
    its_model_is_no_host_of_its_network(Fort::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opencode_with_a_network_without_docker() {
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program().parent().unwrap().display());
    let environment = [NO_DOCKER, ("PATH", &path)];
    its_model_is_no_host_of_its_network(Fort::start_in(AT_ONCE, &environment).await).await;
}
