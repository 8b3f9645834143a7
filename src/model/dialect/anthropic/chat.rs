//! Anthropic's messages as OpenAI's chat completions, for every server but Anthropic's.

use serde_json::{Map, Value, json};

use super::Messages;
use crate::model::dialect::openai::OpenAiChat;

/// How Claude Code begins a system text for Anthropic's own books. It differs from call to call, so that no local
/// server would find the rest of the prompt in its cache.
const BILLING: &str = "x-anthropic-billing-header:";

impl Messages {
    /// The same request in OpenAI's words; the error is a sentence for the session.
    pub(in crate::model) fn chat(&self) -> Result<OpenAiChat, String> {
        let given = &self.body;
        let mut messages = Vec::new();
        if let Some(system) = given.get("system").map(texts).filter(|t| !t.is_empty()) {
            messages.push(json!({"role": "system", "content": system}));
        }
        for message in list(given.get("messages")) {
            match message["role"].as_str() {
                Some("assistant") => messages.push(assistant(&message["content"])),
                Some("system") => {
                    let text = texts(&message["content"]);
                    messages.push(json!({"role": "system", "content": text}));
                }
                _ => user(&message["content"], &mut messages),
            }
        }
        let mut body = json!({"messages": messages, "stream": self.stream});
        if let Some(tokens) = self.max_tokens {
            body["max_tokens"] = tokens.into();
        }
        for (ours, theirs) in [
            ("temperature", "temperature"),
            ("top_p", "top_p"),
            ("stop_sequences", "stop"),
        ] {
            if let Some(value) = given.get(ours) {
                body[theirs] = value.clone();
            }
        }
        let tools = list(given.get("tools")).map(|tool| {
            json!({"type": "function", "function": {"name": tool["name"],
                "description": tool["description"].as_str().unwrap_or_default(),
                "parameters": tool["input_schema"]}})
        });
        let tools: Vec<Value> = tools.collect();
        if !tools.is_empty() {
            body["tools"] = Value::Array(tools);
        }
        if let Some(choice) = given.get("tool_choice") {
            body["tool_choice"] = match choice["type"].as_str() {
                Some("any") => "required".into(),
                Some("none") => "none".into(),
                Some("tool") => {
                    json!({"type": "function", "function": {"name": choice["name"]}})
                }
                _ => "auto".into(),
            };
            if choice["disable_parallel_tool_use"] == true {
                body["parallel_tool_calls"] = false.into();
            }
        }
        if let Some(schema) = given
            .get("output_config")
            .and_then(|config| config.pointer("/format/schema"))
        {
            body["response_format"] =
                json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
        }
        // Read back, so that one allow list holds for whatever goes out.
        OpenAiChat::parse(body.to_string().as_bytes())
    }
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// A text, or the texts of its blocks.
fn texts(content: &Value) -> String {
    if let Some(text) = content.as_str() {
        return text.to_owned();
    }
    let texts = list(Some(content)).filter_map(|block| block["text"].as_str());
    let texts: Vec<&str> = texts.filter(|text| !text.starts_with(BILLING)).collect();
    texts.join("\n\n")
}

fn assistant(content: &Value) -> Value {
    let mut message = Map::from_iter([("role".to_owned(), Value::from("assistant"))]);
    message.insert("content".to_owned(), texts(content).into());
    let thoughts: Vec<&str> = list(Some(content))
        .filter_map(|block| block["thinking"].as_str())
        .collect();
    if !thoughts.is_empty() {
        message.insert("reasoning_content".to_owned(), thoughts.join("\n").into());
    }
    let calls = list(Some(content)).filter(|block| block["type"] == "tool_use");
    let calls: Vec<Value> = calls
        .map(|call| {
            json!({"id": call["id"], "type": "function",
                "function": {"name": call["name"], "arguments": call["input"].to_string()}})
        })
        .collect();
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    Value::Object(message)
}

/// What a person says, and what came of tools, which is a message of its own for each. Pictures that a tool gave
/// come behind all results: no server takes them in a result.
fn user(content: &Value, messages: &mut Vec<Value>) {
    if content.is_string() {
        messages.push(json!({"role": "user", "content": content}));
        return;
    }
    let (mut said, mut pictures) = (Vec::new(), Vec::new());
    for block in list(Some(content)) {
        if block["type"] != "tool_result" {
            said.extend(part(block));
            continue;
        }
        let result = &block["content"];
        let parts = match result {
            Value::String(text) => vec![json!({"type": "text", "text": text})],
            result => list(Some(result)).filter_map(part).collect(),
        };
        let mut text: Vec<&str> = Vec::new();
        if block["is_error"] == true {
            text.push("The tool failed:");
        }
        for part in &parts {
            match part["text"].as_str() {
                Some(words) => text.push(words),
                None => pictures.push(part.clone()),
            }
        }
        messages.push(json!({"role": "tool", "tool_call_id": block["tool_use_id"],
            "content": text.join("\n")}));
    }
    pictures.append(&mut said);
    if !pictures.is_empty() {
        messages.push(json!({"role": "user", "content": pictures}));
    }
}

/// A text or a picture; what else there is becomes a text that says so.
fn part(block: &Value) -> Option<Value> {
    let source = &block["source"];
    let kind = source["media_type"].as_str().unwrap_or_default();
    let data = source["data"].as_str().unwrap_or_default();
    let text = match block["type"].as_str()? {
        "text" => block["text"].as_str()?.to_owned(),
        "image" => {
            let url = format!("data:{kind};base64,{data}");
            return Some(json!({"type": "image_url", "image_url": {"url": url}}));
        }
        "document" if source["type"] == "text" => match block["title"].as_str() {
            Some(title) => format!("{title}:\n{data}"),
            None => data.to_owned(),
        },
        "document" => {
            "(Here is a document that this model cannot read: its server takes texts and pictures.)"
                .to_owned()
        }
        _ => return None,
    };
    Some(json!({"type": "text", "text": text}))
}
