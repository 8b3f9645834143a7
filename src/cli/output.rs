//! Where commands write: data to stdout, progress to stderr.
//!
//! Colours reach a terminal only, and `NO_COLOR` is respected (`anstream`). A closed pipe becomes an error
//! that ends the command quietly.

use std::io::{self, IsTerminal as _, Write as _};

use nostr::{Event, JsonUtil as _};

use super::text;

/// The least and most columns that text is wrapped to.
const COLUMNS: std::ops::RangeInclusive<usize> = 40..=100;

/// Writes one line of data.
///
/// # Errors
/// When stdout is closed.
pub fn line(line: impl AsRef<str>) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{}", line.as_ref())
}

/// Writes data as it is and shows it at once.
///
/// # Errors
/// When stdout is closed.
pub fn piece(piece: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    write!(out, "{piece}")?;
    out.flush()
}

/// Writes one event as a line of JSON.
///
/// # Errors
/// When stdout is closed.
pub fn event(event: &Event) -> io::Result<()> {
    line(text::escape_json(&event.as_json()))
}

/// Writes one JSON value as a line.
///
/// # Errors
/// When stdout is closed.
pub fn json(value: &serde_json::Value) -> io::Result<()> {
    line(text::escape_json(&value.to_string()))
}

/// Writes one line of progress; nobody may be reading.
pub fn progress(line: impl AsRef<str>) {
    let _ = writeln!(anstream::stderr().lock(), "{}", line.as_ref());
}

/// Whether a person sees stdout as it is written.
#[must_use]
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// The columns to wrap text to.
#[must_use]
pub fn columns() -> usize {
    terminal_size::terminal_size().map_or(*COLUMNS.end(), |(width, _)| {
        usize::from(width.0)
            .saturating_sub(1)
            .clamp(*COLUMNS.start(), *COLUMNS.end())
    })
}

/// The columns that the terminal has.
#[must_use]
pub fn terminal_columns() -> usize {
    terminal_size::terminal_size().map_or(*COLUMNS.end(), |(width, _)| usize::from(width.0).max(1))
}
