//! Sandboxes on the real Docker Engine, with an agent that does its worst.
//!
//! The agent is a static busybox (Debian: `busybox-static`) beside the program in a `FROM scratch`
//! image.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;
use tokio::io::AsyncReadExt;
use treefort::sandbox::{
    Content, DockerRuntime, Exit, Image, ImageId, Limits, Runtime, Sandbox, Spec,
};

mod hardening;
mod images;
mod life;
mod pause;
mod streams;

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

fn image() -> Image {
    let mut image = Image::new("test-shell", DOCKERFILE);
    image.files = vec![
        (
            "treefort".to_owned(),
            Content::File(env!("CARGO_BIN_EXE_treefort").into()),
        ),
        ("busybox".to_owned(), Content::File(busybox())),
    ];
    image
}

/// One home with its runtime; its containers go with `end`.
pub(crate) struct Home {
    pub(crate) id: String,
    pub(crate) runtime: DockerRuntime,
    image: ImageId,
}

impl Home {
    pub(crate) async fn new() -> Self {
        Self::of(&image()).await
    }

    /// A home whose sandboxes have this image.
    pub(crate) async fn of(image: &Image) -> Self {
        // One name for all tests of this build tree, so that each build replaces the last one's.
        let tree =
            env!("CARGO_BIN_EXE_treefort").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let images = DockerRuntime::new(format!("test{tree}"));
        // One build at a time, over all processes that run tests: two of the same would replace each other.
        let lock =
            std::fs::File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/image.lock")).unwrap();
        lock.lock().unwrap();
        let image = images.prepare(image, None).await.unwrap();
        drop(lock);
        let id = unique("test");
        Self {
            runtime: DockerRuntime::new(id.clone()),
            id,
            image,
        }
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

    pub(crate) async fn containers(&self) -> usize {
        let docker = docker().await;
        let label = format!("treefort.home={}", self.id);
        let options = bollard::query_parameters::ListContainersOptions {
            all: true,
            filters: Some([("label".to_owned(), vec![label])].into()),
            ..Default::default()
        };
        docker.list_containers(Some(options)).await.unwrap().len()
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
            let id = self.id.clone();
            let sweep = std::thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(DockerRuntime::new(id).sweep()).unwrap();
            });
            drop(sweep.join());
        }
    }
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
