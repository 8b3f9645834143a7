//! Gemini's contents as OpenAI's chat completions, for every server but Gemini's.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::{Generate, Method};
use crate::model::dialect::fields;
use crate::model::dialect::openai::OpenAiChat;

/// Calls that wait for their results at once.
const MOST_OPEN: usize = 256;

/// A conversation as it grows.
#[derive(Default)]
struct Messages {
    all: Vec<Value>,
    /// Calls that no result has answered yet: their ids and their functions.
    open: VecDeque<(String, String)>,
    made: usize,
}

impl Generate {
    /// The same request in OpenAI's words; the error is a sentence for the session.
    pub(in crate::model) fn chat(&self) -> Result<OpenAiChat, String> {
        let mut messages = Messages::default();
        if let Some(system) = self.body.get("systemInstruction") {
            let texts = parts(system).filter_map(|part| part["text"].as_str());
            let text = texts.collect::<Vec<_>>().join("\n\n");
            messages
                .all
                .push(json!({"role": "system", "content": text}));
        }
        let contents = self.body.get("contents").and_then(Value::as_array);
        for content in contents.into_iter().flatten() {
            if content["role"] == "model" {
                messages.model(content);
            } else {
                messages.user(content);
            }
        }
        let stream = matches!(self.method, Method::Stream | Method::Array);
        let mut body = json!({"messages": messages.all, "stream": stream});
        if let Some(tokens) = self.max_tokens {
            body["max_tokens"] = tokens.into();
        }
        for (ours, theirs) in [
            ("temperature", "temperature"),
            ("topP", "top_p"),
            ("seed", "seed"),
            ("stopSequences", "stop"),
            ("presencePenalty", "presence_penalty"),
            ("frequencyPenalty", "frequency_penalty"),
        ] {
            if let Some(value) = self.config.get(ours) {
                body[theirs] = value.clone();
            }
        }
        if let Some(format) = self.format() {
            body["response_format"] = format;
        }
        self.tools(&mut body);
        // Read back, so that one allow list holds for whatever goes out.
        OpenAiChat::parse(body.to_string().as_bytes())
    }

    fn format(&self) -> Option<Value> {
        let schemas = ["responseJsonSchema", "responseSchema"];
        let schema = schemas.iter().find_map(|name| self.config.get(*name));
        match schema {
            Some(schema) => {
                let schema = json_schema(schema);
                Some(
                    json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}),
                )
            }
            None => {
                let kind = self.config.get("responseMimeType")?;
                (kind == "application/json").then(|| json!({"type": "json_object"}))
            }
        }
    }

    /// The functions, and which of them may or must be called.
    fn tools(&self, body: &mut Value) {
        let calling = self.body.get("toolConfig");
        let calling = calling.map_or(&Value::Null, |config| &config["functionCallingConfig"]);
        let mode = calling["mode"].as_str().unwrap_or_default();
        let allowed = calling["allowedFunctionNames"].as_array();
        let allowed = allowed.filter(|names| mode == "ANY" && !names.is_empty());
        let given = self.body.get("tools").and_then(Value::as_array);
        let declared = given.into_iter().flatten();
        let declared = declared.flat_map(|tool| tool["functionDeclarations"].as_array());
        let offered = declared.flatten().filter(|function| {
            let named = |names: &Vec<Value>| {
                let mut names = names.iter().take(fields::MOST_TOOLS);
                names.any(|name| *name == function["name"])
            };
            allowed.is_none_or(named)
        });
        let function = |given: &Value| {
            let none = || json!({"type": "object", "properties": {}});
            let schemas = ["parametersJsonSchema", "parameters"];
            let schema = schemas.iter().find_map(|name| given.get(*name));
            json!({"type": "function", "function": {"name": given["name"],
                "description": given["description"].as_str().unwrap_or_default(),
                "parameters": schema.map_or_else(none, json_schema)}})
        };
        let tools: Vec<Value> = offered.map(function).collect();
        if tools.is_empty() {
            return;
        }
        body["tools"] = Value::Array(tools);
        body["tool_choice"] = match mode {
            "ANY" => "required",
            "NONE" => "none",
            _ => "auto",
        }
        .into();
    }
}

impl Messages {
    /// What the model said, thought and called until something else came is one message.
    fn model(&mut self, content: &Value) {
        if self
            .all
            .last()
            .is_none_or(|last| last["role"] != "assistant")
        {
            self.all.push(json!({"role": "assistant", "content": ""}));
        }
        for part in parts(content) {
            let call = &part["functionCall"];
            let call = call.is_object().then(|| self.call(call));
            let Some(message) = self.all.last_mut() else {
                return;
            };
            if let Some(text) = part["text"].as_str() {
                let thought = part["thought"] == true;
                let field = if thought {
                    "reasoning_content"
                } else {
                    "content"
                };
                match &mut message[field] {
                    Value::String(before) => before.push_str(text),
                    field => *field = text.into(),
                }
            }
            if let Some(call) = call {
                match &mut message["tool_calls"] {
                    Value::Array(calls) => calls.push(call),
                    none => *none = json!([call]),
                }
            }
        }
    }

