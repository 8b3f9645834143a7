//! An earlier state of a copy comes back, also under an agent at work.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{LIST, state::pick};
use crate::{
    coordinator::{
        context::{Context, now},
        executor::Order,
        shared::{Live, Shared, Told},
        states, words,
    },
    job::Failure,
    nips::{
        Reference,
        session::{Outcome as Ending, Start},
        workspace::{Outcome, State, cut_to},
    },
    recorder::{Belonging, SessionLog},
    store::state::SessionRecord,
    workspace::{Uncovered, Undone, Why},
};

/// How long a session may take to write an undo into its record.
const RECORD: Duration = Duration::from_secs(10);

pub(super) async fn undo(
    context: &Arc<Context>,
    order: &Order,
    shared: &Arc<Shared>,
    to: &State,
) -> Result<Outcome, Failure> {
    let at = now();
    let to = to.clone();
    let (undone, target) = shared
        .still(true, move |files| {
            // What is there now is a state too: `last` counts from it.
            files.checkpoint_if_changed("before the undo", at)?;
            let all = files.checkpoints()?;
            let target = match pick(&all, &to) {
                Ok(target) => target.clone(),
                Err(failure) => return Ok(Err(failure)),
            };
            Ok(Ok((files.undo(&target.commit, at)?, target)))
        })
        .await??;
    let (moved, kept): (Vec<&Uncovered>, Vec<&Uncovered>) = undone
        .kept
        .iter()
        .partition(|uncovered| uncovered.why == Why::InTheWay);
    let (listed, _) = cut_to(kept.iter().map(|kept| words::not_covered(kept)), LIST / 2);
    let (moved, _) = cut_to(moved.iter().map(|moved| words::text(&moved.path)), LIST / 2);
    let mut outcome = Outcome::Undo {
        before: undone.before.number,
        to: target.number,
        after: undone.after.number,
        written: undone.written,
        removed: undone.removed,
        moved,
        uncovered: listed,
        uncovered_in_all: kept
            .iter()
            .map(|kept| kept.paths())
            .fold(0, u64::saturating_add),
        unrecorded: None,
    };
    let undone = match shared.live() {
        Some(live) => match tell(&live, undone, target.number).await {
            None => return Ok(outcome),
            // The session ended in this moment: its record takes nothing any more.
            Some(undone) => undone,
        },
        None => undone,
    };
    // The files are back, whatever becomes of the record.
    let recorded = record(context, order, shared, &undone, target.number).await;
    if let (Err(failure), Outcome::Undo { unrecorded, .. }) = (recorded, &mut outcome) {
        *unrecorded = Some(failure.sentence);
    }
    Ok(outcome)
}

/// Tells the session that works there; gives the undo back when nobody hears.
async fn tell(live: &Live, undone: Undone, to: u32) -> Option<Undone> {
    let (recorded, done) = oneshot::channel();
    let told = Told::Restored {
        undone,
        to,
        recorded,
    };
    match live.told.try_send(told) {
        Ok(()) => {
            // It is on its way into the record, whether we wait for it or not.
            let _in_time = tokio::time::timeout(RECORD, done).await;
            None
        }
        Err(error) => match error.into_inner() {
            Told::Restored { undone, .. } => Some(undone),
        },
    }
}

/// An undo in a copy that no session works on has a small session of its own: every change of files is on a
/// record that verifies.
async fn record(
    context: &Arc<Context>,
    order: &Order,
    shared: &Arc<Shared>,
    undone: &Undone,
    to: u32,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(
            "workspace",
            format!("the files were brought back, but not recorded: {error}"),
        )
    };
    let keys = context
        .keyring
        .new_session()
        .map_err(|error| failed(&error))?;
    let _secrets = context
        .redactor
        .learn_while(crate::keys::keyring::spellings(&keys));
    let mut session = SessionRecord {
        v: 1,
        session: keys.public_key(),
        agent: "treefort".to_owned(),
        job: order.event.id,
        workspace: Some(shared.id),
        started_at: now(),
        ended: false,
    };
    let state = context.state.clone();
    let begun = session.clone();
    tokio::task::spawn_blocking(move || state.put_session(&begun))
        .await
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))?;
    let root = Reference::to(&order.event, &context.relay_url);
    let belonging = Belonging {
        operator: context.admission.operator(),
        root: Some(root.clone()),
        relay: context.relay_url.clone(),
    };
    let mut log = SessionLog::new(keys, context.redactor.clone(), belonging);
    let sign = |error: crate::nips::draft::SignError| failed(&error);
    let started = log.start(start(context), &root, "", now()).map_err(sign)?;
    let private = shared.about().private;
    let mut events = vec![started.event];
    events.extend(states::undo_events(&mut log, shared.id, undone, to, private).map_err(sign)?);
    events.push(
        log.end(Ending::Success, "undone", "", now())
            .map_err(sign)?
            .event,
    );
    context
        .publisher
        .publish_all(events)
        .await
        .map_err(|error| failed(&error))?;
    session.ended = true;
    let state = context.state.clone();
    let stored = tokio::task::spawn_blocking(move || state.put_session(&session)).await;
    if !matches!(stored, Ok(Ok(()))) {
        tracing::error!("the end of an undo's session could not be noted");
    }
    Ok(())
}

/// The start of a session that is the owner's own hand.
fn start(context: &Context) -> Start {
    Start {
        operator: Some(context.admission.operator()),
        behavior: None,
        role: "undo".to_owned(),
        model: "none".to_owned(),
        provider: "none".to_owned(),
        tier: "local".to_owned(),
        adapter: "treefort".to_owned(),
        image: "none".to_owned(),
        env: vec![format!(
            "{}/{}",
            std::env::consts::OS,
            std::env::consts::ARCH
        )],
        config: Start::config_of("treefort", "", "none", "none", "undo"),
        extra: Vec::new(),
    }
}
