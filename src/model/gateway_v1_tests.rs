//! OpenAI's API at the gateway, in front of Ollama.

use serde_json::{Value, json};

use super::tests::{Bench, plain};
use crate::model::testing::{Act, OK, send};
use crate::model::{CallStatus, ModelError};

const POST: &str = "POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer secret";

async fn ask(bench: &Bench, body: &Value) -> (u16, String) {
    bench.exchange(POST, &body.to_string()).await
}

/// The chunks of an answer; the last must be `[DONE]`.
fn chunks(body: &str) -> Vec<Value> {
    let mut frames: Vec<&str> = body.split("\n\n").filter(|part| !part.is_empty()).collect();
    assert_eq!(frames.pop(), Some("data: [DONE]"), "{body}");
    let data = |frame: &str| serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap();
    frames.into_iter().map(data).collect()
}

pub(super) fn line(message: &Value) -> Act {
    send(format!("{}\n", json!({"message": message, "done": false})))
}

pub(super) fn done(reason: &str) -> Act {
    send(format!(
        "{}\n",
        json!({"message": {"role": "assistant", "content": ""}, "done": true, "done_reason": reason,
            "prompt_eval_count": 20, "eval_count": 5, "load_duration": 3_000_000})
    ))
}

#[tokio::test]
async fn a_streamed_answer_comes_in_openais_words_and_is_metered() {
    let (mut bench, upstream) = plain(vec![
        send(OK),
        line(&json!({"content": "", "thinking": "hm"})),
        line(&json!({"content": "hé"})),
        line(&json!({"content": "llo"})),
        done("stop"),
    ])
    .await;
    let (status, body) = ask(
        &bench,
        &json!({"model": "gpt-5.6-luna", "stream": true, "stream_options": {"include_usage": true},
            "max_tokens": 77, "temperature": 1, "stop": "X",
            "messages": [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}]}),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let chunks = chunks(&body);
    let deltas: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"])
        .collect();
    assert_eq!(
        deltas[0],
        &json!({"role": "assistant", "reasoning_content": "hm"})
    );
    assert_eq!(
        (deltas[1], deltas[2]),
        (&json!({"content": "hé"}), &json!({"content": "llo"}))
    );
    assert_eq!(chunks[3]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[4]["choices"], json!([]));
    assert_eq!(
        chunks[4]["usage"],
        json!({"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25})
    );
    assert_eq!(chunks.len(), 5);
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(
            (&chunk["id"], &chunk["model"]),
            (&chunks[0]["id"], &json!("m:1"))
        );
    }
    let call = bench.call().await;
    assert!(matches!(call.status, CallStatus::Ok));
    assert_eq!(
        (call.prompt_tokens, call.output_tokens, call.load_ms),
        (20, 5, Some(3))
    );
    let request = upstream.requests.lock().unwrap().pop().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /api/chat ") && !request.contains("secret"),
        "{head}"
    );
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({
            "model": "m:1", "stream": true, "keep_alive": "10m",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
            "options": {"temperature": 0.5, "num_ctx": 8192, "num_predict": 77, "stop": "X"},
        })
    );
}