    fn call(&mut self, call: &Value) -> Value {
        self.made += 1;
        let name = call["name"].as_str().unwrap_or_default();
        let id = match call["id"].as_str() {
            Some(id) if !id.is_empty() => id.to_owned(),
            _ => format!("call_{}", self.made),
        };
        // Of very many that nobody answered, the first are forgotten.
        if self.open.len() >= MOST_OPEN {
            self.open.pop_front();
        }
        self.open.push_back((id.clone(), name.to_owned()));
        let arguments = call.get("args").cloned().unwrap_or_else(|| json!({}));
        json!({"id": id, "type": "function",
            "function": {"name": name, "arguments": arguments.to_string()}})
    }

    /// What a person says, and what came of functions, which is a message of its own for each. Pictures that a
    /// function gave come behind all results: no server takes them in a result.
    fn user(&mut self, content: &Value) {
        let mut said = Vec::new();
        for part in parts(content) {
            let result = &part["functionResponse"];
            if result.is_object() {
                let id = self.answered(result);
                let text = result_text(&result["response"]);
                self.all
                    .push(json!({"role": "tool", "tool_call_id": id, "content": text}));
                said.extend(parts(result).filter_map(shown));
            } else {
                said.extend(shown(part));
            }
        }
        if !said.is_empty() {
            self.all.push(json!({"role": "user", "content": said}));
        }
    }

    /// The id of the call that a result answers: its own, else that of the first open call of the function.
    fn answered(&mut self, result: &Value) -> String {
        let given = result["id"].as_str().filter(|id| !id.is_empty());
        let at = self.open.iter().position(|(id, name)| match given {
            Some(given) => id == given,
            None => result["name"] == name.as_str(),
        });
        let found = at.and_then(|at| self.open.remove(at)).map(|(id, _)| id);
        found.unwrap_or_else(|| given.unwrap_or("call_0").to_owned())
    }
}

fn parts(content: &Value) -> impl Iterator<Item = &Value> {
    content["parts"].as_array().into_iter().flatten()
}

/// A text or a picture; what else there is becomes a text that says so.
fn shown(part: &Value) -> Option<Value> {
    if let Some(text) = part["text"].as_str() {
        return Some(json!({"type": "text", "text": text}));
    }
    let data = &part["inlineData"];
    let kind = data["mimeType"].as_str()?;
    if kind.starts_with("image/") {
        let url = format!("data:{kind};base64,{}", data["data"].as_str()?);
        return Some(json!({"type": "image_url", "image_url": {"url": url}}));
    }
    let text = "(Here is a file that this model cannot read: its server takes texts and pictures.)";
    Some(json!({"type": "text", "text": text}))
}

/// A result as text: the field by which functions give one, or all of it.
fn result_text(response: &Value) -> String {
    let only = response.as_object().filter(|fields| fields.len() == 1);
    let field = |name: &str| only.and_then(|fields| fields.get(name)?.as_str());
    match (field("output"), field("error")) {
        (Some(text), _) => text.to_owned(),
        (_, Some(text)) => format!("The tool failed:\n{text}"),
        _ if response.is_null() => String::new(),
        _ => response.to_string(),
    }
}

/// A schema of Gemini's as a JSON schema: types in small letters, numbers that are no strings.
fn json_schema(given: &Value) -> Value {
    const NUMBERS: &[&str] = &[
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minProperties",
        "maxProperties",
    ];
    match given {
        Value::Array(items) => items.iter().map(json_schema).collect(),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let number = || value.as_str()?.parse::<u64>().ok();
                let value = match value {
                    Value::String(kind) if name == "type" => kind.to_ascii_lowercase().into(),
                    Value::Array(kinds) if name == "type" => kinds
                        .iter()
                        .map(|kind| match kind {
                            Value::String(kind) => kind.to_ascii_lowercase().into(),
                            other => other.clone(),
                        })
                        .collect(),
                    _ if NUMBERS.contains(&name.as_str()) => {
                        number().map_or_else(|| value.clone(), Value::from)
                    }
                    _ if name == "enum" || name == "default" || name == "example" => value.clone(),
                    _ => json_schema(value),
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(field).collect::<Map<_, _>>())
        }
        plain => plain.clone(),
    }
}
