//! The relay under load (DESIGN.md §6), over real sockets, beside the relays of others.
//!
//! `cargo bench --bench relay` takes some minutes: it builds LocalRelay (`benches/peers`), and measures
//! nostr-rs-relay too after `cargo install --root target/peers nostr-rs-relay` (with protoc). `-- million` adds a store of a
//! million events, `-- quick` takes a tenth. Client and relay share the machine, so ratios of one run count, not its figures.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark reports to a person and fails by panicking"
)]

mod client;
mod events;
mod null;
mod scenario;
mod serve;
mod system;

use std::{path::PathBuf, time::Duration};

use self::{
    events::{Made, Maker},
    system::{Kind, Peers, System},
};

/// Rounds of what is compared; the systems take turns in each.
const ROUNDS: usize = 3;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|word| word == "serve") {
        return serve::run(args.get(1).map(PathBuf::from));
    }
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let scale = if has("quick") { 10 } else { 1 };
    let only = args.iter().find_map(|arg| arg.strip_prefix("only="));
    let wants = |name: &str| only.is_none_or(|only| only.split(',').any(|word| word == name));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let peers = Peers::find();
    let mut maker = Maker::new();
    runtime.block_on(async {
        if wants("ingest") {
            ingest(&peers, &mut maker, scale).await;
        }
        if wants("delivery") {
            delivery(&peers, &mut maker, scale).await;
        }
        if wants("stalled") {
            stalled(&peers, &mut maker, scale).await;
        }
        if wants("queries") {
            stored(&peers, 100_000 / scale).await;
        }
        if has("million") {
            stored(&peers, 1_000_000 / scale).await;
        }
    });
}

/// A relay on a folder that goes with it.
struct Fresh {
    system: System,
    _folder: tempfile::TempDir,
}

fn fresh(peers: &Peers, kind: Kind) -> Fresh {
    let folder = tempfile::tempdir().unwrap();
    Fresh {
        system: peers.start(kind, folder.path()),
        _folder: folder,
    }
}

async fn ingest(peers: &Peers, maker: &mut Maker, scale: usize) {
    println!(
        "\nIngest, durable OK, {} events under way a connection",
        client::WINDOW
    );
    println!(
        "{:<20} {:>11} {:>10} {:>12} {:>11}",
        "", "connections", "events/s", "verify only", "µs/event"
    );
    for connections in [1, 8, 64] {
        let kinds = peers.kinds();
        let mut rates = vec![Vec::new(); kinds.len()];
        let mut micros = vec![Vec::new(); kinds.len()];
        for _ in 0..ROUNDS {
            for (at, kind) in kinds.iter().enumerate() {
                let fresh = fresh(peers, *kind);
                let events = maker.make(3_000 * kind.pace() / scale);
                let rate = scenario::ingest(&fresh.system, connections, events).await;
                rates[at].push(rate.events);
                micros[at].push(rate.micros);
            }
        }
        for (at, kind) in kinds.iter().enumerate() {
            let ratios = rates[at]
                .iter()
                .zip(&rates[0])
                .map(|(this, null)| this / null);
            println!(
                "{:<20} {connections:>11} {:>10.0} {:>11.2}x {:>11.0}",
                kind.name(),
                median(rates[at].clone()),
                median(ratios.collect()),
                median(micros[at].clone()),
            );
        }
    }
}

async fn delivery(peers: &Peers, maker: &mut Maker, scale: usize) {
    println!(
        "\nFrom publishing to a subscriber, durable, one event at a time; then 1,000 events at once"
    );
    println!(
        "{:<20} {:>14} {:>16} {:>22}",
        "p50 / p99, ms", "1 subscriber", "100 subscribers", "deliveries/s at 100"
    );
    for kind in peers.kinds() {
        let fresh = fresh(peers, kind);
        let few = 100 * kind.pace() / scale;
        let one = scenario::delivery(&fresh.system, 1, &maker.make(few)).await;
        let hundred = scenario::delivery(&fresh.system, 100, &maker.make(few / 5 + 2)).await;
        let mut bursts = Vec::new();
        for _ in 0..ROUNDS {
            bursts.push(scenario::burst(&fresh.system, 100, &maker.make(1000)).await);
        }
        println!(
            "{:<20} {:>14} {:>16} {:>22.0}",
            kind.name(),
            both(one),
            both(hundred),
            median(bursts)
        );
    }
}

async fn stalled(peers: &Peers, maker: &mut Maker, scale: usize) {
    let count = 10_000 / scale;
    println!("\nA subscriber that reads nothing for 3 s while {count} events come");
    for kind in peers.kinds() {
        let fresh = fresh(peers, kind);
        let (seen, closed) = scenario::stalled(&fresh.system, maker.make(count)).await;
        let how = match (seen == count, closed) {
            (true, _) => "all of them",
            (false, true) => "then it was closed",
            (false, false) => "the rest was lost",
        };
        println!("{:<20} {seen:>7} delivered, {how}", kind.name());
    }
}

/// Queries, memory and reopening with many events.
async fn stored(peers: &Peers, count: usize) {
    println!("\nWith {count} events: p50 / p99 of a query in ms");
    let kinds = peers.kinds();
    let slow = count > 200_000;
    for kind in kinds {
        // The others would need the night for a million; nostr-rs-relay leaves events without an answer on the way to
        // a hundred thousand.
        if matches!(kind, Kind::Null | Kind::RsRelay) || (slow && kind != Kind::Treefort) {
            continue;
        }
        let mut maker = Maker::new();
        let folder = tempfile::tempdir().unwrap();
        let system = peers.start(kind, folder.path());
        let mut ids = Vec::new();
        let mut rates = Vec::new();
        let mut left = count;
        while left > 0 {
            let events: Vec<Made> = maker.make(left.min(20_000));
            left -= events.len();
            ids.extend(events.iter().step_by(16).map(|event| event.id.clone()));
            rates.push(scenario::ingest(&system, 8, events).await.events);
        }
        let tail = rates.len().saturating_sub(3);
        println!(
            "{:<20} filled at {:.0} events/s, the last of them at {:.0}; {:.0} MiB of memory",
            kind.name(),
            median(rates.clone()),
            median(rates[tail..].to_vec()),
            system.memory()
        );
        for (name, times) in scenario::queries(&system, &maker, &ids, count).await {
            println!("{:<20} {name:<28} {:>16}", "", both(times));
        }
        if kind == Kind::LocalMemory {
            continue;
        }
        drop(system);
        let again = peers.start(kind, folder.path());
        std::thread::sleep(Duration::from_secs(2));
        println!(
            "{:<20} killed and started again in {:.0} ms, {:.0} MiB of memory idle, {} MiB on disk",
            "",
            again.started.as_secs_f64() * 1000.0,
            again.memory(),
            size(folder.path()) >> 20
        );
    }
}

fn size(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size(&entry.path()),
            Ok(data) => std::os::unix::fs::MetadataExt::blocks(&data) * 512,
            Err(_) => 0,
        })
        .sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn both(mut times: Vec<Duration>) -> String {
    times.sort();
    let ms = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1000.0;
    format!("{:.3} / {:.3}", ms(50), ms(99))
}
