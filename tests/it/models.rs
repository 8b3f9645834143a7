//! `treefort models`, and models of providers, as a person at the command line meets them.

use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{PROGRAM, Treefort};
use crate::jobs::error;
use crate::model_server::{MODEL, ModelServer};

/// A provider's key, which nothing may show.
const KEY: &str = "sk-proj-0123456789abcdefghij";
/// No server listens there.
const NOBODY: &str = "http://127.0.0.1:9";

/// Runs a command in a home with a `treefort.toml`.
async fn treefort(home: &tempfile::TempDir, ollama: &str, arguments: &[&str]) -> Output {
    // An empty project, and not this one, is what a session would work on.
    let project = tempfile::tempdir().unwrap();
    let running = tokio::process::Command::new(PROGRAM)
        .current_dir(project.path())
        .args(arguments)
        .arg("--home")
        .arg(home.path())
        .env("OLLAMA_HOST", ollama)
        .env("OPENAI_API_KEY", KEY)
        .env_remove("GEMINI_API_KEY")
        .env_remove("ANTHROPIC_API_KEY")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), running);
    ended.await.unwrap().unwrap()
}

fn home(config: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(home.path().join("treefort.toml"), config).unwrap();
    home
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn models_shows_what_there_is_and_never_a_key() {
    let model = ModelServer::start().await;
    let home = home("");
    let (shown, _) = text(&treefort(&home, &model.url(), &["models"]).await);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(
        lines[1].starts_with(MODEL) && lines[1].contains("4096"),
        "{shown}"
    );
    assert!(lines[1].contains("1.0 MB") && lines[1].contains("(the default)"));
    assert!(
        shown.contains("openai       ready, with OPENAI_API_KEY"),
        "{shown}"
    );
    assert!(
        shown.contains("gemini       not ready: set GEMINI_API_KEY"),
        "{shown}"
    );

    let (json_lines, _) = text(&treefort(&home, &model.url(), &["models", "--json"]).await);
    let lines = json_lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    assert_eq!(
        lines[0],
        json!({"name": MODEL, "default": true, "provider": "ollama", "local": true, "size": 1_000_000,
            "context": 4096, "tools": false})
    );
    let openai = lines
        .iter()
        .find(|line| line["provider"] == "openai")
        .unwrap();
    assert_eq!(
        (&openai["key"], &openai["key_env"]),
        (&json!(true), &json!("OPENAI_API_KEY"))
    );
    assert!(!shown.contains(KEY) && !json_lines.contains(KEY));
}

#[tokio::test]
async fn a_cloud_model_is_the_default_only_when_it_is_named() {
    let home_of_none = home("");
    let output = treefort(&home_of_none, NOBODY, &["models"]).await;
    assert_eq!(output.status.code(), Some(4), "a key alone is no model");
    let named = home("[model]\ndefault = \"openai:gpt-x\"\n");
    let output = treefort(&named, NOBODY, &["models"]).await;
    let (shown, errors) = text(&output);
    assert!(output.status.success(), "{errors}");
    assert!(
        shown.contains("(openai:gpt-x is used unless you name another)"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_pull_tells_how_far_it_is_and_why_it_fails() {
    let model = ModelServer::start().await;
    let home = home("");
    let pull = async |name: &str| treefort(&home, &model.url(), &["models", "pull", name]).await;
    let output = pull("tiny:1b").await;
    let (shown, progress) = text(&output);
    assert_eq!(
        (output.status.code(), shown.as_str()),
        (Some(0), "tiny:1b is there\n"),
        "{progress}"
    );
    let steps = [
        "pulling manifest",
        "pulling 5c5c: 0 % of 2.0 MB",
        "pulling 5c5c: 100 % of 2.0 MB",
        "success",
    ];
    assert_eq!(progress.lines().collect::<Vec<_>>(), steps);
    let output = pull("missing").await;
    let (_, errors) = text(&output);
    assert!(
        output.status.code() == Some(4) && errors.contains("file does not exist"),
        "{errors}"
    );
    for name in ["../x", "openai:gpt-x", "a b"] {
        assert_eq!(pull(name).await.status.code(), Some(2), "{name}");
    }
    let pulls = model
        .requests()
        .into_iter()
        .filter(|request| request.path == "/api/pull");
    assert_eq!(
        pulls.count(),
        2,
        "names that are none do not reach the server"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fails_is_replaced_and_the_record_says_so() {
    let model = ModelServer::start().await;
    let config = format!(
        "[model]\ndefault = \"broken:big\"\nfallback = [\"{MODEL}\"]\n\
         [model.providers.broken]\nurl = \"{NOBODY}/v1\"\n"
    );
    let home = home(&config);
    let output = treefort(&home, &model.url(), &["run", "hello"]).await;
    let (answer, errors) = text(&output);
    assert!(
        output.status.success() && answer.contains("answer: hello"),
        "{answer}{errors}"
    );
    let (record, _) = text(&treefort(&home, &model.url(), &["export"]).await);
    let events: Vec<Value> = record
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_kind = |kind: u64| events.iter().filter(move |event| event["kind"] == kind);
    let fallback = of_kind(4784).find(|event| event["tags"].to_string().contains("fallback"));
    let fallback = fallback.unwrap_or_else(|| panic!("{record}"));
    let said = fallback["content"].as_str().unwrap();
    assert!(
        said.contains(MODEL) && said.contains("broken:big"),
        "{said}"
    );
    let start = of_kind(4781).next().unwrap()["tags"].to_string();
    assert!(start.contains("[\"provider\",\"broken\"]"), "{start}");
    let message = of_kind(4782).map(|event| event["tags"].to_string());
    assert!(
        message
            .into_iter()
            .any(|tags| tags.contains("\"microusd\",\"0\"")),
        "{record}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_its_key_is_refused_with_what_to_do() {
    let model = ModelServer::start().await;
    let home = home("");
    let output = treefort(
        &home,
        &model.url(),
        &["run", "hello", "--model", "gemini:pro"],
    )
    .await;
    let (_, errors) = text(&output);
    assert_eq!(output.status.code(), Some(4), "{errors}");
    assert!(errors.contains("GEMINI_API_KEY"), "{errors}");
    assert!(model.chats().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_ends_stops_the_session_with_a_signed_reason() {
    let model = ModelServer::start().await;
    let config = "[sessions]\nidle_s = 0\nwarm = 0\n\
        [model.providers.dear]\nurl = \"https://127.0.0.1:9/v1\"\nkey_env = \"\"\n";
    let mut treefort = Treefort::start_with(&model, &[], config);
    let mut client = treefort.client(&treefort.operator()).await;
    let job = client.job(treefort.coordinator(), "slow");
    for (draft, said, ending) in [
        (
            job.clone().tag(["param", "budget_tokens", "5"]),
            "budget of 5 tokens",
            "budget",
        ),
        (
            job.tag(["param", "budget_microusd", "900"])
                .tag(["param", "model", "dear:big"]),
            "nobody said what dear costs",
            "budget",
        ),
    ] {
        let (job, answers) = client.do_job(&draft).await;
        let (code, sentence) = error(&answers);
        assert_eq!(code, "quota", "{sentence}");
        assert!(sentence.contains(said), "{sentence}");
        treefort.wait_for_no_containers().await;
        let records = client
            .query(json!({"#E": [job.id.to_hex()], "kinds": [4784, 4785]}))
            .await;
        let reason = records.iter().find(|event| event.kind.as_u16() == 4784);
        assert!(reason.unwrap().content.contains(said));
        let end = records.iter().find(|event| event.kind.as_u16() == 4785);
        let end = json!(end.unwrap()).to_string();
        assert!(end.contains(ending), "{end}");
    }
    treefort.terminate();
}
