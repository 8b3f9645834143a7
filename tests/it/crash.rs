//! What a crash, a stop and a restart leave of jobs, sessions and containers.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    time::{Duration, Instant},
};

use nostr::{Event, Keys};
use serde_json::json;
use treefort::nips::Draft;

use crate::{
    harness::{
        Client, Treefort,
        audit::{Ending, endings, whole_sessions},
        client::{status, tag},
        random::Random,
    },
    jobs::AT_ONCE,
    model_server::{Behaviour, ModelServer},
};

/// How often the program is killed.
const CRASHES: u64 = 20;

fn job(kind: u16, treefort: &Treefort, prompt: &str, number: u64) -> Draft {
    Draft::new(kind)
        .tag(["i", prompt, "text"])
        .tag(["p", &treefort.coordinator().to_hex()])
        // Two jobs of one second are two jobs.
        .tag(["param", "number", &number.to_string()])
}

/// Waits until the model was asked so often.
async fn asked(model: &ModelServer, times: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while model.chats().len() < times {
        assert!(Instant::now() < deadline, "the model was not asked");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The sentences of a job's `processing` feedback, oldest first.
async fn progress(client: &mut Client, job: &Event) -> Vec<String> {
    let filter = json!({"kinds": [7000], "#e": [job.id.to_hex()]});
    let mut answers = client.query(filter).await;
    answers.reverse();
    answers
        .iter()
        .filter(|answer| status(answer) == "processing")
        .map(|answer| answer.content.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_crashes_lose_no_job_and_answer_none_twice() {
    let mut random = Random::new();
    let model = ModelServer::start().await;
    // One container is kept warm, so that a crash leaves those behind too.
    let config = "[sessions]\nidle_s = 1\nwarm = 1\n";
    let mut treefort = Treefort::start_with(&model, &[], config);
    let customers = [treefort.operator(), Keys::generate(), Keys::generate()];
    for friend in &customers[1..] {
        let key = friend.public_key().to_hex();
        let output = treefort.command(&["allow", &key]).await;
        assert!(output.status.success(), "{output:?}");
    }

    let (mut accepted, mut number) = (Vec::new(), 0);
    for crash in 0..CRASHES {
        let mut sending = Vec::new();
        for keys in &customers {
            let mut client = treefort.client(keys).await;
            let jobs: Vec<Event> = (0..=random.below(2))
                .map(|_| {
                    number += 1;
                    let kind = if random.below(2) == 0 { 5050 } else { 5870 };
                    let prompt = ["instant", "hello", "slow"][random.below(3) as usize];
                    client.sign(&job(kind, &treefort, prompt, number))
                })
                .collect();
            let pause = Duration::from_millis(random.below(150));
            sending.push(tokio::spawn(async move {
                let mut kept = Vec::new();
                for job in jobs {
                    if !client.try_send(&job).await {
                        break;
                    }
                    kept.push(job);
                    tokio::time::sleep(pause).await;
                }
                kept
            }));
        }
        // The random moment: while jobs arrive, containers start, answers are written.
        let moment = Duration::from_millis(random.below(if crash % 2 == 0 { 400 } else { 2500 }));
        tokio::time::sleep(moment).await;
        treefort.kill();
        for sent in sending {
            accepted.extend(sent.await.unwrap());
        }
        treefort.up();
    }

    let mut client = treefort.client(&treefort.operator()).await;
    let authors: Vec<String> = customers
        .iter()
        .map(|keys| keys.public_key().to_hex())
        .collect();
    let filter = json!({"kinds": [5050, 5870], "authors": authors, "limit": 5000});
    let stored = client.query(filter).await;
    for job in &accepted {
        assert!(stored.contains(job), "the relay lost {job:?}");
    }
    // Those whose promise was lost on the way are jobs too.
    let ids: Vec<_> = stored.iter().map(|job| job.id).collect();
    let ends = endings(&treefort, &mut client, &ids).await;
    for (id, end) in &ends {
        if let Ending::Failed(code) = end {
            assert_eq!(code, "interrupted", "{id}");
        }
    }
    let mut counted: BTreeMap<(u16, String), usize> = BTreeMap::new();
    for job in &stored {
        let key = (job.kind.as_u16(), format!("{:?}", ends[&job.id]));
        *counted.entry(key).or_default() += 1;
    }
    eprintln!("{} jobs: {counted:?}", stored.len());

    treefort.terminate();
    assert_eq!(treefort.containers(), Vec::<String>::new());
    treefort.up();
    let mut client = treefort.client(&treefort.operator()).await;
    let sessions = whole_sessions(&mut client).await;
    eprintln!("{} sessions", sessions.len());
    // Nothing comes after the end: neither late answers nor late records.
    assert_eq!(endings(&treefort, &mut client, &ids).await, ends);
    treefort.terminate();
    assert_eq!(treefort.containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_job_is_tried_once_more_after_a_crash_and_an_agent_task_is_not() {
    let model = ModelServer::start().await;
    for _ in 0..3 {
        model.then(Behaviour::Hang);
    }
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = treefort.client(&treefort.operator()).await;
    let tried = client.sign(&job(5050, &treefort, "again", 1));
    let lost = client.sign(&job(5050, &treefort, "again and again", 2));
    let task = client.sign(&job(5870, &treefort, "once", 3));
    for job in [&tried, &task, &lost] {
        assert_eq!(client.send(job).await[2], true);
    }
    asked(&model, 3).await;
    treefort.kill();

    // The second attempt at one of the jobs is interrupted too. Which one the model hears first is open, so
    // it tells by the prompt.
    treefort.up();
    let mut client = treefort.client(&treefort.operator()).await;
    let ends = endings(&treefort, &mut client, &[tried.id, lost.id, task.id]).await;
    assert_eq!(ends[&tried.id], Ending::Delivered);
    assert_eq!(ends[&lost.id], Ending::Delivered);
    assert_eq!(ends[&task.id], Ending::Failed("interrupted".to_owned()));
    let said = progress(&mut client, &tried).await;
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said.iter().any(|said| said.contains("once more")),
        "{said:?}"
    );
    assert_eq!(progress(&mut client, &task).await.len(), 1);
    assert_eq!(model.chats().len(), 5);
    treefort.wait_for_no_containers().await;
    let outcomes = outcomes(&mut client).await;
    assert_eq!(outcomes["abandoned"], 3, "{outcomes:?}");
    assert_eq!(outcomes["success"], 2, "{outcomes:?}");

    // A job whose second attempt is interrupted too ends.
    model.then(Behaviour::Hang);
    model.then(Behaviour::Hang);
    let twice = client.sign(&job(5050, &treefort, "twice", 4));
    assert_eq!(client.send(&twice).await[2], true);
    for times in [6, 7] {
        asked(&model, times).await;
        treefort.kill();
        treefort.up();
    }
    let mut client = treefort.client(&treefort.operator()).await;
    let ends = endings(&treefort, &mut client, &[twice.id]).await;
    assert_eq!(ends[&twice.id], Ending::Failed("interrupted".to_owned()));
    treefort.terminate();
    assert_eq!(treefort.containers(), Vec::<String>::new());
    assert_eq!(model.chats().len(), 7);
}

/// How many sessions ended how.
async fn outcomes(client: &mut Client) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for records in whole_sessions(client).await.values() {
        let end = records.iter().find(|record| record.kind.as_u16() == 4785);
        let outcome = tag(end.unwrap(), "l").unwrap();
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_sessions_within_five_seconds_and_their_jobs_after_the_restart() {
    let model = ModelServer::start().await;
    model.then(Behaviour::Hang);
    model.then(Behaviour::Stall);
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = treefort.client(&treefort.operator()).await;
    let text = client.sign(&job(5050, &treefort, "text", 1));
    let task = client.sign(&job(5870, &treefort, "task", 2));
    for job in [&text, &task] {
        assert_eq!(client.send(job).await[2], true);
    }
    asked(&model, 2).await;
    let took = treefort.terminate();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(treefort.containers(), Vec::<String>::new());

    treefort.up();
    let mut client = treefort.client(&treefort.operator()).await;
    let ends = endings(&treefort, &mut client, &[text.id, task.id]).await;
    assert_eq!(ends[&text.id], Ending::Delivered);
    assert_eq!(ends[&task.id], Ending::Failed("interrupted".to_owned()));
    treefort.wait_for_no_containers().await;
    // A start would have written `abandoned` where the stop had left an end out.
    let outcomes = outcomes(&mut client).await;
    let expected = [("interrupted".to_owned(), 2), ("success".to_owned(), 1)];
    assert_eq!(outcomes, BTreeMap::from(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_cancelled_at_random_moments_leave_whole_sessions() {
    let mut random = Random::new();
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = treefort.client(&treefort.operator()).await;
    let mut jobs = Vec::new();
    for number in 0..20 {
        let job = client.sign(&job(5050, &treefort, "slow", number));
        assert_eq!(client.send(&job).await[2], true);
        // While its container starts, while its session opens, while the model writes.
        tokio::time::sleep(Duration::from_millis(random.below(500))).await;
        client.publish(&treefort.cancellation(&job)).await;
        jobs.push(job.id);
    }
    let ends = endings(&treefort, &mut client, &jobs).await;
    let cancelled = Ending::Failed("cancelled".to_owned());
    assert!(ends.values().all(|end| *end == cancelled), "{ends:?}");
    treefort.wait_for_no_containers().await;
    let sessions = outcomes(&mut client).await;
    eprintln!("{sessions:?}");
    assert!(sessions.keys().all(|outcome| outcome == "interrupted"));
    treefort.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_are_done_stay_done_across_restarts() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = treefort.client(&treefort.operator()).await;
    let done = client.sign(&job(5050, &treefort, "instant", 1));
    let failed = client.sign(&job(5050, &treefort, "fail-500", 2));
    let (withdrawn, kept) = (
        client.sign(&job(5050, &treefort, "hang", 3)),
        client.sign(&job(5050, &treefort, "instant", 4)),
    );
    for job in [&done, &failed] {
        client.do_signed_job(job).await;
    }
    assert_eq!(client.send(&withdrawn).await[2], true);
    client.publish(&treefort.cancellation(&withdrawn)).await;
    let jobs = [done.id, failed.id, withdrawn.id];
    let ends = endings(&treefort, &mut client, &jobs).await;
    assert_eq!(ends[&withdrawn.id], Ending::Failed("cancelled".to_owned()));
    let answers_of = json!({"kinds": [7000, 6050], "#e": jobs.map(|id| id.to_hex())});
    let mut before = client.query(answers_of.clone()).await;
    before.sort_by_key(|event| event.id);

    for how in ["stop", "crash"] {
        if how == "stop" {
            treefort.terminate();
        } else {
            treefort.kill();
        }
        treefort.up();
        client = treefort.client(&treefort.operator()).await;
        for job in [&done, &failed, &withdrawn] {
            // The relay knows it, or knows that its author deleted it.
            client.send(job).await;
        }
        // A job that is done shows that those before it were looked at.
        let next = job(5050, &treefort, "instant", before.len() as u64);
        let next = next.tag(["param", "how", how]);
        client.do_job(&next).await;
        let mut after = client.query(answers_of.clone()).await;
        after.sort_by_key(|event| event.id);
        assert_eq!(after, before, "{how}");
    }
    client.do_signed_job(&kept).await;
    treefort.wait_for_no_containers().await;
    whole_sessions(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_treefort_on_a_home_and_a_port_that_is_taken_are_said_plainly() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let second = treefort.command(&["up", "--listen", "127.0.0.1:0"]).await;
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    let sentence = format!("treefort is running already at http://{}", treefort.address);
    assert!(said.contains(&sentence), "{said}");
    // It did no harm to the first.
    let mut client = treefort.client(&treefort.operator()).await;
    let draft = job(5050, &treefort, "instant", 1);
    client.do_job(&draft).await;
    treefort.terminate();

    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let taken = treefort.command(&["up", "--listen", &address]).await;
    let said = String::from_utf8_lossy(&taken.stderr);
    assert_eq!(taken.status.code(), Some(6), "{said}");
    assert!(
        said.contains(&format!("cannot listen on {address}")),
        "{said}"
    );
    assert!(
        said.contains("hint:") && said.contains("--listen"),
        "{said}"
    );
}
