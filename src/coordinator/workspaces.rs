//! The copies of projects that agents work on: made, opened once, and shared between a session and what its
//! owner does with them.
//!
//! A copy that is in use is in [`Workspaces`]' map, so that an undo and the agent at work see the same one;
//! its files are touched under its lock only. Everything here that reads or writes files blocks a thread of
//! its own, never the runtime's.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use nostr::PublicKey;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedMutexGuard, mpsc};

use crate::{
    job::Failure,
    nips::workspace::Which,
    sandbox,
    workspace::{
        self, About, Checkpoint, ObjectId, Workspace,
        import::{self, Imported},
        inventory,
        objects::Store,
    },
};

/// Copies of a folder that are looked at to find the last work on it.
const LOOKED_AT: usize = 50;

/// Why something could not be done with a copy.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Its checkpoints.
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
    /// The project that it is made of.
    #[error(transparent)]
    Import(#[from] import::Error),
    /// What changed in it.
    #[error(transparent)]
    Diff(#[from] workspace::diff::Error),
    /// The way of its changes home.
    #[error(transparent)]
    Apply(#[from] workspace::apply::Error),
    /// There is none any more.
    #[error("this copy is gone: it was discarded or cleaned away")]
    Gone,
    /// A file of ours.
    #[error("a file of treefort's own could not be used")]
    Io(#[from] std::io::Error),
}

/// All copies of a home.
#[derive(Debug)]
pub struct Workspaces {
    home: PathBuf,
    owner: Option<(u32, u32)>,
    open: Mutex<HashMap<PublicKey, Weak<Shared>>>,
}

/// A copy in use.
#[derive(Debug)]
pub(super) struct Shared {
    /// Its id.
    pub(super) id: PublicKey,
    dir: PathBuf,
    pub(super) about: Mutex<About>,
    files: Arc<tokio::sync::Mutex<Workspace>>,
    live: Mutex<Option<Live>>,
}

/// The session that works on a copy right now.
#[derive(Debug, Clone)]
pub(super) struct Live {
    /// Stops the agent for a moment.
    pub(super) pause: sandbox::Handle,
    /// Tells the session what its owner did.
    pub(super) told: mpsc::Sender<Told>,
}

/// What a session is told.
#[derive(Debug)]
pub(super) enum Told {
    /// A state was brought back under it; it answers when that is on its record.
    Restored {
        /// What happened.
        undone: workspace::Undone,
        /// The checkpoint that was asked for.
        to: u32,
        /// Answered when the record has it.
        recorded: tokio::sync::oneshot::Sender<()>,
    },
}

/// What a job wants to be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A copy of this folder, with what git ignores or without.
    Project { path: PathBuf, ignored: bool },
    /// Nothing yet.
    Empty,
}

impl Workspaces {
    /// The copies of the home at `home`.
    #[must_use]
    pub fn new(home: PathBuf) -> Self {
        // The agent of a treefort that runs as root is somebody else inside.
        let owner = rustix::process::getuid()
            .is_root()
            .then_some((sandbox::AGENT_ID, sandbox::AGENT_ID));
        Self {
            home,
            owner,
            open: Mutex::default(),
        }
    }

    /// Where a copy lies.
    fn dir(&self, id: &PublicKey) -> PathBuf {
        self.root().join(id.to_hex())
    }

    /// Where all copies lie.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.home.join("workspaces")
    }

    /// Where the checkpoints of all copies lie, one store a project.
    pub(super) fn stores(&self) -> PathBuf {
        self.home.join("projects")
    }

    /// Where the object store of a project lies, or that of copies that began with nothing.
    fn store_dir(&self, project: Option<&Path>) -> PathBuf {
        let name = project.map_or_else(
            || "none".to_owned(),
            |path| {
                hex::encode(Sha256::digest(path.as_os_str().as_encoded_bytes()))[..16].to_owned()
            },
        );
        self.stores().join(name)
    }

    fn store(&self, project: Option<&Path>) -> Result<Arc<Store>, Error> {
        Ok(Arc::new(Store::open(&self.store_dir(project))?))
    }

    /// The folder that a job names, if it may be worked on.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub(super) fn check(&self, path: &str) -> Result<PathBuf, Failure> {
        import::check_source(Path::new(path), &self.home)
            .map_err(|error| Failure::new("workspace", error.to_string()))
    }

    /// Makes an empty folder for a session that may begin later; gives what its agent will see.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) async fn reserve(self: &Arc<Self>, id: PublicKey) -> Result<PathBuf, Failure> {
        let this = self.clone();
        blocking(move || Ok(Workspace::reserve(&this.dir(&id), this.owner)?)).await
    }

    /// Removes the folder of a session that never began.
    pub(super) async fn forget(self: &Arc<Self>, id: PublicKey) {
        let dir = self.dir(&id);
        let removed = blocking(move || {
            if dir.exists() {
                inventory::remove(&dir)?;
            }
            Ok(())
        });
        if let Err(failure) = removed.await {
            tracing::warn!(
                reason = failure.sentence,
                "the folder of an unused session stays"
            );
        }
    }

    /// Makes the folder of a new copy, without files; one that was reserved is taken.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) async fn begin(self: &Arc<Self>, about: About) -> Result<Arc<Shared>, Failure> {
        let this = self.clone();
        blocking(move || {
            let dir = this.dir(&about.id);
            let store = this.store(about.project.as_deref())?;
            let files = Workspace::open(&dir, store, workspace::Rules::default(), this.owner)?;
            about.write(&dir)?;
            Ok(this.share(about, dir, files))
        })
        .await
    }

    /// Opens a copy; one that is in use is shared.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub(super) async fn open(self: &Arc<Self>, id: PublicKey) -> Result<Arc<Shared>, Failure> {
        if let Some(shared) = self.in_use(&id) {
            return Ok(shared);
        }
        let this = self.clone();
        blocking(move || {
            let dir = this.dir(&id);
            let about = match About::read(&dir) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(Error::Gone);
                }
                about => about?,
            };
            let store = this.store(about.project.as_deref())?;
            let files = Workspace::open(&dir, store, workspace::Rules::default(), this.owner)?;
            Ok(this.share(about, dir, files))
        })
        .await
    }

    fn in_use(&self, id: &PublicKey) -> Option<Arc<Shared>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(id).and_then(Weak::upgrade)
    }

    /// The first one that opens a copy is the one that all share.
    fn share(&self, about: About, dir: PathBuf, files: Workspace) -> Arc<Shared> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = open.get(&about.id).and_then(Weak::upgrade) {
            return shared;
        }
        open.retain(|_, shared| shared.strong_count() > 0);
        let shared = Arc::new(Shared {
            id: about.id,
            dir,
            about: Mutex::new(about),
            files: Arc::new(tokio::sync::Mutex::new(files)),
            live: Mutex::default(),
        });
        open.insert(shared.id, Arc::downgrade(&shared));
        shared
    }

    /// What is remembered of every copy, newest first; those that cannot be read are left out.
    ///
    /// # Errors
    /// When the list itself cannot be read.
    pub(super) async fn list(self: &Arc<Self>) -> Result<Vec<About>, Failure> {
        let root = self.root();
        blocking(move || {
            let mut all: Vec<About> = entries(&root)?
                .iter()
                .filter_map(|entry| About::read(entry).ok())
                .collect();
            all.sort_by_key(|about| std::cmp::Reverse((about.created_at, about.id)));
            Ok(all)
        })
        .await
    }

    /// The copy that a task means. `of` gives the copy of a session.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn find(
        self: &Arc<Self>,
        which: &Which,
        of: impl FnOnce(&PublicKey) -> Option<PublicKey>,
    ) -> Result<Arc<Shared>, Failure> {
        let none = |sentence: &str| Failure::new("workspace", sentence.to_owned());
        let id = match which {
            Which::Session(session) => {
                of(session).ok_or_else(|| none("this session has no copy of a project"))?
            }
            Which::Project(path) => {
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
                let all = self.list().await?;
                // A person may be in a folder of the project.
                let of = path.ancestors().find_map(|folder| {
                    let of = |about: &&About| about.project.as_deref() == Some(folder);
                    let copies: Vec<PublicKey> =
                        all.iter().filter(of).map(|about| about.id).collect();
                    (!copies.is_empty()).then_some(copies)
                });
                let copies = of.ok_or_else(|| none("no agent has worked on this folder"))?;
                self.newest_with_work(&copies).await
            }
            Which::Newest => {
                let all = self.list().await?;
                all.first()
                    .ok_or_else(|| none("no agent has worked on a folder yet"))?
                    .id
            }
        };
        self.open(id).await
    }
}

