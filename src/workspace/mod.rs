//! A session's workspace: a folder that an agent may do anything to, and checkpoints that bring back any
//! state of it.
//!
//! [`Workspace`] is the entry. `tree/` below its folder is what the agent sees; the objects of its
//! checkpoints are in a project's [`objects::Store`], which only the host sees. Everything in here
//! blocks, so callers on a runtime use `spawn_blocking`.
//!
//! The invariants, each with tests beside the code: a checkpoint is byte for byte what was there, or names
//! what it leaves out ([`Uncovered`]); a restore that began is finished, also by the next process
//! (`restore.json`); nothing outside of `tree/` is ever read or written because of what is in it; and no
//! program of anybody's runs.

pub mod about;
pub mod apply;
pub mod attach;
pub(crate) mod beneath;
pub mod browse;
pub mod diff;
mod error;
pub mod flags;
mod git;
mod history;
mod id;
pub mod import;
pub mod inventory;
mod ladder;
mod left_out;
pub mod merge;
pub mod nested;
pub mod objects;
mod restore;
pub mod snapshot;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, chown},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{CWD, Mode, openat};
use serde::{Deserialize, Serialize};

pub use self::{
    about::{About, Memory},
    error::Error,
    git::give_git_to_the_agent,
    id::{Collision, NotAnId, ObjectId},
    snapshot::{Rules, Uncovered, Why},
};
use self::{
    left_out::Beginning,
    objects::{Store, sync_folder, write_durably},
    restore::{Report, Restore},
    snapshot::{Scope, Snapshot, cache::Cache},
};

/// How the reason of a checkpoint begins that an undo made; the number of the one that it brought back follows.
pub const UNDO_REASON: &str = "undo to checkpoint ";

/// A state of a workspace that can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Counts from 1 in its workspace.
    pub number: u32,
    /// The commit, under `refs/treefort/<session>/<number>`.
    pub commit: ObjectId,
    /// The tree of everything that is covered.
    pub tree: ObjectId,
    /// The tree of the checkpoint before it.
    pub before: Option<ObjectId>,
    /// Why it was made.
    pub reason: String,
    /// When it was made, in seconds since 1970.
    pub at: u64,
    /// How many files and links it covers.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How much of what it does not cover was made, changed or removed since the copy began.
    pub left_out: u64,
    /// What it does not cover; only in what [`Workspace::checkpoint`] and [`Workspace::undo`] return.
    pub uncovered: Vec<Uncovered>,
}

/// What an undo did.
#[derive(Debug, Clone)]
pub struct Undone {
    /// The state before it, so that it can be undone.
    pub before: Checkpoint,
    /// The state that it brought back; its tree is the one asked for, unless `kept` says why not.
    pub after: Checkpoint,
    /// Files and links that were written or given other permissions.
    pub written: u64,
    /// Files, links and folders that were removed.
    pub removed: u64,
    /// What no checkpoint covers and what could not be changed; it was left as it is, or moved to `kept/`
    /// in the workspace's folder when it was in the place of a covered file.
    pub kept: Vec<Uncovered>,
}

/// A restore that is on its way, in `restore.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    v: u32,
    tree: ObjectId,
    reason: String,
    at: u64,
}

const fn no_limit() -> u64 {
    u64::MAX
}

/// One session's folder. One value at a time may be open for a folder.
#[derive(Debug)]
pub struct Workspace {
    dir: PathBuf,
    tree: PathBuf,
    root: OwnedFd,
    store: Arc<Store>,
    rules: Rules,
    owner: Option<(u32, u32)>,
    prefix: String,
    last: Option<Checkpoint>,
    cache: Cache,
    beginning: Beginning,
    /// What the last look did not cover.
    seen: Option<Vec<Uncovered>>,
}

