//! Relays that say what nobody asked them.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asked_for_is_not_heard_and_not_borne_for_ever() {
    let model = ModelServer::start().await;
    let curious = Foreign::start(Manner::default()).await;
    let noisy = Foreign::start(Manner::default()).await;
    let mut treefort = Treefort::start_in(&model, &[], "", &[NO_DOCKER]);
    let operator = treefort.operator();
    let secret = Draft::new(1)
        .content("for me")
        .sign(&operator, now())
        .unwrap();
    let stranger = Keys::generate();
    let spoken = Draft::new(1)
        .content("for you")
        .tag(["p", &operator.public_key().to_hex()])
        .sign(&stranger, now())
        .unwrap();
    // It claims to have been sent what was not, and shows what fits into no subscription.
    let babbles = vec![
        json!(["OK", secret.id, true, ""]).to_string(),
        format!("[\"EVENT\",\"never\",{}]", spoken.as_json()),
    ];
    curious.behave(|manner| manner.babbles = babbles);
    let notice = json!(["NOTICE", "buy more"]).to_string();
    noisy.behave(|manner| manner.babbles = vec![notice; 2000]);
    let recipes: Vec<Event> = (0..3).map(|n| recipe(&operator, n)).collect();
    let mut client = treefort.client(&operator).await;
    give(&mut client, std::slice::from_ref(&secret)).await;
    give(&mut client, &recipes).await;
    set(
        &mut treefort,
        &stream("both", &[curious.url(), noisy.url()]),
    );
    until("the noisy one is left", &treefort, async || {
        let status = told(&treefort, &["sync", "--json"]).await;
        status["relays"][1]["problem"] == "it sends too much at once"
    })
    .await;
    until("all is there", &treefort, async || curious.count() == 3).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for question in curious.asked("REQ") {
        let question = question.to_string();
        assert!(!question.contains(&secret.id.to_hex()), "{question}");
    }
    let status = told(&treefort, &["sync", "--json"]).await;
    assert_eq!(status["relays"][0]["problem"], Value::Null);
    assert!(has(&treefort, json!({"ids": [spoken.id]})).await.is_empty());
    // What is shown when it was asked for comes in.
    curious.publish(&spoken);
    until("it comes in", &treefort, async || {
        !has(&treefort, json!({"ids": [spoken.id]})).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_fill_the_disk_and_friends_may_talk() {
    let model = ModelServer::start().await;
    let foreign = Foreign::start(Manner::default()).await;
    let treefort = treefort(&model, &stream("down", &[foreign.url()])).await;
    let operator = treefort.operator().public_key().to_hex();
    let (friend, stranger) = (Keys::generate(), Keys::generate());
    let output = treefort
        .command(&["allow", &friend.public_key().to_hex()])
        .await;
    assert!(output.status.success(), "{output:?}");
    let says = |keys: &Keys, bytes: usize| {
        Draft::new(1)
            .content("x".repeat(bytes))
            .tag(["p", &operator])
            .sign(keys, now())
            .unwrap()
    };
    let long = 30_000;
    let (of_stranger, of_friend) = (says(&stranger, long), says(&friend, long));
    let short = says(&stranger, 100);
    for event in [&of_stranger, &of_friend, &short] {
        foreign.publish(event);
    }
    until("they come in", &treefort, async || {
        let come = json!({"ids": [of_friend.id, short.id]});
        has(&treefort, come).await.len() == 2
    })
    .await;
    assert!(
        has(&treefort, json!({"ids": [of_stranger.id]}))
            .await
            .is_empty()
    );
    let status = told(&treefort, &["sync", "--json"]).await;
    let problem = status["relays"][0]["problem"].as_str().unwrap();
    assert!(problem.starts_with("strangers say more"), "{problem}");
}
