//! What an agent itself remembers of a conversation, so that it goes on with that in another sandbox: what its tools
//! gave, what it read, which nobody could tell it again.
//!
//! An agent whose manifest says where it keeps its conversations has a folder for that beside the copy that it works
//! on, on this computer's disk; [`Memory`] says in whose words it is. The folder goes with the copy, its size is
//! watched, and nothing in it is opened here: the agent wrote it. A private job has none. Whenever it is not certain
//! that the memory fits what is asked, and the files, it is dropped, and a summary is told instead.

use std::{path::PathBuf, sync::Arc, time::Duration};

use nostr::EventId;

use super::{
    context::Context,
    executor::Order,
    process::{Process, Talk},
    session::Session,
    shared::{STATE, Shared},
    workspaces::blocking,
};
use crate::{
    agent::{
        acp::{self, AgentInfo, SessionId},
        claims::Claim,
        manifest::{Driver, Manifest},
    },
    job::Failure,
    sandbox::{
        WORKSPACE,
        disk::{self, Quota},
    },
    workspace::{Memory, UNDO_REASON},
};

/// What an agent may keep of one conversation.
pub(super) const QUOTA: Quota = Quota {
    bytes: 256 << 20,
    files: 20_000,
};
/// What its owner hears of an agent that keeps more.
pub(super) const TOO_MUCH: &str = "it keeps more of this conversation in its home than the 256 MiB or 20,000 files that \
    it may";
/// How long that may take to measure.
const LOOK: Duration = Duration::from_secs(1);
/// The longest name of a conversation that is kept.
const MAX_NAME: usize = 512;

/// What an agent can do with conversations that it kept, and in which version.
#[derive(Debug, Clone, Default)]
pub(super) struct Resumes {
    load: bool,
    resume: bool,
    version: String,
}

impl Resumes {
    pub(super) fn of(info: &AgentInfo) -> Self {
        Self {
            load: info.load_session,
            resume: info.resume_session,
            version: info.version.chars().take(64).collect(),
        }
    }
}

/// How an agent came to know what was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It remembers.
    Agent,
    /// It was told a summary.
    Summary,
}

impl Known {
    /// As it stands in the session's start.
    pub(super) fn tag(self) -> Vec<String> {
        let word = match self {
            Self::Agent => "agent",
            Self::Summary => "summary",
        };
        vec!["resumed".to_owned(), word.to_owned()]
    }
}

/// Whether an agent keeps its conversations.
pub(super) fn keeps(manifest: &Manifest) -> bool {
    manifest.resume.is_some() && manifest.driver == Driver::Acp && manifest.workspace
}

/// Which program a process is, as far as what it keeps goes.
fn version(process: &Process) -> String {
    let places = process.manifest.resume.iter().flat_map(|it| &it.state);
    let places: Vec<&str> = places.map(String::as_str).collect();
    let (ours, own) = (&process.manifest.version, &process.resumes.version);
    format!("{ours} {own} {}", places.join(" "))
}

/// The folder for what the agent of a job on a copy that is there keeps, and what it remembers if that may be
/// gone on with.
///
/// # Errors
/// When the disk refuses.
pub(super) async fn find(
    context: &Arc<Context>,
    order: &Order,
    shared: &Arc<Shared>,
    manifest: &Manifest,
) -> Result<(Option<PathBuf>, Option<Memory>), Failure> {
    let about = shared.about();
    let usable = match about.memory.clone() {
        Some(memory) if keeps(manifest) && !about.private => {
            let heard = order.continues.is_some()
                && (order.continues == memory.answered || order.continues == Some(memory.heard));
            let fits = heard
                && memory.agent == order.agent
                && memory
                    .version
                    .starts_with(&format!("{} ", manifest.version))
                && !undone_since(shared, memory.checkpoint).await?
                && is_small(shared).await;
            fits.then_some(memory)
        }
        _ => None,
    };
    if usable.is_none() {
        drop_all(shared).await?;
    }
    if !keeps(manifest) || about.private {
        return Ok((None, None));
    }
    let state = match usable {
        Some(_) => shared.dir().join(STATE),
        None => context.workspaces.reserve_state(shared.id).await?,
    };
    Ok((Some(state), usable))
}

/// Whether its owner brought a state back after this checkpoint.
async fn undone_since(shared: &Arc<Shared>, checkpoint: u32) -> Result<bool, Failure> {
    let all = shared.with(|files| Ok(files.checkpoints()?)).await?;
    let mut since = all.iter().filter(|at| at.number > checkpoint);
    Ok(since.any(|at| at.reason.starts_with(UNDO_REASON)))
}

