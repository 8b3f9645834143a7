//! What an agent built, opened in its owner's browser.

use std::{io, sync::Arc};

use super::state::pick;
use crate::{
    coordinator::{context::Context, shared::Shared, words},
    job::Failure,
    nips::workspace::{Outcome, Show, State},
    preview::{Files, Root, Source, What},
    sandbox::InwardError,
};

/// What a task in the clear hears: its answer is a key.
pub(super) const IN_CLEAR: &str = "the answer to this task opens the preview, and anybody who reads the relay could \
    use it before you. Send it encrypted (NIP-44), as the `treefort` command does";
/// What there is when no sandbox is.
const ENDED: &str = "no agent works on this copy right now, so no app of its runs. Go on with the conversation and \
    have the agent start it, or look at the files: `treefort preview --static`";
const NO_FOLDER: &str = "there is no such folder in this copy";

/// Opens a preview.
pub(super) async fn open(
    context: &Context,
    shared: &Arc<Shared>,
    show: Show,
) -> Result<Outcome, Failure> {
    let (what, source, about) = match show {
        Show::App { port } => app(shared, port).await?,
        Show::Files { at, path } => files(shared, at.as_ref(), path).await?,
    };
    let opened = context
        .previews
        .open(&shared.id.to_hex(), what, source)
        .await
        .map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "no preview");
            Failure::new("workspace", error.to_string())
        })?;
    Ok(Outcome::Preview {
        url: opened.url,
        by_address: opened.by_address,
        port: about.port,
        folder: about.folder,
        checkpoint: about.checkpoint,
    })
}

/// What the answer says of it.
#[derive(Default)]
struct About {
    port: Option<u16>,
    folder: Option<String>,
    checkpoint: Option<u32>,
}

async fn app(shared: &Arc<Shared>, port: Option<u16>) -> Result<(What, Source, About), Failure> {
    let failed = |sentence: String| Failure::new("workspace", sentence);
    let live = shared.live().ok_or_else(|| failed(ENDED.to_owned()))?;
    let port = match port {
        Some(port) => port,
        None => {
            let ports = live.ports.borrow().clone();
            let mut all = ports.iter();
            match (all.next(), all.next()) {
                (Some(port), None) => *port,
                (None, _) => {
                    return Err(failed(
                        "nothing listens in this agent's sandbox yet: have it start the app (as a program that goes \
                         on running), or look at the files: `treefort preview --static`"
                            .to_owned(),
                    ));
                }
                _ => {
                    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                    return Err(failed(format!(
                        "several programs listen in this agent's sandbox: say which one, of ports {}",
                        ports.join(", ")
                    )));
                }
            }
        }
    };
    match live.inward.connect(port).await {
        // It is only asked for when somebody looks.
        Ok(stream) => drop(stream),
        Err(InwardError::Gone) => return Err(failed(ENDED.to_owned())),
        Err(InwardError::Refused) => {
            return Err(failed(format!(
                "nothing listens on port {port} in this agent's sandbox"
            )));
        }
        Err(error) => return Err(failed(format!("port {port} cannot be reached: {error}"))),
    }
    let source = Source::App {
        inward: live.inward,
        port,
    };
    let about = About {
        port: Some(port),
        ..About::default()
    };
    Ok((What::Port(port), source, about))
}

async fn files(
    shared: &Arc<Shared>,
    at: Option<&State>,
    path: Option<String>,
) -> Result<(What, Source, About), Failure> {
    let (root, tree, checkpoint) = match at {
        None => (Root::Folder(shared.tree_dir()), None, None),
        Some(state) => {
            let (all, store) = shared
                .with(|files| Ok((files.checkpoints()?, files.store().clone())))
                .await?;
            let picked = pick(&all, state)?;
            let root = Root::State(store, picked.tree);
            (root, Some(picked.tree.to_string()), Some(picked.number))
        }
    };
    let what = What::Files {
        tree,
        folder: path.clone(),
    };
    let opened = tokio::task::spawn_blocking(move || Files::open(root, path.as_deref())).await;
    let unread = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, "the files of a copy could not be read");
        Failure::new("workspace", "the files of this copy could not be read")
    };
    let files = opened
        .map_err(|error| unread(&error))?
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::InvalidInput => Failure::new("workspace", NO_FOLDER),
            _ => unread(&error),
        })?;
    let about = About {
        folder: Some(words::text(files.folder().as_bytes())),
        checkpoint,
        port: None,
    };
    Ok((what, Source::Files(Arc::new(files)), about))
}

/// Ends previews of a copy.
pub(super) async fn end(
    context: &Context,
    shared: &Arc<Shared>,
    only: Option<Show>,
) -> Result<Outcome, Failure> {
    let what = match only {
        None | Some(Show::App { port: None }) => None,
        Some(Show::App { port: Some(port) }) => Some(What::Port(port)),
        Some(Show::Files { at, path }) => {
            let tree = match at {
                None => None,
                Some(state) => {
                    let all = shared.with(|files| Ok(files.checkpoints()?)).await?;
                    Some(pick(&all, &state)?.tree.to_string())
                }
            };
            Some(What::Files { tree, folder: path })
        }
    };
    let ended = context.previews.end(&shared.id.to_hex(), what.as_ref());
    Ok(Outcome::PreviewEnd { ended })
}
