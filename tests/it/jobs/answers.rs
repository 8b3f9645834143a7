//! What a customer gets, and the record that a job leaves.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_in_feedback_result_and_success_and_leaves_a_whole_record() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = owner(&treefort).await;
    let draft = client.job(treefort.coordinator(), "what is a tree fort?");
    let (job, answers) = client.do_job(&draft).await;

    assert_eq!(statuses(&answers), ["processing", "6050", "success"]);
    for answer in &answers {
        assert_eq!(answer.pubkey, treefort.coordinator());
        assert_eq!(tag(answer, "e").unwrap(), job.id.to_hex());
        assert_eq!(tag(answer, "p").unwrap(), client.keys.public_key().to_hex());
    }
    let result = &answers[1];
    assert_eq!(
        result.content.trim(),
        "answer: what is a tree fort? (turn 1)"
    );
    assert_eq!(
        Event::from_json(tag(result, "request").unwrap()).unwrap(),
        job
    );

    treefort.wait_for_no_containers().await;
    let tree = client.query(json!({"#E": [job.id.to_hex()]})).await;
    let inner_result = tree
        .iter()
        .find(|event| event.kind.as_u16() == 6870)
        .unwrap();
    assert_eq!(tag(result, "q").unwrap(), inner_result.id.to_hex());
    let inner = tree
        .iter()
        .find(|event| event.kind.as_u16() == 5870)
        .unwrap();
    assert_eq!(tag(inner, "p").unwrap(), inner_result.pubkey.to_hex());
    assert_eq!(tag(inner_result, "e").unwrap(), inner.id.to_hex());
    let session = inner_result.pubkey.to_hex();
    let records = client
        .query(json!({"authors": [session], "kinds": [4781, 4782, 4783, 4784, 4785]}))
        .await;
    let report = check_chain(&records).unwrap();
    // One call of the model, one message.
    assert_eq!((report.actions, report.errors, report.ended), (2, 0, true));

    let thread = client.query(json!({"kinds": [1]})).await;
    assert_eq!(thread.len(), 2);
    let opening = thread
        .iter()
        .find(|note| note.pubkey == treefort.coordinator())
        .unwrap();
    let closing = thread
        .iter()
        .find(|note| note.pubkey == inner_result.pubkey)
        .unwrap();
    assert_eq!(tag(opening, "q").unwrap(), job.id.to_hex());
    assert_eq!(tag(closing, "e").unwrap(), opening.id.to_hex());
    assert_eq!(tag(closing, "q").unwrap(), result.id.to_hex());
    assert!(closing.content.contains("nostr:nevent1"));
    treefort.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_makes_itself_known() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = treefort.client(&Keys::generate()).await;
    let author = treefort.coordinator().to_hex();
    let profile = client
        .query(json!({"authors": [author], "kinds": [0]}))
        .await;
    assert!(profile[0].content.contains("\"bot\":true"));
    let handler = client
        .query(json!({"authors": [author], "kinds": [31990]}))
        .await;
    let kinds: Vec<&str> = handler[0]
        .tags
        .iter()
        .filter(|tag| tag.as_slice()[0] == "k")
        .filter_map(nostr::Tag::content)
        .collect();
    assert_eq!(kinds, ["5050", "5870"]);
    let relays = client
        .query(json!({"authors": [author], "kinds": [10002]}))
        .await;
    assert_eq!(
        tag(&relays[0], "r").unwrap(),
        format!("ws://{}", treefort.address)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn private_jobs_are_answered_in_their_own_scheme_and_leave_nothing_to_read() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let provider = treefort.coordinator();
    for scheme in [Scheme::Nip04, Scheme::Nip44] {
        let mut client = owner(&treefort).await;
        let hidden = json!([["i", "tell me about pineapples", "text"]]).to_string();
        let job = client.sign(
            &Draft::new(5050)
                .tag(["p", &provider.to_hex()])
                .tag(["encrypted"])
                .content(scheme.encrypt(&client.keys, &provider, &hidden).unwrap()),
        );
        client
            .subscribe(
                "job",
                json!({"kinds": [7000, 6050], "#e": [job.id.to_hex()]}),
            )
            .await;
        client.raw(format!("[\"EVENT\",{}]", job.as_json())).await;
        let mut words = Vec::new();
        while words.last().is_none_or(|word| word != "success") {
            let event = client.next_event().await;
            assert_eq!(event.content.contains("?iv="), scheme == Scheme::Nip04);
            let text = scheme
                .decrypt(&client.keys, &provider, &event.content)
                .unwrap();
            if event.kind.as_u16() == 6050 {
                assert_eq!(text.trim(), "answer: tell me about pineapples (turn 1)");
                assert!(tag(&event, "i").is_none());
                words.push("6050".to_owned());
            } else {
                let tags: Vec<Vec<String>> = serde_json::from_str(&text).unwrap();
                assert_eq!(tags[0][0], "status");
                words.push(tags[0][1].clone());
            }
        }
        assert_eq!(words, ["processing", "6050", "success"]);
        treefort.wait_for_no_containers().await;
        let everything = client.query(json!({"limit": 500})).await;
        assert!(
            everything
                .iter()
                .all(|event| !event.as_json().contains("pineapple"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_customers_get_their_answers() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start(&model, &["--admit", "anyone"]);
    let relay = format!("ws://{}", treefort.address);
    for library in [Library::Ndk, Library::NostrTools] {
        for mode in [Mode::Plain, Mode::Nip04, Mode::Nip44] {
            let customer = Keys::generate();
            let summary = foreign::ask(
                &relay,
                &treefort.coordinator(),
                &customer,
                library,
                mode,
                "hello",
            )
            .await;
            assert_eq!(
                summary.outcome, "success",
                "{library:?} {mode:?}: {summary:?}"
            );
            assert_eq!(
                summary.result.as_deref().map(str::trim),
                Some("answer: hello (turn 1)")
            );
            assert_eq!(summary.results, 1);
            assert_eq!(summary.request_ok, Some(true));
            assert_eq!(summary.first_e_ok, Some(true));
            assert!(summary.broken.is_empty(), "{summary:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_with_nostr_sdk_gets_its_answer() {
    use nostr_sdk::prelude::{Client, EventBuilder, Filter, Kind, RelayPoolNotification, Tag};
    let model = ModelServer::start().await;
    let treefort = Treefort::start(&model, &[]);
    let client = Client::new(treefort.operator());
    client
        .add_relay(format!("ws://{}", treefort.address))
        .await
        .unwrap();
    client.connect().await;
    let builder = EventBuilder::new(Kind::Custom(5050), "")
        .tag(Tag::parse(["i", "from the sdk", "text"]).unwrap());
    let job = client.sign_event_builder(builder).await.unwrap();
    let filter = Filter::new()
        .kinds([Kind::Custom(6050), Kind::JobFeedback])
        .event(job.id);
    let mut notifications = client.notifications();
    client.subscribe(filter, None).await.unwrap();
    client.send_event(&job).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            if let RelayPoolNotification::Event { event, .. } = notifications.recv().await.unwrap()
                && event.kind == Kind::Custom(6050)
            {
                return event;
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(answer.content.trim(), "answer: from the sdk (turn 1)");
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_reach_the_model_in_both_spellings() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = owner(&treefort).await;
    let draft = client
        .job(treefort.coordinator(), "x")
        .tag(["param", "top-k", "7"])
        .tag(["param", "top_p", "0.5"])
        .tag(["param", "max_tokens", "33"])
        .tag(["param", "temperature", "nonsense"])
        .tag(["param", "frequency_penalty", "99"]);
    let (_, answers) = client.do_job(&draft).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success");
    let options = &model.chats()[0]["options"];
    assert_eq!(options["top_k"], 7);
    assert_eq!(options["top_p"], 0.5);
    assert_eq!(options["num_predict"], 33);
    // The scripted model was made for 4096, less than the 8192 that are configured.
    assert_eq!(options["num_ctx"], 4096);
    assert_eq!(options["frequency_penalty"], 2.0);
    assert!(options.get("temperature").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_being_written_is_live_and_never_stored() {
    let model = ModelServer::start().await;
    model.then(Behaviour::Slow(60, Duration::from_millis(60)));
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = owner(&treefort).await;
    let job = client.sign(&client.job(treefort.coordinator(), "tell me a story"));
    client
        .subscribe(
            "live",
            json!({"kinds": [24135, 7000, 6050], "#e": [job.id.to_hex()]}),
        )
        .await;
    client.raw(format!("[\"EVENT\",{}]", job.as_json())).await;
    let (mut live, mut partials, mut seq) = (String::new(), Vec::new(), 0);
    let result = loop {
        let event = client.next_event().await;
        match event.kind.as_u16() {
            24135 => {
                assert_eq!(tag(&event, "stream-seq").unwrap(), seq.to_string());
                seq += 1;
                live.push_str(&event.content);
            }
            7000 if status(&event) == "partial" => partials.push(event.content),
            6050 => break event,
            _ => {}
        }
    };
    assert_eq!(live, result.content);
    assert!((10..60).contains(&seq), "{seq} deltas");
    assert!(
        (1..=3).contains(&partials.len()),
        "{} partials",
        partials.len()
    );
    assert!(
        partials
            .iter()
            .all(|part| result.content.starts_with(part.as_str()))
    );
    let stored = client.query(json!({"kinds": [24135]})).await;
    assert!(stored.len() < seq, "live text is not stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_job_that_fails_or_is_continued_stays_private() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let provider = treefort.coordinator();
    let mut client = owner(&treefort).await;
    let private = |client: &Client, prompt: &str| {
        let hidden = json!([["i", prompt, "text"]]).to_string();
        let content = Scheme::Nip44
            .encrypt(&client.keys, &provider, &hidden)
            .unwrap();
        client.sign(
            &Draft::new(5050)
                .tag(["p", &provider.to_hex()])
                .tag(["encrypted"])
                .content(content),
        )
    };
    let mut results = Vec::new();
    for prompt in ["fail-500 pineapple", "tell me of pineapples"] {
        let job = private(&client, prompt);
        client
            .subscribe(
                "job",
                json!({"kinds": [7000, 6050], "#e": [job.id.to_hex()]}),
            )
            .await;
        client.raw(format!("[\"EVENT\",{}]", job.as_json())).await;
        loop {
            let event = client.next_event().await;
            let text = Scheme::Nip44
                .decrypt(&client.keys, &provider, &event.content)
                .unwrap();
            if event.kind.as_u16() == 6050 {
                results.push(event);
            } else if text.contains("\"error\"") || text.contains("\"success\"") {
                break;
            }
        }
        client.raw(json!(["CLOSE", "job"]).to_string()).await;
    }
    // A plain job would put what was private on the record.
    for draft in [
        client
            .job(provider, "go on")
            .tag(["e", &results[0].id.to_hex()]),
        Draft::new(5050).tag(["i", &tag(&results[0], "e").unwrap(), "job"]),
    ] {
        let (_, answers) = client.do_job(&draft).await;
        let (code, sentence) = error(&answers);
        assert_eq!(code, "input");
        assert!(sentence.contains("encrypted"), "{sentence}");
    }
    treefort.wait_for_no_containers().await;
    let everything = client.query(json!({"limit": 500})).await;
    assert!(
        everything
            .iter()
            .all(|event| !event.as_json().contains("pineapple"))
    );
}
