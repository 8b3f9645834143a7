//! What waits to be written to one connection.
//!
//! Frames are copied once into one byte buffer and written with `try_write` by whoever adds them; what the
//! socket does not take is written by [`Outbox::drive`]. A reader that lets more than the bound pile up
//! gets everything up to there and then a close frame that says why: nothing is skipped silently.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{net::tcp::OwnedWriteHalf, sync::Notify};
use tokio_util::sync::CancellationToken;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
/// An empty buffer larger than this is given back.
const KEEP: usize = 256 << 10;

pub(super) struct Outbox {
    half: OwnedWriteHalf,
    state: Mutex<State>,
    limit: usize,
    /// Woken when bytes are left for `drive`.
    more: Notify,
    /// Woken when bytes were taken by the socket.
    taken: Notify,
    /// Cancelled when nothing more is accepted.
    closed: CancellationToken,
}

struct State {
    bytes: Vec<u8>,
    sent: usize,
    accepting: bool,
    broken: bool,
}

impl State {
    fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn header(&mut self, opcode: u8, len: usize) {
        self.bytes.push(opcode);
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(short), _) if short < 126 => self.bytes.push(short),
            (_, Ok(medium)) => {
                self.bytes.push(126);
                self.bytes.extend_from_slice(&medium.to_be_bytes());
            }
            _ => {
                self.bytes.push(127);
                self.bytes.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
    }

    fn close(&mut self, code: u16, reason: &str) {
        let reason = &reason.as_bytes()[..reason.len().min(120)];
        self.header(CLOSE, reason.len() + 2);
        self.bytes.extend_from_slice(&code.to_be_bytes());
        self.bytes.extend_from_slice(reason);
        self.accepting = false;
    }
}

impl Outbox {
    pub(super) fn new(half: OwnedWriteHalf, limit: usize) -> Self {
        Self {
            half,
            state: Mutex::new(State {
                bytes: Vec::new(),
                sent: 0,
                accepting: true,
                broken: false,
            }),
            limit,
            more: Notify::new(),
            taken: Notify::new(),
            closed: CancellationToken::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one text frame made of parts; [`Outbox::flush`] sends it.
    pub(super) fn text(&self, parts: &[&[u8]]) {
        let len = parts.iter().map(|part| part.len()).sum();
        let mut state = self.lock();
        if self.admit(&mut state, len) {
            state.header(TEXT, len);
            for part in parts {
                state.bytes.extend_from_slice(part);
            }
        }
    }

    /// Adds a ping.
    pub(super) fn ping(&self) {
        let mut state = self.lock();
        if self.admit(&mut state, 0) {
            state.header(PING, 0);
        }
    }

    /// Adds frames that are already built (pongs and the answer to a close).
    pub(super) fn raw(&self, frames: &[u8]) {
        let mut state = self.lock();
        if self.admit(&mut state, frames.len()) {
            state.bytes.extend_from_slice(frames);
        }
    }

    /// Whether there is room; closes the connection when there is not.
    fn admit(&self, state: &mut State, len: usize) -> bool {
        if !state.accepting {
            return false;
        }
        if state.waiting() + len > self.limit {
            self.overflow(state);
            return false;
        }
        true
    }

    fn overflow(&self, state: &mut State) {
        tracing::info!(
            waiting = state.waiting(),
            "closing a reader that is too slow"
        );
        state.close(1008, "too slow: messages would have been lost, ask again");
        self.closed.cancel();
    }

    /// The most bytes that wait.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Ends the connection because messages for it pile up elsewhere.
    pub(super) fn too_slow(&self) {
        let mut state = self.lock();
        if state.accepting {
            self.overflow(&mut state);
        }
    }

    /// Ends the connection with a reason, after what is waiting.
    pub(super) fn close(&self, code: u16, reason: &str) {
        let mut state = self.lock();
        if state.accepting {
            state.close(code, reason);
        }
        drop(state);
        self.closed.cancel();
        self.flush();
    }

    /// Cancelled when the connection ends.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Writes what the socket takes now.
    pub(super) fn flush(&self) {
        let mut state = self.lock();
        let mut progress = false;
        while state.waiting() > 0 && !state.broken {
            match self.half.try_write(&state.bytes[state.sent..]) {
                Ok(0) => state.broken = true,
                Ok(taken) => {
                    state.sent += taken;
                    progress = true;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => state.broken = true,
            }
        }
        if state.broken {
            state.accepting = false;
            state.bytes = Vec::new();
            state.sent = 0;
            self.closed.cancel();
            self.taken.notify_waiters();
            return;
        }
        if state.waiting() == 0 {
            state.sent = 0;
            if state.bytes.capacity() > KEEP {
                state.bytes = Vec::new();
            } else {
                state.bytes.clear();
            }
        } else {
            if state.sent > KEEP && state.sent > state.bytes.len() / 2 {
                let sent = state.sent;
                state.bytes.drain(..sent);
                state.sent = 0;
            }
            self.more.notify_one();
        }
        if progress {
            self.taken.notify_waiters();
        }
    }

    /// Writes what `flush` left, whenever the socket takes more. Runs as long as the connection.
    pub(super) async fn drive(&self) {
        loop {
            self.more.notified().await;
            if self.half.writable().await.is_err() {
                let mut state = self.lock();
                state.broken = true;
                drop(state);
            }
            self.flush();
        }
    }

    /// Waits until at most half of the bound is waiting; false when the connection ends instead.
    pub(super) async fn room(&self) -> bool {
        loop {
            // Made before the look, so that no wake-up falls between the two.
            let taken = self.taken.notified();
            if let Some(open) = self.has_room() {
                return open;
            }
            self.flush();
            if let Some(open) = self.has_room() {
                return open;
            }
            taken.await;
        }
    }

    /// `Some(true)` with room, `Some(false)` when nothing is accepted any more.
    fn has_room(&self) -> Option<bool> {
        let state = self.lock();
        if !state.accepting {
            return Some(false);
        }
        (state.waiting() <= self.limit / 2).then_some(true)
    }

    /// Writes what is left, for at most `grace`.
    pub(super) async fn drain(&self, grace: Duration) {
        let rest = async {
            loop {
                self.flush();
                if self.lock().waiting() == 0 || self.half.writable().await.is_err() {
                    return;
                }
            }
        };
        // Whoever does not read within the grace loses the connection, not single messages.
        let _ = tokio::time::timeout(grace, rest).await;
    }
}
