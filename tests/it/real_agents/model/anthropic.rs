//! Anthropic's `/v1/messages`.

use serde_json::{Value, json};

use super::{Asked, READ, Said, WRITTEN, events};

pub(super) fn read(body: &Value) -> Asked {
    let messages = body["messages"].as_array().unwrap();
    let blocks = messages
        .iter()
        .filter_map(|message| message["content"].as_array())
        .flatten();
    let tools = body["tools"].as_array().into_iter().flatten();
    Asked {
        tools: tools
            .map(|tool| {
                let name = tool["name"].as_str().unwrap().to_owned();
                (name, tool["input_schema"]["properties"].clone())
            })
            .collect(),
        answered: blocks
            .filter(|block| block["type"] == "tool_result")
            .count(),
        stream: body["stream"] == true,
    }
}

pub(super) fn write(asked: &Asked, said: &Said) -> Vec<u8> {
    let id = format!("toolu_{}", asked.answered);
    let (block, empty, delta, reason) = match said {
        Said::Text(text) => (
            json!({"type": "text", "text": text}),
            json!({"type": "text", "text": ""}),
            json!({"type": "text_delta", "text": text}),
            "end_turn",
        ),
        Said::Call(name, input) => (
            json!({"type": "tool_use", "id": id, "name": name, "input": input}),
            json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
            json!({"type": "input_json_delta", "partial_json": input.to_string()}),
            "tool_use",
        ),
    };
    let usage = json!({"input_tokens": READ, "output_tokens": WRITTEN});
    let mut message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [block], "stop_reason": reason, "stop_sequence": null, "usage": usage});
    if !asked.stream {
        return message.to_string().into_bytes();
    }
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    message["usage"]["output_tokens"] = json!(1);
    let all = [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": empty}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "usage": usage,
            "delta": {"stop_reason": reason, "stop_sequence": null}}),
        json!({"type": "message_stop"}),
    ];
    events(&all, true)
}
