//! What only an embedded sandbox has to show, which runs this computer's own programs: that nothing else of
//! this computer is in it, and that nothing of it can be changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt},
        net::UnixListener,
    },
    path::Path,
    time::Duration,
};

use tokio::io::AsyncReadExt as _;

use super::{Home, Host, attempt, bound, busybox, image};
use crate::sandbox::{Backend, finish, on_each, unique};

on_each!(image;
    a_process_whose_first_thread_has_ended_stands_still,
    a_process_that_waits_for_its_child_stands_still,
);

/// A home whose sandboxes have this computer's programs, and these folders of it.
pub(super) async fn with_programs(reads: &[(&Path, &str)]) -> Home {
    let mut image = image();
    let host = image.host.as_mut().unwrap();
    host.system = true;
    for (path, inside) in reads {
        let path = path.to_str().unwrap().to_owned();
        host.reads.insert(path, (*inside).to_owned());
    }
    Home::of(Backend::Embedded, &image).await
}

pub(super) async fn alone() -> Home {
    Home::of(Backend::Embedded, &image()).await
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn nothing_is_there_but_what_was_asked_for() {
    let home = alone().await;
    let (output, _, _) = home
        .run(
            "/busybox ls -A /; echo; /busybox ls -A /dev; /busybox ls -A /home/agent /tmp | /busybox wc -w; echo; \
             for p in /proc/[0-9]*; do /busybox cat $p/comm 2>/dev/null; done; echo; \
             /busybox env; echo; /busybox cat /proc/cmdline /proc/modules /proc/kallsyms /proc/keys \
             /proc/diskstats 2>/dev/null; /busybox ls -A /proc/acpi 2>/dev/null; \
             /busybox cat /proc/self/cgroup | /busybox grep -v ':/$'; /busybox cat /proc/1/oom_score_adj /proc/sys/user/max_*_namespaces /proc/sys/user/max_inotify_*",
        )
        .await;
    let [root, empty, running, env, kernel] = output
        .splitn(5, "\n\n")
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_else(|_| panic!("{output}"));
    assert_eq!(root, "attack\nbusybox\ndev\nhome\nproc\ntmp\ntreefort");
    assert_eq!(
        empty,
        "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\nurandom\nzero\n2"
    );
    let running: BTreeSet<&str> = running.lines().collect();
    assert!(
        running
            .iter()
            .all(|name| ["treefort", "busybox", "cat"].contains(name)),
        "{running:?}"
    );
    let names: BTreeSet<&str> = env.lines().filter_map(|l| l.split('=').next()).collect();
    let own = ["HOME", "TMPDIR", "PATH", "PWD", "OLDPWD", "SHLVL", "_"];
    assert!(names.iter().all(|name| own.contains(name)), "{env}");
    // Out of memory it goes first; it has no further namespaces (of eight kinds, time(7) among them), and leaves
    // some of what can be watched to the host.
    let watches = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").unwrap();
    let watches = (watches.trim().parse::<u32>().unwrap() / 8).min(65_536);
    assert_eq!(kernel, format!("500\n{}16\n{watches}\n", "0\n".repeat(8)));
    home.end().await;
}

#[tokio::test]
async fn what_a_person_has_on_this_computer_is_not_there() {
    let home = with_programs(&[]).await;
    let host = Host::new();
    let personal = std::env::home_dir().unwrap();
    let own = personal.join(unique("treefort-canary"));
    fs::create_dir_all(&personal).unwrap();
    fs::write(&own, "secret").unwrap();
    let below = host.dir.path().join("outside");
    let mut paths = vec![own.to_str().unwrap(), below.to_str().unwrap()];
    paths.extend([
        "/etc/shadow",
        "/etc/ssh",
        "/etc/machine-id",
        "/etc/fstab",
        "/etc/ssl/private",
        "/root",
        "/var",
        "/run",
        "/sys",
        "/boot",
        "/mnt",
        "/media",
        "/srv",
        "/old",
        "/new",
        "/workspace/../session",
        "/proc/self/root/root",
        "/proc/self/cwd/../session",
    ]);
    let commands: Vec<String> = paths
        .iter()
        .map(|path| format!("/attack open-read {path}"))
        .collect();
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let results = attempt(&home, &host, &commands).await;
    fs::remove_file(&own).unwrap();
    for (command, (said, code)) in commands.iter().zip(results) {
        assert!(
            code == 1 && said.contains("No such file or directory"),
            "{command}: {said}"
        );
    }
    home.end().await;
}

/// From what the kernel says of the mounts, whoever the agent is.
#[tokio::test]
async fn what_is_shown_is_read_only_and_gives_no_rights() {
    let home = with_programs(&[]).await;
    let host = Host::new();
    let spec = bound(&home, &host, "/busybox cat /proc/self/mountinfo");
    let (output, _, _) = finish(home.runtime.start(spec).await.unwrap()).await;
    let mounts: BTreeMap<&str, BTreeSet<&str>> = output
        .lines()
        .map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            (fields[4], fields[5].split(',').collect())
        })
        .collect();
    for needed in ["/", "/usr", "/treefort", "/workspace", "/proc/sys"] {
        assert!(mounts.contains_key(needed), "{needed}: {output}");
    }
    let places = ["/workspace", "/tmp", "/dev/shm", "/home/agent"];
    for (path, options) in &mounts {
        let device = path.strip_prefix("/dev/").is_some_and(|name| name != "shm");
        // An empty one covers what the kernel says of itself.
        let cover = path.starts_with("/proc/") && !options.contains("ro");
        let own = places.contains(path) || *path == "/proc";
        assert!(own || device || cover || options.contains("ro"), "{path}");
        assert!(device || cover || options.contains("nosuid"), "{path}");
        let dev = device || cover || *path == "/dev";
        assert!(dev || options.contains("nodev"), "{path}");
    }
    home.end().await;
}

