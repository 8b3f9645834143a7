//! Redaction: secrets are cut out of text before it is signed, because a signed event cannot be changed.
//!
//! Two sources: values that this host knows to be secret (its keys, provider keys from the environment), in
//! every spelling that `spellings.rs` knows, also over several lines (`spread.rs`), and the shapes of `shapes.rs`.
//! The corpus of what goes and what stays is in `tests.rs`. Text is redacted before it is cut to a bound, so that no
//! cut can hide a secret.

use std::{
    borrow::Cow,
    ffi::OsString,
    sync::{Arc, PoisonError, RwLock},
};

use aho_corasick::{AhoCorasick, MatchKind};

use self::{shapes::Shapes, spread::Spread};
use crate::{keys::Keyring, nips::Draft};

mod shapes;
mod spellings;
mod spread;

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
    finder: Finder,
    spread: Spread,
}

/// Finds every spelling of the known values.
#[derive(Default)]
enum Finder {
    /// There is nothing to find.
    #[default]
    Nothing,
    Quick(AhoCorasick),
    /// One after the other, the longest first: slow, but no text goes out unsearched.
    Slow(Vec<String>),
}

impl Finder {
    fn of(spellings: Vec<String>, build: impl FnOnce(&[String]) -> Option<AhoCorasick>) -> Self {
        if spellings.is_empty() {
            return Self::Nothing;
        }
        match build(&spellings) {
            Some(quick) => Self::Quick(quick),
            None => {
                let mut spellings = spellings;
                spellings.sort_unstable_by_key(|spelling| std::cmp::Reverse(spelling.len()));
                Self::Slow(spellings)
            }
        }
    }

    fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let quick = match self {
            Self::Nothing => return Cow::Borrowed(text),
            Self::Slow(spellings) => {
                let mut text = Cow::Borrowed(text);
                for spelling in spellings {
                    if text.contains(spelling) {
                        text = Cow::Owned(text.replace(spelling, MARK));
                    }
                }
                return text;
            }
            Self::Quick(quick) => quick,
        };
        let (mut clean, mut done) = (String::new(), 0);
        for found in quick.find_iter(text) {
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

/// An automaton that takes what contains another as a whole.
fn quick(spellings: &[String]) -> Option<AhoCorasick> {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(spellings)
        .inspect_err(|error| tracing::error!(%error, "known secrets are searched for slowly"))
        .ok()
}

/// Values that are secret as long as this lives.
#[derive(Debug)]
pub struct Learned {
    redactor: Arc<Redactor>,
    secrets: Vec<String>,
}

impl Drop for Learned {
    fn drop(&mut self) {
        self.redactor.forget(&self.secrets);
    }
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
        self.finder = Finder::of(spellings, quick);
        self.spread = Spread::of(&self.secrets);
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

    /// Knows what this host holds: the keys of its home, and what its environment calls secret.
    #[must_use]
    pub fn of_host(keyring: &Keyring) -> Self {
        let mut known = keyring.secrets();
        known.extend(environment_secrets());
        Self::new(known)
    }

    /// Adds values, such as a new session's key and token.
    pub fn learn(&self, secrets: impl IntoIterator<Item = String>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.secrets.extend(secrets);
        known.rebuild();
    }

    /// Adds values until what it gives is dropped: whatever becomes of who could say them, they are forgotten then.
    #[must_use]
    pub fn learn_while(self: &Arc<Self>, secrets: Vec<String>) -> Learned {
        self.learn(secrets.iter().cloned());
        Learned {
            redactor: Arc::clone(self),
            secrets,
        }
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
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let text = known.spread.redact(known.finder.redact(text));
        drop(known);
        self.shapes.redact(text)
    }

    /// Cuts secrets out of what is about to be signed; says whether there were any. Ciphertext is left as it is: its
    /// text was redacted before it was encrypted. So is the verbatim `request` of a customer.
    pub fn clean(&self, draft: &mut Draft) -> bool {
        let is = |tag: &Vec<String>, name: &str| tag.first().is_some_and(|first| first == name);
        if draft.tags.iter().any(|tag| is(tag, "encrypted")) {
            return false;
        }
        let mut found = self.clean_text(&mut draft.content);
        for tag in draft.tags.iter_mut().filter(|tag| !is(tag, "request")) {
            for value in tag.iter_mut().skip(1) {
                found |= self.clean_text(value);
            }
        }
        found
    }

    /// The same for one text.
    pub fn clean_text(&self, text: &mut String) -> bool {
        match self.redact(text) {
            Cow::Borrowed(_) => false,
            Cow::Owned(clean) => {
                let changed = clean != *text;
                *text = clean;
                changed
            }
        }
    }

    /// Whether something that was signed seems to hold a secret, in any part of it: more is known to be secret than when
    /// it was signed, and a customer's own words were not looked at then.
    #[must_use]
    pub fn finds(&self, event: &nostr::Event) -> bool {
        let holds = |text: &str| self.redact(text) != text;
        holds(&event.content)
            || event
                .tags
                .iter()
                .flat_map(|tag| tag.as_slice())
                .any(|value| holds(value))
    }

    /// The part of a text that is still growing which may be shown, without secrets: up to the last white
    /// space, and nothing while that would end inside something that turns out to be a secret.
    #[must_use]
    pub fn shown(&self, text: &str) -> Option<String> {
        let settled = &text[..settled(text)];
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        // Of a value over several lines the first ones have an end, and say as much as half of it.
        let begun = known.spread.begun(settled);
        drop(known);
        let part = self.redact(&settled[..begun.unwrap_or(settled.len())]);
        let part = part.into_owned();
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
fn environment_secrets() -> Vec<String> {
    secrets_of(std::env::vars_os())
}

/// A name or a value may be no text; what an agent would make of it is searched for.
fn secrets_of(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<String> {
    variables
        .filter(|(name, _)| {
            let name = name.to_string_lossy().to_ascii_uppercase();
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
        .map(|(_, value)| value.to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests;
