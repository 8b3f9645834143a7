//! How sandboxes begin and end, in good order and otherwise.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use treefort::sandbox::{DockerRuntime, Error, Runtime};

use super::{Backend, GRACE, Home, image, inspect, on_each};

on_each!(image;
    orphans_are_reaped,
    what_an_agent_leaves_running_ends_with_it,
    stop_lets_an_agent_end_by_itself_within_its_grace,
    stop_kills_an_agent_that_does_not_listen,
    dropping_a_sandbox_removes_it,
    giving_up_a_start_leaves_nothing_behind,
    shutdown_ends_everything_and_nothing_starts_afterwards,
    an_agent_that_is_not_there_says_so,
    an_agent_that_ends_at_once_has_still_been_there,
);

#[tokio::test]
async fn probe_names_the_engine() {
    let probe = DockerRuntime::new("x").probe().await.unwrap();
    assert!(probe.detail.starts_with("Docker Engine "), "{probe:?}");
    assert!(probe.detail.contains("linux/"), "{probe:?}");
}

async fn orphans_are_reaped(home: Home) {
    let (output, _, _) = home
        .run(
            "i=0; while [ $i -lt 10 ]; do (/busybox sleep 0.1 &) ; i=$((i+1)); done; \
             /busybox sleep 1; /busybox grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null; echo end",
        )
        .await;
    assert_eq!(output, "end\n");
    home.end().await;
}

async fn what_an_agent_leaves_running_ends_with_it(home: Home) {
    let began = Instant::now();
    let (output, _, exit) = home.run("/busybox sleep 300 & echo bye; exit 4").await;
    assert_eq!(output, "bye\n");
    assert_eq!(exit.code, Some(4));
    assert!(began.elapsed() < Duration::from_secs(20));
    home.end().await;
}

async fn stop_lets_an_agent_end_by_itself_within_its_grace(home: Home) {
    let mut sandbox = home
        .start("trap 'echo saved; exit 5' TERM; echo ready; while :; do /busybox sleep 0.1; done")
        .await;
    let mut ready = [0; 6];
    sandbox.agent.read_exact(&mut ready).await.unwrap();
    let exit = sandbox.stop(GRACE).await.unwrap();
    assert_eq!(exit.code, Some(5));
    home.end().await;
}

async fn stop_kills_an_agent_that_does_not_listen(home: Home) {
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

async fn dropping_a_sandbox_removes_it(home: Home) {
    drop(home.start("/busybox sleep 300").await);
    let began = Instant::now();
    while home.containers().await > 0 {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    home.end().await;
}

async fn giving_up_a_start_leaves_nothing_behind(home: Home) {
    for patience_ms in [1, 20, 60, 150] {
        let start = home.runtime.start(home.spec("/busybox sleep 300"));
        let patience = Duration::from_millis(patience_ms);
        drop(tokio::time::timeout(patience, start).await);
    }
    home.end().await;
}

async fn shutdown_ends_everything_and_nothing_starts_afterwards(home: Home) {
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
    for backend in [Backend::Docker, Backend::Embedded] {
        let (home, other) = (Home::on(backend).await, Home::on(backend).await);
        // What has no control groups ends with its treefort, and leaves nothing to sweep.
        if backend == Backend::Docker || home.limits_memory().await {
            sweeps(home, other).await;
        }
    }
}

async fn sweeps(home: Home, other: Home) {
    let kept = other.start("/busybox sleep 300").await;
    let _left = home.start("/busybox sleep 300").await;
    let after_crash = home.after_crash();
    assert_eq!(after_crash.sweep().await.unwrap(), 1);
    assert_eq!(after_crash.sweep().await.unwrap(), 0);
    while home.containers().await > 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(other.containers().await, 1);
    kept.stop(Duration::ZERO).await.unwrap();
    other.end().await;
    home.end().await;
}

async fn an_agent_that_is_not_there_says_so(home: Home) {
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
async fn a_name_that_is_taken_is_an_error_and_the_first_one_lives() {
    for backend in [Backend::Docker, Backend::Embedded, Backend::Bare] {
        is_an_error(Home::on(backend).await).await;
    }
}

async fn is_an_error(home: Home) {
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

async fn an_agent_that_ends_at_once_has_still_been_there(home: Home) {
    for _ in 0..8 {
        let (output, _, exit) = home.run("echo here").await;
        assert_eq!((output.as_str(), exit.code), ("here\n", Some(0)));
    }
    home.end().await;
}
