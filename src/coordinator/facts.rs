//! Facts beside claims: checkpoints of the workspace, what really changed between two of them, and whether
//! the agent said so (DESIGN.md #7).

mod late;
mod records;

use std::collections::HashSet;

use nostr::EventId;

pub(super) use self::late::settle;
use self::{
    late::{Late, claimed_late},
    records::{file, record_many, unkept_claims},
};
use super::{
    claimed::{Claimed, Running, who_claimed},
    context::now,
    hold::SessionHold,
    publisher::PublishError,
    serving::Serving,
    session::Session,
    shared::{ATTACHED, Live, Shared, Told},
    states::{checkpoint_event, undo_events},
};
use crate::{
    agent::claims::Tool,
    job::Failure,
    recorder::Redactor,
    workspace::{
        Checkpoint, ObjectId, UNDO_REASON,
        diff::{self, Change, ChangeKind, Rendered},
    },
};

/// Up to this many changed files of a turn get a record each; the rest one together.
const FILES: usize = 40;

/// A session's workspace, with what its turn claimed so far.
pub(super) struct Bench {
    /// The copy, shared with its owner's tasks.
    pub(super) shared: std::sync::Arc<Shared>,
    /// The session's hold on it.
    pub(super) held: SessionHold,
    /// What its owner did with it meanwhile.
    pub(super) told: tokio::sync::mpsc::Receiver<Told>,
    /// Stops the agent when its files become too large.
    pub(super) hold: crate::sandbox::Handle,
    /// What is watched of its size.
    pub(super) watch: super::watch::Watch,
    /// What its programs listen on.
    pub(super) serving: Serving,
    claims: Vec<Claimed>,
    /// What it says that its tools are at right now.
    running: Running,
    /// Whether it is at work, so that more claims may come.
    in_turn: bool,
    /// Changes that wait for their claim.
    late: Vec<Late>,
    /// Files that have a record of their own in this turn.
    recorded: usize,
    /// Which ones: an agent may be further than what it says, so a claim can come after the state that holds
    /// what it is about.
    touched: HashSet<Vec<u8>>,
    /// The state since which files have none.
    unrecorded_since: Option<ObjectId>,
    /// The state of the last checkpoint.
    latest: Option<ObjectId>,
    failed: bool,
    /// Bytes that the checkpoints of this session may take, and may still take.
    store: (u64, u64),
    /// Whether the agent stands still because that is used up.
    pub(super) store_full: bool,
}

/// What became of a checkpoint.
enum Look {
    Same,
    /// The owner brought a state back, which the session hears of next: nothing of before counts.
    Undone,
    Taken(Taken),
    /// It would take more of the disk than there is room for.
    Full,
}

/// A checkpoint with what changed since the one before.
struct Taken {
    checkpoint: Checkpoint,
    changed: Vec<(Change, Rendered)>,
    /// How many changed in all.
    total: usize,
}

impl Bench {
    /// A session begins to work on a copy.
    pub(super) fn new(
        held: SessionHold,
        process: &super::process::Process,
        limits: &crate::sandbox::Config,
        latest: ObjectId,
    ) -> Self {
        let (tell, told) = tokio::sync::mpsc::channel(4);
        let shared = held.shared().clone();
        if let Err(error) = crate::workspace::give_git_to_the_agent(shared.dir()) {
            tracing::warn!(%error, "that the repository is the agent's could not be noted");
        }
        let serving = Serving::of(process);
        held.works(Live {
            pause: process.pause(),
            told: tell,
            inward: process.inward(),
            ports: serving.ports(),
        });
        let mut watch = super::watch::Watch::new(shared.tree_dir(), limits.quota());
        if process.keeps {
            watch.also(shared.dir().join(super::shared::STATE));
        }
        Self {
            shared,
            held,
            told,
            hold: process.pause(),
            watch,
            serving,
            claims: Vec::new(),
            running: Running::default(),
            in_turn: false,
            late: Vec::new(),
            recorded: 0,
            touched: HashSet::new(),
            unrecorded_since: None,
            latest: Some(latest),
            failed: false,
            store: (limits.store(), limits.store()),
            store_full: false,
        }
    }

