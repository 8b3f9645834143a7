//! What a session gets of providers that fail, and what its budgets and names allow.

use serde_json::{Value, json};

use super::providers_tests::{KEY, SSE, at, config, delta, event, hi, one, post, stop, whole};
use crate::model::testing::{Act, send, upstream};
use crate::model::{Budget, CallStatus, Dialect, ModelError};

#[tokio::test]
async fn a_key_that_the_provider_echoes_does_not_reach_the_session() {
    let echo =
        json!({"error": {"message": format!("Incorrect API key provided: {KEY}."), "type": "x"}});
    let (mut refused, _server) = one(
        "openai",
        Dialect::OpenAi,
        vec![whole("401 Unauthorized", &echo)],
    )
    .await;
    let (status, body) = post(&refused, "/v1/chat/completions", &hi()).await;
    assert!(
        status == 502 && body.contains("[redacted]") && !body.contains(KEY),
        "{body}"
    );
    let error = refused.failure().await;
    assert!(!format!("{error} {error:?}").contains(KEY));
    assert_eq!(error.code(), "no-model");
    assert!(error.fix().unwrap().contains("KEY"));
    let script = vec![
        send(SSE),
        delta(&json!({"content": KEY})),
        stop("stop"),
        send("data: [DONE]\n\n"),
    ];
    let (echoing, _server) = one("box", Dialect::OpenAi, script).await;
    let (_, body) = post(&echoing, "/v1/chat/completions", &hi()).await;
    assert!(body.contains("[redacted]") && !body.contains(KEY), "{body}");
}

