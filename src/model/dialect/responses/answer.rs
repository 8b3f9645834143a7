//! An answer as OpenAI's responses have it: a response, or the events of one that is written.

use serde_json::{Value, json};

use super::tools::Tools;
use crate::model::dialect::Clock;
use crate::model::dialect::sse::event;
use crate::model::dialect::steps::{End, Reason, Step, Usage};
use crate::model::{ModelError, ModelName};

/// Writes one answer.
#[derive(Debug)]
pub(in crate::model) struct Encoder {
    clock: Clock,
    model: ModelName,
    tools: Tools,
    stream: bool,
    /// How many events there are.
    sequence: u64,
    /// The item that is written: thoughts or a text, so far.
    open: Option<(Kind, String)>,
    /// Items that are whole.
    output: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reasoning,
    Message,
}

impl Encoder {
    pub(in crate::model) fn new(
        model: ModelName,
        tools: Tools,
        clock: Clock,
        stream: bool,
    ) -> Self {
        Self {
            clock,
            model,
            tools,
            stream,
            sequence: 0,
            open: None,
            output: Vec::new(),
        }
    }

    /// What a step becomes.
    pub(in crate::model) fn step(&mut self, step: Step, out: &mut Vec<u8>) {
        self.begin(out);
        match step {
            Step::Thinking(text) => self.piece(Kind::Reasoning, &text, out),
            Step::Text(text) => self.piece(Kind::Message, &text, out),
            Step::Call(call) => {
                self.close(out);
                let item = self.tools.item(&call, &self.id());
                self.call(item, out);
            }
            Step::End(end) => self.end(end, out),
        }
    }

    /// What an error inside the answer becomes. What is said already stays said.
    pub(in crate::model) fn failure(&mut self, error: &ModelError) -> Vec<u8> {
        let mut out = Vec::new();
        self.begin(&mut out);
        let mut response = self.response("failed");
        // The word by which clients know that trying again helps nobody.
        let code = if error.is_budget() {
            "insufficient_quota"
        } else {
            error.code()
        };
        response["error"] = json!({"code": code, "message": error.to_string()});
        self.say(
            json!({"type": "response.failed", "response": response}),
            &mut out,
        );
        out
    }

    /// An error inside an answer that another wrote.
    pub(in crate::model) fn failed(error: &ModelError) -> Vec<u8> {
        let model = ModelName(String::new());
        let mut encoder = Self::new(model, Tools::default(), Clock::now(), true);
        // Its beginning is said.
        encoder.sequence = 2;
        encoder.failure(error)
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if self.stream && self.sequence == 0 {
            for kind in ["response.created", "response.in_progress"] {
                let response = self.response("in_progress");
                self.say(json!({"type": kind, "response": response}), out);
            }
        }
    }

    /// The end of the id of the item that comes next.
    fn id(&self) -> String {
        format!("{}_{}", self.clock.unique, self.output.len())
    }

    fn say(&mut self, mut said: Value, out: &mut Vec<u8>) {
        if self.stream {
            said["sequence_number"] = self.sequence.into();
            self.sequence += 1;
            event(out, &said);
        }
    }

    /// An event about the item that is written, or about its only part.
    fn about(&mut self, kind: &str, more: &Value, out: &mut Vec<u8>) {
        let mut said = json!({"type": kind, "output_index": self.output.len()});
        if let (Value::Object(said), Value::Object(more)) = (&mut said, more) {
            said.extend(more.clone());
        }
        self.say(said, out);
    }

    fn piece(&mut self, kind: Kind, text: &str, out: &mut Vec<u8>) {
        if self.open.as_ref().is_none_or(|(open, _)| *open != kind) {
            self.close(out);
            let item = self.written(kind, None);
            self.about("response.output_item.added", &json!({"item": item}), out);
            let part = json!({"item_id": item["id"], kind.index(): 0, "part": kind.part("")});
            self.about(kind.event("added"), &part, out);
            self.open = Some((kind, String::new()));
        }
        if let Some((_, whole)) = &mut self.open {
            whole.push_str(text);
        }
        let mut delta = json!({"item_id": self.item_id(kind), kind.index(): 0, "delta": text});
        if kind == Kind::Message {
            delta["logprobs"] = json!([]);
        }
        self.about(kind.event("delta"), &delta, out);
    }

    /// Ends the item that is written.
    fn close(&mut self, out: &mut Vec<u8>) {
        let Some((kind, text)) = self.open.take() else {
            return;
        };
        let id = self.item_id(kind);
        let mut done = json!({"item_id": id, kind.index(): 0, "text": text});
        if kind == Kind::Message {
            done["logprobs"] = json!([]);
        }
        self.about(kind.event("done"), &done, out);
        let part = json!({"item_id": id, kind.index(): 0, "part": kind.part(&text)});
        self.about(kind.event("closed"), &part, out);
        let item = self.written(kind, Some(&text));
        self.about("response.output_item.done", &json!({"item": item}), out);
        self.output.push(item);
    }

