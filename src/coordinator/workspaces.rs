//! The copies of projects that agents work on: made, opened once, and shared between a session and what its
//! owner does with them.
//!
//! A copy that is in use is in [`Workspaces`]' map, so that an undo and the agent at work see the same one;
//! its files are touched under its lock only. Everything here that reads or writes files blocks a thread of
//! its own, never the runtime's.

mod meant;

use std::{
    collections::HashMap,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
};

use nostr::PublicKey;
use sha2::{Digest as _, Sha256};

use super::{
    hold::SessionHold,
    shared::{CHECKED, STATE, Shared},
};
use crate::{
    job::Failure,
    sandbox,
    workspace::{self, About, Workspace, import, inventory, objects::Store},
};

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
    /// There is too much in it to make another copy.
    #[error("the copy has more than {max} {unit}, which is too much to check")]
    TooMuch {
        /// The bound.
        max: u64,
        /// "files" or "bytes".
        unit: &'static str,
    },
    /// There is none any more.
    #[error("this copy is gone: it was discarded or cleaned away")]
    Gone,
    /// A file of ours.
    #[error("a file of treefort's own could not be used")]
    Io(#[from] std::io::Error),
}

/// Where a copy is opened, by one at a time: two who did it at once would both bring an interrupted restore to
/// its end, and would not know of each other.
type Slot = Arc<tokio::sync::Mutex<Weak<Shared>>>;

/// What whoever wants a copy hears that was deleted: a word of its own, since nothing is wrong.
pub(super) fn gone() -> Failure {
    Failure::new("gone", Error::Gone.to_string())
}

