//! An answer as Gemini's `generateContent` has it: whole, as events, or as a list that grows.

use serde_json::{Value, json};

use super::Method;
use crate::model::ModelName;
use crate::model::dialect::sse::Frame;
use crate::model::dialect::steps::{End, Reason, Step, Usage, join};

/// Writes one answer.
#[derive(Debug)]
pub(in crate::model) struct Encoder {
    id: String,
    model: ModelName,
    method: Method,
    list: List,
    /// Of an answer that is given whole.
    whole: Vec<Step>,
}

/// A list of JSON that is written as it comes: how Gemini streams unless it is asked for events.
#[derive(Debug, Default)]
pub(in crate::model) struct List {
    begun: bool,
}

impl List {
    /// Adds an element.
    pub(in crate::model) fn push(&mut self, element: &[u8], out: &mut Vec<u8>) {
        let begun = std::mem::replace(&mut self.begun, true);
        out.extend_from_slice(if begun { b",\r\n" } else { b"[" });
        out.extend_from_slice(element);
    }

    /// Ends the list.
    pub(in crate::model) fn end(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            out.push(b'[');
        }
        out.push(b']');
    }

    /// An error inside the list.
    pub(in crate::model) fn failure(&mut self, error: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        self.push(error.to_string().as_bytes(), &mut out);
        self.end(&mut out);
        out
    }
}

impl Encoder {
    pub(in crate::model) fn new(model: ModelName, unique: &str, method: Method) -> Self {
        Self {
            id: unique.to_owned(),
            model,
            method,
            list: List::default(),
            whole: Vec::new(),
        }
    }

    /// What a step becomes.
    pub(in crate::model) fn step(&mut self, step: Step, out: &mut Vec<u8>) {
        match (self.method, step) {
            (Method::Generate | Method::Count, Step::End(end)) => {
                let steps = std::mem::take(&mut self.whole);
                let mut parts: Vec<Value> = steps.iter().filter_map(part).collect();
                if parts.is_empty() {
                    parts.push(json!({"text": ""}));
                }
                out.extend(self.response(&parts, Some(end)).to_string().into_bytes());
            }
            (Method::Generate | Method::Count, step) => join(&mut self.whole, step),
            (_, Step::End(end)) => {
                // The last piece has no words, as Gemini's own.
                let last = self.response(&[json!({"text": ""})], Some(end));
                self.say(&last, out);
                if self.method == Method::Array {
                    self.list.end(out);
                }
            }
            (_, step) => {
                let parts: Vec<Value> = part(&step).into_iter().collect();
                let response = self.response(&parts, None);
                self.say(&response, out);
            }
        }
    }

    /// An error inside the answer, when it has a form of its own.
    pub(in crate::model) fn failure(&mut self, error: &Value) -> Option<Vec<u8>> {
        (self.method == Method::Array).then(|| self.list.failure(error))
    }

    fn say(&mut self, response: &Value, out: &mut Vec<u8>) {
        let data = response.to_string().into_bytes();
        if self.method == Method::Array {
            self.list.push(&data, out);
        } else {
            out.extend(Frame { event: None, data }.encode());
        }
    }

    fn response(&self, parts: &[Value], end: Option<End>) -> Value {
        let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
        let mut response = json!({"modelVersion": self.model, "responseId": self.id});
        if let Some(end) = end {
            candidate["finishReason"] = match end.reason {
                Reason::Stop | Reason::Calls => "STOP",
                Reason::Length => "MAX_TOKENS",
                Reason::Filter => "SAFETY",
            }
            .into();
            response["usageMetadata"] = usage(end.usage);
        }
        response["candidates"] = json!([candidate]);
        response
    }
}

fn part(step: &Step) -> Option<Value> {
    Some(match step {
        Step::Thinking(text) => json!({"text": text, "thought": true}),
        Step::Text(text) => json!({"text": text}),
        Step::Call(call) => {
            let args = call.object();
            json!({"functionCall": {"id": call.id, "name": call.name, "args": args}})
        }
        Step::End(_) => return None,
    })
}

fn usage(counts: Usage) -> Value {
    let mut usage = json!({
        "promptTokenCount": counts.read,
        "candidatesTokenCount": counts.written.saturating_sub(counts.thought),
        "totalTokenCount": counts.read.saturating_add(counts.written),
    });
    for (name, count) in [
        ("thoughtsTokenCount", counts.thought),
        ("cachedContentTokenCount", counts.cached),
    ] {
        if count > 0 {
            usage[name] = count.into();
        }
    }
    usage
}
