//! The tools of OpenAI's responses: what passes of them, and how a model that has functions only is given them.
//!
//! A tool that takes a text (`custom`) becomes a function with one string, the tools of a `namespace` functions
//! with longer names; a call of theirs goes back as what it was.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::model::dialect::fields;
use crate::model::dialect::steps::ToolCall;

/// The longest name of a function at most servers.
const NAME_CHARS: usize = 64;
/// The argument that holds the text of a tool that takes one.
const INPUT: &str = "input";
/// What of a grammar is shown to a model.
const GRAMMAR_CHARS: usize = 8_000;

/// The tools that the session runs, rebuilt; the error is a sentence for a request that has others only.
pub(super) fn parse(given: &[Value]) -> Result<Vec<Value>, String> {
    let tools = fields::tools(given, own_or_space)?;
    bounded(&tools)?;
    Ok(tools)
}

/// Refuses too many in all: a namespace holds many.
fn bounded(tools: &[Value]) -> Result<(), String> {
    let inside = |tool: &Value| tool["tools"].as_array().map_or(1, Vec::len);
    let all: usize = tools.iter().map(inside).sum();
    if all > fields::MOST_TOOLS {
        return Err(format!("there are more than {} tools", fields::MOST_TOOLS));
    }
    Ok(())
}

/// The same for tools beside which there are others.
pub(super) fn own_only(given: &[Value]) -> Result<Vec<Value>, String> {
    let own = |tool| own_or_space(fields::object(tool, "a tool")?);
    let tools: Vec<Value> = given
        .iter()
        .take(fields::MOST_TOOLS + 1)
        .filter_map(|tool| own(tool).transpose())
        .collect::<Result<_, String>>()?;
    bounded(&tools)?;
    Ok(tools)
}

fn own_or_space(tool: &Map<String, Value>) -> Result<Option<Value>, String> {
    if fields::text(tool, "type")? != "namespace" {
        return own(tool);
    }
    let inner = tool.get("tools").unwrap_or(&Value::Null);
    let inner = fields::tools(fields::array(inner, "`tools` of a namespace")?, own)?;
    let mut kept = fields::scalars(tool, &["type", "name", "description"]);
    fields::text(&kept, "name")?;
    kept.insert("tools".to_owned(), Value::Array(inner));
    Ok(Some(Value::Object(kept)))
}

/// A tool that the session runs.
fn own(tool: &Map<String, Value>) -> Result<Option<Value>, String> {
    let kept = match fields::text(tool, "type")? {
        "function" => {
            fields::text(tool, "name")?;
            let mut kept = fields::scalars(tool, &["type", "name", "description", "strict"]);
            if let Some(parameters @ Value::Object(_)) = tool.get("parameters") {
                kept.insert("parameters".to_owned(), parameters.clone());
            }
            kept
        }
        "custom" => {
            fields::text(tool, "name")?;
            let mut kept = fields::scalars(tool, &["type", "name", "description"]);
            if let Some(Value::Object(format)) = tool.get("format") {
                let format = fields::scalars(format, &["type", "syntax", "definition"]);
                kept.insert("format".to_owned(), Value::Object(format));
            }
            kept
        }
        "local_shell" => fields::scalars(tool, &["type"]),
        _ => return Ok(None),
    };
    Ok(Some(Value::Object(kept)))
}

/// What a tool was before it became a function.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    namespace: Option<String>,
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Function,
    Custom,
    Shell,
}

/// The functions in whose form a model has the tools.
#[derive(Debug, Default)]
pub(in crate::model) struct Tools {
    /// By the function's name.
    known: HashMap<String, Known>,
    /// In OpenAI's form for chat completions.
    pub(super) functions: Vec<Value>,
}