#[tokio::test]
async fn tool_calls_are_translated_both_ways() {
    let (bench, upstream) = plain(vec![
        send(OK),
        line(&json!({"content": "I write."})),
        line(&json!({"content": "", "tool_calls": [
            {"function": {"name": "write", "arguments": {"path": "a", "n": 1}}},
            {"id": "own", "function": {"name": "write", "arguments": {}}}]})),
        done("stop"),
    ])
    .await;
    let tools = json!([
        {"type": "function", "function": {"name": "write", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "read", "description": "reads"}}]);
    let call = |id: &str, arguments: &str| {
        json!({"id": id, "type": "function",
        "function": {"name": "write", "arguments": arguments}})
    };
    let (_, body) = ask(
        &bench,
        &json!({"stream": true, "tools": tools, "messages": [
            {"role": "user", "content": [{"type": "text", "text": "write"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
            {"role": "assistant", "content": null, "tool_calls": [call("c1", "{\"path\":\"b\"}"), call("c2", "{\"pa")]},
            {"role": "tool", "tool_call_id": "c1", "content": "done"},
            {"role": "tool", "tool_call_id": "c2", "content": "no"}]}),
    )
    .await;
    let chunks = chunks(&body);
    let calls = [1, 2].map(|at| &chunks[at]["choices"][0]["delta"]["tool_calls"][0]);
    assert_eq!(
        (&calls[0]["index"], &calls[1]["index"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(
        calls[0]["function"],
        json!({"name": "write", "arguments": "{\"path\":\"a\",\"n\":1}"})
    );
    assert_eq!(calls[1]["id"], "own");
    assert!(calls[0]["id"].as_str().unwrap().starts_with("call_"));
    assert_eq!(chunks[3]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(chunks.len(), 4, "no counts were asked for");
    let request = upstream.requests.lock().unwrap().pop().unwrap();
    let sent: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        sent["messages"],
        json!([
            {"role": "user", "content": "write", "images": ["aGk="]},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "c1", "function": {"name": "write", "arguments": {"path": "b"}}},
                {"id": "c2", "function": {"name": "write", "arguments": {"invalid": "{\"pa"}}}]},
            {"role": "tool", "content": "done", "tool_call_id": "c1", "tool_name": "write"},
            {"role": "tool", "content": "no", "tool_call_id": "c2", "tool_name": "write"}])
    );
    assert_eq!(
        sent["tools"][1]["function"],
        json!({"name": "read", "description": "reads", "parameters": {"type": "object", "properties": {}}})
    );
}

#[tokio::test]
async fn a_whole_answer_has_its_calls_and_counts() {
    let whole = json!({"message": {"role": "assistant", "content": "hi", "tool_calls": [
            {"function": {"name": "f", "arguments": {"a": 1}}}]},
        "done": true, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 4});
    let (mut bench, _upstream) = plain(vec![send(OK), send(whole.to_string())]).await;
    let (status, body) = ask(
        &bench,
        &json!({"messages": [{"role": "user", "content": "x"}]}),
    )
    .await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["object"]), (200, &json!("chat.completion")));
    let choice = &body["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("hi"), &json!("tool_calls"))
    );
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        call["function"],
        json!({"name": "f", "arguments": "{\"a\":1}"})
    );
    assert!(call.get("index").is_none());
    assert_eq!(body["usage"]["total_tokens"], 7);
    assert_eq!(bench.call().await.prompt_tokens, 3);
}

#[tokio::test]
async fn a_prompt_that_did_not_fit_is_seen() {
    let lost = json!({"message": {"content": "?"}, "done": true, "prompt_eval_count": 4096, "eval_count": 1});
    let (mut bench, _upstream) = plain(vec![send(OK), send(lost.to_string())]).await;
    let long = "word ".repeat(8_000);
    ask(
        &bench,
        &json!({"messages": [{"role": "system", "content": [{"type": "text", "text": long}]}]}),
    )
    .await;
    assert!(
        !bench.call().await.truncated,
        "it may have fitted: old servers leave cached tokens out"
    );
    ask(
        &bench,
        &json!({"messages": [{"role": "user", "content": "word ".repeat(20_000)}]}),
    )
    .await;
    assert!(bench.call().await.truncated);
}

#[tokio::test]
async fn failures_have_openais_shape_before_and_inside_an_answer() {
    let body = json!({"stream": true, "messages": [{"role": "user", "content": "x"}]});
    let error = "{\"error\":\"model 'm:1' not found\"}";
    let head = format!(
        "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{error}",
        error.len()
    );
    let (mut missing, _upstream) = plain(vec![send(head)]).await;
    let (status, answer) = ask(&missing, &body).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (status, &answer["error"]["code"]),
        (404, &json!("no-model"))
    );
    assert_eq!(answer["error"]["type"], "invalid_request_error");
    assert!(answer["error"]["message"].as_str().unwrap().contains("m:1"));
    assert!(matches!(
        missing.failure().await,
        ModelError::NotFound { .. }
    ));

    let (mut broken, _upstream) = plain(vec![
        send(OK),
        line(&json!({"content": "well"})),
        send("{\"error\":\"out of memory\"}\n"),
    ])
    .await;
    let (status, answer) = ask(&broken, &body).await;
    let last = answer.trim_end().rsplit("\n\n").next().unwrap();
    let last: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(
        (status, &last["error"]["message"]),
        (200, &json!("the model failed: out of memory"))
    );
    assert!(!answer.contains("[DONE]"));
    assert!(matches!(
        broken.failure().await,
        ModelError::InStream { .. }
    ));

    let (status, answer) = ask(&broken, &json!({"messages": [], "stream": true})).await;
    assert!(
        status == 400 && answer.contains("\"message\":\"there are no messages\""),
        "{answer}"
    );
    let (status, answer) = broken
        .exchange(
            "POST /v1/files HTTP/1.1\r\nAuthorization: Bearer secret",
            "{}",
        )
        .await;
    assert!(status == 403 && answer.contains("\"message\""), "{answer}");
}

#[tokio::test]
async fn the_only_model_listed_is_the_sessions() {
    let (bench, upstream) = plain(vec![]).await;
    let (status, body) = bench
        .exchange(
            "GET /v1/models HTTP/1.1\r\nAuthorization: Bearer secret",
            "",
        )
        .await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["data"][0]["id"]), (200, &json!("m:1")));
    assert_eq!(body["data"].as_array().unwrap().len(), 1);
    assert!(upstream.requests.lock().unwrap().is_empty());
}
