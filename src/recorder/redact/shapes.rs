//! The shapes of secrets: tokens that name themselves, and values that stand where secrets stand.

use std::borrow::Cow;

use regex::{Captures, Regex};

use super::MARK;

/// Tokens that name themselves. Each is specific enough not to hit prose, identifiers or hashes.
const TOKENS: &str = concat!(
    // Nostr's secret keys, age's.
    r"(?:nsec1|ncryptsec1)[02-9ac-hj-np-z]{20,}|(?:NSEC1|NCRYPTSEC1)[02-9AC-HJ-NP-Z]{20,}",
    r"|AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{20,}",
    // Models: OpenAI, Anthropic, OpenRouter; Groq, xAI, Perplexity, Replicate, Hugging Face.
    r"|(?-u:\b)sk-(?:proj|svcacct|admin|ant|or|lf|None)-[A-Za-z0-9_-]{20,}|(?-u:\b)sk-[A-Za-z0-9]{20,}",
    r"|(?-u:\b)sk-[a-z]+-[0-9][A-Za-z0-9]{19,}",
    r"|(?-u:\b)gsk_[A-Za-z0-9]{30,}|(?-u:\b)xai-[A-Za-z0-9]{30,}|(?-u:\b)pplx-[A-Za-z0-9]{30,}|(?-u:\b)r8_[A-Za-z0-9]{30,}",
    r"|(?-u:\b)hf_[A-Za-z0-9]{30,}",
    // Code hosts and package registries.
    r"|(?-u:\b)gh[pousr]_[A-Za-z0-9]{30,}|(?-u:\b)github_pat_[A-Za-z0-9_]{30,}",
    r"|(?-u:\b)gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat|oas)-[A-Za-z0-9_.-]{20,}",
    r"|(?-u:\b)npm_[A-Za-z0-9]{30,}|(?-u:\b)pypi-[A-Za-z0-9_-]{30,}|(?-u:\b)dckr_pat_[A-Za-z0-9_-]{20,}",
    r"|(?-u:\b)ATATT3[A-Za-z0-9_=-]{30,}",
    // Clouds.
    r"|(?-u:\b)(?:AKIA|ASIA)[0-9A-Z]{16}(?-u:\b)|(?-u:\b)AIza[0-9A-Za-z_-]{35}|(?-u:\b)ya29\.[A-Za-z0-9_-]{20,}",
    r"|(?-u:\b)GOCSPX-[A-Za-z0-9_-]{20,}|(?-u:\b)[A-Za-z0-9_~.-]{3}8Q~[A-Za-z0-9_~.-]{31,34}",
    r"|(?-u:\b)do[opr]_v1_[0-9a-f]{40,}|(?-u:\b)dapi[0-9a-f]{32}(?-u:\b)|(?-u:\b)hv[sb]\.[A-Za-z0-9_-]{20,}",
    // Messengers, payments, mail.
    r"|(?-u:\b)xox[abeoprs]-[A-Za-z0-9-]{10,}|(?-u:\b)xapp-[0-9]-[A-Za-z0-9-]{20,}",
    r"|hooks\.slack\.com/services/[A-Za-z0-9/]{20,}",
    r"|discord(?:app)?\.com/api/webhooks/[0-9]+/[A-Za-z0-9_-]{40,}",
    r"|(?-u:\b)[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}",
    r"|(?-u:\b)[0-9]{8,10}:A[A-Za-z0-9_-]{34}",
    r"|(?-u:\b)(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}|(?-u:\b)whsec_[A-Za-z0-9+/]{20,}",
    r"|(?-u:\b)SK[0-9a-f]{32}(?-u:\b)|(?-u:\b)SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|(?-u:\b)shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    // Any service's.
    r"|(?-u:\b)eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    r"|-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----",
    r"(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
);

/// Values that stand where secrets stand: what comes before them, and the value.
const PLACES: &str = concat!(
    // A password in the address of a service.
    r"(?P<url>://[^\x00-\x20/:@\x22'<>]*:)(?P<password>[^\x00-\x20/@\x22'<>]{3,})@",
    // A header.
    r"|(?P<header>(?i:authorization\x22?[ \t]*[:=][ \t]*\x22?(?:bearer|basic|token)[ \t]+|(?-u:\b)bearer[ \t]+))",
    r"(?P<credential>[A-Za-z0-9._~+/=-]{8,})",
    // Azure's connection strings and signatures.
    r"|(?P<azure>(?-u:\b)(?:Account|SharedAccess)Key=|[?&]sig=)(?P<signature>[A-Za-z0-9+/=%]{20,})",
    // A name that says so, and what is assigned to it.
    r"|(?P<name>(?i:key|token|secret|passw(?:or)?d|passphrase|pwd|credentials?))",
    r"(?P<is>\\?[\x22']?[ \t]{0,4}(?:=>|:=|=|:)[ \t]{0,4}\\?[\x22'`]?)",
    r"(?P<value>[A-Za-z0-9+/=_.~!@#%^&*-]{6,})",
);

