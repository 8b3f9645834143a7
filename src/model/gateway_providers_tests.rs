//! Providers behind the gateway, each a scripted server over real HTTP.

use serde_json::{Value, json};

use super::tests::{Bench, bench_with};
use crate::model::testing::{Act, Upstream, send, upstream};
use crate::model::{Budget, CallStatus, Config, Dialect, ModelError, ModelOptions, ProviderConfig};

pub(in crate::model) const KEY: &str = "sk-host-key-1234567890";
pub(in crate::model) const SSE: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

pub(in crate::model) fn whole(status: &str, body: &Value) -> Act {
    let body = body.to_string();
    send(format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

pub(in crate::model) fn event(value: &Value) -> Act {
    send(format!("data: {value}\n\n"))
}

pub(in crate::model) fn named(value: &Value) -> Act {
    send(format!(
        "event: {}\ndata: {value}\n\n",
        value["type"].as_str().unwrap()
    ))
}

/// A provider at a scripted server; `name` decides which key and flavour it has.
pub(in crate::model) fn config(providers: &[(&str, Dialect, &Upstream)]) -> Config {
    let mut config = Config {
        ollama: "127.0.0.1:1".to_owned(),
        ..Config::default()
    };
    for (name, dialect, server) in providers {
        let path = if *dialect == Dialect::OpenAi {
            "/v1"
        } else {
            ""
        };
        let provider = ProviderConfig {
            dialect: Some(*dialect),
            url: format!("{}{path}", server.url),
            key_env: "KEY".to_owned(),
            price_in: Some(2.0),
            price_out: Some(10.0),
        };
        config.providers.insert((*name).to_owned(), provider);
    }
    config
}

pub(in crate::model) fn at(config: Config, models: &[&str], budget: Budget) -> Bench {
    let env = |name: &str| (name == "KEY").then(|| KEY.to_owned());
    bench_with(config, &env, models, ModelOptions::default(), budget)
}

pub(in crate::model) async fn one(
    name: &str,
    dialect: Dialect,
    acts: Vec<Act>,
) -> (Bench, Upstream) {
    let server = upstream(acts).await;
    let model = format!("{name}:big-1");
    let bench = at(
        config(&[(name, dialect, &server)]),
        &[&model],
        Budget::default(),
    );
    (bench, server)
}

pub(in crate::model) async fn post(bench: &Bench, path: &str, body: &Value) -> (u16, String) {
    let head = format!("POST {path} HTTP/1.1\r\nAuthorization: Bearer secret");
    bench.exchange(&head, &body.to_string()).await
}

pub(in crate::model) fn sent(server: &Upstream) -> (String, Value) {
    let request = server.requests.lock().unwrap().pop().unwrap();
    assert!(
        !request.contains("secret"),
        "the session's token went out: {request}"
    );
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), serde_json::from_str(body).unwrap())
}

pub(in crate::model) fn hi() -> Value {
    json!({"model": "gpt-5.6-luna", "stream": true, "messages": [{"role": "user", "content": "hi"}]})
}

