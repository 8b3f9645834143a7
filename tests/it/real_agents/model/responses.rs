//! OpenAI's `/v1/responses`.

use serde_json::{Value, json};

use super::{Asked, READ, Said, WRITTEN, events};

pub(super) fn read(body: &Value) -> Asked {
    let input = body["input"].as_array().into_iter().flatten();
    let tools = body["tools"].as_array().into_iter().flatten();
    Asked {
        tools: tools
            .filter_map(|tool| {
                let name = tool["name"].as_str()?.to_owned();
                Some((name, tool["parameters"]["properties"].clone()))
            })
            .collect(),
        answered: input
            .filter(|item| {
                let kind = item["type"].as_str();
                kind.is_some_and(|kind| kind.ends_with("_output"))
            })
            .count(),
        stream: body["stream"] == true,
    }
}

pub(super) fn write(asked: &Asked, said: &Said) -> Vec<u8> {
    let number = asked.answered;
    let (item, middle) = match said {
        Said::Text(text) => {
            let part = json!({"type": "output_text", "text": text, "annotations": []});
            let empty = json!({"type": "output_text", "text": "", "annotations": []});
            let item = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [part]});
            let at = |kind: &str, more: Value| event(kind, "msg_1", more);
            let middle = vec![
                at("response.content_part.added", json!({"part": empty})),
                at("response.output_text.delta", json!({"delta": text})),
                at("response.output_text.done", json!({"text": text})),
                at("response.content_part.done", json!({"part": part})),
            ];
            (item, middle)
        }
        Said::Call(name, arguments) => {
            let (id, arguments) = (format!("fc_{number}"), arguments.to_string());
            let item = json!({"type": "function_call", "id": id, "call_id": format!("call_{number}"), "name": name,
                "arguments": arguments, "status": "completed"});
            let at = |kind: &str, more: Value| event(kind, &id, more);
            let middle = vec![
                at(
                    "response.function_call_arguments.delta",
                    json!({"delta": arguments}),
                ),
                at(
                    "response.function_call_arguments.done",
                    json!({"arguments": arguments}),
                ),
            ];
            (item, middle)
        }
    };
    let response = |status: &str, output: Value| {
        json!({"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status,
            "output": output, "parallel_tool_calls": true, "tools": [], "error": null,
            "usage": {"input_tokens": READ, "output_tokens": WRITTEN, "total_tokens": READ + WRITTEN,
                "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}})
    };
    if !asked.stream {
        return response("completed", json!([item]))
            .to_string()
            .into_bytes();
    }
    let mut begun = item.clone();
    begun["status"] = json!("in_progress");
    for field in ["content", "arguments"] {
        if let Some(field) = begun.get_mut(field) {
            *field = if field.is_array() {
                json!([])
            } else {
                json!("")
            };
        }
    }
    let mut all = vec![
        json!({"type": "response.created", "response": response("in_progress", json!([]))}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": begun}),
    ];
    all.extend(middle);
    all.push(json!({"type": "response.output_item.done", "output_index": 0, "item": item}));
    let whole = response("completed", json!([item]));
    all.push(json!({"type": "response.completed", "response": whole}));
    for (number, event) in all.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events(&all, true)
}

fn event(kind: &str, item: &str, more: Value) -> Value {
    let mut event = json!({"type": kind, "item_id": item, "output_index": 0, "content_index": 0});
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}
