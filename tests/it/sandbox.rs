//! Sandboxes on the real Docker Engine, with an agent that does its worst.
//!
//! The agent is a static busybox (Debian: `busybox-static`) beside the program in a `FROM scratch`
//! image.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, HostConfig};
use bollard::query_parameters::InspectContainerOptions;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use treefort::sandbox::{
    Content, DockerRuntime, Error, Exit, Image, ImageId, Limits, Runtime, Sandbox, Spec,
};

const DOCKERFILE: &str = "FROM scratch\nCOPY treefort /treefort\nCOPY busybox /busybox\n";
const GRACE: Duration = Duration::from_secs(5);

fn busybox() -> PathBuf {
    ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("install busybox-static")
}

fn unique(prefix: &str) -> String {
    let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{prefix}-{}-{nanos:x}", std::process::id())
}

fn image() -> Image {
    let mut image = Image::new("test-shell", DOCKERFILE);
    image.files = vec![
        (
            "treefort".to_owned(),
            Content::File(env!("CARGO_BIN_EXE_treefort").into()),
        ),
        ("busybox".to_owned(), Content::File(busybox())),
    ];
    image
}

/// One home with its runtime; its containers go with `end`.
struct Home {
    id: String,
    runtime: DockerRuntime,
    image: ImageId,
}

impl Home {
    async fn new() -> Self {
        // One name for all tests of this build tree, so that each build replaces the last one's.
        let tree =
            env!("CARGO_BIN_EXE_treefort").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let images = DockerRuntime::new(format!("test{tree}"));
        let image = images.prepare(&image()).await.unwrap();
        let id = unique("test");
        Self {
            runtime: DockerRuntime::new(id.clone()),
            id,
            image,
        }
    }

    fn spec(&self, script: &str) -> Spec {
        Spec {
            name: unique("treefort-test"),
            image: self.image.clone(),
            argv: ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec(),
            env: Vec::new(),
            limits: Limits {
                memory_mb: 128,
                pids: 32,
                scratch_mb: 16,
                ..Limits::default()
            },
            labels: vec![("treefort.session".to_owned(), "warm".to_owned())],
            workspace: None,
        }
    }

    async fn start(&self, script: &str) -> Sandbox {
        self.runtime.start(self.spec(script)).await.unwrap()
    }

    /// Runs a script to its end: its output, the end of its errors, and its exit.
    async fn run(&self, script: &str) -> (String, String, Exit) {
        finish(self.start(script).await).await
    }

    async fn containers(&self) -> usize {
        let docker = Docker::connect_with_defaults().unwrap();
        let docker = docker.negotiate_version().await.unwrap();
        let label = format!("treefort.home={}", self.id);
        let options = bollard::query_parameters::ListContainersOptions {
            all: true,
            filters: Some([("label".to_owned(), vec![label])].into()),
            ..Default::default()
        };
        docker.list_containers(Some(options)).await.unwrap().len()
    }

    async fn end(self) {
        self.runtime.shutdown().await;
        assert_eq!(self.containers().await, 0, "nothing is left behind");
    }
}

async fn finish(mut sandbox: Sandbox) -> (String, String, Exit) {
    let mut output = Vec::new();
    let read = sandbox.agent.read_to_end(&mut output);
    tokio::time::timeout(Duration::from_secs(60), read)
        .await
        .expect("the script ends")
        .unwrap();
    let stderr = sandbox.stderr.clone();
    let exit = sandbox.exit.wait_for(Option::is_some).await.unwrap();
    let exit = exit.clone().unwrap();
    let stopped = sandbox.control.stop(GRACE).await.unwrap();
    assert_eq!(stopped, exit);
    let output = String::from_utf8_lossy(&output).into_owned();
    (output, stderr.text(), exit)
}

async fn inspect(id: &str) -> ContainerInspectResponse {
    let docker = Docker::connect_with_defaults().unwrap();
    let docker = docker.negotiate_version().await.unwrap();
    docker
        .inspect_container(id, None::<InspectContainerOptions>)
        .await
        .unwrap()
}

#[test]
fn the_program_is_static() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_treefort")).unwrap();
    let interpreter = b"ld-linux";
    let dynamic = program
        .windows(interpreter.len())
        .take(64 * 1024)
        .any(|window| window == interpreter);
    assert!(!dynamic);
}

