//! One attempt after the other, and what the kernel has to say about each.

use std::{fs, os::unix::fs::symlink, sync::Arc};

use treefort::workspace::{ObjectId, Rules, Why, Workspace, objects::Store};

use super::{Home, Host, attempt, image};
use crate::sandbox::on_each;

on_each!(image;
    every_way_out_is_tried_and_fails_as_it_should,
    a_call_of_another_architecture_ends_its_program,
    what_programs_need_of_sockets_and_dumps_is_as_it_was,
    what_an_agent_leaves_in_its_workspace_leads_nowhere,
);

const NOT_PERMITTED: &str = "Operation not permitted";
const DENIED: &str = "Permission denied";
const READ_ONLY: &str = "Read-only file system";
const NOT_THERE: &str = "No such file or directory";
const NO_SUCH_CALL: &str = "Function not implemented";
const NO_TERMINAL: &str = "No such device or address";
const WRONG_KIND: &str = "Inappropriate ioctl";
const TOO_LARGE: &str = "File too large";
const OTHER_DISK: &str = "Invalid cross-device link";

/// How an attempt has to fail: in a container, and in an embedded sandbox.
type Expected = (&'static str, &'static str);

/// What `attack` tries, grouped by how it has to fail. The same program as a container's own PID 1
/// has succeeded with those on PID 1's streams, environment and memory: they can fail this test.
const ATTEMPTS: &[(Expected, &[&str])] = &[
    (
        (READ_ONLY, READ_ONLY),
        &[
            "create /escaped",
            "create /workspace/../outside",
            "create /workspace/../../../../../../escaped",
            "create /proc/self/root/escaped",
            "create /proc/self/cwd/../escaped",
            "unlink /treefort",
            "chmod /treefort",
            "chmod /workspace/..",
        ],
    ),
    // An embedded one shows no `/etc` unless the agent needs it.
    ((READ_ONLY, NOT_THERE), &["create /etc/cron.d"]),
    (
        (DENIED, NOT_THERE),
        &["open-write /etc/hosts", "open-write /etc/resolv.conf"],
    ),
    (
        (DENIED, DENIED),
        &[
            "open-write /treefort",
            "open-write /proc/self/root/treefort",
            // PID 1 runs as the same user, and is closed to it all the same.
            "open-read /proc/1/mem",
            "open-read /proc/1/environ",
            "open-read /proc/1/maps",
            "open-read /proc/1/fd/0",
            "open-write /proc/1/fd/1",
            "open-write /proc/1/oom_score_adj",
            "open-read /proc/1/root",
            "open-read /proc/1/cwd",
            "create /proc/1/root/escaped",
            "create /proc/1/cwd/escaped",
            "setns /proc/1/ns/mnt",
            "open-write /proc/sys/kernel/core_pattern",
            "open-write /proc/sys/kernel/randomize_va_space",
            "open-write /proc/sys/vm/panic_on_oom",
            "open-write /proc/sys/net/ipv4/ip_forward",
        ],
    ),
    (
        (NOT_THERE, NOT_THERE),
        &[
            "open-read /dev/mem",
            "open-read /dev/kmsg",
            "open-read /dev/sda",
            "open-read /dev/vda",
            "open-read /dev/fuse",
            "open-read /dev/kvm",
            "open-read /dev/vhost-vsock",
            "unix /var/run/docker.sock",
            "unix /run/docker.sock",
            "unix /run/containerd/containerd.sock",
            "unix /run/dbus/system_bus_socket",
        ],
    ),
    (
        (OTHER_DISK, OTHER_DISK),
        &["link /treefort /workspace/treefort"],
    ),
    (
        (OTHER_DISK, NOT_THERE),
        &[
            "link /etc/hosts /workspace/hosts",
            "rename /workspace/inside /etc/x",
        ],
    ),
    (
        (NOT_PERMITTED, NOT_PERMITTED),
        &[
            "chown-root /workspace/inside",
            "mknod-block /workspace/sda",
            "mknod-char /workspace/mem",
            "mknod-block /tmp/sda",
            "mount-tmpfs /tmp",
            "mount-proc /proc",
            "mount-bind /workspace",
            "mount-setattr",
            "move-mount",
            "remount-rw",
            "umount /workspace",
            "umount /proc",
            "fsopen",
            "open-tree",
            "pivot-root",
            "chroot",
            "unshare-user",
            "unshare-mount",
            "unshare-net",
            "unshare-pid",
            "clone-user",
            "clone-mount",
            "setns /proc/self/ns/mnt",
            "setns /proc/self/ns/user",
            "setuid-root",
            "setgid-root",
            "ptrace-attach 1",
            "ptrace-seize 1",
            "read-memory 1",
            "steal-fd 1",
            "handle",
            "bpf",
            "perf",
            "userfaultfd",
            "io-uring",
            "keyring",
            "add-key",
            "load-module",
            "kernel-log",
            "swap-on",
            "reboot",
            "set-time",
            "set-hostname",
            "io-ports",
            "no-random",
            "realtime",
            "socket-raw",
            "socket-packet",
            "socket-vsock",
            "socket-alg",
            "raise-limit",
            // Pairs of sockets of the families that are refused: packet, AF_ALG, TIPC, vsock, XDP.
            "pair 17",
            "pair 38",
            "pair 30 d",
            "pair 40",
            "pair 44",
            // Of netlink all but what tells about the network.
            "netlink 4",
            "netlink 6",
            "netlink 9",
            "netlink 12",
            "netlink 15",
            "netlink 16",
        ],
    ),
    // What a filter cannot look into, or a newer kernel may have, does not exist.
    (
        (NO_SUCH_CALL, NO_SUCH_CALL),
        &["clone3-user", "clone3-mount", "x32"],
    ),
    // A file larger than all of them may be together.
    ((TOO_LARGE, TOO_LARGE), &["allocate /workspace/large 6"]),
    ((NO_TERMINAL, NOT_THERE), &["type-into /dev/tty"]),
    ((WRONG_KIND, WRONG_KIND), &["type-into"]),
];

