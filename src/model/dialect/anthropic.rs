//! Anthropic's messages as a session may send them, rebuilt from known fields.
//!
//! <https://docs.anthropic.com/en/api/messages>. Tools that the provider would run (web search and fetch, code
//! execution, computers) are left out; remote MCP servers, files and URLs are refused; other unknown fields are dropped.

pub(in crate::model) mod answer;
mod chat;

use serde_json::{Map, Value, json};

use super::fields;
use crate::model::ModelOptions;

/// What would make the provider act or fetch something.
const REFUSED: &[&str] = &[
    "mcp_servers",
    "container",
    "store",
    "file_id",
    "plugins",
    "web_search",
];
const SCALARS: &[&str] = &["temperature", "top_p", "top_k", "stop_sequences"];
/// What the API asks for when the request does not say it.
const MAX_TOKENS: i64 = 4096;
/// Beta features that change only how an answer is written down.
const BETAS: &[&str] = &[
    "interleaved-thinking-",
    "fine-grained-tool-streaming-",
    "prompt-caching-",
];

/// A session's request.
#[derive(Debug)]
pub(in crate::model) struct Messages {
    body: Map<String, Value>,
    max_tokens: Option<i64>,
    /// Whether the answer is to come in pieces.
    pub(in crate::model) stream: bool,
    /// Whether only the prompt's tokens are to be counted.
    pub(in crate::model) count: bool,
}

impl Messages {
    /// Reads a request's body; the error is a sentence for the session.
    pub(in crate::model) fn parse(body: &[u8], count: bool) -> Result<Self, String> {
        let given: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let given = fields::object(&given, "the request")?;
        fields::refuse(given, REFUSED)?;
        let mut body = fields::scalars(given, SCALARS);
        let messages = given.get("messages").unwrap_or(&Value::Null);
        let messages = fields::array(messages, "`messages`")?;
        if messages.is_empty() {
            return Err("there are no messages".to_owned());
        }
        let messages = messages
            .iter()
            .map(message)
            .collect::<Result<Vec<_>, _>>()?;
        body.insert("messages".to_owned(), Value::Array(messages));
        if let Some(system) = given.get("system").filter(|system| fields::is_set(system)) {
            body.insert("system".to_owned(), content(system, &["text"])?);
        }
        if let Some(tools) = given.get("tools").filter(|tools| fields::is_set(tools)) {
            let tools = fields::tools(fields::array(tools, "`tools`")?, tool)?;
            body.insert("tools".to_owned(), Value::Array(tools));
        }
        for (name, known) in [
            (
                "tool_choice",
                ["type", "name", "disable_parallel_tool_use"].as_slice(),
            ),
            ("thinking", &["type", "budget_tokens", "display"]),
        ] {
            if let Some(Value::Object(object)) = given.get(name) {
                let kept = fields::scalars(object, known);
                if !kept.is_empty() {
                    body.insert(name.to_owned(), Value::Object(kept));
                }
            }
        }
        if let Some(config) = given.get("output_config").and_then(output_config) {
            body.insert("output_config".to_owned(), config);
        }
        if body
            .get("tool_choice")
            .is_some_and(|choice| !is_offered(choice, body.get("tools")))
        {
            body.remove("tool_choice");
        }
        let max_tokens = given.get("max_tokens").and_then(Value::as_i64);
        let stream = given.get("stream").and_then(Value::as_bool);
        Ok(Self {
            body,
            max_tokens: max_tokens.filter(|tokens| *tokens > 0),
            stream: stream.unwrap_or(false) && !count,
            count,
        })
    }

    /// The request as it goes to the provider.
    pub(in crate::model) fn rebuild(&self, model: &str, options: &ModelOptions) -> Value {
        let mut body = self.body.clone();
        body.insert("model".to_owned(), model.into());
        if let Some(Value::Array(messages)) = body.get_mut("messages") {
            messages.retain_mut(without_foreign_thoughts);
        }
        if self.count {
            for name in SCALARS {
                body.remove(*name);
            }
            return Value::Object(body);
        }
        let asked = self
            .max_tokens
            .or(options.num_predict)
            .unwrap_or(MAX_TOKENS);
        let limit = options.num_predict.filter(|limit| *limit > 0);
        let tokens = limit.map_or(asked, |limit| asked.min(limit));
        body.insert("max_tokens".to_owned(), tokens.into());
        // A model that thinks takes no other temperature, and its bound lies above its thoughts.
        let thinking = body
            .get("thinking")
            .and_then(|thinking| thinking.get("budget_tokens"));
        if thinking
            .and_then(Value::as_i64)
            .is_some_and(|budget| budget >= tokens)
        {
            body.remove("thinking");
        }
        if !body.contains_key("thinking") {
            let host = [
                (
                    "temperature",
                    options.temperature.map(|t| Value::from(t.min(1.0))),
                ),
                ("top_p", options.top_p.map(Value::from)),
                ("top_k", options.top_k.map(Value::from)),
            ];
            for (name, value) in host {
                if let Some(value) = value {
                    body.insert(name.to_owned(), value);
                }
            }
        }
        body.insert("stream".to_owned(), self.stream.into());
        Value::Object(body)
    }
}

