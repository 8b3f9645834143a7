//! What is asked in private is in no file of the home in clear text.

use treefort::nips::{Draft, nip90::Scheme};

use super::*;

/// A word that stands nowhere else.
const CANARY: &str = "pomegranate-7431";

/// The files below a folder in which the canary is.
fn found(home: &Path) -> Vec<String> {
    let has = |bytes: &[u8]| {
        let words = CANARY.as_bytes();
        bytes.windows(words.len()).any(|window| window == words)
    };
    let files = tree(home).into_iter();
    let found = files.filter(|(name, (_, bytes))| has(bytes) || has(name.as_bytes()));
    found.map(|(name, _)| name).collect()
}

/// Asks in private, and waits for the answer.
async fn ask(fort: &Fort, client: &mut Client, kind: u16, agent: &str, prompt: &str) -> String {
    let coordinator = fort.treefort.coordinator();
    let mut hidden = vec![
        json!(["i", prompt, "text"]),
        json!(["param", "agent", agent]),
    ];
    if kind == 5870 {
        let project = fort.project.path().to_str().unwrap();
        hidden.push(json!(["param", "workspace", project]));
    }
    let hidden = Value::from(hidden).to_string();
    let content = Scheme::Nip44.encrypt(&client.keys, &coordinator, &hidden);
    let draft = Draft::new(kind)
        .tag(["encrypted"])
        .tag(["p", &coordinator.to_hex()])
        .content(content.unwrap());
    let (job, _) = client.publish(&draft).await;
    let answers =
        json!({"kinds": [kind + 1000], "authors": [coordinator.to_hex()], "#e": [job.id.to_hex()]});
    loop {
        if let Some(answer) = client.query(answers.clone()).await.pop() {
            let text = Scheme::Nip44.decrypt(&client.keys, &coordinator, &answer.content);
            return text.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_question_is_in_no_file_of_the_home() {
    let fort = Fort::embedded(AT_ONCE).await;
    let mut client = fort.client().await;
    let home = fort.treefort.home().to_owned();
    // A conversation, work on files, an answer longer than an event holds, and a command.
    let said = ask(&fort, &mut client, 5050, "chat", CANARY).await;
    assert!(said.contains(CANARY), "{said}");
    let script = format!("says {CANARY}; asks edit {CANARY}; claims execute {CANARY}");
    ask(&fort, &mut client, 5870, "scripted", &script).await;
    let script = format!("word=$(seq -s {CANARY} 1 5000); says $word");
    let long = ask(&fort, &mut client, 5870, "scripted", &script).await;
    assert!(long.len() >= 59_000, "{}", long.len());
    let said = ask(&fort, &mut client, 5870, "shell", &format!("echo {CANARY}")).await;
    assert!(said.contains(CANARY), "{said}");
    assert_eq!(found(&home), Vec::<String>::new());
    fort.treefort.wait_for_no_containers().await;
    assert_eq!(found(&home), Vec::<String>::new());
    // The look finds what is there: an open question's lines are kept on this machine.
    fort.say(&["run", CANARY]).await.ok();
    assert!(!found(&home).is_empty());
}
