use super::*;
use crate::model::testing::{send, upstream};

fn models(names: &[(&str, &str)]) -> Vec<ModelInfo> {
    let model = |(name, family): &(&str, &str)| ModelInfo {
        name: ModelName::from(*name),
        provider: OLLAMA.to_owned(),
        local: *family != "cloud",
        cloud: *family == "cloud",
        size: 1,
        digest: String::new(),
        modified: String::new(),
        family: (*family).to_owned(),
        parameters: String::new(),
    };
    names.iter().map(model).collect()
}

#[test]
fn chooses_the_configured_then_a_preferred_then_the_newest() {
    let some = [
        ("nomic-embed-text:latest", "nomic-bert"),
        ("new:1b", "x"),
        ("qwen2.5-coder:7b", "qwen2"),
        ("a:latest", "x"),
        ("gemma3:4b", "cloud"),
    ];
    for (count, configured, expected) in [
        (4, "", Some("qwen2.5-coder:7b")),
        (2, "", Some("new:1b")),
        (1, "", None),
        (0, "", None),
        (4, "new:1b", Some("new:1b")),
        (4, " a ", Some("a:latest")),
        (4, "b", None),
        (5, "gemma3:4b", Some("gemma3:4b")),
    ] {
        let chosen = choose(models(&some[..count]), configured);
        let chosen = chosen.as_ref().map(|model| model.name.0.as_str());
        assert_eq!(chosen.ok(), expected, "{count} {configured:?}");
    }
}

#[test]
fn every_platform_is_told_what_to_do() {
    for os in ["linux", "macos", "windows"] {
        assert!(start_hint(os).contains("ollama") || start_hint(os).contains("Ollama"));
    }
    let missing = choose(Vec::new(), "").unwrap_err();
    assert_eq!(missing.fix(), "Run `ollama pull qwen2.5-coder:7b`.");
}

#[tokio::test]
async fn reads_what_ollama_lists_through_the_name_localhost() {
    let body = r#"{"models":[{"name":"old:1b","modified_at":"2026-01-01T00:00:00Z","size":1},
        {"name":"new:1b","modified_at":"2026-02-01T00:00:00Z","size":2,"digest":"ab","details":
        {"family":"qwen2","parameter_size":"7.6B","families":null},"model":"new:1b"}]}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let server = upstream(vec![send(head)]).await;
    let url = server.url.replace("127.0.0.1", "localhost");
    let local = Local::new(&Config {
        ollama: url,
        ..Config::default()
    })
    .unwrap();
    let models = local.list().await.unwrap();
    assert_eq!(
        models[0],
        ModelInfo {
            name: "new:1b".into(),
            provider: OLLAMA.to_owned(),
            local: true,
            cloud: false,
            size: 2,
            digest: "ab".into(),
            modified: "2026-02-01T00:00:00Z".into(),
            family: "qwen2".into(),
            parameters: "7.6B".into(),
        }
    );
    assert_eq!(models.len(), 2);
}

#[tokio::test]
async fn models_of_ollamas_cloud_are_told_and_only_chosen_by_name() {
    let body = r#"{"models":[{"name":"gpt-oss:120b-cloud"},{"name":"glm-4.6:cloud"},
        {"name":"qwen3:8b","remote_host":"https://ollama.com:443","remote_model":"qwen3:235b"},
        {"name":"cloud-like:1b"},{"name":"near-cloud"}]}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let server = upstream(vec![send(head)]).await;
    let local = Local::new(&Config {
        ollama: server.url.clone(),
        ..Config::default()
    })
    .unwrap();
    let models = local.list().await.unwrap();
    let near: Vec<bool> = models.iter().map(|model| model.local).collect();
    assert_eq!(near, [false, false, false, true, true]);
    assert_eq!(choose(models[..3].to_vec(), "").ok(), None);
    assert_eq!(choose(models.clone(), "").unwrap().name.0, "cloud-like:1b");
    assert!(choose(models, "gpt-oss:120b-cloud").unwrap().cloud);
}

#[tokio::test]
async fn another_program_on_the_port_is_told_from_no_server() {
    let server = upstream(vec![send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")]).await;
    let local = Local::new(&Config {
        ollama: server.url.clone(),
        ..Config::default()
    })
    .unwrap();
    assert!(matches!(local.list().await, Err(Error::Answer { .. })));
}