#[tokio::test]
async fn probe_names_the_engine() {
    let probe = DockerRuntime::new("x").probe().await.unwrap();
    assert!(probe.detail.starts_with("Docker Engine "), "{probe:?}");
    assert!(probe.detail.contains("linux/"), "{probe:?}");
}

#[tokio::test]
async fn agent_talks_over_its_standard_streams_and_its_code_is_kept() {
    let home = Home::new().await;
    let mut sandbox = home
        .start("echo ready; read line; echo got $line; echo oops >&2; exit 7")
        .await;
    let mut agent = BufReader::new(&mut sandbox.agent);
    let mut line = String::new();
    agent.read_line(&mut line).await.unwrap();
    assert_eq!(line, "ready\n");
    agent.write_all(b"hello\n").await.unwrap();
    let (output, stderr, exit) = finish(sandbox).await;
    assert_eq!(output, "got hello\n");
    assert_eq!(stderr, "oops\n");
    assert_eq!((exit.code, exit.oom), (Some(7), false));
    home.end().await;
}

#[tokio::test]
async fn closing_stdin_reaches_the_agent_and_its_last_words_reach_us() {
    let home = Home::new().await;
    let mut sandbox = home.start("/busybox cat; echo end").await;
    sandbox.agent.write_all(b"words").await.unwrap();
    sandbox.agent.shutdown().await.unwrap();
    let (output, _, exit) = finish(sandbox).await;
    assert_eq!(output, "wordsend\n");
    assert_eq!(exit.code, Some(0));
    home.end().await;
}

#[tokio::test]
async fn a_container_is_created_as_hardened_as_it_was_described() {
    let home = Home::new().await;
    let workspace = tempfile::tempdir().unwrap();
    let mut spec = home.spec("read line");
    spec.workspace = Some(workspace.path().into());
    let sandbox = home.runtime.start(spec).await.unwrap();
    let seen = inspect(&sandbox.id).await;
    let config = seen.config.unwrap();
    let HostConfig {
        network_mode,
        cap_drop,
        cap_add,
        security_opt,
        readonly_rootfs,
        privileged,
        pids_limit,
        memory,
        memory_swap,
        nano_cpus,
        ulimits,
        ipc_mode,
        pid_mode,
        uts_mode,
        userns_mode,
        devices,
        binds,
        mounts,
        tmpfs,
        log_config,
        restart_policy,
        auto_remove,
        port_bindings,
        ..
    } = seen.host_config.unwrap();
    let none = |list: Option<Vec<_>>| list.is_none_or(|list: Vec<_>| list.is_empty());
    assert_eq!(network_mode.as_deref(), Some("none"));
    assert_eq!(cap_drop, Some(vec!["ALL".to_owned()]));
    assert!(none(cap_add));
    assert_eq!(security_opt, Some(vec!["no-new-privileges".to_owned()]));
    assert_eq!(readonly_rootfs, Some(true));
    assert_eq!(privileged, Some(false));
    assert_eq!(pids_limit, Some(32));
    assert_eq!(memory, Some(128 << 20));
    assert_eq!(memory_swap, Some(128 << 20));
    assert_eq!(nano_cpus, Some(1_500_000_000));
    let limits: HashSet<_> = ulimits
        .unwrap()
        .into_iter()
        .map(|u| (u.name.unwrap(), u.soft.unwrap(), u.hard.unwrap()))
        .collect();
    let expected = [("nofile", 4096, 4096), ("core", 0, 0)];
    assert_eq!(
        limits,
        expected.map(|(n, s, h)| (n.to_owned(), s, h)).into()
    );
    assert_eq!(ipc_mode.as_deref(), Some("private"));
    for mode in [pid_mode, uts_mode, userns_mode] {
        assert_eq!(mode.unwrap_or_default(), "");
    }
    assert!(devices.is_none_or(|devices| devices.is_empty()));
    assert!(none(binds));
    assert_eq!(mounts.unwrap().len(), 1);
    assert_eq!(tmpfs.unwrap().len(), 2);
    assert_eq!(log_config.unwrap().typ.as_deref(), Some("none"));
    assert_eq!(restart_policy.unwrap().name.unwrap().to_string(), "no");
    assert_eq!(auto_remove, Some(false));
    assert!(port_bindings.is_none_or(|ports| ports.is_empty()));
    let user = config.user.unwrap();
    assert!(!user.starts_with("0:") && !user.ends_with(":0"), "{user}");
    assert_eq!(config.labels.unwrap()["treefort.home"], home.id);
    // What really is mounted: the workspace, and nothing else of the host.
    let [bound] = seen.mounts.unwrap().try_into().unwrap();
    assert_eq!(bound.destination.as_deref(), Some("/workspace"));
    assert_eq!(bound.source.as_deref(), workspace.path().to_str());
    sandbox.stop(Duration::ZERO).await.unwrap();
    home.end().await;
}

