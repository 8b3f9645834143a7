//! An answer as Anthropic's messages have it: a message, or the events of one that is written.

use serde_json::{Value, json};

use crate::model::ModelName;
use crate::model::dialect::sse::event;
use crate::model::dialect::steps::{End, Reason, Step, Usage, join};

/// Signs thoughts that are not Anthropic's own, so that they are not shown to it later.
pub(in crate::model) const SIGNATURE: &str = "treefort";

/// Writes one answer.
#[derive(Debug)]
pub(in crate::model) struct Encoder {
    id: String,
    model: ModelName,
    stream: bool,
    begun: bool,
    /// The block that is written, and how many there are before it.
    open: Option<Block>,
    blocks: usize,
    /// Of an answer that is given whole.
    whole: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
}

impl Encoder {
    pub(in crate::model) fn new(model: ModelName, unique: &str, stream: bool) -> Self {
        Self {
            id: format!("msg_{unique}"),
            model,
            stream,
            begun: false,
            open: None,
            blocks: 0,
            whole: Vec::new(),
        }
    }

    /// What a step becomes.
    pub(in crate::model) fn step(&mut self, step: Step, out: &mut Vec<u8>) {
        if !self.stream {
            return match step {
                Step::End(end) => out.extend(self.whole(end).to_string().into_bytes()),
                step => join(&mut self.whole, step),
            };
        }
        if !std::mem::replace(&mut self.begun, true) {
            let message = self.message(&[], None, Usage::default());
            event(out, &json!({"type": "message_start", "message": message}));
        }
        match step {
            Step::Thinking(thinking) => {
                self.block(Block::Thinking, out);
                self.delta(
                    &json!({"type": "thinking_delta", "thinking": thinking}),
                    out,
                );
            }
            Step::Text(text) => {
                self.block(Block::Text, out);
                self.delta(&json!({"type": "text_delta", "text": text}), out);
            }
            Step::Call(call) => {
                self.close(out);
                let block =
                    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
                self.start(&block, out);
                let delta = json!({"type": "input_json_delta", "partial_json": call.arguments});
                self.delta(&delta, out);
                self.stop(out);
            }
            Step::End(end) => {
                self.close(out);
                let delta = json!({"stop_reason": reason(end.reason), "stop_sequence": null});
                let end =
                    json!({"type": "message_delta", "delta": delta, "usage": usage(end.usage)});
                event(out, &end);
                event(out, &json!({"type": "message_stop"}));
            }
        }
    }

    fn message(&self, content: &[Value], stop: Option<&str>, counts: Usage) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": content, "stop_reason": stop, "stop_sequence": null, "usage": usage(counts),
        })
    }

    /// Sees to it that a block of this kind is open.
    fn block(&mut self, kind: Block, out: &mut Vec<u8>) {
        if self.open == Some(kind) {
            return;
        }
        self.close(out);
        let block = match kind {
            Block::Text => json!({"type": "text", "text": ""}),
            Block::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
        };
        self.start(&block, out);
        self.open = Some(kind);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(kind) = self.open.take() else { return };
        if kind == Block::Thinking {
            self.delta(
                &json!({"type": "signature_delta", "signature": SIGNATURE}),
                out,
            );
        }
        self.stop(out);
    }

    fn start(&self, block: &Value, out: &mut Vec<u8>) {
        let start =
            json!({"type": "content_block_start", "index": self.blocks, "content_block": block});
        event(out, &start);
    }

    fn delta(&self, delta: &Value, out: &mut Vec<u8>) {
        let delta = json!({"type": "content_block_delta", "index": self.blocks, "delta": delta});
        event(out, &delta);
    }

    fn stop(&mut self, out: &mut Vec<u8>) {
        event(
            out,
            &json!({"type": "content_block_stop", "index": self.blocks}),
        );
        self.blocks += 1;
    }

    fn whole(&mut self, end: End) -> Value {
        let steps = std::mem::take(&mut self.whole);
        let block = |step: Step| match step {
            Step::Thinking(text) => {
                Some(json!({"type": "thinking", "thinking": text, "signature": SIGNATURE}))
            }
            Step::Text(text) => Some(json!({"type": "text", "text": text})),
            Step::Call(call) => {
                let input = call.object();
                Some(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}))
            }
            Step::End(_) => None,
        };
        let content: Vec<Value> = steps.into_iter().filter_map(block).collect();
        self.message(&content, Some(reason(end.reason)), end.usage)
    }
}

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Stop => "end_turn",
        Reason::Calls => "tool_use",
        Reason::Length => "max_tokens",
        Reason::Filter => "refusal",
    }
}

fn usage(counts: Usage) -> Value {
    json!({
        "input_tokens": counts.read.saturating_sub(counts.cached),
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": counts.cached,
        "output_tokens": counts.written,
    })
}
