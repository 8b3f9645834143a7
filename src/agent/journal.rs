//! The raw record of a session's conversation: every line, before anything is made of it.
//!
//! It stays on the host (mode 0600), is bounded and never exported. One line of JSON per message:
//! `{"t":<seconds>,"dir":"<"|">","msg":<the line>}`, the format of `fixtures/acp`; a line that is not
//! JSON has `"line":"<text>"` in place of `msg`. When the bound is hit, one marker is written
//! (`"dir":"!"`) and nothing more. Of a private job there are no lines: see [`Journal::stop`].

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::value::RawValue;

/// Who sent a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The agent.
    FromAgent,
    /// We.
    ToAgent,
}

impl Direction {
    fn sign(self) -> char {
        match self {
            Self::FromAgent => '<',
            Self::ToAgent => '>',
        }
    }
}

/// A handle to one session's journal; clones write to the same file.
#[derive(Debug, Clone)]
pub struct Journal(Option<Arc<Mutex<Inner>>>);

#[derive(Debug)]
struct Inner {
    file: File,
    started: Instant,
    left: u64,
    full: bool,
}

impl Journal {
    /// Opens (and continues) the journal at `path`, which holds at most about `max_bytes`.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let mut options = File::options();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let used = file.metadata()?.len();
        Ok(Self(Some(Arc::new(Mutex::new(Inner {
            file,
            started: Instant::now(),
            left: max_bytes.saturating_sub(used),
            full: false,
        })))))
    }

    /// A journal that keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Records nothing from now on.
    pub fn stop(&self) {
        if let Some(inner) = &self.0 {
            inner.lock().unwrap_or_else(PoisonError::into_inner).full = true;
        }
    }

    /// Records one line (without its newline). A failing disk is logged and does not end the session.
    ///
    /// The write is synchronous: it goes to the page cache, and a line that is not recorded must not
    /// be acted upon.
    pub fn record(&self, direction: Direction, line: &[u8]) {
        let Some(inner) = &self.0 else { return };
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.full {
            return;
        }
        let seconds = inner.started.elapsed().as_secs_f64();
        let sign = direction.sign();
        let entry = match serde_json::from_slice::<&RawValue>(line) {
            Ok(raw) => format!("{{\"t\":{seconds:.3},\"dir\":\"{sign}\",\"msg\":{raw}}}\n"),
            Err(_) => {
                let text = serde_json::Value::from(String::from_utf8_lossy(line));
                format!("{{\"t\":{seconds:.3},\"dir\":\"{sign}\",\"line\":{text}}}\n")
            }
        };
        let size = u64::try_from(entry.len()).unwrap_or(u64::MAX);
        let result = if size > inner.left {
            inner.full = true;
            let marker = format!(
                "{{\"t\":{seconds:.3},\"dir\":\"!\",\"note\":\"the journal is full; what follows is not kept\"}}\n"
            );
            inner.file.write_all(marker.as_bytes())
        } else {
            inner.left -= size;
            inner.file.write_all(entry.as_bytes())
        };
        if let Err(error) = result {
            inner.full = true;
            tracing::error!(%error, "the session's journal cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_lines_privately_and_marks_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.jsonl");
        let journal = Journal::open(&path, 120).unwrap();
        journal.record(Direction::ToAgent, br#"{"id":1}"#);
        journal.record(Direction::FromAgent, b"not \xff json");
        journal.record(Direction::FromAgent, &[b'x'; 200]);
        journal.record(Direction::FromAgent, b"{}");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            (&lines[0]["dir"], &lines[0]["msg"]["id"]),
            (&">".into(), &1.into())
        );
        assert_eq!(lines[1]["line"], "not \u{fffd} json");
        assert_eq!(lines[2]["dir"], "!");
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &std::fs::metadata(&path).unwrap().permissions(),
            );
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_full_journal_stays_full_when_it_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.jsonl");
        Journal::open(&path, 60)
            .unwrap()
            .record(Direction::ToAgent, &[b'1'; 20]);
        let before = std::fs::metadata(&path).unwrap().len();
        let again = Journal::open(&path, 60).unwrap();
        again.record(Direction::ToAgent, &[b'1'; 20]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(u64::try_from(text.len()).unwrap() > before && text.contains("\"!\""));
    }
}
