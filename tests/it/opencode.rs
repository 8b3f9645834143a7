//! The real OpenCode in a sandbox of each backend: it writes a file, runs a command and reaches nothing but its
//! model.
//!
//! For Docker its image is built once for every build of the program, on the base that `tests/run` makes; without
//! Docker it is the npm package ([`program`]). Either is fetched once for a machine.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use treefort::agent::acp::{Limits, Peer, SessionId, StopReason};
use treefort::agent::claims::Claim;
use treefort::agent::image::{self, Asked};
use treefort::agent::journal::Journal;
use treefort::agent::manifest::{Launch, Manifest};
use treefort::agent::registry::Registry;
use treefort::sandbox::{Content, Control, Image, Spec, Tail};

use self::model::{Model, Say};
use crate::sandbox::{Backend, Home, on_each};

mod model;
pub(crate) mod program;

on_each!(opencode; writes_a_file_and_runs_a_command_without_a_network);

mod command {
    use super::{shell, the_shell_agent_runs_its_prompt_and_finds_the_files_of_its_manifest};
    super::on_each!(shell; the_shell_agent_runs_its_prompt_and_finds_the_files_of_its_manifest);
}

const TOKEN: &str = "not-a-secret";
/// The most bytes of a prompt in a conversation this short.
const PROMPT_BYTES: usize = 5_000;

fn manifest(name: &str) -> Manifest {
    let (agents, _) = Registry::load(None);
    agents.get(name).unwrap().manifest.clone()
}

/// The image of a built-in agent with the program under test in it.
fn image_of(name: &str) -> Image {
    let (agents, _) = Registry::load(None);
    let agent = agents.get(name).unwrap();
    let base = crate::harness::base();
    let mut image = image::of(agent, &base, Asked::ByName).unwrap();
    for (file, content) in &mut image.files {
        if file == "treefort" {
            // Not this test.
            *content = Content::File(env!("CARGO_BIN_EXE_treefort").into());
        }
    }
    image
}

/// The same of OpenCode, and where it is on this computer.
fn opencode() -> Image {
    let mut image = image_of("opencode");
    let host = image.host.as_mut().unwrap();
    assert_eq!(host.program, "opencode");
    host.program = program::program().to_str().unwrap().to_owned();
    image
}

fn shell() -> Image {
    image_of("shell")
}

/// A workspace as treefort makes them: the agent's own, and on this machine's disk.
fn workspace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
    if rustix::process::getuid().is_root() {
        chown(dir.path(), Some(1000), Some(1000)).unwrap();
    }
    dir
}

/// OpenCode at work.
struct OpenCode {
    peer: Peer,
    claims: Receiver<Claim>,
    session: SessionId,
    model: Model,
    control: Control,
    stderr: Tail,
    home: Home,
    workspace: tempfile::TempDir,
    journal: PathBuf,
    kept: tempfile::TempDir,
    started: [Duration; 3],
}

impl OpenCode {
    async fn start(home: Home, script: Vec<Say>) -> Self {
        let manifest = manifest("opencode");
        let workspace = workspace();
        let launch = Launch {
            model: "scripted".to_owned(),
            context: 16_384,
            output: 4096,
            token: TOKEN.to_owned(),
        };
        let spec = Spec {
            argv: manifest.argv.clone(),
            env: manifest.environment(&launch),
            limits: treefort::sandbox::Limits {
                memory_mb: u32::try_from(manifest.limits.memory_mb).unwrap(),
                cpus: manifest.limits.cpus,
                pids: manifest.limits.pids,
                ..Default::default()
            },
            workspace: Some(workspace.path().to_owned()),
            ..home.spec("")
        };
        let began = Instant::now();
        let sandbox = home.runtime.start(spec).await.unwrap();
        let container = began.elapsed();
        let kept = tempfile::tempdir().unwrap();
        let journal = kept.path().join("journal.jsonl");
        let model = Model::serve(sandbox.http, script);
        let lines = Journal::open(&journal, 16 << 20).unwrap();
        let (peer, claims) = Peer::connect(sandbox.agent, lines, Limits::default());
        let info = peer.initialize().await;
        let info = info.unwrap_or_else(|error| panic!("{error}: {}", sandbox.stderr.text()));
        assert_eq!(
            (info.name.as_str(), info.version),
            ("OpenCode", manifest.version)
        );
        let initialized = began.elapsed() - container;
        let session = peer.new_session("/workspace", Value::Null).await.unwrap();
        let opened = began.elapsed() - container - initialized;
        Self {
            peer,
            claims,
            session,
            model,
            control: sandbox.control,
            stderr: sandbox.stderr,
            home,
            workspace,
            journal,
            kept,
            started: [container, initialized, opened],
        }
    }