/// Whether what it keeps is there, is a folder, and is no more than it may be.
async fn is_small(shared: &Arc<Shared>) -> bool {
    let state = shared.dir().join(STATE);
    let look = move || Ok(disk::usage(&state, &QUOTA, LOOK)?);
    match blocking(look).await {
        Ok(usage) => usage.stopped.is_none() && usage.over(&QUOTA).is_none(),
        Err(_) => false,
    }
}

/// Nothing of what an agent keeps stays.
///
/// # Errors
/// When the disk refuses.
pub(super) async fn drop_all(shared: &Arc<Shared>) -> Result<(), Failure> {
    if shared.about().memory.is_some() {
        shared.remember(|about| about.memory = None).await?;
    }
    let state = shared.dir().join(STATE);
    blocking(move || Ok(crate::workspace::inventory::remove(&state)?)).await
}

/// What became of an agent that was to go on with its own memory.
pub(super) enum Loaded {
    /// It does.
    Yes(SessionId),
    /// It does not, and can begin anew.
    No,
    /// It did not survive it.
    Dead,
}

/// Has the agent go on with what it remembers. What it repeats of that is no news, and on no record.
pub(super) async fn load(process: &mut Process, memory: &Memory) -> Loaded {
    if version(process) != memory.version {
        tracing::info!("the agent is of another version than what it kept");
        return Loaded::No;
    }
    let resumes = process.resumes.clone();
    let Talk::Acp { peer, claims } = &mut process.talk else {
        return Loaded::No;
    };
    let id = SessionId(memory.session.clone());
    let peer = peer.clone();
    let asking = async {
        if resumes.resume {
            match peer.resume_session(&id, WORKSPACE).await {
                Err(acp::Error::Rpc { .. }) if resumes.load => {}
                done => return Some(done),
            }
        }
        match resumes.load {
            true => Some(peer.load_session(&id, WORKSPACE).await),
            false => None,
        }
    };
    let mut asking = std::pin::pin!(asking);
    let done = loop {
        tokio::select! {
            done = &mut asking => break done,
            Some(claim) = claims.recv() => if let Claim::Permission(permission) = claim {
                permission.answer.cancel();
            },
        }
    };
    while claims.try_recv().is_ok() {}
    match done {
        Some(Ok(())) if process.is_alive() => Loaded::Yes(SessionId(memory.session.clone())),
        None => Loaded::No,
        Some(Err(acp::Error::Rpc { error, .. })) if process.is_alive() => {
            let reason: String = error.message.chars().take(200).collect();
            tracing::info!(reason, "the agent does not go on with what it kept");
            Loaded::No
        }
        Some(_) => Loaded::Dead,
    }
}

/// The agent hears a job: what it remembers from here on holds this.
pub(super) async fn hears(session: &Session, job: EventId) {
    note(session, job, None).await;
}

/// It answered it.
pub(super) async fn answered(session: &Session, job: EventId) {
    note(session, job, Some(job)).await;
}

async fn note(session: &Session, job: EventId, answered: Option<EventId>) {
    let (Some(bench), Some(acp)) = (&session.bench, &session.acp) else {
        return;
    };
    // Once something private was said, nothing is kept for later.
    if !session.process.keeps || session.private || acp.0.len() > MAX_NAME {
        return;
    }
    let shared = bench.shared.clone();
    let last = shared.with(|files| Ok(files.last().map_or(0, |at| at.number)));
    let mut memory = Memory {
        agent: session.process.manifest.name.clone(),
        version: version(&session.process),
        session: acp.0.clone(),
        heard: job,
        answered,
        checkpoint: match last.await {
            Ok(last) => last,
            // Without it every undo counts.
            Err(_) => 0,
        },
    };
    let noted = shared.remember(move |about| {
        if memory.answered.is_none() {
            let before = about.memory.as_ref();
            memory.answered = before.and_then(|before| before.answered);
        }
        about.memory = Some(memory);
    });
    if let Err(failure) = noted.await {
        let reason = failure.sentence;
        tracing::warn!(reason, "what the agent remembers will not be gone on with");
    }
}

/// The agent has ended: what it kept stays if it is no more than it may be.
pub(super) async fn ends(session: &Session) {
    let Some(bench) = &session.bench else {
        return;
    };
    if !session.process.keeps {
        return;
    }
    let there = bench.shared.about().memory.is_some();
    if there && is_small(&bench.shared).await {
        return;
    }
    if let Err(failure) = drop_all(&bench.shared).await {
        let reason = failure.sentence;
        tracing::warn!(reason, "what the agent kept could not be removed");
    }
}
