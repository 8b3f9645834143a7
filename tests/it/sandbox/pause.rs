//! Pausing: everything stands still, and a paused sandbox can be ended in every way.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use treefort::sandbox::{Config, DockerRuntime, Error, Runtime, Sandbox};

use super::{GRACE, Home, image, inspect, on_each};

on_each!(image;
    a_paused_sandbox_stands_still_and_goes_on_where_it_was,
    a_sandbox_stays_paused_as_long_as_one_holder_holds_it,
    pausing_what_has_ended_is_an_error_that_says_so,
    a_paused_sandbox_is_woken_to_end_by_itself,
    a_paused_sandbox_is_killed_dropped_and_shut_down_like_any_other,
    a_fork_bomb_can_be_paused_and_goes_on_or_ends,
    what_stands_still_goes_on_when_nobody_holds_it_any_more,
);

/// Says a letter every 20 ms.
const TICKING: &str = "while :; do echo -n t; /busybox usleep 20000; done";

async fn ticking(home: &Home) -> Sandbox {
    let mut sandbox = home.start(TICKING).await;
    let mut tick = [0; 3];
    sandbox.agent.read_exact(&mut tick).await.unwrap();
    sandbox
}

/// The letters of the next while.
async fn heard(sandbox: &mut Sandbox, patience: Duration) -> usize {
    let (mut heard, mut buf) = (0, [0; 256]);
    let began = Instant::now();
    while let Some(left) = patience.checked_sub(began.elapsed()) {
        match tokio::time::timeout(left, sandbox.agent.read(&mut buf)).await {
            Ok(read) => heard += read.unwrap(),
            Err(_) => break,
        }
    }
    heard
}

const WHILE: Duration = Duration::from_millis(400);

/// Waits until it is at work again.
async fn goes_on(sandbox: &mut Sandbox) {
    let (began, mut letters) = (Instant::now(), 0);
    while letters <= 3 {
        assert!(began.elapsed() < Duration::from_secs(10), "it stands still");
        letters += heard(sandbox, WHILE).await;
    }
}

async fn a_paused_sandbox_stands_still_and_goes_on_where_it_was(home: Home) {
    let mut sandbox = ticking(&home).await;
    sandbox.control.pause().await.unwrap();
    sandbox.control.pause().await.unwrap();
    // What was under way.
    heard(&mut sandbox, WHILE).await;
    assert_eq!(heard(&mut sandbox, WHILE).await, 0);
    if home.is_docker() {
        let state = inspect(&sandbox.id).await.state.unwrap();
        assert_eq!(state.paused, Some(true));
    }
    sandbox.control.resume().await.unwrap();
    goes_on(&mut sandbox).await;
    sandbox.control.resume().await.unwrap();
    sandbox.stop(Duration::ZERO).await.unwrap();
    home.end().await;
}

async fn a_sandbox_stays_paused_as_long_as_one_holder_holds_it(home: Home) {
    let mut sandbox = ticking(&home).await;
    let (disk, undo) = (sandbox.control.handle(), sandbox.control.handle());
    let same = undo.clone();
    let (one, two) = tokio::join!(disk.pause(), same.pause());
    one.unwrap();
    two.unwrap();
    undo.resume().await.unwrap();
    undo.resume().await.unwrap();
    heard(&mut sandbox, WHILE).await;
    assert_eq!(heard(&mut sandbox, WHILE).await, 0);
    disk.resume().await.unwrap();
    goes_on(&mut sandbox).await;
    sandbox.stop(Duration::ZERO).await.unwrap();
    home.end().await;
}

async fn pausing_what_has_ended_is_an_error_that_says_so(home: Home) {
    let mut sandbox = home.start("read line; exit 3").await;
    let handle = sandbox.control.handle();
    sandbox.agent.write_all(b"go\n").await.unwrap();
    sandbox.exit.wait_for(Option::is_some).await.unwrap();
    assert!(matches!(handle.pause().await, Err(Error::Ended)));
    assert!(matches!(sandbox.control.resume().await, Err(Error::Ended)));
    assert_eq!(sandbox.stop(GRACE).await.unwrap().code, Some(3));
    assert!(matches!(handle.resume().await, Err(Error::Ended)));
    home.end().await;
}

async fn a_paused_sandbox_is_woken_to_end_by_itself(home: Home) {
    let mut sandbox = home
        .start("trap 'exit 5' TERM; echo ready; while :; do /busybox usleep 20000; done")
        .await;
    let mut ready = [0; 6];
    sandbox.agent.read_exact(&mut ready).await.unwrap();
    sandbox.control.handle().pause().await.unwrap();
    let exit = sandbox.stop(GRACE).await.unwrap();
    assert_eq!(exit.code, Some(5));
    home.end().await;
}

