//! What is measured, on one relay at a time.

use std::time::{Duration, Instant};

use super::{
    client::Socket,
    events::{KINDS, Made, Maker, SIBLINGS},
    system::System,
};

/// Events a second that were durably accepted over some connections, and the relay's own time for each.
pub(crate) struct Rate {
    pub(crate) events: f64,
    pub(crate) micros: f64,
}

pub(crate) async fn ingest(system: &System, connections: usize, events: Vec<Made>) -> Rate {
    let count = events.len();
    let share = count.div_ceil(connections);
    let mut parts = Vec::new();
    let mut events = events;
    while !events.is_empty() {
        let rest = events.split_off(share.min(events.len()));
        let socket = Socket::open(system.address).await;
        parts.push((socket, events));
        events = rest;
    }
    let used = system.used();
    let began = Instant::now();
    let tasks = parts
        .into_iter()
        .map(|(mut socket, events)| tokio::spawn(async move { socket.publish_all(&events).await }));
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let took = began.elapsed();
    Rate {
        events: count as f64 / took.as_secs_f64(),
        micros: (system.used() - used).as_secs_f64() * 1e6 / count as f64,
    }
}

/// From publishing until each of some subscribers has the event; one event at a time.
pub(crate) async fn delivery(
    system: &System,
    subscribers: usize,
    events: &[Made],
) -> Vec<Duration> {
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..subscribers {
        let mut socket = Socket::open(system.address).await;
        socket.subscribe(&live()).await;
        let arrived = arrived.clone();
        tokio::spawn(async move {
            while let Some(text) = socket.hear().await {
                if text.starts_with(r#"["EVENT""#) && arrived.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
    }
    let mut publisher = Socket::open(system.address).await;
    let mut times = Vec::new();
    for event in events {
        let began = Instant::now();
        publisher.publish(event).await;
        for _ in 0..subscribers {
            let at = tokio::time::timeout(Duration::from_secs(30), arrivals.recv()).await;
            times.push(at.expect("an event was not delivered").unwrap() - began);
        }
    }
    times
}

/// Deliveries a second, when many events come at once.
pub(crate) async fn burst(system: &System, subscribers: usize, events: &[Made]) -> f64 {
    let wanted = events.len();
    let mut tasks = Vec::new();
    for _ in 0..subscribers {
        let mut socket = Socket::open(system.address).await;
        socket.subscribe(&live()).await;
        tasks.push(tokio::spawn(async move {
            let mut seen = 0;
            while seen < wanted {
                let text = socket.hear().await.expect("a subscriber was closed");
                seen += usize::from(text.starts_with(r#"["EVENT""#));
            }
        }));
    }
    let mut publisher = Socket::open(system.address).await;
    let began = Instant::now();
    publisher.publish_all(events).await;
    for task in tasks {
        task.await.unwrap();
    }
    (subscribers * wanted) as f64 / began.elapsed().as_secs_f64()
}

/// What came of a subscriber that read nothing for three seconds while many events came: how many it got, and whether
/// the relay closed it.
pub(crate) async fn stalled(system: &System, events: Vec<Made>) -> (usize, bool) {
    let wanted = events.len();
    let mut reader = Socket::open(system.address).await;
    reader.subscribe(&live()).await;
    let mut publisher = Socket::open(system.address).await;
    let publishing = tokio::spawn(async move { publisher.publish_all(&events).await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut seen = 0;
    let mut closed = false;
    while seen < wanted {
        let next = tokio::time::timeout(Duration::from_secs(10), reader.hear());
        match next.await {
            Ok(Some(text)) => seen += usize::from(text.starts_with(r#"["EVENT""#)),
            Ok(None) => {
                closed = true;
                break;
            }
            Err(_) => break,
        }
    }
    publishing.await.unwrap();
    (seen, closed)
}

/// The queries that clients ask most, by name.
pub(crate) async fn queries(
    system: &System,
    maker: &Maker,
    ids: &[String],
    stored: usize,
) -> Vec<(&'static str, Vec<Duration>)> {
    const ROUNDS: usize = 300;
    let mut socket = Socket::open(system.address).await;
    let authors = maker.authors();
    let pick = |nth: usize, of: usize| nth * 7919 % of;
    let mut all = Vec::new();
    let mut ask = async |name, filter: &dyn Fn(usize) -> String, least: usize| {
        let mut times = Vec::new();
        for nth in 0..ROUNDS {
            let (took, found) = socket.query(&filter(nth)).await;
            assert!(found >= least, "{name}: {found} of {least}");
            times.push(took);
        }
        all.push((name, times));
    };
    let id = |nth| format!(r#"{{"ids":["{}"]}}"#, ids[pick(nth, ids.len())]);
    ask("id", &id, 1).await;
    let author = |nth: usize| &authors[nth % authors.len()];
    let kind = |nth: usize| KINDS[nth % KINDS.len()];
    let ak = |nth| {
        let (author, kind) = (author(nth), kind(nth));
        format!(r#"{{"authors":["{author}"],"kinds":[{kind}],"limit":100}}"#)
    };
    ask("author and kind, 100", &ak, 100).await;
    let pointed = |nth| {
        let value = Maker::pointed(pick(nth, stored / SIBLINGS) as u64);
        format!(r##"{{"#e":["{value}"]}}"##)
    };
    ask("#e, 10", &pointed, SIBLINGS).await;
    let until = nostr::Timestamp::now().as_secs() - 43_200;
    let two = |nth| {
        let (author, first, second) = (author(nth), kind(nth), kind(nth + 1));
        format!(
            r#"{{"authors":["{author}"],"kinds":[{first},{second}],"until":{until},"limit":100}}"#
        )
    };
    ask("author, two kinds, until", &two, 100).await;
    all
}

/// What comes from now on, and before it one that is stored: nostr-rs-relay says nothing to a limit of 0.
fn live() -> String {
    format!(
        r#"{{"kinds":[{},{},{}],"limit":1}}"#,
        KINDS[0], KINDS[1], KINDS[2]
    )
}
