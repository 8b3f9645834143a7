//! Ollama's chat asked of an OpenAI-compatible server, and its answer as Ollama's lines: how the chat agent
//! talks to a provider that its owner named.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

use super::{Clock, ollama::ChatRequest, openai::OpenAiChat, sse::Frame};
use crate::model::ModelName;

/// The same request in OpenAI's words. The model, the bounds and the options are the host's in any case.
pub(in crate::model) fn request(chat: &ChatRequest) -> Result<OpenAiChat, String> {
    let mut body = json!({"messages": messages(chat), "stream": chat.streams()});
    let given = json!(chat);
    if let Some(tools) = given.get("tools").filter(|tools| tools.is_array()) {
        body["tools"] = tools.clone();
    }
    match given.get("format") {
        Some(Value::String(_)) => body["response_format"] = json!({"type": "json_object"}),
        Some(schema @ Value::Object(_)) => {
            body["response_format"] =
                json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
        }
        _ => {}
    }
    // Read back, so that one allow list holds for whatever goes out.
    OpenAiChat::parse(body.to_string().as_bytes())
}

fn messages(chat: &ChatRequest) -> Vec<Value> {
    let given = json!(chat);
    let mut made = 0;
    // Ids of calls that no result has answered yet, with their functions.
    let mut open: VecDeque<(String, String)> = VecDeque::new();
    let mut messages = Vec::new();
    for message in given["messages"].as_array().into_iter().flatten() {
        let role = message["role"].as_str().unwrap_or("user");
        let text = message["content"].as_str().unwrap_or_default();
        let mut kept = json!({"role": role, "content": text});
        if let Some(images) = message["images"]
            .as_array()
            .filter(|images| !images.is_empty())
        {
            let mut parts = vec![json!({"type": "text", "text": text})];
            let images = images.iter().filter_map(Value::as_str);
            parts.extend(images.map(|image| {
                json!({"type": "image_url", "image_url": {"url": format!("data:{};base64,{image}", kind_of(image))}})
            }));
            kept["content"] = Value::Array(parts);
        }
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        let calls: Vec<Value> = calls
            .map(|call| {
                made += 1;
                let id = call["id"]
                    .as_str()
                    .map_or_else(|| format!("call_{made}"), str::to_owned);
                let function = &call["function"];
                let name = function["name"].as_str().unwrap_or_default();
                open.push_back((id.clone(), name.to_owned()));
                json!({"id": id, "type": "function",
                    "function": {"name": name, "arguments": function["arguments"].to_string()}})
            })
            .collect();
        if !calls.is_empty() {
            kept["tool_calls"] = Value::Array(calls);
        }
        if role == "tool" {
            let given = message["tool_call_id"].as_str();
            let name = message["tool_name"].as_str();
            let at = open
                .iter()
                .position(|(id, called)| match given {
                    Some(given) => id == given,
                    None => name.is_none_or(|name| called == name),
                })
                .unwrap_or(0);
            let id = open
                .remove(at)
                .map_or_else(|| "call_0".to_owned(), |(id, _)| id);
            kept["tool_call_id"] = id.into();
        }
        messages.push(kept);
    }
    messages
}

/// The type of a picture by how its base64 begins.
fn kind_of(base64: &str) -> &'static str {
    match base64.get(..4) {
        Some("iVBO") => "image/png",
        Some("R0lG") => "image/gif",
        Some("UklG") => "image/webp",
        _ => "image/jpeg",
    }
}

/// An OpenAI answer as Ollama's lines.
#[derive(Debug)]
pub(in crate::model) struct Decoder {
    model: ModelName,
    clock: Clock,
    calls: BTreeMap<u64, (String, String, String)>,
    reason: String,
    usage: Value,
}

impl Decoder {
    pub(in crate::model) fn new(model: ModelName) -> Self {
        Self {
            model,
            clock: Clock::now(),
            calls: BTreeMap::new(),
            reason: "stop".to_owned(),
            usage: Value::Null,
        }
    }

    /// What a frame becomes: lines, or nothing yet.
    pub(in crate::model) fn frame(&mut self, frame: Option<&Frame>, done: bool) -> Vec<u8> {
        let value: Value = frame
            .and_then(|frame| serde_json::from_slice(&frame.data).ok())
            .unwrap_or_default();
        if value["usage"].is_object() {
            self.usage = value["usage"].clone();
        }
        let choice = &value["choices"][0];
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.reason = if reason == "length" { "length" } else { "stop" }.to_owned();
        }
        let whole = choice["message"].is_object();
        let said = if whole {
            &choice["message"]
        } else {
            &choice["delta"]
        };
        self.take_calls(&said["tool_calls"]);
        let text = said["content"].as_str().unwrap_or_default();
        let thinking = said["reasoning_content"]
            .as_str()
            .or_else(|| said["reasoning"].as_str());
        let thinking = thinking.unwrap_or_default();
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        message.insert("content".to_owned(), text.into());
        if !thinking.is_empty() {
            message.insert("thinking".to_owned(), thinking.into());
        }
        let mut out = Vec::new();
        if !whole && (!text.is_empty() || !thinking.is_empty()) {
            self.line(&mut out, message.clone(), false);
        }
        if done {
            let mut last = if whole {
                message
            } else {
                Map::from_iter([
                    ("role".to_owned(), "assistant".into()),
                    ("content".to_owned(), "".into()),
                ])
            };
            let calls = std::mem::take(&mut self.calls);
            if !calls.is_empty() {
                let calls = calls.into_values().map(|(id, name, arguments)| {
                    let arguments: Value = serde_json::from_str(&arguments).unwrap_or_default();
                    let arguments = if arguments.is_object() {
                        arguments
                    } else {
                        json!({})
                    };
                    json!({"id": id, "function": {"name": name, "arguments": arguments}})
                });
                last.insert("tool_calls".to_owned(), calls.collect());
            }
            self.line(&mut out, last, true);
        }
        out
    }

    fn take_calls(&mut self, calls: &Value) {
        for (at, call) in calls.as_array().into_iter().flatten().enumerate() {
            let at = u64::try_from(at).unwrap_or_default();
            let index = call["index"].as_u64().unwrap_or(at);
            let entry = self.calls.entry(index).or_default();
            let function = &call["function"];
            for (kept, piece) in [
                (&mut entry.0, &call["id"]),
                (&mut entry.1, &function["name"]),
                (&mut entry.2, &function["arguments"]),
            ] {
                kept.push_str(piece.as_str().unwrap_or_default());
            }
        }
    }

    fn line(&self, out: &mut Vec<u8>, message: Map<String, Value>, done: bool) {
        let at = nostr::Timestamp::from_secs(self.clock.seconds).to_human_datetime();
        let mut line =
            json!({"model": self.model, "created_at": at, "message": message, "done": done});
        if done {
            line["done_reason"] = self.reason.as_str().into();
            for (ours, theirs) in [
                ("prompt_eval_count", "prompt_tokens"),
                ("eval_count", "completion_tokens"),
            ] {
                if let Some(count) = self.usage[theirs].as_u64() {
                    line[ours] = count.into();
                }
            }
        }
        out.extend_from_slice(format!("{line}\n").as_bytes());
    }
}
