//! On which ports an agent's programs listen: a fact that our own process inside the sandbox sees, on the record once
//! each when it comes and when it goes.

use std::{collections::BTreeSet, time::Duration};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{
    context::now, process::Process, publisher::PublishError, session::Session, states::pair,
};
use crate::{
    nips::session::ActionKind,
    sandbox::{Inward, InwardError},
};

/// How often it is looked: two small tables of the kernel are read.
const EVERY: Duration = Duration::from_millis(500);
/// Records of this in a turn: a program may come and go as often as it likes.
const MAX_RECORDS: usize = 20;
const FIRST_TOO_MANY: usize = MAX_RECORDS + 1;

/// What is known of the ports of one sandbox.
pub(super) struct Serving {
    ports: watch::Receiver<BTreeSet<u16>>,
    recorded: BTreeSet<u16>,
    records: usize,
    _looking: AbortOnDropHandle<()>,
}

impl Serving {
    /// Looks at a sandbox until it ends.
    pub(super) fn of(process: &Process) -> Self {
        let (tell, ports) = watch::channel(BTreeSet::new());
        let looking = tokio::spawn(look(process.inward(), process.machinery(), tell));
        Self {
            ports,
            recorded: BTreeSet::new(),
            records: 0,
            _looking: AbortOnDropHandle::new(looking),
        }
    }

    /// The ports, as they change.
    pub(super) fn ports(&self) -> watch::Receiver<BTreeSet<u16>> {
        self.ports.clone()
    }

    /// The next turn begins.
    pub(super) fn turn(&mut self) {
        self.records = 0;
    }

    /// Comes when there is news.
    pub(super) async fn changed(&mut self) {
        if self.ports.changed().await.is_err() {
            // The sandbox has ended, and whoever waits hears of that elsewhere.
            std::future::pending().await
        }
    }

    /// What is to be recorded: each port, and whether something listens there now.
    fn news(&mut self) -> Vec<(u16, bool)> {
        let now = self.ports.borrow_and_update().clone();
        let gone = self.recorded.difference(&now).map(|port| (*port, false));
        let come = now.difference(&self.recorded).map(|port| (*port, true));
        gone.chain(come).collect()
    }
}

async fn look(inward: Inward, mut machinery: BTreeSet<u16>, tell: watch::Sender<BTreeSet<u16>>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let ports = match inward.ports().await {
            Ok(ports) => ports,
            Err(InwardError::Gone) => return,
            // It stands still, say.
            Err(error) => {
                tracing::debug!(%error, "the sandbox's ports could not be seen");
                continue;
            }
        };
        // What takes the place of something that ended is something else.
        machinery.retain(|port| ports.contains(port));
        let served: BTreeSet<u16> = ports.difference(&machinery).copied().collect();
        tell.send_if_modified(|known| {
            let news = *known != served;
            *known = served;
            news
        });
    }
}

/// Records what changed.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn record(session: &mut Session) -> Result<(), PublishError> {
    let Some(bench) = &mut session.bench else {
        return Ok(());
    };
    for (port, listens) in bench.serving.news() {
        let Some(serving) = session.bench.as_mut().map(|bench| &mut bench.serving) else {
            return Ok(());
        };
        serving.records += 1;
        let entry = match serving.records {
            ..=MAX_RECORDS => {
                match listens {
                    true => serving.recorded.insert(port),
                    false => serving.recorded.remove(&port),
                };
                let mut detail = vec![pair("port", &port.to_string())];
                let alt = if listens {
                    format!("A program in the agent's sandbox listens on port {port}")
                } else {
                    detail.push(vec!["closed".to_owned()]);
                    format!("Nothing listens on port {port} any more")
                };
                let kind = ActionKind::Other("serve".to_owned());
                session.log.action(kind, detail, alt, "", now())?
            }
            FIRST_TOO_MANY => {
                let sentence =
                    "The agent's programs opened and closed more ports than a record holds.";
                session
                    .log
                    .error("truncated-record", true, sentence, now())?
            }
            _ => return Ok(()),
        };
        session.publish(entry).await?;
    }
    Ok(())
}
