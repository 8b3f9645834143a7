//! Live events on their way to a stream over HTTP, until its connection takes them.
//!
//! A [`Tap`] is bounded: when more waits than the bound, all of it is dropped and the stream is over, which its reader is
//! told. What was stored is in the log, from where the reader goes on. A [`Pace`] ends the connection of who does not read.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::rights::Rights;
use crate::store::Record;

/// What an event in a tap takes beside its text.
const OVERHEAD: usize = 512;
/// How long who is told that it is too slow may take to read that.
const GRACE: Duration = Duration::from_secs(10);

/// One event, with its sequence number if it is stored.
pub(super) type Live = (Option<u64>, Arc<Record>);

pub(super) struct Tap {
    pub(super) id: u64,
    pub(super) rights: Rights,
    limit: usize,
    state: Mutex<State>,
    more: Notify,
    pace: Arc<Pace>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Live>,
    bytes: usize,
    over: bool,
}

/// The stream is over: more came than its reader takes.
#[derive(Debug)]
pub(super) struct TooSlow;

impl Tap {
    pub(super) fn new(id: u64, rights: Rights, limit: usize, pace: Arc<Pace>) -> Self {
        Self {
            id,
            rights,
            limit,
            state: Mutex::default(),
            more: Notify::new(),
            pace,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event.
    pub(super) fn push(&self, seq: Option<u64>, record: &Arc<Record>) {
        let mut state = self.lock();
        if state.over {
            return;
        }
        state.bytes += record.json.len() + OVERHEAD;
        if state.bytes > self.limit {
            tracing::info!(bytes = state.bytes, "closing a stream that is too slow");
            *state = State {
                over: true,
                ..State::default()
            };
            self.pace.give(GRACE);
        } else {
            state.waiting.push_back((seq, Arc::clone(record)));
        }
        drop(state);
        self.more.notify_one();
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && !state.over
    }

    /// What waits; waits until there is something. Cancelling this loses nothing.
    pub(super) async fn take(&self) -> Result<VecDeque<Live>, TooSlow> {
        loop {
            {
                let mut state = self.lock();
                if state.over {
                    return Err(TooSlow);
                }
                if !state.waiting.is_empty() {
                    state.bytes = 0;
                    return Ok(std::mem::take(&mut state.waiting));
                }
            }
            self.more.notified().await;
        }
    }
}

/// How long the reader of a long answer may still take before its connection is ended.
#[derive(Default)]
pub(super) struct Pace {
    until: Mutex<Option<Instant>>,
    changed: Notify,
}

impl Pace {
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives so much time from now on; a shorter time that was given before is prolonged.
    pub(super) fn give(&self, time: Duration) {
        *self.lock() = Some(Instant::now() + time);
        self.changed.notify_one();
    }

    /// Whether a long answer is being sent, or was the last one.
    pub(super) fn is_given(&self) -> bool {
        self.lock().is_some()
    }

    /// There is no hurry: nothing is being sent.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    /// Waits until the time is over.
    pub(super) async fn over(&self) {
        loop {
            let until = *self.lock();
            match until {
                None => self.changed.notified().await,
                Some(until) if until <= Instant::now() => return,
                Some(until) => {
                    // A time that was shortened counts at once, one that was prolonged is looked at again.
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = self.changed.notified() => {}
                    }
                }
            }
        }
    }
}
