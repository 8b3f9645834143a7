//! A three-way merge of texts, by lines.
//!
//! It is our own diff3 over two comparisons by `similar`, because both texts that change are chosen by somebody else and
//! the comparison must end: `diffy`, the well-kept crate for this, has no deadline, and two texts of a few megabytes
//! without a common line keep it busy for hours. When the time is over the answer is [`Outcome::TooFar`], never a
//! half-searched merge, so that the same texts do not merge in two ways.
//!
//! What a merge keeps: a change of one side, changes of both sides that do not touch, and the same change of both.
//! Changes of both sides to the same or to adjacent lines are a conflict, shown between markers with what was before.

use std::time::Duration;

use similar::{DiffOp, DiffTag};

use super::diff::lines::{self, Numbers};

/// How much is merged, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest text of the three, bytes.
    pub max_input: usize,
    /// How long each of the two comparisons may take.
    pub deadline: Duration,
}

impl Default for Limits {
    /// 4 MiB, one second.
    fn default() -> Self {
        Self {
            max_input: 4 << 20,
            deadline: Duration::from_secs(1),
        }
    }
}

/// How a merge ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Both sides' changes are in.
    Clean(Vec<u8>),
    /// Some changes clash; the text has markers.
    Conflict {
        /// With markers where the sides clash.
        text: Vec<u8>,
        /// How many places clash.
        count: usize,
    },
    /// One of the three is no text.
    Binary,
    /// Too large, or too different to compare in the time that there is.
    TooFar,
}

/// The marker before the person's lines.
pub const YOURS: &str = "<<<<<<< yours";
/// The marker before the lines that both began with.
pub const BEFORE: &str = "||||||| before";
/// The marker between the two sides.
pub const MIDDLE: &str = "=======";
/// The marker after the agent's lines.
pub const AGENTS: &str = ">>>>>>> agent's";

/// Merges the changes from `base` to `agents` into `yours`.
pub fn merge(base: &[u8], yours: &[u8], agents: &[u8], limits: &Limits) -> Outcome {
    if [base, yours, agents].into_iter().any(lines::is_binary) {
        return Outcome::Binary;
    }
    if base.len().max(yours.len()).max(agents.len()) > limits.max_input {
        return Outcome::TooFar;
    }
    let texts = [base, yours, agents].map(lines::split);
    if texts.iter().any(|lines| lines.len() > lines::MAX_LINES) {
        return Outcome::TooFar;
    }
    let mut numbers = Numbers::default();
    let [base_numbers, your_numbers, agent_numbers] =
        [0, 1, 2].map(|side| numbers.of(&texts[side]));
    let ours = lines::compare(&base_numbers, &your_numbers, limits.deadline);
    let theirs = lines::compare(&base_numbers, &agent_numbers, limits.deadline);
    if ours.cut || theirs.cut {
        return Outcome::TooFar;
    }
    let [base, yours, agents] = texts;
    let mut merged = Merged {
        yours: Side::new(&yours, &ours.ops),
        agents: Side::new(&agents, &theirs.ops),
        base: &base,
        text: Vec::new(),
        conflicts: 0,
        crlf: yours.first().is_some_and(|line| line.ends_with(b"\r\n")),
    };
    merged.run();
    if merged.conflicts == 0 {
        Outcome::Clean(merged.text)
    } else {
        Outcome::Conflict {
            text: merged.text,
            count: merged.conflicts,
        }
    }
}

/// One side's changes against the base, in order.
struct Side<'t> {
    lines: &'t [&'t [u8]],
    changes: Vec<DiffOp>,
    /// The next change that is not merged yet.
    next: usize,
    /// How much further a line of this side is than the same line of the base, after the changes before `next`.
    shift: isize,
}

