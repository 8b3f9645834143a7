//! A home whose record only its owner reads (`read = "auth"`), and one that shares: what the owner is told, and that nothing
//! waits for ever.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::{
    harness::{NO_DOCKER, PROGRAM},
    model_server::ModelServer,
};

const PATIENCE: Duration = Duration::from_secs(60);
const CLOSED: &str = "[relay]\nread = \"auth\"\n";
/// Nobody listens there.
const SHARES: &str = "[[stream]]\nname = \"all\"\ndir = \"up\"\nrelays = [\"ws://127.0.0.1:9\", \"ws://127.0.0.1:10\"]\n";

/// A command line in the folder that holds the home.
fn command(model: &str, home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .arg("--home")
        .arg(home)
        .env("OLLAMA_HOST", model)
        .envs([NO_DOCKER])
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

async fn said(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output());
    output.await.expect("the command hangs").unwrap()
}

async fn ok(command: Command) -> String {
    let output = said(command).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A `treefort up` that ends with this, and the first lines that it printed.
struct Up {
    child: Child,
    banner: String,
}

impl Up {
    fn start(model: &str, home: &Path, lines: usize) -> Self {
        let mut command = command(model, home, &["up", "--listen", "127.0.0.1:0"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut banner = String::new();
        for _ in 0..lines {
            out.read_line(&mut banner).unwrap();
        }
        Self { child, banner }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let patience = Instant::now() + Duration::from_secs(6);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_closed_record_runs_agents_and_is_told_what_there_is() {
    let model = ModelServer::start().await;
    let place = tempfile::tempdir().unwrap();
    let home = place.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("treefort.toml"), CLOSED).unwrap();
    let run = ["run", "--agent", "shell", "echo in F"];
    // The command starts treefort itself.
    let own = ok(command(&model.url(), &home, &run)).await;
    assert!(own.contains("in F"), "{own}");
    let up = Up::start(&model.url(), &home, 2);
    assert!(up.banner.contains("sandbox: embedded"), "{}", up.banner);
    assert!(up.banner.contains("treefort is ready at"), "{}", up.banner);
    let other = ok(command(&model.url(), &home, &run)).await;
    assert!(other.contains("in F"), "{other}");
    let status = ok(command(&model.url(), &home, &["status"])).await;
    assert!(
        status.contains("ready") && status.contains("embedded"),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_named_by_a_way_round_runs_agents() {
    let model = ModelServer::start().await;
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("elsewhere")).unwrap();
    let run = ["run", "--agent", "shell", "echo a"];
    let mut run = command(&model.url(), Path::new("../elsewhere/../home"), &run);
    run.current_dir(place.path().join("elsewhere"));
    assert!(ok(run).await.contains('a'));
    assert!(place.path().join("home/keys").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_shares_says_so_wherever_its_owner_looks() {
    let model = ModelServer::start().await;
    let place = tempfile::tempdir().unwrap();
    let home = place.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let says = |text: &str| text.contains("sharing is on, with 2 relays");
    let quiet = ok(command(&model.url(), &home, &["status"])).await;
    assert!(!quiet.contains("sharing"), "{quiet}");
    std::fs::write(home.join("sync.toml"), SHARES).unwrap();
    let up = Up::start(&model.url(), &home, 3);
    assert!(says(&up.banner), "{}", up.banner);
    for arguments in [&["status"][..], &["doctor"]] {
        let output = said(command(&model.url(), &home, arguments)).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(says(&text), "{text}");
        assert!(!text.to_lowercase().contains("nostr"), "{text}");
    }
    drop(up);
    // It goes along when the home moves, with whom its settings let in.
    let anyone = "[jobs]\nadmit = \"anyone\"\n";
    std::fs::write(home.join("treefort.toml"), anyone).unwrap();
    std::fs::write(place.path().join("password"), "correct horse\n").unwrap();
    let at = |home: &Path, arguments: &[&str]| {
        let mut command = command(&model.url(), home, arguments);
        command
            .args(["--password-file", "password"])
            .current_dir(place.path());
        command
    };
    ok(at(&home, &["export", "--all", "home.tar"])).await;
    let other = place.path().join("other");
    let moved = said(at(&other, &["import", "home.tar"])).await;
    let told = String::from_utf8(moved.stderr).unwrap();
    assert!(moved.status.success() && says(&told), "{told}");
    assert!(told.contains("jobs from anyone run"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_server_the_banner_says_what_status_says() {
    let place = tempfile::tempdir().unwrap();
    let home = place.path().join("home");
    let nobody = "http://127.0.0.1:9";
    let mut up = Up::start(nobody, &home, 3);
    // On a busy machine the banner does not wait for what there is.
    for _ in 0..5 {
        if !up.banner.contains("no model; no sandbox") {
            break;
        }
        drop(up);
        up = Up::start(nobody, &home, 3);
    }
    assert!(
        up.banner
            .contains("no model server answers at http://127.0.0.1:9"),
        "{}",
        up.banner
    );
    let status = ok(command(nobody, &home, &["status"])).await;
    assert!(status.contains("no model server answers"), "{status}");
}
