//! Whatever an agent asks and a server answers: nothing panics, and what goes out is well formed.

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;

use super::*;
use crate::model::Config;
use crate::model::dialect::sse::{Frame, Sse};
use crate::model::provider::Providers;

const NAMES: &[&str] = &[
    "type",
    "role",
    "content",
    "messages",
    "input",
    "tools",
    "name",
    "function",
    "arguments",
    "parameters",
    "tool_calls",
    "id",
    "call_id",
    "output",
    "text",
    "image_url",
    "url",
    "source",
    "data",
    "media_type",
    "parts",
    "functionCall",
    "args",
    "functionResponse",
    "response",
    "tool_use_id",
    "input_schema",
    "description",
    "summary",
    "encrypted_content",
    "action",
    "command",
    "namespace",
    "format",
    "definition",
    "choices",
    "delta",
    "message",
    "done",
    "thinking",
    "index",
    "finish_reason",
    "usage",
    "prompt_tokens",
    "system",
    "instructions",
    "thought",
    "inlineData",
    "mimeType",
    "contents",
    "functionDeclarations",
    "tool_choice",
    "systemInstruction",
    "reasoning",
    "reasoning_content",
    "stream",
    "toolConfig",
    "mode",
    "functionCallingConfig",
    "allowedFunctionNames",
    "generationConfig",
    "responseSchema",
    "tool_call_id",
    "output_config",
    "schema",
    "is_error",
    "eval_count",
    "done_reason",
    "extra_content",
];
const WORDS: &[&str] = &[
    "",
    "x",
    "message",
    "user",
    "assistant",
    "tool",
    "system",
    "model",
    "function",
    "custom",
    "namespace",
    "local_shell",
    "reasoning",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "local_shell_call",
    "text",
    "image",
    "tool_use",
    "tool_result",
    "input_text",
    "input_image",
    "output_text",
    "image_url",
    "data:image/png;base64,aGk=",
    "base64",
    "{}",
    "{\"input\":\"x\"}",
    "[1]",
    "ANY",
    "STRING",
    "é\u{0}\n",
    "json_schema",
    "auto",
    "length",
    "stop",
    "thinking",
    "input_file",
    "document",
    "web_search",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(Value::from(u64::MAX)),
        select(WORDS).prop_map(Value::from),
        select(WORDS).prop_map(Value::from),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(5, 48, 5, |inner| {
        let object = hash_map(select(NAMES), inner.clone(), 0..7);
        prop_oneof![
            1 => vec(inner, 0..4).prop_map(Value::from),
            3 => object.prop_map(|fields| {
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

/// A conversation's turn with a type or a role that some dialect knows, over whatever else is in it.
fn turn() -> impl Strategy<Value = Value> {
    (any_json(), select(WORDS), select(WORDS), any_json()).prop_map(
        |(mut turn, kind, role, part)| {
            if !turn.is_object() {
                turn = json!({"content": turn});
            }
            turn["type"] = kind.into();
            turn["role"] = role.into();
            turn["call_id"] = "c1".into();
            turn["name"] = "f".into();
            turn["parts"] = json!([part]);
            turn
        },
    )
}

fn request() -> impl Strategy<Value = Value> {
    (any_json(), vec(turn(), 1..4), vec(any_json(), 0..3), any::<bool>()).prop_map(
        |(mut request, turns, tools, stream)| {
            if !request.is_object() {
                request = json!({});
            }
            for name in ["messages", "input", "contents"] {
                request[name] = json!(turns);
            }
            let tool = json!({"type": "function", "name": "f", "input_schema": {}, "function": {"name": "f"},
                "functionDeclarations": [{"name": "f"}]});
            let mut tools = tools;
            tools.push(tool);
            request["tools"] = json!(tools);
            request["stream"] = stream.into();
            request
        },
    )
}

/// Where everything in a value is, as paths.
fn paths(value: &Value, at: &str, all: &mut Vec<String>) {
    let mut inner = |name: &str, value: &Value| {
        let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        all.push(at.clone());
        paths(value, &at, all);
    };
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                inner(&at.to_string(), item);
            }
        }
        Value::Object(fields) => fields.iter().for_each(|(name, value)| inner(name, value)),
        _ => {}
    }
}

/// A good request of some dialect with a few things in it changed.
fn changed() -> impl Strategy<Value = Value> {
    let dialects = [
        Dialect::Ollama,
        Dialect::OpenAi,
        Dialect::Responses,
        Dialect::Anthropic,
        Dialect::Gemini,
    ];
    let changes = vec((any::<prop::sample::Index>(), any_json()), 0..4);
    (select(dialects.to_vec()), any::<bool>(), changes).prop_map(|(dialect, stream, changes)| {
        let (_, mut request) = crate::model::pairs_tests::agent::request(dialect, stream);
        for (at, value) in changes {
            let mut all = Vec::new();
            paths(&request, "", &mut all);
            if !all.is_empty() {
                *request.pointer_mut(at.get::<String>(&all)).unwrap() = value;
            }
        }
        request
    })
}

fn targets() -> Vec<Target> {
    let config = Config::default();
    let endpoint = config.endpoint().unwrap();
    let env = |_: &str| Some("key".to_owned());
    let providers = Providers::new(&config, &endpoint, &env).unwrap();
    let names = ["m", "openai:m", "anthropic:m", "gemini:m"];
    names.iter().map(|name| providers.resolve(name)).collect()
}

fn routes() -> Vec<Route> {
    let mut routes = vec![Route::Ollama, Route::OpenAi, Route::Responses];
    routes.extend([true, false].map(Route::Anthropic));
    let methods = [
        Method::Generate,
        Method::Stream,
        Method::Array,
        Method::Count,
    ];
    routes.extend(methods.map(Route::Gemini));
    routes
}

fn asked(body: &[u8], targets: &[Target]) -> usize {
    let mut calls = 0;
    for route in routes() {
        let Ok(chat) = Chat::parse(route, &HeaderMap::new(), body) else {
            continue;
        };
        // A count may be asked of what cannot be said in other words; it has a sentence then.
        let _counted = chat.counted();
        for target in targets {
            let options = ModelOptions {
                num_predict: Some(7),
                ..ModelOptions::default()
            };
            if let Ok(call) = chat.call(target, &options, "1m") {
                let kept = call.body.get("store").is_none_or(|store| *store == false);
                assert!(kept, "{}", call.body);
                calls += 1;
            }
        }
    }
    calls
}

/// One speaker of every dialect and form, with what it says.
fn speakers() -> Vec<(Chat, Output)> {
    let bodies = [true, false].map(|stream| {
        json!({"stream": stream, "messages": [{"role": "user", "content": "x"}], "input": "x",
            "contents": [{"parts": [{"text": "x"}]}],
            "tools": [{"type": "custom", "name": "x", "input_schema": {}, "functionDeclarations": [{"name": "x"}]}]})
    });
    let mut all = Vec::new();
    for route in routes() {
        for body in &bodies {
            let mut body = body.clone();
            if matches!(route, Route::Ollama | Route::OpenAi) {
                body["tools"] = Value::Null;
            }
            let body = body.to_string();
            let chat = Chat::parse(route, &HeaderMap::new(), body.as_bytes()).unwrap();
            if chat.only_counts() {
                continue;
            }
            let (_, speaker) = chat.said(ModelName::from("m"), Clock::now()).unwrap();
            let output = Output::Steps(Box::new(Steps::new("1")), Box::new(speaker));
            all.push((chat, output));
        }
    }
    all
}

/// Whether an answer is what its dialect promises.
fn well_formed(chat: &Chat, answer: &[u8]) {
    let text = std::str::from_utf8(answer).unwrap();
    let list = matches!(chat, Chat::Gemini(chat) if chat.method == Method::Array);
    if list || !chat.streams() {
        let whole: Value = serde_json::from_str(text).unwrap();
        assert_eq!(whole.is_array(), list, "{text}");
        return;
    }
    if chat.dialect() == Dialect::Ollama {
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let ends = lines.iter().filter(|line| line["done"] == true).count();
        assert!(ends == 1 && lines.last().unwrap()["done"] == true, "{text}");
        return;
    }
    let mut sse = Sse::new(1 << 20);
    sse.push(answer).unwrap();
    let frames: Vec<Frame> = std::iter::from_fn(|| sse.next()).collect();
    let data = |frame: &Frame| serde_json::from_slice::<Value>(&frame.data);
    let last = frames.last().unwrap();
    if chat.dialect() == Dialect::OpenAi {
        assert_eq!(last.data, b"[DONE]");
    }
    let events: Vec<Value> = frames.iter().filter_map(|frame| data(frame).ok()).collect();
    let missing = frames.len() - events.len();
    assert_eq!(
        missing,
        usize::from(chat.dialect() == Dialect::OpenAi),
        "{text}"
    );
    match chat.dialect() {
        Dialect::Responses => {
            for (at, event) in events.iter().enumerate() {
                assert_eq!(event["sequence_number"], at, "{text}");
            }
            let done = events
                .iter()
                .filter(|e| e["type"] == "response.output_item.done");
            let items: Vec<&Value> = done.map(|event| &event["item"]).collect();
            assert_eq!(
                events.last().unwrap()["response"]["output"],
                json!(items),
                "{text}"
            );
        }
        Dialect::Anthropic => {
            let mut open = None;
            let mut next = 0;
            for event in &events {
                match event["type"].as_str().unwrap() {
                    "content_block_start" => {
                        assert_eq!((open.replace(next), &event["index"]), (None, &json!(next)));
                    }
                    "content_block_delta" => assert_eq!(event["index"], json!(open), "{text}"),
                    "content_block_stop" => {
                        assert_eq!(event["index"], json!(open.take()));
                        next += 1;
                    }
                    _ => assert!(open.is_none(), "{text}"),
                }
            }
            assert_eq!(events.last().unwrap()["type"], "message_stop");
        }
        Dialect::Gemini => {
            let ends = events
                .iter()
                .filter(|e| e["candidates"][0]["finishReason"].is_string());
            assert_eq!(ends.count(), 1, "{text}");
        }
        Dialect::Ollama | Dialect::OpenAi => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_request_panics(request in prop_oneof![request(), changed()]) {
        asked(request.to_string().as_bytes(), &targets());
    }

    #[test]
    fn no_answer_is_said_in_broken_words(frames in vec((any_json(), any_json(), any::<bool>()), 0..6)) {
        for (chat, mut output) in speakers() {
            let mut said = Vec::new();
            for (first, second, line) in &frames {
                // Half of them look like a server's.
                let value = if *line {
                    json!({"message": first, "done": second})
                } else {
                    json!({"choices": [{"delta": first, "finish_reason": second}], "usage": second})
                };
                let frame = Frame { event: None, data: value.to_string().into_bytes() };
                said.extend(output.encode(Some(frame), false).unwrap());
            }
            said.extend(output.encode(None, true).unwrap());
            well_formed(&chat, &said);
        }
    }
}

#[test]
fn many_made_requests_are_understood() {
    // The generator is of no use when everything is refused before it is looked at.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let targets = targets();
    let made = (0..300).map(|_| changed().new_tree(&mut runner).unwrap().current());
    let calls: usize = made
        .map(|request| asked(request.to_string().as_bytes(), &targets))
        .sum();
    assert!(calls > 300, "{calls}");
}

#[test]
fn an_answer_without_end_is_cut() {
    let (_, mut output) = speakers().remove(0);
    let word = "x".repeat(1 << 20);
    let line = json!({"message": {"content": word}})
        .to_string()
        .into_bytes();
    let frame = || Frame {
        event: None,
        data: line.clone(),
    };
    let ended = (0..20).find_map(|_| output.encode(Some(frame()), false).err());
    assert!(matches!(ended, Some(ModelError::Malformed)));
}
