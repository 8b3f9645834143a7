//! The end of treefort is the end of all that is inside, however it comes; and what an ordinary user has.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use treefort::sandbox::{Config, Runtime as _, embedded::EmbeddedRuntime};

use super::{Backend, Home, below, processes};

const ROLE: &str = "TREEFORT_TEST_ROLE";

/// What the tests below start and kill: the first of them, in a process of its own.
async fn be_killed(role: &str) {
    let backend = if role.contains("bare") {
        Backend::Bare
    } else {
        Backend::Embedded
    };
    let home = Home::on(backend).await;
    let sandbox = home
        .start("trap '' TERM HUP INT; /busybox sleep 300 & while :; do /busybox sleep 1; done")
        .await;
    if role.contains("paused") {
        sandbox.control.pause().await.unwrap();
    }
    eprintln!("there it is: {}", home.id);
    std::future::pending::<()>().await;
    drop(sandbox);
}

/// The process, and the id of its home.
fn killable(role: &str) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sandbox::embedded::a_treefort_that_is_killed_takes_everything_along",
        ])
        .arg("--nocapture")
        .env(ROLE, role)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let id = lines.find_map(|line| {
        let line = line.unwrap();
        let (_, id) = line.split_once("there it is: ")?;
        Some(id.to_owned())
    });
    (child, id.unwrap())
}

/// What the next start of that home finds: a control group without processes at most.
async fn swept(id: &str) {
    let next = EmbeddedRuntime::new(id, Config::default());
    assert!(next.sweep().await.unwrap() < 2);
    assert_eq!(next.sweep().await.unwrap(), 0);
}

fn alive(pids: &[u32]) -> Vec<u32> {
    let running = processes().into_iter().filter(|p| p.state != 'Z');
    running
        .map(|p| p.pid)
        .filter(|pid| pids.contains(pid))
        .collect()
}

#[tokio::test]
async fn a_treefort_that_is_killed_takes_everything_along() {
    if let Ok(role) = std::env::var(ROLE) {
        return be_killed(&role).await;
    }
    for role in ["embedded", "embedded paused", "bare", "bare paused"] {
        let (mut treefort, id) = killable(role);
        let inside = below(treefort.id());
        // The launcher, PID 1 and the shell at least.
        assert!(inside.len() >= 3, "{role}: {inside:?}");
        treefort.kill().unwrap();
        treefort.wait().unwrap();
        let began = Instant::now();
        while !alive(&inside).is_empty() {
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{role}: {:?}",
                alive(&inside)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        swept(&id).await;
    }
}

#[tokio::test]
async fn a_launcher_that_is_killed_takes_everything_along() {
    for role in ["embedded", "bare", "bare paused"] {
        let (mut treefort, id) = killable(role);
        let inside = below(treefort.id());
        let launcher = rustix::process::Pid::from_raw(inside[0].try_into().unwrap()).unwrap();
        rustix::process::kill_process(launcher, rustix::process::Signal::KILL).unwrap();
        let began = Instant::now();
        while !alive(&inside).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(5), "{role}");
            std::thread::sleep(Duration::from_millis(20));
        }
        treefort.kill().unwrap();
        treefort.wait().unwrap();
        swept(&id).await;
    }
}

/// Every row without control groups, and those of this computer, as a user who is nobody on it.
#[test]
fn all_of_it_holds_for_an_ordinary_user() {
    let exe = std::env::current_exe().unwrap();
    let as_user = |program: &Path| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=54321", "--regid=54321", "--clear-groups"]);
        command.arg(program);
        command
    };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let reached = as_user(&exe).arg("--list").output().unwrap();
    if !reached.status.success() {
        eprintln!("no ordinary user reaches {}", exe.display());
        return;
    }
    // Made before, since this user may not write there.
    crate::escape::attack();
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(54321), Some(54321)).unwrap();
    let output = as_user(&exe)
        .args(["bare::", "escape::computer::", "takes_everything_along"])
        .args(["without_groups", "--skip", "docker::"])
        .args(["--test-threads", "1"])
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    let passed = said.matches(" ... ok").count();
    assert!(passed > 40, "{said}");
}
