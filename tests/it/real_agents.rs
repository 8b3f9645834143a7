//! The real agents, each on its own kind of cloud and on a local model, in both sandboxes: they write the asked file,
//! what they claim and what the host saw are on the record, and it is undone.
//!
//! Only the models are scripted, over real HTTP. For Docker the agents' images are built on the base that `tests/run`
//! makes; without Docker they are their npm packages on this computer ([`programs`]).

use nostr::Event;

use self::model::{Call, Model, READ, Step, WRITTEN};
use crate::{
    harness::{NO_DOCKER, client::tag},
    workspace::{Fort, files, of_kind, sort, tree},
};

pub(crate) mod model;
pub(crate) mod programs;

/// The keys of the clouds: what no agent may ever see.
const KEYS: [(&str, &str); 3] = [
    ("OPENAI_API_KEY", "sk-of-the-cloud-openai-0123456789abcdef"),
    ("ANTHROPIC_API_KEY", "sk-ant-of-the-cloud-0123456789abcdef"),
    (
        "GEMINI_API_KEY",
        "AIza-of-the-cloud-gemini-0123456789abcdef",
    ),
];

/// An agent, the model of the cloud whose words it speaks, and what a request for that has for a path.
struct Real {
    name: &'static str,
    cloud: &'static str,
    path: &'static str,
    key: &'static str,
    /// The most bytes of its first request, which a model on this machine reads before its first word.
    bytes: usize,
}

const OPENCODE: Real = Real {
    name: "opencode",
    cloud: "openai:gpt-5",
    path: "/v1/chat/completions",
    key: "authorization",
    bytes: 5_000,
};
const CLAUDE_CODE: Real = Real {
    name: "claude-code",
    cloud: "anthropic:claude-sonnet-5",
    path: "/v1/messages",
    key: "x-api-key",
    bytes: 20_000,
};
const CODEX: Real = Real {
    name: "codex",
    cloud: "openai:gpt-5",
    path: "/v1/responses",
    key: "authorization",
    bytes: 8_000,
};
const GEMINI: Real = Real {
    name: "gemini",
    cloud: "gemini:gemini-3-pro",
    path: "/v1beta/models/gemini-3-pro:streamGenerateContent",
    key: "x-goog-api-key",
    bytes: 16_000,
};
const GOOSE: Real = Real {
    name: "goose",
    cloud: "openai:gpt-5",
    path: "/v1/chat/completions",
    key: "authorization",
    bytes: 7_000,
};

/// Writes more, and looks for the keys in all that it can read, and for a way out. (The pattern is not itself what it
/// finds. Gemini CLI runs nothing with `$(…)` in it, and now and then loses the last line of what a command wrote.)
const LOOK: &str = "echo more >> hello.txt; \
    (env; cat /proc/*/environ; find ~ /tmp /etc -type f -exec cat {} +) 2>/dev/null \
    | grep -ac 'of-the-[c]loud' > /tmp/keys; wc -l < /proc/net/route > /tmp/routes; \
    paste -d : /tmp/keys /tmp/routes; echo end; sleep 0.3";