#[tokio::test]
async fn the_kernel_agrees_that_the_agent_has_no_privileges() {
    let home = Home::new().await;
    let (output, _, _) = home
        .run("/busybox grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp|Uid):' /proc/self/status; /busybox ip -o link")
        .await;
    assert!(output.contains("CapEff:\t0000000000000000"), "{output}");
    assert!(output.contains("CapBnd:\t0000000000000000"), "{output}");
    assert!(output.contains("NoNewPrivs:\t1"), "{output}");
    assert!(output.contains("Seccomp:\t2"), "{output}");
    assert!(output.contains("Uid:\t1000\t1000"), "{output}");
    assert!(!output.contains("eth"), "{output}");
    home.end().await;
}

#[tokio::test]
async fn nothing_can_be_written_mounted_or_made() {
    let home = Home::new().await;
    let tries = [
        "echo x > /x",
        "echo x > /treefort",
        "echo x > /etc/x",
        "/busybox mount -t tmpfs none /tmp",
        "/busybox mount -o remount,rw /",
        "/busybox mknod /tmp/sda b 8 0",
        "/busybox chroot / /busybox true",
        "/busybox unshare -U /busybox true",
        "/busybox unshare -r /busybox true",
        "/busybox nsenter -t 1 -m /busybox true",
        "/busybox sysctl -w kernel.hostname=x",
        "echo c > /proc/sysrq-trigger",
        "echo 0 > /proc/sys/kernel/randomize_va_space",
        "/busybox cat /proc/kcore",
        "/busybox ls /proc/1/fd/",
        "/busybox cat /proc/1/environ",
        "/busybox cat /proc/1/mem",
        "echo x > /proc/1/fd/1",
        "/busybox ls /var/run/docker.sock",
        "/busybox cp /busybox /tmp/b; /tmp/b true",
        "/busybox cp /busybox /home/agent/b; /home/agent/b true",
    ];
    let script: String = tries
        .iter()
        .enumerate()
        .map(|(i, attempt)| format!("( {attempt} ) >/dev/null 2>&1 && echo escaped {i};"))
        .collect();
    let (output, _, exit) = home.run(&format!("{script} echo survived")).await;
    assert_eq!(output, "survived\n");
    assert_eq!(exit.code, Some(0));
    home.end().await;
}

#[tokio::test]
async fn no_service_of_the_host_can_be_reached() {
    let home = Home::new().await;
    let everywhere = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = everywhere.local_addr().unwrap().port();
    let script = format!(
        "for ip in 172.17.0.1 127.0.0.1 192.0.2.2 169.254.169.254 1.1.1.1; do \
         /busybox nc -w 1 $ip {port} </dev/null && echo reached $ip; done; \
         /busybox nslookup example.com >/dev/null 2>&1 && echo resolved; \
         /busybox ping -c 1 -W 1 172.17.0.1 >/dev/null 2>&1 && echo pinged; echo done"
    );
    let (output, _, _) = home.run(&script).await;
    assert_eq!(output, "done\n");
    let reached = tokio::time::timeout(Duration::from_millis(50), everywhere.accept()).await;
    assert!(reached.is_err());
    home.end().await;
}

#[tokio::test]
async fn a_memory_bomb_is_killed_and_named() {
    let home = Home::new().await;
    let (output, _, exit) = home
        .run(
            "/busybox dd if=/dev/zero of=/dev/null bs=600M count=1 2>/dev/null; echo dd $?; exit 9",
        )
        .await;
    assert_eq!(output, "dd 137\n");
    assert_eq!(exit.code, Some(9));
    assert!(exit.oom, "the kernel's kill is seen by the host");
    home.end().await;
}

