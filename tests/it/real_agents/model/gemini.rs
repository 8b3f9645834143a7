//! Gemini's `generateContent` and `streamGenerateContent`.

use serde_json::{Value, json};

use super::{Asked, READ, Said, WRITTEN, events};

pub(super) fn read(body: &Value) -> Asked {
    let contents = body["contents"].as_array().unwrap();
    let parts = contents
        .iter()
        .filter_map(|content| content["parts"].as_array())
        .flatten();
    let tools = body["tools"].as_array().into_iter().flatten();
    let functions = tools.filter_map(|tool| tool["functionDeclarations"].as_array());
    Asked {
        tools: functions
            .flatten()
            .map(|function| {
                let fields = [&function["parameters"], &function["parametersJsonSchema"]];
                let fields = fields.into_iter().find(|fields| fields.is_object());
                let fields = fields.map(|fields| fields["properties"].clone());
                let name = function["name"].as_str().unwrap().to_owned();
                (name, fields.unwrap_or_default())
            })
            .collect(),
        answered: parts
            .filter(|part| part["functionResponse"].is_object())
            .count(),
        stream: false,
    }
}

pub(super) fn write(asked: &Asked, said: &Said) -> Vec<u8> {
    let part = match said {
        Said::Text(text) => json!({"text": text}),
        Said::Call(name, arguments) => json!({"functionCall": {"name": name, "args": arguments}}),
    };
    let answer = json!({
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": READ, "candidatesTokenCount": WRITTEN,
            "totalTokenCount": READ + WRITTEN},
        "modelVersion": "m",
    });
    if asked.stream {
        events(&[answer], false)
    } else {
        answer.to_string().into_bytes()
    }
}
