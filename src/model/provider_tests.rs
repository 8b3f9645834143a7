use super::*;

fn providers(config: &str, env: &[(&str, &str)]) -> Result<Providers, ConfigError> {
    let config: Config = toml::from_str(config).unwrap();
    let find = |name: &str| {
        let found = env.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Providers::new(&config, &Endpoint::parse("").unwrap(), &find)
}

#[test]
fn a_name_says_where_its_model_is() {
    let some = "[providers.llama-cpp]\nurl = \"http://127.0.0.1:8080/v1\"\n";
    let providers = providers(some, &[]).unwrap();
    for (name, provider, model, whole) in [
        (
            "qwen2.5-coder:7b",
            "ollama",
            "qwen2.5-coder:7b",
            "qwen2.5-coder:7b",
        ),
        ("ollama:qwen3", "ollama", "qwen3", "qwen3"),
        ("openai:gpt-5", "openai", "gpt-5", "openai:gpt-5"),
        (
            " anthropic:claude-x ",
            "anthropic",
            "claude-x",
            "anthropic:claude-x",
        ),
        ("gemini:g:1", "gemini", "g:1", "gemini:g:1"),
        ("llama-cpp:tiny", "llama-cpp", "tiny", "llama-cpp:tiny"),
        ("llama:tiny", "ollama", "llama:tiny", "llama:tiny"),
        ("openai", "ollama", "openai", "openai"),
    ] {
        let target = providers.resolve(name);
        assert_eq!(
            (target.provider.name(), target.model.as_str()),
            (provider, model),
            "{name}"
        );
        assert_eq!(target.name().0, whole);
    }
    let local: Vec<bool> = [
        "x",
        "llama-cpp:x",
        "openai:x",
        "x:1b-cloud",
        "ollama:x:cloud",
    ]
    .map(|name| providers.resolve(name).is_local())
    .into();
    assert_eq!(local, [true, true, false, false, false]);
}

#[test]
fn keys_come_from_the_environment_and_are_shown_nowhere() {
    let env = [
        ("OPENAI_API_KEY", " sk-12345 \n"),
        ("MINE", "k-9"),
        ("GEMINI_API_KEY", "a\nb"),
    ];
    let config = "[providers.mine]\nurl = \"https://x.example/v1\"\nkey_env = \"MINE\"\n\
        [providers.open]\nurl = \"https://y.example/v1\"\n";
    let providers = providers(config, &env).unwrap();
    let ready = |name: &str| providers.resolve(name).provider.is_ready();
    assert!(ready("openai:x") && ready("mine:x") && ready("open:x") && ready("x"));
    assert!(!ready("anthropic:x") && !ready("gemini:x"));
    assert_eq!(providers.secrets(), ["k-9", "sk-12345"]);
    let shown = format!("{providers:?}");
    assert!(
        !shown.contains("sk-12345") && !shown.contains("k-9"),
        "{shown}"
    );
    let openai = providers.resolve("openai:x").provider;
    let header = openai.key().unwrap().header("Bearer ").unwrap();
    assert!(!format!("{header:?}").contains("sk-12345"));
    assert_eq!(
        openai.key().unwrap().cut("bad key sk-12345!"),
        "bad key [redacted]!"
    );
}

#[test]
fn refuses_addresses_on_which_others_could_read_along() {
    for (url, good) in [
        ("https://api.example.com/v1", true),
        ("http://127.0.0.1:8080/v1", true),
        ("http://localhost:8080/v1", true),
        ("http://[::1]:8080/v1", true),
        ("http://192.168.1.7/v1", true),
        ("http://10.0.0.1/v1", true),
        ("http://api.example.com/v1", false),
        ("http://8.8.8.8/v1", false),
        ("http://169.254.169.254/v1", false),
        ("https://user:pass@x.example/v1", false),
        ("https://x.example/v1?key=1", false),
        ("ftp://x.example", false),
        ("x.example/v1", false),
        ("", false),
    ] {
        let config = format!("[providers.p]\nurl = \"{url}\"\n");
        assert_eq!(providers(&config, &[]).is_ok(), good, "{url}");
    }
    for config in [
        "[providers.ollama]\nurl = \"https://x.example\"\n",
        "[providers.Big]\nurl = \"https://x.example\"\n",
        "[providers.p]\nurl = \"https://x.example\"\ndialect = \"ollama\"\n",
        "[providers.p]\nurl = \"https://x.example\"\nprice_in = -1.0\n",
    ] {
        assert!(providers(config, &[]).is_err(), "{config}");
    }
}

#[test]
fn prices_are_the_owners() {
    let config = "[providers.openai]\nprice_in = 2.5\nprice_out = 10.0\n\
        [providers.box]\nurl = \"http://127.0.0.1:1/v1\"\n";
    let providers = providers(config, &[]).unwrap();
    let price = |name: &str| providers.resolve(name).provider.price();
    assert_eq!(price("openai:x").unwrap().of(1_000_000, 1), 2_500_010);
    assert_eq!(price("openai:x").unwrap().of(1, 0), 3);
    assert_eq!(price("box:x").unwrap().of(1000, 1000), 0);
    assert_eq!(price("qwen3").unwrap().of(1000, 1000), 0);
    assert!(price("anthropic:x").is_none());
    let openai = providers.resolve("openai:x").provider;
    assert_eq!(
        (openai.url(), openai.key_env()),
        ("https://api.openai.com/v1", "OPENAI_API_KEY")
    );
}
