//! NIP-50: what a search asks for, and which words an event has.
//! <https://github.com/nostr-protocol/nips/blob/master/50.md>
//!
//! [`words`] cuts text into folded words: compatibility forms, case and the accents of Latin, Greek, Cyrillic,
//! Hebrew and Arabic do not count. Scripts that put no spaces between words become single characters and pairs of
//! neighbours. [`Search`] is a query; every one of its words has to be among those of an event ([`of_event`]).
//! Both sides are bounded here, so that an index and a live subscription agree on what matches.

use std::{borrow::Cow, collections::HashSet, ops::ControlFlow};

use nostr::Event;
use unicode_normalization::UnicodeNormalization as _;

use super::kind;

/// Bytes of a query.
pub const MAX_QUERY: usize = 1024;
/// Different words of a query.
pub const MAX_QUERY_WORDS: usize = 32;
/// Bytes of an event's text that are read.
pub const MAX_TEXT: usize = 128 << 10;
/// Words of an event that are read.
pub const MAX_WORDS: usize = 8192;
/// Bytes of a word; of a longer one, only these count.
pub const MAX_WORD: usize = 64;

/// Kinds with text in the clear beside jobs, their results and session records.
const TEXTS: [u16; 9] = [0, 1, 9, 11, 42, 1111, 9802, 30023, 30818];
/// Tags of these whose values are text too.
const TITLES: [&str; 3] = ["title", "subject", "summary"];
/// What of a profile is text.
const PROFILE: [&str; 5] = ["name", "display_name", "displayName", "about", "nip05"];

/// Why a text is no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// Too many bytes.
    #[error("a search has at most {MAX_QUERY} bytes")]
    TooLong,
    /// Too many words.
    #[error("a search has at most {MAX_QUERY_WORDS} words")]
    TooManyWords,
}

/// A query: all of its words have to be there, in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    words: Vec<String>,
}

