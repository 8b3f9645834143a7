//! Ollama's `/api/chat`, and what it says of its model.

use serde_json::{Value, json};

use super::{Asked, READ, Said, WRITTEN};

pub(crate) const MODEL: &str = "scripted:1b";

pub(super) fn read(body: &Value) -> Asked {
    let messages = body["messages"].as_array().unwrap();
    let tools = body["tools"].as_array().into_iter().flatten();
    Asked {
        tools: tools
            .map(|tool| {
                let function = &tool["function"];
                let name = function["name"].as_str().unwrap().to_owned();
                (name, function["parameters"]["properties"].clone())
            })
            .collect(),
        answered: messages.iter().filter(|one| one["role"] == "tool").count(),
        stream: body["stream"] != false,
    }
}

pub(super) fn write(asked: &Asked, said: &Said) -> Vec<u8> {
    let mut message = json!({"role": "assistant", "content": ""});
    match said {
        Said::Text(text) => message["content"] = json!(text),
        Said::Call(name, arguments) => {
            message["tool_calls"] = json!([{"function": {"name": name, "arguments": arguments}}]);
        }
    }
    let at = "2026-11-20T12:00:00.000000Z";
    let mut end = json!({"model": MODEL, "created_at": at, "message": {"role": "assistant", "content": ""},
        "done": true, "done_reason": "stop", "total_duration": 5, "load_duration": 1,
        "prompt_eval_count": READ, "eval_count": WRITTEN});
    if asked.stream {
        let line = json!({"model": MODEL, "created_at": at, "message": message, "done": false});
        return format!("{line}\n{end}\n").into_bytes();
    }
    end["message"] = message;
    end.to_string().into_bytes()
}

pub(super) fn tags() -> Value {
    json!({"models": [{"name": MODEL, "model": MODEL, "modified_at": "2026-11-20T12:00:00.000000Z",
        "size": 1_000_000, "digest": "5c".repeat(32), "details": details()}]})
}

pub(super) fn show() -> Value {
    json!({"license": "", "modelfile": "FROM scratch", "parameters": "", "template": "{{ .Prompt }}",
        "details": details(), "capabilities": ["completion", "tools"],
        "model_info": {"general.architecture": "scripted", "scripted.context_length": 65_536},
        "modified_at": "2026-11-20T12:00:00.000000Z"})
}

fn details() -> Value {
    json!({"parent_model": "", "format": "gguf", "family": "scripted", "families": ["scripted"],
        "parameter_size": "1B", "quantization_level": "Q4_0"})
}
