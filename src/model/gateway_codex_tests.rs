//! Agents that speak OpenAI's responses, as Codex does, in front of models that do not, and of OpenAI.

use serde_json::{Value, json};

use super::dialects_tests::{events, kinds, ollama};
use super::providers_tests::{SSE, delta, one, post, sent, stop};
use crate::model::testing::send;
use crate::model::{CallStatus, Dialect};

pub(super) fn codex(stream: bool) -> Value {
    json!({"model": "gpt-5.6-luna", "stream": stream, "store": false, "instructions": "be brief",
        "tools": [{"type": "function", "name": "write", "parameters": {"type": "object"}},
            {"type": "custom", "name": "apply_patch", "description": "edits"}, {"type": "web_search"}],
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]})
}

#[tokio::test]
async fn codex_is_answered_by_ollama() {
    let (mut bench, server) = ollama().await;
    let (status, body) = post(&bench, "/v1/responses", &codex(true)).await;
    assert_eq!(status, 200, "{body}");
    let events = events(&body);
    let item = |kind: &str| {
        events
            .iter()
            .filter(|event| event["type"] == kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        kinds(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.custom_tool_call_input.delta",
            "response.custom_tool_call_input.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], at, "{event}");
    }
    let (added, whole) = (
        item("response.output_item.added"),
        item("response.output_item.done"),
    );
    for (at, (added, whole)) in added.iter().zip(&whole).enumerate() {
        assert_eq!(
            (&added["output_index"], &whole["output_index"]),
            (&json!(at), &json!(at))
        );
        assert_eq!(added["item"]["id"], whole["item"]["id"]);
        assert_eq!(
            (&added["item"]["status"], &whole["item"]["status"]),
            (&json!("in_progress"), &json!("completed"))
        );
    }
    let response = &events.last().unwrap()["response"];
    let output: Vec<&Value> = whole.iter().map(|event| &event["item"]).collect();
    assert_eq!(response["output"], json!(output));
    assert_eq!(
        output[0]["summary"],
        json!([{"type": "summary_text", "text": "hm"}])
    );
    assert_eq!(output[1]["content"][0]["text"], "I write.");
    assert_eq!(
        (&output[2]["name"], &output[2]["arguments"]),
        (&json!("write"), &json!("{\"path\":\"a\"}"))
    );
    assert!(output[2]["call_id"].as_str().unwrap().starts_with("call_"));
    assert_eq!(
        (
            &output[3]["type"],
            &output[3]["input"],
            &output[3]["call_id"]
        ),
        (
            &json!("custom_tool_call"),
            &json!("*** Begin"),
            &json!("own")
        )
    );
    assert_eq!(
        response["usage"],
        json!({"input_tokens": 20, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 25})
    );
    assert_eq!(
        (&response["status"], &response["model"]),
        (&json!("completed"), &json!("m:1"))
    );
    let (head, request) = sent(&server);
    assert!(head.starts_with("post /api/chat "), "{head}");
    assert_eq!(
        (&request["model"], &request["options"]["num_ctx"]),
        (&json!("m:1"), &json!(8192))
    );
    assert_eq!(
        request["messages"],
        json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}])
    );
    let call = bench.call().await;
    assert!(matches!(call.status, CallStatus::Ok) && call.output_tokens == 5);
}

#[tokio::test]
async fn codex_is_answered_by_a_server_of_chat_completions() {
    let piece = |piece: &Value| delta(&json!({"tool_calls": [piece]}));
    let script = vec![
        send(SSE),
        delta(&json!({"role": "assistant", "content": ""})),
        piece(
            &json!({"index": 0, "id": "c1", "function": {"name": "write", "arguments": "{\"a\""}}),
        ),
        piece(&json!({"index": 1, "id": "c2", "function": {"name": "write", "arguments": ""}})),
        piece(&json!({"index": 0, "function": {"arguments": ":1}"}})),
        // Some servers number every call 0, and some models write no object.
        piece(&json!({"index": 0, "id": "c3", "function": {"name": "write", "arguments": "[1]"}})),
        stop("length"),
        super::providers_tests::event(
            &json!({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": {"reasoning_tokens": 2}}}),
        ),
        send("data: [DONE]\n\n"),
    ];
    let (bench, server) = one("box", Dialect::OpenAi, script).await;
    let (status, body) = post(&bench, "/v1/responses", &codex(true)).await;
    let events = events(&body);
    let last = events.last().unwrap();
    assert_eq!(
        (status, &last["type"]),
        (200, &json!("response.incomplete"))
    );
    let output = last["response"]["output"].as_array().unwrap();
    let calls: Vec<(&Value, &Value)> = output
        .iter()
        .map(|item| (&item["call_id"], &item["arguments"]))
        .collect();
    assert_eq!(
        calls,
        [
            (&json!("c1"), &json!("{\"a\":1}")),
            (&json!("c2"), &json!("{}")),
            (&json!("c3"), &json!("{\"invalid\":\"[1]\"}"))
        ]
    );
    assert_eq!(
        last["response"]["incomplete_details"]["reason"],
        "max_output_tokens"
    );
    assert_eq!(
        last["response"]["usage"]["input_tokens_details"]["cached_tokens"],
        8
    );
    let (head, request) = sent(&server);
    assert!(head.starts_with("post /v1/chat/completions "), "{head}");
    assert_eq!(request["tools"][1]["function"]["name"], "apply_patch");
}

#[tokio::test]
async fn codex_reaches_openai_in_its_own_words() {
    let answer = json!({"id": "resp_9", "object": "response", "status": "completed", "error": null,
        "output": [{"type": "message"}], "usage": {"input_tokens": 30, "output_tokens": 4}});
    let script = vec![
        send(SSE),
        send(
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"error\":null,\"usage\":null}}\n\n",
        ),
        send(
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n",
        ),
        send(format!(
            "event: response.completed\ndata: {}\n\n",
            json!({"type": "response.completed", "response": answer})
        )),
    ];
    let (mut bench, server) = one("openai", Dialect::OpenAi, script).await;
    let (status, body) = post(&bench, "/v1/responses", &codex(true)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        kinds(&events(&body)),
        [
            "response.created",
            "response.output_text.delta",
            "response.completed"
        ]
    );
    let (head, request) = sent(&server);
    assert!(head.starts_with("post /v1/responses "), "{head}");
    assert!(head.contains(&format!(
        "authorization: bearer {}",
        super::providers_tests::KEY
    )));
    assert_eq!(
        (&request["model"], &request["store"]),
        (&json!("big-1"), &json!(false))
    );
    assert_eq!(request["tools"].as_array().unwrap().len(), 2);
    let call = bench.call().await;
    assert!(matches!(call.status, CallStatus::Ok));
    assert_eq!(
        (call.prompt_tokens, call.output_tokens, call.cost_microusd),
        (30, 4, Some(100))
    );
    let failed = json!({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "boom"}}});
    let script = vec![
        send(SSE),
        send("event: response.created\ndata: {\"type\":\"response.created\",\"response\":{}}\n\n"),
        send(format!("event: response.failed\ndata: {failed}\n\n")),
    ];
    let (bench, _server) = one("openai", Dialect::OpenAi, script).await;
    let (_, body) = post(&bench, "/v1/responses", &codex(true)).await;
    let events = events(&body);
    assert_eq!(kinds(&events), ["response.created", "response.failed"]);
    assert_eq!(
        events[1]["response"]["error"]["message"],
        "the model failed: boom"
    );
}
