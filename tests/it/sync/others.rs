//! Relays that others wrote, as they are.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nostr_relay_builder::{LocalRelay, RelayBuilder, builder::RateLimit};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// rust-nostr's, with its bound on events a minute lifted.
pub(crate) async fn local_relay() -> LocalRelay {
    let builder = RelayBuilder::default().rate_limit(RateLimit {
        max_reqs: 500,
        notes_per_minute: 1_000_000,
    });
    let relay = LocalRelay::new(builder);
    relay.run().await.unwrap();
    relay
}

/// Where it is, as `127.0.0.1:port`.
pub(crate) async fn address(relay: &LocalRelay) -> String {
    let url = relay.url().await.to_string();
    url.trim_start_matches("ws://")
        .trim_end_matches('/')
        .to_owned()
}

/// A running nostr-rs-relay; dropping it ends it.
pub(crate) struct RsRelay {
    child: Child,
    pub(crate) address: String,
    _folder: tempfile::TempDir,
}

/// Where `tests/run setup` puts it: in the target folder.
fn program() -> PathBuf {
    // The folder is `target/debug`, or `target/<platform>/debug`.
    let folders = Path::new(crate::harness::PROGRAM)
        .ancestors()
        .skip(2)
        .take(2);
    let mut programs = folders.map(|target| target.join("nostr-rs-relay/bin/nostr-rs-relay"));
    let found = programs.find(|program| program.exists());
    found.expect("no nostr-rs-relay in the target folder; `tests/run setup` gets it")
}

impl RsRelay {
    /// With an empty database, and nothing else but its defaults.
    pub(crate) async fn start() -> Self {
        let program = program();
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let config = folder.path().join("config.toml");
        let text = format!(
            "[info]\nrelay_url = \"ws://{address}/\"\nname = \"a relay of others\"\n\
             [database]\ndata_directory = {:?}\n[network]\naddress = \"127.0.0.1\"\nport = {port}\n",
            folder.path()
        );
        std::fs::write(&config, text).unwrap();
        let log = folder.path().join("log");
        let child = Command::new(program)
            .arg("--config")
            .arg(&config)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut relay = Self {
            child,
            address,
            _folder: folder,
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&relay.address).await.is_err() {
            let ended = relay.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "it does not listen: {ended:?} {}",
                std::fs::read_to_string(&log).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        relay
    }
}

impl Drop for RsRelay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
