//! What of a request passes to OpenAI itself, and what is made of it for others.

use serde_json::{Value, json};

use super::*;
use crate::model::dialect::openai::Flavour;

fn parse(body: &Value) -> Result<Responses, String> {
    Responses::parse(body.to_string().as_bytes())
}

/// A request as Codex writes it, with things that do not pass among the others.
fn codex() -> Value {
    json!({
        "model": "gpt-5.6-luna", "instructions": "You are a coding agent.", "stream": true, "store": true,
        "prompt_cache_key": "c1", "client_metadata": {"a": "b"}, "service_tier": "priority",
        "include": ["reasoning.encrypted_content", "web_search_call.results"],
        "reasoning": {"effort": "medium", "summary": "auto", "x": {}},
        "text": {"verbosity": "low", "format": null},
        "tool_choice": "auto", "parallel_tool_calls": true, "metadata": {},
        "tools": [
            {"type": "function", "name": "exec_command", "description": "runs", "strict": false, "x": 1,
                "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}}},
            {"type": "custom", "name": "apply_patch", "description": "edits files",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: patch"}},
            {"type": "namespace", "name": "mcp__docs__", "description": "docs", "tools": [
                {"type": "function", "name": "find", "parameters": {"type": "object"}}]},
            {"type": "local_shell"}, {"type": "web_search", "external_web_access": true},
            {"type": "image_generation", "output_format": "png"}],
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be careful"}]},
            {"type": "message", "role": "user", "id": "m1", "content": [{"type": "input_text", "text": "fix it"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "high", "file_id": null}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": "sealed"},
            {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "well"}],
                "encrypted_content": null},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "name": "exec_command", "arguments": "{\"cmd\":\"ls\"}", "call_id": "c1", "id": "fc_1"},
            {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch", "call_id": "c2", "status": "completed"},
            {"type": "function_call", "name": "find", "namespace": "mcp__docs__", "arguments": "{}", "call_id": "c3"},
            {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "x"}},
            {"type": "function_call_output", "call_id": "c1", "output": "a.txt"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "Done!"},
            {"type": "function_call_output", "call_id": "c3", "output": [{"type": "input_text", "text": "seen"},
                {"type": "input_image", "image_url": "data:image/png;base64,b2s="}]},
            {"type": "message", "role": "user", "content": "go on"}],
    })
}

#[test]
fn openai_gets_known_fields_only_and_stores_nothing() {
    let options = ModelOptions {
        num_predict: Some(100),
        ..ModelOptions::default()
    };
    let sent = parse(&codex()).unwrap().rebuild("m", &options);
    let given = codex();
    assert_eq!(
        (&sent["model"], &sent["store"], &sent["stream"]),
        (&json!("m"), &json!(false), &json!(true))
    );
    assert_eq!(sent["max_output_tokens"], 100);
    assert_eq!(sent["include"], json!(["reasoning.encrypted_content"]));
    assert_eq!(
        sent["reasoning"],
        json!({"effort": "medium", "summary": "auto"})
    );
    let mut names: Vec<&str> = sent
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    let expected = [
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "model",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning",
        "store",
        "stream",
        "text",
        "tool_choice",
        "tools",
    ];
    assert_eq!(names, expected);
    let kinds: Vec<&str> = sent["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["function", "custom", "namespace", "local_shell"]);
    assert!(sent["tools"][0].get("x").is_none());
    assert_eq!(sent["tools"][1], given["tools"][1]);
    assert_eq!(sent["tools"][2], given["tools"][2]);
    let items = sent["input"].as_array().unwrap();
    assert_eq!(
        items.len(),
        11,
        "what was not sealed and what was searched is left out"
    );
    assert_eq!(items[2], given["input"][2]);
    assert_eq!(
        items[1],
        json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "fix it"},
            {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "high"}]})
    );
    assert_eq!(
        items[6],
        json!({"type": "function_call", "name": "find", "namespace": "mcp__docs__", "arguments": "{}", "call_id": "c3"})
    );
}