    fn item_id(&self, kind: Kind) -> String {
        let of = match kind {
            Kind::Reasoning => "rs",
            Kind::Message => "msg",
        };
        format!("{of}_{}", self.id())
    }

    /// An item of text, whole or at its beginning.
    fn written(&self, kind: Kind, text: Option<&str>) -> Value {
        let id = self.item_id(kind);
        let parts: Vec<Value> = text.map(|text| kind.part(text)).into_iter().collect();
        let status = if text.is_some() {
            "completed"
        } else {
            "in_progress"
        };
        match kind {
            Kind::Reasoning => json!({"type": "reasoning", "id": id, "summary": parts,
                "encrypted_content": null, "status": status}),
            Kind::Message => json!({"type": "message", "id": id, "role": "assistant",
                "content": parts, "status": status}),
        }
    }

    fn call(&mut self, item: Value, out: &mut Vec<u8>) {
        let mut begun = item.clone();
        begun["status"] = "in_progress".into();
        let events = [
            ("arguments", "response.function_call_arguments"),
            ("input", "response.custom_tool_call_input"),
        ];
        let said = events.iter().find(|(field, _)| item[*field].is_string());
        if let Some((field, _)) = said {
            begun[*field] = "".into();
        }
        self.about("response.output_item.added", &json!({"item": begun}), out);
        if let Some((field, name)) = said {
            let id = &item["id"];
            let delta = json!({"item_id": id, "delta": item[*field]});
            self.about(&format!("{name}.delta"), &delta, out);
            let done = json!({"item_id": id, "name": item["name"], *field: item[*field]});
            self.about(&format!("{name}.done"), &done, out);
        }
        self.about("response.output_item.done", &json!({"item": item}), out);
        self.output.push(item);
    }

    fn end(&mut self, end: End, out: &mut Vec<u8>) {
        self.close(out);
        let (status, why) = match end.reason {
            Reason::Stop | Reason::Calls => ("completed", None),
            Reason::Length => ("incomplete", Some("max_output_tokens")),
            Reason::Filter => ("incomplete", Some("content_filter")),
        };
        let mut response = self.response(status);
        if let Some(why) = why {
            response["incomplete_details"] = json!({"reason": why});
        }
        response["usage"] = usage(end.usage);
        if self.stream {
            let kind = format!("response.{status}");
            self.say(json!({"type": kind, "response": response}), out);
        } else {
            out.extend(response.to_string().into_bytes());
        }
    }

    fn response(&self, status: &str) -> Value {
        json!({
            "id": format!("resp_{}", self.clock.unique), "object": "response",
            "created_at": self.clock.seconds, "status": status, "background": false, "error": null,
            "incomplete_details": null, "instructions": null, "max_output_tokens": null,
            "metadata": {}, "model": self.model, "output": self.output, "parallel_tool_calls": true,
            "previous_response_id": null, "reasoning": {"effort": null, "summary": null},
            "store": false, "temperature": null, "text": {"format": {"type": "text"}},
            "tool_choice": "auto", "tools": [], "top_p": null, "truncation": "disabled",
            "usage": null, "user": null,
        })
    }
}

impl Kind {
    fn part(self, text: &str) -> Value {
        match self {
            Self::Reasoning => json!({"type": "summary_text", "text": text}),
            Self::Message => {
                json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
            }
        }
    }

    /// What the number of a part is called.
    fn index(self) -> &'static str {
        match self {
            Self::Reasoning => "summary_index",
            Self::Message => "content_index",
        }
    }

    fn event(self, what: &str) -> &'static str {
        match (self, what) {
            (Self::Reasoning, "added") => "response.reasoning_summary_part.added",
            (Self::Reasoning, "delta") => "response.reasoning_summary_text.delta",
            (Self::Reasoning, "done") => "response.reasoning_summary_text.done",
            (Self::Reasoning, _) => "response.reasoning_summary_part.done",
            (Self::Message, "added") => "response.content_part.added",
            (Self::Message, "delta") => "response.output_text.delta",
            (Self::Message, "done") => "response.output_text.done",
            (Self::Message, _) => "response.content_part.done",
        }
    }
}

fn usage(counts: Usage) -> Value {
    json!({
        "input_tokens": counts.read, "input_tokens_details": {"cached_tokens": counts.cached},
        "output_tokens": counts.written,
        "output_tokens_details": {"reasoning_tokens": counts.thought},
        "total_tokens": counts.read.saturating_add(counts.written),
    })
}
