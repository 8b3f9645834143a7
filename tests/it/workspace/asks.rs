//! Permissions that an agent asks its owner for: the question waits, its answer is on the record, and whatever becomes of
//! owner, agent or treefort meanwhile, nothing waits for ever.

use nostr::Keys;
use tokio::io::AsyncWriteExt as _;
use treefort::nips::{Draft, nip90::Scheme};

use super::*;
use crate::jobs::{error, statuses};

const RUN: [&str; 4] = ["run", "--agent", "scripted", "--ask"];

fn asking(script: &str) -> Vec<&str> {
    let mut arguments = RUN.to_vec();
    arguments.push(script);
    arguments
}

/// The values of a record's tags of a name, after it.
fn values(record: &Event, name: &str) -> Vec<Vec<String>> {
    let tags = record.tags.iter().map(nostr::Tag::as_slice);
    let named = tags.filter(|tag| tag[0] == name);
    named.map(|tag| tag[1..].to_vec()).collect()
}

/// Questions and answers of a record, and the checkpoints between them, in their order.
fn asked(records: &[Event]) -> Vec<&Event> {
    let of = |record: &&Event| {
        record.kind.as_u16() == 4783 || ["question", "answer"].contains(&sort(record).as_str())
    };
    records.iter().filter(of).collect()
}

