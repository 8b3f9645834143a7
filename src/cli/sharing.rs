//! Whether anything leaves this machine, or comes in from others, in one line: nobody is to find out later.

use super::home::Home;
use crate::{
    config::Config,
    sync::{self, config::fingerprint},
};

/// What `sync.toml` has treefort do; nothing when it names nobody.
pub(super) fn line(config: &sync::Config) -> Option<String> {
    let (mut up, mut down) = (0, 0);
    for relay in config.relays() {
        let leaves = config.of(&relay).any(|stream| stream.dir.is_up());
        *(if leaves { &mut up } else { &mut down }) += 1;
    }
    let relays = |count: u32| match count {
        1 => "1 relay".to_owned(),
        n => format!("{n} relays"),
    };
    let said = match (up, down) {
        (0, 0) if config.named.is_on() => {
            "sharing is on, with relays that others name for their answers".to_owned()
        }
        (0, 0) => return None,
        (0, down) => format!("listening to {} is on, and nothing is shared", relays(down)),
        (up, 0) => format!("sharing is on, with {}", relays(up)),
        (up, down) => format!(
            "sharing is on, with {}, and listening to {down} more",
            relays(up)
        ),
    };
    Some(format!("{said} (`treefort sync` says more)"))
}

/// The same of a home whose treefort may run: it goes by what the file said when it started.
pub(super) fn now(home: &Home, running: bool) -> Option<String> {
    let goes_by = match home.running() {
        Ok(Some(it)) if running => it.sync,
        _ => None,
    };
    if goes_by.is_some_and(|it| fingerprint(home.dir()) != Some(it)) {
        let said =
            "sync.toml was changed after treefort started, and counts when it is started again";
        return Some(said.to_owned());
    }
    line(&Config::load(home.dir()).ok()?.sync)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        line(&sync::Config::parse(text).unwrap()).unwrap_or("-".to_owned())
    }

    #[test]
    fn one_line_says_how_many_are_shared_with() {
        let stream = |name: &str, dir: &str, relays: &str| {
            format!("[[stream]]\nname = \"{name}\"\ndir = \"{dir}\"\nrelays = [{relays}]\n")
        };
        let two = "\"wss://a.example\", \"wss://b.example\"";
        let both = stream("x", "up", two)
            + &stream("y", "down", "\"wss://a.example\", \"wss://c.example\"");
        let lines = [
            said(""),
            said("[policy]\nkinds = [1]\n"),
            said(&stream("x", "both", "\"wss://a.example\"")),
            said(&stream("x", "up", two)),
            said(&stream("x", "down", two)),
            said(&both),
            said("[named_by_others]\njobs = true\n"),
        ];
        insta::assert_snapshot!(lines.join("\n"), @"
        -
        -
        sharing is on, with 1 relay (`treefort sync` says more)
        sharing is on, with 2 relays (`treefort sync` says more)
        listening to 2 relays is on, and nothing is shared (`treefort sync` says more)
        sharing is on, with 2 relays, and listening to 1 more (`treefort sync` says more)
        sharing is on, with relays that others name for their answers (`treefort sync` says more)
        ");
        assert!(
            lines
                .iter()
                .all(|line| !line.to_lowercase().contains("nostr"))
        );
    }

    #[test]
    fn a_file_that_was_changed_since_is_not_taken_for_what_holds() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(Some(folder.path())).unwrap();
        let write = |name: &str, text: &str| std::fs::write(home.dir().join(name), text).unwrap();
        let start = || {
            let relay = nostr::Keys::generate().public_key().to_hex();
            let run = serde_json::json!({"v": 1, "address": "127.0.0.1:1", "pid": 1, "relay": relay,
                "sync": fingerprint(home.dir())});
            write("run.json", &run.to_string());
        };
        start();
        assert_eq!(now(&home, true), None);
        let shares = "[[stream]]\nname = \"x\"\ndir = \"up\"\nrelays = [\"wss://a.example\"]\n";
        write("sync.toml", shares);
        assert!(now(&home, true).unwrap().contains("changed after"));
        assert!(now(&home, false).unwrap().contains("sharing is on"));
        start();
        assert!(now(&home, true).unwrap().contains("sharing is on"));
        // Written again as it was, it says nothing new.
        write("sync.toml", shares);
        assert!(now(&home, true).unwrap().contains("sharing is on"));
        std::fs::remove_file(home.dir().join("sync.toml")).unwrap();
        assert!(now(&home, true).unwrap().contains("changed after"));
    }
}
