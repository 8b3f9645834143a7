//! What a relay's answer to an event means (NIP-01, NIP-42), and how long to wait after a failure.

use std::time::Duration;

/// How often a relay may fail at one event.
pub(super) const TRIES: u32 = 5;
/// How many of a kind a relay refuses, with none taken, before it is sent no more of the kind.
pub(super) const REFUSALS: u32 = 3;
/// Words of a relay that are kept.
const WORDS: usize = 200;

/// What to do after an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken.
    Sent,
    /// It was there before.
    There,
    /// Not wanted, now or later.
    Refused(String),
    /// Nothing of its kind is wanted.
    RefusedKind(String),
    /// Too much at once.
    Later,
    /// The relay wants to know who we are.
    Auth,
    /// Something went wrong over there.
    Again(String),
}

/// Reads the answer to an event.
pub(super) fn read(taken: bool, words: &str) -> Verdict {
    let prefix = words
        .split_once(':')
        .map_or("", |(prefix, _)| prefix.trim());
    match (taken, prefix) {
        (_, "duplicate") => Verdict::There,
        (true, _) => Verdict::Sent,
        (false, "rate-limited") => Verdict::Later,
        (false, "auth-required") => Verdict::Auth,
        (false, "blocked" | "invalid" | "restricted" | "pow" | "mute") => {
            let kept = kept(words);
            match names_kind(words) {
                true => Verdict::RefusedKind(kept),
                false => Verdict::Refused(kept),
            }
        }
        (false, _) => Verdict::Again(kept(words)),
    }
}

/// Whether a refusal is about the kind. There is no word for it in NIP-01, but every relay that knows kinds says so.
fn names_kind(words: &str) -> bool {
    words
        .to_ascii_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| matches!(word, "kind" | "kinds"))
}

/// A relay's words on one line, as long as one keeps them.
pub(super) fn kept(words: &str) -> String {
    words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(WORDS)
        .collect()
}

/// Waits longer after each failure in a row, with a part left to chance, so that not all who were cut off come back in
/// the same moment.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// From a first wait to the longest.
    pub(super) const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            failures: 0,
        }
    }

    /// It went well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after another failure.
    pub(super) fn next(&mut self) -> Duration {
        let whole = self
            .first
            .saturating_mul(2u32.saturating_pow(self.failures))
            .min(self.most);
        self.failures = self.failures.saturating_add(1).min(30);
        let mut byte = [128u8];
        // Without chance it is the middle.
        let _ = getrandom::fill(&mut byte);
        // Between a half and the whole of it.
        whole / 2 + (whole / 2).mul_f64(f64::from(byte[0]) / 255.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_one_meaning() {
        let refused = |words: &str| Verdict::Refused(words.to_owned());
        let kind = |words: &str| Verdict::RefusedKind(words.to_owned());
        let again = |words: &str| Verdict::Again(words.to_owned());
        for (taken, words, verdict) in [
            (true, "", Verdict::Sent),
            (true, "thanks", Verdict::Sent),
            (true, "duplicate: have it", Verdict::There),
            (false, "duplicate: have it", Verdict::There),
            (false, "rate-limited: slow down", Verdict::Later),
            (false, "auth-required: who are you", Verdict::Auth),
            (false, "blocked: not you", refused("blocked: not you")),
            (false, "invalid: too old", refused("invalid: too old")),
            (false, "restricted: members", refused("restricted: members")),
            (false, "pow: 20 bits", refused("pow: 20 bits")),
            (false, "blocked: kind 4785", kind("blocked: kind 4785")),
            (false, "restricted: Kinds!", kind("restricted: Kinds!")),
            (false, "blocked: be kinder", refused("blocked: be kinder")),
            (false, "error: disk", again("error: disk")),
            (false, "", again("")),
            (false, "no", again("no")),
        ] {
            assert_eq!(read(taken, words), verdict, "{taken} {words}");
        }
        assert_eq!(kept("a\nb\u{1b}[c"), "a b [c");
        assert_eq!(kept(&"x".repeat(999)).len(), WORDS);
    }

    #[test]
    fn a_wait_grows_to_its_bound_and_begins_anew() {
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut backoff = Backoff::new(first, most);
        for n in 0..40u32 {
            let whole = first.saturating_mul(2u32.saturating_pow(n)).min(most);
            let wait = backoff.next();
            assert!(wait >= whole / 2 && wait <= whole, "{n}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= first);
    }
}
