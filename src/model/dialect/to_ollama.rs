//! OpenAI's chat completions asked of Ollama's native API.
//!
//! Ollama has `/v1` too, but that ignores `num_ctx` and cuts long prompts without a word
//! (DESIGN.md #10).

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{fields, openai::OpenAiChat};
use crate::model::ModelOptions;

/// The request as Ollama takes it. What the host decides comes before what the session asks for.
pub(in crate::model) fn request(
    chat: &OpenAiChat,
    model: &str,
    options: &ModelOptions,
    keep_alive: &str,
) -> Result<Value, String> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut messages = Vec::with_capacity(chat.messages.len());
    for message in &chat.messages {
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            if let (Some(id), Some(name)) = (call["id"].as_str(), call["function"]["name"].as_str())
            {
                names.insert(id, name);
            }
        }
        messages.push(self::message(message, &names)?);
    }
    let mut given = Map::new();
    for name in [
        "temperature",
        "top_p",
        "seed",
        "stop",
        "presence_penalty",
        "frequency_penalty",
    ] {
        if let Some(value) = chat.scalars.get(name) {
            given.insert(name.to_owned(), value.clone());
        }
    }
    if let Value::Object(host) = json!(options) {
        given.extend(host);
    }
    if let Some(limit) = chat.bounded(options) {
        given.insert("num_predict".to_owned(), limit.into());
    }
    let mut body = json!({
        "model": model,
        "messages": messages,
        "stream": chat.stream,
        "options": given,
        "keep_alive": keep_alive,
    });
    let tools = tools(chat);
    if !tools.is_empty() {
        body["tools"] = Value::Array(tools);
    }
    match chat.response_format.as_ref().map(|format| &format["type"]) {
        Some(kind) if kind == "json_object" => body["format"] = "json".into(),
        Some(_) => {
            if let Some(format) = &chat.response_format {
                body["format"] = format["json_schema"]["schema"].clone();
            }
        }
        None => {}
    }
    Ok(body)
}

/// The tools that may be called. Ollama has no `tool_choice`: "none" and one function are done by what is
/// offered, and "required" is left to the model.
fn tools(chat: &OpenAiChat) -> Vec<Value> {
    let only = match &chat.tool_choice {
        Some(Value::String(word)) if word == "none" => return Vec::new(),
        Some(choice @ Value::Object(_)) => choice["function"]["name"].as_str(),
        _ => None,
    };
    let offered = |tool: &&Value| only.is_none_or(|only| tool["function"]["name"] == only);
    let native = |tool: &Value| {
        let function = &tool["function"];
        json!({"type": "function", "function": {
            "name": function["name"],
            "description": function["description"].as_str().unwrap_or_default(),
            "parameters": function.get("parameters").cloned().unwrap_or_else(|| json!({"type": "object", "properties": {}})),
        }})
    };
    chat.tools.iter().filter(offered).map(native).collect()
}

fn message(message: &Value, names: &HashMap<&str, &str>) -> Result<Value, String> {
    let role = match message["role"].as_str() {
        Some("developer") => "system",
        Some(role) => role,
        None => return Err("a message has no role".to_owned()),
    };
    let mut kept = Map::new();
    kept.insert("role".to_owned(), role.into());
    let (text, images) = content(&message["content"])?;
    kept.insert("content".to_owned(), text.into());
    if !images.is_empty() {
        kept.insert("images".to_owned(), json!(images));
    }
    if let Some(thinking) = message["reasoning_content"].as_str() {
        kept.insert("thinking".to_owned(), thinking.into());
    }
    if let Some(calls) = message["tool_calls"].as_array() {
        let calls: Vec<Value> = calls.iter().map(tool_call).collect();
        kept.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    if role == "tool" {
        let id = message["tool_call_id"].as_str().unwrap_or_default();
        kept.insert("tool_call_id".to_owned(), id.into());
        if let Some(name) = names.get(id) {
            kept.insert("tool_name".to_owned(), (*name).into());
        }
    }
    Ok(Value::Object(kept))
}

/// Text and pictures (base64 without the URL around it).
fn content(content: &Value) -> Result<(String, Vec<&str>), String> {
    let parts = match content {
        Value::Null => return Ok((String::new(), Vec::new())),
        Value::String(text) => return Ok((text.clone(), Vec::new())),
        parts => fields::array(parts, "`content`")?,
    };
    let mut text: Vec<&str> = Vec::new();
    let mut images = Vec::new();
    for part in parts {
        if let Some(url) = part["image_url"]["url"].as_str() {
            let data = url.split_once(";base64,").map(|(_, data)| data);
            images.push(data.ok_or("a picture is not in base64")?);
        } else {
            text.extend(part["text"].as_str().or_else(|| part["refusal"].as_str()));
        }
    }
    Ok((text.join("\n"), images))
}

/// Ollama takes arguments as an object. A model that wrote none in its last turn is shown what it wrote.
fn tool_call(call: &Value) -> Value {
    let written = call["function"]["arguments"].as_str().unwrap_or_default();
    let arguments = match serde_json::from_str(written) {
        Ok(Value::Object(arguments)) => arguments,
        _ if written.trim().is_empty() => Map::new(),
        _ => Map::from_iter([("invalid".to_owned(), written.into())]),
    };
    json!({"id": call["id"], "function": {"name": call["function"]["name"], "arguments": arguments}})
}
