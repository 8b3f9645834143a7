//! One copy in use: its files under one lock, what is remembered of it, and who holds it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nostr::PublicKey;
use tokio::sync::{mpsc, watch};

use super::{
    hold::Holders,
    workspaces::{Error, Source, blocking},
};
use crate::{
    job::Failure,
    sandbox,
    workspace::{
        About, Checkpoint, ObjectId, Undone, Workspace,
        attach::Given,
        import::{self, Imported},
        inventory,
    },
};

/// The longest that an agent stands still while something is done with its files; then it goes on, whatever
/// became of that.
const STILL: Duration = Duration::from_secs(300);

/// Why the checkpoint after that is made.
pub(super) const ATTACHED: &str = "what its owner attached";

/// The folder, in that of a copy, with what is checked: a copy of it that is thrown away.
pub(super) const CHECKED: &str = "check";

/// The folder, in that of a copy, with what its agent keeps of the conversation about it.
pub(super) const STATE: &str = "state";

/// A copy in use.
#[derive(Debug)]
pub(super) struct Shared {
    /// Its id.
    pub(super) id: PublicKey,
    dir: PathBuf,
    pub(super) about: Mutex<About>,
    files: Arc<tokio::sync::Mutex<Workspace>>,
    pub(super) holders: Holders,
}

/// The session that works on a copy right now.
#[derive(Debug, Clone)]
pub(super) struct Live {
    /// Stops the agent for a moment.
    pub(super) pause: sandbox::Handle,
    /// Tells the session what its owner did.
    pub(super) told: mpsc::Sender<Told>,
    /// The way to what its agent's programs listen on.
    pub(super) inward: sandbox::Inward,
    /// Where they do.
    pub(super) ports: watch::Receiver<BTreeSet<u16>>,
}

/// What a session is told.
#[derive(Debug)]
pub(super) enum Told {
    /// A state was brought back under it; it answers when that is on its record.
    Restored {
        /// What happened.
        undone: Undone,
        /// The checkpoint that was asked for.
        to: u32,
        /// Answered when the record has it.
        recorded: tokio::sync::oneshot::Sender<()>,
    },
}

impl Shared {
    /// A copy that was opened.
    pub(super) fn new(about: About, dir: PathBuf, files: Workspace) -> Self {
        Self {
            id: about.id,
            dir,
            about: Mutex::new(about),
            files: Arc::new(tokio::sync::Mutex::new(files)),
            holders: Holders::new(),
        }
    }

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

    /// Notes that a later question goes on in it. It is what a person means then who names no copy.
    pub(super) async fn goes_on(self: &Arc<Self>) {
        let at = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let at = Some((at.as_secs(), at.subsec_nanos()));
        if let Err(failure) = self.remember(move |about| about.gone_on = at).await {
            tracing::warn!(
                reason = failure.sentence,
                "it is not noted that a question went on in a copy"
            );
        }
    }

    /// Whether anything is, or was ever, done in it.
    pub(super) async fn has_work(self: &Arc<Self>) -> bool {
        self.holders.is_at_work() || self.has_changes().await
    }

    /// Whether anything was ever changed in it, or taken home from it. What cannot be read may hold anything.
    async fn has_changes(self: &Arc<Self>) -> bool {
        if !self.about().applied.is_empty() {
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

    /// The session that works on it and can be paused and told, if one does.
    pub(super) fn live(&self) -> Option<Live> {
        self.holders.live()
    }

    /// Does something with the files, alone.
    ///
    /// # Errors
    /// The work's own.
    pub(super) async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Workspace) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut files = self.files.clone().lock_owned().await;
        // As long as its files are touched the copy is in use, whoever has stopped waiting: who opens it
        // meanwhile gets this one.
        let this = self.clone();
        blocking(move || {
            let _in_use = this;
            work(&mut files)
        })
        .await
    }

    /// Does something with the files, alone, while the agent that works on them stands still. It goes on when
    /// the work is done, also when nobody waits for that any more, and at the latest after five minutes.
    ///
    /// # Errors
    /// The work's own; one that `must` not see the files change fails when the agent cannot be paused.
    pub(super) async fn still<T: Send + 'static>(
        self: &Arc<Self>,
        must: bool,
        work: impl FnOnce(&mut Workspace) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        // The lock comes first: nobody stands still while others use the files.
        let mut files = self.files.clone().lock_owned().await;
        let still = match self.live() {
            Some(live) => live.pause.still(STILL).await.map(Some),
            None => Ok(None),
        };
        let still = match still {
            Ok(still) => still,
            // An agent that has ended changes nothing any more.
            Err(sandbox::Error::Ended) => None,
            Err(error) if must => {
                return Err(Failure::new(
                    "workspace",
                    format!(
                        "nothing was changed, because the agent could not be paused ({error}); stop it \
                         (Ctrl-C), then try again"
                    ),
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "the agent could not be paused");
                None
            }
        };
        let this = self.clone();
        blocking(move || {
            let _in_use = (this, still);
            work(&mut files)
        })
        .await
    }

    /// Makes a copy of it to be thrown away, as it is now, while its agent stands still; gives where it is and how
    /// many of its entries could not be copied.
    ///
    /// # Errors
    /// When the agent cannot be made to stand still, it is larger than it may be, or the disk refuses.
    pub(super) async fn duplicate(
        self: &Arc<Self>,
        quota: sandbox::disk::Quota,
        owner: Option<(u32, u32)>,
    ) -> Result<(PathBuf, u64), Failure> {
        let (tree, checked) = (self.tree_dir(), self.dir.join(CHECKED));
        self.still(true, move |_| {
            inventory::remove(&checked)?;
            let into = Workspace::reserve(&checked, owner)?;
            let copied = match import::duplicate(&tree, &into, (quota.files, quota.bytes), owner) {
                Err(import::Error::TooLarge { max, unit, .. }) => {
                    return Err(Error::TooMuch { max, unit });
                }
                copied => copied?,
            };
            let left_out = copied.skipped.len() as u64 + copied.skipped_more;
            Ok((into, left_out))
        })
        .await
    }

    /// Throws that away.
    pub(super) async fn drop_duplicate(self: &Arc<Self>) {
        let checked = self.dir.join(CHECKED);
        let removed = self.with(move |_| Ok(inventory::remove(&checked)?)).await;
        if let Err(failure) = removed {
            tracing::warn!(
                reason = failure.sentence,
                "what was checked stays until its copy is opened again"
            );
        }
    }

    /// Puts files of its owner's to the top of it, while an agent at work on it stands still; gives their names.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) async fn attach(
        self: &Arc<Self>,
        files: Vec<Given>,
        at: u64,
    ) -> Result<(Vec<String>, Checkpoint), Failure> {
        self.still(true, move |workspace| {
            Ok(workspace.attach(&files, ATTACHED, at)?)
        })
        .await
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
                let reason = match imported.files {
                    0 => "the empty folder that it began with",
                    _ => "the project as it was",
                };
                let first = files.checkpoint(reason, at)?;
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
