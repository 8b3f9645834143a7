//! The relays that are measured, each in a process of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// What a relay is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// treefort's relay.
    Treefort,
    /// The same without a store.
    Null,
    /// LocalRelay, in memory.
    LocalMemory,
    /// LocalRelay on LMDB.
    LocalLmdb,
    /// nostr-rs-relay, on SQLite.
    RsRelay,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Treefort => "treefort",
            Self::Null => "verify only",
            Self::LocalMemory => "LocalRelay memory",
            Self::LocalLmdb => "LocalRelay LMDB",
            Self::RsRelay => "nostr-rs-relay",
        }
    }

    /// How many events a second it may be expected to take, so that a slow one does not take all evening.
    pub(crate) fn pace(self) -> usize {
        match self {
            Self::Treefort | Self::Null => 10,
            Self::LocalMemory => 5,
            Self::LocalLmdb | Self::RsRelay => 1,
        }
    }
}

/// Where the relays of others are.
pub(crate) struct Peers {
    local: Option<PathBuf>,
    rs: Option<PathBuf>,
}

impl Peers {
    /// Builds LocalRelay, and looks for nostr-rs-relay.
    pub(crate) fn find() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = folder.join("target/peers");
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--release",
                "--quiet",
                "--locked",
                "--manifest-path",
            ])
            .arg(folder.join("benches/peers/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status()
            .is_ok_and(|status| status.success());
        let host = std::env::consts::ARCH;
        let local = [
            target.join(format!(
                "{host}-unknown-linux-gnu/release/treefort-bench-peers"
            )),
            target.join("release/treefort-bench-peers"),
        ];
        let rs = target.join("bin/nostr-rs-relay");
        Self {
            local: local.into_iter().find(|path| built && path.exists()),
            rs: rs.exists().then_some(rs),
        }
    }

    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let mut kinds = vec![Kind::Null, Kind::Treefort];
        if self.local.is_some() {
            kinds.extend([Kind::LocalMemory, Kind::LocalLmdb]);
        }
        if self.rs.is_some() {
            kinds.push(Kind::RsRelay);
        }
        kinds
    }

    /// Starts one, on a folder of its own.
    pub(crate) fn start(&self, kind: Kind, folder: &Path) -> System {
        let this = std::env::current_exe().unwrap();
        let program = |path: &Option<PathBuf>| path.clone().unwrap();
        let (mut command, address) = match kind {
            Kind::Treefort | Kind::Null => {
                let mut command = Command::new(this);
                command.arg("serve");
                if kind != Kind::Null {
                    command.arg(folder);
                }
                (command, None)
            }
            Kind::LocalMemory => {
                let mut command = Command::new(program(&self.local));
                command.arg("memory");
                (command, None)
            }
            Kind::LocalLmdb => {
                let mut command = Command::new(program(&self.local));
                command.arg("lmdb").arg(folder);
                (command, None)
            }
            Kind::RsRelay => {
                let address = free();
                let config = format!(
                    "[info]\nrelay_url = \"ws://{address}/\"\n[database]\ndata_directory = {folder:?}\n\
                     [network]\naddress = \"127.0.0.1\"\nport = {}\n[limits]\n[options]\n",
                    address.port()
                );
                let path = folder.join("config.toml");
                fs::write(&path, config).unwrap();
                let mut command = Command::new(program(&self.rs));
                command.arg("--config").arg(path);
                (command, Some(address))
            }
        };
        let began = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = address.unwrap_or_else(|| {
            let mut line = String::new();
            let out = child.stdout.as_mut().unwrap();
            BufReader::new(out).read_line(&mut line).unwrap();
            line.trim().parse().unwrap()
        });
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "{kind:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        System {
            child,
            address,
            started: began.elapsed(),
        }
    }
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A relay that runs; it is killed when this goes.
pub(crate) struct System {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From its start until it took a connection.
    pub(crate) started: Duration,
}

impl System {
    /// Anonymous memory in MiB.
    pub(crate) fn memory(&self) -> f64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Processor time so far.
    pub(crate) fn used(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
