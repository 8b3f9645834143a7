//! Bad input, bad models, and what is not there: a clear error each time, and nothing stuck.

use std::time::Duration;

use nostr::{Event, JsonUtil as _, Keys};
use serde_json::{Value, json};
use treefort::nips::Draft;

use crate::{
    harness::{Client, NO_DOCKER, PROGRAM, Treefort, audit::whole_sessions, client::tag},
    jobs::{AT_ONCE, error, statuses},
    model_server::{Behaviour, ModelServer, UTF8},
};

async fn owner(treefort: &Treefort) -> Client {
    treefort.client(&treefort.operator()).await
}

/// An event with one field of its JSON replaced.
fn forged(event: &Event, field: &str, value: Value) -> String {
    let mut json: Value = serde_json::from_str(&event.as_json()).unwrap();
    json[field] = value;
    json!(["EVENT", json]).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_answered_and_disturbs_no_job() {
    let model = ModelServer::start().await;
    model.then(Behaviour::Slow(30, Duration::from_millis(50)));
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = owner(&treefort).await;
    let job = client.sign(&client.job(treefort.coordinator(), "a story"));
    assert_eq!(client.send(&job).await[2], true);

    let mut bad = treefort.client(&treefort.operator()).await;
    let good = bad.sign(&bad.job(treefort.coordinator(), "forged"));
    let long = bad.sign(&Draft::new(5050).content("x".repeat(600 << 10)));
    let frames = [
        "{".to_owned(),
        "[]".to_owned(),
        "nonsense".to_owned(),
        "\u{1}\u{1b}[2J".to_owned(),
        "[\"EVENT\"]".to_owned(),
        "[\"EVENT\",{}]".to_owned(),
        "[\"REQ\"]".to_owned(),
        "[\"MAKE\",\"me\",\"a sandwich\"]".to_owned(),
        "[".repeat(10_000),
        forged(&good, "sig", json!("0".repeat(128))),
        forged(&good, "id", json!("0".repeat(64))),
        forged(&good, "content", json!("another")),
        forged(&good, "created_at", json!(-1)),
        forged(&good, "tags", json!([["i", 5]])),
        forged(
            &good,
            "pubkey",
            json!(Keys::generate().public_key().to_hex()),
        ),
        format!("[\"EVENT\",{}]", long.as_json()),
    ];
    for frame in frames {
        let shown: String = frame.chars().take(80).collect();
        bad.raw(frame).await;
        let answer = bad.next().await;
        let refused = answer[0] == "NOTICE" || (answer[0] == "OK" && answer[2] == false);
        assert!(refused, "{shown}: {answer}");
    }
    // The connection is as good as before, and nothing of it became a job.
    let filter = json!({"kinds": [5050]});
    let jobs = bad.query(filter).await;
    assert_eq!(jobs, std::slice::from_ref(&job));
    // Nobody should have to read a frame that is longer still.
    assert!(!bad.try_raw("x".repeat(5 << 20)).await);

    let answers = client.do_signed_job(&job).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success");
    treefort.wait_for_no_containers().await;
    whole_sessions(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_up_to_the_relays_limit_are_answered_and_longer_ones_refused() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut client = owner(&treefort).await;
    let job = client.sign(&client.job(treefort.coordinator(), &"long ".repeat(200 << 10)));
    let answer = client.send(&job).await;
    assert_eq!(answer[2], false);
    let sentence = answer[3].as_str().unwrap();
    assert!(
        sentence.starts_with("invalid: a message has at most"),
        "{sentence}"
    );

    // Quotation marks and control characters take more room in every quotation of the request.
    for prompt in [
        "\"".repeat(250_000),
        format!("x{}", "\u{1}".repeat(85_000)),
        "🌲".repeat(125_000),
    ] {
        model.then(Behaviour::Say("understood".to_owned()));
        let draft = client.job(treefort.coordinator(), &prompt);
        let (job, answers) = client.do_job(&draft).await;
        assert_eq!(statuses(&answers), ["processing", "6050", "success"]);
        let request = Event::from_json(tag(&answers[1], "request").unwrap()).unwrap();
        assert!(request == job, "the request is not verbatim");
        let asked = model.chats().pop().unwrap();
        let messages = asked["messages"].as_array().unwrap();
        let heard = messages.last().unwrap()["content"] == *prompt;
        assert!(heard, "the model did not hear the prompt");
    }

    // As many inputs as an event can have tags.
    let inputs = (0..1999).map(|number| vec!["i".to_owned(), number.to_string()]);
    let draft = Draft::new(5050).tags(inputs);
    let (_, answers) = client.do_job(&draft).await;
    assert_eq!(statuses(&answers), ["processing", "6050", "success"]);
    treefort.wait_for_no_containers().await;
    let sessions = whole_sessions(&mut client).await;
    assert_eq!(sessions.len(), 4);

    // What a person types.
    let long = "word ".repeat(20_000);
    model.then(Behaviour::Say("understood".to_owned()));
    let output = treefort.command(&["run", &long]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "understood\n");
}

/// What a terminal would obey, or what turns text around.
const HOSTILE: &str = "a\u{1b}]0;owned\u{7}b\u{1b}[2Jc\u{9b}31md\u{8}\u{8}e\rf\u{202e}g\u{2066}h\
                       \u{200b}i\u{7f}j\u{feff}k\u{b}\u{c}l";

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_never_reach_the_terminal() {
    let model = ModelServer::start().await;
    model.then(Behaviour::Say(HOSTILE.to_owned()));
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let prompt = format!("hello {HOSTILE}");
    let mut outputs = vec![treefort.command(&["run", &prompt]).await];
    assert!(String::from_utf8_lossy(&outputs[0].stdout).starts_with('a'));
    // The model repeats the prompt.
    outputs.push(treefort.command(&["run", &prompt, "--verbose"]).await);
    // A job that ends in an error, and a name that is none.
    let hostile_model = format!("gpt-{HOSTILE}");
    let failed = treefort
        .command(&["run", &prompt, "--model", &hostile_model])
        .await;
    assert_eq!(failed.status.code(), Some(4), "{failed:?}");
    outputs.push(failed);
    treefort.wait_for_no_containers().await;
    for arguments in [
        &["timeline"][..],
        &["timeline", "--verbose"],
        &["timeline", "--json"],
        &["jobs"],
        &["jobs", "--verbose"],
        &["jobs", "--json"],
        &["export"],
        &["verify"],
        &["status", "--verbose"],
        &["run", &prompt, "--json"],
        &["timeline", HOSTILE],
        &["allow", HOSTILE],
    ] {
        outputs.push(treefort.command(arguments).await);
    }
    for output in outputs {
        for bytes in [output.stdout, output.stderr] {
            let text = String::from_utf8(bytes).unwrap();
            let obeyed = |c: char| {
                (c.is_control() && c != '\n' && c != '\t')
                    || matches!(c, '\u{200b}' | '\u{202e}' | '\u{2066}' | '\u{feff}')
            };
            assert!(!text.contains(obeyed), "{text:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_which_a_model_fails_ends_in_one_clear_error() {
    let model = ModelServer::start().await;
    let config = format!("{AT_ONCE}[model]\nfirst_byte_s = 2\nidle_s = 2\n");
    let treefort = Treefort::start_with(&model, &[], &config);
    let mut client = owner(&treefort).await;
    for (prompt, code, words) in [
        (
            "fail-500",
            "model",
            "the model runner has unexpectedly stopped",
        ),
        ("hang", "timeout", "did not begin to answer within 2 s"),
        ("stall", "timeout", "stood still for 2 s"),
        ("cut-utf8", "model", "was cut off"),
        (
            "error-line",
            "model",
            "an error was encountered while running the model",
        ),
        ("garbage", "model", "cannot be read"),
        ("no-end", "model", "was cut off"),
    ] {
        let draft = client.job(treefort.coordinator(), prompt);
        let (job, answers) = client.do_job(&draft).await;
        let mut words_of = statuses(&answers);
        // What came before the end may be shown.
        words_of.retain(|word| word != "partial");
        assert_eq!(words_of, ["processing", "error"], "{prompt}");
        let (got, sentence) = error(&answers);
        assert_eq!(got, code, "{prompt}: {sentence}");
        assert!(sentence.contains(words), "{prompt}: {sentence}");
        treefort.wait_for_no_containers().await;
        let records = json!({"kinds": [4784, 4785], "#E": [job.id.to_hex()]});
        let mut records = client.query(records).await;
        records.sort_by_key(|record| record.kind);
        assert_eq!(records.len(), 2, "{prompt}: {records:?}");
        assert!(records[0].content.contains(words), "{prompt}: {records:?}");
        assert_eq!(tag(&records[1], "l").unwrap(), "failed", "{prompt}");

        let next = client
            .job(treefort.coordinator(), "instant")
            .tag(["param", "after", prompt]);
        let (_, answers) = client.do_job(&next).await;
        assert_eq!(
            statuses(&answers),
            ["processing", "6050", "success"],
            "after {prompt}"
        );
    }

    let draft = client.job(treefort.coordinator(), "split-utf8");
    let (_, answers) = client.do_job(&draft).await;
    assert_eq!(answers[1].content.trim(), UTF8);
    treefort.wait_for_no_containers().await;
    let sessions = whole_sessions(&mut client).await;
    assert_eq!(sessions.len(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_server_a_job_says_so() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    drop(model);
    let mut client = owner(&treefort).await;
    let draft = client.job(treefort.coordinator(), "instant");
    let (_, answers) = client.do_job(&draft).await;
    assert_eq!(statuses(&answers), ["processing", "error"]);
    assert_eq!(error(&answers).0, "no-model");
    let output = treefort.command(&["run", "hello"]).await;
    says_plainly(&output, 4, "ollama");
    treefort.wait_for_no_containers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_docker_whoever_insists_on_it_is_told_so() {
    let model = ModelServer::start().await;
    let config = format!("{AT_ONCE}[sandbox]\nruntime = \"docker\"\n");
    let mut treefort = Treefort::start_in(&model, &[], &config, &[NO_DOCKER]);
    let mut client = owner(&treefort).await;
    let draft = client.job(treefort.coordinator(), "instant");
    let (_, answers) = client.do_job(&draft).await;
    assert_eq!(statuses(&answers), ["processing", "error"]);
    assert_eq!(error(&answers).0, "no-sandbox");
    says_plainly(&treefort.command(&["run", "hello"]).await, 3, "docker");
    treefort.terminate();
    // Without a treefort that runs, too.
    says_plainly(&treefort.command(&["run", "hello"]).await, 3, "docker");
    // Whoever does not insist on it has sandboxes of treefort's own.
    let demo = treefort.command(&["demo"]).await;
    let said = format!("{demo:?}");
    assert!(
        demo.status.success() && said.contains("in a sandbox of its own"),
        "{said}"
    );
}

/// One that takes connections and says nothing, like an engine that is about to start or hangs.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_docker_that_hangs_the_demo_has_a_sandbox_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("docker.sock");
    let _hangs = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let demo = tokio::process::Command::new(PROGRAM)
        .args(["demo", "--home"])
        .arg(place.path().join("home"))
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .env_remove("RUST_LOG")
        .output()
        .await
        .unwrap();
    let said = format!("{demo:?}");
    assert!(
        demo.status.success() && said.contains("in a sandbox of its own"),
        "{said}"
    );
}

/// One sentence says what is wrong, and a hint what to do.
fn says_plainly(output: &std::process::Output, code: i32, word: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.matches("error:").count(), 1, "{said}");
    let rest = &said[said.find("error:").unwrap()..];
    assert!(rest.contains("hint:"), "{said}");
    assert!(rest.to_lowercase().contains(word), "{said}");
    assert!(!rest.contains("panicked") && !rest.contains("0x"), "{said}");
}