    /// One turn to its end: the claims of it.
    async fn turn(&mut self, text: &str) -> Vec<Claim> {
        let blocks = vec![json!({"type": "text", "text": text})];
        let mut claims = Vec::new();
        let prompt = self.peer.prompt(&self.session, blocks);
        let mut prompt = std::pin::pin!(prompt);
        let turn = loop {
            tokio::select! {
                biased;
                Some(claim) = self.claims.recv() => claims.push(claim),
                turn = &mut prompt => break turn,
            }
        };
        let turn = turn.unwrap_or_else(|error| panic!("{error}: {}", self.stderr.text()));
        assert_eq!(turn.stop_reason, StopReason::EndTurn);
        while let Ok(claim) = self.claims.try_recv() {
            claims.push(claim);
        }
        claims
    }

    /// It leaves when its input is closed.
    async fn end(mut self) -> Duration {
        let began = Instant::now();
        self.peer.end();
        let mut exit = self.control.exit();
        let left = exit.wait_for(Option::is_some);
        tokio::time::timeout(Duration::from_secs(10), left)
            .await
            .expect("OpenCode leaves")
            .unwrap();
        let took = began.elapsed();
        self.control.stop(Duration::from_secs(1)).await.unwrap();
        self.home.end().await;
        took
    }
}

/// What a shell in the sandbox can tell of the world outside.
const LOOK: &str = "cat /proc/net/route | wc -l; tail -n +3 /proc/net/dev | cut -d : -f 1 | tr -d ' '; \
    for to in 192.0.2.1/80 127.0.0.1/4869; do bash -c \"echo > /dev/tcp/$to\" 2>&1; done; \
    touch /usr/x /etc/x 2>&1; id -u; bash -c 'ulimit -d'";

async fn writes_a_file_and_runs_a_command_without_a_network(home: Home) {
    let backend = home.backend;
    let file = "/workspace/src/hello.txt";
    let script = vec![
        Say::Tool(
            "write",
            json!({"filePath": file, "content": "hello from the fort\n"}),
        ),
        Say::Tool(
            "bash",
            json!({"command": LOOK, "description": "Looks around"}),
        ),
        Say::Text("I wrote it."),
    ];
    let mut agent = OpenCode::start(home, script).await;
    // What the project says to agents reaches the model; what it would configure does not.
    let project = agent.workspace.path();
    std::fs::write(project.join("AGENTS.md"), "Use tabs only.").unwrap();
    std::fs::write(project.join("opencode.json"), r#"{"permission": "ask"}"#).unwrap();
    let began = Instant::now();
    let claims = agent.turn("write hello.txt").await;
    let turn = began.elapsed();

    // The fact: on the host's disk, by the agent's user, and nothing else.
    let path = agent.workspace.path().join("src/hello.txt");
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "hello from the fort\n"
    );
    let owner = std::fs::metadata(agent.workspace.path()).unwrap().uid();
    assert_eq!(std::fs::metadata(&path).unwrap().uid(), owner);
    assert_eq!(
        std::fs::read_dir(agent.workspace.path()).unwrap().count(),
        3
    );

    // The claims: both tools by kind, both completed, and the words; nobody asked for permission.
    let mut kinds: Vec<String> = Vec::new();
    let mut completed = 0;
    let mut words = String::new();
    for claim in &claims {
        match claim {
            Claim::ToolCall(tool) => kinds.extend(tool.kind.clone()),
            Claim::ToolUpdate(tool) if tool.status.as_deref() == Some("completed") => {
                completed += 1
            }
            Claim::Text(text) => words.push_str(text),
            Claim::Permission(_) | Claim::NotJson(_) => panic!("{claim:?}"),
            _ => {}
        }
    }
    assert_eq!(kinds, ["edit", "execute"]);
    assert_eq!((completed, words.as_str()), (2, "I wrote it."));

    // The model's side: as many calls as the script has steps, small, and under the session's token.
    let calls = agent.model.calls();
    let bytes: Vec<usize> = calls.iter().map(|call| call.bytes).collect();
    assert_eq!(calls.len(), 3, "{bytes:?}");
    assert!(
        calls
            .iter()
            .all(|call| call.authorization == format!("Bearer {TOKEN}"))
    );
    assert!(
        bytes[0] <= PROMPT_BYTES && bytes[1] <= PROMPT_BYTES,
        "{bytes:?}"
    );
    let told = calls[0].body["messages"][0].to_string();
    assert!(told.contains("Use tabs only."), "{told}");
    for tool in ["webfetch", "websearch", "task", "todowrite"] {
        assert!(!calls[0].tools().contains(&tool), "{:?}", calls[0].tools());
    }

    // No network: one interface, no route (the table's head alone), and nothing answers.
    let seen = calls[2].tool_results().pop().unwrap();
    assert!(seen.starts_with("\"1\\nlo\\n"), "{seen}");
    assert!(seen.contains("Network is unreachable"), "{seen}");
    assert!(seen.contains("Connection refused"), "{seen}");
    assert_eq!(seen.matches("Read-only file system").count(), 2, "{seen}");
    assert!(!seen.contains("\\n0\\n"), "{seen}");
    // Its engine compiles what it runs, and reserves memory for that beside what it uses.
    let most = match backend {
        Backend::Bare => format!("\\n{}\\n", (2048 + 4096) * 1024),
        Backend::Docker | Backend::Embedded => "\\nunlimited\\n".to_owned(),
    };
    assert!(seen.contains(&most), "{seen}");

    let overhead: Vec<Duration> = calls
        .windows(2)
        .map(|pair| pair[1].at - pair[0].at)
        .collect();
    let started = agent.started;
    let tools = calls[0].tools().join(" ");
    let prompt = serde_json::to_string_pretty(&calls[0].body).unwrap();
    if let Some(dir) = std::env::var_os("TREEFORT_TEST_KEEP") {
        let dir = PathBuf::from(dir);
        std::fs::write(dir.join("opencode-prompt.json"), prompt).unwrap();
        std::fs::copy(&agent.journal, dir.join("opencode-journal.jsonl")).unwrap();
    }
    let kept = std::fs::read_dir(agent.kept.path()).unwrap().count();
    assert_eq!(kept, 1);
    let exit = agent.end().await;
    eprintln!(
        "opencode, {backend:?}: sandbox, initialize, session/new {started:?}; first call after {:?}, between calls \
         {overhead:?}, turn {turn:?}; exit {exit:?}; prompts {bytes:?} bytes; tools {tools}",
        calls[0].at - began
    );
}