/// Names that end like a secret's and are none, in lower case.
const INNOCENT: &[&str] = &["public", "pub", "primary", "foreign", "partition", "sort"];

/// See the module.
#[derive(Debug)]
pub(super) struct Shapes {
    tokens: Regex,
    places: Regex,
}

impl Shapes {
    #[expect(clippy::expect_used, reason = "constant patterns, compiled by tests")]
    pub(super) fn new() -> Self {
        Self {
            tokens: Regex::new(TOKENS).expect("a constant pattern"),
            places: Regex::new(PLACES).expect("a constant pattern"),
        }
    }

    pub(super) fn redact<'a>(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        let text = apply(text, |text| self.tokens.replace_all(text, MARK));
        apply(text, |text| self.places(text))
    }

    /// Only what was cut out counts as a change, so that an innocent text is not copied.
    fn places<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = String::new();
        let mut done = 0;
        for found in self.places.captures_iter(text) {
            if let Some((start, end)) = secret_part(text, &found) {
                clean.push_str(&text[done..start]);
                clean.push_str(MARK);
                done = end;
            }
        }
        if done == 0 {
            return Cow::Borrowed(text);
        }
        clean.push_str(&text[done..]);
        Cow::Owned(clean)
    }
}

fn apply<'a>(text: Cow<'a, str>, with: impl FnOnce(&str) -> Cow<'_, str>) -> Cow<'a, str> {
    match with(&text) {
        Cow::Owned(changed) => Cow::Owned(changed),
        Cow::Borrowed(_) => text,
    }
}

/// Where the secret of a match is, if it is one.
fn secret_part(text: &str, found: &Captures<'_>) -> Option<(usize, usize)> {
    if let Some(value) = found.name("password") {
        return (!is_placeholder(value.as_str())).then_some((value.start(), value.end()));
    }
    if let Some(value) = found.name("credential") {
        return looks_random(value.as_str()).then_some((value.start(), value.end()));
    }
    if let Some(value) = found.name("signature") {
        return Some((value.start(), value.end()));
    }
    let (name, is, value) = (found.name("name")?, found.name("is")?, found.name("value")?);
    let before = &text[..name.start()];
    let word = before
        .rfind(|c: char| !c.is_ascii_alphanumeric())
        .map_or(before, |at| &before[at + 1..]);
    let stem = before.trim_end_matches(['_', '-']);
    let innocent = INNOCENT.iter().any(|innocent| {
        let ends = |text: &str| {
            text.get(text.len().wrapping_sub(innocent.len())..)
                .is_some_and(|end| end.eq_ignore_ascii_case(innocent))
        };
        ends(stem) || ends(word)
    });
    if innocent || is_placeholder(value.as_str()) {
        return None;
    }
    let is_key = name.as_str().eq_ignore_ascii_case("key");
    // Of a bare `key: …` nothing is known: it may be a map's.
    if is_key && stem.len() == before.len() && word.is_empty() {
        return None;
    }
    // A shell's PWD is where it is.
    let is_folder = name.as_str() == "PWD" && value.as_str().starts_with('/');
    // `NAME=value` as in an environment file, where what is called a password is one.
    let shouted = name.as_str().bytes().all(|b| b.is_ascii_uppercase())
        && is.as_str().trim_end_matches(['"', '\'']) == "=";
    let is_secret = (shouted && !is_key && !is_folder && is_word_end(text, value.end()))
        || looks_random(value.as_str());
    is_secret.then_some((value.start(), value.end()))
}

/// Whether a value ends where a line or a quoted text does, and is not the beginning of code.
fn is_word_end(text: &str, at: usize) -> bool {
    text[at..]
        .chars()
        .next()
        .is_none_or(|c| c.is_whitespace() || matches!(c, '"' | '\'' | '\\'))
}

/// What stands for a secret in documents and code.
fn is_placeholder(value: &str) -> bool {
    value.starts_with(['$', '{', '<', '%', '*']) || value.contains(MARK)
}

/// Whether a value looks like chosen by dice: long, with letters and digits, and no code.
fn looks_random(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    value.len() >= 16 && digits >= 2 && letters >= 4
}
