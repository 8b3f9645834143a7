//! Sandboxes of every backend, with an agent that does its worst: what holds on the real Docker Engine
//! holds row by row ([`on_each`]) for the embedded one, with the control groups of this machine and without.
//!
//! The agent is a static busybox (Debian: `busybox-static`) beside the program in a `FROM scratch`
//! image, or in a sandbox that shows nothing else of this computer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;
use tokio::io::AsyncReadExt;
use treefort::sandbox::{
    Config, Content, DockerRuntime, Exit, Host, Image, ImageId, Limits, Runtime, Sandbox, Spec,
    embedded::EmbeddedRuntime,
};

mod embedded;
mod hardening;
mod images;
mod inward;
mod life;
mod pause;
mod streams;

/// What runs a home's sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The Docker Engine.
    Docker,
    /// The kernel's own parts, with the control groups that this machine allows.
    Embedded,
    /// The same without control groups, as on a machine that allows none.
    Bare,
}

/// A test of each backend out of `async fn name(home: Home)`; the home's sandboxes have `$image()`.
macro_rules! on_each {
    ($image:ident; $($name:ident),+ $(,)?) => {
        $crate::sandbox::on_each!(@ docker, Docker, $image; $($name),+);
        $crate::sandbox::on_each!(@ embedded, Embedded, $image; $($name),+);
        $crate::sandbox::on_each!(@ bare, Bare, $image; $($name),+);
    };
    (@ $module:ident, $backend:ident, $image:ident; $($name:ident),+) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $name() {
                    let image = super::$image();
                    let backend = $crate::sandbox::Backend::$backend;
                    super::$name($crate::sandbox::Home::of(backend, &image).await).await;
                }
            )+
        }
    };
}
pub(crate) use on_each;

const DOCKERFILE: &str = "FROM scratch\nCOPY treefort /treefort\nCOPY busybox /busybox\n";
pub(crate) const GRACE: Duration = Duration::from_secs(5);

pub(crate) fn busybox() -> PathBuf {
    ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("install busybox-static")
}

pub(crate) fn unique(prefix: &str) -> String {
    let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{prefix}-{}-{nanos:x}", std::process::id())
}

pub(crate) fn image() -> Image {
    image_of("test-shell", DOCKERFILE, &[("busybox", busybox())])
}

/// An image with treefort and these programs at its root, also for a sandbox without an engine.
pub(crate) fn image_of(name: &str, dockerfile: &str, programs: &[(&str, PathBuf)]) -> Image {
    let mut image = Image::new(name, dockerfile);
    let own = env!("CARGO_BIN_EXE_treefort").into();
    image
        .files
        .push(("treefort".to_owned(), Content::File(own)));
    let mut host = Host::default();
    for (name, path) in programs {
        let content = Content::File(path.clone());
        image.files.push(((*name).to_owned(), content));
        let path = path.to_str().unwrap().to_owned();
        host.reads.insert(path, format!("/{name}"));
    }
    image.host = Some(host);
    image
}

fn runtime(backend: Backend, id: &str) -> Box<dyn Runtime> {
    let embedded = || {
        let program = env!("CARGO_BIN_EXE_treefort").into();
        EmbeddedRuntime::new(id, Config::default()).with_program(program)
    };
    match backend {
        Backend::Docker => Box::new(DockerRuntime::new(id)),
        Backend::Embedded => Box::new(embedded()),
        Backend::Bare => Box::new(embedded().without_groups()),
    }
}

/// One home with its runtime; its containers go with `end`.
pub(crate) struct Home {
    pub(crate) id: String,
    pub(crate) backend: Backend,
    pub(crate) runtime: Box<dyn Runtime>,
    image: ImageId,
}

impl Home {
    pub(crate) async fn new() -> Self {
        Self::of(Backend::Docker, &image()).await
    }

    pub(crate) async fn on(backend: Backend) -> Self {
        Self::of(backend, &image()).await
    }

    /// A home whose sandboxes have this image.
    pub(crate) async fn of(backend: Backend, image: &Image) -> Self {
        let id = unique("test");
        let own = runtime(backend, &id);
        let image = if backend == Backend::Docker {
            built(image).await
        } else {
            own.prepare(image, None).await.unwrap()
        };
        Self {
            runtime: own,
            backend,
            id,
            image,
        }
    }

    /// A home whose embedded sandboxes begin as another program than treefort.
    pub(crate) async fn launched_by(program: PathBuf, image: &Image) -> Self {
        let mut home = Self::of(Backend::Embedded, image).await;
        let runtime = EmbeddedRuntime::new(&home.id, Config::default()).with_program(program);
        home.image = runtime.prepare(image, None).await.unwrap();
        home.runtime = Box::new(runtime);
        home
    }

    pub(crate) fn is_docker(&self) -> bool {
        self.backend == Backend::Docker
    }

