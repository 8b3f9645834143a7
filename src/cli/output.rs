//! Where commands write: data to stdout, progress to stderr.
//!
//! Colours reach a terminal only, and `NO_COLOR` is respected (`anstream`). A closed pipe becomes an error
//! that ends the command quietly.

use std::io::{self, IsTerminal as _, Write as _};

use nostr::{Event, JsonUtil as _};

use super::text;

/// The least and most columns that text is wrapped to on a terminal.
const COLUMNS: std::ops::RangeInclusive<usize> = 40..=100;
/// What is not read on a terminal is not wrapped.
const UNLIMITED: usize = 1 << 20;

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

/// Writes bytes as they are.
///
/// # Errors
/// When stdout is closed.
pub fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
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

/// Writes a sentence of progress, in as many lines as a terminal needs; nobody may be reading.
pub fn sentence(text: &str) {
    for line in hanging("", text, progress_columns()) {
        progress(line);
    }
}

/// Writes a question, and leaves the line open for its answer; nobody may be reading.
pub fn asked(question: &str) {
    let mut err = anstream::stderr().lock();
    let _ = write!(err, "{question}").and_then(|()| err.flush());
}

/// Whether a person sees stdout as it is written.
#[must_use]
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// The columns to wrap data to: what goes into a file or another program keeps its lines.
#[must_use]
pub fn columns() -> usize {
    columns_if(is_terminal())
}

/// Whether a person sees progress as it happens.
#[must_use]
pub fn is_terminal_for_progress() -> bool {
    io::stderr().is_terminal()
}

/// The columns to wrap progress to.
#[must_use]
pub fn progress_columns() -> usize {
    columns_if(io::stderr().is_terminal())
}

fn columns_if(terminal: bool) -> usize {
    if !terminal {
        return UNLIMITED;
    }
    terminal_size::terminal_size().map_or(*COLUMNS.end(), |(width, _)| {
        usize::from(width.0)
            .saturating_sub(1)
            .clamp(*COLUMNS.start(), *COLUMNS.end())
    })
}

/// The columns to wrap help to, as clap does for the rest of it.
#[must_use]
pub fn help_columns() -> usize {
    terminal_size::terminal_size().map_or(*COLUMNS.end(), |(width, _)| {
        usize::from(width.0).clamp(*COLUMNS.start(), *COLUMNS.end())
    })
}

/// The columns that the terminal has.
#[must_use]
pub fn terminal_columns() -> usize {
    terminal_size::terminal_size().map_or(*COLUMNS.end(), |(width, _)| usize::from(width.0).max(1))
}

/// The columns and lines that the terminal has.
#[must_use]
pub fn terminal_size() -> (usize, usize) {
    let size = terminal_size::terminal_size();
    let height = size.map_or(24, |(_, height)| usize::from(height.0).max(1));
    (terminal_columns(), height)
}

/// Writes a row of data: a head, which may be styled, and a text that goes on below itself.
///
/// # Errors
/// When stdout is closed.
pub fn row(head: &str, text: &str) -> io::Result<()> {
    for line in hanging(head, text, columns()) {
        self::line(line)?;
    }
    Ok(())
}

/// A head and a text beside it, in lines of at most `columns`.
#[must_use]
pub fn hanging(head: &str, text: &str, columns: usize) -> Vec<String> {
    let indent = text::columns_of(&anstream::adapter::strip_str(head).to_string());
    // A command in backticks is copied as it stands.
    let mut quoted = false;
    let whole = text.chars().map(|c| {
        quoted ^= c == '`';
        if quoted && c == ' ' { '\u{a0}' } else { c }
    });
    let lines = text::wrap(&whole.collect::<String>(), columns.saturating_sub(indent));
    let mut lines = lines.into_iter().map(|line| line.replace('\u{a0}', " "));
    let first = lines.next().unwrap_or_default();
    let mut all = vec![format!("{head}{first}").trim_end().to_owned()];
    all.extend(lines.map(|line| format!("{:indent$}{line}", "")));
    all
}

/// One line of progress that replaces itself on a terminal; elsewhere each is a line of its own.
#[derive(Debug, Default)]
pub struct Passing {
    shown: String,
}

impl Passing {
    /// Shows what happens now.
    pub fn show(&mut self, text: &str) {
        if text == self.shown {
            return;
        }
        text.clone_into(&mut self.shown);
        if !io::stderr().is_terminal() {
            progress(text);
            return;
        }
        let dim = anstyle::Style::new().dimmed();
        let line = text::truncate(text, terminal_columns().saturating_sub(1));
        let mut err = anstream::stderr().lock();
        // Nobody may be reading.
        let _ = write!(err, "\r\u{1b}[K{dim}{line}{dim:#}");
        let _ = err.flush();
    }

    /// Takes it away, so that something else can stand there.
    pub fn clear(&mut self) {
        if !std::mem::take(&mut self.shown).is_empty() && io::stderr().is_terminal() {
            let mut err = anstream::stderr().lock();
            let _ = write!(err, "\r\u{1b}[K");
            let _ = err.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_goes_on_below_itself() {
        let dim = anstyle::Style::new().dimmed();
        let head = format!("{dim}ab{dim:#}  ");
        let lines = hanging(&head, "one two three four", 12);
        let plain: Vec<String> = lines
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        assert_eq!(plain, ["ab  one two", "    three", "    four"]);
        assert_eq!(hanging("a ", "", 12), ["a"]);
        assert_eq!(hanging("", "x (`a b c`)", 9), ["x", "(`a b c`)"]);
    }
}