/// Takes thoughts out that another model had, as [`answer`] signed them: Anthropic's models take their own only.
/// `false` when nothing is left.
fn without_foreign_thoughts(message: &mut Value) -> bool {
    let Some(blocks) = message["content"].as_array_mut() else {
        return true;
    };
    let before = blocks.len();
    blocks.retain(|block| block["type"] != "thinking" || block["signature"] != answer::SIGNATURE);
    !blocks.is_empty() || before == 0
}

/// How an answer is to be written.
fn output_config(given: &Value) -> Option<Value> {
    let given = given.as_object()?;
    let mut kept = fields::scalars(given, &["effort"]);
    if let Some(Value::Object(format)) = given.get("format")
        && format.get("type").is_some_and(|kind| kind == "json_schema")
        && let Some(schema @ Value::Object(_)) = format.get("schema")
    {
        let format = json!({"type": "json_schema", "schema": schema});
        kept.insert("format".to_owned(), format);
    }
    (!kept.is_empty()).then_some(Value::Object(kept))
}

/// Whether the tools that passed have what is to be chosen of them.
fn is_offered(choice: &Value, tools: Option<&Value>) -> bool {
    let tools = tools.and_then(Value::as_array);
    let named = |tool: &Value| tool["name"] == choice["name"];
    match choice["type"].as_str() {
        Some("tool") => tools.is_some_and(|tools| tools.iter().any(named)),
        _ => tools.is_some(),
    }
}

/// The beta features of a header's value that pass.
pub(in crate::model) fn betas(header: &str) -> Option<String> {
    let good = |beta: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        BETAS.iter().any(|known| beta.starts_with(known)) && beta.chars().all(plain)
    };
    let betas: Vec<&str> = header.split(',').map(str::trim).filter(good).collect();
    (!betas.is_empty()).then(|| betas.join(","))
}

fn message(message: &Value) -> Result<Value, String> {
    const BLOCKS: &[&str] = &[
        "text",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
    ];
    let message = fields::object(message, "a message")?;
    let role = fields::text(message, "role")?;
    if !["user", "assistant", "system"].contains(&role) {
        return Err("a message has a role that is not known".to_owned());
    }
    let given = message.get("content").unwrap_or(&Value::Null);
    Ok(json!({"role": role, "content": content(given, BLOCKS)?}))
}

/// A text, or blocks of the named types.
fn content(content: &Value, types: &[&str]) -> Result<Value, String> {
    if content.is_string() {
        return Ok(content.clone());
    }
    let blocks = fields::array(content, "`content`")?;
    let blocks = blocks.iter().map(|given| block(given, types));
    Ok(Value::Array(blocks.collect::<Result<_, _>>()?))
}

fn block(block: &Value, types: &[&str]) -> Result<Value, String> {
    let block = fields::object(block, "a block")?;
    let kind = fields::text(block, "type")?;
    if !types.contains(&kind) {
        let kind: String = kind.chars().take(60).collect();
        return Err(format!("a block of the type {kind:?} does not pass here"));
    }
    let mut kept = match kind {
        "text" => fields::scalars(block, &["text"]),
        "thinking" => fields::scalars(block, &["thinking", "signature"]),
        "redacted_thinking" => fields::scalars(block, &["data"]),
        "image" | "document" => {
            let mut kept = fields::scalars(block, &["title", "context"]);
            kept.insert("source".to_owned(), source(block.get("source"))?);
            kept
        }
        "tool_use" => {
            let mut kept = fields::scalars(block, &["id", "name"]);
            let input = block.get("input").filter(|input| input.is_object());
            kept.insert(
                "input".to_owned(),
                input.cloned().unwrap_or_else(|| json!({})),
            );
            kept
        }
        _ => {
            let mut kept = fields::scalars(block, &["tool_use_id", "is_error"]);
            if let Some(given) = block.get("content").filter(|given| fields::is_set(given)) {
                let inner = content(given, &["text", "image", "document"])?;
                kept.insert("content".to_owned(), inner);
            }
            kept
        }
    };
    kept.insert("type".to_owned(), kind.into());
    cache(block, &mut kept);
    Ok(Value::Object(kept))
}

/// What a picture or document is: in the request itself, never at a URL or in a file of the provider's.
fn source(source: Option<&Value>) -> Result<Value, String> {
    let source = fields::object(source.unwrap_or(&Value::Null), "`source`")?;
    match fields::text(source, "type")? {
        kind @ ("base64" | "text") => {
            let mut kept = fields::scalars(source, &["media_type", "data"]);
            kept.insert("type".to_owned(), kind.into());
            Ok(Value::Object(kept))
        }
        _ => Err(
            "pictures and documents have to be in the request, as base64 or text; nobody fetches others"
                .to_owned(),
        ),
    }
}

