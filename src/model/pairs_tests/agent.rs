//! Agents of every dialect: what they ask, and what they hear.

use serde_json::{Value, json};

use super::{Call, PICTURE, RESULT};
use crate::model::Dialect;

/// What an agent hears.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) thinking: String,
    /// Pieces of the text, of which a whole answer has one.
    pub(super) words: Vec<String>,
    pub(super) calls: Vec<Call>,
    pub(super) usage: Option<(u64, u64)>,
    pub(super) error: Option<String>,
}

/// A request: its path and its body. It holds a picture, a call and its result, and offers a tool.
pub(in crate::model) fn request(dialect: Dialect, stream: bool) -> (&'static str, Value) {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let url = format!("data:image/png;base64,{PICTURE}");
    let function = json!({"name": "look", "description": "looks", "parameters": schema});
    match dialect {
        Dialect::Ollama => (
            "/api/chat",
            json!({"stream": stream, "tools": [{"type": "function", "function": function}], "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "hi", "images": [PICTURE]},
                {"role": "assistant", "content": "", "tool_calls": [
                    {"id": "c1", "function": {"name": "look", "arguments": {"a": 1}}}]},
                {"role": "tool", "tool_call_id": "c1", "tool_name": "look", "content": RESULT}]}),
        ),
        Dialect::OpenAi => (
            "/v1/chat/completions",
            json!({"stream": stream, "stream_options": {"include_usage": true},
                "tools": [{"type": "function", "function": function}], "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "hi"},
                    {"type": "image_url", "image_url": {"url": url}}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"a\":1}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": RESULT}]}),
        ),
        Dialect::Responses => (
            "/v1/responses",
            json!({"stream": stream, "instructions": "be brief",
                "tools": [{"type": "function", "name": "look", "description": "looks", "parameters": schema}], "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"},
                    {"type": "input_image", "image_url": url}]},
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{\"a\":1}"},
                {"type": "function_call_output", "call_id": "c1", "output": RESULT}]}),
        ),
        Dialect::Anthropic => (
            "/v1/messages",
            json!({"stream": stream, "system": "be brief", "max_tokens": 100,
                "tools": [{"name": "look", "description": "looks", "input_schema": schema}], "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {"a": 1}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": RESULT}]}]}),
        ),
        Dialect::Gemini => (
            if stream {
                "/v1beta/models/x:streamGenerateContent?alt=sse"
            } else {
                "/v1beta/models/x:generateContent"
            },
            json!({"systemInstruction": {"parts": [{"text": "be brief"}]},
                "tools": [{"functionDeclarations": [function]}], "contents": [
                {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": PICTURE}}]},
                {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "look", "args": {"a": 1}}}]},
                {"role": "user", "parts": [
                    {"functionResponse": {"id": "c1", "name": "look", "response": {"output": RESULT}}}]}]}),
        ),
    }
}

/// Where an agent asks how long a prompt is, and in which field the answer is.
pub(super) fn counting(dialect: Dialect) -> Option<(&'static str, &'static str)> {
    match dialect {
        Dialect::Anthropic => Some(("/v1/messages/count_tokens", "input_tokens")),
        Dialect::Gemini => Some(("/v1beta/models/x:countTokens", "totalTokens")),
        Dialect::Ollama | Dialect::OpenAi | Dialect::Responses => None,
    }
}

/// Reads an answer.
pub(super) fn heard(dialect: Dialect, body: &str) -> Heard {
    let mut heard = Heard::default();
    if dialect == Dialect::Ollama {
        for line in body.lines() {
            heard.ollama(&serde_json::from_str(line).unwrap());
        }
    } else if let Ok(whole) = serde_json::from_str::<Value>(body) {
        heard.value(dialect, &whole);
    } else {
        for line in body.lines() {
            match line.strip_prefix("data: ") {
                Some("[DONE]") | None => {}
                Some(data) => heard.value(dialect, &serde_json::from_str(data).unwrap()),
            }
        }
    }
    heard
}

impl Heard {
    fn value(&mut self, dialect: Dialect, value: &Value) {
        if let Some(error) = value["error"]["message"].as_str() {
            self.error = Some(error.to_owned());
        }
        match dialect {
            Dialect::Ollama => self.ollama(value),
            Dialect::OpenAi => self.openai(value),
            Dialect::Responses => self.responses(value),
            Dialect::Anthropic => self.anthropic(value),
            Dialect::Gemini => self.gemini(value),
        }
    }

    fn say(&mut self, text: &Value) {
        let text = text.as_str().filter(|text| !text.is_empty());
        self.words.extend(text.map(str::to_owned));
    }

    fn think(&mut self, text: &Value) {
        self.thinking.push_str(text.as_str().unwrap_or_default());
    }

    fn call(&mut self, id: &Value, name: &Value, arguments: Value) {
        self.calls.push(Call {
            id: id.as_str().unwrap().to_owned(),
            name: name.as_str().unwrap().to_owned(),
            arguments,
        });
    }

