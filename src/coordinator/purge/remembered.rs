//! What agents themselves remember of what is deleted, where their copy stays: another session works on it too.

use std::{collections::HashSet, sync::Arc};

use nostr::PublicKey;

use super::{LEAVES, belongs::Belongings, broken};
use crate::{
    coordinator::{context::Context, memory, shared::Shared},
    job::Failure,
};

/// The copies that stay and whose agents heard something of what is deleted.
///
/// # Errors
/// When one of them is in use, or the state cannot be read.
pub(super) async fn find(
    context: &Arc<Context>,
    found: &Belongings,
) -> Result<Vec<Arc<Shared>>, Failure> {
    let mut copies: HashSet<PublicKey> = HashSet::new();
    for session in found.sessions.iter().chain(&found.journals) {
        let record = context
            .state
            .session(session)
            .map_err(|error| broken(&error))?;
        copies.extend(record.and_then(|record| record.workspace));
    }
    let mut stay = Vec::new();
    for copy in copies {
        if found.copies.contains(&copy) {
            continue;
        }
        // One that cannot be read has no memory that anybody would go on with, and goes as a whole.
        if let Ok(Some(shared)) = context.workspaces.open_if_there(copy).await {
            if shared.holders.is_busy() {
                return Err(Failure::new("workspace", LEAVES));
            }
            stay.push(shared);
        }
    }
    Ok(stay)
}

/// Has their agents forget all of it: what is deleted cannot be told from the rest.
///
/// # Errors
/// When the disk refuses.
pub(super) async fn forget(copies: Vec<Arc<Shared>>) -> Result<(), Failure> {
    for shared in copies {
        memory::drop_all(&shared).await?;
    }
    Ok(())
}
