//! The embedded backend: sandboxes from the kernel's own parts, where there is no Docker Engine.
//!
//! A sandbox is this same program three times: `sandbox-enter` makes the namespaces (user, mount, PID, IPC,
//! network, host name, control group) and waits; `sandbox-root` is PID 1, builds a root of its own, gives up
//! every right (capabilities, new privileges, Landlock, seccomp) and becomes `sandbox-init`, the PID 1 of every
//! sandbox. There is no weaker mode: where the kernel refuses one of these, nothing runs.
//!
//! The agent's program is the host's: `[embedded]` in its `agent.toml` ([`super::Host`]) says what it needs.

mod calls;
mod cgroup;
mod confine;
pub mod enter;
mod freeze;
mod host;
pub mod inside;
mod loopback;
mod mounts;
mod pause;
mod plan;
mod refused;
mod run;
mod step;
mod syscalls;
mod tree;
mod words;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::cgroup::Places;
use self::host::Needs;
use self::plan::{Maps, Plan};
use self::run::{Launch, supervise};
use super::disk::Quota;
use super::image::Hashes;
use super::{
    AGENT_HOME, Config, Content, Control, Error, Found, Image, ImageId, Leftovers, Limits, PROGRAM,
    Probe, Progress, Runtime, Sandbox, Spec,
};

/// Where programs are looked for inside, after those of the agent.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of a file of an agent's folder that is put into a sandbox.
const MOST_FILE: u64 = 1 << 20;
/// Settings of programs that no package of the system brought; passwords may be among them.
const SETTINGS: &str = "/usr/local/etc";
/// The program that runs, even when its file was replaced by an update.
const OWN: &str = "/proc/self/exe";

/// Sandboxes of this program's own making. Linux only.
#[derive(Debug)]
pub struct EmbeddedRuntime {
    /// In front of the names of this home's control groups.
    prefix: String,
    /// treefort's own folder, which no agent is shown.
    home: Option<PathBuf>,
    config: Config,
    /// The treefort program, which sandboxes begin as.
    program: PathBuf,
    places: Arc<Places>,
    /// What each prepared agent needs, by the name that `prepare` gave it.
    ready: Mutex<HashMap<ImageId, Arc<Needs>>>,
    hashes: AsyncMutex<Hashes>,
    /// The names of the sandboxes that are there.
    names: Arc<Mutex<HashSet<String>>>,
    probes: AtomicU64,
    supervisors: TaskTracker,
    cancelled: CancellationToken,
}

impl EmbeddedRuntime {
    /// A runtime for the home with this id.
    pub fn new(home_id: &str, config: Config) -> Self {
        Self {
            prefix: format!("treefort-{home_id}-"),
            home: None,
            config,
            program: PathBuf::from(OWN),
            places: Arc::new(Places::find()),
            ready: Mutex::default(),
            hashes: AsyncMutex::default(),
            names: Arc::default(),
            probes: AtomicU64::default(),
            supervisors: TaskTracker::new(),
            cancelled: CancellationToken::new(),
        }
    }

    /// The same for a home in this folder: what is there is shown to nobody.
    #[must_use]
    pub fn with_home(mut self, home: &Path) -> Self {
        self.home = Some(home.to_owned());
        self
    }

    /// The same, with the treefort program at `program` instead of the one that runs.
    #[must_use]
    pub fn with_program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// The same without control groups, as on a machine that allows none.
    #[must_use]
    pub fn without_groups(mut self) -> Self {
        self.places = Arc::default();
        self
    }

    /// What an agent needs of this machine. Looks, and makes nothing.
    fn needs(&self, image: &Image) -> Result<Needs, Error> {
        let agent = || image.agent.clone();
        let host = image
            .host
            .as_ref()
            .ok_or_else(|| Error::NeedsEngine { agent: agent() })?;
        if let Some(refused) = host.refused(self.home.as_deref()).into_iter().next() {
            return Err(Error::Shows {
                agent: agent(),
                refused,
            });
        }
        let path = std::env::var("PATH").unwrap_or_default();
        host::needs(host, &path, &self.private()).map_err(|missing| Error::NoProgram {
            agent: agent(),
            program: missing.program,
            install: host.install.clone(),
        })
    }

