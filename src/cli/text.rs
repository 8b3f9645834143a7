//! Text from events on its way to a terminal.
//!
//! Everything that an agent, a model or a stranger wrote passes [`sanitize`] (or a function built on it)
//! before a terminal sees it: a terminal obeys control characters, and bidirectional overrides or
//! invisible characters make a line read as something that it is not.

use unicode_width::UnicodeWidthChar as _;

/// Whether a terminal shows this character as itself and does nothing else.
fn is_harmless(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        // C0, DEL and C1: among them ESC, CSI, OSC and carriage return.
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => false,
        // Bidirectional marks, embeddings, overrides and isolates (CVE-2021-42574, "Trojan Source").
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            false
        }
        // Zero-width and other invisible characters, soft hyphen, line and paragraph separators, BOM.
        '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}'
        // Tag characters, invisible carriers of hidden prompts.
        | '\u{e0000}'..='\u{e0fff}' => false,
        _ => true,
    }
}

/// Removes what a terminal would obey or hide; line breaks and tabs stay, `\r\n` becomes `\n`.
#[must_use]
pub fn sanitize(text: &str) -> String {
    text.chars().filter(|c| is_harmless(*c)).collect()
}

/// The same for what is to be judged: what a terminal would obey or hide shows as `\u{202e}`, so that two texts
/// that differ never look alike. Line breaks and tabs stay, `\r\n` becomes `\n`.
#[must_use]
pub fn reveal(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        if is_harmless(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    shown
}

/// A file's name on one line, as [`reveal`] shows it.
#[must_use]
pub fn name(path: &str) -> String {
    reveal(path).replace('\n', "\\u{a}").replace('\t', "\\u{9}")
}

/// [`sanitize`] on one line: every run of white space becomes one space.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in sanitize(text).split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// The columns of a terminal that a line takes.
#[must_use]
pub fn columns_of(line: &str) -> usize {
    line.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Shortens one line to a number of columns, with an ellipsis where it was cut.
#[must_use]
pub fn truncate(line: &str, columns: usize) -> String {
    if columns_of(line) <= columns {
        return line.to_owned();
    }
    let mut short = String::new();
    let mut width = 0;
    for c in line.chars() {
        let w = c.width().unwrap_or(0);
        if width + w + 1 > columns {
            break;
        }
        width += w;
        short.push(c);
    }
    short.push('…');
    short
}

/// Breaks sanitized text into lines of at most `columns`, at spaces where there are any.
///
/// The text's own line breaks and indentation stay, so that code and lists keep their shape.
#[must_use]
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(8);
    let text = text.replace('\t', "    ");
    let mut lines = Vec::new();
    for source in text.trim_end().lines() {
        wrap_line(source.trim_end(), columns, &mut lines);
    }
    lines
}

fn wrap_line(source: &str, columns: usize, lines: &mut Vec<String>) {
    let mut line = String::new();
    let mut width = 0;
    for piece in source.split_inclusive(' ') {
        let word = piece.trim_end_matches(' ');
        if width > 0 && width + columns_of(word) > columns {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
            width = 0;
        }
        for c in piece.chars() {
            let w = c.width().unwrap_or(0);
            if width + w > columns {
                if c == ' ' {
                    continue;
                }
                lines.push(std::mem::take(&mut line));
                width = 0;
            }
            line.push(c);
            width += w;
        }
    }
    lines.push(line.trim_end().to_owned());
}

/// JSON that is safe to print: characters that [`sanitize`] removes are written as `\u` escapes, which
/// leaves the value, and so an event's id, as it is.
#[must_use]
pub fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    let mut units = [0u16; 2];
    for c in json.chars() {
        if is_harmless(c) {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    safe
}

/// Bytes, a thousand at a time: `4.7 GB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut tenths = bytes.saturating_mul(10);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

/// How long ago a moment was, for a person: `just now`, `3 min ago`, `2 days ago`.
#[must_use]
pub fn ago(then: u64, now: u64) -> String {
    match now.saturating_sub(then) {
        0..=4 => "just now".to_owned(),
        s @ 5..=59 => format!("{s} s ago"),
        s @ 60..=3599 => format!("{} min ago", s / 60),
        s @ 3600..=86_399 => format!("{} h ago", s / 3600),
        s @ 86_400..=172_799 => format!("{} day ago", s / 86_400),
        s => format!("{} days ago", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_differ_never_look_alike() {
        assert_eq!(name("a\u{202e}gpj.exe"), "a\\u{202e}gpj.exe");
        assert_eq!(name("a\u{200b}b\r\nc\td"), "a\\u{200b}b\\u{a}c\\u{9}d");
        assert_eq!(name("schön  日本.txt"), "schön  日本.txt");
        assert_eq!(reveal("+a\r\n\u{1b}[2J\tb"), "+a\n\\u{1b}[2J\tb");
    }

    #[test]
    fn removes_escape_sequences_and_keeps_words() {
        assert_eq!(
            sanitize("\u{1b}[2J\u{1b}]0;owned\u{7}ok\r\n\tdone\u{202e}gpj\u{200b}.exe\u{9b}31m"),
            "[2J]0;ownedok\n\tdonegpj.exe31m"
        );
        assert_eq!(one_line("  a\n\n b\u{1b}\tc "), "a b c");
    }

    #[test]
    fn keeps_scripts_and_emoji() {
        let text = "こんにちは, Ελληνικά, עברית, 🌳 naïve";
        assert_eq!(sanitize(text), text);
    }

    #[test]
    fn wraps_at_spaces_and_keeps_indentation() {
        assert_eq!(
            wrap("the quick brown fox\n    let x = 1;\n\nend", 10),
            ["the quick", "brown fox", "    let x", "= 1;", "", "end"]
        );
        assert_eq!(wrap("日本語日本語", 8), ["日本語日", "本語"]);
    }

    #[test]
    fn says_how_long_ago() {
        assert_eq!(ago(100, 100), "just now");
        assert_eq!(ago(0, 200), "3 min ago");
        assert_eq!(ago(0, 90_000), "1 day ago");
        assert_eq!(size(4_683_073_184), "4.6 GB");
        assert_eq!(size(999), "999 B");
    }

    proptest! {
        #[test]
        fn sanitized_text_holds_nothing_that_a_terminal_obeys(text in any::<String>()) {
            let clean = sanitize(&text);
            prop_assert!(clean.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
            let hidden = ['\u{1b}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}'];
            prop_assert!(!clean.contains(hidden));
            prop_assert_eq!(sanitize(&clean), clean.clone());
        }

        #[test]
        fn hostile_pieces_never_survive(pieces in proptest::collection::vec(
            prop_oneof![Just("\u{1b}[".to_owned()), Just("\u{1b}]8;;x\u{7}".to_owned()), Just("\r".to_owned()),
                Just("\u{202e}".to_owned()), Just("\u{9d}".to_owned()), "[a-z ]{0,6}"], 0..20)) {
            let clean = one_line(&pieces.concat());
            let harmless = clean.chars().all(|c| !c.is_control() && c != '\u{202e}');
            prop_assert!(harmless);
        }

        #[test]
        fn wrapped_lines_fit_and_lose_no_word(text in any::<String>(), columns in 8usize..80) {
            let clean = sanitize(&text);
            let lines = wrap(&clean, columns);
            prop_assert!(lines.iter().all(|line| columns_of(line) <= columns));
            let letters = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&clean));
        }

        #[test]
        fn escaped_json_is_the_same_value(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let safe = escape_json(&json);
            prop_assert!(safe.chars().all(|c| !c.is_control()));
            prop_assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
        }
    }
}
