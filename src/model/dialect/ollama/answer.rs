//! An answer as Ollama's lines.

use serde_json::{Map, Value, json};

use crate::model::ModelName;
use crate::model::dialect::Clock;
use crate::model::dialect::steps::{End, Reason, Step, append, join};

/// Writes one answer.
#[derive(Debug)]
pub(in crate::model) struct Encoder {
    model: ModelName,
    at: String,
    stream: bool,
    /// What the last line says: calls, and everything of an answer that is given whole.
    last: Vec<Step>,
}

impl Encoder {
    pub(in crate::model) fn new(model: ModelName, clock: &Clock, stream: bool) -> Self {
        Self {
            model,
            at: nostr::Timestamp::from_secs(clock.seconds).to_human_datetime(),
            stream,
            last: Vec::new(),
        }
    }

    /// What a step becomes.
    pub(in crate::model) fn step(&mut self, step: Step, out: &mut Vec<u8>) {
        match step {
            Step::End(end) => {
                let steps = std::mem::take(&mut self.last);
                self.line(steps, Some(end), out);
            }
            step @ (Step::Text(_) | Step::Thinking(_)) if self.stream => {
                self.line(vec![step], None, out);
            }
            step => join(&mut self.last, step),
        }
    }

    fn line(&self, steps: Vec<Step>, end: Option<End>, out: &mut Vec<u8>) {
        let mut message = Map::from_iter([
            ("role".to_owned(), Value::from("assistant")),
            ("content".to_owned(), "".into()),
        ]);
        let mut calls = Vec::new();
        for step in steps {
            match step {
                Step::Thinking(text) => append(&mut message, "thinking", &text),
                Step::Text(text) => append(&mut message, "content", &text),
                Step::Call(call) => {
                    let function = json!({"name": call.name, "arguments": call.object()});
                    calls.push(json!({"id": call.id, "function": function}));
                }
                Step::End(_) => {}
            }
        }
        if !calls.is_empty() {
            message.insert("tool_calls".to_owned(), Value::Array(calls));
        }
        let mut line = json!({"model": self.model, "created_at": self.at, "message": message,
            "done": end.is_some()});
        if let Some(end) = end {
            let long = end.reason == Reason::Length;
            line["done_reason"] = if long { "length" } else { "stop" }.into();
            for (name, count) in [
                ("prompt_eval_count", end.usage.read),
                ("eval_count", end.usage.written),
            ] {
                if count > 0 {
                    line[name] = count.into();
                }
            }
        }
        out.extend_from_slice(format!("{line}\n").as_bytes());
    }
}