/// One test for each agent and sandbox.
macro_rules! each {
    ($($module:ident: $agent:expr;)*) => {$(
        mod $module {
            #[tokio::test(flavor = "multi_thread")]
            async fn works_on_its_cloud_and_on_a_local_model_in_docker() {
                super::works($agent, true).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn works_on_its_cloud_and_on_a_local_model_without_docker() {
                super::works($agent, false).await;
            }
        }
    )*};
}

each! {
    opencode: super::OPENCODE;
    claude_code: super::CLAUDE_CODE;
    codex: super::CODEX;
    gemini: super::GEMINI;
    goose: super::GOOSE;
}

mod resumed {
    #[tokio::test(flavor = "multi_thread")]
    async fn claude_code_goes_on_with_its_own_memory_after_a_restart() {
        super::goes_on(super::CLAUDE_CODE, false).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn claude_code_goes_on_with_its_own_memory_after_a_restart_in_docker() {
        super::goes_on(super::CLAUDE_CODE, true).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn codex_goes_on_with_its_own_memory_after_a_restart() {
        super::goes_on(super::CODEX, false).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn codex_goes_on_with_its_own_memory_after_a_restart_in_docker() {
        super::goes_on(super::CODEX, true).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn goose_goes_on_with_its_own_memory_after_a_restart() {
        super::goes_on(super::GOOSE, false).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn goose_goes_on_with_its_own_memory_after_a_restart_in_docker() {
        super::goes_on(super::GOOSE, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_at_once_in_docker_and_one_is_taken_home() {
    three_at_once(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_at_once_without_docker_and_one_is_taken_home() {
    three_at_once(false).await;
}

/// The `PATH` of a person who has these agents.
pub(crate) fn path_with(agents: &[&str]) -> String {
    let mut folders: Vec<String> = agents
        .iter()
        .map(|agent| match *agent {
            "opencode" => {
                let program = crate::opencode::program::program();
                program.parent().unwrap().display().to_string()
            }
            agent => programs::programs(agent).display().to_string(),
        })
        .collect();
    folders.push(programs::node().display().to_string());
    folders.push(std::env::var("PATH").unwrap());
    folders.join(":")
}

/// The clouds, at the scripted server.
pub(crate) fn clouds(model: &Model) -> String {
    let url = model.url();
    let mut config = String::new();
    for (name, path) in [("openai", "/v1"), ("anthropic", ""), ("gemini", "")] {
        config.push_str(&format!(
            "[model.providers.{name}]\nurl = \"{url}{path}\"\n"
        ));
    }
    config
}

async fn works(agent: Real, docker: bool) {
    let model = Model::start().await;
    let url = model.url();
    let path = if docker {
        std::env::var("PATH").unwrap()
    } else {
        path_with(&[agent.name])
    };
    let mut environment = vec![("OLLAMA_HOST", url.as_str()), ("PATH", path.as_str())];
    environment.extend(KEYS);
    if !docker {
        environment.push(NO_DOCKER);
    }
    let config = format!("{}{}", crate::jobs::AT_ONCE, clouds(&model));
    let fort = Fort::start_in(&config, &environment).await;
    if docker {
        fort.say(&["agent", "build", agent.name]).await.ok();
    }
    let mine = tree(fort.project.path());
    for name in [agent.cloud, model::OLLAMA] {
        model.script(&[
            Step::Write("hello.txt", "hello from the fort\n"),
            Step::Run(LOOK),
            Step::Say("I wrote hello.txt."),
        ]);
        let said = fort
            .say(&[
                "run",
                "--agent",
                agent.name,
                "--model",
                name,
                "write hello.txt",
            ])
            .await
            .ok();
        assert_eq!(said.out.trim(), "I wrote hello.txt.", "{name}: {said:?}");
        assert_eq!(tree(fort.project.path()), mine, "untouched until apply");
        asked(&agent, name, &model.calls());

        let sessions = fort.sessions().await;
        let records = sessions
            .into_values()
            .filter(|records| tag(&records[0], "role").as_deref() != Some("undo"))
            .max_by_key(|records| records[0].created_at)
            .unwrap();
        recorded(&agent, name, docker, &records);
        for (_, key) in KEYS {
            assert!(!fort.journals().contains(key), "a key in the journal");
        }

        let copy = fort.copy().await;
        let worked = files(&copy);
        assert_eq!(
            String::from_utf8_lossy(&worked["hello.txt"].1),
            "hello from the fort\nmore\n"
        );
        let undone = fort.say(&["undo", "1", "--json"]).await.ok().json();
        assert_eq!(files(&copy), files(fort.project.path()), "{name}");
        let before = undone["before"].to_string();
        fort.say(&["undo", &before]).await.ok();
        assert_eq!(files(&copy), worked, "{name}: the undo undone");
    }
}

/// A fort with these agents, on the local model alone.
async fn local_fort(agents: &[&str], docker: bool) -> (Fort, Model) {
    let model = Model::start().await;
    let url = model.url();
    let path = if docker {
        std::env::var("PATH").unwrap()
    } else {
        path_with(agents)
    };
    let mut environment = vec![("OLLAMA_HOST", url.as_str()), ("PATH", path.as_str())];
    if !docker {
        environment.push(NO_DOCKER);
    }
    let fort = Fort::start_in(crate::jobs::AT_ONCE, &environment).await;
    if docker {
        for agent in agents {
            fort.say(&["agent", "build", agent]).await.ok();
        }
    }
    (fort, model)
}

/// After treefort was stopped and started, the agent knows what it did: its model is sent the tool's call and answer
/// of before, and nobody tells it a summary. The token is in nothing that it keeps.
async fn goes_on(agent: Real, docker: bool) {
    let (mut fort, model) = local_fort(&[agent.name], docker).await;
    model.script(&[
        Step::Write("hello.txt", "hello from the fort\n"),
        Step::Say("I wrote hello.txt."),
    ]);
    fort.say(&["run", "--agent", agent.name, "write hello.txt"])
        .await
        .ok();
    fort.treefort.terminate();
    fort.treefort.up();
    model.script(&[
        Step::Say("I remember nothing."),
        Step::Write("more.txt", "more\n"),
        Step::Say("I wrote more.txt, too."),
    ]);
    let said = fort.say(&["run", "--continue", "and more"]).await.ok();
    assert_eq!(said.out.trim(), "I wrote more.txt, too.", "{said:?}");
    let calls = model.calls();
    let first = calls.iter().find(|call| call.turn).unwrap();
    assert!(first.body.to_string().contains("hello from the fort"));
    let sessions = fort.sessions().await;
    let resumed = sessions
        .values()
        .filter_map(|records| tag(&records[0], "resumed"));
    assert_eq!(resumed.collect::<Vec<_>>(), ["agent"]);
    let token = first.headers.get("authorization");
    assert_eq!(token, None, "Ollama is shown no token");
    let copy = fort.copy().await;
    assert_eq!(files(&copy)["more.txt"].1, b"more\n");
}

/// The same job to three makers' agents: each in a sandbox of its own, one taken home, and back again.
async fn three_at_once(docker: bool) {
    let agents = ["opencode", "claude-code", "codex"];
    let (fort, model) = local_fort(&agents, docker).await;
    model.script(&[
        Step::Write("hello.txt", "hello from the fort\n"),
        Step::Say("I wrote hello.txt."),
    ]);
    let mine = tree(fort.project.path());
    let names = agents.join(",");
    let run = [
        "run",
        "--agents",
        &names,
        "--check",
        "test -s hello.txt",
        "write hello.txt",
    ];
    let said = fort.say(&run).await.ok();
    for (line, agent) in said.out.lines().skip(1).zip(agents) {
        assert!(
            line.contains(agent) && line.contains("✓ done"),
            "{}",
            said.out
        );
        assert!(line.contains("1 +1 −0"), "{}", said.out);
    }
    assert_eq!(tree(fort.project.path()), mine, "untouched until apply");
    let sessions = fort.sessions().await;
    assert_eq!(sessions.len(), 3, "a key for each");
    let copies: std::collections::BTreeSet<Option<String>> = sessions
        .values()
        .map(|records| tag(&records[0], "workspace"))
        .collect();
    assert_eq!(copies.len(), 3, "a copy for each");
    for records in sessions.values() {
        assert!(of_kind(records, 4784).is_empty(), "{records:#?}");
        let check = records.iter().find(|record| sort(record) == "check");
        assert_eq!(tag(check.unwrap(), "exit").as_deref(), Some("0"));
    }
    let second = said
        .err
        .split("to bring 2. home")
        .nth(1)
        .and_then(|rest| rest.split("treefort apply").nth(1))
        .and_then(|rest| rest.split_whitespace().next());
    let second = second.unwrap_or_else(|| panic!("{}", said.err));
    fort.say(&["apply", "--yes", second]).await.ok();
    let home = std::fs::read_to_string(fort.project.path().join("hello.txt")).unwrap();
    assert_eq!(home, "hello from the fort\n");
    fort.say(&["apply", "--take-back"]).await.ok();
    assert_eq!(tree(fort.project.path()), mine);
}

/// What reached the model: the agent's own words for its own cloud, Ollama's for Ollama, the cloud's key and never the
/// session's token; no key in what the agent's shell printed.
fn asked(agent: &Real, model: &str, calls: &[Call]) {
    let local = model == model::OLLAMA;
    let path = if local { "/api/chat" } else { agent.path };
    let about = |calls: &[Call]| -> Vec<(String, usize)> {
        let about = calls.iter().map(|call| (call.path.clone(), call.bytes));
        about.collect()
    };
    assert!(
        calls.iter().all(|call| call.path == path),
        "{:?}",
        about(calls)
    );
    let turn: Vec<&Call> = calls.iter().filter(|call| call.turn).collect();
    assert_eq!(turn.len(), 3, "{:?}", about(calls));
    assert!(turn[0].bytes <= agent.bytes, "{:?}", about(calls));
    // Some put what a tool said into a text of JSON.
    let seen = turn[2].body.to_string().replace("\\\\", "\\");
    // None, and the head of an empty table.
    assert!(seen.contains("0:1"), "{seen}");
    for (_, key) in KEYS {
        assert!(!seen.contains(key), "the agent saw a key: {seen}");
    }
    for call in calls {
        let key = call.headers.get(agent.key).map(|key| key.to_str().unwrap());
        if local {
            assert_eq!(key, None);
            assert_eq!(call.body["model"], model::OLLAMA);
            let context = call.body["options"]["num_ctx"].as_u64().unwrap();
            assert!(context >= 8192, "{context}");
            // It fits, with room for work: three bytes of a prompt are no more than a token.
            let most = usize::try_from(context).unwrap() * 3 / 2;
            assert!(turn[0].bytes < most, "{} bytes, {context}", turn[0].bytes);
        } else {
            let key = key.unwrap().trim_start_matches("Bearer ");
            assert!(KEYS.iter().any(|(_, real)| *real == key), "{key}");
        }
    }
}

/// What it said and what the host saw, in one chain: the file by both, the model's tokens, no error.
fn recorded(agent: &Real, model: &str, docker: bool, records: &[Event]) {
    let said = |records: &[Event]| -> Vec<String> {
        records
            .iter()
            .map(|record| format!("{:?} {}", record.tags, record.content))
            .collect()
    };
    let start = &records[0];
    let env = start.tags.iter().find(|tag| tag.as_slice()[0] == "env");
    let env = env.unwrap().as_slice();
    let sandbox = if docker {
        "sandbox=docker"
    } else {
        "sandbox=embedded"
    };
    assert!(env.iter().any(|one| one == sandbox), "{env:?}");
    assert!(env.iter().any(|one| one == "network=none"), "{env:?}");
    assert!(of_kind(records, 4784).is_empty(), "{:#?}", said(records));
    let file: Vec<&Event> = records
        .iter()
        .filter(|record| tag(record, "path").as_deref() == Some("hello.txt"))
        .collect();
    assert!(!file.is_empty(), "{:#?}", said(records));
    let diffs: String = file.iter().map(|file| file.content.as_str()).collect();
    assert!(
        diffs.contains("+hello from the fort") && diffs.contains("+more"),
        "{diffs}"
    );
    for fact in file {
        let claim = tag(fact, "claimed");
        let claim = claim.unwrap_or_else(|| panic!("it did not say so: {:#?}", said(records)));
        let claim = records.iter().find(|record| record.id.to_hex() == claim);
        assert_eq!(sort(claim.unwrap()), "command", "{}", agent.name);
    }
    let calls = records.iter().filter(|record| {
        let model = tag(record, "model");
        model.is_some() && tag(record, "agent_ms").is_some()
    });
    let tokens: Vec<Vec<String>> = calls
        .filter_map(|call| call.tags.iter().find(|tag| tag.as_slice()[0] == "tokens"))
        .map(|tokens| tokens.as_slice()[1..].to_vec())
        .collect();
    let counted = [READ.to_string(), WRITTEN.to_string()];
    assert!(
        tokens.len() >= 3 && tokens.iter().all(|tokens| *tokens == counted),
        "{model}: {tokens:?}"
    );
}
