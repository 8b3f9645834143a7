//! Delete for good: sessions and single events leave the relay, the ledger and the disk.
//!
//! What belongs to them is found first ([`belongs`]). Copies go before events, since that can be refused; then the events
//! go in one commit that also notes what is left to do, so that a start after a crash goes on with it: the ledger,
//! journals, keys, blobs, and the files in which the removed bytes still are. That last part is also done when the
//! operator asks this relay to forget everything (NIP-62). Whoever shows what is gone hears of it by
//! deletions (NIP-09) under the keys that signed it.

mod belongs;
mod remembered;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use nostr::{Event, EventId, Keys, PublicKey};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use self::belongs::Belongings;
use super::{
    context::{Context, now},
    operation, unnamed,
    workspaces::blocking,
};
use crate::{
    job::Failure,
    nips::{
        Draft,
        draft::SignError,
        kind,
        workspace::{Outcome, Purge, cut_to},
    },
    store::state::StateError,
};

/// How long a session with nothing to do may take to end.
const LEAVING: Duration = Duration::from_secs(60);
/// Ids that a deletion names.
const NAMED: usize = 400;
/// Bytes that a list of an answer takes.
const LIST: usize = 15_000;

const AT_WORK: &str = "an agent is still at work on this: stop it first (`treefort pause` is not enough), then delete it";
const LEAVES: &str = "a session takes long to end; try again in a moment";

/// What is left to do once the events are gone.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Left {
    v: u32,
    sessions: Vec<PublicKey>,
    /// Of single events: what their agents said raw goes too.
    journals: Vec<PublicKey>,
    jobs: Vec<EventId>,
    blobs: Vec<String>,
    /// What tells others.
    notices: Vec<Event>,
}

/// Deletes what is wanted, or says what would go.
///
/// # Errors
/// When there is no such thing, an agent is at work on it, or the disk refuses.
pub(super) async fn purge(context: &Arc<Context>, wanted: &Purge) -> Result<Outcome, Failure> {
    let _alone = context.purging.lock().await;
    // One before this may not have come to its end.
    finish_before(context).await?;
    let mut found = belongs::find(context, wanted).await?;
    refuse_at_work(context, &found).await?;
    if wanted.look {
        return Ok(outcome(&found, with_others(context, &found)?, 0, None));
    }
    for session in found.sessions.clone() {
        end(context, &session).await?;
    }
    // What they wrote at their end is theirs too.
    found = belongs::find(context, wanted).await?;
    remembered::forget(remembered::find(context, &found).await?).await?;
    for copy in &found.copies {
        context.previews.end(&copy.to_hex(), None);
        match context.workspaces.open_if_there(*copy).await {
            Ok(Some(shared)) => drop(operation::discard(&shared).await?),
            Ok(None) => {}
            Err(_) => drop(context.workspaces.remove_unreadable(*copy).await?),
        }
    }
    let others = with_others(context, &found)?;
    let left = Left {
        v: 1,
        sessions: found.sessions.clone(),
        journals: found.journals.clone(),
        jobs: found.jobs.iter().chain(&found.tasks).copied().collect(),
        blobs: found.blobs.iter().cloned().collect(),
        notices: notices(context, &found).map_err(|error| broken(&error))?,
    };
    let note = serde_json::to_vec(&left).map_err(|error| broken(&error))?;
    let ids = found.events.keys().copied().collect();
    context
        .relay
        .purge(ids, note)
        .await
        .map_err(|error| broken(&error))?;
    let (blobs, erased) = finish(context, left).await?;
    Ok(outcome(&found, others, blobs, Some(erased)))
}

/// Goes on with what a crash cut off.
pub(super) async fn go_on(context: &Arc<Context>) {
    if let Err(failure) = finish_before(context).await {
        tracing::error!(
            reason = failure.sentence,
            "what was deleted for good is not all off the disk"
        );
    }
}