#[test]
fn others_get_functions_and_messages() {
    let (chat, tools) = parse(&codex()).unwrap().chat().unwrap();
    let sent = chat.rebuild("m", &ModelOptions::default(), Flavour::Common);
    assert_eq!(
        sent["messages"],
        json!([
            {"role": "system", "content": "You are a coding agent."},
            {"role": "system", "content": "be careful"},
            {"role": "user", "content": [{"type": "text", "text": "fix it"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "high"}}]},
            {"role": "assistant", "content": "I look.", "reasoning_content": "hm\n\nwell", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "exec_command", "arguments": "{\"cmd\":\"ls\"}"}},
                {"id": "c2", "type": "function", "function": {"name": "apply_patch", "arguments": "{\"input\":\"*** Begin Patch\"}"}},
                {"id": "c3", "type": "function", "function": {"name": "mcp__docs__find", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "a.txt"},
            {"role": "tool", "tool_call_id": "c2", "content": "Done!"},
            {"role": "tool", "tool_call_id": "c3", "content": "seen"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,b2s="}}]},
            {"role": "user", "content": "go on"}])
    );
    let names: Vec<&str> = sent["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["function"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "exec_command",
            "apply_patch",
            "mcp__docs__find",
            "local_shell"
        ]
    );
    let patch = &sent["tools"][1]["function"];
    assert!(
        patch["description"]
            .as_str()
            .unwrap()
            .contains("start: patch")
    );
    assert_eq!(patch["parameters"]["required"], json!(["input"]));
    assert_eq!(
        (
            &sent["reasoning_effort"],
            &sent["verbosity"],
            &sent["tool_choice"]
        ),
        (&json!("medium"), &json!("low"), &json!("auto"))
    );
    let call = |name: &str, arguments: &str| {
        let call = crate::model::dialect::steps::ToolCall {
            id: "c9".to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        };
        tools.item(&call, "x")
    };
    let patch = call("apply_patch", "{\"input\":\"*** Begin\"}");
    assert_eq!(
        patch,
        json!({"type": "custom_tool_call", "id": "ctc_x", "call_id": "c9", "name": "apply_patch",
            "input": "*** Begin", "status": "completed"})
    );
    // Models that miss the argument's name, or write the text as it is, are understood.
    assert_eq!(
        call("apply_patch", "{\"patch\":\"*** B\"}")["input"],
        "*** B"
    );
    assert_eq!(
        call("apply_patch", "{\"invalid\":\"*** B\"}")["input"],
        "*** B"
    );
    assert_eq!(call("apply_patch", "{}")["input"], "{}");
    let find = call("mcp__docs__find", "{}");
    assert_eq!(
        (&find["type"], &find["name"], &find["namespace"]),
        (
            &json!("function_call"),
            &json!("find"),
            &json!("mcp__docs__")
        )
    );
    let shell = call("local_shell", "{\"command\":\"ls -l\",\"timeout_ms\":5}");
    assert_eq!(
        shell["action"],
        json!({"type": "exec", "command": ["bash", "-lc", "ls -l"], "timeout_ms": 5, "env": {}})
    );
    assert_eq!(call("unknown", "{}")["name"], "unknown");
}

#[test]
fn names_that_are_too_long_or_alike_stay_apart() {
    let long = "x".repeat(80);
    let tools = json!([
        {"type": "namespace", "name": "a.b", "tools": [
            {"type": "function", "name": long}, {"type": "function", "name": format!("{long}y")}]},
        {"type": "function", "name": "f"}, {"type": "custom", "name": "f"}]);
    let chat = parse(&json!({"input": "hi", "tools": tools})).unwrap();
    let (chat, tools) = chat.chat().unwrap();
    let sent = chat.rebuild("m", &ModelOptions::default(), Flavour::Common);
    let names = sent["tools"].as_array().unwrap().iter();
    let names: Vec<&str> = names
        .map(|t| t["function"]["name"].as_str().unwrap())
        .collect();
    let mut apart = names.clone();
    apart.sort_unstable();
    apart.dedup();
    assert_eq!(apart.len(), 4, "{names:?}");
    let good = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    assert!(
        names
            .iter()
            .all(|name| name.len() <= 64 && name.chars().all(good))
    );
    let call = crate::model::dialect::steps::ToolCall {
        name: names[1].to_owned(),
        arguments: "{}".to_owned(),
        ..Default::default()
    };
    assert_eq!(tools.item(&call, "")["name"], format!("{long}y"));
}

