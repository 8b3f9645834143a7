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
    nips::workspace::{CopyLine, ImageLine, Outcome},
    sandbox::Leftovers,
    workspace::{About, inventory},
};

/// Copies that a list names.
const COPIES: usize = 200;

/// Everything that takes room.
///
/// # Errors
/// When the disk cannot be read.
pub(super) async fn list(context: &Arc<Context>) -> Result<Outcome, Failure> {
    let mut copies = Vec::new();
    for about in context.workspaces.list().await?.into_iter().take(COPIES) {
        copies.push(copy(&context.workspaces, about).await?);
    }
    let left = context.runtime.leftovers().await.unwrap_or_else(|error| {
        // Without an engine there is nothing to speak of.
        tracing::debug!(%error, "images could not be listed");
        Leftovers::default()
    });
    let stores = context.workspaces.stores();
    let checkpoints = blocking(move || size(&stores)).await?;
    Ok(Outcome::List {
        copies,
        images: left
            .images
            .into_iter()
            .map(|image| ImageLine {
                name: image.name,
                bytes: image.bytes,
            })
            .collect(),
        checkpoints,
    })
}

async fn copy(workspaces: &Arc<Workspaces>, about: About) -> Result<CopyLine, Failure> {
    let shared = workspaces.open(about.id).await;
    let (busy, work) = match &shared {
        Ok(shared) => {
            // Also what was undone can still be brought back, and what was applied taken back.
            (shared.live().is_some(), shared.has_work().await)
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
    let mut bytes = 0;
    for id in copies {
        let shared = context.workspaces.open(*id).await?;
        bytes += operation::discard(&shared).await?.0;
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
        copies: copies.len(),
        images: gone.images.len(),
        containers: gone.containers,
        bytes,
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