async fn an_answer_is_waited_for_and_recorded(fort: Fort) {
    let script = "echo half > a.txt; asks edit a.txt; echo $told >> a.txt; says told $told";
    let working = fort.begin(&asking(script));
    let question = fort.questions(1).await.remove(0);
    assert!(
        question["text"]
            .as_str()
            .unwrap()
            .starts_with("It wants to edit a.txt."),
        "{question}"
    );
    // While it waits, its owner sees what it did until then.
    assert_eq!(fort.say(&["files", "a.txt"]).await.ok().out, "half\n");
    let shown = fort.say(&["answer"]).await.ok();
    assert!(
        shown.out.contains("[y] Yes  [n] No") && shown.err.contains("treefort answer y"),
        "{shown:?}"
    );
    fort.say(&["answer", "perhaps"])
        .await
        .fails(2, "'perhaps' is no answer");
    fort.say(&["answer", "n"]).await.ok();
    let said = working.await.unwrap().ok();
    assert_eq!(said.out, "told no\n");
    assert!(
        said.err.contains("Asks whether it may edit a.txt")
            && said.err.contains("answer it with: treefort answer"),
        "{said:?}"
    );
    fort.say(&["answer", "y"])
        .await
        .fails(1, "nothing is asked");

    let records = fort.session().await;
    let asked = asked(&records);
    let at = asked
        .iter()
        .position(|record| sort(record) == "question")
        .unwrap();
    let (question, answer) = (asked[at], asked[at + 1]);
    assert_eq!(sort(answer), "answer");
    assert_eq!(values(question, "claim"), [["asked"]]);
    assert_eq!(
        values(question, "option"),
        [["1", "allow_once", "Yes"], ["2", "reject_once", "No"]]
    );
    assert!(tag(question, "until").unwrap().parse::<u64>().unwrap() > 1_700_000_000);
    assert_eq!(tag(answer, "question").unwrap(), question.id.to_hex());
    assert_eq!(values(answer, "option"), [["2", "reject_once", "No"]]);
    assert_eq!(tag(answer, "by").unwrap(), "owner");
    // The state before the answer can be brought back.
    let before = &asked[at - 1];
    assert_eq!(before.kind.as_u16(), 4783);
    fort.say(&["undo", "--last"]).await.ok();
    assert_eq!(fort.say(&["files", "a.txt"]).await.ok().out, "half\n");
    fort.say(&["verify", &records[0].pubkey.to_hex()])
        .await
        .ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_waits_for_its_owner_and_the_answer_is_recorded() {
    an_answer_is_waited_for_and_recorded(Fort::embedded(AT_ONCE).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_in_a_container() {
    an_answer_is_waited_for_and_recorded(Fort::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_being_told_to_nobody_is_asked() {
    let fort = Fort::embedded(AT_ONCE).await;
    let said = fort.run("asks edit a.txt; says told $told").await.ok();
    assert_eq!(said.out, "told yes\n");
    let records = fort.session().await;
    assert!(records.iter().all(|record| sort(record) != "question"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_says_nothing_after_a_no_is_told_of_as_such() {
    let fort = Fort::embedded(AT_ONCE).await;
    let working = fort.begin(&asking("echo half > a.txt; asks edit a.txt"));
    fort.questions(1).await;
    fort.say(&["answer", "no"]).await.ok();
    working
        .await
        .unwrap()
        .fails(1, "the agent was told no, and ended there");
    assert_eq!(fort.say(&["files", "a.txt"]).await.ok().out, "half\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_at_a_terminal_is_asked_there() {
    let fort = Fort::embedded(AT_ONCE).await;
    let line = "run --agent scripted --ask 'asks edit a; one=$told; asks edit b; says $one $told'";
    let mut person = fort.at_a_terminal(line);
    let mut stdin = person.stdin.take().unwrap();
    let first = fort.questions(1).await;
    // What is no answer is asked again. The question may not be on the screen yet, and what is typed ahead is no answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stdin.write_all(b"perhaps\nn\n").await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while fort.questions(1).await == first {
        assert!(Instant::now() < deadline, "it was never answered");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    stdin.write_all(b"yes\n").await.unwrap();
    let output = person.wait_with_output().await.unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let shown = anstream::adapter::strip_str(&shown).to_string();
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("It wants to edit b."), "{shown}");
    assert!(shown.matches("[y] Yes  [n] No >").count() >= 3, "{shown}");
    assert!(
        shown.contains("Answered: No") && shown.contains("no yes"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_wait_beside_each_other_and_each_gets_its_own_answer() {
    let fort = Fort::embedded(AT_ONCE).await;
    let script = "wants edit one; wants execute two; hears; first=$id; hears; says $first $id";
    let working = fort.begin(&asking(script));
    let asked = fort.questions(2).await;
    fort.say(&["answer", "y"])
        .await
        .fails(2, "2 questions are open");
    let second = asked[1]["question"].as_str().unwrap();
    fort.say(&["answer", "yes", "--question", &second[..12]])
        .await
        .ok();
    // The other one is the only one now.
    fort.say(&["answer", "2"]).await.ok();
    assert_eq!(working.await.unwrap().ok().out, "1002 1001\n");
    let records = fort.session().await;
    let answers: Vec<String> = records
        .iter()
        .filter(|record| sort(record) == "answer")
        .map(|answer| values(answer, "option")[0][0].clone())
        .collect();
    assert_eq!(answers, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_long_the_questions_are_each_of_them_is_seen() {
    let fort = Fort::embedded(AT_ONCE).await;
    let script = "long=$(printf %023000d 7); wants execute $long; wants execute $long; wants execute $long; \
                  wants edit short; hears; hears; hears; hears; says done";
    let working = fort.begin(&asking(script));
    let asked = fort.questions(4).await;
    let text = |at: usize| asked[at]["text"].as_str().unwrap().to_owned();
    for (at, question) in asked.iter().enumerate().take(3) {
        assert!(text(at).ends_with('…') && text(at).len() > 15_000);
        assert!(question["cut"].as_u64().unwrap() > 1_000);
    }
    assert!(text(3).starts_with("It wants to edit short.") && asked[3]["cut"].is_null());
    let shown = fort.say(&["answer"]).await.ok();
    assert!(
        shown
            .out
            .contains(" more bytes; more of it: treefort answer --session "),
        "{shown:?}"
    );
    for question in &asked {
        let id = question["question"].as_str().unwrap();
        fort.say(&["answer", "y", "--question", id]).await.ok();
    }
    working.await.unwrap().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_has_said_no_and_the_jobs_time_has_not_passed() {
    let config = format!("{AT_ONCE}[jobs]\ntimeout_s = 3\nask_s = 2\n");
    let fort = Fort::embedded(&config).await;
    // Longer in all than the job may take.
    let script =
        "asks edit a; one=$told; asks edit b; odd; two=$told; asks edit c; says $one $two $told";
    let said = fort.run(script).await.ok();
    assert_eq!(said.out, "yes yes yes\n");
    let said = fort.say(&asking(script)).await.ok();
    // Where no option stands for no, the agent is told that nobody chose.
    assert_eq!(said.out, "no no cancelled\n");
    let sessions = fort.sessions().await;
    let all = sessions.values().flatten();
    let by: Vec<String> = all
        .filter(|record| sort(record) == "answer")
        .map(|answer| tag(answer, "by").unwrap())
        .collect();
    assert_eq!(by, ["time", "time", "time"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_options_than_the_usual_can_be_chosen_too() {
    let fort = Fort::embedded(AT_ONCE).await;
    let working = fort.begin(&asking("odd; asks fetch it; says told $told"));
    fort.questions(1).await;
    fort.say(&["answer", "explain"]).await.ok();
    assert_eq!(working.await.unwrap().ok().out, "told why\n");
    let records = fort.session().await;
    let answer = records.iter().find(|it| sort(it) == "answer").unwrap();
    assert_eq!(values(answer, "option"), [["2", "explain", "Explain"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_taken_back_while_it_asks_ends_at_once() {
    let fort = Fort::embedded(AT_ONCE).await;
    let mut working = fort
        .command(fort.project.path(), &asking("asks edit a; says told $told"))
        .spawn()
        .unwrap();
    fort.questions(1).await;
    let began = Instant::now();
    let pid = rustix::process::Pid::from_raw(working.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    working.wait().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3));
    fort.questions(0).await;
    let records = fort.session().await;
    let answer = records.iter().find(|it| sort(it) == "answer").unwrap();
    assert_eq!(tag(answer, "by").unwrap(), "policy");
    assert!(values(answer, "option").is_empty());
    assert_eq!(tag(records.last().unwrap(), "ending").unwrap(), "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_treefort_that_stops_or_dies_while_it_is_asked_leaves_nothing_that_waits() {
    let mut fort = Fort::embedded(AT_ONCE).await;
    for kill in [false, true] {
        let working = fort.begin(&asking("asks edit a; says told $told"));
        fort.questions(1).await;
        if kill {
            fort.treefort.kill();
        } else {
            fort.treefort.terminate();
        }
        working.abort();
        fort.treefort.up();
        fort.questions(0).await;
        let sessions = fort.sessions().await;
        let ended = |ending: &str| {
            let mut ends = sessions.values().filter_map(|records| records.last());
            ends.any(|end| tag(end, "ending").as_deref() == Some(ending))
        };
        assert!(
            ended(if kill { "abandoned" } else { "stopped" }),
            "{sessions:?}"
        );
    }
    let mut client = fort.client().await;
    let author = fort.treefort.coordinator().to_hex();
    let ends = client
        .query(json!({"kinds": [7000], "authors": [author]}))
        .await;
    let interrupted = ends
        .iter()
        .filter(|end| tag(end, "code").as_deref() == Some("interrupted"));
    assert_eq!(interrupted.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_question_is_for_its_owner_alone() {
    let fort = Fort::embedded(AT_ONCE).await;
    let mut client = fort.client().await;
    let coordinator = fort.treefort.coordinator();
    let hidden = json!([
        ["i", "asks edit whisper.txt; says told $told", "text"],
        ["param", "agent", "scripted"],
        ["param", "permissions", "ask"],
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
    let question = fort.questions(1).await.remove(0);
    assert!(question["text"].as_str().unwrap().contains("whisper.txt"));
    let id = question["question"].as_str().unwrap().to_owned();
    // The question came in an encrypted feedback too.
    let feedback = json!({"kinds": [7000], "#e": [job.id.to_hex()]});
    let feedback = client.query(feedback).await;
    let said: Vec<Vec<Vec<String>>> = feedback
        .iter()
        .map(|event| {
            let text = Scheme::Nip44
                .decrypt(&client.keys, &coordinator, &event.content)
                .unwrap();
            serde_json::from_str(&text).unwrap()
        })
        .collect();
    let asks = said
        .iter()
        .find(|tags| tags.iter().any(|tag| tag[0] == "question" && tag[1] == id))
        .unwrap();
    assert_eq!(asks[0][1], "processing");
    assert!(
        asks.contains(
            &["option", "1", "allow_once", "Yes"]
                .map(str::to_owned)
                .to_vec()
        )
    );
    assert!(
        asks.iter()
            .any(|tag| tag[0] == "content" && tag[1].contains("whisper.txt"))
    );
    // In the clear nobody answers it, and nobody sees it.
    let task = |words: &[&str]| {
        let mut draft = Draft::new(5871)
            .tag(["i", words[0], "text"])
            .tag(["p", &coordinator.to_hex()]);
        for pair in words[1..].chunks(2) {
            draft = draft.tag(["param", pair[0], pair[1]]);
        }
        draft
    };
    let clear = task(&["answer", "question", &id, "option", "1"]);
    let (code, sentence) = error(&client.do_job(&clear).await.1);
    assert_eq!(code, "workspace");
    assert!(sentence.contains("private job"), "{sentence}");
    let (_, answers) = client.do_job(&task(&["at-work"])).await;
    let at_work = answers.iter().find(|it| it.kind.as_u16() == 6871).unwrap();
    assert!(at_work.content.contains(&id) && !at_work.content.contains("whisper"));
    fort.say(&["answer", "y"]).await.ok();
    fort.treefort.wait_for_no_containers().await;
    let everything = client
        .query(json!({"kinds": [1, 4781, 4782, 4783, 4784, 4785, 5871, 7000], "limit": 5000}))
        .await;
    let records = fort.session().await;
    assert_eq!(tag(records.last().unwrap(), "ending").unwrap(), "completed");
    let question = records.iter().find(|it| sort(it) == "question").unwrap();
    assert_eq!(question.id.to_hex(), id);
    assert_eq!(values(question, "option")[0], ["1", "allow_once", ""]);
    for event in everything {
        let text = nostr::JsonUtil::as_json(&event);
        assert!(!text.contains("whisper"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_asks_without_end_is_refused_and_can_be_ended() {
    let config = format!("{AT_ONCE}[jobs]\nask_s = 2\n");
    let fort = Fort::embedded(&config).await;
    let began = Instant::now();
    let said = fort.say(&asking("floods 10000; says done")).await.ok();
    assert_eq!(said.out, "done\n");
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    let records = fort.session().await;
    let count = |label: &str| records.iter().filter(|it| sort(it) == label).count();
    assert!(
        (1..=200).contains(&count("question")),
        "{}",
        count("question")
    );
    assert_eq!(count("question"), count("answer"));
    let errors = of_kind(&records, 4784);
    assert_eq!(errors.len(), 1);
    assert_eq!(tag(errors[0], "code").unwrap(), "questions");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_is_asked_and_a_wish_that_nobody_knows_is_refused() {
    let fort = Fort::embedded(AT_ONCE).await;
    let friend = Keys::generate();
    fort.say(&["allow", &friend.public_key().to_hex()])
        .await
        .ok();
    let job = |permissions: &str| {
        Draft::new(5870)
            .tag(["i", "asks edit a; says told $told", "text"])
            .tag(["p", &fort.treefort.coordinator().to_hex()])
            .tag(["param", "agent", "scripted"])
            .tag(["param", "permissions", permissions])
    };
    let mut client = fort.treefort.client(&friend).await;
    assert_eq!(error(&client.do_job(&job("ask")).await.1).0, "not-admitted");
    assert_eq!(error(&client.do_job(&job("never")).await.1).0, "input");
    let (_, answers) = client.do_job(&job("allow")).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success", "{answers:?}");
}
