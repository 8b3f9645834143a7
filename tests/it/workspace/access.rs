//! Whose folders are worked on, who may look at a copy, and what of a private job can be read on the relay.

use nostr::Keys;
use treefort::nips::{Draft, nip90::Scheme};

use super::*;
use crate::jobs::{error, statuses};

fn job(fort: &Fort, kind: u16, input: &str, params: &[(&str, &str)]) -> Draft {
    let draft = Draft::new(kind)
        .tag(["i", input, "text"])
        .tag(["p", &fort.treefort.coordinator().to_hex()]);
    draft.tags(
        params
            .iter()
            .map(|(name, value)| ["param", name, value].map(str::to_owned).to_vec()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_has_folders_worked_on_and_looks_at_copies() {
    let fort = Fort::start().await;
    fort.run("echo mine > secret.txt; claims edit secret.txt; says ok")
        .await
        .ok();
    let copy = files(&fort.copy().await);
    let project = fort.project.path().to_str().unwrap();
    let (friend, stranger) = (Keys::generate(), Keys::generate());
    fort.say(&["allow", &friend.public_key().to_hex()])
        .await
        .ok();
    for keys in [&friend, &stranger] {
        let mut client = fort.treefort.client(keys).await;
        for task in [
            "list",
            "checkpoints",
            "diff",
            "files",
            "plan",
            "take-back",
            "discard",
            "locate",
            "clean",
            "purge",
        ] {
            let (_, answers) = client
                .do_job(&job(&fort, 5871, task, &[("project", project)]))
                .await;
            assert_eq!(error(&answers).0, "not-admitted", "{task}");
        }
        let undo = job(&fort, 5871, "undo", &[("project", project), ("to", "1")]);
        assert_eq!(error(&client.do_job(&undo).await.1).0, "not-admitted");
        let work = job(
            &fort,
            5870,
            "says hi",
            &[("agent", "scripted"), ("workspace", project)],
        );
        let (_, answers) = client.do_job(&work).await;
        assert_eq!(error(&answers).0, "not-admitted");
        let told = answers
            .iter()
            .any(|answer| answer.content.contains("secret.txt"));
        assert!(!told);
    }
    assert_eq!(files(&fort.copy().await), copy);
    // A friend's job on nothing is done, on an empty folder.
    let mut client = fort.treefort.client(&friend).await;
    let work = job(
        &fort,
        5870,
        "says $(ls | wc -l) files",
        &[("agent", "scripted")],
    );
    let (_, answers) = client.do_job(&work).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success", "{answers:?}");
    let result = answers
        .iter()
        .find(|answer| answer.kind.as_u16() == 6870)
        .unwrap();
    assert_eq!(result.content, "0 files");
    // Naming a conversation of the owner's does not lead to the owner's files.
    let mut owner = fort.client().await;
    let results = owner
        .query(json!({"kinds": [6870], "#p": [fort.treefort.operator().public_key().to_hex()]}))
        .await;
    let follow = job(
        &fort,
        5870,
        "says $(ls | wc -l) files",
        &[("agent", "scripted")],
    )
    .tag(["e", &results[0].id.to_hex()]);
    let (_, answers) = client.do_job(&follow).await;
    let result = answers
        .iter()
        .find(|answer| answer.kind.as_u16() == 6870)
        .unwrap();
    assert_eq!(result.content, "0 files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_job_leaves_no_path_and_no_difference_in_clear() {
    let fort = Fort::start().await;
    let mut client = fort.client().await;
    let coordinator = fort.treefort.coordinator();
    let script = "echo confidential >> a.txt; claims edit a.txt; echo hidden > whisper.txt; claims edit never.txt; \
                  asks edit plan.txt; mkfifo pipe.txt; for i in $(seq 1 60); do echo $i > hush$i; done; \
                  claims execute build; says murmur";
    let hidden = json!([
        ["i", script, "text"],
        ["param", "agent", "scripted"],
        ["param", "workspace", fort.project.path().to_str().unwrap()]
    ]);
    let content = Scheme::Nip44
        .encrypt(&client.keys, &coordinator, &hidden.to_string())
        .unwrap();
    let draft = Draft::new(5870)
        .tag(["encrypted"])
        .tag(["p", &coordinator.to_hex()])
        .content(content);
    let (job, _) = client.publish(&draft).await;
    fort.wait_for_copy("hush60").await;
    let answers = json!({"kinds": [6870], "authors": [coordinator.to_hex()]});
    while client.query(answers.clone()).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let copy = fort.copy().await;
    assert!(copy.join("whisper.txt").exists(), "it was done");
    fort.treefort.wait_for_no_containers().await;
    // Neither does what is recorded of its undo, which names what it could not cover.
    let undone = fort.say(&["undo", "1"]).await.ok();
    assert!(undone.out.contains("pipe.txt"), "{undone:?}");
    fort.say(&["diff"]).await.ok();
    fort.say(&["undo", "99"])
        .await
        .fails(1, "there is no checkpoint 99");
    fort.say(&["clean", "--json"]).await.ok();
    // Whoever asks in the clear is told that, and no more.
    let id = copy.parent().unwrap().file_name().unwrap();
    let session = [("session", id.to_str().unwrap())];
    for task in ["checkpoints", "diff", "files", "plan", "locate", "discard"] {
        let (_, answers) = client.do_job(&self::job(&fort, 5871, task, &session)).await;
        let (code, sentence) = error(&answers);
        assert_eq!(code, "workspace");
        assert!(sentence.contains("private job"), "{task}: {sentence}");
    }
    let (_, answers) = client.do_job(&self::job(&fort, 5871, "list", &[])).await;
    let list = answers.iter().find(|answer| answer.kind.as_u16() == 6871);
    assert!(list.unwrap().content.contains("a private job"));
    assert!(copy.join("a.txt").exists());
    let everything = client
        .query(
            json!({"kinds": [0, 1, 4781, 4782, 4783, 4784, 4785, 5870, 5871, 6870, 6871, 7000], "limit": 5000}),
        )
        .await;
    assert!(everything.len() > 10);
    let tasks = of_kind(&everything, 5871);
    let sealed = tasks
        .iter()
        .filter(|task| Scheme::of(task) == Scheme::Nip44);
    assert!(sealed.count() >= 5);
    let records = fort.session().await;
    assert!(
        records.iter().any(|record| tag(record, "op").is_some()),
        "facts are recorded all the same"
    );
    let project = fort.project.path().file_name().unwrap().to_str().unwrap();
    for event in &everything {
        let text = serde_json::to_string(event).unwrap();
        for word in [
            "a.txt",
            "whisper",
            "never",
            "plan.txt",
            "pipe",
            "hush",
            "confidential",
            "murmur",
            project,
        ] {
            assert!(!text.contains(word), "{word} of job {} in {text}", job.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_the_clear_does_not_go_on_with_what_became_private() {
    let fort = Fort::start().await;
    let mut client = fort.client().await;
    let coordinator = fort.treefort.coordinator();
    let agent = [("agent", "scripted")];
    let project = fort.project.path().to_str().unwrap();
    let on_files = [agent[0], ("workspace", project)];
    let first = job(
        &fort,
        5870,
        "echo plain > x; claims edit x; says one",
        &on_files,
    );
    let (first, answers) = client.do_job(&first).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success");
    let hidden = json!([
        [
            "i",
            "echo confidential > x; claims edit x; says two",
            "text"
        ],
        ["param", "agent", "scripted"]
    ]);
    let content = Scheme::Nip44
        .encrypt(&client.keys, &coordinator, &hidden.to_string())
        .unwrap();
    let second = Draft::new(5870)
        .tag(["encrypted"])
        .tag(["p", &coordinator.to_hex()])
        .tag(["e", &first.id.to_hex()])
        .content(content);
    client.publish(&second).await;
    let answers = json!({"kinds": [6870], "authors": [coordinator.to_hex()]});
    while client.query(answers.clone()).await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let copy = fort.copy().await;
    assert_eq!(
        std::fs::read_to_string(copy.join("x")).unwrap(),
        "confidential\n"
    );

    // The first one was not private, its files are.
    let third =
        job(&fort, 5870, "cat x; touch read; says three", &agent).tag(["e", &first.id.to_hex()]);
    let (_, answers) = client.do_job(&third).await;
    let (code, sentence) = error(&answers);
    assert_eq!(code, "input");
    assert!(sentence.contains("encrypted form"), "{sentence}");
    assert!(!copy.join("read").exists());
}