/// An ordinary user's sandbox knows no root that it could ask to be.
const UNKNOWN_TO_ORDINARY_USERS: [&str; 3] =
    ["chown-root /workspace/inside", "setuid-root", "setgid-root"];

fn expected(home: &Home, (docker, embedded): Expected, attempt: &str) -> &'static str {
    let ordinary = !rustix::process::geteuid().is_root();
    if home.is_docker() {
        docker
    } else if ordinary && UNKNOWN_TO_ORDINARY_USERS.contains(&attempt) {
        "Invalid argument"
    } else {
        embedded
    }
}

async fn every_way_out_is_tried_and_fails_as_it_should(home: Home) {
    let host = Host::new();
    let all: Vec<(&str, String)> = ATTEMPTS
        .iter()
        .flat_map(|(how, attempts)| {
            let home = &home;
            attempts
                .iter()
                .map(move |attempt| (expected(home, *how, attempt), format!("/attack {attempt}")))
        })
        .collect();
    let commands: Vec<&str> = all.iter().map(|(_, command)| command.as_str()).collect();
    let results = attempt(&home, &host, &commands).await;
    let wrong: Vec<_> = all
        .iter()
        .zip(&results)
        .filter(|((expected, _), (said, code))| *code != 1 || !said.contains(expected))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    host.assert_unchanged();
    home.end().await;
}

/// A 32-bit call is answered with death: its numbers mean something else.
async fn a_call_of_another_architecture_ends_its_program(home: Home) {
    let host = Host::new();
    let [(said, code)] = attempt(&home, &host, &["/attack int80"])
        .await
        .try_into()
        .unwrap();
    assert_eq!(code, 128 + 31, "{said}");
    home.end().await;
}

/// The other side of the filters: pairs of Unix sockets and the routes are there, and no dump is.
async fn what_programs_need_of_sockets_and_dumps_is_as_it_was(home: Home) {
    let host = Host::new();
    let commands = [
        "/attack pair 1",
        "/attack pair 1 d",
        "/attack netlink 0",
        "/attack core",
    ];
    let results = attempt(&home, &host, &commands).await;
    let (core, got) = results.split_last().unwrap();
    assert!(got.iter().all(|(_, code)| *code == 0), "{results:?}");
    assert_eq!(core.0.trim(), "1");
    home.end().await;
}

