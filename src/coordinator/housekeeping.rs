//! What agents left on the disk: copies, checkpoints, images, containers; and how it goes.

use std::{path::Path, sync::Arc};

use nostr::PublicKey;

use super::{
    context::Context,
    operation,
    workspaces::{Error, Workspaces, blocking},
};
use crate::{
    job::Failure,
    nips::workspace::{CopyLine, ImageLine, Outcome, cut_to},
    sandbox::Leftovers,
    workspace::{About, inventory},
};

/// Copies that a list names.
const COPIES: usize = 200;
/// Bytes that the list of copies takes, and that of images.
const LIST: (usize, usize) = (40_000, 10_000);

/// Everything that takes room. Where it can be read on the relay, it names no folder of a private job.
///
/// # Errors
/// When the disk cannot be read.
pub(super) async fn list(context: &Arc<Context>, hidden: bool) -> Result<Outcome, Failure> {
    let mut copies = Vec::new();
    let all = context.workspaces.list().await?;
    let unreadable = context.workspaces.unreadable().await?;
    let total = all.len() + unreadable.len();
    for (id, at) in unreadable.into_iter().take(COPIES / 4) {
        let dir = context.workspaces.root().join(id.to_hex());
        copies.push(CopyLine {
            workspace: id,
            project: None,
            title: "(what is remembered of it cannot be read)".to_owned(),
            at,
            bytes: blocking(move || size(&dir)).await?,
            // It may hold anything.
            work: true,
            busy: false,
        });
    }
    for mut about in all.into_iter().take(COPIES) {
        if about.private && !hidden {
            about.project = None;
        }
        copies.push(copy(&context.workspaces, about).await?);
    }
    let left = context.runtime.leftovers().await.unwrap_or_else(|error| {
        // Without an engine there is nothing to speak of.
        tracing::debug!(%error, "images could not be listed");
        Leftovers::default()
    });
    let stores = context.workspaces.stores();
    let checkpoints = blocking(move || size(&stores)).await?;
    let images = left.images.into_iter().map(|image| ImageLine {
        name: image.name,
        bytes: image.bytes,
    });
    Ok(Outcome::List {
        copies: cut_to(copies, LIST.0).0,
        total,
        images: cut_to(images, LIST.1).0,
        checkpoints,
    })
}

async fn copy(workspaces: &Arc<Workspaces>, about: About) -> Result<CopyLine, Failure> {
    let shared = workspaces.open(about.id).await;
    let (busy, work) = match &shared {
        Ok(shared) => {
            // Also what was undone can still be brought back, and what was applied taken back.
            (shared.holders.is_busy(), shared.has_work().await)
        }
        // What cannot be read may hold anything.
        Err(_) => (false, true),
    };
    let dir = workspaces.root().join(about.id.to_hex());
    let bytes = blocking(move || size(&dir)).await?;
    Ok(CopyLine {
        workspace: about.id,
        project: about
            .project
            .map(|path| path.to_string_lossy().into_owned()),
        title: about.title,
        at: about.created_at,
        bytes,
        work,
        busy,
    })
}

/// Deletes copies, what their checkpoints alone needed, containers that were left behind and, if wanted, the
/// agents' images.
///
/// # Errors
/// When the disk refuses.
pub(super) async fn clean(
    context: &Arc<Context>,
    copies: &[PublicKey],
    images: bool,
) -> Result<Outcome, Failure> {
    let (mut bytes, mut left) = (0, Vec::new());
    for id in copies {
        context.previews.end(&id.to_hex(), None);
        let discarded = match context.workspaces.open(*id).await {
            Ok(shared) => operation::discard(&shared).await,
            Err(failure) => match context.workspaces.remove_unreadable(*id).await {
                Ok(freed) => Ok((freed, 0)),
                Err(_) => Err(failure),
            },
        };
        match discarded {
            Ok((freed, _)) => bytes += freed,
            // What can go goes, and what went is answered as done.
            Err(failure) => left.push(format!("{}: {}", &id.to_hex()[..8], failure.sentence)),
        }
    }
    let stores = context.workspaces.stores();
    let before = blocking(move || size(&stores)).await?;
    let workspaces = context.workspaces.clone();
    blocking(move || workspaces.drop_unused_stores()).await?;
    let stores = context.workspaces.stores();
    bytes += before.saturating_sub(blocking(move || size(&stores)).await?);
    let gone = match context.runtime.clean(images).await {
        Ok(gone) => gone,
        Err(error) if images => return Err(Failure::new("no-sandbox", error.to_string())),
        // Without an engine there are no containers to remove.
        Err(_) => Leftovers::default(),
    };
    Ok(Outcome::Clean {
        copies: copies.len() - left.len(),
        images: gone.images.len(),
        containers: gone.containers,
        bytes,
        left: cut_to(left, LIST.1).0,
    })
}

/// Bytes on the disk; nothing for a folder that is not there.
pub(super) fn size(folder: &Path) -> Result<u64, Error> {
    match inventory::size(folder) {
        Ok(size) => Ok(size.bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}
