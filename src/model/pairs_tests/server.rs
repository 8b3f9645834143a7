//! Model servers of every kind: what they answer, and what a request told them.

use serde_json::{Value, json};

use super::{Call, RESULT};
use crate::model::Dialect;
use crate::model::gateway::providers_tests::{SSE, event, named, whole};
use crate::model::testing::{Act, OK, send};

/// What a server says.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) thinking: &'static str,
    pub(super) words: Vec<&'static str>,
    pub(super) calls: Vec<Call>,
    /// It breaks off with an error.
    pub(super) fails: bool,
}

/// What a server was told.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) text: String,
    pub(super) pictures: Vec<String>,
    pub(super) calls: Vec<Call>,
    pub(super) results: Vec<(String, String)>,
    pub(super) tools: Vec<String>,
}

pub(super) const READ: u64 = 30;
pub(super) const WRITTEN: u64 = 4;

/// The answer as a server of a dialect writes it.
pub(super) fn acts(wire: Dialect, stream: bool, answer: &Answer) -> Vec<Act> {
    if !stream {
        return vec![whole("200 OK", &at_once(wire, answer))];
    }
    let mut acts = vec![send(if wire == Dialect::Ollama { OK } else { SSE })];
    match wire {
        Dialect::Ollama => ollama(answer, &mut acts),
        Dialect::OpenAi => openai(answer, &mut acts),
        Dialect::Responses => responses(answer, &mut acts),
        Dialect::Anthropic => anthropic(answer, &mut acts),
        Dialect::Gemini => gemini(answer, &mut acts),
    }
    acts
}

fn ollama_calls(answer: &Answer) -> Value {
    let calls = answer.calls.iter();
    calls
        .map(|call| json!({"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}))
        .collect()
}

fn ollama(answer: &Answer, acts: &mut Vec<Act>) {
    let mut line = |value: Value| acts.push(send(format!("{value}\n")));
    let message = |message: Value| json!({"message": message, "done": false});
    if !answer.thinking.is_empty() {
        line(message(
            json!({"role": "assistant", "content": "", "thinking": answer.thinking}),
        ));
    }
    for word in &answer.words {
        line(message(json!({"role": "assistant", "content": word})));
    }
    if answer.fails {
        return line(json!({"error": "boom"}));
    }
    let calls = ollama_calls(answer);
    line(message(
        json!({"role": "assistant", "content": "", "tool_calls": calls}),
    ));
    line(
        json!({"message": {"role": "assistant", "content": ""}, "done": true, "done_reason": "stop",
        "prompt_eval_count": READ, "eval_count": WRITTEN}),
    );
}

fn openai_calls(answer: &Answer) -> Vec<Value> {
    let call = |(at, call): (usize, &Call)| {
        json!({"index": at, "id": call.id, "type": "function",
            "function": {"name": call.name, "arguments": call.arguments.to_string()}})
    };
    answer.calls.iter().enumerate().map(call).collect()
}

fn openai_usage() -> Value {
    json!({"prompt_tokens": READ, "completion_tokens": WRITTEN, "total_tokens": READ + WRITTEN})
}

fn openai(answer: &Answer, acts: &mut Vec<Act>) {
    let mut say = |delta: Value, reason: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        acts.push(event(&json!({"id": "1", "choices": [choice]})));
    };
    say(json!({"role": "assistant"}), None);
    if !answer.thinking.is_empty() {
        say(json!({"reasoning_content": answer.thinking}), None);
    }
    for word in &answer.words {
        say(json!({"content": word}), None);
    }
    if answer.fails {
        return acts.push(event(&json!({"error": {"message": "boom"}})));
    }
    for call in openai_calls(answer) {
        let arguments = call["function"]["arguments"].as_str().unwrap().to_owned();
        let (begins, ends) = arguments.split_at(arguments.len() / 2);
        let mut begun = call.clone();
        begun["function"]["arguments"] = begins.into();
        say(json!({"tool_calls": [begun]}), None);
        let rest = json!({"index": call["index"], "function": {"arguments": ends}});
        say(json!({"tool_calls": [rest]}), None);
    }
    let reason = if answer.calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    };
    say(json!({}), Some(reason));
    acts.push(event(&json!({"choices": [], "usage": openai_usage()})));
    acts.push(send("data: [DONE]\n\n"));
}

fn responses_items(answer: &Answer) -> Vec<Value> {
    let mut items = Vec::new();
    if !answer.thinking.is_empty() {
        items.push(json!({"type": "reasoning", "id": "rs_1",
            "summary": [{"type": "summary_text", "text": answer.thinking}]}));
    }
    if !answer.words.is_empty() {
        let text = answer.words.concat();
        items.push(
            json!({"type": "message", "id": "msg_1", "role": "assistant",
            "content": [{"type": "output_text", "text": text}]}),
        );
    }
    items.extend(answer.calls.iter().map(|call| {
        json!({"type": "function_call", "id": "fc_1", "call_id": call.id, "name": call.name,
            "arguments": call.arguments.to_string()})
    }));
    items
}

fn response(answer: &Answer) -> Value {
    let usage =
        json!({"input_tokens": READ, "output_tokens": WRITTEN, "total_tokens": READ + WRITTEN});
    json!({"id": "resp_1", "object": "response", "status": "completed", "error": null,
        "output": responses_items(answer), "usage": usage})
}

fn responses(answer: &Answer, acts: &mut Vec<Act>) {
    let response = response(answer);
    let begun = json!({"id": "resp_1", "object": "response", "output": [], "error": null});
    acts.push(named(
        &json!({"type": "response.created", "response": begun}),
    ));
    if !answer.thinking.is_empty() {
        let kind = "response.reasoning_summary_text.delta";
        acts.push(named(&json!({"type": kind, "delta": answer.thinking})));
    }
    for word in &answer.words {
        acts.push(named(
            &json!({"type": "response.output_text.delta", "delta": word}),
        ));
    }
    if answer.fails {
        let error = json!({"code": "server_error", "message": "boom"});
        let failed = json!({"id": "resp_1", "status": "failed", "error": error});
        return acts.push(named(
            &json!({"type": "response.failed", "response": failed}),
        ));
    }
    for item in response["output"].as_array().unwrap() {
        acts.push(named(
            &json!({"type": "response.output_item.done", "item": item}),
        ));
    }
    acts.push(named(
        &json!({"type": "response.completed", "response": response}),
    ));
}

fn blocks(answer: &Answer) -> Vec<Value> {
    let mut blocks = Vec::new();
    if !answer.thinking.is_empty() {
        blocks.push(json!({"type": "thinking", "thinking": answer.thinking, "signature": "s"}));
    }
    if !answer.words.is_empty() {
        blocks.push(json!({"type": "text", "text": answer.words.concat()}));
    }
    blocks.extend(answer.calls.iter().map(
        |call| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}),
    ));
    blocks
}

