//! Drives the real program: a home of its own, a port of its own, a scripted model, the real sandbox.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod client;
mod image;
pub(crate) mod random;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nostr::{Event, Keys, PublicKey};
use treefort::{agent::image::BASE_VARIABLE, nips::Draft};

pub(crate) use self::client::Client;
use crate::model_server::ModelServer;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_treefort");

/// What a program of a computer without Docker sees of it.
pub(crate) const NO_DOCKER: (&str, &str) = ("DOCKER_HOST", "unix:///nonexistent.sock");

/// The image that agents' images start from, where none can be pulled: the one that `tests/run` makes.
pub(crate) fn base() -> String {
    std::env::var(BASE_VARIABLE).unwrap_or_else(|_| "treefort-test-base:1".to_owned())
}

/// A running treefort; dropping it kills the program and removes its containers.
pub(crate) struct Treefort {
    home: tempfile::TempDir,
    child: Option<Child>,
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    model: String,
}

impl Treefort {
    /// Starts `treefort up` with further options; the model is `model`'s.
    pub(crate) fn start(model: &ModelServer, options: &[&str]) -> Self {
        Self::start_with(model, options, "")
    }

    /// The same, with a `treefort.toml`.
    pub(crate) fn start_with(model: &ModelServer, options: &[&str], config: &str) -> Self {
        Self::start_in(model, options, config, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn start_in(
        model: &ModelServer,
        options: &[&str],
        config: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        image::ready();
        let home = tempfile::tempdir().unwrap();
        if !config.is_empty() {
            std::fs::write(home.path().join("treefort.toml"), config).unwrap();
        }
        let mut treefort = Self {
            home,
            child: None,
            address: String::new(),
            options: options.iter().map(ToString::to_string).collect(),
            environment: std::iter::once((BASE_VARIABLE.to_owned(), base()))
                .chain(
                    environment
                        .iter()
                        .map(|(name, value)| (name.to_string(), value.to_string())),
                )
                .collect(),
            model: model.url(),
        };
        treefort.up();
        treefort
    }

    /// Starts the program again on the same home.
    pub(crate) fn up(&mut self) {
        assert!(self.child.is_none());
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["up", "--listen", "127.0.0.1:0", "--home"])
            .arg(self.home.path())
            .args(&self.options)
            .env("OLLAMA_HOST", &self.model)
            .env("RUST_LOG", "treefort=debug,info")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = line.split("http://").nth(1).and_then(|rest| {
            rest.split(|c: char| c != '.' && c != ':' && !c.is_ascii_digit())
                .next()
        });
        self.address = ready
            .unwrap_or_else(|| panic!("no ready line but {line:?}; {}", self.log()))
            .trim_end_matches(['.', ':'])
            .to_owned();
        self.child = Some(child);
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The home.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// What the program logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A connection as any client has it.
    pub(crate) async fn client(&self, keys: &Keys) -> Client {
        Client::connect(&self.address, keys.clone()).await
    }

    /// The operator's keys.
    pub(crate) fn operator(&self) -> Keys {
        self.keys("operator")
    }

    /// The coordinator's key.
    pub(crate) fn coordinator(&self) -> PublicKey {
        self.keys("coordinator").public_key()
    }

    /// What takes a job back.
    pub(crate) fn cancellation(&self, job: &Event) -> Draft {
        Draft::new(5)
            .tag(["e", &job.id.to_hex()])
            .tag(["k", &job.kind.as_u16().to_string()])
            .tag(["p", &self.coordinator().to_hex()])
    }

    fn keys(&self, name: &str) -> Keys {
        let path = self.home.path().join(format!("keys/{name}.key"));
        Keys::parse(std::fs::read_to_string(path).unwrap().trim()).unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; returns what was printed and how long the end took.
    pub(crate) fn terminate(&mut self) -> Duration {
        let mut child = self.child.take().unwrap();
        let began = Instant::now();
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        let status = child.wait().unwrap();
        let mut rest = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut rest)
            .unwrap();
        assert!(status.success(), "{status}: {}", self.log());
        began.elapsed()
    }

    /// Runs a command of the program against this home, without a terminal.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        self.command_in(self.home.path(), arguments).await
    }

    /// The same against another home.
    pub(crate) async fn command_in(&self, home: &Path, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(PROGRAM);
        command
            .args(arguments)
            .arg("--home")
            .arg(home)
            .env("OLLAMA_HOST", &self.model)
            .envs(self.environment.iter().cloned())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        tokio::time::timeout(Duration::from_secs(60), command.output())
            .await
            .unwrap()
            .unwrap()
    }

    /// The containers of this home, by name.
    pub(crate) fn containers(&self) -> Vec<String> {
        containers(&self.home_id())
    }

    /// The label that the home's containers carry.
    pub(crate) fn home_id(&self) -> String {
        self.keys("relay").public_key().to_hex()[..16].to_owned()
    }

    /// Waits until no container of a session is left (those kept warm serve none).
    pub(crate) async fn wait_for_no_containers(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.containers().is_empty() {
            assert!(Instant::now() < deadline, "left: {:?}", self.containers());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Treefort {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Asked first: a container that is being made when the program is killed comes after all looks.
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_child(&child),
                rustix::process::Signal::TERM,
            );
            let patience = Instant::now() + Duration::from_secs(6);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let words: Vec<&str> = tail.into_iter().rev().collect();
            let words = words.join("\n  ");
            let _ = writeln!(std::io::stderr(), "the program's last words:\n  {words}");
        }
        for container in self.containers() {
            let _ = Command::new("docker")
                .args(["rm", "-f", &container])
                .output();
        }
    }
}

/// The containers with a home's label.
pub(crate) fn containers(home_id: &str) -> Vec<String> {
    let filter = format!("label=treefort.home={home_id}");
    let output = Command::new("docker")
        .args(["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}