    /// The same, with the texts of the files that are made for it.
    async fn needs_and_files(&self, image: &Image) -> Result<Needs, Error> {
        let mut needs = self.needs(image)?;
        for (name, target) in image.host.iter().flat_map(|host| &host.files) {
            let text = content(image, name).await?;
            needs.files.push((PathBuf::from(target), text));
        }
        Ok(needs)
    }

    async fn prepare_inner(&self, image: &Image) -> Result<ImageId, Error> {
        let needs = self.needs_and_files(image).await?;
        let file = needs.file.clone().unwrap_or_else(|| self.program.clone());
        let mut hashes = self.hashes.lock().await;
        let hash = hashes.of_file(&file).await?;
        let id = ImageId::from(format!("host/{}@sha256:{hash}", image.agent));
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.insert(id.clone(), Arc::new(needs));
        Ok(id)
    }

    /// Folders whose files are a person's or treefort's own, wherever they lie, and those of their settings.
    fn private(&self) -> Vec<PathBuf> {
        let personal = std::env::home_dir();
        let own = self.home.clone().into_iter().chain(personal);
        let folders = own.chain([PathBuf::from(SETTINGS)]);
        let real = folders.filter_map(|folder| std::fs::canonicalize(folder).ok());
        // Of some users of the system itself it is where programs are.
        real.filter(|folder| !std::env::split_paths(PATH).any(|programs| programs == *folder))
            .collect()
    }

    async fn start_inner(&self, spec: Spec) -> Result<Sandbox, Error> {
        let known = {
            let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            ready.get(&spec.image).cloned()
        };
        let needs = known.ok_or_else(|| Error::ImageMissing {
            image: spec.image.to_string(),
        })?;
        if self.cancelled.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let (control, commands) = Control::new(&self.cancelled);
        let (ready, started) = oneshot::channel();
        let maps = if rustix::process::geteuid().is_root() {
            Maps::Host
        } else {
            Maps::Own
        };
        let launch = Launch {
            name: spec.name.clone(),
            limits: spec.limits,
            reserved_mb: needs.reserved_mb,
            plan: plan(
                spec,
                &needs,
                &self.program,
                maps,
                self.private(),
                self.config.quota(),
            )?,
            program: self.program.clone(),
            maps,
            places: Arc::clone(&self.places),
            prefix: self.prefix.clone(),
        };
        let name = launch.name.clone();
        let names = Arc::clone(&self.names);
        let taken = |names: &Mutex<HashSet<String>>| {
            let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
            !names.insert(name.clone())
        };
        if taken(&names) {
            return Err(Error::Start {
                message: format!("there is a sandbox called {name} already"),
            });
        }
        self.supervisors.spawn(async move {
            supervise(launch, commands, ready).await;
            let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
            names.remove(&name);
        });
        let parts = started.await.map_err(|_| Error::ShuttingDown)??;
        Ok(Sandbox {
            id: parts.id,
            agent: parts.agent,
            stderr: parts.stderr,
            http: parts.http,
            net: parts.net,
            inward: parts.inward,
            exit: control.exit(),
            control,
        })
    }

    /// Builds a sandbox and ends it: only the kernel knows what it allows.
    async fn probe_inner(&self) -> Result<Probe, Error> {
        let id = ImageId::from("host/probe".to_owned());
        let number = self.probes.fetch_add(1, Ordering::Relaxed);
        {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            ready.insert(id.clone(), Arc::default());
        }
        let sandbox = self
            .start_inner(Spec {
                name: format!("probe-{}-{number}", std::process::id()),
                image: id,
                argv: vec![PROGRAM.to_owned(), "--version".to_owned()],
                env: Vec::new(),
                limits: Limits::default(),
                labels: Vec::new(),
                workspace: None,
                state: None,
                private: Vec::new(),
                runtime: None,
            })
            .await?;
        sandbox.stop(std::time::Duration::ZERO).await?;
        Ok(words::probe(self.places.holds(), &self.config))
    }
}

/// The text of a file of the agent's folder.
async fn content(image: &Image, name: &str) -> Result<String, Error> {
    let found = image.files.iter().find(|(known, _)| known == name);
    let fail = |source| Error::ImageFile {
        path: name.into(),
        source,
    };
    let bytes = match found.map(|(_, content)| content) {
        Some(Content::Bytes(bytes)) => bytes.clone(),
        Some(Content::File(path)) => {
            let meta = tokio::fs::metadata(path).await.map_err(fail)?;
            if meta.len() > MOST_FILE {
                return Err(fail(std::io::ErrorKind::FileTooLarge.into()));
            }
            tokio::fs::read(path).await.map_err(fail)?
        }
        None => return Err(fail(std::io::ErrorKind::NotFound.into())),
    };
    String::from_utf8(bytes).map_err(|_| fail(std::io::ErrorKind::InvalidData.into()))
}

