//! An agent of somebody else's: a manifest, a Dockerfile and a script in the home, no code of ours.

use serde_json::json;

use crate::{
    harness::{Treefort, agent, client::tag},
    jobs::{AT_ONCE, statuses},
    model_server::ModelServer,
};

/// Speaks ACP with a shell's means, and asks the model more often than the record of its calls holds.
const SCRIPT: &str = r#"
chat='{"model":"x","stream":false,"messages":[{"role":"user","content":"instant"}]}'
while read -r line; do
    id=$(echo "$line" | /busybox sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    case "$line" in
    *'"initialize"'*) result='{"protocolVersion":1,"agentCapabilities":{},"authMethods":[]}' ;;
    *'"session/new"'*) result='{"sessionId":"s"}' ;;
    *'"session/prompt"'*)
        n=0
        while [ $n -lt 80 ]; do
            /busybox wget -q -O /dev/null --header "Authorization: Bearer $TREEFORT_TOKEN" \
                --header 'Content-Type: application/json' --post-data "$chat" \
                http://127.0.0.1:11434/api/chat || break
            n=$((n + 1))
        done
        echo '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"asked '$n' times"}}}}'
        result='{"stopReason":"end_turn"}' ;;
    *) continue ;;
    esac
    echo '{"jsonrpc":"2.0","id":'$id',"result":'$result'}'
