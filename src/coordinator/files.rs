//! The process of a session with the files that it works on: a copy of a project, an empty folder, or the copy
//! of the conversation before.

use std::{path::PathBuf, sync::Arc};

use super::{
    context::{Context, now},
    executor::Order,
    opening::excerpt,
    process::{self, Process, Start as Launch},
    workspaces::{Shared, Source},
};
use crate::{
    job::Failure,
    sandbox,
    workspace::{About, Checkpoint, about, import::Imported},
};

/// The files of a session with its process.
pub(super) struct Begun {
    pub(super) process: Process,
    pub(super) shared: Option<Arc<Shared>>,
    pub(super) imported: Option<(Imported, Checkpoint)>,
    pub(super) latest: Option<Checkpoint>,
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
fn earlier(context: &Context, order: &Order) -> Option<nostr::PublicKey> {
    let job = context.state.job(&order.continues?).ok().flatten()?;
    let session = context.state.session(&job.session?).ok().flatten()?;
    session.workspace
}

/// A process, and the files that it works on.
///
/// # Errors
/// A sentence for the customer; nothing is left behind.
pub(super) async fn begin(
    context: &Arc<Context>,
    order: &Order,
    prompt: &str,
    warm: Option<Process>,
    progress: sandbox::Progress,
) -> Result<Begun, Failure> {
    let manifest = context
        .agents
        .get(&order.agent)
        .map(|agent| agent.manifest.clone())
        .ok_or_else(|| {
            Failure::new("agent", format!("there is no agent called {}", order.agent))
        })?;
    let command = (manifest.driver == crate::agent::manifest::Driver::Exec).then_some(prompt);
    if !manifest.workspace {
        let process = match warm {
            Some(process) => process,
            None => start_alone(context, order, command, None, progress).await?,
        };
        return Ok(Begun {
            process,
            shared: None,
            imported: None,
            latest: None,
        });
    }
    let known = match earlier(context, order) {
        Some(id) => context.workspaces.open(id).await.ok(),
        None => None,
    };
    if let Some(shared) = known {
        if shared.live().is_some() {
            return Err(Failure::new(
                "workspace",
                "another session works on this copy at the moment; wait for its end",
            ));
        }
        let at = now();
        let latest = shared
            .with(move |files| Ok(files.checkpoint("before going on", at)?))
            .await?;
        let process =
            start_alone(context, order, command, Some(shared.tree_dir()), progress).await?;
        return Ok(Begun {
            process,
            shared: Some(shared),
            imported: None,
            latest: Some(latest),
        });
    }
    let source = source(context, order)?;
    let about = |id| About {
        v: about::VERSION,
        id,
        project: match &source {
            Source::Project { path, .. } => Some(path.clone()),
            Source::Empty => None,
        },
        branch: None,
        title: excerpt(&context.redactor.redact(prompt)),
        agent: order.agent.clone(),
        created_at: now(),
        base: None,
        applied: None,
    };
    let fill = async |id| {
        let shared = context.workspaces.begin(about(id)).await?;
        let filled = shared
            .fill(source.clone(), context.workspaces.owner(), now())
            .await?;
        Ok::<_, Failure>((shared, filled))
    };
    let (process, filled) = match warm {
        Some(process) => {
            let filled = fill(process.keys.public_key()).await;
            (Ok(process), filled)
        }
        None => {
            let keys = process::new_keys(context)?;
            let id = keys.public_key();
            let tree = context.workspaces.reserve(id).await?;
            let launch = Launch {
                agent: &order.agent,
                keys,
                tree: Some(tree),
                command,
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
                let (process, filled) = tokio::join!(Process::start(context, launch), fill(id));
                if process.is_err() && filled.is_err() {
                    process::forget(context, &id).await;
                }
                (process, filled)
            }
        }
    };
    match (process, filled) {
        (Ok(process), Ok((shared, filled))) => Ok(Begun {
            process,
            shared: Some(shared),
            latest: Some(filled.1.clone()),
            imported: Some(filled),
        }),
        (Ok(process), Err(failure)) => {
            process.discard().await;
            Err(failure)
        }
        (Err(failure), Ok((shared, _))) => {
            process::forget(context, &shared.id).await;
            Err(failure)
        }
        (Err(failure), Err(_)) => Err(failure),
    }
}

/// A process with fresh keys that works on nothing, or on a copy that is there already.
async fn start_alone(
    context: &Arc<Context>,
    order: &Order,
    command: Option<&str>,
    tree: Option<PathBuf>,
    progress: sandbox::Progress,
) -> Result<Process, Failure> {
    let keys = process::new_keys(context)?;
    let id = keys.public_key();
    let launch = Launch {
        agent: &order.agent,
        keys,
        tree,
        command,
        progress: Some(progress),
    };
    let started = Process::start(context, launch).await;
    if started.is_err() {
        process::forget(context, &id).await;
    }
    started
}