    fn count(&mut self, usage: &Value, read: &str, written: &str) {
        if let (Some(read), Some(written)) = (usage[read].as_u64(), usage[written].as_u64()) {
            self.usage = Some((read, written));
        }
    }

    fn ollama(&mut self, line: &Value) {
        if let Some(error) = line["error"].as_str() {
            self.error = Some(error.to_owned());
        }
        let message = &line["message"];
        self.think(&message["thinking"]);
        self.say(&message["content"]);
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            self.call(
                &call["id"],
                &function["name"],
                function["arguments"].clone(),
            );
        }
        self.count(line, "prompt_eval_count", "eval_count");
    }

    fn openai(&mut self, chunk: &Value) {
        let choice = &chunk["choices"][0];
        for said in [&choice["message"], &choice["delta"]] {
            self.think(&said["reasoning_content"]);
            self.say(&said["content"]);
            for call in said["tool_calls"].as_array().into_iter().flatten() {
                let function = &call["function"];
                if call["id"].is_string() {
                    self.call(&call["id"], &function["name"], "".into());
                }
                let Some(Call { arguments, .. }) = self.calls.last_mut() else {
                    panic!("a piece of no call: {call}");
                };
                let written = arguments.as_str().unwrap_or_default().to_owned();
                let written = written + function["arguments"].as_str().unwrap();
                *arguments = serde_json::from_str(&written).unwrap_or_else(|_| written.into());
            }
        }
        self.count(&chunk["usage"], "prompt_tokens", "completion_tokens");
    }

    fn responses(&mut self, event: &Value) {
        let response = match event["type"].as_str() {
            Some("response.output_text.delta") => return self.say(&event["delta"]),
            Some("response.reasoning_summary_text.delta") => return self.think(&event["delta"]),
            Some("response.output_item.done") => {
                if event["item"]["type"] == "function_call" {
                    self.item(&event["item"]);
                }
                return;
            }
            Some("response.failed") => {
                let error = event["response"]["error"]["message"].as_str();
                self.error = error.map(str::to_owned);
                return;
            }
            Some("response.completed") => &event["response"],
            Some(_) => return,
            None => {
                let items = event["output"].as_array().into_iter().flatten();
                items.for_each(|item| self.item(item));
                event
            }
        };
        self.count(&response["usage"], "input_tokens", "output_tokens");
    }

    fn item(&mut self, item: &Value) {
        match item["type"].as_str().unwrap() {
            "reasoning" => self.think(&item["summary"][0]["text"]),
            "message" => self.say(&item["content"][0]["text"]),
            _ => {
                let arguments = item["arguments"].as_str().unwrap();
                let arguments = serde_json::from_str(arguments).unwrap();
                self.call(&item["call_id"], &item["name"], arguments);
            }
        }
    }

    fn anthropic(&mut self, event: &Value) {
        let read = event["message"]["usage"]["input_tokens"].as_u64();
        match event["type"].as_str() {
            Some("message_start") => self.usage = read.map(|read| (read, 0)),
            Some("content_block_start") if event["content_block"]["type"] == "tool_use" => {
                let block = &event["content_block"];
                assert_eq!(block["input"], json!({}));
                self.call(&block["id"], &block["name"], Value::Null);
            }
            Some("content_block_delta") => {
                let delta = &event["delta"];
                self.think(&delta["thinking"]);
                self.say(&delta["text"]);
                if let Some(input) = delta["partial_json"].as_str() {
                    let call = self.calls.last_mut().unwrap();
                    call.arguments = serde_json::from_str(input).unwrap();
                }
            }
            Some("message_delta") => {
                let (usage, known) = (&event["usage"], self.usage.unwrap_or_default());
                let read = usage["input_tokens"].as_u64().unwrap_or(known.0);
                self.usage = Some((read, usage["output_tokens"].as_u64().unwrap()));
            }
            Some("message") => {
                for block in event["content"].as_array().unwrap() {
                    self.think(&block["thinking"]);
                    self.say(&block["text"]);
                    if block["type"] == "tool_use" {
                        self.call(&block["id"], &block["name"], block["input"].clone());
                    }
                }
                self.count(&event["usage"], "input_tokens", "output_tokens");
            }
            _ => {}
        }
    }

    fn gemini(&mut self, response: &Value) {
        let parts = &response["candidates"][0]["content"]["parts"];
        let mut text = String::new();
        for part in parts.as_array().into_iter().flatten() {
            let call = &part["functionCall"];
            if call.is_object() {
                self.call(&call["id"], &call["name"], call["args"].clone());
            } else if part["thought"] == true {
                self.think(&part["text"]);
            } else {
                text.push_str(part["text"].as_str().unwrap());
            }
        }
        self.say(&text.into());
        let usage = &response["usageMetadata"];
        self.count(usage, "promptTokenCount", "candidatesTokenCount");
    }
}
