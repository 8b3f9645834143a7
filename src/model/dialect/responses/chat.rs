//! OpenAI's responses as its chat completions, for every server but OpenAI's own.

use serde_json::{Value, json};

use super::Responses;
use super::tools::{Tools, wrapped};
use crate::model::dialect::openai::OpenAiChat;

/// A conversation as it grows.
#[derive(Default)]
struct Messages {
    all: Vec<Value>,
    /// Pictures that tools gave: no server takes them in a result, so they come behind all results of a turn.
    pictures: Vec<Value>,
}

impl Responses {
    /// The same request in the words of chat completions, and what its tools became; the error is a sentence for
    /// the session.
    pub(in crate::model) fn chat(&self) -> Result<(OpenAiChat, Tools), String> {
        let later = self
            .items
            .iter()
            .filter(|item| item["type"] == "additional_tools");
        let later = later.filter_map(|item| item["tools"].as_array()).flatten();
        let tools = Tools::new(self.tools.iter().chain(later));
        let mut messages = Messages::default();
        if let Some(text) = self.body.get("instructions").and_then(Value::as_str) {
            messages.push(json!({"role": "system", "content": text}));
        }
        for item in &self.items {
            messages.item(item, &tools);
        }
        messages.show();
        let mut body = json!({"messages": messages.all, "stream": self.stream});
        if let Some(tokens) = self.max_tokens {
            body["max_completion_tokens"] = tokens.into();
        }
        for name in ["temperature", "top_p", "parallel_tool_calls"] {
            if let Some(value) = self.body.get(name) {
                body[name] = value.clone();
            }
        }
        let given = |path: &str, at: &str| self.body.get(at).and_then(|part| part.pointer(path));
        for (ours, at, theirs) in [
            ("/effort", "reasoning", "reasoning_effort"),
            ("/verbosity", "text", "verbosity"),
        ] {
            if let Some(value) = given(ours, at) {
                body[theirs] = value.clone();
            }
        }
        if let Some(format) = given("/format", "text") {
            body["response_format"] = json!({"type": format["type"], "json_schema": format});
        }
        if !tools.functions.is_empty() {
            body["tools"] = json!(tools.functions);
            match self.body.get("tool_choice") {
                Some(Value::Object(choice)) => {
                    let name = choice.get("name").and_then(Value::as_str);
                    let name = tools.sent(None, name.unwrap_or("local_shell"));
                    body["tool_choice"] = json!({"type": "function", "function": {"name": name}});
                }
                Some(word) => body["tool_choice"] = word.clone(),
                None => {}
            }
        }
        // Read back, so that one allow list holds for whatever goes out.
        let chat = OpenAiChat::parse(body.to_string().as_bytes())?;
        Ok((chat, tools))
    }
}

impl Messages {
    fn push(&mut self, message: Value) {
        if message["role"] != "tool" {
            self.show();
        }
        self.all.push(message);
    }

    fn show(&mut self) {
        if !self.pictures.is_empty() {
            let pictures = std::mem::take(&mut self.pictures);
            self.all.push(json!({"role": "user", "content": pictures}));
        }
    }

    /// What the model said, thought and called until something else came is one message.
    fn assistant(&mut self) -> &mut Value {
        if self
            .all
            .last()
            .is_none_or(|last| last["role"] != "assistant")
        {
            self.push(json!({"role": "assistant", "content": ""}));
        }
        let last = self.all.len() - 1;
        &mut self.all[last]
    }

    fn item(&mut self, item: &Value, tools: &Tools) {
        let word = |name: &str| item[name].as_str().unwrap_or_default();
        match word("type") {
            "message" if item["role"] == "assistant" => {
                let (text, _) = parts(&item["content"]);
                more(&mut self.assistant()["content"], &text);
            }
            "message" => {
                let (text, pictures) = parts(&item["content"]);
                let mut content = Value::from(text);
                if !pictures.is_empty() {
                    let text = json!({"type": "text", "text": content});
                    content = std::iter::once(text).chain(pictures).collect();
                }
                self.push(json!({"role": item["role"], "content": content}));
            }
            "reasoning" => {
                let texts = |name: &str| {
                    let parts = item[name].as_array().into_iter().flatten();
                    let texts: Vec<&str> = parts.filter_map(|part| part["text"].as_str()).collect();
                    texts.join("\n\n")
                };
                let thought = texts("content");
                let thought = if thought.is_empty() {
                    texts("summary")
                } else {
                    thought
                };
                if !thought.is_empty() {
                    more(&mut self.assistant()["reasoning_content"], &thought);
                }
            }
            "function_call" => {
                let name = tools.sent(item["namespace"].as_str(), word("name"));
                self.call(word("call_id"), &name, word("arguments"));
            }
            "custom_tool_call" => {
                let name = tools.sent(item["namespace"].as_str(), word("name"));
                self.call(word("call_id"), &name, &wrapped(word("input")));
            }
            "local_shell_call" => {
                let name = tools.sent(None, "local_shell");
                let id = if word("call_id").is_empty() {
                    word("id")
                } else {
                    word("call_id")
                };
                self.call(id, &name, &item["action"].to_string());
            }
            "agent_message" => {
                let (text, _) = parts(&item["content"]);
                self.push(json!({"role": "user", "content": text}));
            }
            "additional_tools" | "compaction" | "compaction_summary" | "context_compaction" => {}
            _ => {
                let id = if word("call_id").is_empty() {
                    word("id")
                } else {
                    word("call_id")
                };
                let (text, pictures) = parts(&item["output"]);
                self.pictures.extend(pictures);
                self.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
            }
        }
    }

    fn call(&mut self, id: &str, name: &str, arguments: &str) {
        let message = self.assistant();
        if !message["tool_calls"].is_array() {
            message["tool_calls"] = json!([]);
        }
        let call = json!({"id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}});
        if let Some(calls) = message["tool_calls"].as_array_mut() {
            calls.push(call);
        }
    }
}

/// Adds to a text.
fn more(text: &mut Value, with: &str) {
    match text {
        Value::String(before) if !before.is_empty() => {
            before.push_str("\n\n");
            before.push_str(with);
        }
        _ => *text = with.into(),
    }
}

/// The text of a content, and its pictures in OpenAI's form.
fn parts(content: &Value) -> (String, Vec<Value>) {
    if let Some(text) = content.as_str() {
        return (text.to_owned(), Vec::new());
    }
    let (mut texts, mut pictures) = (Vec::new(), Vec::new());
    for part in content.as_array().into_iter().flatten() {
        if let Some(url) = part["image_url"].as_str() {
            let mut image = json!({"url": url});
            if let Some(detail) = part["detail"].as_str() {
                image["detail"] = detail.into();
            }
            pictures.push(json!({"type": "image_url", "image_url": image}));
        } else if part["type"] == "input_file" {
            texts.push(
                "(Here is a file that this model cannot read: its server takes texts and pictures.)",
            );
        } else {
            texts.extend(part["text"].as_str().or_else(|| part["refusal"].as_str()));
        }
    }
    (texts.join("\n"), pictures)
}
