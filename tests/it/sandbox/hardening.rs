//! What an agent cannot do, tried from inside and read back from the engine.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use bollard::models::HostConfig;

use super::{Backend, Home, finish, image, inspect, on_each};

on_each!(image;
    the_kernel_agrees_that_the_agent_has_no_privileges,
    nothing_can_be_written_mounted_or_made,
    no_service_of_the_host_can_be_reached,
    a_fork_bomb_stops_at_its_bound,
    deleting_everything_deletes_the_workspace_only,
    an_agent_cannot_end_its_init,
    what_programs_take_for_granted_works,
);

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
    let expected = [
        ("nofile", 4096, 4096),
        ("core", 1, 1),
        ("fsize", 4 << 30, 4 << 30),
    ];
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

async fn the_kernel_agrees_that_the_agent_has_no_privileges(home: Home) {
    let (output, _, _) = home
        .run(
            "for pid in 1 self; do \
             /busybox grep -E '^(Cap...|NoNewPrivs|Seccomp|Uid|Gid):' /proc/$pid/status; done; \
             /busybox ip -o link; /busybox cut -d ' ' -f 6,7 /proc/self/stat",
        )
        .await;
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Uid:\t1000\t1000\t1000\t1000",
        "Gid:\t1000\t1000\t1000\t1000",
    ] {
        let of_both = output.lines().filter(|said| *said == line).count();
        assert_eq!(of_both, 2, "{line}: {output}");
    }
    // A session of its own, without a terminal.
    assert!(output.ends_with("\n1 0\n"), "{output}");
    assert!(!output.contains("eth"), "{output}");
    home.end().await;
}

async fn nothing_can_be_written_mounted_or_made(home: Home) {
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
        "/busybox cp /busybox /tmp/busybox; /tmp/busybox true",
        "/busybox cp /busybox /home/agent/busybox; /home/agent/busybox true",
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

async fn no_service_of_the_host_can_be_reached(home: Home) {
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
    for backend in [Backend::Docker, Backend::Embedded] {
        let home = Home::on(backend).await;
        if backend == Backend::Embedded && !home.limits_memory().await {
            continue;
        }
        is_killed_and_named(home).await;
    }
}

async fn is_killed_and_named(home: Home) {
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

/// Without control groups nothing kills: what one program allocates has an end.
#[tokio::test]
async fn without_groups_no_program_gets_more_memory_than_its_own_limit() {
    let home = Home::on(Backend::Bare).await;
    let (output, _, exit) = home
        .run(
            "/busybox dd if=/dev/zero of=/dev/null bs=600M count=1; echo dd $?; \
             /busybox dd if=/dev/zero of=/dev/null bs=60M count=1 2>/dev/null && echo fits",
        )
        .await;
    assert_eq!(output, "dd 1\nfits\n");
    assert!(!exit.oom);
    home.end().await;
}

async fn a_fork_bomb_stops_at_its_bound(home: Home) {
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

async fn what_programs_take_for_granted_works(home: Home) {
    let workspace = tempfile::tempdir().unwrap();
    open_to_all(workspace.path());
    let mut spec = home.spec(
        "set -e; cd /workspace; /busybox mkdir -p a b/c; echo text > a/f; /busybox mv a/f b/c/f; \
         /busybox ln b/c/f a/g; /busybox mv b/c a/c; /busybox cat a/c/f; echo out > /dev/stdout; \
         echo error > /dev/stderr; echo three 3>&1 > /dev/fd/3; echo > /dev/null; \
         /busybox head -c 8 /dev/urandom > a/r; /busybox chmod 700 a/r; /busybox touch -d @0 a/r; \
         /busybox mkfifo p; (echo through > p &); /busybox cat p; \
         echo shared > /dev/shm/x; /busybox cp /busybox .; ./busybox echo runs",
    );
    spec.workspace = Some(workspace.path().into());
    let (output, stderr, exit) = finish(home.runtime.start(spec).await.unwrap()).await;
    assert_eq!(output, "text\nout\nthree\nthrough\nruns\n", "{stderr}");
    assert_eq!((stderr.as_str(), exit.code), ("error\n", Some(0)));
    home.end().await;
}

async fn deleting_everything_deletes_the_workspace_only(home: Home) {
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

async fn an_agent_cannot_end_its_init(home: Home) {
    let (output, _, exit) = home
        .run("for s in KILL STOP SEGV USR1; do /busybox kill -$s 1; done; echo alive; exit 3")
        .await;
    assert_eq!((output.as_str(), exit.code), ("alive\n", Some(3)));
    let (_, _, exit) = home.run("/busybox kill -9 -1; /busybox sleep 100").await;
    // It ends itself with everything else, and its init lives to say so.
    assert!(matches!(exit.code, Some(0 | 137)), "{exit:?}");
    home.end().await;
}
