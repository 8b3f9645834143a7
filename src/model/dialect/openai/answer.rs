//! An answer as OpenAI's chat completions have it: a completion, or the chunks of one that is written.

use serde_json::{Map, Value, json};

use super::OpenAiChat;
use crate::model::ModelName;
use crate::model::dialect::Clock;
use crate::model::dialect::sse::Frame;
use crate::model::dialect::steps::{End, Reason, Step, ToolCall, Usage, append, join};

/// Writes one answer.
#[derive(Debug)]
pub(in crate::model) struct Encoder {
    id: String,
    created: u64,
    model: ModelName,
    stream: bool,
    include_usage: bool,
    begun: bool,
    calls: usize,
    /// Of an answer that is given whole.
    whole: Vec<Step>,
}

impl Encoder {
    pub(in crate::model) fn new(model: ModelName, chat: &OpenAiChat, clock: &Clock) -> Self {
        Self {
            id: format!("chatcmpl-{}", clock.unique),
            created: clock.seconds,
            model,
            stream: chat.stream,
            include_usage: chat.include_usage,
            begun: false,
            calls: 0,
            whole: Vec::new(),
        }
    }

    /// What a step becomes.
    pub(in crate::model) fn step(&mut self, step: Step, out: &mut Vec<u8>) {
        let mut delta = Map::new();
        if !std::mem::replace(&mut self.begun, true) {
            delta.insert("role".to_owned(), "assistant".into());
        }
        let end = match step {
            Step::End(end) if !self.stream => {
                return out.extend(self.whole(end).to_string().into_bytes());
            }
            step if !self.stream => return join(&mut self.whole, step),
            Step::End(end) => Some(end),
            step => {
                self.add(step, &mut delta);
                None
            }
        };
        if !delta.is_empty() {
            let choices = json!([{"index": 0, "delta": delta, "finish_reason": null}]);
            self.chunk(&choices, None, out);
        }
        let Some(end) = end else { return };
        let choices = json!([{"index": 0, "delta": {}, "finish_reason": reason(end.reason)}]);
        self.chunk(&choices, None, out);
        if self.include_usage {
            self.chunk(&json!([]), Some(usage(end.usage)), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// Adds a step to a message, or to what is new in one.
    fn add(&mut self, step: Step, message: &mut Map<String, Value>) {
        match step {
            Step::Thinking(text) => append(message, "reasoning_content", &text),
            Step::Text(text) => append(message, "content", &text),
            Step::Call(call) => {
                let mut made = called(&call);
                if self.stream {
                    made["index"] = self.calls.into();
                }
                self.calls += 1;
                let calls = message.entry("tool_calls").or_insert_with(|| json!([]));
                if let Some(calls) = calls.as_array_mut() {
                    calls.push(made);
                }
            }
            Step::End(_) => {}
        }
    }

    fn chunk(&self, choices: &Value, usage: Option<Value>, out: &mut Vec<u8>) {
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created,
            "model": self.model, "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        let data = chunk.to_string().into_bytes();
        out.extend(Frame { event: None, data }.encode());
    }

    fn whole(&mut self, end: End) -> Value {
        let mut message = Map::from_iter([
            ("role".to_owned(), Value::from("assistant")),
            ("content".to_owned(), "".into()),
        ]);
        for step in std::mem::take(&mut self.whole) {
            self.add(step, &mut message);
        }
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": reason(end.reason)}],
            "usage": usage(end.usage),
        })
    }
}

fn called(call: &ToolCall) -> Value {
    json!({"id": call.id, "type": "function",
        "function": {"name": call.name, "arguments": call.arguments}})
}

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Stop => "stop",
        Reason::Calls => "tool_calls",
        Reason::Length => "length",
        Reason::Filter => "content_filter",
    }
}

fn usage(counts: Usage) -> Value {
    let total = counts.read.saturating_add(counts.written);
    json!({"prompt_tokens": counts.read, "completion_tokens": counts.written, "total_tokens": total})
}
