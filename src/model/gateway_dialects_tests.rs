//! Agents that speak Anthropic's messages, in front of models that do not, and what all dialects have in common.

use serde_json::{Value, json};

use super::codex_tests::codex;
use super::providers_tests::{post, sent};
use super::tests::{Bench, plain};
use super::v1_tests::{done, line};
use crate::model::CallStatus;
use crate::model::testing::{OK, Upstream, send};

/// The events of an answer, each named by its type.
pub(super) fn events(body: &str) -> Vec<Value> {
    let event = |frame: &str| {
        let (name, data) = frame.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(
            name.strip_prefix("event: "),
            data["type"].as_str(),
            "{frame}"
        );
        data
    };
    let frames = body.split("\n\n").filter(|part| !part.is_empty());
    frames.map(event).collect()
}

pub(super) fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

/// An answer of Ollama's with everything in it.
pub(super) async fn ollama() -> (Bench, Upstream) {
    plain(vec![
        send(OK),
        line(&json!({"content": "", "thinking": "h"})),
        line(&json!({"content": "", "thinking": "m"})),
        line(&json!({"content": "I wr"})),
        line(&json!({"content": "ite."})),
        line(&json!({"content": "", "tool_calls": [
            {"function": {"name": "write", "arguments": {"path": "a"}}},
            {"id": "own", "function": {"name": "apply_patch", "arguments": {"input": "*** Begin"}}}]})),
        done("stop"),
    ])
    .await
}

fn claude(stream: bool) -> Value {
    json!({"model": "claude-opus-9", "max_tokens": 77, "stream": stream, "temperature": 1,
        "metadata": {"user_id": "u"}, "thinking": {"type": "adaptive"}, "context_management": {"edits": []},
        "system": [{"type": "text", "text": "x-anthropic-billing-header: cch=1;"},
            {"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "write", "description": "writes", "input_schema": {"type": "object"}},
            {"type": "web_search_20250305", "name": "web_search"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "look"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "treefort"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "write", "input": {"path": "b"}},
                {"type": "tool_use", "id": "t2", "name": "write", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "done"},
                {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [
                    {"type": "text", "text": "no room"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "b2s="}}]},
                {"type": "text", "text": "go on"}]}]})
}

#[tokio::test]
async fn claude_code_is_answered_by_ollama() {
    let (mut bench, server) = ollama().await;
    let (status, body) = post(&bench, "/v1/messages?beta=true", &claude(true)).await;
    assert_eq!(status, 200, "{body}");
    let events = events(&body);
    assert_eq!(
        kinds(&events),
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let blocks: Vec<&Value> = events
        .iter()
        .filter(|e| e["type"] == "content_block_start")
        .collect();
    for (at, block) in blocks.iter().enumerate() {
        assert_eq!(block["index"], at);
    }
    let deltas: Vec<&Value> = events
        .iter()
        .filter(|e| e["delta"]["type"].is_string())
        .collect();
    let said: Vec<(u64, &Value)> = deltas
        .iter()
        .map(|e| (e["index"].as_u64().unwrap(), &e["delta"]))
        .collect();
    assert_eq!(
        said[1],
        (0, &json!({"type": "thinking_delta", "thinking": "m"}))
    );
    assert_eq!(
        said[2],
        (
            0,
            &json!({"type": "signature_delta", "signature": "treefort"})
        )
    );
    assert_eq!(said[4], (1, &json!({"type": "text_delta", "text": "ite."})));
    assert_eq!(
        said[5],
        (
            2,
            &json!({"type": "input_json_delta", "partial_json": "{\"path\":\"a\"}"})
        )
    );
    let call = &blocks[2]["content_block"];
    assert!(call["id"].as_str().unwrap().starts_with("call_"), "{call}");
    assert_eq!(
        (&call["type"], &call["name"], &call["input"]),
        (&json!("tool_use"), &json!("write"), &json!({}))
    );
    assert_eq!(blocks[3]["content_block"]["id"], "own");
    let end = &events[events.len() - 2];
    assert_eq!(end["delta"]["stop_reason"], "tool_use");
    assert_eq!(
        (
            &end["usage"]["input_tokens"],
            &end["usage"]["output_tokens"]
        ),
        (&json!(20), &json!(5))
    );
    assert_eq!(events[0]["message"]["model"], "m:1");
    let (head, request) = sent(&server);
    assert!(head.starts_with("post /api/chat "), "{head}");
    assert_eq!(
        request,
        json!({"model": "m:1", "stream": true, "keep_alive": "10m",
            "options": {"temperature": 0.5, "num_ctx": 8192, "num_predict": 77},
            "tools": [{"type": "function", "function": {"name": "write", "description": "writes", "parameters": {"type": "object"}}}],
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "look", "images": ["aGk="]},
                {"role": "assistant", "content": "I look.", "thinking": "hm", "tool_calls": [
                    {"id": "t1", "function": {"name": "write", "arguments": {"path": "b"}}},
                    {"id": "t2", "function": {"name": "write", "arguments": {}}}]},
                {"role": "tool", "content": "done", "tool_call_id": "t1", "tool_name": "write"},
                {"role": "tool", "content": "The tool failed:\nno room", "tool_call_id": "t2", "tool_name": "write"},
                {"role": "user", "content": "go on", "images": ["b2s="]}]})
    );
    let call = bench.call().await;
    assert!(matches!(call.status, CallStatus::Ok));
    assert_eq!((call.prompt_tokens, call.output_tokens), (20, 5));
}