    /// The next turn begins.
    fn turn(&mut self) {
        self.claims.clear();
        self.running.clear();
        self.late.clear();
        self.recorded = 0;
        self.touched.clear();
        self.unrecorded_since = None;
        self.serving.turn();
    }

    /// A command ran, and may have changed anything.
    pub(super) fn ran(&mut self, redactor: &Redactor, event: EventId, command: &str) {
        self.claims.push(Claimed::command(redactor, event, command));
    }

    /// What a tool is said to be at.
    pub(super) fn hear(&mut self, tool: &Tool) {
        self.running.hear(tool);
    }

    /// What a tool that ended is said to have done, as far as files go.
    pub(super) fn claim(&mut self, redactor: &Redactor, event: EventId, tool: &Tool) {
        self.claims.extend(Claimed::of(redactor, event, tool));
    }
}

/// The word for a change on the wire.
pub(super) fn op(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "create",
        ChangeKind::Modified => "modify",
        ChangeKind::Deleted => "delete",
        ChangeKind::Mode => "mode",
        ChangeKind::Type => "type",
    }
}

/// What happens around the files of a session.
#[derive(Debug)]
pub(super) enum Around {
    /// The owner did something with them.
    Told(Box<Told>),
    /// It is time to look at their size.
    Look,
    /// A program of the agent's listens on a port, or does not any more.
    Ports,
}

/// Comes when somebody waits for the files of a session that has nothing to do; never for one without files.
pub(super) async fn wanted(shared: Option<std::sync::Arc<Shared>>) {
    match shared {
        Some(shared) => shared.holders.wanted().await,
        None => std::future::pending().await,
    }
}

/// What happens next around the files; for a session without files it is never anything.
pub(super) async fn around(bench: &mut Option<Bench>) -> Around {
    let Some(bench) = bench else {
        return std::future::pending().await;
    };
    let due = bench.watch.due();
    tokio::select! {
        Some(told) = bench.told.recv() => Around::Told(Box::new(told)),
        () = tokio::time::sleep_until(due) => Around::Look,
        () = bench.serving.changed() => Around::Ports,
    }
}

/// Takes the checkpoint before a prompt, which the turn's changes are compared with.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn begin_turn(session: &mut Session) -> Result<(), PublishError> {
    if let Some(bench) = &mut session.bench {
        bench.turn();
    }
    checkpoint(session, "before the prompt").await?;
    if let Some(bench) = &mut session.bench {
        bench.in_turn = true;
    }
    Ok(())
}

/// Takes the checkpoint after a turn, and records together the files that have no record of their own.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn end_turn(session: &mut Session) -> Result<(), PublishError> {
    if let Some(bench) = &mut session.bench {
        bench.in_turn = false;
    }
    checkpoint(session, "after the turn").await?;
    settle(session).await?;
    let Some(bench) = &mut session.bench else {
        return Ok(());
    };
    let (Some(from), Some(to)) = (bench.unrecorded_since.take(), bench.latest) else {
        return Ok(());
    };
    let shared = bench.shared.clone();
    let changes = shared
        .with(move |files| Ok(diff::changes(files.store(), Some(&from), &to)?))
        .await;
    match changes {
        Ok(changes) if changes.is_empty() => Ok(()),
        Ok(changes) => record_many(session, &changes).await,
        Err(failure) => not_taken(session, &failure).await,
    }
}