impl Search {
    /// Reads a query. `None` when it is empty or holds nothing but extensions (`key:value`, none of which is known):
    /// then it restricts nothing.
    ///
    /// # Errors
    /// When it is too long.
    pub fn parse(text: &str) -> Result<Option<Self>, SearchError> {
        if text.len() > MAX_QUERY {
            return Err(SearchError::TooLong);
        }
        let mut asks = false;
        let mut found = Vec::new();
        for part in text.split_whitespace().filter(|part| !is_extension(part)) {
            asks = true;
            let cut = cut(part, true, &mut |word: &str| {
                if !found.iter().any(|known| known == word) {
                    found.push(word.to_owned());
                }
                match found.len() > MAX_QUERY_WORDS {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            if cut.is_break() {
                return Err(SearchError::TooManyWords);
            }
        }
        Ok(asks.then_some(Self { words: found }))
    }

    /// The folded words, each once. Without any, nothing matches: the query is made of signs that nobody looks for.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Whether an event has all of the words.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        !self.words.is_empty() && {
            let mut missing: HashSet<&str> = self.words.iter().map(String::as_str).collect();
            of_event(event, |word| {
                missing.remove(word);
                match missing.is_empty() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            missing.is_empty()
        }
    }

    /// As [`Self::matches`], with the event's words at hand.
    #[must_use]
    pub fn is_within(&self, words: &HashSet<String>) -> bool {
        !self.words.is_empty() && self.words.iter().all(|word| words.contains(word))
    }
}

/// Two words with a colon between them.
fn is_extension(part: &str) -> bool {
    part.split_once(':').is_some_and(|(key, value)| {
        key.starts_with(|first: char| first.is_ascii_alphabetic())
            && key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
            && value.starts_with(char::is_alphanumeric)
    })
}

/// Whether an event can be found by its words: its kind carries text, and it is not encrypted.
#[must_use]
pub fn is_searched(event: &Event) -> bool {
    let number = event.kind.as_u16();
    let carries = TEXTS.contains(&number)
        || kind::JOB_REQUESTS.contains(&number)
        || kind::JOB_RESULTS.contains(&number)
        || (kind::SESSION_START..=kind::SESSION_END).contains(&number);
    carries
        && !event.tags.iter().any(|tag| {
            tag.as_slice()
                .first()
                .is_some_and(|name| name == "encrypted")
        })
}

/// Every word of an event, in the order of its text; none when it is not to be found.
pub fn of_event(event: &Event, mut each: impl FnMut(&str) -> ControlFlow<()>) {
    if !is_searched(event) {
        return;
    }
    let (mut bytes, mut count) = (MAX_TEXT, 0);
    for text in texts(event) {
        let mut end = text.len().min(bytes);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        bytes -= end;
        let read = words(&text[..end], |word| {
            count += 1;
            match count > MAX_WORDS {
                true => ControlFlow::Break(()),
                false => each(word),
            }
        });
        if read.is_break() || bytes == 0 {
            return;
        }
    }
}

/// The different words of an event.
#[must_use]
pub fn set_of(event: &Event) -> HashSet<String> {
    let mut found = HashSet::new();
    of_event(event, |word| {
        if !found.contains(word) {
            found.insert(word.to_owned());
        }
        ControlFlow::Continue(())
    });
    found
}

/// The texts of an event, titles first.
fn texts(event: &Event) -> Vec<Cow<'_, str>> {
    let number = event.kind.as_u16();
    let mut found = Vec::new();
    for tag in event.tags.iter() {
        match tag.as_slice() {
            [name, value, ..] if TITLES.contains(&name.as_str()) => {
                found.push(Cow::Borrowed(value.as_str()));
            }
            [name, value, form, ..]
                if name == "i" && form == "text" && kind::JOB_REQUESTS.contains(&number) =>
            {
                found.push(Cow::Borrowed(value.as_str()));
            }
            _ => {}
        }
    }
    if number == kind::PROFILE {
        let profile: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&event.content).unwrap_or_default();
        for name in PROFILE {
            if let Some(text) = profile.get(name).and_then(|value| value.as_str()) {
                found.push(Cow::Owned(text.to_owned()));
            }
        }
    } else {
        found.push(Cow::Borrowed(event.content.as_str()));
    }
    found
}

/// Cuts a text into folded words, for as long as `each` continues.
pub fn words(text: &str, mut each: impl FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
    cut(text, false, &mut each)
}

fn cut(
    text: &str,
    is_query: bool,
    each: &mut impl FnMut(&str) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut cutter = Cutter {
        word: String::new(),
        run: None,
        is_query,
        each,
    };
    if text.is_ascii() {
        for byte in text.bytes() {
            cutter.take(char::from(byte.to_ascii_lowercase()))?;
        }
    } else {
        for letter in text.nfkd().filter(|letter| !is_accent(*letter)).nfc() {
            match letter {
                'ß' | 'ẞ' => {
                    cutter.take('s')?;
                    cutter.take('s')?;
                }
                'æ' | 'Æ' => {
                    cutter.take('a')?;
                    cutter.take('e')?;
                }
                'œ' | 'Œ' => {
                    cutter.take('o')?;
                    cutter.take('e')?;
                }
                'ς' => cutter.take('σ')?,
                'ı' => cutter.take('i')?,
                'ø' | 'Ø' => cutter.take('o')?,
                'ł' | 'Ł' => cutter.take('l')?,
                'đ' | 'Đ' => cutter.take('d')?,
                letter => {
                    for lower in letter.to_lowercase() {
                        cutter.take(lower)?;
                    }
                }
            }
        }
    }
    cutter.end_word()?;
    cutter.end_run()
}

/// A run of characters that need no spaces between words.
struct Run {
    last: char,
    is_single: bool,
}

struct Cutter<'a, F> {
    word: String,
    run: Option<Run>,
    is_query: bool,
    each: &'a mut F,
}

