//! Newline-delimited JSON from a byte stream: the one decoder for ACP lines and for a model's answer.
//!
//! Bytes are kept until their newline has come, so a chunk that ends inside a UTF-8 character (or
//! inside a JSON string) loses nothing: 0x0A never occurs inside a multi-byte character. What an
//! unfinished line may hold is bounded.

use std::collections::VecDeque;

/// A line is longer than its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {limit} bytes")]
pub struct LineTooLong {
    /// The bound, in bytes.
    pub limit: usize,
}

/// Splits a byte stream into lines; [`Lines::push`] takes chunks, [`Lines::next_line`] yields lines.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    partial: Vec<u8>,
    ready: VecDeque<Vec<u8>>,
}

impl Lines {
    /// A decoder whose lines hold at most `limit` bytes without their newline.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            partial: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// Takes the next chunk of the stream. Memory: at most one unfinished line plus this chunk.
    ///
    /// # Errors
    ///
    /// When a line exceeds the bound. Lines before it can still be taken; the stream itself is
    /// beyond repair and the caller ends it.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<(), LineTooLong> {
        while let Some(end) = chunk.iter().position(|&byte| byte == b'\n') {
            self.extend(&chunk[..end])?;
            let mut line = std::mem::take(&mut self.partial);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if !line.is_empty() {
                self.ready.push_back(line);
            }
            chunk = &chunk[end + 1..];
        }
        self.extend(chunk)
    }

    /// The next finished line, without its line ending. Empty lines are skipped.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// The bytes after the last newline, once the stream has ended; `None` when there are none.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.partial);
        (!rest.is_empty()).then_some(rest)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), LineTooLong> {
        if self.partial.len() + bytes.len() > self.limit {
            return Err(LineTooLong { limit: self.limit });
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator, so that a failing split can be repeated from its seed.
    fn next(seed: &mut u64) -> usize {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(*seed >> 33).unwrap()
    }

    #[test]
    fn yields_the_same_lines_however_the_stream_is_cut() {
        let text = "{\"a\":\"grüße 🌲 тест\"}\n\r\n{\"b\":\"日本語\"}\r\n\n{\"c\":1}";
        let expected = [
            "{\"a\":\"grüße 🌲 тест\"}",
            "{\"b\":\"日本語\"}",
            "{\"c\":1}",
        ];
        for start in 0..500_u64 {
            let mut seed = start;
            let mut lines = Lines::new(1024);
            let mut got = Vec::new();
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let cut = (next(&mut seed) % 5 + 1).min(rest.len());
                lines.push(&rest[..cut]).unwrap();
                rest = &rest[cut..];
                while let Some(line) = lines.next_line() {
                    got.push(String::from_utf8(line).unwrap());
                }
            }
            got.extend(lines.finish().map(|line| String::from_utf8(line).unwrap()));
            assert_eq!(got, expected, "seed {start}");
        }
    }

    #[test]
    fn refuses_a_line_over_the_bound_and_keeps_those_before_it() {
        let mut lines = Lines::new(4);
        assert_eq!(lines.push(b"1234\n12345"), Err(LineTooLong { limit: 4 }));
        assert_eq!(lines.next_line().as_deref(), Some(b"1234".as_slice()));
    }

    #[test]
    fn a_finished_stream_without_rest_yields_nothing() {
        let mut lines = Lines::new(8);
        lines.push(b"x\n").unwrap();
        assert_eq!(lines.finish(), None);
    }
}