    /// A runtime as the next treefort of this home has it.
    pub(crate) fn after_crash(&self) -> Box<dyn Runtime> {
        runtime(self.backend, &self.id)
    }

    pub(crate) fn spec(&self, script: &str) -> Spec {
        Spec {
            name: unique("treefort-test"),
            image: self.image.clone(),
            argv: ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec(),
            env: Vec::new(),
            limits: Limits {
                memory_mb: 128,
                pids: 32,
                scratch_mb: 16,
                ..Limits::default()
            },
            labels: vec![("treefort.session".to_owned(), "warm".to_owned())],
            workspace: None,
            state: None,
            private: Vec::new(),
            runtime: None,
        }
    }

    pub(crate) async fn start(&self, script: &str) -> Sandbox {
        self.runtime.start(self.spec(script)).await.unwrap()
    }

    /// Runs a script to its end: its output, the end of its errors, and its exit.
    pub(crate) async fn run(&self, script: &str) -> (String, String, Exit) {
        finish(self.start(script).await).await
    }

    /// How many sandboxes there are: containers of this home, or first processes that this test started.
    pub(crate) async fn containers(&self) -> usize {
        if !self.is_docker() {
            return launchers().len();
        }
        let docker = docker().await;
        let label = format!("treefort.home={}", self.id);
        let options = bollard::query_parameters::ListContainersOptions {
            all: true,
            filters: Some([("label".to_owned(), vec![label])].into()),
            ..Default::default()
        };
        docker.list_containers(Some(options)).await.unwrap().len()
    }

    /// Whether control groups limit the memory of its sandboxes here.
    pub(crate) async fn limits_memory(&self) -> bool {
        let probe = self.runtime.probe().await.unwrap();
        !probe.unlimited.contains(&"memory")
    }

    pub(crate) async fn end(self) {
        self.runtime.shutdown().await;
        assert_eq!(self.containers().await, 0, "nothing is left behind");
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A test that failed has no runtime any more that would remove what it left.
        if std::thread::panicking() {
            let runtime = self.after_crash();
            let sweep = std::thread::spawn(move || {
                let tasks = tokio::runtime::Runtime::new().unwrap();
                tasks.block_on(runtime.sweep()).unwrap();
            });
            drop(sweep.join());
        }
    }
}

/// The image in the engine.
async fn built(image: &Image) -> ImageId {
    // One name for all tests of this build tree, so that each build replaces the last one's.
    let tree = env!("CARGO_BIN_EXE_treefort").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let images = DockerRuntime::new(format!("test{tree}"));
    // One build at a time, over all processes that run tests: two of the same would replace each other.
    let lock = std::fs::File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/image.lock")).unwrap();
    lock.lock().unwrap();
    let image = images.prepare(image, None).await.unwrap();
    drop(lock);
    image
}

/// The first processes of the embedded sandboxes of this test.
pub(crate) fn launchers() -> Vec<u32> {
    processes()
        .into_iter()
        .filter(|process| process.parent == std::process::id())
        .filter(|process| process.state != 'Z')
        .filter(|process| {
            let command = std::fs::read(format!("/proc/{}/cmdline", process.pid));
            String::from_utf8_lossy(&command.unwrap_or_default()).contains("sandbox-enter")
        })
        .map(|process| process.pid)
        .collect()
}

/// A process of this machine.
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) state: char,
}

pub(crate) fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let mut fields = stat.rsplit_once(") ")?.1.split(' ');
            Some(Process {
                pid: entry.file_name().to_str()?.parse().ok()?,
                state: fields.next()?.chars().next()?,
                parent: fields.next()?.parse().ok()?,
            })
        })
        .collect()
}

/// Everything that a process started, and what that started.
pub(crate) fn below(root: u32) -> Vec<u32> {
    let all = processes();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|p| p.parent == parent).map(|p| p.pid));
        next += 1;
    }
    found.split_off(1)
}

pub(crate) async fn finish(mut sandbox: Sandbox) -> (String, String, Exit) {
    let mut output = Vec::new();
    let read = sandbox.agent.read_to_end(&mut output);
    tokio::time::timeout(Duration::from_secs(60), read)
        .await
        .expect("the script ends")
        .unwrap();
    let stderr = sandbox.stderr.clone();
    let exit = sandbox.exit.wait_for(Option::is_some).await.unwrap();
    let exit = exit.clone().unwrap();
    let stopped = sandbox.control.stop(GRACE).await.unwrap();
    assert_eq!(stopped, exit);
    let output = String::from_utf8_lossy(&output).into_owned();
    (output, stderr.text(), exit)
}

async fn docker() -> Docker {
    let docker = Docker::connect_with_defaults().unwrap();
    docker.negotiate_version().await.unwrap()
}

async fn inspect(id: &str) -> ContainerInspectResponse {
    docker()
        .await
        .inspect_container(id, None::<InspectContainerOptions>)
        .await
        .unwrap()
}