fn anthropic(answer: &Answer, acts: &mut Vec<Act>) {
    let usage = json!({"input_tokens": READ, "output_tokens": 1});
    acts.push(named(
        &json!({"type": "message_start", "message": {"content": [], "usage": usage}}),
    ));
    for (at, block) in blocks(answer).into_iter().enumerate() {
        let mut empty = block.clone();
        let deltas: Vec<Value> = match block["type"].as_str().unwrap() {
            "thinking" => {
                empty["thinking"] = "".into();
                vec![json!({"type": "thinking_delta", "thinking": block["thinking"]})]
            }
            "text" => {
                empty["text"] = "".into();
                let words = answer.words.iter();
                words
                    .map(|word| json!({"type": "text_delta", "text": word}))
                    .collect()
            }
            _ => {
                empty["input"] = json!({});
                let input = block["input"].to_string();
                vec![json!({"type": "input_json_delta", "partial_json": input})]
            }
        };
        acts.push(named(
            &json!({"type": "content_block_start", "index": at, "content_block": empty}),
        ));
        for delta in deltas {
            acts.push(named(
                &json!({"type": "content_block_delta", "index": at, "delta": delta}),
            ));
        }
        if answer.fails {
            let error = json!({"type": "overloaded_error", "message": "boom"});
            return acts.push(named(&json!({"type": "error", "error": error})));
        }
        acts.push(named(&json!({"type": "content_block_stop", "index": at})));
    }
    acts.push(named(
        &json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": WRITTEN}}),
    ));
    acts.push(named(&json!({"type": "message_stop"})));
}

fn gemini_usage() -> Value {
    json!({"promptTokenCount": READ, "candidatesTokenCount": WRITTEN, "totalTokenCount": READ + WRITTEN})
}