/// Checkpoints and restores of what an agent left: exact, and nothing of the host is read or written.
fn kept_and_brought_back(host: &Host) {
    // As deep as it was, so that its links lead where they led.
    let folder = host.dir.path().join("copy");
    fs::create_dir(&folder).unwrap();
    fs::rename(host.tree(), folder.join("tree")).unwrap();
    let tree = folder.join("tree");
    let elsewhere = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&elsewhere.path().join("store")).unwrap());
    let rules = Rules {
        max_files: 40_000,
        ..Rules::default()
    };
    let mut workspace = Workspace::open(&folder, store.clone(), rules, None).unwrap();
    let first = workspace.checkpoint("as it was left", 1).unwrap();
    let mut left: Vec<_> = first
        .uncovered
        .iter()
        .map(|left| (String::from_utf8_lossy(&left.path).into_owned(), left.why))
        .collect();
    left.sort_by(|a, b| a.0.cmp(&b.0));
    let special = ["fifo", "socket"].map(|name| (name.to_owned(), Why::Special));
    assert_eq!(left, special);
    assert!(first.files > 30_000, "{}", first.files);
    let kept = |text: &str| store.has(&ObjectId::of("blob", text.as_bytes()).unwrap());
    assert!(kept("../../outside"), "a link is its target");
    for text in ["ours", "fn main() {}", "not a real key"] {
        assert!(!kept(text), "{text} was read through a link");
    }
    workspace.plant_git("main", 1).unwrap();
    workspace.take_git_from_the_agent().unwrap();
    let git = fs::read_to_string(tree.join(".git/config")).unwrap();
    assert!(!git.contains("escaped"), "{git}");

    // Folders become links that lead out, files become folders, more comes than is covered.
    fs::remove_dir_all(tree.join("many")).unwrap();
    symlink("../../project", tree.join("many")).unwrap();
    fs::remove_file(tree.join("inside")).unwrap();
    fs::create_dir(tree.join("inside")).unwrap();
    symlink("/etc/passwd", tree.join("inside/way")).unwrap();
    fs::remove_dir_all(tree.join(".git")).unwrap();
    symlink("../../project/.git", tree.join(".git")).unwrap();
    let done = workspace.undo(&first.commit, 2).unwrap();
    assert_eq!(done.after.tree, first.tree, "{:?}", done.kept);
    assert!(tree.join("many/29999").is_file());
    assert!(tree.join(".git").symlink_metadata().unwrap().is_dir());
    let done = workspace.undo(&done.before.commit, 3).unwrap();
    assert_eq!(
        fs::read_link(tree.join("many")).unwrap().to_str(),
        Some("../../project")
    );
    assert!(done.written > 0 && done.removed > 30_000, "{done:?}");
    fs::rename(&tree, host.tree()).unwrap();
    fs::remove_dir_all(&folder).unwrap();
}

/// What an agent may do in its workspace, and what the host makes of it.
async fn what_an_agent_leaves_in_its_workspace_leads_nowhere(home: Home) {
    let host = Host::new();
    let script = "cd /workspace && /busybox rm -rf folder && \
        /busybox ln -s ../../outside out && /busybox ln -s / root && /busybox ln -s . round && \
        /busybox ln -s ../../project folder && \
        /busybox mkfifo fifo && /attack bind socket && \
        /busybox mkdir -p .git/hooks deep && \
        for hook in pre-commit post-checkout; do \
          echo '#!/bin/sh' > .git/hooks/$hook; echo 'echo x > /tmp/treefort-escaped' >> .git/hooks/$hook; \
          /busybox chmod 4777 .git/hooks/$hook; done && \
        /busybox printf '[core]\\n fsmonitor = \"touch /tmp/treefort-escaped\"\\n[filter \"x\"]\\n \
          clean = touch /tmp/treefort-escaped\\n smudge = touch /tmp/treefort-escaped\\n' > .git/config && \
        echo '* filter=x diff=x merge=x' > .gitattributes && \
        echo x > $(/busybox printf 'a\\nb\\033[2J') && /busybox chmod 000 deep; \
        /busybox mkdir many && /attack files /workspace/many 30000; \
        /busybox usleep 200000; /busybox ls -A";
    let [(listed, code)] = attempt(&home, &host, &[script]).await.try_into().unwrap();
    assert_eq!(code, 0, "{listed}");
    for name in [
        "out",
        "root",
        "fifo",
        "socket",
        ".git",
        ".gitattributes",
        "deep",
    ] {
        assert!(listed.lines().any(|line| line == name), "{name}: {listed}");
    }
    // The host counts it without following, opening or running any of it.
    let quota = treefort::sandbox::Config::default().quota();
    let patience = std::time::Duration::from_secs(5);
    let (usage, over) = treefort::sandbox::disk::check(&host.tree(), &quota, patience).unwrap();
    assert!(
        over.is_none() && usage.stopped.is_none(),
        "{usage:?} {over:?}"
    );
    assert!((30_010..30_030).contains(&usage.files), "{usage:?}");
    host.assert_unchanged();
    kept_and_brought_back(&host);
    assert!(!std::path::Path::new("/tmp/treefort-escaped").exists());
    // The folder that the copy was moved out of and back has another time, by the test itself.
    let now = host.now();
    let files = host.before.iter().filter(|(path, _)| !path.is_dir());
    for (path, before) in files {
        assert_eq!(now.get(path), Some(before), "{}", path.display());
    }
    assert_eq!(now.len(), host.before.len(), "something came or went");
    home.end().await;
}