impl<F: FnMut(&str) -> ControlFlow<()>> Cutter<'_, F> {
    fn take(&mut self, letter: char) -> ControlFlow<()> {
        if is_unspaced(letter) {
            self.end_word()?;
            let mut pair = String::with_capacity(8);
            if let Some(run) = &self.run {
                pair.push(run.last);
                pair.push(letter);
                (self.each)(&pair)?;
                pair.clear();
            }
            // A query of two and more asks for the pairs alone.
            if !self.is_query {
                pair.push(letter);
                (self.each)(&pair)?;
            }
            self.run = Some(Run {
                last: letter,
                is_single: self.run.is_none(),
            });
            return ControlFlow::Continue(());
        }
        self.end_run()?;
        if letter.is_alphanumeric() || is_mark_within(letter) {
            if self.word.len() + letter.len_utf8() <= MAX_WORD {
                self.word.push(letter);
            }
            return ControlFlow::Continue(());
        }
        self.end_word()
    }

    fn end_word(&mut self) -> ControlFlow<()> {
        if self.word.is_empty() {
            return ControlFlow::Continue(());
        }
        let flow = (self.each)(&self.word);
        self.word.clear();
        flow
    }

    fn end_run(&mut self) -> ControlFlow<()> {
        match self.run.take() {
            Some(run) if run.is_single && self.is_query => {
                (self.each)(run.last.encode_utf8(&mut [0; 4]))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// What people leave out when they type.
fn is_accent(letter: char) -> bool {
    matches!(letter,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{487}' | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}'
        | '\u{5c4}'..='\u{5c5}' | '\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{ad}' | '\u{200c}'..='\u{200d}')
}

/// Signs inside of words that are no letters by themselves, as the viramas of Indian scripts.
fn is_mark_within(letter: char) -> bool {
    letter > '\u{7f}' && unicode_normalization::char::is_combining_mark(letter)
}

/// Han, kana, Hangul, Thai, Lao, Burmese, Khmer.
fn is_unspaced(letter: char) -> bool {
    matches!(letter,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{1100}'..='\u{11ff}'
        | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{3096}' | '\u{309d}'..='\u{309f}' | '\u{30a1}'..='\u{30fa}'
        | '\u{30fc}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let flow = words(text, |word| {
            found.push(word.to_owned());
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        found
    }

    fn query(text: &str) -> Vec<String> {
        Search::parse(text).unwrap().unwrap().words().to_vec()
    }

    #[test]
    fn case_accents_and_forms_do_not_count() {
        assert_eq!(
            list("Café ÉTÉ, naïve-Straße"),
            ["cafe", "ete", "naive", "strasse"]
        );
        assert_eq!(list("ＦＵＬＬ ﬁne ①"), ["full", "fine", "1"]);
        assert_eq!(list("ΟΔΥΣΣΕΥΣ Ὀδυσσεύς"), ["οδυσσευσ", "οδυσσευσ"]);
        assert_eq!(list("İstanbul ıspanak"), ["istanbul", "ispanak"]);
        assert_eq!(list("don't a_b c.d"), ["don", "t", "a", "b", "c", "d"]);
        assert_eq!(list("हिन्दी में"), ["हिन्दी", "में"]);
    }

    #[test]
    fn scripts_without_spaces_become_single_characters_and_pairs() {
        assert_eq!(list("日本語x"), ["日", "日本", "本", "本語", "語", "x"]);
        assert_eq!(query("日本語"), ["日本", "本語"]);
        assert_eq!(query("語"), ["語"]);
        assert_eq!(query("한국"), ["한국"]);
        assert_eq!(query("x語y"), ["x", "語", "y"]);
    }

    #[test]
    fn extensions_are_left_out_and_what_is_left_is_asked_for() {
        assert_eq!(query("include:spam Tree fort tree"), ["tree", "fort"]);
        assert_eq!(
            query("https://example.com 10:30"),
            ["https", "example", "com", "10", "30"]
        );
        assert_eq!(Search::parse(" language:en nsfw:false "), Ok(None));
        assert_eq!(Search::parse(""), Ok(None));
        assert!(Search::parse("!!!").unwrap().unwrap().words().is_empty());
        assert_eq!(Search::parse(&"x".repeat(1025)), Err(SearchError::TooLong));
        let many: String = (0..33).map(|number| format!("w{number} ")).collect();
        assert_eq!(Search::parse(&many), Err(SearchError::TooManyWords));
    }

    #[test]
    fn what_one_event_has_is_bounded() {
        let keys = nostr::Keys::generate();
        let text: String = (0..1_000_000).map(|number| format!("w{number} ")).collect();
        let event = super::super::Draft::new(1)
            .content(text)
            .sign(&keys, 1)
            .unwrap();
        let found = set_of(&event);
        assert_eq!(found.len(), MAX_WORDS);
        assert!(Search::parse("w8191").unwrap().unwrap().matches(&event));
        assert!(!Search::parse("w8192").unwrap().unwrap().matches(&event));
        let event = super::super::Draft::new(1)
            .content("é".repeat(MAX_TEXT))
            .sign(&keys, 1)
            .unwrap();
        assert!(set_of(&event).iter().all(|word| word.len() <= MAX_WORD));
    }
}
