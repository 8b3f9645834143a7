//! Jobs from customers, as NIP-90 says and as real customers write them.

use std::time::{Duration, Instant};

use nostr::{Event, JsonUtil as _, Keys};
use serde_json::json;
use treefort::nips::{Draft, nip90::Scheme, session::check_chain};

use crate::{
    foreign::{self, Library, Mode},
    harness::{
        Treefort,
        client::{Client, status, tag},
    },
    model_server::{Behaviour, ModelServer},
};

/// Sessions end with their jobs and nothing is kept warm, so that what is left shows.
pub(crate) const AT_ONCE: &str = "[sessions]\nidle_s = 0\nwarm = 0\n";

/// The words of a job's answers, and the kinds of its results.
pub(crate) fn statuses(answers: &[Event]) -> Vec<String> {
    answers
        .iter()
        .map(|event| match event.kind.as_u16() {
            7000 => status(event),
            kind => kind.to_string(),
        })
        .collect()
}

/// The code and the sentence of the error that ended a job.
pub(crate) fn error(answers: &[Event]) -> (String, String) {
    let last = answers.last().unwrap();
    assert_eq!(status(last), "error", "{answers:?}");
    (tag(last, "code").unwrap(), last.content.clone())
}

async fn owner(treefort: &Treefort) -> Client {
    treefort.client(&treefort.operator()).await
}

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
    assert_eq!((report.actions, report.errors, report.ended), (1, 0, true));

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
        .tag(["param", "temperature", "nonsense"]);
    let (_, answers) = client.do_job(&draft).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success");
    let options = &model.chats()[0]["options"];
    assert_eq!(options["top_k"], 7);
    assert_eq!(options["top_p"], 0.5);
    assert_eq!(options["num_predict"], 33);
    assert_eq!(options["num_ctx"], 8192);
    assert!(options.get("temperature").is_none());
}

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
        assert_eq!(error(&[ended]).0, "cancelled");
        treefort.wait_for_no_containers().await;
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
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