fn gemini_parts(answer: &Answer) -> Vec<Value> {
    let mut parts = Vec::new();
    if !answer.thinking.is_empty() {
        parts.push(json!({"text": answer.thinking, "thought": true}));
    }
    parts.extend(answer.words.iter().map(|word| json!({"text": word})));
    parts.extend(answer.calls.iter().map(
        |call| json!({"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}}),
    ));
    parts
}

fn gemini(answer: &Answer, acts: &mut Vec<Act>) {
    for part in gemini_parts(answer) {
        acts.push(event(
            &json!({"candidates": [{"content": {"role": "model", "parts": [part]}}]}),
        ));
    }
    if answer.fails {
        return acts.push(event(&json!({"error": {"code": 500, "message": "boom"}})));
    }
    acts.push(event(
        &json!({"candidates": [{"content": {"role": "model", "parts": [{"text": ""}]},
        "finishReason": "STOP"}], "usageMetadata": gemini_usage()}),
    ));
}

fn at_once(wire: Dialect, answer: &Answer) -> Value {
    let (thinking, text) = (answer.thinking, answer.words.concat());
    match wire {
        Dialect::Ollama => {
            let calls = ollama_calls(answer);
            json!({"message": {"role": "assistant", "content": text, "thinking": thinking, "tool_calls": calls},
                "done": true, "done_reason": "stop", "prompt_eval_count": READ, "eval_count": WRITTEN})
        }
        Dialect::OpenAi => {
            let message = json!({"role": "assistant", "content": text, "reasoning_content": thinking,
                "tool_calls": openai_calls(answer)});
            json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": openai_usage()})
        }
        Dialect::Responses => response(answer),
        Dialect::Anthropic => {
            json!({"type": "message", "content": blocks(answer), "stop_reason": "end_turn",
            "usage": {"input_tokens": READ, "output_tokens": WRITTEN}})
        }
        Dialect::Gemini => {
            let content = json!({"role": "model", "parts": gemini_parts(answer)});
            json!({"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": gemini_usage()})
        }
    }
}

/// What a request told a server of a dialect.
pub(super) fn told(wire: Dialect, request: &Value) -> Told {
    let mut told = Told {
        text: request.to_string(),
        ..Told::default()
    };
    each(request, &mut |object| told.look(wire, object));
    for name in [
        "/tools/0/function/name",
        "/tools/0/name",
        "/tools/0/functionDeclarations/0/name",
    ] {
        let name = request.pointer(name).and_then(Value::as_str);
        told.tools.extend(name.map(str::to_owned));
    }
    told
}

fn each(value: &Value, look: &mut impl FnMut(&Value)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| each(item, look)),
        Value::Object(fields) => {
            look(value);
            fields.values().for_each(|field| each(field, look));
        }
        _ => {}
    }
}

impl Told {
    fn look(&mut self, wire: Dialect, object: &Value) {
        let word = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        let parsed = |value: &Value| serde_json::from_str(value.as_str().unwrap()).unwrap();
        let tool = object["role"] == "tool";
        match wire {
            Dialect::Ollama => {
                let images = object["images"].as_array().into_iter().flatten();
                self.pictures
                    .extend(images.map(|image| image.as_str().unwrap().to_owned()));
                if object["function"]["arguments"].is_object() {
                    let function = &object["function"];
                    self.call(word("id"), &function["name"], function["arguments"].clone());
                }
                if tool {
                    self.results.push((word("tool_call_id"), word("content")));
                }
            }
            Dialect::OpenAi => {
                if let Some(url) = object["image_url"]["url"].as_str() {
                    self.picture(url);
                }
                let function = &object["function"];
                if function["arguments"].is_string() {
                    self.call(
                        word("id"),
                        &function["name"],
                        parsed(&function["arguments"]),
                    );
                }
                if tool {
                    self.results.push((word("tool_call_id"), word("content")));
                }
            }
            Dialect::Responses => match object["type"].as_str() {
                Some("input_image") => self.picture(&word("image_url")),
                Some("function_call") => {
                    self.call(
                        word("call_id"),
                        &object["name"],
                        parsed(&object["arguments"]),
                    );
                }
                Some("function_call_output") => {
                    self.results.push((word("call_id"), word("output")));
                }
                _ => {}
            },
            Dialect::Anthropic => match object["type"].as_str() {
                Some("image") => {
                    let data = object["source"]["data"].as_str().unwrap();
                    self.pictures.push(data.to_owned());
                }
                Some("tool_use") => {
                    self.call(word("id"), &object["name"], object["input"].clone());
                }
                Some("tool_result") => self.results.push((word("tool_use_id"), word("content"))),
                _ => {}
            },
            Dialect::Gemini => {
                if let Some(data) = object["inlineData"]["data"].as_str() {
                    self.pictures.push(data.to_owned());
                }
                let call = &object["functionCall"];
                if call.is_object() {
                    let id = call["id"].as_str().unwrap().to_owned();
                    self.call(id, &call["name"], call["args"].clone());
                }
                let result = &object["functionResponse"];
                if result.is_object() {
                    assert_eq!(result["response"], json!({"output": RESULT}));
                    let id = result["id"].as_str().unwrap().to_owned();
                    self.results.push((id, RESULT.to_owned()));
                }
            }
        }
    }

    fn call(&mut self, id: String, name: &Value, arguments: Value) {
        let name = name.as_str().unwrap().to_owned();
        self.calls.push(Call {
            id,
            name,
            arguments,
        });
    }

    fn picture(&mut self, url: &str) {
        let (_, data) = url.split_once(";base64,").unwrap();
        self.pictures.push(data.to_owned());
    }
}
