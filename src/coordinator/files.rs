//! The process of a session with the files that it works on: a copy of a project, an empty folder, or the copy
//! of the conversation before.

use std::{path::PathBuf, sync::Arc, time::Duration};

use nostr::PublicKey;

use super::{
    attached,
    context::{Context, now},
    conversation::Asked,
    executor::Order,
    hold::SessionHold,
    memory::{self, Loaded},
    opening::excerpt,
    process::{self, Process, Start as Launch},
    reach,
    shared::Shared,
    summary,
    workspaces::Source,
};
use crate::{
    agent::{acp::SessionId, manifest::Manifest},
    job::Failure,
    sandbox,
    store::state::StateError,
    workspace::{About, Checkpoint, about, import::Imported},
};

/// How often a folder that is not used is looked for again.
const LEAVE_TRIES: u32 = 10;
/// The pause between two looks.
const LEAVE_EVERY: Duration = Duration::from_millis(500);

/// What a job in clear text that goes on with a private one hears.
const IN_CLEAR: &str = "the conversation before is private, and this job is in clear text: anybody who reads the relay \
    could read what it does with the private files. Ask again in the encrypted form (NIP-44)";

/// The files of a session with its process.
pub(super) struct Begun {
    pub(super) process: Process,
    pub(super) held: Option<SessionHold>,
    pub(super) imported: Option<(Imported, Checkpoint)>,
    pub(super) latest: Option<Checkpoint>,
    /// What its owner attached: the names in the copy, and the state with it.
    pub(super) attached: Option<(Vec<String>, Checkpoint)>,
    /// The conversation that the agent itself goes on with.
    pub(super) resumed: Option<SessionId>,
    /// What happened to the files that were there before it.
    pub(super) before: summary::Files,
}

/// Keys, journals and folders that were made for a session that has not begun. Dropped before it has, by a
/// failure or because the job is withdrawn, they go.
pub(super) struct Unused {
    context: Arc<Context>,
    sessions: Vec<PublicKey>,
}

impl Unused {
    pub(super) fn new(context: &Arc<Context>, warm: Option<&Process>) -> Self {
        Self {
            context: context.clone(),
            sessions: warm
                .map(|process| process.keys.public_key())
                .into_iter()
                .collect(),
        }
    }

    fn add(&mut self, session: PublicKey) {
        self.sessions.push(session);
    }

    /// The session begins.
    pub(super) fn keep(mut self) {
        self.sessions.clear();
    }
}

impl Drop for Unused {
    fn drop(&mut self) {
        for session in std::mem::take(&mut self.sessions) {
            let context = self.context.clone();
            tokio::spawn(async move {
                // A process that was discarded is forgotten already.
                if matches!(context.keyring.session(&session), Ok(Some(_))) {
                    process::forget(&context, &session).await;
                }
                // A copy or a note that was being written is written on for a moment.
                for _ in 0..LEAVE_TRIES {
                    tokio::time::sleep(LEAVE_EVERY).await;
                    if matches!(context.state.is_session(&session), Ok(true)) {
                        process::forget(&context, &session).await;
                    }
                    context.workspaces.forget(session).await;
                }
            });
        }
    }
}

/// The folder that a job wants to be worked on, for agents that work on files.
///
/// # Errors
/// When it may not be worked on.
fn source(context: &Context, order: &Order) -> Result<Source, Failure> {
    let Some(path) = order.request.param("workspace") else {
        return Ok(Source::Empty);
    };
    if order.request.customer != context.admission.operator() {
        // Whose jobs run is one thing, whose files are copied another.
        return Err(Failure::new(
            "not-admitted",
            "only the owner of this machine may have its folders worked on",
        ));
    }
    Ok(Source::Project {
        path: context.workspaces.check(path)?,
        ignored: order.request.param("ignored") == Some("true"),
    })
}

