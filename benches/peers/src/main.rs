//! LocalRelay of `nostr-relay-builder`, to be measured beside treefort: `peers memory` or `peers lmdb DIR`.
//!
//! Prints its address and runs until its standard input ends.

use std::io::Read as _;

use nostr_relay_builder::{
    LocalRelay, RelayBuilder,
    builder::RateLimit,
    prelude::{MemoryDatabase, MemoryDatabaseOptions},
};

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    // Its own limits are for relays that strangers use.
    let builder = RelayBuilder::default().rate_limit(RateLimit {
        max_reqs: 100_000,
        notes_per_minute: u32::MAX,
    });
    let builder = match args.next().as_deref() {
        Some("memory") => builder.database(MemoryDatabase::with_opts(MemoryDatabaseOptions {
            events: true,
            max_events: None,
        })),
        Some("lmdb") => {
            let folder = args.next().expect("peers lmdb DIR");
            let store = nostr_lmdb::NostrLMDB::open(folder).expect("the store opens");
            builder.database(store)
        }
        _ => panic!("peers memory | peers lmdb DIR"),
    };
    let relay = LocalRelay::new(builder);
    relay.run().await.expect("the relay runs");
    let url = relay.url().await.to_string();
    let address = url.trim_start_matches("ws://").trim_end_matches('/');
    println!("{address}");
    let wait = || std::io::stdin().read_to_end(&mut Vec::new());
    let ended = tokio::task::spawn_blocking(wait).await;
    ended.expect("a thread").expect("standard input");
}
