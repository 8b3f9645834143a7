//! After a crash: containers that were left behind go, and every open session gets its end.

use std::sync::Arc;

use nostr::Event;

use super::{
    Error,
    context::{Context, now},
    process, states,
};
use crate::{
    nips::{draft::SignError, kind, session::Outcome},
    recorder::{Belonging, SessionLog},
    store::state::SessionRecord,
};

/// Ends every session that has none, under its own key.
///
/// # Errors
/// When the state or the log cannot be used.
pub(super) async fn end_abandoned(context: &Arc<Context>) -> Result<usize, Error> {
    let open = context.state.open_sessions()?;
    let count = open.len();
    for session in open {
        end(context, session).await?;
    }
    if count > 0 {
        tracing::info!(count, "ended sessions that were left open");
    }
    Ok(count)
}

/// Removes keys, journals and folders of containers that were kept warm for a session that never began.
///
/// # Errors
/// When the state or the keyring cannot be used.
pub(super) async fn forget_unused(context: &Arc<Context>) -> Result<(), Error> {
    for session in context.keyring.sessions()? {
        if !context.state.is_session(&session)? {
            process::forget(context, &session).await;
        }
    }
    Ok(())
}

async fn end(context: &Arc<Context>, mut session: SessionRecord) -> Result<(), Error> {
    match context.keyring.session(&session.session)? {
        None => {
            tracing::error!(session = %session.session, "the key of an open session is gone; it stays without its end");
        }
        Some(keys) => {
            let filter = nostr::Filter::new()
                .author(session.session)
                .kinds((kind::SESSION_START..=kind::SESSION_END).map(nostr::Kind::from))
                .limit(usize::MAX);
            let stored = context.relay.query(filter).await?;
            let belonging = Belonging {
                operator: context.admission.operator(),
                root: None,
                relay: context.relay_url.clone(),
            };
            if let Some(mut log) =
                SessionLog::resume(keys, context.redactor.clone(), belonging, &stored)
            {
                let mut events: Vec<Event> = last_state(context, &session, &mut log)
                    .await
                    .transpose()?
                    .into_iter()
                    .collect();
                let entry = log.end(
                    Outcome::Abandoned,
                    "abandoned",
                    "treefort was stopped while this session was at work.",
                    now(),
                )?;
                events.push(entry.event);
                context.publisher.publish_all(events).await?;
            }
        }
    }
    session.ended = true;
    context.state.put_session(&session)?;
    Ok(())
}

/// What the agent's files were when it was cut off: a checkpoint, if they changed since the last one. Opening
/// them also brings a restore to its end that the crash cut off.
async fn last_state(
    context: &Arc<Context>,
    session: &SessionRecord,
    log: &mut SessionLog,
) -> Option<Result<Event, SignError>> {
    const REASON: &str = "when treefort was stopped";
    let shared = context.workspaces.open(session.workspace?).await;
    let taken = match shared {
        Ok(shared) => {
            shared
                .with(|files| Ok(files.checkpoint_if_changed(REASON, now())?))
                .await
        }
        Err(failure) => Err(failure),
    };
    let checkpoint = match taken {
        Ok(checkpoint) => checkpoint?,
        Err(failure) => {
            tracing::error!(reason = failure.sentence, "no checkpoint could be taken");
            let sentence =
                "No checkpoint could be taken. The log of treefort on this machine says why.";
            return Some(
                log.error("checkpoint", true, sentence, now())
                    .map(|entry| entry.event),
            );
        }
    };
    // Whether the job was private is not kept: nothing is named that would tell of its files.
    let detail = states::checkpoint_detail(session.workspace, &checkpoint, REASON, true);
    let alt = format!("Checkpoint {}: {REASON}", checkpoint.number);
    let entry = log.checkpoint(detail, alt, "", now());
    Some(entry.map(|entry| entry.event))
}
