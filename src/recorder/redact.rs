//! Redaction: secrets are cut out of text before it is signed, because a signed event cannot be changed.
//!
//! Two sources: values that this host knows to be secret (its keys, provider keys from the environment), in
//! every spelling that `spellings.rs` knows, and the shapes of `shapes.rs`. The corpus of what goes and what
//! stays is in `tests.rs`. Text is redacted before it is cut to a bound, so that no cut can hide a secret.

use std::{
    borrow::Cow,
    sync::{PoisonError, RwLock},
};

use aho_corasick::{AhoCorasick, MatchKind};

use self::shapes::Shapes;

mod shapes;
mod spellings;

/// What stands in the place of a secret.
pub const MARK: &str = "[redacted]";

/// Cuts secrets out of text.
#[derive(Debug)]
pub struct Redactor {
    shapes: Shapes,
    known: RwLock<Known>,
}

/// Values that are known to be secret.
#[derive(Default)]
struct Known {
    secrets: Vec<String>,
    /// Finds every spelling of them; none when there is nothing to find.
    finder: Option<AhoCorasick>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.secrets.len())
    }
}

impl Known {
    fn rebuild(&mut self) {
        self.secrets.sort_unstable();
        self.secrets.dedup();
        let spellings: Vec<String> = self.secrets.iter().flat_map(|s| spellings::of(s)).collect();
        self.finder = match spellings.is_empty() {
            true => None,
            false => AhoCorasick::builder()
                // A secret that contains another goes as a whole.
                .match_kind(MatchKind::LeftmostLongest)
                .build(&spellings)
                .inspect_err(
                    |error| tracing::error!(%error, "known secrets cannot be searched for"),
                )
                .ok(),
        };
    }

    fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(finder) = &self.finder else {
            return Cow::Borrowed(text);
        };
        let (mut clean, mut done) = (String::new(), 0);
        for found in finder.find_iter(text) {
            clean.push_str(&text[done..found.start()]);
            clean.push_str(MARK);
            done = found.end();
        }
        if done == 0 {
            return Cow::Borrowed(text);
        }
        clean.push_str(&text[done..]);
        Cow::Owned(clean)
    }
}

impl Redactor {
    /// Knows these values besides the shapes.
    #[must_use]
    pub fn new(known: Vec<String>) -> Self {
        let redactor = Self {
            shapes: Shapes::new(),
            known: RwLock::default(),
        };
        redactor.learn(known);
        redactor
    }

    /// Adds values, such as a new session's key and token.
    pub fn learn(&self, secrets: impl IntoIterator<Item = String>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.secrets.extend(secrets);
        known.rebuild();
    }

    /// Forgets values that are of no use to anyone any more.
    pub fn forget(&self, secrets: &[String]) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.secrets.retain(|secret| !secrets.contains(secret));
        known.rebuild();
    }

    /// The text without secrets.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        // Known ones first: what a shape cuts out of one would leave its rest.
        let text = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .redact(text);
        self.shapes.redact(text)
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
            [
                "KEY",
                "TOKEN",
                "SECRET",
                "PASSWORD",
                "PASSWD",
                "PASSPHRASE",
                "_PASS",
                "_PAT",
                "CREDENTIAL",
                "CREDENTIALS",
            ]
            .iter()
            .any(|word| name.ends_with(word))
        })
        .map(|(_, value)| value)
        .collect()
}

#[cfg(test)]
mod tests;
