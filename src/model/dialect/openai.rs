//! OpenAI's chat completions as a session may ask for them, rebuilt from known fields.
//!
//! <https://platform.openai.com/docs/api-reference/chat/create>. What the provider would do by itself (web
//! search, files, stored conversations) is refused; other unknown fields are dropped.

pub(in crate::model) mod answer;

use serde_json::{Map, Value, json};

use super::fields;
use crate::model::ModelOptions;

/// What would make the provider act or keep something.
const REFUSED: &[&str] = &[
    "store",
    "background",
    "previous_response_id",
    "conversation",
    "prompt",
    "web_search",
    "web_search_options",
    "search_parameters",
    "plugins",
    "mcp_servers",
    "file_id",
    "file_ids",
    "data_sources",
    "retrieval",
    "extra_body",
    "functions",
    "function_call",
];
/// Plain fields that change how a model answers and nothing else.
const SCALARS: &[&str] = &[
    "temperature",
    "top_p",
    "seed",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
];

/// A session's request.
#[derive(Debug, Clone)]
pub(in crate::model) struct OpenAiChat {
    /// Rebuilt messages, in OpenAI's form.
    pub(super) messages: Vec<Value>,
    /// Rebuilt tools.
    pub(super) tools: Vec<Value>,
    pub(super) tool_choice: Option<Value>,
    pub(super) response_format: Option<Value>,
    pub(super) scalars: Map<String, Value>,
    /// The longest answer, by either of its names.
    pub(super) max_tokens: Option<i64>,
    /// Whether the answer is to come in pieces.
    pub(in crate::model) stream: bool,
    /// Whether the pieces end with the counts.
    pub(in crate::model) include_usage: bool,
}

impl OpenAiChat {
    /// Reads a request's body; the error is a sentence for the session.
    pub(in crate::model) fn parse(body: &[u8]) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let body = fields::object(&body, "the request")?;
        fields::refuse(body, REFUSED)?;
        let messages = match body.get("messages") {
            Some(messages) => fields::array(messages, "`messages`")?,
            None => return Err("there are no messages".to_owned()),
        };
        if messages.is_empty() {
            return Err("there are no messages".to_owned());
        }
        let tools = match body.get("tools") {
            None | Some(Value::Null) => Vec::new(),
            Some(tools) => fields::array(tools, "`tools`")?
                .iter()
                .map(tool)
                .collect::<Result<_, _>>()?,
        };
        let number = |name: &str| body.get(name).and_then(Value::as_i64).filter(|n| *n > 0);
        let include_usage = body
            .get("stream_options")
            .and_then(|options| options.get("include_usage"))
            .and_then(Value::as_bool);
        Ok(Self {
            messages: messages.iter().map(message).collect::<Result<_, _>>()?,
            tools,
            tool_choice: body.get("tool_choice").map(tool_choice).transpose()?,
            response_format: body.get("response_format").and_then(response_format),
            scalars: fields::scalars(body, SCALARS),
            max_tokens: number("max_completion_tokens").or_else(|| number("max_tokens")),
            stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
            include_usage: include_usage.unwrap_or(false),
        })
    }

    /// The longest answer: the session's bound, or less if the request asks for less.
    pub(super) fn bounded(&self, options: &ModelOptions) -> Option<i64> {
        match (self.max_tokens, options.num_predict) {
            (Some(asked), Some(limit)) if limit > 0 => Some(asked.min(limit)),
            (asked, limit) => asked.or(limit),
        }
    }

    /// The request as it goes to a server of the same dialect.
    pub(in crate::model) fn rebuild(
        &self,
        model: &str,
        options: &ModelOptions,
        flavour: Flavour,
    ) -> Value {
        let mut body = self.scalars.clone();
        let host = [
            ("temperature", options.temperature.map(Value::from)),
            ("top_p", options.top_p.map(Value::from)),
            (
                "frequency_penalty",
                options.frequency_penalty.map(Value::from),
            ),
            ("seed", options.seed.map(Value::from)),
            (flavour.limit(), self.bounded(options).map(Value::from)),
        ];
        for (name, value) in host {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        }
        body.insert("model".to_owned(), model.into());
        let mut messages = self.messages.clone();
        for message in messages.iter_mut().filter_map(Value::as_object_mut) {
            if flavour != Flavour::Common {
                message.remove("reasoning_content");
            }
            if flavour != Flavour::OpenAi && message.get("role").is_some_and(|r| r == "developer") {
                message.insert("role".to_owned(), "system".into());
            }
        }
        body.insert("messages".to_owned(), Value::Array(messages));
        if self.tools.is_empty() {
            body.remove("parallel_tool_calls");
        } else {
            body.insert("tools".to_owned(), json!(self.tools));
            if let Some(choice) = &self.tool_choice {
                body.insert("tool_choice".to_owned(), choice.clone());
            }
        }
        if let Some(format) = &self.response_format {
            body.insert("response_format".to_owned(), format.clone());
        }
        body.insert("stream".to_owned(), self.stream.into());
        if self.stream {
            // The counts are asked for in any case: they are what is metered.
            body.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
        Value::Object(body)
    }
}