pub(in crate::model) fn delta(delta: &Value) -> Act {
    event(&json!({"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]}))
}

pub(in crate::model) fn stop(reason: &str) -> Act {
    event(&json!({"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
}

fn counts() -> Act {
    event(
        &json!({"id": "1", "choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 4}}),
    )
}

#[tokio::test]
async fn openai_is_asked_with_the_hosts_key_and_metered_in_money() {
    let script = vec![
        send(SSE),
        delta(&json!({"role": "assistant", "content": ""})),
        delta(&json!({"content": "hé"})),
        stop("stop"),
        counts(),
        send("data: [DONE]\n\n"),
    ];
    let (mut bench, server) = one("openai", Dialect::OpenAi, script).await;
    let (status, body) = post(&bench, "/v1/chat/completions", &hi()).await;
    assert!(
        status == 200 && body.ends_with("data: [DONE]\n\n") && body.contains("hé"),
        "{body}"
    );
    assert!(
        !body.contains("usage"),
        "the session did not ask for counts: {body}"
    );
    let (head, request) = sent(&server);
    assert!(
        head.starts_with("post /v1/chat/completions http/1.1"),
        "{head}"
    );
    assert!(
        head.contains(&format!("authorization: bearer {KEY}")),
        "{head}"
    );
    assert_eq!(
        request,
        json!({"model": "big-1", "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "hi"}]})
    );
    let call = bench.call().await;
    assert!(matches!(call.status, CallStatus::Ok) && call.local && !call.truncated);
    assert_eq!(
        (call.model.0.as_str(), call.provider.as_str()),
        ("openai:big-1", "openai")
    );
    assert_eq!((call.prompt_tokens, call.output_tokens), (30, 4));
    assert_eq!(call.cost_microusd, Some(100));

    let mut asks = hi();
    asks["stream_options"] = json!({"include_usage": true});
    let (_, body) = post(&bench, "/v1/chat/completions", &asks).await;
    assert!(body.contains("\"usage\""), "{body}");
}

#[tokio::test]
async fn a_whole_answer_of_openais_is_metered_too() {
    let answer = json!({"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1}});
    let (mut bench, server) = one("box", Dialect::OpenAi, vec![whole("200 OK", &answer)]).await;
    let asks = json!({"max_tokens": 9, "messages": [{"role": "developer", "content": "x"}]});
    let (status, body) = post(&bench, "/v1/chat/completions", &asks).await;
    assert_eq!(
        (status, serde_json::from_str::<Value>(&body).unwrap()),
        (200, answer)
    );
    let (_, request) = sent(&server);
    assert_eq!(
        request,
        json!({"model": "big-1", "stream": false, "max_tokens": 9,
            "messages": [{"role": "system", "content": "x"}]})
    );
    assert_eq!(bench.call().await.cost_microusd, Some(20));
}

#[tokio::test]
async fn the_chat_agent_reaches_every_provider_by_its_openai_endpoint() {
    for (name, dialect, path) in [
        ("openai", Dialect::OpenAi, "/v1/chat/completions"),
        ("anthropic", Dialect::Anthropic, "/v1/chat/completions"),
        ("gemini", Dialect::Gemini, "/v1beta/openai/chat/completions"),
    ] {
        let call = |piece: &Value| delta(&json!({"tool_calls": [piece]}));
        let script = vec![
            send(SSE),
            delta(&json!({"reasoning_content": "hm"})),
            delta(&json!({"content": "one "})),
            delta(&json!({"content": "two"})),
            call(
                &json!({"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{\"a\""}}),
            ),
            call(&json!({"index": 0, "function": {"arguments": ":1}"}})),
            stop("tool_calls"),
            counts(),
            // The stream ends without `[DONE]`, as some servers' do.
        ];
        let (mut bench, server) = one(name, dialect, script).await;
        let asks = json!({"messages": [
            {"role": "user", "content": "look", "images": ["iVBORw0"]},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "g", "arguments": {"b": 2}}}]},
            {"role": "tool", "tool_name": "g", "content": "3"}]});
        let (status, body) = post(&bench, "/api/chat", &asks).await;
        assert_eq!(status, 200, "{body}");
        let lines: Vec<Value> = body
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines[0]["message"],
            json!({"role": "assistant", "content": "", "thinking": "hm"})
        );
        assert_eq!(
            (
                &lines[1]["message"]["content"],
                &lines[2]["message"]["content"]
            ),
            (&json!("one "), &json!("two"))
        );
        assert_eq!(
            lines[3]["message"]["tool_calls"],
            json!([{"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}])
        );
        assert_eq!(
            (&lines[3]["done"], &lines[3]["prompt_eval_count"]),
            (&json!(true), &json!(30))
        );
        assert_eq!(lines.len(), 4);
        let (head, request) = sent(&server);
        assert!(head.starts_with(&format!("post {path} ")), "{head}");
        assert!(
            head.contains(&format!("authorization: bearer {KEY}")),
            "{head}"
        );
        let mut asked = json!({"id": "call_1", "type": "function", "function": {"name": "g", "arguments": "{\"b\":2}"}});
        if dialect == Dialect::Gemini {
            asked["extra_content"] =
                json!({"google": {"thought_signature": "skip_thought_signature_validator"}});
        }
        assert_eq!(
            request["messages"],
            json!([
                {"role": "user", "content": [{"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0"}}]},
                {"role": "assistant", "content": "", "tool_calls": [asked]},
                {"role": "tool", "content": "3", "tool_call_id": "call_1"}])
        );
        let call = bench.call().await;
        assert_eq!((call.prompt_tokens, call.output_tokens), (30, 4));
        assert_eq!(call.provider, name);
    }
}

fn anthropic_stream() -> Vec<Act> {
    vec![
        send(SSE),
        named(
            &json!({"type": "message_start", "message": {"usage": {"input_tokens": 10,
            "cache_read_input_tokens": 5, "cache_creation_input_tokens": 1, "output_tokens": 1}}}),
        ),
        named(&json!({"type": "ping"})),
        named(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hé"}}),
        ),
        named(
            &json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}),
        ),
        named(&json!({"type": "message_stop"})),
    ]
}

#[tokio::test]
async fn anthropics_dialect_passes_in_its_own_words() {
    let (mut bench, server) = one("anthropic", Dialect::Anthropic, anthropic_stream()).await;
    let head = "POST /v1/messages?beta=true HTTP/1.1\r\nx-api-key: secret\r\nanthropic-version: 2023-06-01\r\n\
        anthropic-beta: mcp-client-2025-04-04,interleaved-thinking-2025-05-14\r\nx-stainless-os: Linux";
    let asks = json!({"model": "claude-haiku", "max_tokens": 50, "stream": true,
        "messages": [{"role": "user", "content": "hi"}]});
    let (status, body) = bench.exchange(head, &asks.to_string()).await;
    assert_eq!(status, 200, "{body}");
    let events: Vec<&str> = body
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(
        events,
        [
            "message_start",
            "ping",
            "content_block_delta",
            "message_delta",
            "message_stop"
        ]
    );
    let (head, request) = sent(&server);
    assert!(head.starts_with("post /v1/messages http"), "{head}");
    for expected in [
        format!("x-api-key: {KEY}"),
        "anthropic-version: 2023-06-01".to_owned(),
        "anthropic-beta: interleaved-thinking-2025-05-14\r\n".to_owned(),
    ] {
        assert!(head.contains(&expected), "{expected} in {head}");
    }
    assert!(!head.contains("stainless"), "{head}");
    assert_eq!(
        (&request["model"], &request["max_tokens"]),
        (&json!("big-1"), &json!(50))
    );
    let call = bench.call().await;
    assert_eq!(
        (call.prompt_tokens, call.output_tokens, call.cost_microusd),
        (16, 7, Some(102))
    );
}

#[tokio::test]
async fn anthropic_counts_tokens_at_no_cost() {
    let answer = json!({"input_tokens": 2095});
    let (mut bench, server) = one(
        "anthropic",
        Dialect::Anthropic,
        vec![whole("200 OK", &answer)],
    )
    .await;
    let asks = json!({"model": "x", "messages": [{"role": "user", "content": "hi ".repeat(500)}]});
    let (status, body) = post(&bench, "/v1/messages/count_tokens", &asks).await;
    assert_eq!((status, body), (200, answer.to_string()));
    let (head, request) = sent(&server);
    assert!(
        head.starts_with("post /v1/messages/count_tokens "),
        "{head}"
    );
    assert!(request.get("max_tokens").is_none());
    let call = bench.call().await;
    assert_eq!((call.prompt_tokens, call.cost_microusd), (0, Some(0)));
}

#[tokio::test]
async fn geminis_dialect_passes_in_its_own_words() {
    let script = vec![
        send(SSE),
        event(
            &json!({"candidates": [{"content": {"parts": [{"text": "hé"}]}}], "usageMetadata": {"promptTokenCount": 8}}),
        ),
        event(
            &json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {}}}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 3, "thoughtsTokenCount": 2}}),
        ),
    ];
    let (mut bench, server) = one("gemini", Dialect::Gemini, script).await;
    let asks = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    for auth in ["x-goog-api-key: secret", "Authorization: Bearer secret"] {
        let head = format!(
            "POST /v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse HTTP/1.1\r\n{auth}"
        );
        let (status, body) = bench.exchange(&head, &asks.to_string()).await;
        assert!(
            status == 200 && body.contains("hé") && body.contains("functionCall"),
            "{body}"
        );
        let (head, _) = sent(&server);
        assert!(
            head.starts_with("post /v1beta/models/big-1:streamgeneratecontent?alt=sse "),
            "{head}"
        );
        assert!(head.contains(&format!("x-goog-api-key: {KEY}")), "{head}");
        let call = bench.call().await;
        assert!(matches!(call.status, CallStatus::Ok));
        assert_eq!((call.prompt_tokens, call.output_tokens), (8, 5));
    }
    let head = "POST /v1beta/models/x:streamGenerateContent?alt=sse&key=secret HTTP/1.1";
    assert_eq!(bench.exchange(head, &asks.to_string()).await.0, 200);
    let head = "POST /v1beta/models/x:streamGenerateContent?alt=sse&key=secret2 HTTP/1.1";
    let (status, body) = bench.exchange(head, &asks.to_string()).await;
    assert!(status == 401 && body.contains("UNAUTHENTICATED"), "{body}");
}

#[tokio::test]
async fn an_answer_without_its_end_was_cut_off_in_every_dialect() {
    let cut = vec![send(SSE), delta(&json!({"content": "x"}))];
    let (mut openai, _server) = one("openai", Dialect::OpenAi, cut).await;
    let (_, body) = post(&openai, "/v1/chat/completions", &hi()).await;
    assert!(
        body.contains("cut off") && !body.contains("[DONE]"),
        "{body}"
    );
    assert!(matches!(openai.failure().await, ModelError::Cut(_)));

    let mut cut = anthropic_stream();
    cut.pop();
    let (mut anthropic, _server) = one("anthropic", Dialect::Anthropic, cut).await;
    let asks = json!({"stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let (_, body) = post(&anthropic, "/v1/messages", &asks).await;
    let last = body.trim_end().rsplit("\n\n").next().unwrap();
    assert!(
        last.starts_with("event: error\ndata: {\"type\":\"error\""),
        "{last}"
    );
    let call = anthropic.call().await;
    assert!(matches!(
        call.status,
        CallStatus::Failed(ModelError::Cut(_))
    ));
    assert_eq!(
        call.cost_microusd,
        Some(42 + 60),
        "what was counted until then costs"
    );

    let cut = vec![
        send(SSE),
        event(&json!({"candidates": [{"content": {"parts": [{"text": "x"}]}}]})),
    ];
    let (mut gemini, _server) = one("gemini", Dialect::Gemini, cut).await;
    let asks = json!({"contents": [{"parts": [{"text": "hi"}]}]});
    let (_, body) = post(&gemini, "/v1beta/models/x:streamGenerateContent", &asks).await;
    assert!(body.contains("\"status\":\"UNAVAILABLE\""), "{body}");
    assert!(matches!(gemini.failure().await, ModelError::Cut(_)));
}

#[tokio::test]
async fn an_error_inside_an_answer_is_told_in_the_agents_words() {
    let mut script = anthropic_stream();
    script.truncate(4);
    let overloaded =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    script.push(named(&overloaded));
    let (mut bench, _server) = one("anthropic", Dialect::Anthropic, script).await;
    let asks = json!({"stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let (_, body) = post(&bench, "/v1/messages", &asks).await;
    assert!(body.contains("the model failed: Overloaded"), "{body}");
    assert!(matches!(bench.failure().await, ModelError::InStream { .. }));
}
