//! What a person types: one reader for all that asks, since two would take each other's lines.

use std::{
    collections::VecDeque,
    io::{BufRead as _, IsTerminal as _},
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
};

use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr,
};
use tokio::sync::Notify;

/// Lines that a person typed ahead.
const TYPED: usize = 16;

/// The lines that nobody took yet.
struct Keyboard {
    lines: Mutex<Lines>,
    came: Condvar,
    noticed: Notify,
}

#[derive(Default)]
struct Lines {
    typed: VecDeque<String>,
    /// Whether no more come.
    closed: bool,
}

fn keyboard() -> &'static Keyboard {
    static KEYBOARD: OnceLock<Keyboard> = OnceLock::new();
    static READER: OnceLock<()> = OnceLock::new();
    let keyboard = KEYBOARD.get_or_init(|| Keyboard {
        lines: Mutex::default(),
        came: Condvar::new(),
        noticed: Notify::new(),
    });
    READER.get_or_init(|| {
        // A thread of its own, which nobody waits for at the end.
        std::thread::spawn(|| read(keyboard));
    });
    keyboard
}

fn read(keyboard: &'static Keyboard) {
    for line in std::io::stdin().lock().lines() {
        match line {
            Ok(line) => keyboard.put(line),
            Err(_) => break,
        }
    }
    keyboard.lines().closed = true;
    keyboard.wake();
}

impl Keyboard {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: String) {
        let mut lines = self.lines();
        if lines.typed.len() < TYPED {
            lines.typed.push_back(line);
        }
        drop(lines);
        self.wake();
    }

    fn wake(&self) {
        self.came.notify_all();
        self.noticed.notify_waiters();
    }
}

/// The next line, without its end; nothing when no more come. Giving the wait up loses nothing.
pub(super) async fn line() -> Option<String> {
    let keyboard = keyboard();
    loop {
        let noticed = keyboard.noticed.notified();
        tokio::pin!(noticed);
        // Before looking: what comes in between is noticed.
        noticed.as_mut().enable();
        {
            let mut lines = keyboard.lines();
            if let Some(line) = lines.typed.pop_front() {
                return Some(line);
            }
            if lines.closed {
                return None;
            }
        }
        noticed.await;
    }
}

/// The same, standing still until it comes.
pub(super) fn line_now() -> Option<String> {
    let keyboard = keyboard();
    let mut lines = keyboard.lines();
    loop {
        if let Some(line) = lines.typed.pop_front() {
            return Some(line);
        }
        if lines.closed {
            return None;
        }
        lines = keyboard
            .came
            .wait(lines)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// Forgets what was typed before anything was asked: it was meant for something else. What a program writes into a pipe
/// was not typed, and stays.
pub(super) fn forget() {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return;
    }
    if let Err(error) = tcflush(&stdin, QueueSelector::IFlush) {
        tracing::debug!(%error, "what was typed ahead may be taken for an answer");
    }
    keyboard().lines().typed.clear();
}

/// What is typed is not shown as long as this is there: it would tear lines apart that change in place.
pub(super) struct Quiet {
    before: Option<Termios>,
}

impl Quiet {
    /// From now on.
    pub(super) fn begin() -> Self {
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            set(&quiet);
        }
        Self { before }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            set(before);
        }
    }
}

fn set(modes: &Termios) {
    if let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, modes) {
        tracing::debug!(%error, "the terminal cannot be set");
    }
}

/// Says nothing to whatever is asked now: Ctrl-C was pressed.
pub(super) fn give_up() {
    keyboard().put(String::new());
}
