//! Ollama's chat as OpenAI's chat completions: how the chat agent talks to a provider that its owner named.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{ollama::ChatRequest, openai::OpenAiChat};

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
