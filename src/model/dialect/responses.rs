//! OpenAI's responses as a session may ask for them, rebuilt from known fields.
//!
//! <https://platform.openai.com/docs/api-reference/responses/create>. Nothing is stored: the whole conversation comes
//! with each request, and what would need an earlier answer is refused. Tools that the provider would run are left
//! out; other unknown fields are dropped.

pub(in crate::model) mod answer;
mod chat;
mod items;
pub(in crate::model) mod tools;

use serde_json::{Map, Value, json};

use super::fields;
use crate::model::ModelOptions;

/// What would make the provider act or keep something.
const REFUSED: &[&str] = &[
    "background",
    "conversation",
    "prompt",
    "mcp_servers",
    "plugins",
    "file_ids",
    "vector_store_ids",
];
/// Plain fields that change how a model answers and nothing else.
const SCALARS: &[&str] = &[
    "instructions",
    "temperature",
    "top_p",
    "truncation",
    "parallel_tool_calls",
    "prompt_cache_key",
];
/// What a request may ask to be told: the thoughts of a provider that stores none.
const ENCRYPTED: &str = "reasoning.encrypted_content";

/// A session's request.
#[derive(Debug)]
pub(in crate::model) struct Responses {
    /// Plain fields, and small objects of such.
    body: Map<String, Value>,
    /// Rebuilt items of the conversation.
    items: Vec<Value>,
    /// Rebuilt tools, all of which the session runs.
    tools: Vec<Value>,
    max_tokens: Option<i64>,
    /// Whether the answer is to come in pieces.
    pub(in crate::model) stream: bool,
}

impl Responses {
    /// Reads a request's body; the error is a sentence for the session.
    pub(in crate::model) fn parse(body: &[u8]) -> Result<Self, String> {
        let given: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let given = fields::object(&given, "the request")?;
        fields::refuse(given, REFUSED)?;
        if given
            .get("previous_response_id")
            .is_some_and(fields::is_set)
        {
            return Err(
                "treefort keeps no answers, so `previous_response_id` finds none; send the whole conversation in `input`"
                    .to_owned(),
            );
        }
        let items = match given.get("input") {
            Some(text @ Value::String(_)) if fields::is_set(text) => {
                vec![json!({"type": "message", "role": "user", "content": text})]
            }
            Some(Value::Array(items)) => items::parse(items)?,
            _ => Vec::new(),
        };
        if items.is_empty() {
            return Err("there is no input".to_owned());
        }
        let tools = match given.get("tools").filter(|tools| fields::is_set(tools)) {
            Some(tools) => tools::parse(fields::array(tools, "`tools`")?)?,
            None => Vec::new(),
        };
        let mut body = fields::scalars(given, SCALARS);
        if let Some(Value::Object(reasoning)) = given.get("reasoning") {
            let reasoning = fields::scalars(reasoning, &["effort", "summary"]);
            if !reasoning.is_empty() {
                body.insert("reasoning".to_owned(), Value::Object(reasoning));
            }
        }
        if let Some(text) = given.get("text").and_then(text) {
            body.insert("text".to_owned(), text);
        }
        let included = given.get("include").and_then(Value::as_array);
        if included.is_some_and(|names| names.iter().any(|name| name == ENCRYPTED)) {
            body.insert("include".to_owned(), json!([ENCRYPTED]));
        }
        if let Some(choice) = given.get("tool_choice").and_then(|c| choice(c, &tools)) {
            body.insert("tool_choice".to_owned(), choice);
        }
        let max_tokens = given.get("max_output_tokens").and_then(Value::as_i64);
        let stream = given.get("stream").and_then(Value::as_bool);
        Ok(Self {
            body,
            items,
            tools,
            max_tokens: max_tokens.filter(|tokens| *tokens > 0),
            stream: stream.unwrap_or(false),
        })
    }

    /// The request as it goes to OpenAI itself.
    pub(in crate::model) fn rebuild(&self, model: &str, options: &ModelOptions) -> Value {
        let mut body = self.body.clone();
        let limit = options.num_predict.filter(|limit| *limit > 0);
        let tokens = match (self.max_tokens, limit) {
            (Some(asked), Some(limit)) => Some(asked.min(limit)),
            (asked, limit) => asked.or(limit),
        };
        let host = [
            ("max_output_tokens", tokens.map(Value::from)),
            ("temperature", options.temperature.map(Value::from)),
            ("top_p", options.top_p.map(Value::from)),
        ];
        for (name, value) in host {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        }
        // Thoughts that OpenAI did not seal are another model's, and it would look for them in its store.
        let own =
            |item: &&Value| item["type"] != "reasoning" || item["encrypted_content"].is_string();
        let items: Vec<&Value> = self.items.iter().filter(own).collect();
        body.insert("input".to_owned(), json!(items));
        if self.tools.is_empty() {
            body.remove("parallel_tool_calls");
        } else {
            body.insert("tools".to_owned(), json!(self.tools));
        }
        body.insert("model".to_owned(), model.into());
        body.insert("store".to_owned(), false.into());
        body.insert("stream".to_owned(), self.stream.into());
        Value::Object(body)
    }
}

/// What form the answer has.
fn text(given: &Value) -> Option<Value> {
    let mut kept = fields::scalars(given.as_object()?, &["verbosity"]);
    if let Some(Value::Object(format)) = given.get("format") {
        let mut form = fields::scalars(format, &["type", "name", "description", "strict"]);
        let known = ["text", "json_object", "json_schema"];
        if known
            .iter()
            .any(|kind| form.get("type").is_some_and(|t| t == kind))
        {
            if let Some(schema @ Value::Object(_)) = format.get("schema") {
                form.insert("schema".to_owned(), schema.clone());
            }
            kept.insert("format".to_owned(), Value::Object(form));
        }
    }
    (!kept.is_empty()).then_some(Value::Object(kept))
}

/// A word, or one of the tools that passed.
fn choice(given: &Value, tools: &[Value]) -> Option<Value> {
    match given {
        Value::String(word) if ["none", "auto", "required"].contains(&word.as_str()) => {
            (!tools.is_empty()).then(|| given.clone())
        }
        Value::Object(choice) => {
            let kept = fields::scalars(choice, &["type", "name"]);
            let known = |tool: &Value| {
                tool.get("type") == kept.get("type") && tool.get("name") == kept.get("name")
            };
            tools.iter().any(known).then_some(Value::Object(kept))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "responses/tests.rs"]
mod tests;
