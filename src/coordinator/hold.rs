//! Who holds a copy: one session that works on it, and one thing that its owner does with it.
//!
//! Both are taken under one lock and given back when their guard is dropped. A session begins where no other
//! one works and nothing is being done; what the owner does waits for a session that is just beginning or
//! ending, since an agent that is half there can neither be paused nor told. What was deleted is held by
//! nobody any more.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    shared::{Live, Shared},
    workspaces::gone,
};
use crate::{job::Failure, sandbox::Exit};

/// How long a session waits for another one that may be about to end.
const A_MOMENT: Duration = Duration::from_secs(3);
/// How long the owner's task waits for a session that begins.
const BEGINNING: Duration = Duration::from_secs(60);
/// How long anybody waits for what the owner does: a large tree takes a while.
const OPERATION: Duration = Duration::from_secs(300);
/// How long a copy is kept for a container that is being removed.
const REMOVAL: Duration = Duration::from_secs(30);

/// The holders of one copy.
#[derive(Debug)]
pub(super) struct Holders(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    session: Option<Stage>,
    /// Whether the session has nothing to do: what it was asked is done, but for saying so.
    rests: bool,
    /// Whether the session is over but for its last checkpoint and its record's end.
    leaves: bool,
    /// Whether the owner does something with it.
    operation: bool,
    /// Sessions and tasks that wait for the session to leave.
    waiting: usize,
    /// Whether it was deleted.
    gone: bool,
}

impl State {
    fn begin(&mut self) {
        self.session = Some(Stage::Begins);
        (self.rests, self.leaves) = (false, false);
    }

    /// Whether a session is there, and soon not any more.
    fn ends(&self) -> bool {
        self.leaves || matches!(self.session, Some(Stage::Ends))
    }
}

/// How far a session is.
#[derive(Debug)]
enum Stage {
    /// Its files and its agent are made ready.
    Begins,
    /// It works, or is open for more work.
    Works(Live),
    /// Its record is closed; its agent is being ended.
    Ends,
}

/// What somebody who wants to hold a copy finds.
enum Found {
    /// It is theirs now.
    Taken,
    /// It will be free; until then at most so long, and this is what is said after it.
    Busy {
        patience: Duration,
        hurry: bool,
        sentence: &'static str,
    },
    /// It will not be free.
    Refused(&'static str),
    /// It was deleted.
    Gone,
}

const BEGINS: &str = "a session is only just beginning to work on this copy; try again in a moment";
const ENDS: &str = "a session on this copy takes long to end; try again in a moment";
const ELSE: &str = "something else is being done with this copy; try again when that is done";
const TWO: &str = "another session works on this copy at the moment; wait for its end";
const AT_WORK: &str =
    "an agent still works on this copy; let it end or stop it (Ctrl-C), then discard";

impl Holders {
    /// Of a copy that nobody uses yet.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// The session that can be paused and told, if one is at work.
    pub(super) fn live(&self) -> Option<Live> {
        match &self.0.borrow().session {
            Some(Stage::Works(live)) => Some(live.clone()),
            _ => None,
        }
    }

    /// Whether a session holds it, however far it is.
    pub(super) fn is_busy(&self) -> bool {
        self.0.borrow().session.is_some()
    }

    /// Whether a session is at work on it: one that is only open for more work, or ends, is not.
    pub(super) fn is_at_work(&self) -> bool {
        let state = self.0.borrow();
        matches!(state.session, Some(Stage::Begins | Stage::Works(_))) && !state.rests
    }

    /// The copy is gone, whoever may still have it at hand.
    pub(super) fn set_gone(&self) {
        self.0.send_modify(|state| state.gone = true);
    }

    /// Comes when somebody waits for the session to leave.
    pub(super) async fn wanted(&self) {
        let mut changes = self.0.subscribe();
        // The sender is ours, so this does not end otherwise.
        let _ended = changes.wait_for(|state| state.waiting > 0).await;
    }

    /// Takes what `take` gives, as soon as it does.
    async fn take(&self, mut take: impl FnMut(&mut State) -> Found) -> Result<(), Failure> {
        let began = Instant::now();
        let mut waiting = None;
        loop {
            let mut changes = self.0.subscribe();
            let mut found = Found::Gone;
            self.0.send_if_modified(|state| {
                found = take(state);
                matches!(found, Found::Taken)
            });
            let (patience, hurry, sentence) = match found {
                Found::Taken => return Ok(()),
                Found::Refused(sentence) => return Err(Failure::new("workspace", sentence)),
                Found::Gone => return Err(gone()),
                Found::Busy {
                    patience,
                    hurry,
                    sentence,
                } => (patience, hurry, sentence),
            };
            if hurry && waiting.is_none() {
                waiting = Some(Waiting::new(self));
                continue;
            }
            if timeout_at(began + patience, changes.changed())
                .await
                .is_err()
            {
                return Err(Failure::new("workspace", sentence));
            }
        }
    }
}

/// One that waits for a session to leave: a session with nothing to do ends for it.
struct Waiting<'a>(&'a Holders);

impl<'a> Waiting<'a> {
    fn new(holders: &'a Holders) -> Self {
        holders.0.send_modify(|state| state.waiting += 1);
        Self(holders)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.waiting -= 1);
    }
}

/// A session's hold on its copy, from before its files are made ready until its container is gone.
#[derive(Debug)]
pub(super) struct SessionHold {
    shared: Arc<Shared>,
    exit: Option<watch::Receiver<Option<Exit>>>,
}