async fn a_paused_sandbox_is_killed_dropped_and_shut_down_like_any_other(home: Home) {
    let killed = ticking(&home).await;
    killed.control.pause().await.unwrap();
    let began = Instant::now();
    let exit = killed.stop(Duration::ZERO).await.unwrap();
    assert_eq!(exit.code, Some(137));
    assert!(began.elapsed() < Duration::from_secs(5));

    let dropped = ticking(&home).await;
    dropped.control.pause().await.unwrap();
    drop(dropped);
    let shut_down = ticking(&home).await;
    shut_down.control.pause().await.unwrap();
    home.end().await;
}

#[tokio::test]
async fn sweep_removes_what_a_crash_left_paused() {
    let home = Home::new().await;
    let left = ticking(&home).await;
    left.control.pause().await.unwrap();
    let after_crash = DockerRuntime::new(home.id.clone());
    assert_eq!(after_crash.sweep().await.unwrap(), 1);
    home.end().await;
}

async fn a_fork_bomb_can_be_paused_and_goes_on_or_ends(home: Home) {
    // The first shell starts one process, before there is any: one that cannot start another ends.
    let script = "echo lit; bomb() { bomb | bomb & }; (bomb) & while :; do :; done";
    let mut spec = home.spec(script);
    spec.limits.pids = 128;
    // Enough that none is ended for want of it.
    spec.limits.memory_mb = 512;
    let mut sandbox = home.runtime.start(spec).await.unwrap();
    let mut lit = [0; 4];
    sandbox.agent.read_exact(&mut lit).await.unwrap();
    for _ in 0..5 {
        sandbox.control.pause().await.unwrap();
        sandbox.control.resume().await.unwrap();
    }
    sandbox.control.pause().await.unwrap();
    sandbox.stop(Duration::ZERO).await.unwrap();
    home.end().await;
}

#[tokio::test]
async fn a_runtime_that_the_engine_does_not_have_is_named() {
    let home = Home::new().await;
    let mut spec = home.spec("true");
    spec.runtime = Some("runsc-of-nobody".to_owned());
    let refused = home.runtime.start(spec).await.unwrap_err();
    assert!(
        matches!(&refused, Error::NoRuntime { runtime } if runtime == "runsc-of-nobody"),
        "{refused:?}"
    );
    assert!(refused.is_unavailable() && refused.hint().contains("treefort.toml"));
    let configured = DockerRuntime::new(home.id.clone()).with_config(Config {
        runtime: "runc".to_owned(),
        ..Config::default()
    });
    let sandbox = configured.start(home.spec("read line")).await.unwrap();
    let host = inspect(&sandbox.id).await.host_config.unwrap();
    assert_eq!(host.runtime.as_deref(), Some("runc"));
    sandbox.stop(Duration::ZERO).await.unwrap();
    configured.shutdown().await;
    let wrong = DockerRuntime::new(home.id.clone()).with_config(Config {
        runtime: "runsc-of-nobody".to_owned(),
        ..Config::default()
    });
    assert!(matches!(wrong.probe().await, Err(Error::NoRuntime { .. })));
    home.end().await;
}

async fn what_stands_still_goes_on_when_nobody_holds_it_any_more(home: Home) {
    let mut sandbox = ticking(&home).await;
    let handle = sandbox.control.handle();
    // Given up on a thread that knows nothing of any runtime, as work on files does.
    let still = handle.still(Duration::from_secs(60)).await.unwrap();
    heard(&mut sandbox, WHILE).await;
    assert_eq!(heard(&mut sandbox, WHILE).await, 0);
    std::thread::spawn(move || drop(still)).join().unwrap();
    goes_on(&mut sandbox).await;
    // Two who do it through the same handle do not wake it for one another.
    let first = handle.still(Duration::from_secs(60)).await.unwrap();
    let second = handle.still(Duration::from_secs(60)).await.unwrap();
    drop(first);
    heard(&mut sandbox, WHILE).await;
    assert_eq!(heard(&mut sandbox, WHILE).await, 0);
    drop(second);
    goes_on(&mut sandbox).await;
    // Whoever forgets it does not keep it for ever.
    let forgotten = handle.still(WHILE * 10).await.unwrap();
    heard(&mut sandbox, WHILE).await;
    assert_eq!(heard(&mut sandbox, WHILE).await, 0);
    goes_on(&mut sandbox).await;
    drop(forgotten);
    sandbox.stop(Duration::ZERO).await.unwrap();
    home.end().await;
}