/// Takes a checkpoint if anything changed since the last one, and records it with what changed.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn checkpoint(session: &mut Session, reason: &str) -> Result<(), PublishError> {
    let Some(bench) = &mut session.bench else {
        return Ok(());
    };
    let (shared, why, at) = (bench.shared.clone(), reason.to_owned(), now());
    let known = bench.latest;
    // Whoever did an undo is heard by then.
    let is_last = bench.told.is_closed();
    let room = if bench.unrecorded_since.is_some() {
        0
    } else {
        FILES.saturating_sub(bench.recorded)
    };
    let mut left = bench.store.1;
    let taken = shared
        .with(move |files| {
            let checkpoint = match files.checkpoint_within(&why, at, &mut left) {
                Ok(Some(checkpoint)) => checkpoint,
                // A look of the owner's may have kept what the agent did last.
                Ok(None) => match files.last().cloned() {
                    Some(last) if known.is_some_and(|known| known != last.tree) => {
                        if !is_last && undone_since(&files.checkpoints()?, known) {
                            return Ok((Look::Undone, left));
                        }
                        last
                    }
                    _ => return Ok((Look::Same, left)),
                },
                Err(crate::workspace::Error::Full) => return Ok((Look::Full, left)),
                Err(error) => return Err(error.into()),
            };
            let before = known.or(checkpoint.before);
            let changes = match before {
                Some(before) => diff::changes(files.store(), Some(&before), &checkpoint.tree)?,
                None => Vec::new(),
            };
            let total = changes.len();
            let mut changed = Vec::new();
            if total <= room {
                let limits = diff::Limits::default();
                for change in changes {
                    let rendered = diff::unified(files.store(), &change, &limits)?;
                    changed.push((change, rendered));
                }
            }
            let taken = Taken {
                checkpoint,
                changed,
                total,
            };
            Ok((Look::Taken(taken), left))
        })
        .await;
    if let Ok((_, left)) = &taken {
        bench.store.1 = *left;
    }
    match taken {
        Ok((Look::Taken(taken), _)) => record(session, taken, reason).await,
        Ok((Look::Same, _)) => record_nothing(session).await,
        Ok((Look::Undone, _)) => Ok(()),
        Ok((Look::Full, _)) => store_is_full(session).await,
        Err(failure) => not_taken(session, &failure).await,
    }
}

/// Whether a state was brought back after this one was there last.
fn undone_since(all: &[Checkpoint], known: Option<ObjectId>) -> bool {
    let known = all.iter().rposition(|at| Some(at.tree) == known);
    let since = all.get(known.map_or(0, |at| at + 1)..).unwrap_or_default();
    since.iter().any(|at| at.reason.starts_with(UNDO_REASON))
}

/// The checkpoints of a session take all the disk that they may: its agent stands still, because what it goes
/// on to do could not be undone. The checkpoints that are there stay.
async fn store_is_full(session: &mut Session) -> Result<(), PublishError> {
    let Some(bench) = &mut session.bench else {
        return Ok(());
    };
    if std::mem::replace(&mut bench.store_full, true) {
        return Ok(());
    }
    let mib = bench.store.0 >> 20;
    let why = format!("its checkpoints would take more than their {mib} MiB of disk");
    let sentence = if super::watch::stands_still(&bench.hold).await {
        format!(
            "The agent stands still: {why}, so what it does now could not be undone. Undo its last step, and it \
             goes on; or stop it (Ctrl-C), apply what is good, and start again. `store_mb` in treefort.toml sets \
             the limit."
        )
    } else {
        format!(
            "The agent was ended: {why}, and it did not stand still. What it did since the last one cannot be \
             undone alone. `store_mb` in treefort.toml sets the limit."
        )
    };
    let entry = session.log.error("store", true, &sentence, now())?;
    session.publish(entry).await
}