async fn finish_before(context: &Arc<Context>) -> Result<(), Failure> {
    let Some(note) = context
        .relay
        .purging()
        .await
        .map_err(|error| broken(&error))?
    else {
        return Ok(());
    };
    finish(context, read(&note)?).await.map(drop)
}

/// The relay notes nothing but that files are to be erased.
fn read(note: &[u8]) -> Result<Left, Failure> {
    match note {
        [] => Ok(Left::default()),
        note => serde_json::from_slice(note).map_err(|error| broken(&error)),
    }
}

/// Takes what the operator asked this relay to forget (NIP-62) off the disk, too.
///
/// # Errors
/// When the log cannot be read.
pub(super) async fn follow_vanishing(
    context: Arc<Context>,
    stop: CancellationToken,
) -> Result<(), super::Error> {
    let mut feed = context.relay.feed(context.relay.last_seq());
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            batch = feed.next() => batch?,
        };
        let asks = |event: &Event| {
            event.pubkey == context.admission.operator() && context.relay.is_asked_to_forget(event)
        };
        if batch.iter().any(|stored| asks(&stored.event)) {
            let _alone = context.purging.lock().await;
            // A purge that ended meanwhile took the note with it, but not surely these bytes.
            let erased = match context.relay.purging().await {
                Ok(note) => match read(&note.unwrap_or_default()) {
                    Ok(left) => finish(&context, left).await.map(drop),
                    Err(failure) => Err(failure),
                },
                Err(error) => Err(broken(&error)),
            };
            if let Err(failure) = erased {
                let reason = failure.sentence;
                tracing::error!(reason, "what was forgotten is not all off the disk");
            }
        }
    }
}

/// Everything after the commit; may be done again. Gives how many blobs went and whether all bytes are off the disk.
async fn finish(context: &Arc<Context>, left: Left) -> Result<(usize, bool), Failure> {
    for notice in &left.notices {
        if let Err(error) = context.publisher.publish(notice.clone()).await {
            tracing::warn!(%error, "others may not hear what was deleted");
        }
    }
    let (state, jobs, sessions) = (context.state.clone(), left.jobs, left.sessions.clone());
    let forgotten = tokio::task::spawn_blocking(move || -> Result<(), StateError> {
        state.forget(&jobs.into_iter().collect::<HashSet<_>>(), &sessions)?;
        state.rewrite()
    });
    forgotten
        .await
        .map_err(|error| broken(&error))?
        .map_err(|error| broken(&error))?;
    for session in left.sessions.iter().chain(&left.journals) {
        let journal = context.journal.join(format!("{}.jsonl", session.to_hex()));
        match std::fs::remove_file(journal) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(broken(&error));
            }
            _ => {}
        }
    }
    let copies = context.workspaces.list().await?;
    for session in &left.sessions {
        // It may have gone before a crash.
        if !matches!(context.keyring.session(session), Ok(None)) {
            let forgotten = context.keyring.forget_session(session);
            forgotten.map_err(|error| broken(&error))?;
        }
        if copies.iter().all(|about| about.id != *session) {
            context.workspaces.forget(*session).await;
        }
    }
    let workspaces = context.workspaces.clone();
    blocking(move || workspaces.drop_unused_stores()).await?;
    let blobs = unnamed::remove(
        context.relay.feed(0),
        context.keyring.coordinator(),
        &context.blobs,
        left.blobs.into_iter().collect(),
        SystemTime::now(),
    )
    .await
    .map_err(|error| broken(&error))?;
    let erased = context
        .relay
        .erase()
        .await
        .map_err(|error| broken(&error))?;
    if erased {
        context
            .relay
            .purged()
            .await
            .map_err(|error| broken(&error))?;
    }
    Ok((blobs, erased))
}

/// Nothing that an agent works on, or that waits for one.
async fn refuse_at_work(context: &Context, found: &Belongings) -> Result<(), Failure> {
    let busy = |session: &PublicKey| context.desk.is_busy(session) == Some(true);
    let sessions = found.sessions.iter().chain(&found.journals);
    if found.waits || sessions.clone().any(busy) {
        return Err(Failure::new("workspace", AT_WORK));
    }
    Ok(())
}

