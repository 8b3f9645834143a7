//! A network of a test's own, with another computer in it and names that lead to the internet.

use std::{
    net::TcpListener,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Set inside of the network.
const INSIDE: &str = "TREEFORT_TEST_FAR";
/// This computer and a relay, as addresses of the internet.
const NEAR: &str = "93.184.216.1";
pub(super) const FAR: &str = "93.184.216.34";

/// Runs a test, by its name, in a network of its own.
pub(super) fn in_own_network(test: &str, inside: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_none() {
        return again_inside(test);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(inside);
}

fn again_inside(test: &str) {
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("util-linux's unshare");
    assert!(status.success(), "in its own network");
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
}

/// Another computer, and a cable to it.
pub(super) struct Far(Child);

impl Far {
    pub(super) fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo up; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let pid = child.id();
        run("ip link set lo up");
        run(&format!(
            "ip link add near type veth peer name far netns {pid}"
        ));
        run(&format!("ip addr add {NEAR}/24 dev near"));
        run("ip link set near up");
        run(&format!("nsenter -t {pid} -n ip addr add {FAR}/24 dev far"));
        run(&format!("nsenter -t {pid} -n ip link set far up"));
        Self(child)
    }

    /// A listener over there.
    pub(super) fn listen(&self, port: u16) -> TcpListener {
        let network = format!("/proc/{}/ns/net", self.0.id());
        let there = std::thread::spawn(move || {
            let network = std::fs::File::open(network).unwrap();
            rustix::thread::move_into_link_name_space(
                network.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )
            .unwrap();
            TcpListener::bind((FAR, port)).unwrap()
        });
        there.join().unwrap()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What names lead to, in this test alone.
pub(super) struct Names(PathBuf);

pub(super) fn names(folder: &Path) -> Names {
    let names = Names(folder.join("hosts"));
    names.lead(FAR);
    run(&format!("mount --bind {} /etc/hosts", names.0.display()));
    names
}

impl Names {
    /// From here on `relay.example` leads to this.
    pub(super) fn lead(&self, to: &str) {
        let lines = [
            "127.0.0.1 localhost".to_owned(),
            format!("{to} relay.example"),
            format!("{FAR} other.example half.example"),
            // One of its addresses is not on the internet.
            "10.0.0.1 half.example".to_owned(),
            "127.0.0.1 loop.example".to_owned(),
            "169.254.169.254 cloud.example".to_owned(),
            "10.0.0.1 private.example".to_owned(),
            "::ffff:127.0.0.1 mapped.example".to_owned(),
            "64:ff9b::7f00:1 nat.example".to_owned(),
            // An address of the internet, and this computer's own.
            format!("{NEAR} own.example"),
        ];
        // The same file, as it is mounted.
        std::fs::write(&self.0, lines.join("\n") + "\n").unwrap();
    }
}

/// Counts who connects to this computer.
pub(super) fn trap(port: u16) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    count
}
