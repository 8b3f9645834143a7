//! Texts as lines, and which lines two texts share, within a deadline.
//!
//! Lines end at `\n` only, and keep it; a `\r` before it belongs to the line, so that a change of line ends shows.
//! Every distinct line becomes a number first, so that comparing costs the same whatever the lines are.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use similar::{
    Algorithm, DiffOp,
    algorithms::{Capture, Replace, diff_slices_deadline},
};

/// The most lines of a text that are compared. The algorithm's memory is a few words for each.
pub(crate) const MAX_LINES: usize = 500_000;

/// How many bytes are searched for a NUL, as git does.
const PROBE: usize = 8_000;

/// Whether a content is no text: it has a NUL near its begin.
pub(crate) fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(PROBE)].contains(&0)
}

/// The lines of a text, each with its `\n`.
pub(crate) fn split(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Numbers for lines, equal when the lines are.
#[derive(Default)]
pub(crate) struct Numbers<'t>(HashMap<&'t [u8], u32>);

impl<'t> Numbers<'t> {
    /// The numbers of a text's lines.
    pub(crate) fn of(&mut self, lines: &[&'t [u8]]) -> Vec<u32> {
        lines
            .iter()
            .map(|line| {
                let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
                *self.0.entry(line).or_insert(next)
            })
            .collect()
    }
}

/// How two lists of lines differ, and whether the deadline cut the search short (the answer is right then, but
/// coarser than it could be).
pub(crate) struct Compared {
    pub(crate) ops: Vec<DiffOp>,
    pub(crate) cut: bool,
}

/// Compares two texts by the numbers of their lines.
///
/// This uses similar's algorithm without its clean-up pass, which has no deadline and is quadratic in the worst case.
pub(crate) fn compare(old: &[u32], new: &[u32], within: Duration) -> Compared {
    let deadline = Instant::now() + within;
    let mut hook = Replace::new(Capture::new());
    // The hook's error type has no values.
    let Ok(()) = diff_slices_deadline(Algorithm::Myers, &mut hook, old, new, Some(deadline));
    Compared {
        ops: hook.into_inner().into_ops(),
        cut: Instant::now() >= deadline,
    }
}