/// All copies of a home.
#[derive(Debug)]
pub struct Workspaces {
    home: PathBuf,
    owner: Option<(u32, u32)>,
    open: Mutex<HashMap<PublicKey, Slot>>,
    /// Shared while a copy comes to be that the list does not name yet but whose store is there; alone, to remove
    /// stores that no copy of the list needs. Taken on threads that may wait.
    beginning: RwLock<()>,
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
            beginning: RwLock::default(),
        }
    }

    /// Gives the copies of a home that was brought in, and what their agents keep, to who the agents are here: what
    /// comes from elsewhere belongs to whoever brought it, and an agent could not even stand in it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn give_to_the_agents(&self) -> std::io::Result<()> {
        let Some(owner) = self.owner else {
            return Ok(());
        };
        let copies = match std::fs::read_dir(self.root()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            copies => copies?,
        };
        for copy in copies {
            let copy = copy?.path();
            for part in [copy.join("tree"), copy.join(STATE)] {
                if part.symlink_metadata().is_ok() {
                    inventory::give(&part, owner)?;
                }
            }
        }
        Ok(())
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

    /// Makes the folder of what the agent of a session will keep, anew; gives it. It is the agent's alone: nothing in
    /// it is ever opened here.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) async fn reserve_state(self: &Arc<Self>, id: PublicKey) -> Result<PathBuf, Failure> {
        let (state, owner) = (self.dir(&id).join(STATE), self.owner);
        blocking(move || {
            inventory::remove(&state)?;
            std::fs::DirBuilder::new().mode(0o700).create(&state)?;
            if let Some((user, group)) = owner {
                std::os::unix::fs::chown(&state, Some(user), Some(group))?;
            }
            Ok(state)
        })
        .await
    }

    /// Removes the folder of a session that never began.
    pub(super) async fn forget(self: &Arc<Self>, id: PublicKey) {
        let dir = self.dir(&id);
        // Nobody opens it in between.
        let opened = self.slot(&id).lock_owned().await;
        if let Some(shared) = opened.upgrade() {
            shared.holders.set_gone();
        }
        let removed = blocking(move || {
            let _opened = opened;
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

    /// Makes the folder of a new copy, without files, for the session that begins on it; a folder that was
    /// reserved is taken.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) async fn begin(self: &Arc<Self>, about: About) -> Result<SessionHold, Failure> {
        let mut opened = self.slot(&about.id).lock_owned().await;
        let this = self.clone();
        blocking(move || {
            let _beginning = this
                .beginning
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let dir = this.dir(&about.id);
            let store = this.store(about.project.as_deref())?;
            let files = Workspace::open(&dir, store, workspace::Rules::default(), this.owner)?;
            about.write(&dir)?;
            let shared = Arc::new(Shared::new(about, dir, files));
            *opened = Arc::downgrade(&shared);
            Ok(SessionHold::first(shared))
        })
        .await
    }

    /// Opens a copy; one that is in use is shared.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub(super) async fn open(self: &Arc<Self>, id: PublicKey) -> Result<Arc<Shared>, Failure> {
        let there = self.open_if_there(id).await?;
        there.ok_or_else(gone)
    }

    /// As [`Self::open`]; nothing for a copy that was discarded or cleaned away.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(super) async fn open_if_there(
        self: &Arc<Self>,
        id: PublicKey,
    ) -> Result<Option<Arc<Shared>>, Failure> {
        let mut opened = self.slot(&id).lock_owned().await;
        if let Some(shared) = opened.upgrade() {
            return Ok(Some(shared));
        }
        let this = self.clone();
        // The slot is kept as long as the opening takes, also when nobody waits for it any more.
        blocking(move || {
            let dir = this.dir(&id);
            let about = match About::read(&dir) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                about => about?,
            };
            // What a check that was cut off worked on.
            inventory::remove(&dir.join(CHECKED))?;
            let store = this.store(about.project.as_deref())?;
            let files = Workspace::open(&dir, store, workspace::Rules::default(), this.owner)?;
            let shared = Arc::new(Shared::new(about, dir, files));
            *opened = Arc::downgrade(&shared);
            Ok(Some(shared))
        })
        .await
    }

    /// Where this copy is opened; those that nobody uses are dropped.
    fn slot(&self, id: &PublicKey) -> Slot {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, slot| {
            // Two have it at hand, or it is being opened, or the copy is in use.
            Arc::strong_count(slot) > 1
                || slot
                    .try_lock()
                    .map_or(true, |shared| shared.strong_count() > 0)
        });
        open.entry(*id).or_default().clone()
    }

    /// What is remembered of every copy, the one that was asked something last first; those that cannot be read are left out.
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
            all.sort_by_key(|about| std::cmp::Reverse(about.last_asked()));
            Ok(all)
        })
        .await
    }

    /// The folders that copies were made of, the last one first, each once.
    pub async fn projects(self: &Arc<Self>) -> Vec<PathBuf> {
        let mut projects = Vec::new();
        // Without the list, a person finds the folder without it.
        for about in self.list().await.unwrap_or_default() {
            if let Some(project) = about.project
                && !projects.contains(&project)
            {
                projects.push(project);
            }
        }
        projects
    }

    /// The copies of which nobody can read what is remembered, and since when they are there.
    ///
    /// # Errors
    /// When the list itself cannot be read.
    pub(super) async fn unreadable(self: &Arc<Self>) -> Result<Vec<(PublicKey, u64)>, Failure> {
        let root = self.root();
        blocking(move || {
            let mut all = Vec::new();
            for entry in entries(&root)? {
                let name = entry.file_name().and_then(|name| name.to_str());
                let Some(id) = name.and_then(|name| PublicKey::from_hex(name).ok()) else {
                    continue;
                };
                let read = About::read(&entry);
                if read.is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound) {
                    let changed = entry.symlink_metadata()?.modified()?;
                    let at = changed.duration_since(std::time::UNIX_EPOCH);
                    all.push((id, at.map_or(0, |at| at.as_secs())));
                }
            }
            Ok(all)
        })
        .await
    }

    /// Removes such a copy, with its checkpoints' names; gives its bytes.
    ///
    /// # Errors
    /// When it can be read after all, or the disk refuses.
    pub(super) async fn remove_unreadable(self: &Arc<Self>, id: PublicKey) -> Result<u64, Failure> {
        // Nobody opens it in between.
        let opened = self.slot(&id).lock_owned().await;
        let dir = self.dir(&id);
        blocking(move || {
            let opened = opened;
            match About::read(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {}
                _ => return Err(Error::Gone),
            }
            if let Some(shared) = opened.upgrade() {
                shared.holders.set_gone();
            }
            let size = inventory::size(&dir)?;
            inventory::remove(&dir)?;
            Ok(size.bytes)
        })
        .await
    }
}

impl Workspaces {
    /// Removes the stores of projects that have no copy any more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn drop_unused_stores(&self) -> Result<(), Error> {
        let _alone = self
            .beginning
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut used = std::collections::HashSet::new();
        for entry in entries(&self.root())? {
            match About::read(&entry) {
                Ok(about) => drop(used.insert(self.store_dir(about.project.as_deref()))),
                // Kept for a session that may begin later: it needs none yet.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                // One that cannot be read may need any of them.
                Err(_) => return Ok(()),
            }
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

#[cfg(test)]
mod tests;
