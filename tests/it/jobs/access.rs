//! Whose jobs run, within which quotas, and who may take one back.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_and_those_that_it_allows_are_served() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut friend = treefort.client(&Keys::generate()).await;
    let draft = friend.job(treefort.coordinator(), "instant");
    let (job, answers) = friend.do_job(&draft).await;
    assert_eq!(statuses(&answers), ["error"]);
    assert_eq!(error(&answers).0, "not-admitted");

    let key = friend.keys.public_key().to_hex();
    let output = treefort.command(&["allow", &key]).await;
    assert!(output.status.success(), "{output:?}");
    let draft = draft.tag(["param", "n", "2"]);
    let (_, answers) = friend.do_job(&draft).await;
    assert_eq!(statuses(&answers), ["processing", "6050", "success"]);

    // The job that was refused stays refused, with its one answer.
    let answers = friend
        .query(json!({"#e": [job.id.to_hex()], "kinds": [7000]}))
        .await;
    assert_eq!(answers.len(), 1);

    let output = treefort.command(&["allow", "--remove", &key]).await;
    assert!(output.status.success(), "{output:?}");
    let (_, answers) = friend.do_job(&draft.tag(["param", "n", "3"])).await;
    assert_eq!(error(&answers).0, "not-admitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_cancels_within_two_seconds() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = owner(&treefort).await;
    for prompt in ["hang", "slow"] {
        let job = client.sign(&client.job(treefort.coordinator(), prompt));
        let filter = json!({"kinds": [7000, 6050], "#e": [job.id.to_hex()]});
        client.subscribe("job", filter).await;
        client.raw(format!("[\"EVENT\",{}]", job.as_json())).await;
        assert_eq!(status(&client.next_event().await), "processing");
        let before = model.chats().len();
        while model.chats().len() == before && before == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let began = Instant::now();
        let cancel = Draft::new(5)
            .tag(["e", &job.id.to_hex()])
            .tag(["k", "5050"]);
        let cancel = client.sign(&cancel);
        client
            .raw(format!("[\"EVENT\",{}]", cancel.as_json()))
            .await;
        let ended = client.next_event().await;
        let took = began.elapsed();
        assert_eq!(error(&[ended]).0, "cancelled");
        assert!(took < Duration::from_secs(2), "{took:?}");
        treefort.wait_for_no_containers().await;
        let session = client
            .query(json!({"kinds": [4785], "#E": [job.id.to_hex()]}))
            .await;
        assert!(
            session
                .iter()
                .all(|end| tag(end, "l").unwrap() == "interrupted")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_taken_back_at_once_ends_all_the_same() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = owner(&treefort).await;
    let mut waiting = Vec::new();
    for number in 0..20 {
        let prompt = format!("hang {number}");
        let job = client.sign(&client.job(treefort.coordinator(), &prompt));
        let cancel = client.sign(&treefort.cancellation(&job));
        let frames = [job.as_json(), cancel.as_json()];
        let filter = json!({"kinds": [7000, 6050], "#e": [job.id.to_hex()]});
        client.subscribe(&format!("job{number}"), filter).await;
        // The relay has forgotten the first when the second is read: often both are in one batch.
        for frame in frames {
            client.raw(format!("[\"EVENT\",{frame}]")).await;
        }
        waiting.push(job.id.to_hex());
    }
    let mut ends = Vec::new();
    while !waiting.is_empty() {
        let event = client.next_event().await;
        if status(&event) == "error" {
            waiting.retain(|job| *job != tag(&event, "e").unwrap());
            ends.push(event);
        }
    }
    assert_eq!(ends.len(), 20);
    assert!(
        ends.iter()
            .all(|end| tag(end, "code").unwrap() == "cancelled")
    );
    // One that is known and done is not answered again.
    let done = client.sign(&client.job(treefort.coordinator(), "instant"));
    let answers = client.do_signed_job(&done).await;
    client.publish(&treefort.cancellation(&done)).await;
    let next = client.job(treefort.coordinator(), "instant again");
    client.do_job(&next).await;
    let filter = json!({"kinds": [7000, 6050], "#e": [done.id.to_hex()]});
    assert_eq!(client.query(filter).await.len(), answers.len());
    treefort.wait_for_no_containers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_cancel() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = owner(&treefort).await;
    let job = client.sign(&client.job(treefort.coordinator(), "slow"));
    client.send(&job).await;
    let mut stranger = treefort.client(&Keys::generate()).await;
    stranger
        .publish(&Draft::new(5).tag(["e", &job.id.to_hex()]))
        .await;
    let answers = client.do_signed_job(&job).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_the_default_model_and_fixed_quotas() {
    let model = ModelServer::start().await;
    let config = "[sessions]\nidle_s = 0\nwarm = 0\n[jobs.strangers]\nat_once = 1\nper_hour = 3\n\
                  tokens = 77\nseconds = 2\n";
    let treefort = Treefort::start_with(&model, &["--admit", "anyone"], config);
    let provider = treefort.coordinator();
    let mut stranger = treefort.client(&Keys::generate()).await;

    // An agent task is not for strangers.
    let task = Draft::new(5870)
        .tag(["i", "x"])
        .tag(["p", &provider.to_hex()]);
    let (_, answers) = stranger.do_job(&task).await;
    assert_eq!(error(&answers).0, "not-admitted");

    // Tokens are bounded, and the model is the default one whatever it asks for.
    let draft = stranger
        .job(provider, "instant")
        .tag(["param", "max_tokens", "100000"])
        .tag(["param", "model", "gpt-17"]);
    let (_, answers) = stranger.do_job(&draft).await;
    assert_eq!(statuses(&answers), ["processing", "6050", "success"]);
    assert_eq!(model.chats()[0]["options"]["num_predict"], 77);
    treefort.wait_for_no_containers().await;

    // One at a time, also under another key; and it may take two seconds.
    let slow = stranger.sign(&stranger.job(provider, "hang"));
    stranger.send(&slow).await;
    let mut other = treefort.client(&Keys::generate()).await;
    let (_, answers) = other.do_job(&other.job(provider, "instant")).await;
    assert_eq!(error(&answers).0, "quota");
    let answers = stranger.do_signed_job(&slow).await;
    assert_eq!(error(&answers).0, "timeout");

    // Three an hour.
    let (_, answers) = other.do_job(&other.job(provider, "instant again")).await;
    assert_eq!(statuses(&answers), ["processing", "6050", "success"]);
    let (_, answers) = other
        .do_job(&other.job(provider, "instant and again"))
        .await;
    let (code, sentence) = error(&answers);
    assert_eq!(code, "quota");
    assert!(sentence.contains("3 jobs an hour"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_treefort_signs_itself_starts_a_job() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &["--admit", "anyone"], AT_ONCE);
    let keys = std::fs::read_to_string(treefort.home().join("keys/coordinator.key")).unwrap();
    let mut forged = treefort.client(&Keys::parse(keys.trim()).unwrap()).await;
    let (job, _) = forged
        .publish(&forged.job(treefort.coordinator(), "instant"))
        .await;
    let mut client = owner(&treefort).await;
    client
        .do_job(&client.job(treefort.coordinator(), "instant"))
        .await;
    assert!(
        client
            .query(json!({"#e": [job.id.to_hex()]}))
            .await
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_is_bounded_and_does_not_silence_the_owner() {
    const FLOOD: usize = 700;
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut stranger = treefort.client(&Keys::generate()).await;
    let draft = stranger.job(treefort.coordinator(), "instant");
    for n in 0..FLOOD {
        let job = draft.clone().tag(["param", "n", &n.to_string()]);
        stranger.publish(&job).await;
    }
    let mut client = owner(&treefort).await;
    let bad = Draft::new(5050).tag(["p", &treefort.coordinator().to_hex()]);
    let (_, answers) = client.do_job(&bad).await;
    assert_eq!(error(&answers).0, "input");
    let key = stranger.keys.public_key().to_hex();
    let refused = client
        .query(json!({"kinds": [7000], "#p": [key], "limit": 2000}))
        .await;
    assert!((500..=600).contains(&refused.len()), "{}", refused.len());

    // Refused jobs do not count as had: after a restart strangers are as welcome as before.
    treefort.terminate();
    treefort.up();
    let mut client = owner(&treefort).await;
    let good = client.job(treefort.coordinator(), "instant");
    let (_, answers) = client.do_job(&good).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_allowed_stays_allowed_until_the_list_is_deleted() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let keys = Keys::generate();
    let key = keys.public_key().to_hex();
    assert!(treefort.command(&["allow", &key]).await.status.success());
    treefort.terminate();
    treefort.up();
    let mut friend = treefort.client(&keys).await;
    let draft = friend.job(treefort.coordinator(), "instant");
    let (_, answers) = friend.do_job(&draft).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success");

    let mut client = owner(&treefort).await;
    let list = format!(
        "30000:{}:treefort/allowed",
        client.keys.public_key().to_hex()
    );
    client.publish(&Draft::new(5).tag(["a", &list])).await;
    // A job of the owner's that is done shows that the deletion before it was seen.
    client
        .do_job(&client.job(treefort.coordinator(), "instant"))
        .await;
    let (_, answers) = friend.do_job(&draft.tag(["param", "n", "2"])).await;
    assert_eq!(error(&answers).0, "not-admitted");
}