#[tokio::test]
async fn a_fork_bomb_stops_at_its_bound() {
    let home = Home::new().await;
    let (output, _, exit) = home
        .run(
            "i=0; while [ $i -lt 400 ]; do /busybox sleep 30 & i=$((i+1)); \
             done 2>/dev/null; echo unreachable",
        )
        .await;
    // The shell gives up when it cannot fork; its orphans go with PID 1.
    assert!(!output.contains("unreachable"), "{output}");
    assert_ne!(exit.code, Some(0));
    home.end().await;
}

#[tokio::test]
async fn deleting_everything_deletes_the_workspace_only() {
    let home = Home::new().await;
    let dir = tempfile::tempdir().unwrap();
    let workspace = dir.path().join("w");
    std::fs::create_dir(&workspace).unwrap();
    std::fs::write(dir.path().join("outside"), "kept").unwrap();
    std::fs::write(workspace.join("inside"), "gone").unwrap();
    open_to_all(&workspace);
    let mut spec = home.spec(
        "echo made > made; /busybox rm -rf / 2>/dev/null; /busybox ls /workspace; echo alive",
    );
    spec.workspace = Some(workspace.clone());
    let sandbox = home.runtime.start(spec).await.unwrap();
    let (output, _, exit) = finish(sandbox).await;
    assert_eq!(output, "alive\n");
    assert_eq!(exit.code, Some(0));
    assert!(!workspace.join("inside").exists());
    assert_eq!(std::fs::read(dir.path().join("outside")).unwrap(), b"kept");
    home.end().await;
}

/// The tests may run as root, whose files the agent does not own.
fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
}

#[tokio::test]
async fn endless_output_waits_for_its_reader_and_arrives_whole() {
    let home = Home::new().await;
    let mut sandbox = home
        .start("/busybox head -c 20000000 /dev/zero; echo end")
        .await;
    // The reader is slow to begin: nothing may be lost, and nothing may pile up here.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut bytes = 0;
    let mut buf = vec![0; 64 * 1024];
    loop {
        let n = sandbox.agent.read(&mut buf).await.unwrap();
        if n == 0 {
            break;
        }
        bytes += n;
    }
    assert_eq!(bytes, 20_000_004);
    sandbox.stop(GRACE).await.unwrap();
    home.end().await;
}

#[tokio::test]
async fn http_connections_reach_the_host_and_a_thousand_at_once_do_no_harm() {
    let home = Home::new().await;
    let mut spec = home.spec(
        "echo hi | /busybox nc -w 5 127.0.0.1 11434; \
             i=0; while [ $i -lt 1000 ]; do j=0; while [ $j -lt 20 ]; do \
             (echo x | /busybox nc -w 10 127.0.0.1 11434 >/dev/null 2>&1) & j=$((j+1)); done; \
             wait; i=$((i+20)); done; echo done",
    );
    spec.limits.pids = 128;
    let mut sandbox = home.runtime.start(spec).await.unwrap();
    let mut http = sandbox.http;
    let served = tokio::spawn(async move {
        let mut served = 0;
        while let Some(mut stream) = http.recv().await {
            let mut line = String::new();
            BufReader::new(&mut stream)
                .read_line(&mut line)
                .await
                .unwrap();
            stream
                .write_all(line.to_uppercase().as_bytes())
                .await
                .unwrap();
            stream.shutdown().await.unwrap();
            served += 1;
        }
        served
    });
    let mut output = String::new();
    sandbox.agent.read_to_string(&mut output).await.unwrap();
    assert_eq!(output, "HI\ndone\n");
    sandbox.control.stop(GRACE).await.unwrap();
    assert_eq!(served.await.unwrap(), 1001);
    home.end().await;
}

