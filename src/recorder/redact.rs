//! Redaction: secrets are cut out of text before it is signed, because a signed event cannot be changed.
//!
//! Two sources: values that this host knows to be secret (its keys, provider keys from the environment),
//! and the well-known shapes of tokens.

use std::{borrow::Cow, sync::RwLock};

use regex::Regex;

/// What stands in the place of a secret.
pub const MARK: &str = "[redacted]";

/// Shapes of well-known tokens. Each is specific enough not to hit ordinary prose or hashes.
const SHAPES: &str = concat!(
    r"nsec1[02-9ac-hj-np-z]{20,}",
    r"|ncryptsec1[02-9ac-hj-np-z]{20,}",
    r"|\bsk-[A-Za-z0-9_-]{20,}",
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}",
    r"|\bgithub_pat_[A-Za-z0-9_]{30,}",
    r"|\bglpat-[A-Za-z0-9_-]{20,}",
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"|\bAIza[0-9A-Za-z_-]{35}",
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"|\bnpm_[A-Za-z0-9]{30,}",
    r"|\bhf_[A-Za-z0-9]{30,}",
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
);

/// The shortest environment value that is taken for a secret; shorter ones would blank out ordinary words.
const SHORTEST: usize = 8;

/// Cuts secrets out of text.
#[derive(Debug)]
pub struct Redactor {
    shapes: Regex,
    known: RwLock<Vec<String>>,
}

impl Redactor {
    /// Knows these values besides the shapes.
    ///
    /// # Panics
    /// Never: the pattern is a constant that a test compiles.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a constant pattern, compiled by a test")]
    pub fn new(known: Vec<String>) -> Self {
        let redactor = Self {
            shapes: Regex::new(SHAPES).expect("a constant pattern"),
            known: RwLock::default(),
        };
        redactor.learn(known);
        redactor
    }

    /// Adds values, such as a new session's key and token.
    pub fn learn(&self, secrets: impl IntoIterator<Item = String>) {
        let mut known = self
            .known
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        known.extend(
            secrets
                .into_iter()
                .filter(|secret| secret.len() >= SHORTEST),
        );
        // Longer ones first, so that a secret that contains another goes as a whole.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        known.dedup();
    }

    /// Forgets values that are of no use to anyone any more.
    pub fn forget(&self, secrets: &[String]) {
        let mut known = self
            .known
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        known.retain(|secret| !secrets.contains(secret));
    }

    /// The text without secrets.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = self.shapes.replace_all(text, MARK);
        for secret in self
            .known
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .iter()
        {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), MARK));
            }
        }
        text
    }

    /// The part of a text that is still growing which may be shown, without secrets: up to the last white
    /// space, and nothing while that would end inside something that turns out to be a secret.
    #[must_use]
    pub fn shown(&self, text: &str) -> Option<String> {
        let part = self.redact(&text[..settled(text)]).into_owned();
        // Where a secret reaches over the cut, the whole reads differently from the part.
        (!part.is_empty() && self.redact(text).starts_with(&part)).then_some(part)
    }
}

/// How much of a growing text holds no beginning of a secret, as far as can be told without knowing any.
fn settled(text: &str) -> usize {
    /// No token is this long: such a text is another script or an encoding, and has no white space.
    const PATIENCE: usize = 4096;
    /// What is held back of it all the same; a secret up to this length is whole when it is shown.
    const TAIL: usize = 2048;
    let mut end = text.rfind(char::is_whitespace).map_or(0, |at| {
        at + text[at..].chars().next().map_or(1, char::len_utf8)
    });
    if text.len() - end > PATIENCE {
        end = text.floor_char_boundary(text.len() - TAIL);
    }
    match text.rfind("-----BEGIN ") {
        Some(begin) if !text[begin..].contains("-----END ") => end.min(begin),
        _ => end,
    }
}

/// Values in the environment whose names say that they are secret.
#[must_use]
pub fn environment_secrets() -> Vec<String> {
    std::env::vars()
        .filter(|(name, _)| {
            let name = name.to_ascii_uppercase();
            ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD"]
                .iter()
                .any(|word| name.ends_with(word))
        })
        .map(|(_, value)| value)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_and_shapes_go_and_prose_stays() {
        let redactor = Redactor::new(vec!["hunter2hunter2".into(), "short".into()]);
        for secret in [
            "hunter2hunter2",
            "sk-abcdefghijklmnopqrstuvwx",
            "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
            "AKIAIOSFODNN7EXAMPLE",
            "nsec1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq",
            "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nabc",
        ] {
            let text = format!("before {secret}");
            assert_eq!(redactor.redact(&text), format!("before {MARK}"), "{secret}");
        }
        for prose in [
            "a short risk-averse sentence",
            "3437cbfc4d8bb4b6dc48b6b29e9e09b53fb76444cda14ab7586e63f36fe3c60c",
            "task-oriented",
        ] {
            assert_eq!(redactor.redact(prose), prose);
        }
    }

    #[test]
    fn a_secret_that_grows_is_never_shown_in_part() {
        let redactor = Redactor::new(vec!["tok-0123456789abcdef".into()]);
        let text = "see tok-0123456789abcdef and -----BEGIN PRIVATE KEY-----\nMIIE\nxyz\n-----END PRIVATE KEY----- end ";
        for end in 0..=text.len() {
            let shown = redactor.shown(&text[..end]).unwrap_or_default();
            assert!(
                !shown.contains("tok-") && !shown.contains("MIIE"),
                "{shown}"
            );
        }
        assert_eq!(redactor.shown(text).unwrap(), redactor.redact(text));
    }

    #[test]
    fn a_secret_in_a_text_without_white_space_is_never_shown_in_part() {
        let secret = "0123456789abcdef".repeat(4);
        let redactor = Redactor::new(vec![secret.clone()]);
        let text = format!("{}{secret}{}", "x".repeat(5000), "y".repeat(5000));
        let mut shown = String::new();
        for end in (0..=text.len()).step_by(7) {
            if let Some(now) = redactor.shown(&text[..end]) {
                assert!(now.starts_with(&shown), "what was shown is not taken back");
                assert!(!now.contains("0123"), "{end}");
                shown = now;
            }
        }
        assert!(shown.contains(MARK));
    }
}
