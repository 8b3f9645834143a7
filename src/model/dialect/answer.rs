//! What comes back from a model server: frames out of bytes, and what a frame means for the meter.

use serde::Deserialize;
use serde_json::Value;

use super::Dialect;
use super::sse::{Frame, Sse};
use crate::model::ModelError;
use crate::model::meter::Counts;
use crate::ndjson::Lines;

/// A frame of an answer; an answer without streaming is one frame.
const FRAME_BYTES: usize = 16 * 1024 * 1024;

/// Cuts an answer into frames, and reads them.
#[derive(Debug)]
pub(in crate::model) struct Reader {
    dialect: Dialect,
    framing: Framing,
    counts: Counts,
    /// The model said why it ended, and only the end of the stream is missing.
    finished: bool,
}

#[derive(Debug)]
enum Framing {
    Lines(Lines),
    Sse(Sse),
    Whole(Vec<u8>),
}

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Said {
    /// A piece of the answer.
    Piece,
    /// Something about it.
    Other,
    /// That it is whole.
    Done,
}

/// What the gateway looks at in a line of Ollama's; the line itself is passed on as it is.
#[derive(Deserialize)]
struct Line {
    error: Option<String>,
    #[serde(default)]
    done: bool,
    // Not flattened: that would buffer every line's whole content.
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    load_duration: Option<u64>,
}

impl Reader {
    pub(in crate::model) fn new(dialect: Dialect, stream: bool) -> Self {
        let framing = match dialect {
            Dialect::Ollama => Framing::Lines(Lines::new(FRAME_BYTES)),
            _ if stream => Framing::Sse(Sse::new(FRAME_BYTES)),
            _ => Framing::Whole(Vec::new()),
        };
        Self {
            dialect,
            framing,
            counts: Counts::default(),
            finished: false,
        }
    }

    /// What the server counted so far.
    pub(in crate::model) fn counts(&self) -> Counts {
        self.counts
    }

    pub(in crate::model) fn push(&mut self, bytes: &[u8]) -> Result<(), ModelError> {
        let pushed = match &mut self.framing {
            Framing::Lines(lines) => lines.push(bytes).is_ok(),
            Framing::Sse(sse) => sse.push(bytes).is_ok(),
            Framing::Whole(whole) => {
                whole.extend_from_slice(bytes);
                whole.len() <= FRAME_BYTES
            }
        };
        if pushed {
            Ok(())
        } else {
            Err(ModelError::Malformed)
        }
    }

    /// The next whole frame.
    pub(in crate::model) fn next(&mut self) -> Option<Frame> {
        match &mut self.framing {
            Framing::Lines(lines) => lines.next_line().map(|data| Frame { event: None, data }),
            Framing::Sse(sse) => sse.next(),
            Framing::Whole(_) => None,
        }
    }

    /// The last frame, when the stream has ended behind it; `None` when nothing is missing.
    pub(in crate::model) fn finish(&mut self) -> Result<Option<Frame>, ModelError> {
        let last = match &mut self.framing {
            Framing::Lines(lines) => lines.finish().map(|data| Frame { event: None, data }),
            Framing::Sse(sse) => sse.finish(),
            Framing::Whole(whole) => {
                let data = std::mem::take(whole);
                (!data.is_empty()).then_some(Frame { event: None, data })
            }
        };
        match last {
            // The last frame needs no end of its own, but what is no whole JSON was cut off.
            Some(frame) if frame.data == b"[DONE]" => Ok(Some(frame)),
            Some(frame) => match serde_json::from_slice::<Value>(&frame.data) {
                Ok(_) => Ok(Some(frame)),
                Err(_) => Err(ModelError::Cut(None)),
            },
            None if self.finished => Ok(None),
            None => Err(ModelError::Cut(None)),
        }
    }

    /// What a frame says.
    pub(in crate::model) fn read(&mut self, frame: &Frame) -> Result<Said, ModelError> {
        match self.dialect {
            Dialect::Ollama => self.read_line(&frame.data),
            Dialect::OpenAi => self.read_openai(&frame.data),
            Dialect::Responses => self.read_responses(&frame.data),
            Dialect::Anthropic => self.read_anthropic(&frame.data),
            Dialect::Gemini => self.read_gemini(&frame.data),
        }
    }

    fn read_line(&mut self, line: &[u8]) -> Result<Said, ModelError> {
        let line: Line = serde_json::from_slice(line).map_err(|_| ModelError::Malformed)?;
        if let Some(message) = line.error {
            return Err(ModelError::in_stream(&message));
        }
        if !line.done {
            return Ok(Said::Piece);
        }
        self.counts = Counts {
            prompt: line.prompt_eval_count,
            output: line.eval_count,
            load_nanos: line.load_duration,
        };
        Ok(Said::Done)
    }

