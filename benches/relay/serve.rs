//! treefort's relay alone, in the process that is measured.

use std::{io::Read as _, net::SocketAddr, path::PathBuf, sync::Arc};

use nostr::Keys;
use tokio::net::TcpListener;
use treefort::{
    keys::{Admission, Admit},
    relay::{Config, Identity, Relay},
    store::{EventStore, LogStore},
};

use super::null::NullStore;

/// Serves with a store in a folder, or without one. Prints the address, and ends with the standard input.
pub(crate) fn run(folder: Option<PathBuf>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store: Arc<dyn EventStore> = match &folder {
            Some(folder) => Arc::new(LogStore::open(&folder.join("events")).unwrap()),
            None => Arc::new(NullStore::new()),
        };
        let keys = Keys::generate();
        let admission = Arc::new(Admission::new(keys.public_key(), Admit::Owner));
        let identity = Identity {
            keys,
            description: String::new(),
        };
        let relay = Relay::start(Config::default(), store, identity, admission).unwrap();
        // To see what the search costs: `TREEFORT_BENCH_NO_SEARCH=1 cargo bench --bench relay`.
        if let Some(folder) = folder
            && std::env::var_os("TREEFORT_BENCH_NO_SEARCH").is_none()
        {
            relay.offer_search(folder.join("search")).unwrap();
        }
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        println!("{}", listener.local_addr().unwrap());
        let serving = relay.clone();
        let serving = tokio::spawn(async move { serving.run(listener).await });
        let wait = || std::io::stdin().read_to_end(&mut Vec::new());
        tokio::task::spawn_blocking(wait).await.unwrap().unwrap();
        relay.shutdown().await;
        serving.await.unwrap();
    });
}