/// A tool that the session runs. Others have types of their own.
fn tool(tool: &Map<String, Value>) -> Result<Option<Value>, String> {
    match tool.get("type") {
        None | Some(Value::Null) => {}
        Some(kind) if kind == "custom" => {}
        Some(_) => return Ok(None),
    }
    let mut kept = fields::scalars(tool, &["name", "description", "type"]);
    let schema = tool.get("input_schema").unwrap_or(&Value::Null);
    fields::object(schema, "a tool's `input_schema`")?;
    kept.insert("input_schema".to_owned(), schema.clone());
    cache(tool, &mut kept);
    Ok(Some(Value::Object(kept)))
}

fn cache(from: &Map<String, Value>, kept: &mut Map<String, Value>) {
    if let Some(Value::Object(cache)) = from.get("cache_control") {
        let cache = fields::scalars(cache, &["type", "ttl"]);
        if !cache.is_empty() {
            kept.insert("cache_control".to_owned(), Value::Object(cache));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &Value) -> Result<Messages, String> {
        Messages::parse(body.to_string().as_bytes(), false)
    }

    #[test]
    fn passes_known_fields_only_and_the_host_decides_the_rest() {
        let given = json!({
            "model": "claude-9", "max_tokens": 9000, "stream": true, "metadata": {"user_id": "me"},
            "temperature": 1, "service_tier": "auto", "context_management": {"edits": []}, "betas": ["x"],
            "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral", "x": 1}}],
            "tool_choice": {"type": "auto", "x": {}},
            "messages": [
                {"role": "user", "x": 1, "content": [{"type": "text", "text": "hi", "citations": []},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk=", "x": 1}}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "x": 1}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "1"}]}]}],
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "x": 1}],
        });
        let options = ModelOptions {
            num_predict: Some(100),
            ..ModelOptions::default()
        };
        let chat = parse(&given).unwrap();
        let sent = json!({
            "model": "m", "max_tokens": 100, "stream": true, "temperature": 1,
            "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
            "tool_choice": {"type": "auto"},
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "1"}]}]}],
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        });
        assert_eq!(chat.rebuild("m", &options), sent);
        let count = Messages::parse(given.to_string().as_bytes(), true).unwrap();
        let count = count.rebuild("m", &options);
        assert!(count.get("max_tokens").is_none() && count.get("stream").is_none());
        assert_eq!(count["messages"], sent["messages"]);
    }

    #[test]
    fn refuses_what_would_make_the_provider_act_or_fetch() {
        let text = json!([{"role": "user", "content": "hi"}]);
        for (name, value) in [
            ("mcp_servers", json!([{"type": "url", "url": "https://x"}])),
            ("container", json!("c")),
            (
                "tools",
                json!([{"type": "web_search_20250305", "name": "web_search"}]),
            ),
            (
                "tools",
                json!([{"type": "web_fetch_20250910", "name": "web_fetch"}]),
            ),
            (
                "tools",
                json!([{"type": "code_execution_20250522", "name": "code_execution"}]),
            ),
            (
                "tools",
                json!([{"type": "computer_20250124", "name": "computer"}]),
            ),
            ("tools", json!([{"type": "mcp_toolset"}])),
            ("tools", json!([{"name": "f"}])),
            ("system", json!([{"type": "image"}])),
        ] {
            let mut body = json!({"messages": text});
            body[name] = value.clone();
            assert!(parse(&body).is_err(), "{name} {value}");
        }
        for block in [
            json!({"type": "image", "source": {"type": "url", "url": "https://x"}}),
            json!({"type": "document", "source": {"type": "file", "file_id": "f"}}),
            json!({"type": "document", "source": {"type": "content", "content": []}}),
            json!({"type": "server_tool_use", "id": "1", "name": "web_search", "input": {}}),
            json!({"type": "mcp_tool_use"}),
            json!({"type": "container_upload", "file_id": "f"}),
            json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image",
                "source": {"type": "url", "url": "http://169.254.169.254/"}}]}),
            json!("text"),
        ] {
            let body = json!({"messages": [{"role": "user", "content": [block]}]});
            assert!(parse(&body).is_err(), "{body}");
        }
        assert!(parse(&json!({"messages": []})).is_err());
    }

    #[test]
    fn only_harmless_beta_features_pass() {
        assert_eq!(
            betas(
                "mcp-client-2025-04-04, interleaved-thinking-2025-05-14,code-execution-2025-08-25"
            ),
            Some("interleaved-thinking-2025-05-14".to_owned())
        );
        assert_eq!(betas("files-api-2025-04-14"), None);
        assert_eq!(betas("prompt-caching-x\r\nx: 1"), None);
    }
}
