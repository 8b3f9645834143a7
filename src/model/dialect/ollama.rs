//! A session's chat request, rebuilt from known fields: nothing that is not named here passes.

pub(in crate::model) mod answer;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::model::{ModelName, ModelOptions};

/// What a session may ask. Unknown fields are dropped, `model` and `options` among them.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::model) struct ChatRequest {
    messages: Vec<Message>,
    #[serde(default)]
    tools: Option<Vec<Tool>>,
    #[serde(default)]
    format: Option<Format>,
    #[serde(default)]
    think: Option<Think>,
    #[serde(default)]
    stream: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Message {
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thinking: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<ToolCall>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    images: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Debug, Serialize, Deserialize)]
struct ToolCall {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    function: CalledFunction,
}

#[derive(Debug, Serialize, Deserialize)]
struct CalledFunction {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    name: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

/// A tool of the session's. There is one type: what a provider would run itself has another.
#[derive(Debug, Serialize, Deserialize)]
struct Tool {
    r#type: ToolType,
    function: Function,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ToolType {
    Function,
}

#[derive(Debug, Serialize, Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Map<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Format {
    Name(String),
    Schema(Map<String, Value>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Think {
    Switch(bool),
    Level(String),
}

impl ChatRequest {
    /// Reads a request's body; the error is a sentence for the session.
    pub(in crate::model) fn parse(body: &[u8]) -> Result<Self, String> {
        let request: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if request.messages.is_empty() {
            return Err("there are no messages".to_owned());
        }
        Ok(request)
    }

    /// Whether the answer is to come in pieces, which is Ollama's default.
    pub(in crate::model) fn streams(&self) -> bool {
        self.stream.unwrap_or(true)
    }

    /// The request as it goes to the model server.
    pub(in crate::model) fn rebuild(
        &self,
        model: &ModelName,
        options: &ModelOptions,
        keep_alive: &str,
    ) -> Value {
        let mut body = json!({
            "model": model,
            "messages": self.messages,
            "stream": self.streams(),
            "options": options,
            "keep_alive": keep_alive,
        });
        if let Some(tools) = &self.tools {
            body["tools"] = json!(tools);
        }
        if let Some(format) = &self.format {
            body["format"] = json!(format);
        }
        if let Some(think) = &self.think {
            body["think"] = json!(think);
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_known_fields_only_and_the_host_decides_the_rest() {
        let body = json!({
            "model": "other", "keep_alive": 0, "options": {"num_ctx": 1, "temperature": 2}, "raw": true,
            "messages": [{"role": "user", "content": "hi", "images": ["aGk="], "name": "x"},
                {"role": "assistant", "content": "", "thinking": "hm",
                 "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}, "x": 1}}]},
                {"role": "tool", "tool_name": "f", "content": "1"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "x": 1}}],
            "format": "json", "think": true, "stream": false, "template": "x", "system": "x",
        });
        let request = ChatRequest::parse(body.to_string().as_bytes()).unwrap();
        let options = ModelOptions {
            num_ctx: Some(8192),
            seed: Some(7),
            ..ModelOptions::default()
        };
        let sent = request.rebuild(&"m:1".into(), &options, "10m");
        assert_eq!(
            sent,
            json!({
                "model": "m:1", "keep_alive": "10m", "options": {"num_ctx": 8192, "seed": 7},
                "messages": [{"role": "user", "content": "hi", "images": ["aGk="]},
                    {"role": "assistant", "content": "", "thinking": "hm",
                     "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
                    {"role": "tool", "tool_name": "f", "content": "1"}],
                "tools": [{"type": "function",
                    "function": {"name": "f", "description": "", "parameters": {"type": "object"}}}],
                "format": "json", "think": true, "stream": false,
            })
        );
    }

    #[test]
    fn refuses_what_is_no_chat_request() {
        for body in [
            "",
            "[]",
            "{}",
            "{\"messages\":[]}",
            "{\"messages\":[{\"role\":\"root\"}]}",
            "{\"messages\":[{\"role\":\"user\"}],\"tools\":[{\"type\":\"web_search\"}]}",
        ] {
            assert!(ChatRequest::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