/// What differs between servers of this dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Flavour {
    /// OpenAI's own service.
    OpenAi,
    /// Another company's, which has this dialect beside its own.
    Compatible,
    /// A server such as llama.cpp's or vLLM.
    Common,
}

impl Flavour {
    /// What the longest answer is called.
    fn limit(self) -> &'static str {
        match self {
            Self::OpenAi => "max_completion_tokens",
            Self::Compatible | Self::Common => "max_tokens",
        }
    }
}

fn message(message: &Value) -> Result<Value, String> {
    let message = fields::object(message, "a message")?;
    let role = fields::text(message, "role")?;
    if !["system", "developer", "user", "assistant", "tool"].contains(&role) {
        return Err("a message has a role that is not known".to_owned());
    }
    let mut kept = Map::new();
    kept.insert("role".to_owned(), role.into());
    let content = match message.get("content") {
        None | Some(Value::Null) if role == "assistant" => Value::Null,
        None | Some(Value::Null) => return Err(format!("a message of {role} has no content")),
        Some(content @ Value::String(_)) => content.clone(),
        Some(content) => {
            let parts = fields::array(content, "`content`")?.iter().map(part);
            Value::Array(parts.collect::<Result<_, _>>()?)
        }
    };
    kept.insert("content".to_owned(), content);
    kept.extend(fields::scalars(
        message,
        &["name", "tool_call_id", "refusal"],
    ));
    if role == "assistant" {
        kept.extend(fields::scalars(message, &["reasoning_content"]));
        if let Some(calls) = message
            .get("tool_calls")
            .filter(|calls| fields::is_set(calls))
        {
            let calls = fields::array(calls, "`tool_calls`")?.iter().map(tool_call);
            let calls = calls.collect::<Result<Vec<_>, String>>()?;
            kept.insert("tool_calls".to_owned(), Value::Array(calls));
        }
    }
    Ok(Value::Object(kept))
}

/// A part of a message: text, or a picture that is in the request itself.
fn part(part: &Value) -> Result<Value, String> {
    let part = fields::object(part, "a part of a message")?;
    match fields::text(part, "type")? {
        "text" => Ok(json!({"type": "text", "text": fields::text(part, "text")?})),
        "refusal" => Ok(json!({"type": "refusal", "refusal": fields::text(part, "refusal")?})),
        "image_url" => {
            let image = part.get("image_url").unwrap_or(&Value::Null);
            let image = fields::object(image, "`image_url`")?;
            let url = fields::text(image, "url")?;
            if !url.starts_with("data:image/") {
                return Err(
                    "pictures have to be in the request, as data: URLs; nobody fetches others"
                        .to_owned(),
                );
            }
            let mut kept = fields::scalars(image, &["detail"]);
            kept.insert("url".to_owned(), url.into());
            Ok(json!({"type": "image_url", "image_url": kept}))
        }
        kind => Err(format!(
            "a part of the type {kind:?} does not pass; text and image_url do"
        )),
    }
}

fn tool_call(call: &Value) -> Result<Value, String> {
    let call = fields::object(call, "a tool call")?;
    let function = call.get("function").unwrap_or(&Value::Null);
    let function = fields::object(function, "a tool call's function")?;
    let arguments = function.get("arguments").and_then(Value::as_str);
    Ok(json!({
        "id": fields::text(call, "id")?,
        "type": "function",
        "function": {"name": fields::text(function, "name")?, "arguments": arguments.unwrap_or("{}")},
    }))
}

fn tool(tool: &Value) -> Result<Value, String> {
    let tool = fields::object(tool, "a tool")?;
    let kind = fields::text(tool, "type")?;
    if kind != "function" {
        return Err(fields::foreign_tool(kind));
    }
    let function = fields::object(tool.get("function").unwrap_or(&Value::Null), "a function")?;
    let mut kept = fields::scalars(function, &["description", "strict"]);
    kept.insert("name".to_owned(), fields::text(function, "name")?.into());
    if let Some(parameters @ Value::Object(_)) = function.get("parameters") {
        kept.insert("parameters".to_owned(), parameters.clone());
    }
    Ok(json!({"type": "function", "function": kept}))
}

fn tool_choice(choice: &Value) -> Result<Value, String> {
    match choice {
        Value::String(word) if ["none", "auto", "required"].contains(&word.as_str()) => {
            Ok(choice.clone())
        }
        Value::Null => Ok("auto".into()),
        _ => {
            let name = choice.pointer("/function/name").and_then(Value::as_str);
            let name = name.ok_or("`tool_choice` is neither a word nor a function")?;
            Ok(json!({"type": "function", "function": {"name": name}}))
        }
    }
}

fn response_format(format: &Value) -> Option<Value> {
    match format.get("type")?.as_str()? {
        "json_object" => Some(json!({"type": "json_object"})),
        "json_schema" => {
            let given = format.get("json_schema")?.as_object()?;
            let mut kept = fields::scalars(given, &["name", "description", "strict"]);
            kept.insert("schema".to_owned(), given.get("schema")?.clone());
            Some(json!({"type": "json_schema", "json_schema": kept}))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "openai/tests.rs"]
mod tests;
