use super::*;

fn parse(body: &Value) -> Result<OpenAiChat, String> {
    OpenAiChat::parse(body.to_string().as_bytes())
}

#[test]
fn passes_known_fields_only_and_the_host_decides_the_rest() {
    let chat = parse(&json!({
        "model": "gpt-99", "stream": true, "stream_options": {"include_usage": true, "x": 1},
        "temperature": 2, "seed": 5, "stop": ["END"], "max_tokens": 900, "user": "me", "n": 8,
        "store": false, "metadata": {"a": "b"}, "logit_bias": {"1": 2}, "service_tier": "flex",
        "messages": [
            {"role": "developer", "content": "be brief", "cache_control": {}},
            {"role": "user", "content": [{"type": "text", "text": "look", "x": 1},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}, "x": 1}]},
            {"role": "tool", "tool_call_id": "c1", "content": "1", "x": 1}],
        "tools": [{"type": "function", "x": 1, "function": {"name": "f", "description": "d",
            "parameters": {"type": "object"}, "x": 1}}],
        "tool_choice": "auto", "response_format": {"type": "json_schema", "x": 1,
            "json_schema": {"name": "n", "schema": {"type": "object"}, "x": 1}},
    }))
    .unwrap();
    let options = ModelOptions {
        temperature: Some(0.5),
        num_predict: Some(100),
        ..ModelOptions::default()
    };
    assert_eq!(
        chat.rebuild("m", &options, Flavour::Common),
        json!({
            "model": "m", "stream": true, "stream_options": {"include_usage": true},
            "temperature": 0.5, "seed": 5, "stop": ["END"], "max_tokens": 100,
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "1"}],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d",
                "parameters": {"type": "object"}}}],
            "tool_choice": "auto", "response_format": {"type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "object"}}},
        })
    );
}

#[test]
fn refuses_what_would_make_the_provider_act() {
    let ask = json!([{"role": "user", "content": "hi"}]);
    for (name, value) in [
        ("store", json!(true)),
        ("background", json!(true)),
        ("previous_response_id", json!("r")),
        ("web_search_options", json!({"a": 1})),
        ("mcp_servers", json!([{}])),
        ("file_id", json!("f")),
        ("plugins", json!([{"id": "web"}])),
        ("tools", json!([{"type": "web_search"}])),
        ("tools", json!([{"type": "mcp", "server_url": "https://x"}])),
        ("tools", json!([{"type": "code_interpreter"}])),
        ("tools", json!([{"type": "file_search"}])),
        ("tools", json!([{"type": "computer_use_preview"}])),
        ("tools", json!([{"function": {"name": "f"}}])),
        ("tools", json!({})),
        ("tool_choice", json!({"type": "web_search"})),
    ] {
        let mut body = json!({"messages": ask});
        body[name] = value.clone();
        assert!(parse(&body).is_err(), "{name} {value}");
    }
    for messages in [
        json!([]),
        json!("hi"),
        json!([{"role": "root", "content": "x"}]),
        json!([{"role": "user"}]),
        json!([{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]),
        json!([{"role": "user", "content": [{"type": "input_audio"}]}]),
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/a.png"}}]}]),
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]),
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,"}]}]),
    ] {
        assert!(parse(&json!({"messages": messages})).is_err(), "{messages}");
    }
    assert!(OpenAiChat::parse(b"nonsense").is_err() && OpenAiChat::parse(b"[]").is_err());
}
