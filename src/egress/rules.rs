//! What a job may reach: names of lists, single hosts, and whether its owner is asked for the rest. Pure.

use std::collections::BTreeMap;

use super::host::{Host, Odd, Place, split};

/// The word with which every other host is asked for in place.
pub const ASK: &str = "ask";
/// Rules of a job, and bytes of one.
const MOST: usize = 64;
const BYTES: usize = 270;

/// A job's rules, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// As they were given.
    words: Vec<String>,
    list: Vec<Rule>,
    asks: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// The word that it comes from.
    of: String,
    host: Host,
    /// Whether it means the names below the host, and not the host itself.
    below: bool,
    /// Another port than the usual ones.
    port: Option<u16>,
}

/// Why a word is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is none.
    #[error("no host is named that the job may reach")]
    None,
    /// There are too many.
    #[error("a job may have {MOST} rules for its network at most")]
    Many,
    /// Neither a list nor a host.
    #[error(
        "`{0}` is neither a list of hosts nor a host such as example.com, *.example.com or example.com:8443{1}"
    )]
    Unknown(String, String),
    /// A host that is written in an unusual way.
    #[error("`{0}` is no rule for a network: {1}")]
    Odd(String, #[source] Odd),
    /// An address.
    #[error(
        "`{0}` is an address; an address is reached only when `private` under [network] of treefort.toml names it with its port"
    )]
    Address(String),
    /// A star that stands for too much.
    #[error(
        "`{0}` stands for too much: a star stands at the beginning of a name with a dot in it, as in *.example.com"
    )]
    Star(String),
}

/// What the rules say of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision<'a> {
    /// This rule names it.
    Allowed(&'a str),
    /// Its owner says.
    Ask,
    /// None does.
    Refused,
}

/// Whether a list may be called this: no word could be a host then.
pub(super) fn is_a_name(word: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !word.is_empty() && word.len() <= 40 && word.bytes().all(known) && word != ASK
}

impl Rules {
    pub(super) fn read<'a>(
        words: impl IntoIterator<Item = &'a str>,
        presets: &BTreeMap<String, Vec<String>>,
        private: &[Place],
    ) -> Result<Self, RuleError> {
        let mut rules = Self {
            words: Vec::new(),
            list: Vec::new(),
            asks: false,
        };
        let words = words.into_iter().flat_map(|words| words.split(','));
        for word in words.map(str::trim).filter(|word| !word.is_empty()) {
            let word = word.to_ascii_lowercase();
            if rules.words.contains(&word) {
                continue;
            }
            if rules.words.len() == MOST {
                return Err(RuleError::Many);
            }
            if word == ASK {
                rules.asks = true;
            } else if let Some(hosts) = presets.get(&word) {
                for host in hosts {
                    let rule = Rule::read(&host.to_ascii_lowercase(), private)?;
                    rules.list.push(Rule {
                        of: word.clone(),
                        ..rule
                    });
                }
            } else {
                rules
                    .list
                    .push(Rule::read(&word, private).map_err(|error| match error {
                        RuleError::Unknown(word, _) => {
                            let names: Vec<&str> = presets.keys().map(String::as_str).collect();
                            RuleError::Unknown(
                                word,
                                format!("; the lists are {} and {ASK}", names.join(", ")),
                            )
                        }
                        other => other,
                    })?);
            }
            rules.words.push(word);
        }
        match rules.words.is_empty() {
            true => Err(RuleError::None),
            false => Ok(rules),
        }
    }

    /// As they were given, in order.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The hosts that they name, as a person reads them.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        self.list.iter().map(Rule::shown).collect()
    }

    /// Whether the owner is asked for every other host.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// What they say of a request; `plain` when it is one without `CONNECT`.
    pub(super) fn decide(&self, place: &Place, plain: bool) -> Decision<'_> {
        let usual = if plain { 80 } else { 443 };
        let named = self
            .list
            .iter()
            .find(|rule| rule.port.unwrap_or(usual) == place.port && rule.names(&place.host));
        match named {
            Some(rule) => Decision::Allowed(&rule.of),
            // What a number is nobody can tell who is asked.
            None if self.asks && !place.host.is_address() => Decision::Ask,
            None => Decision::Refused,
        }
    }
}