async fn the_shell_agent_runs_its_prompt_and_finds_the_files_of_its_manifest(home: Home) {
    let mut manifest = manifest("shell");
    manifest.files.push(treefort::agent::manifest::HomeFile {
        path: ".config/note".to_owned(),
        content: "for {model}".to_owned(),
    });
    let launch = Launch {
        model: "m:1".to_owned(),
        context: 1,
        output: 1,
        token: TOKEN.to_owned(),
    };
    let workspace = workspace();
    let mut command =
        "cat ~/.config/note; echo \" [$TREEFORT_FILES]\"; git --version >&2; echo made > made;"
            .to_owned();
    if home.is_docker() {
        // What its base has. Without Docker it is what this computer has.
        command.push_str(
            "rg --version | head -n 1; find / -xdev -type f -perm /6000 2>/dev/null | wc -l;",
        );
    }
    command.push_str("exit 3");
    let mut argv = manifest.argv.clone();
    argv.push(command);
    let spec = Spec {
        argv,
        env: manifest.environment(&launch),
        limits: treefort::sandbox::Limits::default(),
        workspace: Some(workspace.path().to_owned()),
        ..home.spec("")
    };
    let mut sandbox = home.runtime.start(spec).await.unwrap();
    let mut output = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut sandbox.agent, &mut output)
        .await
        .unwrap();
    let stderr = sandbox.stderr.clone();
    let exit = sandbox.stop(Duration::from_secs(1)).await.unwrap();
    assert_eq!(exit.code, Some(3), "{output}{}", stderr.text());
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "for m:1 []");
    // What it writes to standard error is a part of its answer, in its place.
    assert!(lines[1].starts_with("git version "), "{output}");
    if home.is_docker() {
        assert!(lines[2].starts_with("ripgrep "), "{output}");
        // Programs that make somebody else of whoever runs them: none.
        assert_eq!(lines.last(), Some(&"0"), "{output}");
    }
    assert_eq!(
        std::fs::read_to_string(workspace.path().join("made")).unwrap(),
        "made\n"
    );
    home.end().await;
}
