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

pub(super) fn show(sees: bool) -> Value {
    let can: &[&str] = if sees {
        &["completion", "vision"]
    } else {
        &["completion"]
    };
    json!({
        "license": "",
        "modelfile": "FROM scratch",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": details(),
        "model_info": {"general.architecture": "scripted", "scripted.context_length": 4096},
        "capabilities": can,
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

/// A pull in three steps; of a model called `missing`, the server's error inside a 200.
pub(super) fn pull(request: &Value) -> Vec<Value> {
    if request["name"] == "missing" {
        return vec![json!({"error": "pull model manifest: file does not exist"})];
    }
    let part = |come: u64| {
        json!({"status": "pulling 5c5c", "digest": "sha256:5c5c",
            "total": 2_000_000, "completed": come})
    };
    vec![
        json!({"status": "pulling manifest"}),
        part(0),
        part(2_000_000),
        json!({"status": "success"}),
    ]
}

/// A call of a tool.
pub(super) fn call(tool: &str, arguments: &Value) -> Value {
    let mut call = line("", false);
    call["message"]["tool_calls"] = json!([{"function": {"name": tool, "arguments": arguments}}]);
    call
}