impl Workspaces {
    /// The first of these in which something happened: a command that only looked is not what is meant by
    /// "the last work on this folder".
    async fn newest_with_work(self: &Arc<Self>, copies: &[PublicKey]) -> PublicKey {
        for id in copies.iter().take(LOOKED_AT) {
            if let Ok(shared) = self.open(*id).await
                && shared.has_work().await
            {
                return *id;
            }
        }
        copies[0]
    }

    /// Removes the stores of projects that have no copy any more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn drop_unused_stores(&self) -> Result<(), Error> {
        let mut used = std::collections::HashSet::new();
        for entry in entries(&self.root())? {
            // One that cannot be read may need any of them.
            let Ok(about) = About::read(&entry) else {
                return Ok(());
            };
            used.insert(self.store_dir(about.project.as_deref()));
        }
        for store in entries(&self.stores())? {
            if !used.contains(&store) {
                inventory::remove(&store)?;
            }
        }
        Ok(())
    }
}

/// The paths in a folder; none when it is not there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

impl Shared {
    /// What is remembered of it.
    pub(super) fn about(&self) -> About {
        self.about
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes what is remembered of it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) async fn remember(
        self: &Arc<Self>,
        change: impl FnOnce(&mut About) + Send + 'static,
    ) -> Result<(), Failure> {
        let this = self.clone();
        blocking(move || Ok(this.remember_now(change)?)).await
    }

