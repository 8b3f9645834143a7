//! What comes in: what is said to us, jobs for us that are fresh, and nothing else.

use super::*;

/// What a treefort has of some kinds.
async fn has(treefort: &Treefort, filter: Value) -> Vec<Event> {
    let mut client = treefort.client(&treefort.operator()).await;
    client.query(filter).await
}

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
    let wanted = [
        said(1, &operator),
        said(7, &us),
        said(1111, &operator),
        good.clone(),
    ];
    let mut forged = said(1, &operator);
    forged.content = "not what was signed".to_owned();
    let unwanted = [
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
                && crate::harness::client::tag(event, "e") == Some(good.id.to_hex())
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
            event.kind.as_u16() == 6050
                || matches!(
                    crate::harness::client::status(event).as_str(),
                    "error" | "success"
                )
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
async fn two_that_follow_each_other_have_the_same_then_fall_silent_and_do_no_job_twice() {
    let model = ModelServer::start().await;
    let (mut a, mut b) = (
        Treefort::start_in(&model, &[], "", &[NO_DOCKER]),
        Treefort::start_in(&model, &[], "", &[NO_DOCKER]),
    );
    let between = Foreign::start(Manner::default()).await;
    for treefort in [&mut a, &mut b] {
        let sync = stream("both", &[between.url()]);
        set(treefort, &sync.replace(KINDS, "[4780, 5050, 7000, 6050]"));
    }
    let (op_a, op_b) = (a.operator(), b.operator());
    for (treefort, friend) in [(&a, &op_b), (&b, &op_a)] {
        let key = friend.public_key().to_hex();
        assert!(treefort.command(&["allow", &key]).await.status.success());
    }
    let from_a: Vec<Event> = (0..200).map(|n| recipe(&op_a, n)).collect();
    let from_b: Vec<Event> = (0..200).map(|n| recipe(&op_b, n)).collect();
    give(&mut a.client(&op_a).await, &from_a).await;
    give(&mut b.client(&op_b).await, &from_b).await;
    // One for B, one for nobody in particular, one for both.
    let (key_a, key_b) = (a.coordinator().to_hex(), b.coordinator().to_hex());
    let job = |to: &[&str], text: &str| {
        to.iter()
            .fold(Draft::new(5050).tag(["i", text, "text"]), |draft, to| {
                draft.tag(["p", to])
            })
            .sign(&op_a, now())
            .unwrap()
    };
    let jobs = [
        job(&[&key_b], "for B"),
        job(&[], "for anybody"),
        job(&[&key_a, &key_b], "for both"),
    ];
    give(&mut a.client(&op_a).await, &jobs).await;
    until("B did its job", &b, async || {
        let answers = has(&b, json!({"kinds": [7000, 6050], "#e": [jobs[0].id]})).await;
        !answers.is_empty()
    })
    .await;
    until("all is between", &a, async || {
        let there = ids(between.kept().iter().map(|(event, _)| event));
        from_a
            .iter()
            .chain(&from_b)
            .all(|event| there.contains(&event.id))
    })
    .await;
    // Silence: nothing moves any more.
    let mut before = 0;
    let deadline = Instant::now() + PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let count: usize = between.sent().values().sum();
        if count == before {
            break;
        }
        before = count;
        assert!(Instant::now() < deadline, "they never fall silent");
    }
    assert!(
        between.sent().values().all(|count| *count == 1),
        "one was sent twice"
    );
    // No job was taken by both.
    for job in &jobs {
        let filter = json!({"kinds": [7000, 6050], "#e": [job.id]});
        let mut takers = BTreeSet::new();
        for treefort in [&a, &b] {
            for answer in has(treefort, filter.clone()).await {
                takers.insert(answer.pubkey);
            }
        }
        assert!(takers.len() <= 1, "{takers:?}");
    }
    assert!(
        has(&b, json!({"ids": [jobs[1].id, jobs[2].id]}))
            .await
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_treefort_finds_out_what_another_one_has_by_reconciling() {
    let model = ModelServer::start().await;
    let there = Treefort::start_in(&model, &[], "", &[NO_DOCKER]);
    let mut here = Treefort::start_in(&model, &[], "", &[NO_DOCKER]);
    let operator = here.operator();
    let recipes: Vec<Event> = (0..900).map(|n| recipe(&operator, n)).collect();
    give(&mut here.client(&operator).await, &recipes).await;
    // Two thirds are there already.
    give(&mut there.client(&operator).await, &recipes[..600]).await;
    set(
        &mut here,
        &stream("up", &[format!("ws://{}/", there.address)]),
    );
    until("all is there", &here, async || {
        let status = told(&here, &["sync", "--json"]).await;
        status["relays"][0]["tally"]["sent"] == 300
    })
    .await;
    let status = told(&here, &["sync", "--json"]).await;
    assert_eq!(status["relays"][0]["tally"]["there"], 600);
}