done
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_the_home_asks_its_model_as_often_as_it_likes() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    treefort.terminate();
    agent::install(treefort.home(), "many", SCRIPT, &[]);
    treefort.up();

    let mut client = treefort.client(&treefort.operator()).await;
    let draft = client
        .job(treefort.coordinator(), "go")
        .tag(["param", "agent", "many"]);
    let (job, answers) = client.do_job(&draft).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success", "{answers:?}");
    let result = &answers[answers.len() - 2];
    assert_eq!(result.content, "asked 80 times");
    assert_eq!(model.chats().len(), 80);
    // Every call is in the account.
    treefort.wait_for_no_containers().await;
    let filter = json!({"kinds": [4785], "#E": [job.id.to_hex()]});
    let end = client.query(filter).await;
    let tokens: u64 = tag(&end[0], "tokens").unwrap().parse().unwrap();
    assert!(tokens >= 80, "{tokens}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_what_each_agent_works_on_and_what_it_lacks_here() {
    let model = ModelServer::start().await;
    let embedded = "[sandbox]\nruntime = \"embedded\"\n";
    // Nothing is installed there.
    let nowhere = [("PATH", "/nowhere")];
    let treefort = Treefort::start_in(&model, &[], embedded, &nowhere);
    let mut client = treefort.client(&treefort.operator()).await;
    let filter = json!({"kinds": [30078], "#d": ["treefort/status"]});
    let said = loop {
        match client.query(filter.clone()).await.pop() {
            Some(event) => break event.content,
            None => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    };
    let status: serde_json::Value = serde_json::from_str(&said).unwrap();
    let agent = |name: &str| {
        let agents = status["agents"].as_array().unwrap();
        let found = agents.iter().find(|agent| agent["name"] == name);
        found.unwrap().clone()
    };
    let chat = agent("chat");
    assert_eq!(chat["title"], "Chat");
    assert_eq!(
        (&chat["workspace"], &chat["command"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(chat["missing"], json!(null));
    let shell = agent("shell");
    assert_eq!(
        (&shell["workspace"], &shell["command"]),
        (&json!(true), &json!(true))
    );
    let opencode = agent("opencode");
    assert_eq!(opencode["workspace"], true);
    let missing = opencode["missing"].as_str().unwrap();
    assert!(missing.contains("npm install -g opencode-ai"), "{missing}");
    let providers = status["providers"].as_array().unwrap();
    let openai = providers.iter().find(|one| one["name"] == "openai");
    let openai = openai.unwrap();
    assert_eq!(
        (&openai["local"], &openai["ready"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(openai["key_env"], "OPENAI_API_KEY");
}

/// A command that asks the model as often as that, and says how often it was answered.
const COMMAND: &str = r#"
chat='{"model":"x","stream":false,"messages":[{"role":"user","content":"instant"}]}'
n=0
while [ $n -lt 80 ]; do
    /busybox wget -q -O /dev/null --header "Authorization: Bearer $TREEFORT_TOKEN" \
        --header 'Content-Type: application/json' --post-data "$chat" \
        http://127.0.0.1:11434/api/chat || break
    n=$((n + 1))
done
echo "asked $n times"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_asks_its_model_if_it_has_one_as_often_as_its_budget_lets_it() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    treefort.terminate();
    for (name, env) in [("asks", "env = { MODEL = \"{model}\" }\n"), ("none", "")] {
        agent::install(treefort.home(), name, COMMAND, &[]);
        let manifest = treefort.home().join(format!("agents/{name}/agent.toml"));
        let toml = std::fs::read_to_string(&manifest).unwrap();
        let toml = toml.replace("[image]", &format!("driver = \"exec\"\n{env}[image]"));
        std::fs::write(&manifest, toml).unwrap();
    }
    treefort.up();
    let mut client = treefort.client(&treefort.operator()).await;
    for (agent, budget, status, text) in [
        ("asks", "1000000", "success", "asked 80 times"),
        ("asks", "5", "error", "budget"),
        ("none", "1000000", "success", "asked 0 times"),
    ] {
        let draft = client
            .job(treefort.coordinator(), "go")
            .tag(["param", "agent", agent])
            .tag(["param", "budget_tokens", budget]);
        let (_, answers) = client.do_job(&draft).await;
        assert_eq!(statuses(&answers).last().unwrap(), status, "{answers:?}");
        let said = format!("{answers:?}");
        assert!(said.contains(text), "{agent} {budget}: {said}");
    }
    // The agent that needs no model reached none.
    assert!((80..90).contains(&model.chats().len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_agent_answers_as_it_is_and_says_why_it_fails() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start(&model, &[]);
    treefort.terminate();
    let new = treefort.command(&["agent", "new", "mine"]).await;
    assert!(new.status.success(), "{new:?}");
    let checked = treefort.command(&["agent", "check", "mine"]).await;
    assert!(checked.status.success(), "{checked:?}");
    let project = tempfile::tempdir().unwrap();
    let folder = project.path().to_str().unwrap();
    let run = ["run", "--agent", "mine", "hello", "--workspace", folder];
    let answered = treefort.command(&run).await;
    let said = String::from_utf8_lossy(&answered.stdout);
    assert!(
        answered.status.success() && said.contains("answer: hello"),
        "{answered:?}"
    );
    assert_eq!(model.chats().len(), 1);

    let script = treefort.home().join("agents/mine/agent.sh");
    let key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKL";
    let text = format!(
        "#!/bin/sh\nprintf 'half\\n'; printf 'cannot\\033[31m open x with {key}\\n' >&2; exit 3\n"
    );
    std::fs::write(&script, &text).unwrap();
    let failed = treefort.command(&run).await;
    let said = String::from_utf8_lossy(&failed.stdout);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(
        said.starts_with("half\nIt wrote to its standard error:\ncannot"),
        "{said:?}"
    );
    assert!(
        said.contains("open x with") && !said.contains(key),
        "{said:?}"
    );
    assert!(!said.contains('\u{1b}'), "{said:?}");

    // One that speaks ACP and dies before it says a word has no record: the sentence is all there is.
    let manifest = treefort.home().join("agents/mine/agent.toml");
    let toml = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(
        &manifest,
        toml.replace("driver = \"exec\"", "driver = \"acp\""),
    )
    .unwrap();
    let text = "#!/bin/sh\necho first cause >&2; echo second line >&2; exit 3\n";
    std::fs::write(&script, text).unwrap();
    let failed = treefort.command(&run).await;
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("first cause / second line"), "{said}");
    assert!(!said.contains("treefort timeline"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_certain_to_be_refused_is_refused_before_anything_starts() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start(&model, &[]);
    treefort.terminate();
    let large = tempfile::tempdir().unwrap();
    std::fs::File::create(large.path().join("sparse"))
        .unwrap()
        .set_len(3 << 30)
        .unwrap();
    let large = large.path().to_str().unwrap();
    for (agent, folder, why) in [
        ("shell", "/", "the whole machine"),
        ("shell", "/usr", "belongs to the system"),
        ("shell", large, "bytes that git does not ignore"),
        ("nobody", large, "there is no agent called nobody"),
    ] {
        let began = std::time::Instant::now();
        let run = ["run", "--agent", agent, "true", "--workspace", folder];
        let refused = treefort.command(&run).await;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(said.starts_with("error: ") && said.contains(why), "{said}");
        assert!(began.elapsed() < std::time::Duration::from_secs(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_project_is_named_and_tasks_are_no_questions() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start(&model, &[]);
    treefort.terminate();
    let project = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(project.path().join(".git")).unwrap();
    std::fs::create_dir_all(project.path().join("part")).unwrap();
    std::fs::write(project.path().join("part/a"), "a").unwrap();
    let whole = project.path().canonicalize().unwrap();
    let part = whole.join("part");
    let run = async |folder: &std::path::Path| {
        let folder = folder.to_str().unwrap();
        let run = [
            "run",
            "--agent",
            "shell",
            "echo b > b",
            "--workspace",
            folder,
        ];
        let ran = treefort.command(&run).await;
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8_lossy(&ran.stderr).into_owned()
    };
    let said = run(&part).await;
    let hint = format!("--workspace {}", whole.display());
    assert!(
        said.contains("Only part/ is copied") && said.contains(&hint),
        "{said}"
    );
    assert!(said.contains("copying 1 file and starting shell"), "{said}");
    assert!(!said.contains("accepted"), "{said}");
    assert!(!run(&whole).await.contains("Only"));
    // What is said at the end is about this job's copy, not about an earlier one of the folder.
    let idle = [
        "run",
        "--agent",
        "shell",
        "true",
        "--workspace",
        part.to_str().unwrap(),
    ];
    let idle = treefort.command(&idle).await;
    assert!(
        String::from_utf8_lossy(&idle.stderr).contains("No file changed."),
        "{idle:?}"
    );

    let jobs = async |arguments: &[&str]| {
        let listed = treefort.command(arguments).await;
        String::from_utf8_lossy(&listed.stdout).lines().count()
    };
    assert_eq!(jobs(&["jobs"]).await, 3);
    assert!(jobs(&["jobs", "--all"]).await > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_kit_says_what_an_agent_can_do_and_what_it_cannot() {
    let model = ModelServer::start().await;
    let embedded = "[sandbox]\nruntime = \"embedded\"\n";
    let treefort = Treefort::start_with(&model, &[], embedded);
    let tried = async |name: &str| {
        let output = treefort
            .command(&["agent", "check", name, "--live", "--json"])
            .await;
        let lines = String::from_utf8(output.stdout).unwrap();
        let tried: Vec<(String, String)> = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|one| {
                let word = |name: &str| one[name].as_str().unwrap().to_owned();
                (word("tried"), word("verdict"))
            })
            .collect();
        (output.status.success(), tried)
    };
    let verdict = |tried: &[(String, String)], what: &str| {
        let found = tried.iter().find(|(name, _)| name == what);
        found
            .map(|(_, verdict)| verdict.clone())
            .unwrap_or_default()
    };
    let (fine, chat) = tried("chat").await;
    assert!(fine, "{chat:?}");
    for what in [
        "starts",
        "asks its model",
        "leaves room to work",
        "answers",
        "ends",
        "stops when told to",
    ] {
        assert_eq!(verdict(&chat, what), "works", "{chat:?}");
    }
    for what in ["writes a file", "asks before it acts", "remembers"] {
        assert_eq!(verdict(&chat, what), "left", "{chat:?}");
    }
    // One that never asks its model, and says something of its own.
    let folder = treefort.home().join("agents/deaf");
    std::fs::create_dir_all(&folder).unwrap();
    let toml = r#"name = "deaf"
title = "Deaf"
description = "Of a test."
version = "1"
driver = "exec"
argv = ["/bin/sh", "-c", "echo I know better", "sh"]
kinds = [5870]
workspace = false
grace_s = 1
env = { MODEL = "{model}" }
[image]
dockerfile = "Dockerfile"
[embedded]
system = true
"#;
    std::fs::write(folder.join("agent.toml"), toml).unwrap();
    let dockerfile = "FROM scratch\nENTRYPOINT [\"/treefort\", \"sandbox-init\", \"--\"]\nCOPY treefort /treefort\n";
    std::fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    let (fine, deaf) = tried("deaf").await;
    assert!(!fine, "{deaf:?}");
    assert_eq!(verdict(&deaf, "starts"), "works", "{deaf:?}");
    for what in ["asks its model", "answers"] {
        assert_eq!(verdict(&deaf, what), "failed", "{deaf:?}");
    }
}
