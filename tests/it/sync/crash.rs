//! `kill -9` at random points of a sync. `TREEFORT_SYNC_KILLS` and `TREEFORT_SYNC_EVENTS` make it longer or shorter.

use super::*;
use crate::harness::random::Random;

/// How many events, and how often the program is killed.
const EVENTS: usize = 10_000;
const KILLS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_host_dies_every_event_arrives_once() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let kills = number("TREEFORT_SYNC_KILLS").unwrap_or(KILLS);
    let events = number("TREEFORT_SYNC_EVENTS").map_or(EVENTS, |n| usize::try_from(n).unwrap());
    let mut random = Random::new();
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_in(&model, &[], "", &[NO_DOCKER]);
    let operator = treefort.operator();
    let recipes: Vec<Event> = (0..events).map(|n| recipe(&operator, n)).collect();
    let mut client = treefort.client(&operator).await;
    give(&mut client, &recipes).await;
    let (foreign, cutting) = (
        Foreign::start(Manner {
            slow: 1,
            ..Manner::default()
        })
        .await,
        Foreign::start(Manner {
            cut_after: Some(400),
            ..Manner::default()
        })
        .await,
    );
    set(
        &mut treefort,
        &stream("up", &[foreign.url(), cutting.url()]),
    );
    let began = Instant::now();
    let step = 2 * u64::try_from(events).unwrap() / kills;
    let (mut amid, mut moved, mut before) = (0, 0, (0, 0));
    for _ in 0..kills {
        // One in three dies soon after it began, the others anywhere on the way.
        let goal = match random.below(3) {
            0 => 0,
            _ => foreign.count() + 1 + usize::try_from(random.below(step)).unwrap(),
        };
        let longest = Instant::now() + PATIENCE;
        while foreign.count() < goal.min(events) && Instant::now() < longest {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let pause = if goal == 0 { 1500 } else { 20 };
        tokio::time::sleep(Duration::from_millis(random.below(pause))).await;
        treefort.kill();
        let arrived = (foreign.count(), cutting.count());
        amid += u64::from(arrived.0 < events || arrived.1 < events);
        moved += u64::from(arrived != before);
        before = arrived;
        treefort.up();
    }
    // Unoptimised, a look for secrets takes its time.
    let patience = PATIENCE.max(Duration::from_millis(60) * u32::try_from(events).unwrap());
    let deadline = Instant::now() + patience;
    while foreign.count() < events || cutting.count() < events {
        let counts = (foreign.count(), cutting.count());
        assert!(Instant::now() < deadline, "{counts:?}: {}", treefort.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    same_bytes(&foreign, &recipes);
    same_bytes(&cutting, &recipes);
    let sends: usize = [&foreign, &cutting]
        .iter()
        .flat_map(|relay| relay.sent().into_values())
        .sum();
    eprintln!(
        "{events} events, killed {kills} times, {amid} of them before all was there and {moved} after something had \
         arrived; {sends} sent to two relays on {} connections in {:?}",
        foreign.connections() + cutting.connections(),
        began.elapsed()
    );
    assert_eq!(sends, 2 * events);
    assert!(
        moved >= kills / 3,
        "it was killed in the middle {moved} times"
    );
}
