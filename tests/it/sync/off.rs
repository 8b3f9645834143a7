//! Off by default: no connection outside of this computer.

use std::process::{Command, Stdio};

use super::*;
use crate::harness::PROGRAM;

/// Every address outside of loopback that a trace of `connect` names.
fn outside(trace: &str) -> Vec<&str> {
    trace
        .lines()
        .filter(|line| line.contains("sa_family=AF_INET"))
        .filter(|line| {
            let loopback = line.contains("inet_addr(\"127.") || line.contains("\"::1\"");
            // A connect of a datagram socket sends nothing; port 0 asks which address is our own.
            !loopback
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_without_sync_connects_to_nobody_outside() {
    let model = ModelServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let trace = home.path().join("trace");
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o"])
        .arg(&trace)
        .arg(PROGRAM)
        .args(["up", "--listen", "127.0.0.1:0", "--home"])
        .arg(home.path())
        .env("OLLAMA_HOST", model.url())
        .envs([NO_DOCKER])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let run = home.path().join("run.json");
    let deadline = Instant::now() + PATIENCE;
    while !run.exists() {
        assert!(Instant::now() < deadline, "it does not start");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let run: Value = serde_json::from_slice(&std::fs::read(&run).unwrap()).unwrap();
    let key = std::fs::read_to_string(home.path().join("keys/operator.key")).unwrap();
    let operator = Keys::parse(key.trim()).unwrap();
    let mut client = Client::connect(run["address"].as_str().unwrap(), operator.clone()).await;
    let recipes: Vec<Event> = (0..50).map(|n| recipe(&operator, n)).collect();
    give(&mut client, &recipes).await;
    let coordinator = std::fs::read_to_string(home.path().join("keys/coordinator.key")).unwrap();
    let coordinator = Keys::parse(coordinator.trim()).unwrap().public_key();
    let job = client.job(coordinator, "hello");
    let _answered_or_refused = client.do_job(&job).await;
    let pid = run["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok())
        .unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap();
    let trace = std::fs::read_to_string(&trace).unwrap();
    assert!(
        trace.contains("127.0.0.1"),
        "the trace shows the model server at least"
    );
    assert_eq!(outside(&trace), Vec::<&str>::new());
}