/// A checkpoint that failed is on the record: nobody may count on it.
async fn not_taken(session: &mut Session, failure: &Failure) -> Result<(), PublishError> {
    let Some(bench) = &mut session.bench else {
        return Ok(());
    };
    // Once is enough while it goes on failing.
    if std::mem::replace(&mut bench.failed, true) {
        return Ok(());
    }
    // Why may name folders of this machine: that is for its owner alone.
    tracing::error!(reason = failure.sentence, "no checkpoint could be taken");
    let sentence = "No checkpoint could be taken, so what happens now cannot be undone. The log of treefort on this \
                    machine says why.";
    let entry = session.log.error("checkpoint", true, sentence, now())?;
    session.publish(entry).await
}

async fn record(session: &mut Session, taken: Taken, reason: &str) -> Result<(), PublishError> {
    let private = session.private;
    let Some(bench) = &mut session.bench else {
        return Ok(());
    };
    let known = bench.latest.or(taken.checkpoint.before);
    bench.latest = Some(taken.checkpoint.tree);
    bench.failed = false;
    let claims = std::mem::take(&mut bench.claims);
    if taken.changed.len() < taken.total {
        bench.unrecorded_since = bench.unrecorded_since.or(known);
    }
    bench.recorded += taken.changed.len();
    let paths = taken.changed.iter().map(|(change, _)| change.path.clone());
    bench.touched.extend(paths);
    let every_file_known = taken.changed.len() == taken.total;
    let mut events = claimed_late(session, &claims).await?;
    for (change, rendered) in taken.changed {
        let claim = who_claimed(&claims, &change.path);
        if let Some(bench) = &mut session.bench
            && bench.in_turn
            && claim.is_none()
        {
            let calls = bench.running.at(&change.path);
            bench.late.push(Late::new(change, rendered, calls));
            continue;
        }
        events.push(file(session, &change, &rendered, claim, private).await?);
    }
    if every_file_known {
        events.extend(unkept_claims(session, &claims, private)?);
    }
    events.push(checkpoint_event(
        session,
        &taken.checkpoint,
        reason,
        taken.total,
    )?);
    session.emit(events).await
}

/// Nothing changed: an agent that says otherwise is wrong.
async fn record_nothing(session: &mut Session) -> Result<(), PublishError> {
    let private = session.private;
    let Some(bench) = &mut session.bench else {
        return Ok(());
    };
    let claims = std::mem::take(&mut bench.claims);
    let known = bench.unrecorded_since.is_none();
    let mut events = claimed_late(session, &claims).await?;
    // Which files changed is not known one by one any more.
    if known {
        events.extend(unkept_claims(session, &claims, private)?);
    }
    session.emit(events).await
}

/// The owner attached files while the session had nothing to do: what is in them is not the agent's doing.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn attached(
    session: &mut Session,
    checkpoint: &Checkpoint,
) -> Result<(), PublishError> {
    // What the agent left running may have done until then is a checkpoint of its own in this turn or the last.
    if let Some(bench) = &mut session.bench {
        bench.latest = Some(checkpoint.tree);
    }
    let event = checkpoint_event(session, checkpoint, ATTACHED, 0)?;
    session.emit(vec![event]).await
}

/// The owner brought a state back while the session was open: that is on its record too.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn record_undo(
    session: &mut Session,
    undone: &crate::workspace::Undone,
    to: u32,
) -> Result<(), PublishError> {
    let private = session.private;
    let Some(bench) = &mut session.bench else {
        return Ok(());
    };
    // What was changed until then is on the record before it.
    let in_turn = std::mem::replace(&mut bench.in_turn, false);
    settle(session).await?;
    let Some(bench) = &mut session.bench else {
        return Ok(());
    };
    bench.in_turn = in_turn;
    bench.turn();
    bench.latest = Some(undone.after.tree);
    // The owner looked at it, and has the agent go on.
    bench.store.1 = bench.store.0;
    if std::mem::take(&mut bench.store_full)
        && let Err(error) = bench.hold.resume().await
    {
        tracing::warn!(%error, "a paused agent could not be resumed");
    }
    let id = bench.shared.id;
    let events = undo_events(&mut session.log, id, undone, to, private)?;
    session.emit(events).await
}
