use super::*;

const CHAT: &str = include_str!("../../../agents/chat/agent.toml");
const OPENCODE: &str = include_str!("../../../agents/opencode/agent.toml");

fn problems(text: &str) -> Vec<String> {
    match Manifest::parse(text) {
        Ok(_) => Vec::new(),
        Err(Error::Invalid { problems }) => problems.iter().map(ToString::to_string).collect(),
        Err(error) => panic!("{error}"),
    }
}

fn launch() -> Launch {
    Launch {
        model: "qwen2.5-coder:7b".into(),
        context: 16_384,
        output: 4096,
        token: "secret".into(),
    }
}

#[test]
fn refuses_unknown_keys_and_names_the_one_that_was_meant() {
    let found = problems(&format!("arg = \"red\"\n{CHAT}"));
    assert_eq!(
        found,
        ["line 1: arg is no field of a manifest (did you mean argv?)"]
    );
    let found = problems(&CHAT.replace("[limits]", "[limits]\ncolour = 1"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("limits.colour is no field"), "{found:?}");
    assert!(
        found[0].contains("there are: memory_mb, cpus, pids"),
        "{found:?}"
    );
}

#[test]
fn names_every_problem_at_once_with_its_line() {
    let text = r#"name = "../x"
title = ""
version = "1; rm"
argv = ["sh"]
kinds = [1]
workspace = "yes"
history = "meta"
grace_s = 61
env = { "A=" = "", TREEFORT_TOKEN = "x", OK = "{modle}" }
driver = "mcp"
[image]
dockerfile = "../Dockerfile"
[limits]
memory_mb = 1
cpus = 0
[[files]]
path = "/etc/passwd"
"#;
    let found = problems(text);
    insta::assert_snapshot!(found.join("\n"), @r#"
    line 1: name is no name of an agent (1 to 32 of a-z, 0-9 and -, like "my-agent")
    line 1: description is missing (one sentence)
    line 2: title is empty (its name for people, like "My agent")
    line 3: version is no version (the agent's own version, like "1.2.3")
    line 4: argv starts with "sh", which is no full path (the command with its full path, like ["/usr/bin/agent", "acp"])
    line 5: kinds holds what is no kind of job (5000 to 5999: 5050 is text generation, 5870 an agent task)
    line 6: workspace is of type string, not true or false (true when it works on a project's files)
    line 8: grace_s is 61, which is out of range (0 to 60 seconds)
    line 9: env.A= is no name of a variable
    line 9: env.OK has a placeholder that is none of {model}, {context}, {output}, {token}, {dialect}
    line 9: env.TREEFORT_TOKEN is treefort's own to set
    line 10: driver is not one of acp, exec
    line 12: image.dockerfile leads out of its folder (a path in the agent's folder, like "Dockerfile")
    line 14: limits.memory_mb is 1, which is out of range (16 to 1048576 MiB)
    line 15: limits.cpus is 0, which is out of range (0.05 to 1024)
    line 16: files[0].content is missing (the file's text)
    line 17: files[0].path leads out of its folder (a path below the agent's home, like ".config/agent.json")
    "#);
}

#[test]
fn everything_that_is_no_toml_is_told_with_its_line() {
    let found = problems("name = \ntitle = \"x\"\n[image\n");
    assert!(
        found.iter().any(|problem| problem.starts_with("line 1: ")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|problem| problem.starts_with("line 3: ")),
        "{found:?}"
    );
}

#[test]
fn fills_in_what_is_known_at_the_start_and_nothing_else() {
    let text = format!(
        "{CHAT}\n[[files]]\npath = \".config/x.json\"\ncontent = '{{\"m\": \"{{model}}\", \"e\": {{}}}}'\n\
         [env]\nA = '{{context}}/{{output}} {{dialect}} {{env:X}} ${{home}} {{'\nB = '{{token}}'\n"
    );
    let manifest = Manifest::parse(&text).unwrap();
    let environment = manifest.environment(&launch());
    let value = |name: &str| {
        let found = environment.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).unwrap()
    };
    assert_eq!(value("A"), "16384/4096 ollama {env:X} ${home} {");
    assert_eq!(value("B"), "secret");
    assert_eq!(value("TREEFORT_TOKEN"), "secret");
    let files: Vec<(String, String)> = serde_json::from_str(value("TREEFORT_FILES")).unwrap();
    let content = r#"{"m": "qwen2.5-coder:7b", "e": {}}"#.to_owned();
    assert_eq!(files, [(".config/x.json".to_owned(), content)]);
}

#[test]
fn a_model_name_cannot_break_out_of_the_text_that_it_is_put_into() {
    let text = format!("{CHAT}\n[env]\nA = '[\"{{model}}\"]'\n");
    let hostile = r#"x", "{token}\"#;
    let launch = Launch {
        model: hostile.into(),
        ..launch()
    };
    let environment = Manifest::parse(&text).unwrap().environment(&launch);
    let parsed: Vec<String> = serde_json::from_str(&environment[0].1).unwrap();
    assert_eq!(parsed, [hostile]);
}

#[test]
fn opencode_is_told_its_limits_and_keeps_its_token_out_of_its_configuration() {
    let manifest = Manifest::parse(OPENCODE).unwrap();
    let environment = manifest.environment(&launch());
    let config = environment
        .iter()
        .find(|(key, _)| key == "OPENCODE_CONFIG_CONTENT");
    let config = &config.unwrap().1;
    assert!(!config.contains("secret"));
    let config: Value = serde_json::from_str(config).unwrap();
    let limit = &config["provider"]["treefort"]["models"]["session"]["limit"];
    assert_eq!(limit["context"], 16_384);
    assert_eq!(limit["output"], 4096);
    assert_eq!(config["permission"]["edit"], "allow");
}