    /// Whether anything was ever changed in it, or taken home from it. What cannot be read may hold anything.
    pub(super) async fn has_work(&self) -> bool {
        if !self.about().applied.is_empty() || self.live().is_some() {
            return true;
        }
        let changed = self
            .with(|files| {
                let all = files.checkpoints()?;
                Ok(all.iter().any(|at| {
                    at.left_out > 0 || Some(at.tree) != all.first().map(|first| first.tree)
                }))
            })
            .await;
        changed.unwrap_or(true)
    }

    /// The folder that the agent sees.
    pub(super) fn tree_dir(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// The folder of the copy.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The session that works on it, if one does.
    pub(super) fn live(&self) -> Option<Live> {
        self.live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A session begins to work on it, or ends.
    pub(super) fn set_live(&self, live: Option<Live>) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = live;
    }

    /// Does something with the files, alone.
    ///
    /// # Errors
    /// The work's own.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Workspace) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut files: OwnedMutexGuard<Workspace> = self.files.clone().lock_owned().await;
        blocking(move || work(&mut files)).await
    }

    /// Copies the project in, and takes the first checkpoint, which an apply compares with.
    ///
    /// # Errors
    /// When the project cannot be read or is too large.
    pub(super) async fn fill(
        self: &Arc<Self>,
        source: Source,
        owner: Option<(u32, u32)>,
        at: u64,
    ) -> Result<(Imported, Checkpoint), Failure> {
        let tree = self.tree_dir();
        let (imported, first) = self
            .with(move |files| {
                let imported = match &source {
                    Source::Project { path, ignored } => {
                        let options = import::Options {
                            ignored: *ignored,
                            ..import::Options::default()
                        };
                        import::copy(path, &tree, &options, owner)?
                    }
                    Source::Empty => Imported::default(),
                };
                let first = files.checkpoint("the project as it was", at)?;
                let branch = imported.branch.clone().unwrap_or_else(|| "main".to_owned());
                files.plant_git(&branch, at)?;
                Ok((imported, first))
            })
            .await?;
        let (branch, base): (Option<String>, ObjectId) = (imported.branch.clone(), first.tree);
        self.remember(move |about| {
            about.branch = branch;
            about.base = Some(base);
        })
        .await?;
        Ok((imported, first))
    }
}

impl Workspaces {
    /// Who owns the files inside, when that is not who runs treefort.
    pub(super) fn owner(&self) -> Option<(u32, u32)> {
        self.owner
    }
}

/// Runs work that waits for the disk.
///
/// # Errors
/// The work's own, as a failure of the job.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::new("workspace", sentence(&error))),
        Err(_) => Err(Failure::new("workspace", "work on the files ended early")),
    }
}

/// An error with its causes, in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}
