//! Too much of everything: the sandbox ends or stands still, and the host stays well.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use treefort::sandbox::{
    Sandbox,
    disk::{self, Over, Quota, Stopped},
};

use super::{Home, Host, attempt, bound, image};
use crate::sandbox::on_each;

on_each!(image;
    a_disk_bomb_is_seen_and_stands_still_when_paused,
    fifty_thousand_files_are_seen_in_time,
    what_is_hidden_in_a_file_without_a_name_is_given_back_when_the_sandbox_ends,
    memory_that_looks_like_a_disk_has_an_end,
    chains_of_forks_write_no_more_when_paused,
    what_wakes_itself_or_others_writes_no_more_when_paused,
);

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// As treefort watches a session: looks, and pauses it when it is over.
async fn watch(host: &Host, sandbox: &Sandbox, quota: &Quota) -> Over {
    let began = Instant::now();
    loop {
        let (_, over) = disk::check(&host.tree(), quota, PATIENCE).unwrap();
        if let Some(over) = over {
            sandbox.control.pause().await.unwrap();
            return over;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "never over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_disk_bomb_is_seen_and_stands_still_when_paused(home: Home) {
    let host = Host::new();
    let quota = Quota {
        bytes: 32 * MIB,
        files: 1000,
    };
    let script = "i=0; while [ $i -lt 400 ]; do \
        /busybox dd if=/dev/zero of=/workspace/$i bs=1M count=4 2>/dev/null; i=$((i+1)); done";
    let sandbox = home
        .runtime
        .start(bound(&home, &host, script))
        .await
        .unwrap();
    let over = watch(&host, &sandbox, &quota).await;
    assert_eq!(over, Over::Bytes { quota: 32 * MIB });
    assert!(over.to_string().contains("32 MiB"));
    let plenty = Quota {
        bytes: u64::MAX,
        files: u64::MAX,
    };
    let at = disk::usage(&host.tree(), &plenty, PATIENCE).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(disk::usage(&host.tree(), &plenty, PATIENCE).unwrap(), at);
    sandbox.stop(Duration::ZERO).await.unwrap();
    host.assert_unchanged();
    home.end().await;
}

async fn fifty_thousand_files_are_seen_in_time(home: Home) {
    let host = Host::new();
    let script = "/attack files /workspace/folder 50000; echo made";
    let mut sandbox = home
        .runtime
        .start(bound(&home, &host, script))
        .await
        .unwrap();
    let mut said = String::new();
    let made = sandbox.agent.read_to_string(&mut said);
    tokio::time::timeout(Duration::from_secs(120), made)
        .await
        .unwrap()
        .unwrap();
    assert!(said.contains("made"), "{said}");
    sandbox.stop(Duration::ZERO).await.unwrap();
    let quota = Quota {
        bytes: u64::MAX,
        files: 50_000,
    };
    let began = Instant::now();
    let (usage, over) = disk::check(&host.tree(), &quota, PATIENCE).unwrap();
    eprintln!("{} files looked at in {:?}", usage.files, began.elapsed());
    // Two hundred thousand, the default quota, took 2.1 s without optimisation and 70 s to make.
    assert_eq!(usage.stopped, Some(Stopped::Quota));
    assert_eq!(over, Some(Over::Files { quota: 50_000 }));
    host.assert_unchanged();
    home.end().await;
}

/// A file that has lost its name is in no listing; the host's free space tells, and its end frees it.
async fn what_is_hidden_in_a_file_without_a_name_is_given_back_when_the_sandbox_ends(home: Home) {
    let host = Host::new();
    let script = "/attack unnamed /workspace/x 512";
    let before = disk::free(&host.tree()).unwrap();
    let mut sandbox = home
        .runtime
        .start(bound(&home, &host, script))
        .await
        .unwrap();
    let mut said = [0; 15];
    sandbox.agent.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"unnamed: got it");
    let during = disk::free(&host.tree()).unwrap();
    // Others write and delete on this disk at the same time.
    assert!(during + 128 * MIB < before, "{before} {during}");
    sandbox.stop(Duration::ZERO).await.unwrap();
    // A busy disk takes its time.
    let began = Instant::now();
    while disk::free(&host.tree()).unwrap() <= during + 128 * MIB {
        assert!(began.elapsed() < Duration::from_secs(20), "{during}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    host.assert_unchanged();
    home.end().await;
}

async fn memory_that_looks_like_a_disk_has_an_end(home: Home) {
    let host = Host::new();
    let results = attempt(
        &home,
        &host,
        &[
            "/busybox dd if=/dev/zero of=/tmp/big bs=1M count=64",
            "/busybox dd if=/dev/zero of=/home/agent/big bs=1M count=64",
            "/busybox rm /tmp/big /home/agent/big; echo x > /tmp/small && /busybox cat /tmp/small",
        ],
    )
    .await;
    for full in &results[..2] {
        assert!(
            full.1 != 0 && full.0.contains("No space left"),
            "{results:?}"
        );
    }
    assert_eq!(results[2], ("x\n".to_owned(), 0));
    host.assert_unchanged();
    home.end().await;
}

/// Runs a script that writes on and on, and has it stand still or end once it does; whether it stood still.
async fn writes_no_more(home: &Home, script: &str) -> bool {
    let host = Host::new();
    let mut spec = bound(home, &host, script);
    spec.limits.pids = 512;
    spec.limits.memory_mb = 512;
    let mut sandbox = home.runtime.start(spec).await.unwrap();
    let plenty = Quota {
        bytes: u64::MAX,
        files: u64::MAX,
    };
    let now = || disk::usage(&host.tree(), &plenty, PATIENCE).unwrap();
    let (before, began) = (now(), Instant::now());
    while now().bytes < before.bytes + MIB / 4 {
        let patience = Duration::from_secs(20);
        assert!(began.elapsed() < patience, "{script}: never writes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let paused = sandbox.control.handle().pause_or_end().await;
    if paused.is_err() {
        let ended = sandbox.exit.wait_for(Option::is_some);
        tokio::time::timeout(PATIENCE, ended)
            .await
            .unwrap()
            .unwrap();
        assert!(sandbox.stderr.text().contains("had to stand still"));
    }
    // What was written before takes its blocks now: where the extents of a file are is one more.
    let folder = std::fs::File::open(host.tree()).unwrap();
    rustix::fs::syncfs(&folder).unwrap();
    let at = now();
    // What the kernel sends at a time, or at an event of the host's, comes now.
    std::fs::write(host.tree().join("touched"), "").unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    std::fs::remove_file(host.tree().join("touched")).unwrap();
    assert_eq!(now(), at, "{script}: it writes on; paused: {paused:?}");
    sandbox.stop(Duration::ZERO).await.unwrap();
    paused.is_ok()
}

async fn chains_of_forks_write_no_more_when_paused(home: Home) {
    let paused = writes_no_more(&home, "/attack chains /workspace 100").await;
    // As below: there it is ended.
    assert!(paused || home.is_docker());
    home.end().await;
}

async fn what_wakes_itself_or_others_writes_no_more_when_paused(home: Home) {
    for how in ["timer", "event", "others"] {
        let paused = writes_no_more(&home, &format!("/attack awake {how} /workspace")).await;
        // The first version of the kernel's freezer, which Docker uses here, gives up on who gets so many signals.
        assert!(paused || home.is_docker() || how == "others", "{how}");
    }
    home.end().await;
}