#[tokio::test]
async fn a_folder_that_everybody_may_write_is_shown_and_not_changed() {
    let host = Host::new();
    let project = tempfile::tempdir().unwrap();
    let shown = project.path().to_owned();
    fs::write(shown.join("main.rs"), "fn main() {}").unwrap();
    for (path, mode) in [(shown.join("main.rs"), 0o666), (shown.clone(), 0o777)] {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        shown.join("pipe"),
        rustix::fs::FileType::Fifo,
        0o666.into(),
        0,
    )
    .unwrap();
    let listener = UnixListener::bind(shown.join("socket")).unwrap();
    fs::set_permissions(shown.join("socket"), PermissionsExt::from_mode(0o777)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let home = with_programs(&[(&shown, "/shown")]).await;
    let commands = [
        ("/busybox cat /shown/main.rs", "fn main() {}"),
        ("/attack open-write /shown/main.rs", "Read-only"),
        (
            "/attack open-write /proc/self/root/shown/main.rs",
            "Read-only",
        ),
        ("/attack create /shown/new", "Read-only"),
        ("/attack create /workspace/../shown/new", "Read-only"),
        ("/attack unlink /shown/main.rs", "Read-only"),
        ("/attack chmod /shown/main.rs", "Read-only"),
        ("/attack rename /shown/main.rs /shown/x", "Read-only"),
        ("/attack bind /shown/mine", "Read-only"),
        ("/attack link /shown/main.rs /workspace/x", "cross-device"),
        // The kernel calls neither of these writing.
        ("/attack open-write /shown/pipe", "Permission denied"),
        ("/attack unix /shown/socket", "Connection refused"),
        ("/attack create /usr/bin/new", "Read-only"),
        ("/attack create /usr/local/new", "Read-only"),
        ("/attack unlink /etc/ld.so.cache", "Read-only"),
        ("/attack create /etc/new", "Read-only"),
        ("/attack unlink /etc/passwd", "Read-only"),
        ("/attack open-write /proc/self/oom_score_adj", "denied"),
        ("/attack open-write /proc/self/uid_map", "denied"),
    ];
    let each = commands.map(|(command, _)| command);
    let results = attempt(&home, &host, &each).await;
    for ((command, expected), (said, _)) in commands.iter().zip(&results) {
        assert!(said.contains(expected), "{command}: {said}");
    }
    assert!(listener.accept().is_err());
    assert_eq!(fs::read_dir(&shown).unwrap().count(), 3);
    assert_eq!(fs::read(shown.join("main.rs")).unwrap(), b"fn main() {}");
    host.assert_unchanged();
    home.end().await;
}

#[tokio::test]
async fn programs_that_make_root_make_nobody_root() {
    let host = Host::new();
    let folder = host.dir.path().join("project");
    let program = folder.join("busybox");
    fs::copy(busybox(), &program).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o6755)).unwrap();
    assert!(fs::metadata(&program).unwrap().mode() & 0o4000 != 0);
    let home = with_programs(&[(&folder, "/shown")]).await;
    let results = attempt(
        &home,
        &host,
        &[
            "/shown/busybox id -u",
            "/shown/busybox id -g",
            "su -c 'id -u' root </dev/null",
            "sudo -n id -u",
            "mount -t tmpfs none /tmp",
            "umount /workspace",
            "newuidmap $$ 0 0 1",
            "passwd -d root",
            "/busybox cp /busybox /workspace; /busybox chmod 4755 /workspace/busybox; /workspace/busybox id -u",
        ],
    )
    .await;
    let said: Vec<_> = results.iter().map(|(said, _)| said.trim()).collect();
    assert_eq!((said[0], said[1], said[8]), ("1000", "1000", "1000"));
    for (said, code) in &results[2..8] {
        assert!(
            *code != 0 && said.lines().all(|line| line != "0"),
            "{results:?}"
        );
    }
    home.end().await;
}

