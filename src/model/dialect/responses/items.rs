//! The items of a conversation in OpenAI's responses: what passes of each.

use serde_json::{Map, Value, json};

use crate::model::dialect::fields;

/// What a provider did by itself in earlier turns, or what only it could read.
const LEFT_OUT: &[&str] = &[
    "web_search_call",
    "file_search_call",
    "image_generation_call",
    "code_interpreter_call",
    "computer_call",
    "computer_call_output",
    "mcp_call",
    "mcp_list_tools",
    "mcp_approval_request",
    "mcp_approval_response",
    "tool_search_call",
    "tool_search_output",
    "ghost_snapshot",
];

/// The items that pass, rebuilt.
pub(super) fn parse(items: &[Value]) -> Result<Vec<Value>, String> {
    let mut kept = Vec::with_capacity(items.len());
    for given in items {
        kept.extend(item(fields::object(given, "an item")?)?);
    }
    Ok(kept)
}

fn item(given: &Map<String, Value>) -> Result<Option<Value>, String> {
    let kind = match given.get("type") {
        None | Some(Value::Null) => "message",
        Some(_) => fields::text(given, "type")?,
    };
    let mut kept = match kind {
        "message" => {
            let role = fields::text(given, "role")?;
            if !["user", "assistant", "system", "developer"].contains(&role) {
                return Err("a message has a role that is not known".to_owned());
            }
            let mut kept = fields::scalars(given, &["role", "phase"]);
            kept.insert("content".to_owned(), content(given.get("content"))?);
            kept
        }
        "reasoning" => {
            let mut kept = fields::scalars(given, &["id", "encrypted_content"]);
            kept.insert("summary".to_owned(), thoughts(given.get("summary")));
            if given.get("content").is_some_and(fields::is_set) {
                kept.insert("content".to_owned(), thoughts(given.get("content")));
            }
            kept
        }
        "function_call" => called(given, "arguments")?,
        "custom_tool_call" => called(given, "input")?,
        "function_call_output" | "custom_tool_call_output" => {
            let mut kept = fields::scalars(given, &["call_id"]);
            kept.insert("output".to_owned(), content(given.get("output"))?);
            kept
        }
        "local_shell_call" => {
            let mut kept = fields::scalars(given, &["id", "call_id", "status"]);
            let action = given.get("action").unwrap_or(&Value::Null);
            kept.insert(
                "action".to_owned(),
                action_of(fields::object(action, "`action`")?),
            );
            kept
        }
        "local_shell_call_output" => {
            let mut kept = fields::scalars(given, &["id", "call_id", "output"]);
            kept.entry("output").or_insert_with(|| "".into());
            kept
        }
        kind if LEFT_OUT.contains(&kind) => return Ok(None),
        kind => {
            let kind: String = kind.chars().filter(|c| !c.is_control()).take(60).collect();
            return Err(format!("an item of the type {kind:?} does not pass here"));
        }
    };
    kept.insert("type".to_owned(), kind.into());
    Ok(Some(Value::Object(kept)))
}

fn called(given: &Map<String, Value>, with: &str) -> Result<Map<String, Value>, String> {
    fields::text(given, "call_id")?;
    fields::text(given, "name")?;
    let mut kept = fields::scalars(given, &["call_id", "name", "namespace", with]);
    kept.entry(with).or_insert_with(|| "".into());
    Ok(kept)
}

fn action_of(given: &Map<String, Value>) -> Value {
    let known = ["type", "command", "timeout_ms", "user", "working_directory"];
    let mut kept = fields::scalars(given, &known);
    if let Some(Value::Object(env)) = given.get("env") {
        let env: Map<String, Value> = env
            .iter()
            .filter(|(_, value)| value.is_string())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        kept.insert("env".to_owned(), Value::Object(env));
    }
    Value::Object(kept)
}

/// The texts of thoughts, or of what sums them up.
fn thoughts(given: Option<&Value>) -> Value {
    let parts = given.and_then(Value::as_array).into_iter().flatten();
    let text = |part: &Value| Some(fields::scalars(part.as_object()?, &["type", "text"]));
    parts.filter_map(text).map(Value::Object).collect()
}

/// A text, or parts of a message.
fn content(given: Option<&Value>) -> Result<Value, String> {
    match given {
        None | Some(Value::Null) => Ok("".into()),
        Some(text @ Value::String(_)) => Ok(text.clone()),
        Some(parts) => {
            let parts = fields::array(parts, "`content`")?.iter().map(part);
            Ok(Value::Array(parts.collect::<Result<_, _>>()?))
        }
    }
}

fn part(part: &Value) -> Result<Value, String> {
    let part = fields::object(part, "a part of a message")?;
    match fields::text(part, "type")? {
        kind @ ("input_text" | "output_text" | "text") => {
            Ok(json!({"type": kind, "text": fields::text(part, "text")?}))
        }
        "refusal" => Ok(json!({"type": "refusal", "refusal": fields::text(part, "refusal")?})),
        "input_image" => {
            let url = part.get("image_url").and_then(Value::as_str);
            let Some(url) = url.filter(|url| url.starts_with("data:image/")) else {
                return Err(
                    "pictures have to be in the request, as data: URLs; nobody fetches others"
                        .to_owned(),
                );
            };
            let mut kept = fields::scalars(part, &["type", "detail"]);
            kept.insert("image_url".to_owned(), url.into());
            Ok(Value::Object(kept))
        }
        "input_file" if part.contains_key("file_data") => {
            let kept = fields::scalars(part, &["type", "filename", "file_data"]);
            Ok(Value::Object(kept))
        }
        kind => {
            let kind: String = kind.chars().filter(|c| !c.is_control()).take(60).collect();
            Err(format!("a part of the type {kind:?} does not pass here"))
        }
    }
}
