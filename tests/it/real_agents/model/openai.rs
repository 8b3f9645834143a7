//! OpenAI's `/v1/chat/completions`.

use serde_json::{Value, json};

use super::{Asked, READ, Said, WRITTEN, events, ollama};

pub(super) fn read(body: &Value) -> Asked {
    Asked {
        stream: body["stream"] == true,
        ..ollama::read(body)
    }
}

pub(super) fn write(asked: &Asked, said: &Said) -> Vec<u8> {
    let (mut message, reason) = match said {
        Said::Text(text) => (json!({"role": "assistant", "content": text}), "stop"),
        Said::Call(name, arguments) => {
            let id = format!("call_{}", asked.answered);
            let function = json!({"name": name, "arguments": arguments.to_string()});
            let call = json!({"index": 0, "id": id, "type": "function", "function": function});
            let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            (message, "tool_calls")
        }
    };
    let usage = json!({"prompt_tokens": READ, "completion_tokens": WRITTEN,
        "total_tokens": READ + WRITTEN});
    let object = |object: &str, choices: Value| json!({"id": "c", "object": object, "created": 1, "model": "m", "choices": choices});
    if !asked.stream {
        if let Some(call) = message["tool_calls"].get_mut(0) {
            call.as_object_mut().unwrap().remove("index");
        }
        let choices = json!([{"index": 0, "message": message, "finish_reason": reason}]);
        let mut whole = object("chat.completion", choices);
        whole["usage"] = usage;
        return whole.to_string().into_bytes();
    }
    let chunk = |choices| object("chat.completion.chunk", choices);
    let mut counts = chunk(json!([]));
    counts["usage"] = usage;
    let mut out = events(
        &[
            chunk(json!([{"index": 0, "delta": message, "finish_reason": null}])),
            chunk(json!([{"index": 0, "delta": {}, "finish_reason": reason}])),
            counts,
        ],
        false,
    );
    out.extend_from_slice(b"data: [DONE]\n\n");
    out
}
