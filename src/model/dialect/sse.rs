//! Server-sent events from a byte stream, bounded: the framing of every answer but Ollama's.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>, without `id` and `retry`.

use std::collections::VecDeque;

use crate::model::provider::Secret;
use crate::ndjson::LineTooLong;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::model) struct Frame {
    /// Its name, when it has one.
    pub(in crate::model) event: Option<String>,
    /// Its data, lines joined by newlines.
    pub(in crate::model) data: Vec<u8>,
}

/// Splits a byte stream into events.
#[derive(Debug)]
pub(in crate::model) struct Sse {
    limit: usize,
    line: Vec<u8>,
    /// Whether the last byte was a carriage return, which may be half of a line's end.
    returned: bool,
    frame: Frame,
    has_data: bool,
    ready: VecDeque<Frame>,
}

impl Sse {
    /// Events hold at most `limit` bytes.
    pub(in crate::model) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            returned: false,
            frame: Frame::default(),
            has_data: false,
            ready: VecDeque::new(),
        }
    }

    /// Takes the next chunk of the stream.
    pub(in crate::model) fn push(&mut self, chunk: &[u8]) -> Result<(), LineTooLong> {
        for &byte in chunk {
            let half = std::mem::replace(&mut self.returned, byte == b'\r');
            match byte {
                b'\n' if half => {}
                b'\n' | b'\r' => self.end_line(),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.frame.data.len() > self.limit {
                return Err(LineTooLong { limit: self.limit });
            }
        }
        Ok(())
    }

    /// The next whole event.
    pub(in crate::model) fn next(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    /// At the stream's end: an event whose empty line did not come counts, as all clients have it.
    pub(in crate::model) fn finish(&mut self) -> Option<Frame> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.end_line();
        self.next()
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            if std::mem::take(&mut self.has_data) {
                self.ready.push_back(frame);
            }
            return;
        }
        let at = line.iter().position(|&byte| byte == b':');
        let (name, value) = match at {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line.as_slice(), [].as_slice()),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.frame.data.push(b'\n');
                }
                self.frame.data.extend_from_slice(value);
            }
            b"event" => self.frame.event = Some(String::from_utf8_lossy(value).into_owned()),
            _ => {}
        }
    }
}

impl Frame {
    /// Takes a provider's key out, wherever it says it.
    pub(in crate::model) fn cut(&mut self, key: &Secret) {
        let text = String::from_utf8_lossy(&self.data);
        if text.contains(key.expose()) {
            self.data = key.cut(&text).into_bytes();
        }
    }

    /// The event as it goes out.
    pub(in crate::model) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.data.len() + 16);
        if let Some(event) = &self.event {
            out.extend_from_slice(format!("event: {event}\n").as_bytes());
        }
        for line in self.data.split(|&byte| byte == b'\n') {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        out.push(b'\n');
        out
    }
}

/// Adds an event that is named by its `type`.
pub(in crate::model) fn event(out: &mut Vec<u8>, value: &serde_json::Value) {
    let frame = Frame {
        event: value["type"].as_str().map(str::to_owned),
        data: value.to_string().into_bytes(),
    };
    out.extend(frame.encode());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, cut: usize) -> Vec<(Option<String>, String)> {
        let mut sse = Sse::new(1000);
        for part in text.as_bytes().chunks(cut) {
            sse.push(part).unwrap();
        }
        let mut frames: Vec<Frame> = std::iter::from_fn(|| sse.next()).collect();
        frames.extend(sse.finish());
        let text = |frame: Frame| (frame.event, String::from_utf8(frame.data).unwrap());
        frames.into_iter().map(text).collect()
    }

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        let text =
            ": hello\n\ndata: é1\r\n\r\nevent: x\rdata: a\rdata:b\r\rid: 4\n\ndata\n\ndata: end";
        let expected = [(None, "é1"), (Some("x"), "a\nb"), (None, ""), (None, "end")];
        for cut in 1..text.len() {
            let read = read(text, cut);
            let read: Vec<_> = read
                .iter()
                .map(|(e, d)| (e.as_deref(), d.as_str()))
                .collect();
            assert_eq!(read, expected, "{cut}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut sse = Sse::new(64);
        let pushed = (0..100).try_for_each(|_| sse.push(b"data: xxxxxxxxxx\n"));
        assert_eq!(pushed, Err(LineTooLong { limit: 64 }));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(event in "[a-z_]{0,8}", data in "[^\r]{0,80}") {
            let frame = Frame {
                event: (!event.is_empty()).then_some(event),
                data: data.into_bytes(),
            };
            let mut sse = Sse::new(1000);
            sse.push(&frame.encode()).unwrap();
            prop_assert_eq!(sse.next(), Some(frame));
        }
    }
}
