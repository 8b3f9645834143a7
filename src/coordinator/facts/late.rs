//! Changes that wait for their claim.

use std::time::Duration;

use nostr::Event;
use tokio::time::Instant;

use super::{Bench, records::file};
use crate::{
    coordinator::{claimed::Claimed, publisher::PublishError, session::Session},
    workspace::diff::{Change, Rendered},
};

/// How long a change waits for a claim that names it.
const LATE: Duration = Duration::from_secs(1);

/// A change that no claim covers yet. With tools that run side by side an agent is further than what it
/// says; what is signed cannot be changed, so it is signed a moment later, or when the tools that may have done
/// it have ended.
pub(super) struct Late {
    change: Change,
    rendered: Rendered,
    /// The tools that may have done it.
    calls: Vec<String>,
    until: Instant,
}

impl Late {
    /// A change that one of these calls may have made.
    pub(super) fn new(change: Change, rendered: Rendered, calls: Vec<String>) -> Self {
        Self {
            change,
            rendered,
            calls,
            until: Instant::now() + LATE,
        }
    }

    /// Which claim a change that waited for one gets: one that names it, or that of a tool that may change
    /// anything and ran when the change was seen.
    fn claim<'a>(&self, claims: &'a [Claimed]) -> Option<&'a Claimed> {
        let path = &self.change.path;
        let names = |claimed: &&Claimed| claimed.paths.iter().any(|named| named == path);
        let ran = |claimed: &&Claimed| claimed.anything && self.calls.contains(&claimed.call);
        claims
            .iter()
            .rfind(names)
            .or_else(|| claims.iter().rfind(ran))
    }

    /// Whether it still waits for one.
    fn waits(&self, bench: &Bench) -> bool {
        bench.in_turn && (Instant::now() < self.until || bench.running.any(&self.calls))
    }
}

/// Records changes that waited for these claims, or have waited long enough.
pub(super) async fn claimed_late(
    session: &mut Session,
    claims: &[Claimed],
) -> Result<Vec<Event>, PublishError> {
    let Some(bench) = &mut session.bench else {
        return Ok(Vec::new());
    };
    let private = session.private;
    let (mut events, mut waiting) = (Vec::new(), Vec::new());
    for late in std::mem::take(&mut bench.late) {
        let claim = late.claim(claims);
        let waits = session.bench.as_ref().is_some_and(|it| late.waits(it));
        if claim.is_none() && waits {
            waiting.push(late);
        } else {
            events.push(file(session, &late.change, &late.rendered, claim, private).await?);
        }
    }
    if let Some(bench) = &mut session.bench {
        bench.late = waiting;
    }
    Ok(events)
}

/// Records changes that have waited long enough for a claim.
///
/// # Errors
/// When the record cannot be written.
pub(in crate::coordinator) async fn settle(session: &mut Session) -> Result<(), PublishError> {
    let Some(bench) = &session.bench else {
        return Ok(());
    };
    if bench.late.iter().all(|late| late.waits(bench)) {
        return Ok(());
    }
    let events = claimed_late(session, &[]).await?;
    session.emit(events).await
}
