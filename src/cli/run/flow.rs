//! An answer on a terminal: lines break between words, while the text is still being written.

use unicode_width::UnicodeWidthChar as _;

use crate::cli::text::columns_of;

/// What is held back at most of a word that has not ended; other scripts have no spaces.
const MAX_WORD: usize = 256;

/// Breaks text that comes in pieces; a word is shown when it has ended, at the latest with its line. Lines
/// that are code (indented, or in a fence) stay as they are.
#[derive(Debug)]
pub(super) struct Flow {
    columns: usize,
    /// The columns of the line so far, without what is held back.
    column: usize,
    /// The spaces after the last word, and the word after them as far as it came.
    spaces: usize,
    word: String,
    /// Whether the line began with a word, and so is prose.
    prose: bool,
    fenced: bool,
}

impl Flow {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            columns,
            column: 0,
            spaces: 0,
            word: String::new(),
            prose: true,
            fenced: false,
        }
    }

    /// What a piece adds to what can be shown.
    pub(super) fn add(&mut self, piece: &str) -> String {
        let mut out = String::with_capacity(piece.len());
        for c in piece.chars() {
            match c {
                '\n' => {
                    self.end_word(&mut out);
                    self.spaces = 0;
                    out.push('\n');
                    self.column = 0;
                    self.prose = true;
                }
                ' ' => {
                    self.end_word(&mut out);
                    self.spaces += 1;
                }
                _ => {
                    self.word.push(c);
                    if self.word.len() >= MAX_WORD {
                        self.end_word(&mut out);
                    }
                }
            }
        }
        out
    }

    fn end_word(&mut self, out: &mut String) {
        if self.word.is_empty() {
            return;
        }
        if self.column == 0 {
            let fence = self.word.starts_with("```");
            self.fenced ^= fence;
            self.prose = !fence && self.spaces < 4;
        }
        let width = columns_of(&self.word);
        let full = self.column + self.spaces + width > self.columns;
        if full && self.column > 0 && self.spaces > 0 && self.prose && !self.fenced {
            out.push('\n');
            self.column = 0;
        } else {
            out.extend(std::iter::repeat_n(' ', self.spaces));
            self.column += self.spaces;
        }
        self.spaces = 0;
        out.push_str(&self.word);
        // A word that is longer than the line is broken by the terminal.
        for c in self.word.drain(..) {
            self.column += c.width().unwrap_or(0);
            if self.column > self.columns {
                self.column = 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(text: &str, columns: usize, piece: usize) -> String {
        let mut flow = Flow::new(columns);
        let chars: Vec<char> = text.chars().collect();
        let mut out = String::new();
        for piece in chars.chunks(piece) {
            out.push_str(&flow.add(&piece.iter().collect::<String>()));
        }
        out
    }

    #[test]
    fn lines_break_between_words_however_the_text_comes() {
        let text = "the quick brown fox jumps\n- over  the lazy dog\n\nend\n";
        for piece in [1, 3, 100] {
            assert_eq!(
                flow(text, 12, piece),
                "the quick\nbrown fox\njumps\n- over  the\nlazy dog\n\nend\n"
            );
        }
    }

    #[test]
    fn code_and_long_words_stay_as_they_are() {
        let code =
            "```rust\nlet a_long_name = another_one;\n```\n    indented code is left alone\n";
        assert_eq!(flow(code, 12, 2), code);
        let long = "a https://example.com/long\n";
        assert_eq!(flow(long, 10, 4), "a\nhttps://example.com/long\n");
    }
}
