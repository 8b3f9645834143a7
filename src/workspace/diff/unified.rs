//! One change in git's unified format.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use similar::{DiffOp, DiffTag, group_diff_ops};

use super::{
    Change, ChangeKind, Error, Store, is_folder,
    lines::{self, Numbers},
};

/// How much is read, compared and written for one change.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest content that is compared, bytes.
    pub max_input: u64,
    /// The longest text that is written, bytes; it is cut at a line.
    pub max_output: usize,
    /// The longest line that is written whole, bytes.
    pub max_line: usize,
    /// Equal lines shown around a change.
    pub context: usize,
    /// How long to look for the shortest difference.
    pub deadline: Duration,
}

impl Default for Limits {
    /// 4 MiB in, 256 KiB out, 2,000 bytes a line, 3 lines around, half a second.
    fn default() -> Self {
        Self {
            max_input: 4 << 20,
            max_output: 256 << 10,
            max_line: 2_000,
            context: 3,
            deadline: Duration::from_millis(500),
        }
    }
}

/// A change as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Git's format; not valid UTF-8 became `U+FFFD`; control characters are as they were.
    pub text: String,
    /// Lines added, also those that were cut.
    pub added: u32,
    /// Lines removed, also those that were cut.
    pub removed: u32,
    /// A side is no text.
    pub binary: bool,
    /// Something is not shown, or lines are shown as changed that a longer search would have paired.
    pub cut: bool,
}

/// Renders one change.
pub fn unified(store: &Store, change: &Change, limits: &Limits) -> Result<Rendered, Error> {
    let mut out = Rendered::default();
    header(change, &mut out.text);
    if change.kind == ChangeKind::Mode
        || [change.old, change.new]
            .iter()
            .flatten()
            .any(|(mode, _)| is_folder(*mode))
    {
        return Ok(out);
    }
    let mut sides = [Vec::new(), Vec::new()];
    for (side, entry) in sides.iter_mut().zip([change.old, change.new]) {
        let Some((_, id)) = entry else { continue };
        if store.blob_size(&id)? > limits.max_input {
            out.cut = true;
            out.text.push_str("File too large to compare\n");
            return Ok(out);
        }
        *side = store.blob(&id)?;
    }
    let [old, new] = &sides;
    let name = |prefix, entry: Option<_>| match entry {
        Some(_) => quoted(prefix, &change.path),
        None => "/dev/null".to_owned(),
    };
    let (old_name, new_name) = (name("a/", change.old), name("b/", change.new));
    if lines::is_binary(old) || lines::is_binary(new) {
        out.binary = true;
        // Writing to a string cannot fail.
        let _ = writeln!(out.text, "Binary files {old_name} and {new_name} differ");
        return Ok(out);
    }
    if old != new {
        let _ = write!(out.text, "--- {old_name}\n+++ {new_name}\n");
        hunks(old, new, limits, &mut out);
    }
    Ok(out)
}

/// What differs between two texts of a file that somebody tells of, under its name.
#[must_use]
pub fn texts(path: &str, old: &str, new: &str, limits: &Limits) -> Rendered {
    let mut out = Rendered::default();
    let name = |prefix| quoted(prefix, path.as_bytes());
    // Writing to a string cannot fail.
    let _ = write!(out.text, "--- {}\n+++ {}\n", name("a/"), name("b/"));
    let longest = old.len().max(new.len());
    if u64::try_from(longest).is_ok_and(|longest| longest <= limits.max_input) {
        hunks(old.as_bytes(), new.as_bytes(), limits, &mut out);
    } else {
        out.cut = true;
        out.text.push_str("Too large to compare\n");
    }
    out
}