#[tokio::test]
async fn claude_code_gets_a_whole_answer_and_counts() {
    let whole = json!({"message": {"role": "assistant", "content": "hi", "thinking": "hm", "tool_calls": [
            {"id": "c1", "function": {"name": "write", "arguments": {"a": 1}}}]},
        "done": true, "done_reason": "length", "prompt_eval_count": 3, "eval_count": 4});
    let (bench, server) = plain(vec![send(OK), send(whole.to_string())]).await;
    let (status, body) = post(&bench, "/v1/messages", &claude(false)).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &body["type"], &body["stop_reason"]),
        (200, &json!("message"), &json!("max_tokens"))
    );
    assert_eq!(
        body["content"],
        json!([{"type": "thinking", "thinking": "hm", "signature": "treefort"}, {"type": "text", "text": "hi"},
            {"type": "tool_use", "id": "c1", "name": "write", "input": {"a": 1}}])
    );
    assert_eq!(body["usage"]["output_tokens"], 4);
    server.requests.lock().unwrap().clear();
    let (status, body) = post(&bench, "/v1/messages/count_tokens", &claude(false)).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let counted = body["input_tokens"].as_u64().unwrap();
    assert!(status == 200 && (1_600..4_000).contains(&counted), "{body}");
    assert!(
        server.requests.lock().unwrap().is_empty(),
        "no model was asked"
    );
}

#[tokio::test]
async fn errors_come_in_the_agents_words() {
    let script = || {
        vec![
            send(OK),
            line(&json!({"content": "well"})),
            send("{\"error\":\"out of memory\"}\n"),
        ]
    };
    let (bench, _server) = plain(script()).await;
    let (_, body) = post(&bench, "/v1/responses", &codex(true)).await;
    let all = events(&body);
    let last = all.last().unwrap();
    assert_eq!(
        (&last["type"], &last["sequence_number"]),
        (&json!("response.failed"), &json!(all.len() - 1))
    );
    assert_eq!(
        last["response"]["error"]["message"],
        "the model failed: out of memory"
    );
    assert_eq!(last["response"]["id"], all[0]["response"]["id"]);
    let (bench, _server) = plain(script()).await;
    let (_, body) = post(&bench, "/v1/messages", &claude(true)).await;
    let last = events(&body).pop().unwrap();
    assert_eq!(last["error"]["message"], "the model failed: out of memory");
    let (bench, _server) = plain(vec![send(OK), send("{\"error\":\"x\"}\n")]).await;
    let (status, body) = post(&bench, "/v1/responses", &codex(true)).await;
    assert!(
        status == 502 && body.contains("\"type\":\"server_error\""),
        "{body}"
    );
    let (status, body) = post(&bench, "/v1/messages", &claude(true)).await;
    assert!(
        status == 502 && body.contains("\"type\":\"api_error\""),
        "{body}"
    );
    let (status, body) = post(
        &bench,
        "/v1/responses",
        &json!({"input": "x", "previous_response_id": "r"}),
    )
    .await;
    assert!(
        status == 400 && body.contains("invalid_request_error"),
        "{body}"
    );
}

#[tokio::test]
async fn an_answer_of_nothing_is_a_whole_answer() {
    let (bench, _server) = plain(vec![send(OK), done("stop")]).await;
    let (_, body) = post(&bench, "/v1/messages", &claude(true)).await;
    assert_eq!(
        kinds(&events(&body)),
        ["message_start", "message_delta", "message_stop"]
    );
    let (_, body) = post(&bench, "/v1/responses", &codex(true)).await;
    assert_eq!(
        kinds(&events(&body)),
        [
            "response.created",
            "response.in_progress",
            "response.completed"
        ]
    );
}

#[tokio::test]
async fn what_agents_look_at_first_is_answered() {
    let (bench, server) = plain(vec![]).await;
    for (path, field, value) in [
        ("/v1/models?client_version=1", "/data/0/id", json!("m:1")),
        ("/v1/models/gpt-5.6-luna", "/id", json!("m:1")),
        ("/v1/models/claude-opus-9", "/type", json!("model")),
        ("/v1beta/models", "/models/0/name", json!("models/m:1")),
        ("/v1beta/models/gemini-9", "/name", json!("models/m:1")),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer secret");
        let (status, body) = bench.exchange(&head, "").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body.pointer(field)), (200, Some(&value)), "{path}");
    }
    assert!(server.requests.lock().unwrap().is_empty());
}