impl SessionHold {
    /// A session begins on a copy that is there.
    ///
    /// # Errors
    /// When another session works on it, or it is gone.
    pub(super) async fn take(shared: Arc<Shared>) -> Result<Self, Failure> {
        let begin = |state: &mut State| match state.session {
            _ if state.gone => Found::Gone,
            Some(_) if state.ends() => Found::Busy {
                patience: OPERATION,
                hurry: true,
                sentence: ENDS,
            },
            // One that has nothing to do leaves for this one.
            Some(_) => Found::Busy {
                patience: A_MOMENT,
                hurry: true,
                sentence: TWO,
            },
            None if state.operation => Found::Busy {
                patience: OPERATION,
                hurry: false,
                sentence: ELSE,
            },
            None => {
                state.begin();
                Found::Taken
            }
        };
        shared.holders.take(begin).await?;
        Ok(Self { shared, exit: None })
    }

    /// A session begins on a copy that nobody else can know of yet.
    pub(super) fn first(shared: Arc<Shared>) -> Self {
        shared.holders.0.send_modify(State::begin);
        Self { shared, exit: None }
    }

    /// The copy.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The copy is held until this container is gone, also when the guard goes before it.
    pub(super) fn keep_for(&mut self, exit: watch::Receiver<Option<Exit>>) {
        self.exit = Some(exit);
    }

    /// The session can be paused and told from now on.
    pub(super) fn works(&self, live: Live) {
        let works = |state: &mut State| state.session = Some(Stage::Works(live));
        self.shared.holders.0.send_modify(works);
    }

    /// The session has nothing more to do, or something again.
    pub(super) fn rests(&self, rests: bool) {
        let told = |state: &mut State| state.rests = rests;
        self.shared.holders.0.send_modify(told);
    }

    /// The session is over: what is left of it is soon done, and nobody needs to be sent away for it.
    pub(super) fn leaves(&self) {
        let leaves = |state: &mut State| state.leaves = true;
        self.shared.holders.0.send_modify(leaves);
    }

    /// The session can be told nothing any more and is about to end its agent; waits for what its owner does
    /// right now, as long as `hurry` does not come.
    pub(super) async fn ends(&self, hurry: impl Future<Output = ()>) {
        let holders = &self.shared.holders;
        let end = |state: &mut State| {
            if state.operation {
                return Found::Busy {
                    patience: OPERATION,
                    hurry: false,
                    sentence: ELSE,
                };
            }
            state.session = Some(Stage::Ends);
            Found::Taken
        };
        let ended = tokio::select! {
            ended = holders.take(end) => ended.is_ok(),
            () = hurry => false,
        };
        if !ended {
            let ends = |state: &mut State| state.session = Some(Stage::Ends);
            holders.0.send_modify(ends);
        }
    }
}

impl Drop for SessionHold {
    fn drop(&mut self) {
        fn free(shared: &Shared) {
            shared.holders.0.send_modify(|state| state.session = None);
        }
        let still_there = |exit: &watch::Receiver<Option<Exit>>| exit.has_changed().is_ok();
        let Some(mut exit) = self.exit.take().filter(still_there) else {
            return free(&self.shared);
        };
        let shared = self.shared.clone();
        let leave = async move {
            // The backend drops its side once the container is gone.
            let gone = async { while exit.changed().await.is_ok() {} };
            if timeout_at(Instant::now() + REMOVAL, gone).await.is_err() {
                tracing::warn!("a container outlives its session");
            }
            free(&shared);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(leave)),
            Err(_) => free(&self.shared),
        }
    }
}

/// The owner's hold on a copy, while one thing is done with it.
#[derive(Debug)]
pub(super) struct OperationHold {
    shared: Arc<Shared>,
}

impl OperationHold {
    /// Something is done with the copy, also under an agent at work.
    ///
    /// # Errors
    /// When it is gone, or something else takes too long.
    pub(super) async fn take(shared: &Arc<Shared>) -> Result<Self, Failure> {
        Self::taken(shared, false).await
    }

    /// The copy is to be deleted.
    ///
    /// # Errors
    /// When a session works on it, it is gone already, or something else takes too long.
    pub(super) async fn to_discard(shared: &Arc<Shared>) -> Result<Self, Failure> {
        Self::taken(shared, true).await
    }

    async fn taken(shared: &Arc<Shared>, alone: bool) -> Result<Self, Failure> {
        let operate = |state: &mut State| match state.session {
            _ if state.gone => Found::Gone,
            Some(Stage::Begins | Stage::Works(_)) if alone && !state.leaves => {
                Found::Refused(AT_WORK)
            }
            Some(Stage::Begins) => Found::Busy {
                patience: BEGINNING,
                hurry: false,
                sentence: BEGINS,
            },
            Some(_) if alone || matches!(state.session, Some(Stage::Ends)) => Found::Busy {
                patience: OPERATION,
                hurry: true,
                sentence: ENDS,
            },
            _ if state.operation => Found::Busy {
                patience: OPERATION,
                hurry: false,
                sentence: ELSE,
            },
            _ => {
                state.operation = true;
                Found::Taken
            }
        };
        shared.holders.take(operate).await?;
        let shared = shared.clone();
        Ok(Self { shared })
    }

    /// The copy was deleted.
    pub(super) fn gone(&self) {
        self.shared.holders.set_gone();
    }
}

impl Drop for OperationHold {
    fn drop(&mut self) {
        let done = |state: &mut State| state.operation = false;
        self.shared.holders.0.send_modify(done);
    }
}

#[cfg(test)]
mod tests;