#[tokio::test]
async fn connections_that_nobody_serves_are_bounded_and_the_agent_lives_on() {
    let home = Home::new().await;
    let mut spec = home.spec(
        "i=0; while [ $i -lt 200 ]; do \
         /busybox nc 127.0.0.1 11434 </dev/null >/dev/null 2>&1 & i=$((i+1)); done; \
         /busybox sleep 1; echo alive; read line; echo $line",
    );
    spec.limits.pids = 256;
    let mut sandbox = home.runtime.start(spec).await.unwrap();
    let mut agent = BufReader::new(&mut sandbox.agent);
    let mut line = String::new();
    agent.read_line(&mut line).await.unwrap();
    assert_eq!(line, "alive\n");
    agent.write_all(b"still here\n").await.unwrap();
    line.clear();
    agent.read_line(&mut line).await.unwrap();
    assert_eq!(line, "still here\n");
    sandbox.stop(Duration::ZERO).await.unwrap();
    home.end().await;
}

#[tokio::test]
async fn orphans_are_reaped() {
    let home = Home::new().await;
    let (output, _, _) = home
        .run(
            "i=0; while [ $i -lt 10 ]; do (/busybox sleep 0.1 &) ; i=$((i+1)); done; \
             /busybox sleep 1; /busybox grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null; echo end",
        )
        .await;
    assert_eq!(output, "end\n");
    home.end().await;
}

#[tokio::test]
async fn what_an_agent_leaves_running_ends_with_it() {
    let home = Home::new().await;
    let began = Instant::now();
    let (output, _, exit) = home.run("/busybox sleep 300 & echo bye; exit 4").await;
    assert_eq!(output, "bye\n");
    assert_eq!(exit.code, Some(4));
    assert!(began.elapsed() < Duration::from_secs(20));
    home.end().await;
}

#[tokio::test]
async fn stop_lets_an_agent_end_by_itself_within_its_grace() {
    let home = Home::new().await;
    let mut sandbox = home
        .start("trap 'echo saved; exit 5' TERM; echo ready; while :; do /busybox sleep 0.1; done")
        .await;
    let mut ready = [0; 6];
    sandbox.agent.read_exact(&mut ready).await.unwrap();
    let exit = sandbox.stop(GRACE).await.unwrap();
    assert_eq!(exit.code, Some(5));
    home.end().await;
}

#[tokio::test]
async fn stop_kills_an_agent_that_does_not_listen() {
    let home = Home::new().await;
    let mut sandbox = home
        .start("trap '' TERM; echo ready; while :; do /busybox sleep 1; done")
        .await;
    let mut ready = [0; 6];
    sandbox.agent.read_exact(&mut ready).await.unwrap();
    let began = Instant::now();
    let exit = sandbox.stop(Duration::from_millis(300)).await.unwrap();
    assert_eq!(exit.code, Some(137));
    assert!(began.elapsed() < Duration::from_secs(5));
    home.end().await;
}

#[tokio::test]
async fn dropping_a_sandbox_removes_it() {
    let home = Home::new().await;
    drop(home.start("/busybox sleep 300").await);
    let began = Instant::now();
    while home.containers().await > 0 {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    home.end().await;
}

#[tokio::test]
async fn giving_up_a_start_leaves_nothing_behind() {
    let home = Home::new().await;
    for patience_ms in [1, 20, 60, 150] {
        let start = home.runtime.start(home.spec("/busybox sleep 300"));
        let patience = Duration::from_millis(patience_ms);
        drop(tokio::time::timeout(patience, start).await);
    }
    home.end().await;
}

#[tokio::test]
async fn shutdown_ends_everything_and_nothing_starts_afterwards() {
    let home = Home::new().await;
    let mut sandbox = home.start("/busybox sleep 300").await;
    home.runtime.shutdown().await;
    assert_eq!(home.containers().await, 0);
    let exit = sandbox
        .exit
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone();
    assert_eq!(exit.unwrap().code, Some(137));
    let refused = home.runtime.start(home.spec("true")).await;
    assert!(matches!(refused, Err(Error::ShuttingDown)));
}

#[tokio::test]
async fn sweep_removes_what_a_crash_left_and_nothing_of_another_home() {
    let home = Home::new().await;
    let other = Home::new().await;
    let kept = other.start("/busybox sleep 300").await;
    let _left = home.start("/busybox sleep 300").await;
    let after_crash = DockerRuntime::new(home.id.clone());
    assert_eq!(after_crash.sweep().await.unwrap(), 1);
    assert_eq!(after_crash.sweep().await.unwrap(), 0);
    assert_eq!(other.containers().await, 1);
    kept.stop(Duration::ZERO).await.unwrap();
    other.end().await;
    home.end().await;
}

#[tokio::test]
async fn an_agent_that_is_not_there_says_so() {
    let home = Home::new().await;
    let mut spec = home.spec("");
    spec.argv = vec!["/no/such/agent".to_owned()];
    let refused = home.runtime.start(spec).await.unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("127") && text.contains("cannot start the agent"),
        "{text}"
    );
    home.end().await;
}

