//! Small tools for allow lists over JSON: what is not named does not pass.

use serde_json::{Map, Value};

/// The object in a value.
pub(super) fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| format!("{what} is not an object"))
}

/// The array in a value.
pub(super) fn array<'a>(value: &'a Value, what: &str) -> Result<&'a Vec<Value>, String> {
    value
        .as_array()
        .ok_or_else(|| format!("{what} is not an array"))
}

/// The string of a field.
pub(super) fn text<'a>(map: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    map.get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("`{name}` is missing, or no string"))
}

/// Whether a field says anything: not null, not false, not empty.
pub(super) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// The named fields that hold a number, a string, a truth value, or strings.
pub(super) fn scalars(map: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let plain = |value: &Value| match value {
        Value::Number(_) | Value::String(_) | Value::Bool(_) => true,
        Value::Array(items) => !items.is_empty() && items.iter().all(Value::is_string),
        Value::Null | Value::Object(_) => false,
    };
    names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), map.get(*name)?.clone())))
        .filter(|(_, value)| plain(value))
        .collect()
}

/// Refuses a request that asks the provider to do things by itself, or to keep them.
pub(super) fn refuse(map: &Map<String, Value>, names: &[&str]) -> Result<(), String> {
    match names
        .iter()
        .find(|name| map.get(**name).is_some_and(is_set))
    {
        Some(name) => Err(format!(
            "treefort does not let a session use `{name}`: providers only complete conversations"
        )),
        None => Ok(()),
    }
}

/// Tools of one request. Real agents have some dozens; more would only keep the host busy.
pub(super) const MOST_TOOLS: usize = 1024;

/// The tools that a session runs itself, as `own` makes them; those that the provider would run are left out: agents
/// list them unasked. A request that has no others wants just that, and the model would make its findings up.
pub(super) fn tools<'a>(
    given: impl IntoIterator<Item = &'a Value>,
    own: impl Fn(&Map<String, Value>) -> Result<Option<Value>, String>,
) -> Result<Vec<Value>, String> {
    let mut tools = Vec::new();
    let mut foreign = None;
    for (number, tool) in given.into_iter().enumerate() {
        if number == MOST_TOOLS {
            return Err(format!("there are more than {MOST_TOOLS} tools"));
        }
        let tool = object(tool, "a tool")?;
        match own(tool)? {
            Some(own) => tools.push(own),
            None => foreign = Some(tool),
        }
    }
    match foreign {
        Some(tool) if tools.is_empty() => {
            let kind = tool.get("type").and_then(Value::as_str);
            let kind = kind.or_else(|| tool.keys().next().map(String::as_str));
            Err(foreign_tool(kind.unwrap_or("?")))
        }
        _ => Ok(tools),
    }
}

/// Refuses a tool that the provider would run by itself.
pub(super) fn foreign_tool(kind: &str) -> String {
    let kind: String = kind.chars().filter(|c| !c.is_control()).take(60).collect();
    format!("treefort does not let a session use the provider's own tool {kind:?}; only functions")
}