    fn read_openai(&mut self, data: &[u8]) -> Result<Said, ModelError> {
        if data == b"[DONE]" {
            return Ok(Said::Done);
        }
        let value = parse(data)?;
        if let Some(usage) = value.get("usage").filter(|usage| usage.is_object()) {
            self.counts.prompt = usage["prompt_tokens"].as_u64();
            self.counts.output = usage["completion_tokens"].as_u64();
        }
        let choice = &value["choices"][0];
        if matches!(self.framing, Framing::Whole(_)) {
            return match &choice["message"] {
                Value::Object(_) => Ok(Said::Done),
                _ => Err(ModelError::Malformed),
            };
        }
        self.finished |= choice["finish_reason"].is_string();
        let delta = &choice["delta"];
        let said = ["content", "reasoning_content", "reasoning", "tool_calls"];
        let piece = said.iter().any(|name| delta.get(*name).is_some_and(filled));
        Ok(if piece { Said::Piece } else { Said::Other })
    }

    fn read_responses(&mut self, data: &[u8]) -> Result<Said, ModelError> {
        if data == b"[DONE]" {
            return Ok(Said::Done);
        }
        let value = parse(data)?;
        let whole = matches!(self.framing, Framing::Whole(_));
        let response = if whole { &value } else { &value["response"] };
        let usage = &response["usage"];
        if usage.is_object() {
            self.counts.prompt = usage["input_tokens"].as_u64();
            self.counts.output = usage["output_tokens"].as_u64();
        }
        if let Some(message) = error_message(response) {
            return Err(ModelError::in_stream(&message));
        }
        if whole {
            return match response["output"] {
                Value::Array(_) => Ok(Said::Done),
                _ => Err(ModelError::Malformed),
            };
        }
        match value["type"].as_str() {
            Some("response.completed" | "response.incomplete") => Ok(Said::Done),
            Some("error") => {
                let message = value["message"].as_str().unwrap_or_default();
                Err(ModelError::in_stream(message))
            }
            Some("response.failed") => Err(ModelError::in_stream("")),
            Some(kind) if kind.ends_with(".delta") => Ok(Said::Piece),
            _ => Ok(Said::Other),
        }
    }

    fn read_anthropic(&mut self, data: &[u8]) -> Result<Said, ModelError> {
        let value = parse(data)?;
        if matches!(self.framing, Framing::Whole(_)) {
            // Counting tokens costs none, and its answer is a number alone.
            if value["input_tokens"].is_u64() {
                return Ok(Said::Done);
            }
            self.count_anthropic(&value["usage"]);
            return match value["content"] {
                Value::Array(_) => Ok(Said::Done),
                _ => Err(ModelError::Malformed),
            };
        }
        match value["type"].as_str() {
            Some("message_start") => self.count_anthropic(&value["message"]["usage"]),
            Some("message_delta") => self.count_anthropic(&value["usage"]),
            Some("content_block_delta") => return Ok(Said::Piece),
            Some("message_stop") => return Ok(Said::Done),
            _ => {}
        }
        Ok(Said::Other)
    }

    /// Cached tokens count as read, although they cost less: a bound from above.
    fn count_anthropic(&mut self, usage: &Value) {
        if let Some(fresh) = usage["input_tokens"].as_u64() {
            let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"];
            let cached = cached.iter().filter_map(|name| usage[*name].as_u64());
            self.counts.prompt = Some(fresh.saturating_add(cached.sum()));
        }
        self.counts.output = usage["output_tokens"].as_u64().or(self.counts.output);
    }

    fn read_gemini(&mut self, data: &[u8]) -> Result<Said, ModelError> {
        let value = parse(data)?;
        let usage = &value["usageMetadata"];
        if usage.is_object() {
            let count = |name: &str| usage[name].as_u64();
            self.counts.prompt = count("promptTokenCount").or(self.counts.prompt);
            let written = [count("candidatesTokenCount"), count("thoughtsTokenCount")];
            if written.iter().any(Option::is_some) {
                self.counts.output = Some(written.into_iter().flatten().sum());
            }
        }
        let candidate = &value["candidates"][0];
        let blocked = value["promptFeedback"]["blockReason"].is_string();
        if matches!(self.framing, Framing::Whole(_)) {
            let good = candidate.is_object() || blocked || value["totalTokens"].is_u64();
            return if good {
                Ok(Said::Done)
            } else {
                Err(ModelError::Malformed)
            };
        }
        self.finished |= candidate["finishReason"].is_string() || blocked;
        let parts = candidate["content"]["parts"].as_array();
        Ok(if parts.is_some_and(|parts| !parts.is_empty()) {
            Said::Piece
        } else {
            Said::Other
        })
    }
}

fn filled(value: &Value) -> bool {
    !value.is_null() && value != ""
}

/// A frame's JSON; an error in it is the call's.
fn parse(data: &[u8]) -> Result<Value, ModelError> {
    let value: Value = serde_json::from_slice(data).map_err(|_| ModelError::Malformed)?;
    match error_message(&value) {
        Some(message) => Err(ModelError::in_stream(&message)),
        None => Ok(value),
    }
}

/// The sentence of an error, in any dialect.
pub(in crate::model) fn error_message(value: &Value) -> Option<String> {
    let value = value
        .as_array()
        .and_then(|list| list.first())
        .unwrap_or(value);
    match value.get("error")? {
        Value::Null => None,
        Value::String(message) => Some(message.clone()),
        error => Some(error["message"].as_str().unwrap_or_default().to_owned()),
    }
}