#[tokio::test]
async fn an_image_that_was_removed_is_named_as_missing() {
    let home = Home::new().await;
    let mut spec = home.spec("true");
    spec.image = ImageId::from("treefort/none:000000000000".to_owned());
    let refused = home.runtime.start(spec).await;
    assert!(
        matches!(refused, Err(Error::ImageMissing { .. })),
        "{refused:?}"
    );
    home.end().await;
}

#[tokio::test]
async fn an_image_is_built_once_and_replaces_its_older_version() {
    let agent = "test-replace";
    let runtime = DockerRuntime::new(unique("test-images"));
    let build = async |text: &str| {
        let mut image = Image::new(agent, "FROM scratch\nCOPY file /file\n");
        let content = Content::Bytes(text.as_bytes().to_vec());
        image.files.push(("file".to_owned(), content));
        runtime.prepare(&image).await.unwrap()
    };
    let text = unique("one");
    let first = build(&text).await;
    assert_eq!(build(&text).await, first);
    let second = build(&unique("two")).await;
    assert_ne!(first, second);
    let docker = Docker::connect_with_defaults().unwrap();
    let docker = docker.negotiate_version().await.unwrap();
    assert!(docker.inspect_image(&first.to_string()).await.is_err());
    let found = docker.inspect_image(&second.to_string()).await.unwrap();
    let labels = found.config.unwrap().labels.unwrap();
    assert_eq!(labels["treefort.agent"], agent);
    docker
        .remove_image(
            &second.to_string(),
            None::<bollard::query_parameters::RemoveImageOptions>,
            None,
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_build_fetches_nothing_and_says_what_is_missing() {
    let runtime = DockerRuntime::new(unique("test-images"));
    let image = Image::new("test-base", "FROM no.such.registry.invalid/base:1\n");
    let refused = runtime.prepare(&image).await;
    assert!(
        matches!(refused, Err(Error::BaseImage { .. })),
        "{refused:?}"
    );
    let broken = Image::new("test-base", "FROM scratch\nCOPY nothing /nothing\n");
    let refused = runtime.prepare(&broken).await;
    assert!(
        matches!(refused, Err(Error::ImageBuild { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_name_that_is_taken_is_an_error_and_the_first_one_lives() {
    let home = Home::new().await;
    let spec = home.spec("/busybox sleep 300");
    let first = home.runtime.start(spec.clone()).await.unwrap();
    let second = home.runtime.start(spec).await;
    assert!(matches!(second, Err(Error::Start { .. })), "{second:?}");
    assert_eq!(home.containers().await, 1);
    first.stop(Duration::ZERO).await.unwrap();
    home.end().await;
}

#[test]
fn a_host_that_dies_takes_its_sandboxes_along() {
    let program = tokio::runtime::Runtime::new().unwrap();
    let (home, sandbox) = program.block_on(async {
        let home = Home::new().await;
        let sandbox = home.start("trap '' TERM HUP; /busybox sleep 300").await;
        (home, sandbox)
    });
    let id = sandbox.id.clone();
    // Like SIGKILL: no destructor of a task runs to its end, the stream just closes.
    std::mem::forget(sandbox);
    program.shutdown_background();

    let next = tokio::runtime::Runtime::new().unwrap();
    next.block_on(async {
        let began = Instant::now();
        while inspect(&id).await.state.unwrap().running == Some(true) {
            assert!(began.elapsed() < Duration::from_secs(10), "still running");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let after_crash = DockerRuntime::new(home.id.clone());
        assert_eq!(after_crash.sweep().await.unwrap(), 1);
    });
}

#[tokio::test]
async fn an_agent_that_ends_at_once_has_still_been_there() {
    let home = Home::new().await;
    for _ in 0..8 {
        let (output, _, exit) = home.run("echo here").await;
        assert_eq!((output.as_str(), exit.code), ("here\n", Some(0)));
    }
    home.end().await;
}
