//! Blobs that nothing names any more.

use std::{collections::BTreeSet, sync::Arc};

use nostr::Event;

use crate::{
    coordinator::{context::Context, workspaces::blocking},
    job::Failure,
    nips::nip90::JobRequest,
};

/// Events that are looked at in one go.
const AT_ONCE: usize = 1000;

/// The blobs that an event may name: every 64 hexadecimal digits in its tags that are the name of one.
pub(super) fn named_by(context: &Context, event: &Event, found: &mut BTreeSet<String>) {
    let tags = event.tags.iter().flat_map(|tag| tag.as_slice());
    found.extend(tags.filter(|value| context.blobs.has(value)).cloned());
}

/// The blobs that a request names where only its coordinator reads it.
pub(super) fn named_in_private(context: &Context, request: &Event, found: &mut BTreeSet<String>) {
    if let Ok(request) = JobRequest::parse(request, context.keyring.coordinator()) {
        let blobs = request.blobs().map(|(hash, _)| hash.to_owned());
        found.extend(blobs.filter(|hash| context.blobs.has(hash)));
    }
}

/// Removes those of these blobs that no event and no job names; gives how many.
///
/// # Errors
/// When the log, the ledger or the disk cannot be used.
pub(in crate::coordinator) async fn remove_unnamed(
    context: &Arc<Context>,
    candidates: Vec<String>,
) -> Result<usize, Failure> {
    if candidates.is_empty() {
        return Ok(0);
    }
    let failed =
        |error: &dyn std::fmt::Display| Failure::new("workspace", format!("blobs: {error}"));
    let mut named = BTreeSet::new();
    let (last, mut at) = (context.relay.last_seq(), 0);
    while at < last {
        let rows = context
            .relay
            .read_after(at, AT_ONCE)
            .await
            .map_err(|error| failed(&error))?;
        let Some(row) = rows.last() else { break };
        at = row.seq;
        for row in &rows {
            named_by(context, &row.event, &mut named);
        }
    }
    for job in context.state.all_jobs().map_err(|error| failed(&error))? {
        if job.scheme.is_private() {
            named_in_private(context, &job.request, &mut named);
        }
    }
    let blobs = context.blobs.clone();
    blocking(move || {
        let mut removed = 0;
        for hash in candidates.iter().filter(|hash| !named.contains(*hash)) {
            removed += usize::from(blobs.has(hash));
            blobs.remove(hash)?;
        }
        Ok(removed)
    })
    .await
}