/// The lines before the hunks: names, modes, objects.
fn header(change: &Change, text: &mut String) {
    let (a, b) = (quoted("a/", &change.path), quoted("b/", &change.path));
    let _ = writeln!(text, "diff --git {a} {b}");
    match (change.old, change.new) {
        (None, Some((mode, _))) => {
            let _ = writeln!(text, "new file mode {mode:06o}");
        }
        (Some((mode, _)), None) => {
            let _ = writeln!(text, "deleted file mode {mode:06o}");
        }
        (Some((old, _)), Some((new, _))) if old != new => {
            let _ = write!(text, "old mode {old:06o}\nnew mode {new:06o}\n");
        }
        _ => {}
    }
    let id = |entry: Option<(u32, super::ObjectId)>| match entry {
        Some((_, id)) => id.to_string()[..12].to_owned(),
        None => "0".repeat(12),
    };
    if change.kind != ChangeKind::Mode {
        let _ = writeln!(text, "index {}..{}", id(change.old), id(change.new));
    }
}

/// A name as git quotes it: in double quotes with escapes when it has characters that could be taken for something
/// else.
fn quoted(prefix: &str, path: &[u8]) -> String {
    let plain = std::str::from_utf8(path).is_ok_and(|path| {
        !path
            .chars()
            .any(|c| c.is_control() || c == '"' || c == '\\')
    });
    if plain {
        return format!("{prefix}{}", String::from_utf8_lossy(path));
    }
    let mut quoted = format!("\"{prefix}");
    for byte in path {
        match byte {
            b'"' => quoted.push_str("\\\""),
            b'\\' => quoted.push_str("\\\\"),
            b'\n' => quoted.push_str("\\n"),
            b'\t' => quoted.push_str("\\t"),
            b'\r' => quoted.push_str("\\r"),
            0x20..=0x7e => quoted.push(char::from(*byte)),
            _ => {
                let _ = write!(quoted, "\\{byte:03o}");
            }
        }
    }
    quoted.push('"');
    quoted
}

fn hunks(old: &[u8], new: &[u8], limits: &Limits, out: &mut Rendered) {
    let (old, new) = (lines::split(old), lines::split(new));
    if old.len().max(new.len()) > lines::MAX_LINES {
        out.cut = true;
        out.text.push_str("File has too many lines to compare\n");
        return;
    }
    let mut numbers = Numbers::default();
    let compared = lines::compare(&numbers.of(&old), &numbers.of(&new), limits.deadline);
    out.cut |= compared.cut;
    for op in &compared.ops {
        if op.tag() != DiffTag::Equal {
            let count =
                |range: std::ops::Range<usize>| u32::try_from(range.len()).unwrap_or(u32::MAX);
            out.removed += count(op.old_range());
            out.added += count(op.new_range());
        }
    }
    for hunk in group_diff_ops(compared.ops, limits.context) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else {
            continue;
        };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        let _ = writeln!(
            out.text,
            "@@ -{} +{} @@",
            position(&old_range),
            position(&new_range)
        );
        for op in &hunk {
            if !lines_of(op, &old, &new, limits, out) {
                out.cut = true;
                return;
            }
        }
    }
}

/// Git's `start,count`: lines count from 1, and an empty range names the line before it.
fn position(range: &std::ops::Range<usize>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => (range.start + 1).to_string(),
        count => format!("{},{count}", range.start + 1),
    }
}

/// Writes the lines of one operation; `false` when the text is full.
fn lines_of(
    op: &DiffOp,
    old: &[&[u8]],
    new: &[&[u8]],
    limits: &Limits,
    out: &mut Rendered,
) -> bool {
    let (removed, added) = (&old[op.old_range()], &new[op.new_range()]);
    let parts: &[(char, &[&[u8]])] = match op.tag() {
        DiffTag::Equal => &[(' ', removed)],
        _ => &[('-', removed), ('+', added)],
    };
    for (sign, lines) in parts {
        for line in *lines {
            let (content, ended) = match line.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (*line, false),
            };
            let shown = &content[..content.len().min(limits.max_line)];
            if out.text.len() + shown.len() > limits.max_output {
                return false;
            }
            out.text.push(*sign);
            out.text.push_str(&text(shown));
            if shown.len() < content.len() {
                out.cut = true;
                let _ = write!(out.text, "… ({} bytes more)", content.len() - shown.len());
            }
            out.text.push('\n');
            if !ended {
                out.text.push_str("\\ No newline at end of file\n");
            }
        }
    }
    true
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