impl Workspace {
    /// Makes a workspace with an empty tree. `owner` are the user and the group that files get, when treefort
    /// runs as root.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], [`Error::Io`].
    pub fn create(
        dir: &Path,
        store: Arc<Store>,
        rules: Rules,
        owner: Option<(u32, u32)>,
    ) -> Result<Self, Error> {
        Self::reserve(dir, owner)?;
        Self::open(dir, store, rules, owner)
    }

    /// Makes the folder of a workspace that [`Workspace::open`] takes later, with an empty tree; gives the tree.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Io`].
    pub fn reserve(dir: &Path, owner: Option<(u32, u32)>) -> Result<PathBuf, Error> {
        let tree = dir.join("tree");
        if tree.symlink_metadata().is_ok() {
            return Err(Error::Exists(dir.to_owned()));
        }
        let failed = Error::io("making a workspace at", dir);
        let mut builder = fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        // 0755 needs no mode of its own in git's trees; the folder above is closed to others.
        builder
            .recursive(false)
            .mode(0o755)
            .create(&tree)
            .map_err(failed)?;
        if let Some((user, group)) = owner {
            chown(&tree, Some(user), Some(group)).map_err(failed)?;
        }
        sync_folder(dir)?;
        Ok(tree)
    }

    /// Opens a workspace, and finishes a restore that was interrupted first.
    ///
    /// # Errors
    /// [`Error::None`], [`Error::Name`], [`Error::Io`], and those of the store when a restore must be finished.
    pub fn open(
        dir: &Path,
        store: Arc<Store>,
        rules: Rules,
        owner: Option<(u32, u32)>,
    ) -> Result<Self, Error> {
        let name = dir.file_name().and_then(|name| name.to_str());
        let session = name.ok_or_else(|| Error::Name(dir.to_owned()))?;
        let prefix = format!("refs/treefort/{session}/");
        let tree = dir.join("tree");
        let root =
            openat(CWD, &tree, ladder::FOLDER, Mode::empty()).map_err(|error| match error {
                rustix::io::Errno::NOENT => Error::None(dir.to_owned()),
                error => Error::errno("opening", &tree)(error),
            })?;
        let last = history::list(&store, &prefix)
            .map_err(|error| match error {
                Error::RefName(_) => Error::Name(dir.to_owned()),
                error => error,
            })?
            .pop();
        let cache = Cache::load(&dir.join("cache"), &store);
        let beginning = Beginning::read(dir)?;
        let mut workspace = Self {
            dir: dir.to_owned(),
            tree,
            root,
            store,
            rules,
            owner,
            prefix,
            last,
            cache,
            beginning,
            seen: None,
        };
        workspace.finish_interrupted()?;
        Ok(workspace)
    }

    /// What the agent sees.
    #[must_use]
    pub fn tree_dir(&self) -> &Path {
        &self.tree
    }

    /// The workspace's own folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the objects are.
    #[must_use]
    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Keeps the state of the tree; durable on return. A tree without changes gets its number too.
    ///
    /// # Errors
    /// When the store fails. Trouble with single paths is in [`Checkpoint::uncovered`].
    pub fn checkpoint(&mut self, reason: &str, at: u64) -> Result<Checkpoint, Error> {
        self.finish_interrupted()?;
        self.keep(reason, at)
    }

    /// The same, unless nothing that is covered changed since the last one.
    ///
    /// # Errors
    /// As [`Workspace::checkpoint`].
    pub fn checkpoint_if_changed(
        &mut self,
        reason: &str,
        at: u64,
    ) -> Result<Option<Checkpoint>, Error> {
        self.finish_interrupted()?;
        self.keep_if(reason, at, &mut no_limit(), |last, tree| last.tree != *tree)
    }

    /// The same, when what it adds to the store is not more than `room`, in bytes; that shrinks by it.
    ///
    /// # Errors
    /// As [`Workspace::checkpoint`], and [`Error::Full`]: then nothing was kept.
    pub fn checkpoint_within(
        &mut self,
        reason: &str,
        at: u64,
        room: &mut u64,
    ) -> Result<Option<Checkpoint>, Error> {
        self.finish_interrupted()?;
        self.keep_if(reason, at, room, |last, tree| last.tree != *tree)
    }