impl Tools {
    pub(super) fn new<'a>(tools: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut all = Self::default();
        for tool in tools {
            if tool["type"] == "namespace" {
                for inner in tool["tools"].as_array().into_iter().flatten() {
                    all.add(inner, tool["name"].as_str());
                }
            } else {
                all.add(tool, None);
            }
        }
        all
    }

    fn add(&mut self, tool: &Value, namespace: Option<&str>) {
        // Several lists of one request may hold as many each.
        if self.functions.len() >= fields::MOST_TOOLS {
            return;
        }
        let kind = match tool["type"].as_str() {
            Some("custom") => Kind::Custom,
            Some("local_shell") => Kind::Shell,
            _ => Kind::Function,
        };
        let name = match kind {
            Kind::Shell => "local_shell",
            _ => tool["name"].as_str().unwrap_or_default(),
        };
        let plain = joined(namespace, name);
        let mut sent = plain.clone();
        let mut next = 2;
        while self.known.contains_key(&sent) {
            let end = format!("_{next}");
            sent = plain
                .chars()
                .take(NAME_CHARS - end.len())
                .collect::<String>()
                + &end;
            next += 1;
        }
        let description = tool["description"].as_str().unwrap_or_default();
        let (description, parameters) = match kind {
            Kind::Custom => (freeform(description, &tool["format"]), input()),
            Kind::Shell => ("Runs a command and returns its output.".to_owned(), shell()),
            Kind::Function => {
                let none = || json!({"type": "object", "properties": {}});
                let given = tool.get("parameters").cloned();
                (description.to_owned(), given.unwrap_or_else(none))
            }
        };
        let function = json!({"name": sent, "description": description, "parameters": parameters});
        self.functions
            .push(json!({"type": "function", "function": function}));
        let known = Known {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            kind,
        };
        self.known.insert(sent, known);
    }

    /// What a tool is called as a function.
    pub(super) fn sent(&self, namespace: Option<&str>, name: &str) -> String {
        let same = |known: &Known| known.name == name && known.namespace.as_deref() == namespace;
        let found = self.known.iter().find(|(_, known)| same(known));
        found.map_or_else(|| joined(namespace, name), |(sent, _)| sent.clone())
    }

    /// A call of a function as the call that the session knows.
    pub(super) fn item(&self, call: &ToolCall, id: &str) -> Value {
        let function = Known {
            namespace: None,
            name: call.name.clone(),
            kind: Kind::Function,
        };
        let known = self.known.get(&call.name).unwrap_or(&function);
        let mut item = match known.kind {
            Kind::Function => json!({"type": "function_call", "id": format!("fc_{id}"),
                "name": known.name, "arguments": call.arguments}),
            Kind::Custom => json!({"type": "custom_tool_call", "id": format!("ctc_{id}"),
                "name": known.name, "input": text_of(call)}),
            Kind::Shell => json!({"type": "local_shell_call", "id": format!("lsh_{id}"),
                "action": action(call)}),
        };
        if let Some(namespace) = &known.namespace {
            item["namespace"] = namespace.as_str().into();
        }
        item["call_id"] = call.id.as_str().into();
        item["status"] = "completed".into();
        item
    }
}

/// The arguments with which a text is given to a function.
pub(super) fn wrapped(text: &str) -> String {
    json!({ INPUT: text }).to_string()
}

/// The text of a call of a tool that takes one: the argument of that name, else the only one, else what was written.
fn text_of(call: &ToolCall) -> String {
    let arguments = call.object();
    let only = || arguments.values().next().filter(|_| arguments.len() == 1);
    let text = arguments.get(INPUT).or_else(only).and_then(Value::as_str);
    text.unwrap_or(&call.arguments).to_owned()
}

fn action(call: &ToolCall) -> Value {
    let given = call.object();
    let mut action = fields::scalars(&given, &["timeout_ms", "working_directory"]);
    action.retain(|name, value| (name == "timeout_ms") == value.is_u64());
    let command = match given.get("command") {
        Some(Value::String(line)) => json!(["bash", "-lc", line]),
        Some(Value::Array(words)) => words
            .iter()
            .filter(|word| word.is_string())
            .cloned()
            .collect(),
        _ => json!([]),
    };
    action.insert("command".to_owned(), command);
    action.insert("type".to_owned(), "exec".into());
    action.insert("env".to_owned(), json!({}));
    Value::Object(action)
}

fn joined(namespace: Option<&str>, name: &str) -> String {
    let whole = match namespace {
        Some(space) if space.ends_with("__") => format!("{space}{name}"),
        Some(space) => format!("{space}__{name}"),
        None => name.to_owned(),
    };
    let plain = |c: char| {
        let good = c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if good { c } else { '_' }
    };
    whole.chars().map(plain).take(NAME_CHARS).collect()
}

/// What a model is told of a tool that takes a text.
fn freeform(description: &str, format: &Value) -> String {
    let mut told = description.to_owned();
    if let Some(grammar) = format["definition"].as_str() {
        let grammar: String = grammar.chars().take(GRAMMAR_CHARS).collect();
        told.push_str("\n\nThe text follows this grammar:\n");
        told.push_str(&grammar);
    }
    told.push_str(
        "\n\nCall it as a function: the whole text is the string `input`, with nothing around it.",
    );
    told
}

fn input() -> Value {
    json!({"type": "object", "required": [INPUT], "additionalProperties": false, "properties": {
        INPUT: {"type": "string", "description": "The whole text."}}})
}

fn shell() -> Value {
    json!({"type": "object", "required": ["command"], "properties": {
        "command": {"type": "array", "items": {"type": "string"}, "description": "The program and its arguments."},
        "working_directory": {"type": "string"}, "timeout_ms": {"type": "integer"}}})
}
