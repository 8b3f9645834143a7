//! What an agent itself remembers of a conversation: there again in another sandbox and after a restart, and dropped
//! where it would be wrong or should not be.

use std::os::unix::fs::MetadataExt as _;

use treefort::nips::{Draft, nip90::Scheme};

use super::*;
use crate::{harness::NO_DOCKER, model_server::Behaviour, opencode::program::program};

/// Says how many prompts it remembers.
const COUNTS: &str = "says $(wc -l < $HOME/.kept/history)";

async fn keeping(mut fort: Fort) -> Fort {
    fort.treefort.terminate();
    agent::install_keeper(fort.treefort.home(), "1");
    fort.treefort.up();
    fort
}

async fn keeper(fort: &Fort, script: &str) -> Said {
    fort.say(&["run", "--agent", "keeper", script]).await
}

async fn goes_on(fort: &Fort, script: &str) -> Said {
    fort.say(&["run", "--continue", script]).await
}

/// Stops treefort and starts it again.
fn restart(fort: &mut Fort) {
    fort.treefort.terminate();
    fort.treefort.up();
}

/// Where agents keep what they remember, of all copies.
fn kept(fort: &Fort) -> Vec<PathBuf> {
    let all = std::fs::read_dir(fort.treefort.home().join("workspaces")).unwrap();
    all.map(|entry| entry.unwrap().path().join("state"))
        .filter(|state| state.exists())
        .collect()
}

/// The sessions that went on with a conversation, and how each came to know of it.
async fn resumed(fort: &Fort) -> Vec<(String, Vec<Event>)> {
    let sessions = fort.sessions().await.into_values();
    let mut all: Vec<Vec<Event>> = sessions
        .filter(|it| tag(&it[0], "continues").is_some())
        .collect();
    all.sort_by_key(|records| records[0].created_at);
    all.into_iter()
        .map(|records| (tag(&records[0], "resumed").unwrap_or_default(), records))
        .collect()
}

/// What a session's agent was told, raw.
fn journal(fort: &Fort, records: &[Event]) -> String {
    let name = format!("{}.jsonl", records[0].pubkey.to_hex());
    std::fs::read_to_string(fort.treefort.home().join("journal").join(name)).unwrap()
}

