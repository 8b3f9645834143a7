//! What goes over the multiplexer.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::{GRACE, Home, finish, image, on_each};

on_each!(image;
    agent_talks_over_its_standard_streams_and_its_code_is_kept,
    closing_stdin_reaches_the_agent_and_its_last_words_reach_us,
    endless_output_waits_for_its_reader_and_arrives_whole,
    http_connections_reach_the_host_and_a_thousand_at_once_do_no_harm,
    connections_that_nobody_serves_are_bounded_and_the_agent_lives_on,
);

async fn agent_talks_over_its_standard_streams_and_its_code_is_kept(home: Home) {
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

async fn closing_stdin_reaches_the_agent_and_its_last_words_reach_us(home: Home) {
    let mut sandbox = home.start("/busybox cat; echo end").await;
    sandbox.agent.write_all(b"words").await.unwrap();
    sandbox.agent.shutdown().await.unwrap();
    let (output, _, exit) = finish(sandbox).await;
    assert_eq!(output, "wordsend\n");
    assert_eq!(exit.code, Some(0));
    home.end().await;
}

async fn endless_output_waits_for_its_reader_and_arrives_whole(home: Home) {
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

async fn http_connections_reach_the_host_and_a_thousand_at_once_do_no_harm(home: Home) {
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

async fn connections_that_nobody_serves_are_bounded_and_the_agent_lives_on(home: Home) {
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
