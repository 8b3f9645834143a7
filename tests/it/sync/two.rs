//! Two treeforts that follow each other: through a relay between them, and directly.

use super::*;
use crate::harness::audit;

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
async fn two_that_follow_each_other_directly_have_the_same_then_fall_silent_and_do_no_job_twice() {
    let model = ModelServer::start().await;
    let mut forts = [
        Treefort::start_in(&model, &[], "", &[NO_DOCKER]),
        Treefort::start_in(&model, &[], "", &[NO_DOCKER]),
    ];
    // Each is reached at an address that stays, wherever it starts again.
    let (to_a, to_b) = (
        Tap::start(&forts[0].address).await,
        Tap::start(&forts[1].address).await,
    );
    // What answers a job leaves by no policy: whoever asked hears it because it follows whom it asked.
    const SHARED: &str = "[4780, 5050]";
    for (fort, other) in forts.iter_mut().zip([&to_b, &to_a]) {
        let sync = stream("both", &[other.url()]);
        set(fort, &sync.replace(KINDS, SHARED));
    }
    let [a, b] = &forts;
    to_a.lead_to(&a.address);
    to_b.lead_to(&b.address);
    let (op_a, op_b) = (a.operator(), b.operator());
    for (fort, friend) in [(a, &op_b), (b, &op_a)] {
        let key = friend.public_key().to_hex();
        assert!(fort.command(&["allow", &key]).await.status.success());
    }
    let from_a: Vec<Event> = (0..200).map(|n| recipe(&op_a, n)).collect();
    let from_b: Vec<Event> = (0..200).map(|n| recipe(&op_b, n)).collect();
    give(&mut a.client(&op_a).await, &from_a).await;
    give(&mut b.client(&op_b).await, &from_b).await;
    // Each asks the other one, itself, nobody in particular, and both.
    let keys = [a.coordinator().to_hex(), b.coordinator().to_hex()];
    let job = |to: &[&str], by: &Keys, text: &str| {
        to.iter()
            .fold(
                Draft::new(5050).tag(["i", &format!("instant {text}"), "text"]),
                |draft, to| draft.tag(["p", to]),
            )
            .sign(by, now())
            .unwrap()
    };
    let mut crossing = Vec::new();
    let mut staying = Vec::new();
    for (at, by) in [(0, &op_a), (1, &op_b)] {
        let (own, other) = (keys[at].as_str(), keys[1 - at].as_str());
        let asks = job(&[other], by, "the other");
        let stays = [
            job(&[own], by, "itself"),
            job(&[], by, "anybody"),
            job(&[own, other], by, "both"),
        ];
        let mut client = forts[at].client(by).await;
        give(&mut client, std::slice::from_ref(&asks)).await;
        give(&mut client, &stays).await;
        crossing.push(asks);
        staying.extend(stays);
    }
    // They have the same, the answers of each other too.
    let shared = json!({"kinds": [4780], "limit": 1000});
    let answered = json!({"kinds": [7000, 6050], "#e": ids(&crossing), "limit": 1000});
    let everything = json!({"ids": ids(&crossing)});
    for (fort, job) in [(b, &crossing[0]), (a, &crossing[1])] {
        until("the job is done", fort, async || {
            audit::ending(job.id, &has(fort, answered.clone()).await).is_some()
        })
        .await;
    }
    for filter in [shared, answered, everything] {
        until(&format!("they have the same: {filter}"), a, async || {
            let (at_a, at_b) = (has(a, filter.clone()).await, has(b, filter.clone()).await);
            !at_a.is_empty() && ids(&at_a) == ids(&at_b)
        })
        .await;
    }
    assert_eq!(
        ids(&has(a, json!({"kinds": [4780], "limit": 1000})).await),
        ids(from_a.iter().chain(&from_b))
    );
    // Silence: nothing moves any more, and then nothing at all for a while.
    silence(&[&to_a, &to_b]).await;
    for (tap, from, asked) in [(&to_b, &from_a, 0), (&to_a, &from_b, 1)] {
        let events = tap.events();
        for (id, times) in &events {
            assert_eq!(times.len(), 1, "{id} was sent {} times", times.len());
        }
        let sent: BTreeSet<EventId> = events.keys().copied().collect();
        let allowed = ids(from.iter().chain([&crossing[asked]]));
        let answers = ids(&has(a, json!({"kinds": [7000, 6050, 6870]})).await);
        // What the other one took by itself need not be sent.
        assert!(ids(from).is_subset(&sent));
        for id in sent.difference(&allowed) {
            assert!(answers.contains(id), "{}", events[id][0]);
        }
    }
    // Each job was done by one of them: whom it was for, and else where it was asked.
    for (at, job) in crossing.iter().chain(&staying).enumerate() {
        let filter = json!({"kinds": [7000, 6050], "#e": [job.id]});
        let mut takers = BTreeSet::new();
        for fort in [a, b] {
            let answers = has(fort, filter.clone()).await;
            takers.extend(answers.iter().map(|answer| answer.pubkey));
        }
        let at_home = if staying.contains(job) {
            at >= 5
        } else {
            at == 0
        };
        let taker = forts[usize::from(at_home)].coordinator();
        assert_eq!(takers, BTreeSet::from([taker]), "job {at}");
    }
    for (fort, of) in [(a, &staying[3..]), (b, &staying[..3])] {
        assert!(has(fort, json!({"ids": ids(of)})).await.is_empty());
    }
    // One that starts again sends nothing again, and takes nothing up again.
    let (sent, chats) = ([to_a.events(), to_b.events()], model.chats().len());
    forts[0].terminate();
    forts[0].up();
    to_a.lead_to(&forts[0].address);
    let connections = to_a.connections();
    until("it is followed again", &forts[1], async || {
        to_a.connections() > connections
    })
    .await;
    silence(&[&to_a, &to_b]).await;
    assert_eq!([to_a.events(), to_b.events()], sent);
    assert_eq!(model.chats().len(), chats);
}

/// Waits until no message goes either way for five seconds.
async fn silence(taps: &[&Tap]) {
    let count = || taps.iter().map(|tap| tap.frames()).sum::<usize>();
    let deadline = Instant::now() + PATIENCE;
    let mut before = count();
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = count();
        if now == before {
            return;
        }
        before = now;
        assert!(Instant::now() < deadline, "they never fall silent");
    }
}