/// The copy that the conversation before worked on.
///
/// # Errors
/// When what is kept of it cannot be read: to begin anew would look as if its work were lost.
fn earlier(context: &Context, order: &Order) -> Result<Option<PublicKey>, Failure> {
    let unread = |error: StateError| {
        tracing::error!(%error, "the conversation before could not be read");
        Failure::new(
            "agent",
            "what is kept of the conversation before could not be read; try again",
        )
    };
    let Some(before) = order.continues else {
        return Ok(None);
    };
    let job = context.state.job(&before).map_err(unread)?;
    let Some(session) = job.and_then(|job| job.session) else {
        return Ok(None);
    };
    let session = context.state.session(&session).map_err(unread)?;
    Ok(session.and_then(|session| session.workspace))
}

/// A process, and the files that it works on.
///
/// # Errors
/// A sentence for the customer; what was made for the session is among the `unused`.
pub(super) async fn begin(
    context: &Arc<Context>,
    order: &Order,
    asked: &Asked,
    warm: Option<Process>,
    unused: &mut Unused,
    progress: sandbox::Progress,
) -> Result<Begun, Failure> {
    let manifest = context
        .agents
        .get(&order.agent)
        .map(|agent| agent.manifest.clone())
        .ok_or_else(|| {
            Failure::new("agent", format!("there is no agent called {}", order.agent))
        })?;
    let prompt = asked.said.as_str();
    let command = (manifest.driver == crate::agent::manifest::Driver::Exec).then_some(prompt);
    if !manifest.workspace {
        let process = match warm {
            Some(process) => process,
            None => {
                start_alone(context, order, command, Places::default(), unused, progress).await?
            }
        };
        return Ok(Begun {
            process,
            held: None,
            imported: None,
            latest: None,
            attached: None,
            resumed: None,
            before: summary::Files::default(),
        });
    }
    let private = order.request.scheme.is_private();
    let known = match earlier(context, order)? {
        Some(id) => context.workspaces.open_if_there(id).await?,
        None => None,
    };
    if let Some(shared) = known {
        // From here on nobody else begins on it, and it cannot be deleted.
        let mut held = SessionHold::take(shared.clone()).await?;
        // Under the hold: a copy becomes private under one too, and stays so.
        if shared.about().private && !private {
            return Err(Failure::new("input", IN_CLEAR));
        }
        let at = now();
        let latest = shared
            .with(move |files| Ok(files.checkpoint(summary::GOES_ON, at)?))
            .await?;
        let before = summary::Files::of(&shared).await?;
        if private {
            shared.remember(|about| about.private = true).await?;
        }
        let attached = attach(&shared, asked).await?;
        let latest = attached.as_ref().map_or(latest, |(_, at)| at.clone());
        let going = Going {
            context,
            order,
            manifest: &manifest,
            shared: &shared,
            command,
        };
        let (process, resumed) = go_on(going, unused, progress).await?;
        held.keep_for(process.exit());
        return Ok(Begun {
            process,
            held: Some(held),
            imported: None,
            latest: Some(latest),
            attached,
            resumed,
            before,
        });
    }
    let source = source(context, order)?;
    let began = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let about = |id| About {
        v: about::VERSION,
        id,
        project: match &source {
            Source::Project { path, .. } => Some(path.clone()),
            Source::Empty => None,
        },
        branch: None,
        // A list of copies is read on the relay too.
        title: if private {
            "a private job".to_owned()
        } else {
            excerpt(&context.redactor, prompt)
        },
        private,
        agent: order.agent.clone(),
        created_at: began.as_secs(),
        created_ns: began.subsec_nanos(),
        base: None,
        applied: Vec::new(),
        memory: None,
        comparison: order.request.comparison.map(|one| one.id),
        gone_on: None,
    };
    let fill = async |id| {
        let held = context.workspaces.begin(about(id)).await?;
        let filled = held
            .shared()
            .fill(source.clone(), context.workspaces.owner(), now())
            .await?;
        let attached = attach(held.shared(), asked).await?;
        Ok::<_, Failure>((held, filled, attached))
    };
    let (process, filled) = match warm {
        Some(process) => {
            let filled = fill(process.keys.public_key()).await;
            (Ok(process), filled)
        }
        None => {
            let keys = process::new_keys(context)?;
            let id = keys.public_key();
            unused.add(id);
            let tree = context.workspaces.reserve(id).await?;
            let state = match memory::keeps(&manifest) && !private {
                true => Some(context.workspaces.reserve_state(id).await?),
                false => None,
            };
            let launch = Launch {
                agent: &order.agent,
                keys,
                tree: Some(tree),
                state,
                project: match &source {
                    Source::Project { path, .. } => Some(path.clone()),
                    Source::Empty => None,
                },
                command,
                network: reach::rules(context, &order.request)?,
                progress: Some(progress),
            };
            // A command starts at once, so its files have to be there; an agent waits for its prompt.
            if command.is_some() {
                let filled = fill(id).await;
                let process = match &filled {
                    Ok(_) => Process::start(context, launch).await,
                    Err(failure) => Err(failure.clone()),
                };
                (process, filled)
            } else {
                tokio::join!(Process::start(context, launch), fill(id))
            }
        }
    };
    match (process, filled) {
        (Ok(process), Ok((mut held, filled, attached))) => {
            held.keep_for(process.exit());
            Ok(Begun {
                process,
                held: Some(held),
                latest: Some(match &attached {
                    Some((_, at)) => at.clone(),
                    None => filled.1.clone(),
                }),
                imported: Some(filled),
                attached,
                resumed: None,
                before: summary::Files::default(),
            })
        }
        (Ok(process), Err(failure)) => {
            process.discard().await;
            Err(failure)
        }
        (Err(failure), _) => Err(failure),
    }
}

