//! After a crash: containers that were left behind go, and every open session gets its end.

use super::{
    Error,
    context::{Context, now},
};
use crate::{
    nips::{kind, session::Outcome},
    recorder::{Belonging, SessionLog},
    store::state::SessionRecord,
};

/// Ends every session that has none, under its own key.
///
/// # Errors
/// When the state or the log cannot be used.
pub(super) async fn end_abandoned(context: &Context) -> Result<usize, Error> {
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

/// Removes keys and journals of containers that were kept warm for a session that never began.
///
/// # Errors
/// When the state or the keyring cannot be used.
pub(super) fn forget_unused(context: &Context) -> Result<(), Error> {
    for session in context.keyring.sessions()? {
        if !context.state.is_session(&session)? {
            context.keyring.forget_session(&session)?;
            let journal = context.journal.join(format!("{}.jsonl", session.to_hex()));
            if let Err(error) = std::fs::remove_file(journal) {
                tracing::debug!(%error, "no journal to remove");
            }
        }
    }
    Ok(())
}

async fn end(context: &Context, mut session: SessionRecord) -> Result<(), Error> {
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
            if let Some(log) =
                SessionLog::resume(keys, context.redactor.clone(), belonging, &stored)
            {
                let entry = log.end(
                    Outcome::Abandoned,
                    "abandoned",
                    "treefort was stopped while this session was at work.",
                    now(),
                )?;
                context.publisher.publish(entry.event).await?;
            }
        }
    }
    session.ended = true;
    context.state.put_session(&session)?;
    Ok(())
}
