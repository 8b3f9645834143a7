//! What `sync.toml` may say.

use super::*;

const SHOWN: &str = include_str!("../../../relay-config/sync.toml");

/// The file with its settings switched on: `#` right before a setting, `# ` before prose.
fn switched_on() -> String {
    SHOWN
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_operators_file_is_off_and_shows_every_key_with_its_default() {
    assert_eq!(Config::parse(SHOWN).unwrap(), Config::default());
    assert!(Config::default().is_off());
    let on = Config::parse(&switched_on()).unwrap();
    assert_eq!(on.policy.kinds, PolicyConfig::default().kinds);
    assert!(!on.policy.project.is_empty() && !on.policy.session.is_empty());
    let dirs: Vec<Direction> = on.streams.iter().map(|stream| stream.dir).collect();
    assert_eq!(dirs, [Direction::Up, Direction::Down, Direction::Both]);
    assert!(on.streams.iter().any(|stream| stream.filter.is_some()));
    let others = NamedConfig {
        jobs: true,
        readers: true,
        ..NamedConfig::default()
    };
    assert_eq!(on.named, others, "all but these two is the default");
}

#[test]
fn a_mistake_is_refused_and_named() {
    let stream = |more: &str| {
        format!(
            "[[stream]]\nname = \"a\"\ndir = \"up\"\nrelays = [\"wss://relay.example\"]\n{more}"
        )
    };
    for (text, says) in [
        ("[polcy]\n".to_owned(), "polcy"),
        ("[policy]\nkind = [1]\n".to_owned(), "kind"),
        (stream("dri = \"up\"\n"), "dri"),
        (stream("filter = { kind = [1] }\n"), "unknown key `kind`"),
        (stream("filter = { limit = 1 }\n"), "unknown key `limit`"),
        (stream("filter = { kinds = [\"x\"] }\n"), "stream \"a\""),
        (stream(&stream("")), "two streams are called \"a\""),
        (
            stream("").replace("wss://", "ws://"),
            "ws:// is not encrypted",
        ),
        (stream("").replace("\"up\"", "\"out\""), "out"),
        (
            stream("").replace("[\"wss://relay.example\"]", "[]"),
            "names no relay",
        ),
        (
            "[[policy.project]]\npath = \"shop\"\nkinds = []\n".to_owned(),
            "whole path",
        ),
        (
            "[policy]\nkinds = [22242]\n".to_owned(),
            "kind 22242 never leaves",
        ),
        ("[policy]\nkinds = [5871]\n".to_owned(), "never leaves"),
        ("[named_by_others]\njob = true\n".to_owned(), "job"),
        (
            "[named_by_others]\nper_job = 0\n".to_owned(),
            "per_job is 1 to 256",
        ),
        (
            "[named_by_others]\nmost = 10000\n".to_owned(),
            "most is 1 to 256",
        ),
        (
            "[named_by_others]\ndays = 366\n".to_owned(),
            "days is 1 to 365",
        ),
    ] {
        let error = Config::parse(&text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}\n{error}");
    }
}

#[test]
fn a_home_without_the_file_syncs_nothing() {
    let home = tempfile::tempdir().unwrap();
    assert!(Config::load(home.path()).unwrap().is_off());
}

#[test]
fn a_relay_that_two_streams_name_is_one() {
    let text = "[[stream]]\nname = \"a\"\ndir = \"up\"\nrelays = [\"wss://relay.example\"]\n\
                [[stream]]\nname = \"b\"\ndir = \"down\"\nrelays = [\"wss://RELAY.example/\"]\n";
    let config = Config::parse(text).unwrap();
    let relays = config.relays();
    assert_eq!(relays.len(), 1);
    assert_eq!(config.of(&relays[0]).count(), 2);
}