/// Puts what the owner attached into the copy.
async fn attach(
    shared: &Arc<Shared>,
    asked: &Asked,
) -> Result<Option<(Vec<String>, Checkpoint)>, Failure> {
    if asked.files.is_empty() {
        return Ok(None);
    }
    let files = attached::given(asked);
    shared.attach(files, now()).await.map(Some)
}

/// A job that goes on with a copy that is there.
struct Going<'a> {
    context: &'a Arc<Context>,
    order: &'a Order,
    manifest: &'a Manifest,
    shared: &'a Arc<Shared>,
    command: Option<&'a str>,
}

/// A process that goes on, with what it remembers itself when it can.
async fn go_on(
    going: Going<'_>,
    unused: &mut Unused,
    progress: sandbox::Progress,
) -> Result<(Process, Option<SessionId>), Failure> {
    let Going {
        context,
        order,
        manifest,
        shared,
        command,
    } = going;
    let (state, remembered) = memory::find(context, order, shared, manifest).await?;
    let places = Places {
        tree: Some(shared.tree_dir()),
        state,
        project: shared.about().project,
    };
    let (again, more) = (places.clone(), progress.clone());
    let started = start_alone(context, order, command, places, unused, progress).await;
    let Some(remembered) = remembered else {
        return started.map(|process| (process, None));
    };
    match started {
        Ok(mut process) => match memory::load(&mut process, &remembered).await {
            Loaded::Yes(session) => return Ok((process, Some(session))),
            Loaded::No => return Ok((process, None)),
            Loaded::Dead => process.discard().await,
        },
        Err(failure) => {
            let reason = failure.sentence;
            tracing::info!(reason, "the agent does not start with what it kept");
        }
    }
    // It may be what it kept that it does not bear: once more, without.
    memory::drop_all(shared).await?;
    context.workspaces.reserve_state(shared.id).await?;
    let process = start_alone(context, order, command, again, unused, more).await?;
    Ok((process, None))
}

/// What a process works on and with.
#[derive(Debug, Clone, Default)]
struct Places {
    tree: Option<PathBuf>,
    state: Option<PathBuf>,
    project: Option<PathBuf>,
}

/// A process with fresh keys that works on nothing, or on a copy that is there already, of a project.
async fn start_alone(
    context: &Arc<Context>,
    order: &Order,
    command: Option<&str>,
    places: Places,
    unused: &mut Unused,
    progress: sandbox::Progress,
) -> Result<Process, Failure> {
    let keys = process::new_keys(context)?;
    unused.add(keys.public_key());
    let launch = Launch {
        agent: &order.agent,
        keys,
        tree: places.tree,
        state: places.state,
        project: places.project,
        command,
        network: reach::rules(context, &order.request)?,
        progress: Some(progress),
    };
    Process::start(context, launch).await
}