    /// The last checkpoint.
    #[must_use]
    pub fn last(&self) -> Option<&Checkpoint> {
        self.last.as_ref()
    }

    /// What the last look at the tree found that no checkpoint covers.
    #[must_use]
    pub fn uncovered(&self) -> &[Uncovered] {
        self.seen.as_deref().unwrap_or_default()
    }

    /// What the names of its references begin with.
    #[must_use]
    pub fn ref_prefix(&self) -> &str {
        &self.prefix
    }

    /// All checkpoints, the first one first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, Error> {
        history::list(&self.store, &self.prefix)
    }

    /// Brings back a checkpoint, given by its commit or its tree. The state before becomes a checkpoint
    /// first, and the state after, so that an undo can be undone. Whoever works in the tree is paused by the
    /// caller.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`], [`Error::Missing`] before anything was touched; the store's and the disk's
    /// after. Then the restore is finished by the next call or the next process.
    pub fn undo(&mut self, to: &ObjectId, at: u64) -> Result<Undone, Error> {
        let checkpoints = self.checkpoints()?;
        let target = checkpoints
            .iter()
            .find(|checkpoint| checkpoint.commit == *to)
            .or_else(|| {
                checkpoints
                    .iter()
                    .rev()
                    .find(|checkpoint| checkpoint.tree == *to)
            })
            .ok_or(Error::NotACheckpoint(*to))?;
        let before = self.checkpoint_if_changed("before undo", at)?;
        // What is there is the last checkpoint already.
        let before = match before.or_else(|| self.last.clone()) {
            Some(before) => before,
            None => self.keep("before undo", at)?,
        };
        let journal = Journal {
            v: 1,
            tree: target.tree,
            reason: format!("{UNDO_REASON}{}", target.number),
            at,
        };
        let restore = self.restore(&before.tree, &journal.tree)?;
        let path = self.journal();
        let text = serde_json::to_vec(&journal).map_err(|source| Error::Json {
            path: path.clone(),
            source,
        })?;
        write_durably(&path, &text)?;
        let mut report = restore.run()?;
        let after = self.conclude(&journal)?;
        for uncovered in &before.uncovered {
            if !report.kept.iter().any(|kept| kept.path == uncovered.path) {
                report.kept.push(uncovered.clone());
            }
        }
        let Report {
            written,
            removed,
            kept,
        } = report;
        Ok(Undone {
            before,
            after,
            written,
            removed,
            kept,
        })
    }

    fn journal(&self) -> PathBuf {
        self.dir.join("restore.json")
    }

    fn snapshot(&self, batch: &mut objects::Batch<'_>) -> Result<Snapshot, Error> {
        let scope = Scope {
            rules: &self.rules,
            // What is there before the first checkpoint is the project's own.
            folders: self.last.as_ref().map(|_| self.beginning.folders()),
        };
        snapshot::take(&self.root, &self.store, batch, &scope, &self.cache)
    }

    fn restore(&self, from: &ObjectId, to: &ObjectId) -> Result<Restore<'_>, Error> {
        let root = self
            .root
            .try_clone()
            .map_err(Error::io("opening", &self.tree))?;
        let kept = self.dir.join("kept");
        Restore::new(&self.store, root, kept, (from, to), self.owner)
    }

    /// Makes a checkpoint of what is there, whatever is on its way.
    fn keep(&mut self, reason: &str, at: u64) -> Result<Checkpoint, Error> {
        self.keep_if(reason, at, &mut no_limit(), |_, _| true)?
            .ok_or(Error::Readers)
    }

    /// The same, if the tree is wanted beside the last one.
    fn keep_if(
        &mut self,
        reason: &str,
        at: u64,
        room: &mut u64,
        wanted: impl FnOnce(&Checkpoint, &ObjectId) -> bool,
    ) -> Result<Option<Checkpoint>, Error> {
        let store = Arc::clone(&self.store);
        let mut batch = store.batch();
        batch.set_room(*room);
        let snapshot = self.snapshot(&mut batch)?;
        if self.last.is_none() {
            self.beginning = Beginning::of(&snapshot);
            self.beginning.write(&self.dir)?;
        }
        let uncovered = self.beginning.judge(&snapshot);
        let left_out = left_out::count(&uncovered);
        let same = match (&self.seen, &self.last) {
            (Some(seen), _) => left_out::same(seen, &uncovered),
            (None, last) => last.as_ref().is_some_and(|last| last.left_out == left_out),
        };
        self.seen = Some(uncovered.clone());
        let last = self.last.as_mut();
        if let Some(last) = last.filter(|last| same && !wanted(last, &snapshot.tree)) {
            last.uncovered = uncovered;
            // Objects that a change back and forth left in the batch are no harm.
            *room = batch.room();
            batch.finish()?;
            self.remember(snapshot.cache)?;
            return Ok(None);
        }
        let parents: Vec<ObjectId> = self.last.iter().map(|last| last.commit).collect();
        let message = history::message(reason, snapshot.files, snapshot.bytes, left_out);
        let commit = batch.commit(&snapshot.tree, &parents, &message, at)?;
        *room = batch.room();
        batch.finish()?;
        let number = self.last.as_ref().map_or(0, |last| last.number) + 1;
        store.set_ref(&format!("{}{number}", self.prefix), &commit)?;
        let checkpoint = Checkpoint {
            number,
            commit,
            tree: snapshot.tree,
            before: self.last.as_ref().map(|last| last.tree),
            reason: reason.to_owned(),
            at,
            files: snapshot.files,
            bytes: snapshot.bytes,
            left_out,
            uncovered,
        };
        self.last = Some(Checkpoint {
            uncovered: Vec::new(),
            ..checkpoint.clone()
        });
        self.remember(snapshot.cache)?;
        Ok(Some(checkpoint))
    }

    /// Keeps the cache of a snapshot whose objects are durable.
    fn remember(&mut self, cache: Cache) -> Result<(), Error> {
        if cache != self.cache {
            self.cache = cache;
            self.cache.save(&self.dir.join("cache"))?;
        }
        Ok(())
    }

    /// Finishes a restore that a journal tells of. What is there now, half of it restored, is kept under
    /// `interrupted` first: somebody may have worked on after the interruption.
    fn finish_interrupted(&mut self) -> Result<(), Error> {
        let path = self.journal();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("reading", &path)(error)),
        };
        let journal: Journal =
            serde_json::from_slice(&text).map_err(|source| Error::Json { path, source })?;
        let store = Arc::clone(&self.store);
        let mut batch = store.batch();
        let snapshot = self.snapshot(&mut batch)?;
        let commit = batch.commit(&snapshot.tree, &[], "interrupted undo", journal.at)?;
        batch.finish()?;
        store.set_ref(&format!("{}interrupted", self.prefix), &commit)?;
        self.remember(snapshot.cache)?;
        self.restore(&snapshot.tree, &journal.tree)?.run()?;
        self.conclude(&journal).map(drop)
    }

    /// After a restore: the tree is written to the disk and its state becomes a checkpoint, and only then the
    /// journal goes: when the power fails before, the next process finishes the restore.
    fn conclude(&mut self, journal: &Journal) -> Result<Checkpoint, Error> {
        self.replant_git()?;
        snapshot::write_back(&self.root)
            .map_err(Error::errno("writing to the disk", &self.tree))?;
        let after = self.keep(&journal.reason, journal.at)?;
        let path = self.journal();
        fs::remove_file(&path).map_err(Error::io("removing", &path))?;
        sync_folder(&self.dir)?;
        Ok(after)
    }
}
