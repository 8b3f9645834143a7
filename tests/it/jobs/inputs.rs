//! What a job may say: inputs, conversations, and what is refused.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_resolved_to_what_the_customer_could_read() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &["--admit", "anyone"], AT_ONCE);
    let provider = treefort.coordinator();
    let mut client = owner(&treefort).await;
    let (note, _) = client.publish(&Draft::new(1).content("the note")).await;
    let draft = client
        .job(provider, "first")
        .tag(["i", &note.id.to_hex(), "event"])
        .tag(["i", "last"]);
    let (job, answers) = client.do_job(&draft).await;
    assert_eq!(
        answers[1].content.trim(),
        "answer: first\n\nthe note\n\nlast (turn 1)"
    );

    // The output of an earlier job.
    let draft = Draft::new(5050).tag(["i", &job.id.to_hex(), "job"]);
    let (_, answers) = client.do_job(&draft).await;
    assert!(
        answers[1].content.starts_with("answer: answer: first"),
        "{}",
        answers[1].content
    );

    // What is not there, and what is private to somebody else, look the same.
    let hidden = json!([["i", "private words", "text"]]).to_string();
    let private = client.sign(
        &Draft::new(5050)
            .tag(["p", &provider.to_hex()])
            .tag(["encrypted"])
            .content(
                Scheme::Nip44
                    .encrypt(&client.keys, &provider, &hidden)
                    .unwrap(),
            ),
    );
    client.send(&private).await;
    let mut stranger = treefort.client(&Keys::generate()).await;
    for id in [private.id.to_hex(), "0".repeat(64)] {
        let draft = Draft::new(5050).tag(["i", &id, "event"]);
        let (_, answers) = stranger.do_job(&draft).await;
        let (code, sentence) = error(&answers);
        assert_eq!(code, "input");
        assert!(sentence.contains("was not found"), "{sentence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_the_job_that_it_builds_on() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = owner(&treefort).await;
    let first = client.sign(&client.job(treefort.coordinator(), "slow"));
    let second = client.sign(&Draft::new(5050).tag(["i", &first.id.to_hex(), "job"]));
    client.send(&first).await;
    let answers = client.do_signed_job(&second).await;
    assert_eq!(
        statuses(&answers),
        ["processing", "processing", "6050", "success"]
    );
    assert!(
        answers[2].content.starts_with("answer: "),
        "{}",
        answers[2].content
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_clearly() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let provider = treefort.coordinator();
    let mut client = owner(&treefort).await;
    let url = Draft::new(5050).tag(["i", "https://example.com", "url"]);
    let empty = Draft::new(5050).tag(["p", &provider.to_hex()]);
    let other_kind = Draft::new(5100)
        .tag(["i", "x"])
        .tag(["p", &provider.to_hex()]);
    let no_model = client.job(provider, "x").tag(["param", "model", "gpt-17"]);
    for (draft, code, words) in [
        (url, "input", "url"),
        (empty, "input", "no input"),
        (other_kind, "unsupported", "5100"),
        (no_model, "no-model", "gpt-17"),
    ] {
        let (_, answers) = client.do_job(&draft).await;
        let (got, sentence) = error(&answers);
        assert_eq!(got, code);
        assert!(sentence.contains(words), "{sentence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_for_others_expired_ones_and_old_ones_are_left_alone() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = owner(&treefort).await;
    let other = client.job(Keys::generate().public_key(), "for another");
    let (other, _) = client.publish(&other).await;
    let old = client
        .job(treefort.coordinator(), "old")
        .sign(&client.keys, treefort::coordinator::now() - 90_000)
        .unwrap();
    client.send(&old).await;
    let kind = Draft::new(5100).tag(["i", "a kind that nobody here does"]);
    let (kind, _) = client.publish(&kind).await;
    // A job that is done shows that the ones before it were looked at.
    let done = client.job(treefort.coordinator(), "instant");
    client.do_job(&done).await;
    for job in [&other, &old, &kind] {
        let answers = client.query(json!({"#e": [job.id.to_hex()]})).await;
        assert!(answers.is_empty(), "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_on_from_an_earlier_result() {
    let model = ModelServer::start().await;
    // Once in the session that is still open, once in a new one.
    for config in ["", AT_ONCE] {
        let treefort = Treefort::start_with(&model, &[], config);
        let mut client = owner(&treefort).await;
        let draft = client.job(treefort.coordinator(), "one");
        let (_, answers) = client.do_job(&draft).await;
        let first = &answers[1];
        let draft = client
            .job(treefort.coordinator(), "two")
            .tag(["e", &first.id.to_hex()]);
        let (_, answers) = client.do_job(&draft).await;
        let second = &answers[1];
        assert_eq!(second.content.trim(), "answer: two (turn 2)");
        let draft = client
            .job(treefort.coordinator(), "three")
            .tag(["e", &second.id.to_hex()]);
        let (_, answers) = client.do_job(&draft).await;
        assert_eq!(answers[1].content.trim(), "answer: three (turn 3)");
        let sessions = client.query(json!({"kinds": [4781]})).await;
        assert_eq!(sessions.len(), if config.is_empty() { 1 } else { 3 });

        // Another customer cannot go on with it.
        let mut friend = treefort.client(&Keys::generate()).await;
        let key = friend.keys.public_key().to_hex();
        treefort.command(&["allow", &key]).await;
        let draft = friend
            .job(treefort.coordinator(), "mine")
            .tag(["e", &first.id.to_hex()]);
        let (_, answers) = friend.do_job(&draft).await;
        assert_eq!(answers[1].content.trim(), "answer: mine (turn 1)");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_chain_of_waiting_jobs_ends_when_its_first_is_cancelled() {
    const CHAIN: usize = 300;
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = owner(&treefort).await;
    let first = client.sign(&client.job(treefort.coordinator(), "hang"));
    client.send(&first).await;
    let mut last = first.clone();
    for _ in 0..CHAIN {
        last = client.sign(&Draft::new(5050).tag(["i", &last.id.to_hex(), "job"]));
        client.send(&last).await;
    }
    client
        .subscribe("end", json!({"kinds": [7000], "#e": [last.id.to_hex()]}))
        .await;
    let cancel = client.sign(&treefort.cancellation(&first));
    client
        .raw(format!("[\"EVENT\",{}]", cancel.as_json()))
        .await;
    let ended = loop {
        let event = client.next_event().await;
        if status(&event) == "error" {
            break event;
        }
    };
    assert_eq!(error(&[ended]).0, "input");
    treefort.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_all_of_its_inputs() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = owner(&treefort).await;
    let quick = client.sign(&client.job(treefort.coordinator(), "instant"));
    let slow = client.sign(&client.job(treefort.coordinator(), "slow"));
    client.send(&quick).await;
    client.send(&slow).await;
    let both =
        Draft::new(5050)
            .tag(["i", &quick.id.to_hex(), "job"])
            .tag(["i", &slow.id.to_hex(), "job"]);
    let (_, answers) = client.do_job(&both).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success");
    assert!(answers[answers.len() - 2].content.contains("done"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_admitted_builds_on_what_others_wrote() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &["--admit", "anyone"], AT_ONCE);
    let mut client = owner(&treefort).await;
    let draft = client.job(treefort.coordinator(), "CANARY");
    let (job, answers) = client.do_job(&draft).await;
    let mut friend = treefort.client(&Keys::generate()).await;
    let mut stranger = treefort.client(&Keys::generate()).await;
    let key = |client: &Client| client.keys.public_key().to_hex();
    let allowed = treefort.command(&["allow", &key(&friend)]).await;
    assert!(allowed.status.success());
    // The record can be read without a key here, which is no promise to who only asks.
    for (id, sort) in [
        (job.id, "job"),
        (job.id, "event"),
        (answers[1].id, "event"),
        (answers[1].id, "job"),
    ] {
        let draft = Draft::new(5050).tag(["i", &id.to_hex(), sort]);
        let (_, answers) = stranger.do_job(&draft).await;
        assert_eq!(error(&answers).0, "input", "{sort}");
    }
    // Whoever was admitted could read it all here.
    let draft = Draft::new(5050).tag(["i", &job.id.to_hex(), "job"]);
    let (_, answers) = friend.do_job(&draft).await;
    assert!(answers[1].content.contains("CANARY"), "{answers:?}");
    // What somebody wrote, and what names them wherever, is theirs.
    let (own, _) = stranger.publish(&Draft::new(1).content("mine")).await;
    let note = Draft::new(1)
        .tag(["p", &key(&friend)])
        .tag(["p", &key(&stranger)])
        .content("for both");
    let (note, _) = client.publish(&note).await;
    for (id, words) in [(own.id, "mine"), (note.id, "for both")] {
        let draft = Draft::new(5050).tag(["i", &id.to_hex(), "event"]);
        let (_, answers) = stranger.do_job(&draft).await;
        assert!(answers[1].content.contains(words), "{answers:?}");
    }
}
