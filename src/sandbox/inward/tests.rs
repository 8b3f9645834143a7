//! Both ends of the way in, over one pipe: the host's driver, and our process inside or one that is not ours.

use std::future::poll_fn;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::compat::TokioAsyncReadCompatExt;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::sandbox::duplex::Duplex;
use crate::sandbox::mux::{Driver, End, yamux_config};
use crate::sandbox::{Tail, init_inward};

/// A host, and what happens with the streams that it opens.
struct Pair {
    inward: Inward,
    closing: CancellationToken,
    host: tokio::task::JoinHandle<End>,
    _inside: JoinSet<()>,
}

/// Both ends; `inside` takes what the host opens.
fn pair(inside: impl FnOnce(mpsc::Receiver<yamux::Stream>, &mut JoinSet<()>)) -> Pair {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (driver, streams) = Driver::new(ours, Tail::default());
    let closing = CancellationToken::new();
    let host = tokio::spawn(driver.run(closing.clone()));
    let mut connection =
        yamux::Connection::new(theirs.compat(), yamux_config(), yamux::Mode::Client);
    let (opened, inbox) = mpsc::channel(64);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(Ok(stream)) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {
            drop(opened.try_send(stream));
        }
    });
    inside(inbox, &mut tasks);
    Pair {
        inward: streams.inward,
        closing,
        host,
        _inside: tasks,
    }
}

/// With our own process inside.
fn ours() -> Pair {
    pair(|streams, tasks| drop(tasks.spawn(init_inward::serve(streams))))
}

/// A program that answers every connection with what it got, until that ends.
async fn echo() -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            open.spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    (port, tasks)
}

#[tokio::test]
async fn a_connection_carries_bytes_both_ways() {
    let (port, _program) = echo().await;
    let pair = ours();
    let mut stream = pair.inward.connect(port).await.unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let mut got = vec![0; sent.len()];
    let (wrote, back) = tokio::join!(write.write_all(&sent), read.read_exact(&mut got));
    wrote.unwrap();
    back.unwrap();
    assert_eq!(got, sent);
}

#[tokio::test]
async fn what_listens_on_the_other_loopback_is_reached_and_what_listens_nowhere_is_refused() {
    let pair = ours();
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let (connected, accepted) = tokio::join!(pair.inward.connect(port), listener.accept());
    assert!(connected.is_ok() && accepted.is_ok());
    drop(listener);
    let refused = pair.inward.connect(port).await.map(drop);
    assert_eq!(refused, Err(InwardError::Refused));
    let own = pair.inward.connect(MODEL_PORT).await.map(drop);
    assert_eq!(own, Err(InwardError::Own));
}

#[tokio::test]
async fn a_thousand_connections_leave_no_place_taken() {
    let (port, _program) = echo().await;
    let pair = ours();
    for _ in 0..1000 {
        let mut stream = pair.inward.connect(port).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
    }
    assert_eq!(pair.inward.connections.available_permits(), MAX_INWARD);
    // As many as may be at once, though the program closes none of them.
    let mut open = Vec::new();
    for _ in 0..MAX_INWARD {
        open.push(pair.inward.connect(port).await.unwrap());
    }
    assert_eq!(pair.inward.connections.available_permits(), 0);
    drop(open);
    assert!(pair.inward.connect(port).await.is_ok());
}

#[tokio::test]
async fn a_connection_that_is_dropped_ends_at_the_program() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pair = ours();
    let stream = pair.inward.connect(port).await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    drop(stream);
    let end = timeout(Duration::from_secs(5), socket.read(&mut [0; 8])).await;
    assert!(matches!(end.unwrap(), Ok(0) | Err(_)));
}

#[tokio::test]
async fn the_end_of_a_program_is_the_end_of_what_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pair = ours();
    let mut stream = pair.inward.connect(port).await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    socket.write_all(b"last words").await.unwrap();
    drop(socket);
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "last words");
}

#[tokio::test]
async fn the_ports_that_listen_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // The tables hold all of this machine's; ours may be beyond what an answer names.
    let pair = ours();
    let ports = pair.inward.ports().await.unwrap();
    assert!(ports.contains(&port) || ports.len() == usize::from(MAX_PORTS));
    assert!(!ports.contains(&MODEL_PORT));
}

#[tokio::test]
async fn when_the_sandbox_is_gone_everybody_hears_of_it() {
    let (port, _program) = echo().await;
    let pair = ours();
    let mut open = pair.inward.connect(port).await.unwrap();
    pair.closing.cancel();
    assert_eq!(pair.host.await.unwrap(), End::Closed);
    assert!(pair.inward.is_gone());
    pair.inward.gone().await;
    assert!(matches!(open.read(&mut [0; 8]).await, Ok(0) | Err(_)));
    let after = pair.inward.connect(port).await.map(drop);
    assert_eq!(after, Err(InwardError::Gone));
    assert_eq!(pair.inward.ports().await, Err(InwardError::Gone));
}

#[tokio::test]
async fn an_inside_that_says_nothing_is_given_up() {
    let mut pair = pair(|mut streams, tasks| {
        tasks.spawn(async move {
            let mut held = Vec::new();
            while let Some(stream) = streams.recv().await {
                held.push(stream);
            }
        });
    });
    pair.inward.patience = Duration::from_millis(50);
    let silent = pair.inward.connect(80).await.map(drop);
    assert_eq!(silent, Err(InwardError::Silent));
    assert_eq!(pair.inward.ports().await, Err(InwardError::Silent));
    assert_eq!(pair.inward.connections.available_permits(), MAX_INWARD);
}

#[tokio::test]
async fn an_inside_that_takes_no_stream_says_busy_and_lies_are_bounded() {
    let reset = pair(|streams, tasks| {
        tasks.spawn(async move {
            let mut streams = streams;
            while let Some(stream) = streams.recv().await {
                drop(stream);
            }
        });
    });
    let busy = reset.inward.connect(80).await.map(drop);
    assert_eq!(busy, Err(InwardError::Busy));
    let liar = pair(|streams, tasks| {
        tasks.spawn(async move {
            let mut streams = streams;
            while let Some(stream) = streams.recv().await {
                let mut stream = Duplex::new(stream.compat());
                let _ = stream.write_all(&[255; 4096]).await;
            }
        });
    });
    let refused = liar.inward.connect(80).await.map(drop);
    assert_eq!(refused, Err(InwardError::Refused));
    assert_eq!(liar.inward.ports().await, Ok(BTreeSet::from([u16::MAX])));
    liar.closing.cancel();
    assert_eq!(liar.host.await.unwrap(), End::Closed);
}