/// Has a session that has nothing to do end, and waits until its record is closed.
async fn end(context: &Context, session: &PublicKey) -> Result<(), Failure> {
    let began = tokio::time::Instant::now();
    loop {
        let open = context
            .state
            .session(session)
            .map_err(|error| broken(&error))?;
        let there = context.desk.is_busy(session);
        if there.is_none() && open.is_none_or(|record| record.ended) {
            return Ok(());
        }
        if there == Some(true) {
            return Err(Failure::new("workspace", AT_WORK));
        }
        if began.elapsed() > LEAVING {
            return Err(Failure::new("workspace", LEAVES));
        }
        context.desk.send_away(session);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Deletions by the keys that signed what goes; one of the operator's names the jobs, whoever asked for them, for who
/// shows jobs, and says that they are purged and not just taken back.
///
/// Records are not named one by one: nobody but this relay is asked to forget them, and there may be very many.
fn notices(
    context: &Context,
    found: &Belongings,
) -> Result<Vec<Event>, Box<dyn std::error::Error + Send + Sync>> {
    let operator = context.keyring.operator().clone();
    let mut signers = vec![operator.clone(), context.keyring.coordinator().clone()];
    for session in &found.sessions {
        signers.extend(context.keyring.session(session)?);
    }
    let mut events = Vec::new();
    let mut notice =
        |keys: &Keys, ids: &[EventId], mark: Option<[&str; 1]>| -> Result<(), SignError> {
            for ids in ids.chunks(NAMED) {
                let draft = Draft::new(kind::DELETION)
                    .tags(ids.iter().map(|id| vec!["e".to_owned(), id.to_hex()]))
                    .tag_opt(mark)
                    .tag(["alt", "Deletion"])
                    .content("Deleted for good by its owner.");
                events.push(draft.sign(keys, now())?);
            }
            Ok(())
        };
    // Also one whose request its customer took back.
    let jobs: Vec<EventId> = found.jobs.iter().copied().collect();
    notice(&operator, &jobs, Some(["purged"]))?;
    for keys in signers {
        let signed = found.events.iter().filter(|(id, (signer, number))| {
            let named = !kind::RECORDS.contains(number) || found.named.contains(*id);
            *signer == keys.public_key() && named && !found.jobs.contains(*id)
        });
        let ids: Vec<EventId> = signed.map(|(id, _)| *id).collect();
        notice(&keys, &ids, None)?;
    }
    Ok(events)
}

/// How many of the events other relays have or may get at any moment, and how many relays.
fn with_others(context: &Context, found: &Belongings) -> Result<(usize, usize), Failure> {
    let others = context.state.sync_with_others(&found.events);
    others.map_err(|error| broken(&error))
}

fn outcome(
    found: &Belongings,
    (shared, relays): (usize, usize),
    blobs: usize,
    erased: Option<bool>,
) -> Outcome {
    Outcome::Purge {
        done: erased.is_some(),
        sessions: cut_to(found.sessions.iter().copied(), LIST).0,
        sessions_in_all: found.sessions.len(),
        jobs: found.jobs.len(),
        events: found.events.len(),
        blobs: if erased.is_some() {
            blobs
        } else {
            found.blobs.len()
        },
        copies: found.copies.len(),
        copies_kept: found.copies_kept,
        applied: found.applied,
        linked: cut_to(found.linked.iter().copied(), LIST).0,
        shared,
        relays,
        erased: erased.unwrap_or(false),
    }
}

/// A fault of this machine.
fn broken(error: &dyn std::fmt::Display) -> Failure {
    tracing::error!(%error, "something could not be deleted for good");
    Failure::new(
        "workspace",
        format!("it could not all be deleted: {error}; try again"),
    )
}