#[tokio::test]
async fn a_provider_without_its_key_is_not_contacted() {
    let server = upstream(vec![whole("200 OK", &json!({}))]).await;
    let mut config = config(&[("openai", Dialect::OpenAi, &server)]);
    config.providers.get_mut("openai").unwrap().key_env = "OTHER".to_owned();
    let mut bench = at(config, &["openai:x"], Budget::default());
    let (status, body) = post(&bench, "/v1/chat/completions", &hi()).await;
    assert!(
        status == 502 && body.contains("needs a key") && body.contains("OTHER"),
        "{body}"
    );
    assert!(matches!(bench.failure().await, ModelError::NoKey { .. }));
    assert!(server.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_key_alone_chooses_nothing() {
    let server = upstream(vec![whole("200 OK", &json!({}))]).await;
    let config = config(&[("openai", Dialect::OpenAi, &server)]);
    let mut bench = at(config, &["gpt-5"], Budget::default());
    assert_eq!(post(&bench, "/v1/chat/completions", &hi()).await.0, 502);
    assert!(matches!(bench.failure().await, ModelError::Unreachable(_)));
    assert!(server.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_next_model_is_asked_when_one_fails_before_its_first_word() {
    let error = json!({"error": {"message": "boom"}});
    let script = vec![
        send(SSE),
        delta(&json!({"content": "from b"})),
        stop("stop"),
        send("data: [DONE]\n\n"),
    ];
    let good = upstream(script).await;
    for failing in [
        vec![whole("500 Internal Server Error", &error)],
        vec![whole("429 Too Many Requests", &error)],
        vec![whole("404 Not Found", &error)],
        vec![send(SSE), event(&error)],
        vec![send(SSE)],
        vec![Act::Hang],
    ] {
        let bad = upstream(failing.clone()).await;
        let mut config = config(&[("a", Dialect::OpenAi, &bad), ("b", Dialect::OpenAi, &good)]);
        config.first_byte_s = 1;
        let mut bench = at(config, &["a:x", "qwen3", "b:y"], Budget::default());
        let (status, body) = post(&bench, "/v1/chat/completions", &hi()).await;
        assert!(
            status == 200 && body.contains("from b"),
            "{failing:?} {body}"
        );
        let first = bench.call().await;
        assert!(matches!(first.status, CallStatus::Failed(_)) && first.fell_back_from.is_none());
        let second = bench.call().await;
        assert_eq!(second.fell_back_from.unwrap().0, "a:x");
        assert!(matches!(
            second.status,
            CallStatus::Failed(ModelError::Unreachable(_))
        ));
        let third = bench.call().await;
        assert_eq!(
            (
                third.model.0.as_str(),
                third.fell_back_from.unwrap().0.as_str()
            ),
            ("b:y", "qwen3")
        );
        assert!(matches!(third.status, CallStatus::Ok));
    }
}

#[tokio::test]
async fn a_request_that_is_refused_and_an_answer_that_began_are_not_tried_elsewhere() {
    let good = upstream(vec![whole("200 OK", &json!({}))]).await;
    for failing in [
        vec![whole(
            "400 Bad Request",
            &json!({"error": {"message": "too long"}}),
        )],
        vec![send(SSE), delta(&json!({"content": "well"}))],
    ] {
        let bad = upstream(failing).await;
        let config = config(&[("a", Dialect::OpenAi, &bad), ("b", Dialect::OpenAi, &good)]);
        let mut bench = at(config, &["a:x", "b:y"], Budget::default());
        post(&bench, "/v1/chat/completions", &hi()).await;
        assert!(matches!(bench.call().await.status, CallStatus::Failed(_)));
        assert!(bench.calls.try_recv().is_err());
    }
    assert!(good.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_budget_of_money_ends_a_call_and_refuses_the_next() {
    let mut script = vec![send(SSE)];
    script.extend((0..20).map(|_| delta(&json!({"content": "word "}))));
    script.extend([stop("stop"), send("data: [DONE]\n\n")]);
    let server = upstream(script).await;
    let money = Budget {
        microusd: Some(50),
        ..Budget::default()
    };
    let mut bench = at(
        config(&[("openai", Dialect::OpenAi, &server)]),
        &["openai:x"],
        money,
    );
    let (status, body) = post(&bench, "/v1/chat/completions", &hi()).await;
    assert!(
        status == 200 && body.contains("budget of 0.00005 US dollars is used up"),
        "{body}"
    );
    assert_eq!(body.matches("word").count(), 4);
    let call = bench.call().await;
    assert!(matches!(
        call.status,
        CallStatus::Failed(ModelError::Money { limit: 50 })
    ));
    assert_eq!(call.cost_microusd, Some(50));
    let (status, body) = post(&bench, "/v1/chat/completions", &hi()).await;
    assert!(
        status == 402 && body.contains("insufficient_quota"),
        "{body}"
    );
    let error = bench.failure().await;
    assert!(error.is_budget() && error.code() == "quota");
    assert_eq!(server.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn without_a_price_there_is_no_budget_of_money() {
    let server = upstream(vec![whole("200 OK", &json!({}))]).await;
    let mut config = config(&[("openai", Dialect::OpenAi, &server)]);
    let openai = config.providers.get_mut("openai").unwrap();
    (openai.price_in, openai.price_out) = (None, None);
    openai.url = "https://127.0.0.1:1/v1".to_owned();
    let money = Budget {
        microusd: Some(50),
        ..Budget::default()
    };
    let mut bench = at(config, &["openai:x"], money);
    assert_eq!(post(&bench, "/v1/chat/completions", &hi()).await.0, 402);
    let error = bench.failure().await;
    assert!(
        matches!(error, ModelError::NoPrice { .. }) && error.fix().unwrap().contains("price_in")
    );
}

#[tokio::test]
async fn the_next_model_may_speak_another_dialect() {
    let answer = json!({"content": [{"type": "text", "text": "from b"}], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let server = upstream(vec![whole("200 OK", &answer)]).await;
    let config = config(&[("anthropic", Dialect::Anthropic, &server)]);
    let mut bench = at(config, &["qwen3", "anthropic:x"], Budget::default());
    let asks = json!({"messages": [{"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "treefort"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "its own"}]}]});
    let (status, body) = post(&bench, "/v1/messages", &asks).await;
    assert_eq!(
        (status, serde_json::from_str::<Value>(&body).unwrap()),
        (200, answer)
    );
    let (_, request) = super::providers_tests::sent(&server);
    let messages = request["messages"].as_array().unwrap();
    assert_eq!(
        (messages.len(), &messages[1]["content"][0]["signature"]),
        (2, &json!("its own")),
        "what another model thought is not shown to this one"
    );
    assert!(matches!(bench.failure().await, ModelError::Unreachable(_)));
    let (status, body) = post(&bench, "/v1beta/files", &json!({})).await;
    assert!(
        status == 403 && body.contains("PERMISSION_DENIED"),
        "{body}"
    );
    let (status, body) = post(&bench, "/v1/messages/batches", &json!({})).await;
    assert!(status == 403 && body.contains("permission_error"), "{body}");
    assert!(server.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_session_that_hangs_up_ends_the_providers_work() {
    use tokio::io::AsyncWriteExt;
    let script = vec![send(SSE), delta(&json!({"content": "x"})), Act::Hang];
    let (mut bench, server) = one("openai", Dialect::OpenAi, script).await;
    let mut near = bench.connect();
    let body = hi().to_string();
    let text = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-api-key: secret\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    near.write_all(text.as_bytes()).await.unwrap();
    while server.requests.lock().unwrap().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    drop(near);
    server.is_left().await;
    assert!(matches!(bench.failure().await, ModelError::Cancelled));
}
