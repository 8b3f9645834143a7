//! What comes in: what is said to us, jobs for us that are fresh, and nothing else.

use super::*;
use crate::harness::client::{status, tag};

#[tokio::test(flavor = "multi_thread")]
async fn replies_and_jobs_for_us_come_in_and_nothing_else_does() {
    let model = ModelServer::start().await;
    let foreign = Foreign::start(Manner::default()).await;
    let treefort = treefort(&model, &stream("both", &[foreign.url()])).await;
    let (friend, stranger) = (Keys::generate(), Keys::generate());
    let allowed = treefort
        .command(&["allow", &friend.public_key().to_hex()])
        .await;
    assert!(allowed.status.success());
    let (us, other) = (
        treefort.coordinator().to_hex(),
        stranger.public_key().to_hex(),
    );
    let operator = treefort.operator().public_key().to_hex();
    until("it listens", &treefort, async || {
        !foreign.asked("REQ").is_empty()
    })
    .await;
    let job = |to: &[&str], keys: &Keys, at: u64| {
        to.iter()
            .fold(Draft::new(5050).tag(["i", "hello", "text"]), |draft, to| {
                draft.tag(["p", to])
            })
            .content("")
            .sign(keys, at)
            .unwrap()
    };
    let said = |kind: u16, to: &str| {
        Draft::new(kind)
            .tag(["p", to])
            .content("+")
            .sign(&stranger, now())
            .unwrap()
    };
    let good = job(&[&us], &friend, now());
    // A job of the owner's own, for somebody else: who was asked may answer.
    let asked = job(&[&other], &treefort.operator(), now());
    give(
        &mut treefort.client(&treefort.operator()).await,
        std::slice::from_ref(&asked),
    )
    .await;
    let answer = |kind: u16, to: &Event, by: &Keys| {
        Draft::new(kind)
            .tag(["e", &to.id.to_hex()])
            .tag(["p", &operator])
            .tag(["status", "processing"])
            .sign(by, now())
            .unwrap()
    };
    let wanted = [
        answer(7000, &asked, &stranger),
        answer(6050, &asked, &stranger),
        said(1, &operator),
        said(7, &us),
        said(1111, &operator),
        good.clone(),
    ];
    let mut forged = said(1, &operator);
    forged.content = "not what was signed".to_owned();
    let unwanted = [
        answer(7000, &asked, &friend),
        answer(6050, &said(5050, &other), &stranger),
        answer(7000, &said(1, &operator), &stranger),
        answer(6100, &asked, &stranger),
        said(1, &other),
        said(3, &operator),
        said(30023, &operator),
        job(&[&us, &other], &friend, now()),
        job(&[], &friend, now()),
        job(&[&us], &stranger, now()),
        job(&[&us], &friend, now() - 90 * 24 * 3600),
        Draft::new(5871)
            .tag(["p", &us])
            .sign(&treefort.operator(), now())
            .unwrap(),
        forged,
    ];
    for event in unwanted.iter().chain(&wanted) {
        foreign.publish(event);
        // Whether or not the subscription asks for it.
        foreign.replay(event);
    }
    let all: Vec<EventId> = unwanted
        .iter()
        .chain(&wanted)
        .map(|event| event.id)
        .collect();
    until("it comes in", &treefort, async || {
        has(&treefort, json!({"ids": all})).await.len() >= wanted.len()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        ids(&has(&treefort, json!({"ids": all})).await),
        ids(&wanted)
    );
    // The answer goes back to where the job came from, and to nobody who did not ask.
    until("it is answered there", &treefort, async || {
        foreign.kept().iter().any(|(event, _)| {
            event.kind.as_u16() == 7000
                && tag(event, "e") == Some(good.id.to_hex())
                && event.pubkey.to_hex() == us
        })
    })
    .await;
    // A relay that repeats it wakes nobody.
    let answers = json!({"kinds": [7000, 6050], "#e": [good.id]});
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = has(&treefort, answers.clone()).await;
        let ended = found.iter().any(|event| {
            event.kind.as_u16() == 6050 || matches!(status(event).as_str(), "error" | "success")
        });
        if ended {
            break;
        }
        assert!(Instant::now() < deadline, "{}", treefort.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = has(&treefort, answers.clone()).await.len();
    foreign.replay(&good);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(has(&treefort, answers).await.len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_stops_the_job_that_came_from_there_and_takes_back_nothing_else() {
    let model = ModelServer::start().await;
    let foreign = Foreign::start(Manner::default()).await;
    let treefort = treefort(&model, &stream("both", &[foreign.url()])).await;
    let (friend, stranger) = (Keys::generate(), Keys::generate());
    let key = friend.public_key().to_hex();
    assert!(treefort.command(&["allow", &key]).await.status.success());
    until("it listens", &treefort, async || {
        !foreign.asked("REQ").is_empty()
    })
    .await;
    let takes_back = |event: &Event, keys: &Keys| {
        Draft::new(5)
            .tag(["e", &event.id.to_hex()])
            .tag(["k", &event.kind.as_u16().to_string()])
            .sign(keys, now())
            .unwrap()
    };
    let answers = |job: &Event, word: &str| {
        let of_job = |event: &Event| {
            tag(event, "e") == Some(job.id.to_hex()) && status(event).as_str() == word
        };
        let kept = foreign.kept();
        let answers = kept.into_iter().map(|(event, _)| event).filter(of_job);
        answers.collect::<Vec<Event>>()
    };
    // What the same customer said here, on a way of its own, is not for a relay to take back.
    let note = Draft::new(1).content("hello").sign(&friend, now()).unwrap();
    give(
        &mut treefort.client(&friend).await,
        std::slice::from_ref(&note),
    )
    .await;
    // The second one is taken back while nobody is there to hear it.
    for offline in [false, true] {
        let chats = model.chats().len();
        let job = Draft::new(5050)
            .tag(["i", "hang", "text"])
            .tag(["p", &treefort.coordinator().to_hex()])
            .tag(["param", "n", if offline { "2" } else { "1" }])
            .sign(&friend, now())
            .unwrap();
        foreign.publish(&job);
        until("it runs", &treefort, async || model.chats().len() > chats).await;
        until("its customer is told", &treefort, async || {
            answers(&job, "processing").len() == 1
        })
        .await;
        let vain = [takes_back(&job, &stranger), takes_back(&note, &friend)];
        for event in &vain {
            foreign.publish(event);
            foreign.replay(event);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(has(&treefort, json!({"ids": ids(&vain)})).await.is_empty());
        assert_eq!(has(&treefort, json!({"ids": [note.id]})).await.len(), 1);
        assert!(answers(&job, "error").is_empty());
        let cancellation = takes_back(&job, &friend);
        if offline {
            foreign.stop();
            until("it is alone", &treefort, async || {
                let status = told(&treefort, &["sync", "--json"]).await;
                status["relays"][0]["connected"] == false
            })
            .await;
        }
        let began = Instant::now();
        foreign.publish(&cancellation);
        if offline {
            foreign.back().await;
        }
        until("it stops", &treefort, async || {
            !answers(&job, "error").is_empty()
        })
        .await;
        eprintln!("stopped after {:?}, offline: {offline}", began.elapsed());
        let error = answers(&job, "error").remove(0);
        assert_eq!(tag(&error, "code").as_deref(), Some("cancelled"));
        let ends = json!({"kinds": [4785], "#E": [job.id]});
        until("its session ends", &treefort, async || {
            has(&treefort, ends.clone()).await.len() == 1
        })
        .await;
        assert_eq!(model.chats().len(), chats + 1);
    }
    assert!(
        foreign.sent().values().all(|count| *count == 1),
        "one was sent twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_is_heard_also_when_the_relay_was_cut_off_after_it_told_what_is_new() {
    let model = ModelServer::start().await;
    let manner = Manner {
        tells: Some(1),
        ..Manner::default()
    };
    let foreign = Foreign::start(manner).await;
    let treefort = treefort(&model, "").await;
    let operator = treefort.operator().public_key().to_hex();
    let said = |days: u64| {
        Draft::new(1)
            .tag(["p", &operator])
            .content(format!("{days} days ago"))
            .sign(&Keys::generate(), now() - days * 24 * 3600)
            .unwrap()
    };
    // The newest first, as relays tell.
    let notes = [said(0), said(3), said(20)];
    notes.iter().for_each(|note| foreign.publish(note));
    let mut treefort = treefort;
    set(&mut treefort, &stream("down", &[foreign.url()]));
    let wanted = json!({"ids": ids(&notes)});
    until("all of them are heard", &treefort, async || {
        has(&treefort, wanted.clone()).await.len() == notes.len()
    })
    .await;
    assert!(foreign.connections() > 1);
    // All was told: the next time less is asked for.
    treefort.terminate();
    treefort.up();
    let fresh = || {
        let asked = foreign.asked("REQ");
        asked
            .iter()
            .any(|asked| asked[2]["since"].as_u64().unwrap_or(0) > now() - 2 * 24 * 3600)
    };
    until("it asks for what is new", &treefort, async || fresh()).await;
}
