//! The end of treefort is the end of all that is inside, however it comes; what an ordinary user has; and what
//! treefort says where it may not make a sandbox.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use treefort::sandbox::{Config, Runtime as _, embedded::EmbeddedRuntime};

use super::{Backend, Home, below, processes, unique};
use crate::harness::{PROGRAM, base};

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
    crate::opencode::program::program();
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

/// Runs a script in a container of Docker's, which has the program and no engine: its exit code and words.
fn in_container(options: &[&str], script: &str) -> (Option<i32>, String) {
    let name = unique("treefort-nested");
    let output = Command::new("docker")
        .args(["run", "--rm", "--network", "none", "--name", &name])
        .args(["-e", "HOME=/tmp/home", "-v"])
        .arg(format!("{PROGRAM}:/treefort:ro"))
        .args(options)
        .args([&base(), "sh", "-c", script])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), said.concat())
}

const UNCONFINED: [&str; 4] = [
    "--security-opt",
    "seccomp=unconfined",
    "--security-opt",
    "systempaths=unconfined",
];
const NO_RIGHTS: [&str; 2] = ["--cap-drop", "ALL"];
const USER: [&str; 2] = ["--user", "1000"];

#[test]
fn a_container_that_forbids_sandboxes_is_told_what_to_allow() {
    let filter = "it allows no user namespaces (Operation not permitted";
    let user = "--user 1000` (as root it would need its capabilities, so no `--cap-drop`)";
    let both = UNCONFINED.join(" ");
    for (options, what, allow) in [
        (&[][..], filter, format!("`{both}`")),
        (&USER, filter, format!("`{both}`")),
        (&NO_RIGHTS, filter, format!("`{both} {user}")),
        (
            &UNCONFINED[..2],
            "it allows no view of a sandbox's own processes (/proc)",
            format!("`{}`", UNCONFINED[2..].join(" ")),
        ),
        (
            &[&UNCONFINED[..], &NO_RIGHTS].concat(),
            "root here may not give an agent a user of its own (it lacks CAP_SETGID, CAP_SETUID, CAP_SETFCAP: \
             Operation not permitted",
            user.to_owned(),
        ),
    ] {
        let (code, said) = in_container(options, "/treefort demo");
        assert_eq!(code, Some(3), "{options:?}: {said}");
        assert!(said.contains(what) && !said.contains("buffer"), "{said}");
        let hint = said.lines().find(|line| line.starts_with("hint: "));
        assert!(hint.is_some_and(|hint| hint.contains(&allow)), "{said}");
    }
}

/// What the hints above say, followed.
#[test]
fn a_container_that_allows_it_runs_sandboxes() {
    let work = "mkdir -p /tmp/home/project && cd /tmp/home/project && echo one > a && /treefort demo && \
                /treefort run --agent shell 'cat a; echo two > b' && /treefort apply --yes && cat b";
    for more in [&[][..], &USER, &[&NO_RIGHTS[..], &USER].concat()] {
        let options = [&UNCONFINED[..], more].concat();
        let (code, said) = in_container(&options, work);
        assert_eq!(code, Some(0), "{options:?}: {said}");
        assert!(said.contains("in a sandbox of its own"), "{said}");
        assert!(
            said.ends_with("two\n") || said.contains("\ntwo\n"),
            "{said}"
        );
    }
}

/// Not in a container at all.
#[test]
fn a_root_without_capabilities_is_refused_with_words() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (name, value) = crate::harness::NO_DOCKER;
    let output = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", PROGRAM, "demo"])
        .env("TMPDIR", home.path())
        .env(name, value)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let lacks = "it lacks CAP_SETGID, CAP_SETUID, CAP_SETFCAP: Operation not permitted";
    assert!(said.contains(lacks), "{said}");
    assert!(
        said.contains("hint: ") && !said.contains("buffer"),
        "{said}"
    );
}