/// Whether any file below a folder holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    let all = tree(folder);
    all.values()
        .any(|(_, text)| text.windows(bytes.len()).any(|part| part == bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_goes_on_with_its_own_memory_after_a_restart() {
    for fort in [Fort::start().await, Fort::embedded(AT_ONCE).await] {
        let mut fort = keeping(fort).await;
        keeper(&fort, "echo $TREEFORT_TOKEN > token; says done")
            .await
            .ok();
        restart(&mut fort);
        let said = goes_on(&fort, COUNTS).await.ok();
        assert_eq!(said.out.trim(), "2");
        let all = resumed(&fort).await;
        let [(how, records)] = &all[..] else {
            panic!("{all:?}")
        };
        assert_eq!(how, "agent");
        // It was told what is asked and nothing else, and what it repeated is no news.
        let journal = journal(&fort, records);
        assert!(
            journal.contains("session/load") && journal.contains("an old word"),
            "{journal}"
        );
        assert!(!journal.contains("What was said before"), "{journal}");
        let text = serde_json::to_string(&records).unwrap();
        assert!(
            !text.contains("old.txt") && !text.contains("an old word"),
            "{text}"
        );
        let session = records[0].pubkey.to_hex();
        let timeline = fort.say(&["timeline", &session]).await.ok();
        assert!(timeline.out.contains("with its own memory"), "{timeline:?}");
        fort.say(&["verify", &session]).await.ok();

        // It is the agent's alone, holds no token, and goes with the copy.
        let [state] = &kept(&fort)[..] else {
            panic!("one folder")
        };
        let about = std::fs::metadata(state).unwrap();
        assert_eq!(about.mode() & 0o777, 0o700);
        let token = std::fs::read(fort.copy().await.join("token")).unwrap();
        assert!(token.len() > 20 && !holds(state, token.trim_ascii()));
        let third = goes_on(&fort, COUNTS).await.ok();
        assert_eq!(third.out.trim(), "3");
        fort.treefort.wait_for_no_containers().await;
        fort.say(&["discard", "--yes"]).await.ok();
        assert!(kept(&fort).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_go_on_is_told_what_was_said_and_done() {
    // It does not know the conversation any more, or does not survive it.
    for (file, remembered) in [("forgets", "2"), ("dies", "1")] {
        let fort = keeping(Fort::embedded(AT_ONCE).await).await;
        let first = format!("echo x > {file}; says first answer");
        keeper(&fort, &first).await.ok();
        let said = goes_on(&fort, COUNTS).await.ok();
        assert_eq!(said.out.trim(), remembered, "{file}");
        let (how, records) = resumed(&fort).await.remove(0);
        assert_eq!(how, "summary", "{file}");
        let journal = journal(&fort, &records);
        for told in [
            "What was said before",
            "first answer",
            &format!("new {file}"),
        ] {
            assert!(journal.contains(told), "{told}: {journal}");
        }
        let session = records[0].pubkey.to_hex();
        let timeline = fort.say(&["timeline", &session]).await.ok();
        assert!(
            timeline.out.contains("told what was said before"),
            "{timeline:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_of_files_that_were_undone_is_dropped() {
    let fort = keeping(Fort::embedded(AT_ONCE).await).await;
    keeper(&fort, "echo x > a.txt; says first answer")
        .await
        .ok();
    fort.say(&["undo", "1"]).await.ok();
    let said = goes_on(&fort, COUNTS).await.ok();
    assert_eq!(said.out.trim(), "1");
    let (how, records) = resumed(&fort).await.remove(0);
    assert_eq!(how, "summary");
    let journal = journal(&fort, &records);
    assert!(
        journal.contains("back to an earlier state since (checkpoint 1)"),
        "{journal}"
    );
    // What it was told it remembers from there on.
    let said = goes_on(&fort, COUNTS).await.ok();
    assert_eq!(said.out.trim(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_of_another_version_or_of_too_much_is_dropped() {
    let mut fort = keeping(Fort::embedded(AT_ONCE).await).await;
    keeper(&fort, "says first").await.ok();
    fort.treefort.terminate();
    agent::install_keeper(fort.treefort.home(), "2");
    fort.treefort.up();
    let said = goes_on(&fort, COUNTS).await.ok();
    assert_eq!(said.out.trim(), "1");
    let large = "head -c 300000000 /dev/zero > $HOME/.kept/large; says large";
    goes_on(&fort, large).await.ok();
    fort.treefort.wait_for_no_containers().await;
    wait("what is too much to go", || kept(&fort).is_empty()).await;
    let said = goes_on(&fort, COUNTS).await.ok();
    assert_eq!(said.out.trim(), "1");
    let mut how: Vec<String> = resumed(&fort)
        .await
        .into_iter()
        .map(|(how, _)| how)
        .collect();
    // Sessions of one second have no order; what each remembered was looked at above.
    how.sort();
    assert_eq!(how, ["agent", "summary", "summary"]);
}

/// Publishes a job for the keeper and waits for its result.
async fn job(fort: &Fort, script: &str, before: Option<&Event>, private: bool) -> Event {
    let (operator, coordinator) = (fort.treefort.operator(), fort.treefort.coordinator());
    let folder = fort.project.path().to_str().unwrap();
    let tags = json!([
        ["i", script, "text"],
        ["param", "agent", "keeper"],
        ["param", "workspace", folder]
    ]);
    let mut draft = Draft::new(5870).tag(["p", &coordinator.to_hex()]);
    draft = draft.tag_opt(before.map(|before| ["e".to_owned(), before.id.to_hex()]));
    draft = match private {
        true => {
            let hidden = Scheme::Nip44.encrypt(&operator, &coordinator, &tags.to_string());
            draft.tag(["encrypted"]).content(hidden.unwrap())
        }
        false => draft.tags(serde_json::from_value::<Vec<Vec<String>>>(tags).unwrap()),
    };
    let mut client = fort.client().await;
    let (job, _) = client.publish(&draft).await;
    job
}

/// The text of a job's result.
async fn answer(fort: &Fort, job: &Event) -> String {
    let mut client = fort.client().await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = client
            .query(json!({"kinds": [6870], "#e": [job.id.to_hex()], "authors": [fort.treefort.coordinator().to_hex()]}))
            .await;
        if let Some(result) = found.first() {
            let scheme = Scheme::of(result);
            let (operator, coordinator) = (fort.treefort.operator(), fort.treefort.coordinator());
            let text = scheme.decrypt(&operator, &coordinator, &result.content);
            return text.unwrap();
        }
        assert!(Instant::now() < deadline, "no result");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_private_jobs_nothing_is_kept() {
    for config in [AT_ONCE, "[sessions]\nidle_s = 0\nwarm = 1\n"] {
        let fort = keeping(Fort::embedded(config).await).await;
        let first = job(&fort, "says secret", None, true).await;
        assert_eq!(answer(&fort, &first).await.trim(), "secret");
        let second = job(&fort, COUNTS, Some(&first), true).await;
        // In memory alone, as ever.
        assert_eq!(answer(&fort, &second).await.trim(), "1");
        fort.treefort.wait_for_no_containers().await;
        let of_copies = || {
            let all = kept(&fort).into_iter();
            all.filter(|state| state.parent().unwrap().join("about.json").exists())
                .count()
        };
        assert_eq!(of_copies(), 0);
        // A conversation that becomes private takes what was kept with it.
        let plain = job(&fort, "says plain", None, false).await;
        answer(&fort, &plain).await;
        wait("what is kept", || of_copies() == 1).await;
        let private = job(&fort, COUNTS, Some(&plain), true).await;
        assert_eq!(answer(&fort, &private).await.trim(), "1");
        assert_eq!(of_copies(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_was_cut_off_is_remembered_and_another_branch_is_not() {
    let mut fort = keeping(Fort::embedded(AT_ONCE).await).await;
    let first = job(&fort, "says first", None, false).await;
    answer(&fort, &first).await;
    let cut_off = job(&fort, "echo part > part; lingers", Some(&first), false).await;
    fort.wait_for_copy("part").await;
    fort.treefort.kill();
    fort.treefort.up();
    let on = job(&fort, COUNTS, Some(&cut_off), false).await;
    assert_eq!(answer(&fort, &on).await.trim(), "3");
    // What came after the first job is not what this one goes on from.
    let other = job(&fort, COUNTS, Some(&first), false).await;
    assert_eq!(answer(&fort, &other).await.trim(), "1");
    let how: Vec<String> = resumed(&fort)
        .await
        .into_iter()
        .map(|(how, _)| how)
        .collect();
    let of = |word: &str| how.iter().filter(|how| *how == word).count();
    assert_eq!((of("agent"), of("summary")), (2, 1), "{how:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_what_an_agent_remembers() {
    let fort = keeping(Fort::embedded(AT_ONCE).await).await;
    keeper(&fort, "echo sesame > $HOME/.kept/x; says done")
        .await
        .ok();
    assert!(holds(&kept(&fort)[0], b"sesame"));
    let session = fort.session().await[0].pubkey.to_hex();
    fort.treefort.wait_for_no_containers().await;
    fort.say(&["purge", "--yes", &session]).await.ok();
    assert!(kept(&fort).is_empty());

    // Of two sessions on one copy the second alone: the copy stays, and what its agent remembers goes.
    keeper(&fort, "says first").await.ok();
    goes_on(&fort, "echo sesame > $HOME/.kept/x; says second")
        .await
        .ok();
    fort.treefort.wait_for_no_containers().await;
    assert!(holds(&kept(&fort)[0], b"sesame"));
    let session = resumed(&fort).await[0].1[0].pubkey.to_hex();
    fort.say(&["purge", "--yes", &session]).await.ok();
    assert!(kept(&fort).is_empty());
    assert!(fort.copy().await.join("a.txt").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_keeps_is_never_followed() {
    let fort = keeping(Fort::embedded(AT_ONCE).await).await;
    fort.write("mine", "mine");
    let mine = fort.path("mine");
    let links = format!(
        "ln -s {mine} $HOME/.kept/link; ln -s / $HOME/.kept/root; mkdir -p $HOME/.kept/closed/in; \
         chmod 0 $HOME/.kept/closed; mkfifo $HOME/.kept/pipe; says done",
        mine = mine.display()
    );
    keeper(&fort, &links).await.ok();
    let said = goes_on(&fort, COUNTS).await.ok();
    assert_eq!(said.out.trim(), "2");
    fort.treefort.wait_for_no_containers().await;
    fort.say(&["discard", "--yes"]).await.ok();
    assert!(kept(&fort).is_empty());
    assert_eq!(fort.read("mine"), "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn opencode_remembers_what_its_tools_gave() {
    opencode_remembers(Fort::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opencode_remembers_what_its_tools_gave_without_docker() {
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program().parent().unwrap().display());
    let environment = [NO_DOCKER, ("PATH", &path)];
    opencode_remembers(Fort::start_in(AT_ONCE, &environment).await).await;
}

async fn opencode_remembers(mut fort: Fort) {
    let look =
        json!({"command": "echo $TREEFORT_TOKEN > token; date +sesame-%s", "description": "Looks"});
    fort.model.then(Behaviour::Call("bash", look));
    fort.model.then(Behaviour::Say("I looked.".to_owned()));
    fort.say(&["run", "--agent", "opencode", "look around"])
        .await
        .ok();
    restart(&mut fort);
    fort.model.then(Behaviour::Say("As before.".to_owned()));
    let said = goes_on(&fort, "and now?").await.ok();
    assert_eq!(said.out.trim(), "As before.");
    let (how, _) = resumed(&fort).await.remove(0);
    assert_eq!(how, "agent");
    let chats = fort.model.chats();
    let asked = chats.last().unwrap()["messages"].to_string();
    assert!(
        asked.contains("date +sesame-%s") && asked.contains("look around"),
        "{asked}"
    );
    // What the command gave is known from the agent's own memory alone.
    assert!(
        asked.contains("sesame-1") || asked.contains("sesame-2"),
        "{asked}"
    );
    assert!(!asked.contains("What was said before"), "{asked}");
    // No secret of treefort's is in what it keeps.
    let token = std::fs::read(fort.copy().await.join("token")).unwrap();
    let [state] = &kept(&fort)[..] else {
        panic!("one folder")
    };
    assert!(holds(state, b"sesame-"));
    assert!(token.len() > 20 && !holds(state, token.trim_ascii()));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_treefort_died_a_conversation_goes_on_from_its_last_answer() {
    let mut fort = keeping(Fort::embedded(AT_ONCE).await).await;
    keeper(&fort, "says first").await.ok();
    let cut_off = fort.begin(&["run", "--continue", "echo part > part; lingers"]);
    fort.wait_for_copy("part").await;
    fort.treefort.kill();
    drop(cut_off.await);
    fort.treefort.up();
    let said = goes_on(&fort, "says $(cat part) $(wc -l < $HOME/.kept/history)").await;
    assert_eq!(said.ok().out.trim(), "part 3");
}