/// What the sandbox of `spec` is to be made of.
/// `private` holds what is covered where it lies in what is shown.
fn plan(
    spec: Spec,
    needs: &Needs,
    program: &Path,
    maps: Maps,
    mut private: Vec<PathBuf>,
    quota: Quota,
) -> Result<Plan, Error> {
    super::docker_spec::check(&spec)?;
    let mut argv = spec.argv;
    if let (Some(first), Some(program)) = (argv.first_mut(), &needs.program) {
        first.clone_from(program);
    }
    let path = needs.path.iter().map(String::as_str).chain([PATH]);
    let mut env = vec![
        ("HOME".to_owned(), AGENT_HOME.to_owned()),
        ("TMPDIR".to_owned(), "/tmp".to_owned()),
        ("PATH".to_owned(), path.collect::<Vec<_>>().join(":")),
    ];
    env.extend(spec.env);
    let resolve = |path: PathBuf| {
        std::fs::canonicalize(&path).map_err(|source| Error::ImageFile { path, source })
    };
    // What the link leads to; where that was replaced, the sandbox copies the program that it is itself.
    let program = std::fs::read_link(program).unwrap_or_else(|_| program.to_owned());
    let workspace = spec.workspace.map(resolve).transpose()?;
    let state = spec.state.map(resolve).transpose()?;
    private.extend(
        spec.private
            .into_iter()
            .filter_map(|path| path.canonicalize().ok()),
    );
    let sockets = std::fs::read("/proc/net/unix").unwrap_or_default();
    Ok(Plan {
        covered: host::covered(&needs.shown, &String::from_utf8_lossy(&sockets), &private),
        argv,
        env,
        program,
        shown: needs.shown.iter().cloned().collect(),
        links: needs.links.clone(),
        files: needs.files.clone(),
        workspace,
        state,
        becomes: maps == Maps::Host,
        scratch_mb: spec.limits.scratch_mb,
        process_mb: None,
        file_bytes: quota.bytes,
        pids: spec.limits.pids,
    })
}

impl Runtime for EmbeddedRuntime {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, Error>> {
        self.probe_inner().boxed()
    }

    fn find<'a>(&'a self, image: &'a Image) -> BoxFuture<'a, Result<Found, Error>> {
        let found = |needs: Needs| Found::Host {
            program: needs.file,
        };
        async move { self.needs_and_files(image).await.map(found) }.boxed()
    }

    fn prepare<'a>(
        &'a self,
        image: &'a Image,
        _progress: Option<Progress>,
    ) -> BoxFuture<'a, Result<ImageId, Error>> {
        self.prepare_inner(image).boxed()
    }

    /// Preparing looks, and makes nothing.
    fn missing<'a>(&'a self, image: &'a Image) -> BoxFuture<'a, Option<Error>> {
        // Without its hash: a large program takes a second, and this is asked at every start.
        async { self.needs_and_files(image).await.err() }.boxed()
    }

    fn start(&self, spec: Spec) -> BoxFuture<'_, Result<Sandbox, Error>> {
        self.start_inner(spec).boxed()
    }

    fn sweep(&self) -> BoxFuture<'_, Result<usize, Error>> {
        let (places, prefix) = (Arc::clone(&self.places), self.prefix.clone());
        async move {
            let swept = tokio::task::spawn_blocking(move || places.sweep(&prefix)).await;
            swept.map_err(|_| Error::ShuttingDown)
        }
        .boxed()
    }

    fn leftovers(&self) -> BoxFuture<'_, Result<Leftovers, Error>> {
        async { Ok(Leftovers::default()) }.boxed()
    }

    fn clean(&self, _images: bool) -> BoxFuture<'_, Result<Leftovers, Error>> {
        async { Ok(Leftovers::default()) }.boxed()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        async {
            self.cancelled.cancel();
            self.supervisors.close();
            self.supervisors.wait().await;
        }
        .boxed()
    }
}
