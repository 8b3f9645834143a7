//! Agents that speak Gemini's API, in front of models that do not.

use serde_json::{Value, json};

use super::dialects_tests::ollama;
use super::providers_tests::{SSE, event, one, post, sent};
use super::tests::plain;
use super::v1_tests::{done, line};
use crate::model::testing::{OK, send};
use crate::model::{CallStatus, Dialect};

const WHOLE: &str = "/v1beta/models/gemini-3-pro:generateContent";
const EVENTS: &str = "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse";
const LIST: &str = "/v1beta/models/gemini-3-pro:streamGenerateContent";

/// A request as Gemini CLI writes it, with results of calls with and without ids.
fn gemini() -> Value {
    json!({
        "systemInstruction": {"role": "user", "parts": [{"text": "be brief"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]},
            {"role": "model", "parts": [{"text": "hm", "thought": true}, {"text": "I look."},
                {"functionCall": {"name": "write", "args": {"path": "b"}}, "thoughtSignature": "s"}]},
            {"role": "model", "parts": [{"functionCall": {"id": "own", "name": "read", "args": {}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "own", "name": "read", "response": {"error": "no"}}},
                {"functionResponse": {"name": "write", "response": {"output": "done"},
                    "parts": [{"inlineData": {"mimeType": "image/png", "data": "b2s="}}]}},
                {"text": "go on"}]}],
        "tools": [{"functionDeclarations": [
            {"name": "write", "description": "writes", "parametersJsonSchema": {"type": "object"}},
            {"name": "read", "parameters": {"type": "OBJECT", "properties": {
                "type": {"type": "STRING", "minLength": "1"}, "all": {"type": "ARRAY", "items": {"type": "INTEGER"}}}}}]},
            {"googleSearch": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "safetySettings": [{"category": "c", "threshold": "t"}],
        "generationConfig": {"temperature": 1, "topP": 0.9, "maxOutputTokens": 77, "stopSequences": ["X"],
            "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 8192}},
    })
}

fn parts(response: &Value) -> &Value {
    &response["candidates"][0]["content"]["parts"]
}

#[tokio::test]
async fn gemini_cli_is_answered_by_ollama() {
    for (path, list) in [(EVENTS, false), (LIST, true)] {
        let (mut bench, server) = ollama().await;
        let (status, body) = post(&bench, path, &gemini()).await;
        assert_eq!(status, 200, "{body}");
        let pieces: Vec<Value> = if list {
            serde_json::from_str(&body).unwrap()
        } else {
            let data = |frame: &str| serde_json::from_str(frame.strip_prefix("data: ").unwrap());
            let frames = body.split("\n\n").filter(|frame| !frame.is_empty());
            frames.map(|frame| data(frame).unwrap()).collect()
        };
        let said: Vec<&Value> = pieces.iter().map(|piece| &parts(piece)[0]).collect();
        assert_eq!(said[1], &json!({"text": "m", "thought": true}));
        assert_eq!(said[3], &json!({"text": "ite."}));
        let call = &said[4]["functionCall"];
        assert_eq!(
            (&call["name"], &call["args"]),
            (&json!("write"), &json!({"path": "a"}))
        );
        assert!(call["id"].as_str().unwrap().starts_with("call_"), "{call}");
        assert_eq!(said[5]["functionCall"]["id"], "own");
        let last = &pieces[6];
        assert_eq!(
            (pieces.len(), &last["candidates"][0]["finishReason"]),
            (7, &json!("STOP"))
        );
        assert_eq!(
            last["usageMetadata"],
            json!({"promptTokenCount": 20, "candidatesTokenCount": 5, "totalTokenCount": 25})
        );
        assert_eq!(last["modelVersion"], "m:1");
        let (_, request) = sent(&server);
        assert_eq!(
            request,
            json!({"model": "m:1", "stream": true, "keep_alive": "10m",
                "options": {"temperature": 0.5, "top_p": 0.9, "num_ctx": 8192, "num_predict": 77, "stop": ["X"]},
                "tools": [
                    {"type": "function", "function": {"name": "write", "description": "writes", "parameters": {"type": "object"}}},
                    {"type": "function", "function": {"name": "read", "description": "", "parameters": {"type": "object",
                        "properties": {"type": {"type": "string", "minLength": 1},
                            "all": {"type": "array", "items": {"type": "integer"}}}}}}],
                "messages": [
                    {"role": "system", "content": "be brief"},
                    {"role": "user", "content": "look", "images": ["aGk="]},
                    {"role": "assistant", "content": "I look.", "thinking": "hm", "tool_calls": [
                        {"id": "call_1", "function": {"name": "write", "arguments": {"path": "b"}}},
                        {"id": "own", "function": {"name": "read", "arguments": {}}}]},
                    {"role": "tool", "content": "The tool failed:\nno", "tool_call_id": "own", "tool_name": "read"},
                    {"role": "tool", "content": "done", "tool_call_id": "call_1", "tool_name": "write"},
                    {"role": "user", "content": "go on", "images": ["b2s="]}]})
        );
        let call = bench.call().await;
        assert!(matches!(call.status, CallStatus::Ok) && call.prompt_tokens == 20);
    }
}

#[tokio::test]
async fn gemini_cli_gets_a_whole_answer_and_counts() {
    let whole = json!({"message": {"role": "assistant", "content": "{}", "thinking": "hm"},
        "done": true, "done_reason": "length", "prompt_eval_count": 3, "eval_count": 4});
    let (bench, server) = plain(vec![send(OK), send(whole.to_string())]).await;
    let mut asks = json!({"contents": [{"parts": [{"text": "next speaker?"}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}}});
    let (status, body) = post(&bench, WHOLE, &asks).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &body["candidates"][0]["finishReason"]),
        (200, &json!("MAX_TOKENS"))
    );
    assert_eq!(
        parts(&body),
        &json!([{"text": "hm", "thought": true}, {"text": "{}"}])
    );
    let (_, request) = sent(&server);
    assert_eq!(
        (&request["format"], &request["stream"]),
        (&json!({"type": "object"}), &json!(false))
    );
    asks["generationConfig"] = json!({"responseMimeType": "application/json"});
    post(&bench, WHOLE, &asks).await;
    assert_eq!(sent(&server).1["format"], "json");
    let path = "/v1beta/models/gemini-3-pro:countTokens";
    let (status, body) = post(&bench, path, &gemini()).await;
    let counted = serde_json::from_str::<Value>(&body).unwrap()["totalTokens"]
        .as_u64()
        .unwrap();
    assert!(status == 200 && (3_200..4_000).contains(&counted), "{body}");
    assert!(
        server.requests.lock().unwrap().is_empty(),
        "no model was asked"
    );
}

#[tokio::test]
async fn some_functions_or_none_are_offered() {
    for (config, names, choice) in [
        (
            json!({"mode": "ANY", "allowedFunctionNames": ["read"]}),
            vec!["read"],
            json!("required"),
        ),
        (
            json!({"mode": "ANY"}),
            vec!["write", "read"],
            json!("required"),
        ),
        (
            json!({"mode": "NONE"}),
            vec!["write", "read"],
            json!("none"),
        ),
    ] {
        let answer =
            json!({"choices": [{"message": {"content": "x"}, "finish_reason": "content_filter"}]});
        let script = vec![super::providers_tests::whole("200 OK", &answer)];
        let (bench, server) = one("box", Dialect::OpenAi, script).await;
        let mut asks = gemini();
        asks["toolConfig"]["functionCallingConfig"] = config;
        let (_, body) = post(&bench, WHOLE, &asks).await;
        assert!(body.contains("\"finishReason\":\"SAFETY\""), "{body}");
        let (_, request) = sent(&server);
        let offered = request["tools"].as_array().unwrap().iter();
        let offered: Vec<&str> = offered
            .map(|t| t["function"]["name"].as_str().unwrap())
            .collect();
        assert_eq!((offered, &request["tool_choice"]), (names, &choice));
    }
}

#[tokio::test]
async fn a_list_is_a_list_to_its_end() {
    let (bench, _server) = plain(vec![
        send(OK),
        line(&json!({"content": "well"})),
        send("{\"error\":\"boom\"}\n"),
    ])
    .await;
    let (_, body) = post(&bench, LIST, &gemini()).await;
    let list: Vec<Value> = serde_json::from_str(&body).unwrap();
    assert_eq!(list[1]["error"]["message"], "the model failed: boom");
    let (bench, _server) = plain(vec![send(OK), done("stop")]).await;
    let (_, body) = post(&bench, LIST, &gemini()).await;
    let list: Vec<Value> = serde_json::from_str(&body).unwrap();
    assert_eq!(list.len(), 1);
    let piece =
        json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]});
    let script = vec![send(SSE), event(&piece), event(&piece)];
    let (bench, server) = one("gemini", Dialect::Gemini, script).await;
    let (_, body) = post(&bench, LIST, &gemini()).await;
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!([piece, piece])
    );
    let (head, request) = sent(&server);
    assert!(head.contains(":streamgeneratecontent?alt=sse "), "{head}");
    assert_eq!(
        request["tools"].as_array().unwrap().len(),
        1,
        "Google's own search is left out"
    );
    let (bench, _server) = one(
        "gemini",
        Dialect::Gemini,
        vec![
            send(SSE),
            event(&json!({"candidates": [{"content": {"parts": [{"text": "x"}]}}]})),
        ],
    )
    .await;
    let (_, body) = post(&bench, LIST, &gemini()).await;
    let list: Vec<Value> = serde_json::from_str(&body).unwrap();
    assert_eq!(list[1]["error"]["status"], "UNAVAILABLE");
    let asks = json!({"contents": [{"parts": [{"text": "hi"}]}], "tools": [{"googleSearch": {}}]});
    let (status, body) = post(&bench, LIST, &asks).await;
    assert!(status == 400 && body.contains("googleSearch"), "{body}");
}
