//! The end of treefort is the end of all that is inside, however it comes; what an ordinary user has; and what
//! treefort says where it may not make a sandbox.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt as _},
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

/// These tests as a user who is nobody on this computer, with a home of their own.
fn as_user(groups: &str, home: &Path) -> Option<Command> {
    let exe = std::env::current_exe().unwrap();
    let command = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=54321", "--regid=54321", groups]);
        command.arg(&exe).env("RUST_BACKTRACE", "0");
        command.env("HOME", home).env("TMPDIR", home);
        command
    };
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let reached = command().arg("--list").output().unwrap();
    if !reached.status.success() {
        eprintln!("no ordinary user reaches {}", exe.display());
        return None;
    }
    std::os::unix::fs::chown(home, Some(54321), Some(54321)).unwrap();
    Some(command())
}

/// Every row without control groups, and those of this computer, as a user who is nobody on it.
#[test]
fn all_of_it_holds_for_an_ordinary_user() {
    let home = tempfile::tempdir().unwrap();
    let Some(mut tests) = as_user("--clear-groups", home.path()) else {
        return;
    };
    // Made before, since this user may not write there.
    crate::escape::attack();
    crate::opencode::program::program();
    let output = tests
        .args([
            "bare::",
            "escape::computer::",
            "escape::shown::",
            "takes_everything_along",
        ])
        .args(["without_groups", "--skip", "docker::"])
        .args(["--test-threads", "1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    let passed = said.matches(" ... ok").count();
    assert!(passed > 40, "{said}");
}

/// A group of the user's besides the first.
const GROUP: u32 = 54322;

/// What the kernel keeps of them, since an ordinary user cannot give them up.
#[tokio::test]
async fn groups_reach_no_further_than_what_is_shown() {
    if let Ok(folder) = std::env::var(ROLE) {
        return look_with_a_group(Path::new(&folder)).await;
    }
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(mut tests) = as_user(&format!("--groups={GROUP}"), home.path()) else {
        return;
    };
    for name in ["shown", "hidden"] {
        let inner = folder.path().join(name);
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("file"), "the group's\n").unwrap();
        for (path, mode) in [(inner.join("file"), 0o660), (inner, 0o770)] {
            std::os::unix::fs::chown(&path, Some(0), Some(GROUP)).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        }
    }
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let name = "sandbox::embedded::groups_reach_no_further_than_what_is_shown";
    let output = tests
        .args(["--exact", name, "--nocapture"])
        .env(ROLE, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{output:?}"
    );
}

async fn look_with_a_group(folder: &Path) {
    let mut image = super::image();
    let host = image.host.as_mut().unwrap();
    host.system = true;
    let shown = folder.join("shown").to_str().unwrap().to_owned();
    host.reads.insert(shown, "/shown".to_owned());
    let home = Home::of(Backend::Bare, &image).await;
    let workspace = tempfile::tempdir().unwrap();
    let hidden = folder.join("hidden");
    let script = format!(
        "exec 2>&1; /busybox id -G; /busybox cat /shown/file; echo x >> /shown/file; echo x > /shown/new; \
         /busybox cat {0}/file; /busybox ls {0}; cd /workspace; echo x > mine; /busybox chgrp {GROUP} mine; \
         /busybox ls -A /usr/local/etc; echo end",
        hidden.display()
    );
    let mut spec = home.spec(&script);
    spec.workspace = Some(workspace.path().to_owned());
    let sandbox = home.runtime.start(spec).await.unwrap();
    let (said, _, _) = super::finish(sandbox).await;
    let expected = [
        // It has no name inside.
        "1000 65534",
        // As its user can read it.
        "the group's",
        "can't create /shown/file: Read-only file system",
        "can't create /shown/new: Read-only file system",
        "No such file or directory",
        "No such file or directory",
        "Invalid argument",
        "end",
    ];
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.ends_with(expected), "{expected}: {said}");
    }
    home.end().await;
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
