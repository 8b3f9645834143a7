//! What Ollama's HTTP says, as JSON.

use serde_json::{Value, json};

use super::MODEL;

/// One line of a chat's stream; the last has the counts.
pub(super) fn line(content: &str, done: bool) -> Value {
    let mut line = json!({
        "model": MODEL,
        "created_at": "2026-11-20T12:00:00.000000Z",
        "message": {"role": "assistant", "content": content},
        "done": done,
    });
    if done {
        line["done_reason"] = json!("stop");
        for (name, value) in [
            ("total_duration", 5_000_000),
            ("load_duration", 1_000_000),
            ("prompt_eval_count", 7),
            ("prompt_eval_duration", 2_000_000),
            ("eval_count", 11),
            ("eval_duration", 2_000_000),
        ] {
            line[name] = json!(value);
        }
    }
    line
}

pub(super) fn model() -> Value {
    json!({
        "name": MODEL,
        "model": MODEL,
        "modified_at": "2026-11-20T12:00:00.000000Z",
        "size": 1_000_000,
        "digest": "5c".repeat(32),
        "details": details(),
    })
}

pub(super) fn show() -> Value {
    json!({
        "license": "",
        "modelfile": "FROM scratch",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": details(),
        "model_info": {"general.architecture": "scripted", "scripted.context_length": 4096},
        "capabilities": ["completion"],
        "modified_at": "2026-11-20T12:00:00.000000Z",
    })
}

fn details() -> Value {
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": "scripted",
        "families": ["scripted"],
        "parameter_size": "1B",
        "quantization_level": "Q4_0",
    })
}

/// A call of a tool.
pub(super) fn call(tool: &str, arguments: &Value) -> Value {
    let mut call = line("", false);
    call["message"]["tool_calls"] = json!([{"function": {"name": tool, "arguments": arguments}}]);
    call
}