impl<'t> Side<'t> {
    fn new(lines: &'t [&'t [u8]], ops: &[DiffOp]) -> Self {
        Self {
            lines,
            changes: ops
                .iter()
                .filter(|op| op.tag() != DiffTag::Equal)
                .copied()
                .collect(),
            next: 0,
            shift: 0,
        }
    }

    /// Where the next change begins in the base.
    fn start(&self) -> Option<usize> {
        Some(self.changes.get(self.next)?.old_range().start)
    }

    /// Takes the next change if it begins at or before `end`; returns its end.
    fn take(&mut self, end: usize) -> Option<usize> {
        let op = self.changes.get(self.next)?;
        if op.old_range().start > end {
            return None;
        }
        self.next += 1;
        self.shift += op.new_range().len().cast_signed() - op.old_range().len().cast_signed();
        Some(op.old_range().end)
    }

    /// The lines between `start` (of the base, with the shift that held there) and `end` (with that which holds now).
    fn between(&self, start: usize, shift: isize, end: usize) -> &'t [&'t [u8]] {
        let at =
            |line: usize, shift: isize| line.saturating_add_signed(shift).min(self.lines.len());
        &self.lines[at(start, shift)..at(end, self.shift)]
    }
}

/// A merge under way.
struct Merged<'t> {
    base: &'t [&'t [u8]],
    yours: Side<'t>,
    agents: Side<'t>,
    text: Vec<u8>,
    conflicts: usize,
    /// Whether markers end as the person's lines do.
    crlf: bool,
}

impl Merged<'_> {
    fn run(&mut self) {
        let mut done = 0;
        loop {
            let start = match (self.yours.start(), self.agents.start()) {
                (None, None) => break,
                (Some(one), Some(other)) => one.min(other),
                (Some(one), None) | (None, Some(one)) => one,
            };
            self.push(&self.base[done..start]);
            done = self.region(start);
        }
        self.push(&self.base[done..]);
    }

    /// Merges all changes that touch each other from `start`; returns where they end in the base.
    fn region(&mut self, start: usize) -> usize {
        let before = (self.yours.shift, self.agents.shift);
        let taken = (self.yours.next, self.agents.next);
        let mut end = start;
        loop {
            let reached = self.yours.take(end).or_else(|| self.agents.take(end));
            match reached {
                Some(reached) => end = end.max(reached),
                None => break,
            }
        }
        let yours = self.yours.between(start, before.0, end);
        let agents = self.agents.between(start, before.1, end);
        if self.agents.next == taken.1 || yours == agents {
            self.push(yours);
        } else if self.yours.next == taken.0 {
            self.push(agents);
        } else {
            self.conflict(yours, &self.base[start..end], agents);
        }
        end
    }

    fn push(&mut self, lines: &[&[u8]]) {
        for line in lines {
            // The last line of one side may have no end and still be followed by others.
            self.end_line();
            self.text.extend_from_slice(line);
        }
    }

    fn end_line(&mut self) {
        if self.text.last().is_some_and(|byte| *byte != b'\n') {
            self.text
                .extend_from_slice(if self.crlf { b"\r\n" } else { b"\n" });
        }
    }

    fn marker(&mut self, marker: &str) {
        self.end_line();
        self.text.extend_from_slice(marker.as_bytes());
        self.text
            .extend_from_slice(if self.crlf { b"\r\n" } else { b"\n" });
    }

    /// Both sides' lines between markers; what both begin and end with stays outside.
    fn conflict(&mut self, yours: &[&[u8]], base: &[&[u8]], agents: &[&[u8]]) {
        self.conflicts += 1;
        let same = yours
            .iter()
            .zip(agents)
            .take_while(|(one, other)| one == other)
            .count();
        let (yours_rest, agents_rest) = (&yours[same..], &agents[same..]);
        let tail = yours_rest
            .iter()
            .rev()
            .zip(agents_rest.iter().rev())
            .take_while(|(one, other)| one == other)
            .count();
        self.push(&yours[..same]);
        self.marker(YOURS);
        self.push(&yours_rest[..yours_rest.len() - tail]);
        self.marker(BEFORE);
        self.push(base);
        self.marker(MIDDLE);
        self.push(&agents_rest[..agents_rest.len() - tail]);
        self.marker(AGENTS);
        self.push(&yours_rest[yours_rest.len() - tail..]);
    }
}

#[cfg(test)]
mod tests;
