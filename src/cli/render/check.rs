//! A check of a result: what was run, how it ended, and its last words when that is not well.

use super::{BAD, DIM, Entry, GOOD, detail, or};
use crate::{cli::text::one_line, nips::session::Action};

/// The last lines of a check that failed which are shown without `verbose`.
const LAST: usize = 12;

/// One line, and below it why.
pub(super) fn entry(action: &Action, content: &str, alt: String, verbose: bool) -> Entry {
    let words = action.detail.iter().find(|tag| tag[0] == "cmd");
    let command = words.and_then(|tag| tag.get(3));
    // A private job's record does not say what was run.
    let Some(command) = command else {
        let passed = detail(&action.detail, "exit").as_deref() == Some("0");
        let (symbol, style) = if passed { ("✓", GOOD) } else { ("✗", BAD) };
        return Entry::new(symbol, style, or(alt, "a check"));
    };
    let lines = command.lines().count();
    let command = one_line(command);
    let took = detail(&action.detail, "ms")
        .and_then(|ms| ms.parse::<u64>().ok())
        .map(|ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100))
        .unwrap_or_default();
    let exit = detail(&action.detail, "exit").unwrap_or_default();
    let how = match exit.as_str() {
        "0" => {
            let entry = Entry::new("✓", GOOD, format!("{command}  {DIM}({took}){DIM:#}"));
            return if verbose {
                entry.body(content.to_owned())
            } else {
                entry
            };
        }
        "timeout" => format!("took longer than it may ({took})"),
        "error" => "could not be run".to_owned(),
        code => format!("exit {code} ({took})"),
    };
    let entry = Entry::new("✗", BAD, format!("{command}: {how}"));
    if verbose {
        return entry.body(content.to_owned());
    }
    // The command itself stands above it.
    let written: Vec<&str> = content.lines().skip(lines).collect();
    let last = &written[written.len().saturating_sub(LAST)..];
    entry.body(last.join("\n"))
}