#[test]
fn tools_may_come_in_the_middle_of_a_conversation() {
    let asks = json!({
        "tools": [{"type": "web_search"}],
        "input": [
            {"type": "additional_tools", "role": "developer", "x": 1, "tools": [
                {"type": "function", "name": "f"}, {"type": "image_generation"}]},
            {"type": "agent_message", "author": "a", "recipient": "b", "content": [
                {"type": "input_text", "text": "hello"}, {"type": "encrypted_content", "encrypted_content": "x"}]},
            {"type": "compaction", "encrypted_content": "sealed", "x": 1},
            {"type": "configuration_update", "x": 1}],
    });
    let asks = parse(&asks).unwrap();
    let sent = asks.rebuild("m", &ModelOptions::default());
    assert_eq!(
        sent["input"],
        json!([
            {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "f"}]},
            {"type": "agent_message", "author": "a", "recipient": "b", "content": [
                {"type": "input_text", "text": "hello"}]},
            {"type": "compaction", "encrypted_content": "sealed"}])
    );
    let (chat, _) = asks.chat().unwrap();
    let sent = chat.rebuild("m", &ModelOptions::default(), Flavour::Common);
    assert_eq!(sent["tools"][0]["function"]["name"], "f");
    assert_eq!(
        sent["messages"],
        json!([{"role": "user", "content": "hello"}])
    );
}

#[test]
fn refuses_what_would_make_the_provider_act_or_remember() {
    for (name, value) in [
        ("background", json!(true)),
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("prompt", json!({"id": "pmpt_1"})),
        ("tools", json!([{"type": "web_search"}])),
        (
            "tools",
            json!([{"type": "mcp", "server_url": "https://x"}, {"type": "file_search"}]),
        ),
        (
            "tools",
            json!([{"type": "code_interpreter", "container": {"type": "auto"}}]),
        ),
        ("input", json!([])),
        ("input", json!("")),
        ("input", json!([{"type": "item_reference", "id": "x"}])),
        ("input", json!([{"role": "root", "content": "x"}])),
        (
            "input",
            json!([{"role": "user", "content": [{"type": "input_image", "image_url": "https://x"}]}]),
        ),
        (
            "input",
            json!([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]),
        ),
        (
            "input",
            json!([{"role": "user", "content": [{"type": "input_file", "file_url": "https://x"}]}]),
        ),
        ("input", json!([{"type": "function_call", "name": "f"}])),
    ] {
        let mut body = json!({"input": "hi"});
        body[name] = value.clone();
        assert!(parse(&body).is_err(), "{name} {value}");
    }
    let error = parse(&json!({"input": "hi", "previous_response_id": "r"})).unwrap_err();
    assert!(error.contains("send the whole conversation"), "{error}");
}

#[test]
fn more_tools_than_any_agent_has_are_refused_wherever_they_stand() {
    let named = |name: &str| json!({"type": "function", "name": name});
    let many = |count: usize| vec![named("a"); count];
    let asks = |tools: Value| json!({"model": "m", "input": "hi", "tools": tools});
    assert!(parse(&asks(json!(many(1024)))).is_ok());
    let error = parse(&asks(json!(many(1025)))).unwrap_err();
    assert!(error.contains("more than 1024 tools"), "{error}");
    let space = |name: &str| json!({"type": "namespace", "name": name, "tools": many(600)});
    assert!(parse(&asks(json!([space("a")]))).is_ok());
    let error = parse(&asks(json!([space("a"), space("b")]))).unwrap_err();
    assert!(error.contains("more than 1024 tools"), "{error}");
}