impl Rule {
    fn read(word: &str, private: &[Place]) -> Result<Self, RuleError> {
        let shown = || word.chars().take(80).collect::<String>();
        if word.len() > BYTES {
            return Err(RuleError::Odd(shown(), Odd::Long));
        }
        let (host, port) = split(word).map_err(|odd| RuleError::Odd(shown(), odd))?;
        let (name, below) = match host.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (host, false),
        };
        if name.contains('*') || (below && !name.contains('.')) {
            return Err(RuleError::Star(shown()));
        }
        let host = Host::parse(name).map_err(|odd| match odd {
            Odd::Character | Odd::Empty => RuleError::Unknown(shown(), String::new()),
            odd => RuleError::Odd(shown(), odd),
        })?;
        if host.is_address() {
            let named = port.is_some_and(|port| {
                private.contains(&Place {
                    host: host.clone(),
                    port,
                })
            });
            if below || !named {
                return Err(RuleError::Address(shown()));
            }
        } else if port.is_none() && !name.contains('.') {
            // A list that is misspelt, most likely.
            return Err(RuleError::Unknown(shown(), String::new()));
        }
        Ok(Self {
            of: word.to_owned(),
            host,
            below,
            port,
        })
    }

    fn names(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (Host::Name(rule), Host::Name(name)) if self.below => name
                .strip_suffix(rule.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            (rule, host) => rule == host && !self.below,
        }
    }

    fn shown(&self) -> String {
        let star = if self.below { "*." } else { "" };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{star}{}{port}", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Rules, RuleError> {
        let presets = BTreeMap::from([(
            "packages".to_owned(),
            vec!["registry.npmjs.org".to_owned(), "pypi.org".to_owned()],
        )]);
        let private = [Place::parse("127.0.0.1:4873", None).unwrap()];
        Rules::read(words.iter().copied(), &presets, &private)
    }

    fn allows(rules: &Rules, place: &str, plain: bool) -> bool {
        matches!(
            rules.decide(&Place::parse(place, None).unwrap(), plain),
            Decision::Allowed(_)
        )
    }

    #[test]
    fn a_rule_names_exactly_its_host_and_the_usual_ports() {
        let rules = read(&[
            "packages,Example.com",
            "*.docs.rs",
            "git.lan:8443",
            "127.0.0.1:4873",
        ])
        .unwrap();
        assert_eq!(
            rules.words(),
            [
                "packages",
                "example.com",
                "*.docs.rs",
                "git.lan:8443",
                "127.0.0.1:4873"
            ]
        );
        assert_eq!(
            rules.hosts()[..3],
            ["registry.npmjs.org", "pypi.org", "example.com"]
        );
        for (place, plain) in [
            ("registry.npmjs.org:443", false),
            ("registry.npmjs.org:80", true),
            ("EXAMPLE.com:443", false),
            ("a.docs.rs:443", false),
            ("a.b.docs.rs:443", false),
            ("git.lan:8443", false),
            ("git.lan:8443", true),
            ("127.0.0.1:4873", true),
        ] {
            assert!(allows(&rules, place, plain), "{place} {plain}");
        }
        for (place, plain) in [
            ("registry.npmjs.org.evil.com:443", false),
            ("evil-registry.npmjs.org:443", false),
            ("npmjs.org:443", false),
            ("registry.npmjs.org:80", false),
            ("registry.npmjs.org:443", true),
            ("registry.npmjs.org:22", false),
            ("docs.rs:443", false),
            ("evildocs.rs:443", false),
            ("git.lan:443", false),
            ("127.0.0.1:11434", true),
            ("[::1]:4873", true),
        ] {
            assert!(!allows(&rules, place, plain), "{place} {plain}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_there_is() {
        let wrong = |word: &str| read(&[word]).unwrap_err().to_string();
        assert!(wrong("pakages").contains("the lists are packages and ask"));
        assert!(
            wrong("https://a.com").contains("no rule")
                || wrong("https://a.com").contains("neither")
        );
        assert!(wrong("*").contains("stands for too much"));
        assert!(wrong("*.com").contains("stands for too much"));
        assert!(wrong("a.*.com").contains("stands for too much"));
        assert!(wrong("10.0.0.1").contains("is an address"));
        assert!(wrong("127.0.0.1:4874").contains("is an address"));
        assert!(wrong("[::1]:80").contains("is an address"));
        assert!(wrong("127.1").contains("unusual notation"));
        assert!(wrong("a.com.").contains("a dot too many"));
        assert!(wrong(" , ").contains("no host is named"));
        let many: Vec<String> = (0..65).map(|n| format!("h{n}.com")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(read(&many), Err(RuleError::Many));
    }

    #[test]
    fn with_ask_every_other_name_is_asked_for_and_no_address() {
        let rules = read(&["ask"]).unwrap();
        let decide = |place: &str| rules.decide(&Place::parse(place, None).unwrap(), false);
        assert_eq!(decide("a.com:443"), Decision::Ask);
        assert_eq!(decide("1.1.1.1:443"), Decision::Refused);
        assert!(rules.asks() && rules.hosts().is_empty());
    }
}