#[tokio::test]
async fn what_treefort_was_started_with_is_not_open_inside() {
    let home = alone().await;
    let host = Host::new();
    let leaked = fs::File::open(host.dir.path().join("home/keys/operator")).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let folder = fs::File::open(host.dir.path()).unwrap();
    rustix::io::fcntl_setfd(&folder, rustix::io::FdFlags::empty()).unwrap();
    let mut sandbox = home
        .runtime
        .start(bound(
            &home,
            &host,
            "for fd in /proc/self/fd/*; do /busybox readlink $fd; done; echo; read line",
        ))
        .await
        .unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\n\n") {
        said.push(sandbox.agent.read_u8().await.unwrap());
    }
    let said = String::from_utf8(said).unwrap();
    let links: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
    // What `*` was read from may be among them.
    assert!(
        links
            .iter()
            .all(|link| link.starts_with("pipe:") || link.starts_with("/proc")),
        "{said}"
    );
    if is_root() {
        let [launcher] = crate::sandbox::launchers()[..] else {
            panic!("not one sandbox");
        };
        let inside = crate::sandbox::below(launcher);
        for entry in fs::read_dir(format!("/proc/{}/fd", inside[0])).unwrap() {
            let link = fs::read_link(entry.unwrap().path()).unwrap();
            let link = link.to_string_lossy();
            // The last is the sandbox's own.
            let known = ["pipe:", "socket:", "anon_inode:", "/dev/urandom"];
            assert!(known.iter().any(|kind| link.starts_with(kind)), "{link}");
        }
    }
    sandbox.stop(Duration::ZERO).await.unwrap();
    home.end().await;
}

#[tokio::test]
async fn two_sandboxes_do_not_see_each_other() {
    let home = alone().await;
    let host = Host::new();
    let script = "/busybox nc -l -p 4711 -s 127.0.0.1 >/dev/null & /attack bind /tmp/socket; \
                  echo mine > /dev/shm/x; /busybox usleep 200000; echo there; read line";
    let mut one = home
        .runtime
        .start(bound(&home, &host, script))
        .await
        .unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"there\n") {
        said.push(one.agent.read_u8().await.unwrap());
    }
    let other = Host::new();
    let results = attempt(
        &home,
        &other,
        &[
            "/attack connect 127.0.0.1 4711",
            "/busybox ls -A /tmp /dev/shm /home/agent | /busybox wc -w",
            "/busybox grep -c 4711 /proc/net/unix /proc/net/tcp; /busybox grep -l nc /proc/[0-9]*/comm",
            "/busybox ls -A /workspace",
        ],
    )
    .await;
    assert!(results[0].0.contains("Connection refused"), "{results:?}");
    assert_eq!(
        results[1].0.trim(),
        "3",
        "only the names of the folders: {results:?}"
    );
    assert_ne!(results[2].1, 0, "{results:?}");
    assert_eq!(results[3].0, "folder\ninside\n");
    one.stop(Duration::ZERO).await.unwrap();
    host.assert_unchanged();
    home.end().await;
}

