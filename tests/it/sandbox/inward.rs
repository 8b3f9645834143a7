//! The host's way to what an agent's programs listen on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use treefort::sandbox::{Inward, InwardError, MODEL_PORT, Sandbox};

use super::{GRACE, Home, image, on_each};

on_each!(image;
    what_listens_inside_is_named_and_reached_and_noticed_when_it_goes,
    a_thousand_requests_leave_no_place_taken,
    a_sandbox_that_ends_ends_what_was_open_into_it,
    a_program_that_sends_without_end_waits_for_its_reader,
);

/// A web server inside, at a port, with a page.
const SERVER: &str = "/busybox mkdir /tmp/w; echo hello > /tmp/w/index.html; \
    /busybox httpd -f -p 127.0.0.1:8080 -h /tmp/w & a=$!; /busybox httpd -f -p '[::1]:8081' -h /tmp/w & b=$!; \
    /busybox usleep 300000; echo ready; read x;";

/// Starts a script and waits for its first line.
async fn ready(home: &Home, script: &str) -> (Sandbox, Inward) {
    let mut spec = home.spec(script);
    spec.limits.pids = 64;
    let mut sandbox = home.runtime.start(spec).await.unwrap();
    let mut line = String::new();
    BufReader::new(&mut sandbox.agent)
        .read_line(&mut line)
        .await
        .unwrap();
    assert_eq!(line, "ready\n");
    let inward = sandbox.inward.clone();
    (sandbox, inward)
}

async fn get(inward: &Inward, port: u16) -> Result<String, InwardError> {
    let mut stream = inward.connect(port).await?;
    stream
        .write_all(b"GET /index.html HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    Ok(answer)
}

async fn wait_for_ports(inward: &Inward, wanted: &[u16]) {
    let wanted: BTreeSet<u16> = wanted.iter().copied().collect();
    let began = Instant::now();
    loop {
        let ports = inward.ports().await.unwrap();
        if ports == wanted {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{ports:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn what_listens_inside_is_named_and_reached_and_noticed_when_it_goes(home: Home) {
    let script = format!("{SERVER} kill $a $b; read x");
    let (mut sandbox, inward) = ready(&home, &script).await;
    wait_for_ports(&inward, &[8080, 8081]).await;
    for port in [8080, 8081] {
        let answer = get(&inward, port).await.unwrap();
        assert!(answer.ends_with("\r\n\r\nhello\n"), "{answer}");
    }
    assert_eq!(get(&inward, 8082).await, Err(InwardError::Refused));
    assert_eq!(get(&inward, MODEL_PORT).await, Err(InwardError::Own));
    sandbox.agent.write_all(b"\n").await.unwrap();
    wait_for_ports(&inward, &[]).await;
    sandbox.stop(Duration::ZERO).await.unwrap();
    assert_eq!(get(&inward, 8080).await, Err(InwardError::Gone));
    home.end().await;
}

async fn a_thousand_requests_leave_no_place_taken(home: Home) {
    let (mut sandbox, inward) = ready(&home, SERVER).await;
    wait_for_ports(&inward, &[8080, 8081]).await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let inward = inward.clone();
        requests.spawn(async move {
            for _ in 0..50 {
                assert!(get(&inward, 8080).await.unwrap().contains("hello"));
            }
        });
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    // The agent's own streams work on, and as many as may be are open at once.
    let mut open = Vec::new();
    for _ in 0..treefort::sandbox::inward::MAX_INWARD {
        open.push(inward.connect(8080).await.unwrap());
    }
    drop(open);
    sandbox.agent.write_all(b"\n").await.unwrap();
    let mut rest = String::new();
    sandbox.agent.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "");
    sandbox.control.stop(GRACE).await.unwrap();
    home.end().await;
}

async fn a_sandbox_that_ends_ends_what_was_open_into_it(home: Home) {
    let script = "/busybox nc -ll -p 9000 -e /busybox sleep 300 & /busybox usleep 300000; echo ready; read x";
    let (sandbox, inward) = ready(&home, script).await;
    wait_for_ports(&inward, &[9000]).await;
    let mut open = inward.connect(9000).await.unwrap();
    open.write_all(b"anybody?").await.unwrap();
    let waiting = tokio::spawn(async move { open.read(&mut [0; 8]).await.unwrap_or(0) });
    sandbox.stop(Duration::ZERO).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert_eq!(ended.unwrap().unwrap(), 0);
    assert!(inward.is_gone());
    home.end().await;
}

async fn a_program_that_sends_without_end_waits_for_its_reader(home: Home) {
    let script = "/busybox nc -ll -p 9000 -e /busybox cat /dev/zero & /busybox usleep 300000; echo ready; \
                  while read x; do echo got $x; done";
    let (mut sandbox, inward) = ready(&home, script).await;
    wait_for_ports(&inward, &[9000]).await;
    let mut endless = inward.connect(9000).await.unwrap();
    // Nobody reads it: everything else goes on.
    tokio::time::sleep(Duration::from_millis(300)).await;
    sandbox.agent.write_all(b"this\n").await.unwrap();
    let mut got = [0; 9];
    sandbox.agent.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"got this\n");
    let mut bytes = vec![0; 4 << 20];
    endless.read_exact(&mut bytes).await.unwrap();
    drop(endless);
    assert!(inward.ports().await.unwrap().contains(&9000));
    sandbox.stop(Duration::ZERO).await.unwrap();
    home.end().await;
}