#[tokio::test]
async fn memory_that_looks_like_a_disk_takes_no_endless_number_of_files() {
    for backend in [Backend::Embedded, Backend::Bare] {
        let home = Home::of(backend, &image()).await;
        let host = Host::new();
        let results = attempt(
            &home,
            &host,
            &[
                "/attack files /tmp 100000",
                "/attack files /home/agent 100000",
                "/attack files /dev/shm 100000",
            ],
        )
        .await;
        for (said, code) in &results {
            assert!(*code == 1 && said.contains("No space left"), "{results:?}");
        }
        home.end().await;
    }
}

/// A file does not grow while its writer is paused, and does after.
async fn pauses(home: Home, script: &str) {
    let host = Host::new();
    let counter = host.tree().join("count");
    let sandbox = home
        .runtime
        .start(bound(&home, &host, script))
        .await
        .unwrap();
    let now = || fs::metadata(&counter).map_or(0, |file| file.len());
    let patience = std::time::Instant::now();
    while now() == 0 {
        assert!(patience.elapsed() < Duration::from_secs(10), "never counts");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sandbox.control.pause().await.unwrap();
    let before = now();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(now(), before);
    sandbox.control.resume().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_ne!(now(), before);
    sandbox.stop(Duration::ZERO).await.unwrap();
    host.assert_unchanged();
    home.end().await;
}

async fn a_process_whose_first_thread_has_ended_stands_still(home: Home) {
    pauses(
        home,
        "/attack headless /workspace/count; /busybox sleep 300",
    )
    .await;
}

async fn a_process_that_waits_for_its_child_stands_still(home: Home) {
    let count = "while :; do echo >> /workspace/count; /busybox usleep 1000; done";
    pauses(home, &format!("/attack vfork & {count}")).await;
}

/// Programs as a coding agent uses them; those that this computer lacks are left out.
#[tokio::test]
async fn programs_of_this_computer_work() {
    let home = with_programs(&[]).await;
    let host = Host::new();
    let scripts = [
        ("bash", "bash -c 'a=(1 2); echo ${a[1]} | cat <(echo x) -'"),
        (
            "git",
            "git init -q g && cd g && git config user.email a@b && git config user.name a && \
             echo x > f && git add f && git commit -qm x && git checkout -qb y && git log --oneline | wc -l",
        ),
        (
            "python3",
            "python3 -c 'import sqlite3,threading,subprocess,multiprocessing as m; \
             d=sqlite3.connect(\"/workspace/db\"); d.execute(\"create table t(a)\"); d.commit(); \
             t=threading.Thread(target=print); t.start(); t.join(); \
             print(subprocess.check_output([\"echo\",\"x\"])); m.Lock(); m.Queue()'",
        ),
        (
            "node",
            "node -e 'require(\"child_process\").execFileSync(\"ls\"); \
             new (require(\"worker_threads\").Worker)(\"0\", {eval:true}); console.log(require(\"os\").cpus().length)'",
        ),
        (
            "npm",
            "mkdir -p n/a n/b && echo '{\"name\":\"a\",\"version\":\"1.0.0\"}' > n/a/package.json && cd n/b && \
             npm install --offline --no-audit ../a && ls node_modules/a/package.json",
        ),
        (
            "cc",
            "echo 'int main(void){return 0;}' > m.c && cc -o m m.c && ./m",
        ),
        ("perl", "perl -e 'print `echo x`'"),
        ("make", "printf 'a:\\n\\techo made\\n' > Makefile && make"),
        ("tar", "tar -cf t.tar inside && tar -xf t.tar"),
        ("ps", "ps aux | wc -l"),
        (
            "sqlite3",
            "sqlite3 d.db 'create table t(a); insert into t values(1); select * from t'",
        ),
        ("timeout", "timeout 5 true"),
        ("script", "script -qc tty /dev/null | grep pts"),
        ("mktemp", "mktemp && mktemp -d"),
    ];
    let present = |name: &str| {
        let path = std::env::var("PATH").unwrap();
        path.split(':')
            .any(|folder| folder.starts_with("/usr") && Path::new(folder).join(name).exists())
    };
    for (name, script) in scripts {
        if !present(name) {
            continue;
        }
        let mut spec = bound(&home, &host, &format!("cd /workspace; {script}"));
        spec.limits = treefort::sandbox::Limits::default();
        let (output, stderr, exit) = finish(home.runtime.start(spec).await.unwrap()).await;
        assert_eq!(exit.code, Some(0), "{name}: {output} {stderr}");
    }
    home.end().await;
}
