//! Known values over several lines or with other letters between: what is copied out of a terminal, wrapped at a column or
//! put into a string of a program. The keys of this host are found in whatever way their bytes are usually written.
//!
//! Every eighth place of a text is looked at for a piece of a value: wherever it is broken, one piece is long enough to be
//! met. Only a text with such a piece is read as a whole. There only letters, digits and the four signs of base64 count;
//! ten of them in a row tell whether a value may end there.

use std::{borrow::Cow, ops::Range};

use nostr::{FromBech32 as _, SecretKey};

use super::{MARK, spellings};

/// Of what is so long and in two pieces, one has 15 characters, and eight of them are at an eighth place.
const SHORTEST: usize = 31;
/// How much is looked at at once, and how far apart.
const PIECE: usize = 8;
/// So many characters tell where a value may end, and at least how long a beginning is that is held back.
const TAIL: usize = 10;
const TAIL_MASK: u64 = (1 << (6 * TAIL)) - 1;
/// Bits of the tables that are asked first, as a power of two.
const BITS: u32 = 17;

/// What a character counts as: its number without regard to case, or nothing at all.
const COUNTS: [u8; 256] = {
    let mut table = [NOTHING; 256];
    let mut digit = 0;
    while digit < 10 {
        table[b'0' as usize + digit as usize] = digit;
        digit += 1;
    }
    let mut letter = 0;
    while letter < 26 {
        table[b'a' as usize + letter as usize] = 10 + letter;
        table[b'A' as usize + letter as usize] = 10 + letter;
        letter += 1;
    }
    // The same two in both alphabets of base64.
    table[b'+' as usize] = 36;
    table[b'-' as usize] = 36;
    table[b'/' as usize] = 37;
    table[b'_' as usize] = 37;
    table
};
const NOTHING: u8 = 64;

/// A way in which a value is written.
#[derive(Debug)]
struct Written {
    text: Box<[u8]>,
    /// Whether capitals are the same.
    folds: bool,
}

/// Finds values over several lines.
pub(super) struct Spread {
    all: Vec<Written>,
    /// The last [`TAIL`] characters of each, sorted, and the first.
    tails: Vec<(u64, usize)>,
    heads: Vec<(u64, usize)>,
    tail_table: Table,
    /// All pieces of each, sorted, in small letters.
    pieces: Vec<u64>,
    piece_table: Table,
    longest: usize,
}

impl Default for Spread {
    fn default() -> Self {
        Self::of(&[])
    }
}

impl Spread {
    pub(super) fn of(secrets: &[String]) -> Self {
        let mut all: Vec<Written> = secrets.iter().flat_map(|secret| written(secret)).collect();
        all.sort_by(|a, b| a.text.cmp(&b.text));
        all.dedup_by(|a, b| a.text == b.text);
        let ends = |of: fn(&[u8]) -> &[u8]| {
            let ends = all.iter().enumerate();
            let mut ends: Vec<_> = ends.map(|(at, way)| (packed(of(&way.text)), at)).collect();
            ends.sort_unstable();
            ends
        };
        let tails = ends(|text| &text[text.len() - TAIL..]);
        let heads = ends(|text| &text[..TAIL]);
        let longest = all.iter().map(|way| way.text.len()).max().unwrap_or(0);
        let mut pieces: Vec<u64> = all.iter().flat_map(Written::pieces).collect();
        pieces.sort_unstable();
        pieces.dedup();
        Self {
            tail_table: tails.iter().map(|(tail, _)| *tail).collect(),
            piece_table: pieces.iter().copied().collect(),
            all,
            tails,
            heads,
            pieces,
            longest,
        }
    }

    pub(super) fn redact<'a>(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        let found = self.find(text.as_bytes());
        if found.is_empty() {
            return text;
        }
        let (mut clean, mut done) = (String::new(), 0);
        for Range { start, end } in found {
            // Both ends are letters of ASCII, so that nothing is cut through.
            clean.push_str(text.get(done..start.max(done)).unwrap_or_default());
            clean.push_str(MARK);
            done = end;
        }
        clean.push_str(text.get(done..).unwrap_or_default());
        Cow::Owned(clean)
    }

    /// Where values are.
    fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if self.all.is_empty() || text.len() < SHORTEST || !self.may_hold(text) {
            return found;
        }
        let mut last = 0;
        let mut bytes = text.iter().enumerate();
        while let Some((at, byte)) = bytes.next() {
            let number = COUNTS[usize::from(*byte)];
            if number == NOTHING {
                if *byte == b'\\' && is_escape(text, at + 1) {
                    bytes.next();
                }
                continue;
            }
            last = (last << 6 | u64::from(number)) & TAIL_MASK;
            if self.tail_table.may_have(last)
                && let Some(start) = self.start(text, at, last)
            {
                found.push(start..at + 1);
                last = 0;
            }
        }
        found
    }

    /// Whether there is a piece of a value.
    fn may_hold(&self, text: &[u8]) -> bool {
        let (places, _) = text.as_chunks::<PIECE>();
        places.iter().any(|place| {
            let piece = folded(*place);
            self.piece_table.may_have(piece) && self.pieces.binary_search(&piece).is_ok()
        })
    }

    /// Where the longest value begins whose last character is at `end`.
    fn start(&self, text: &[u8], end: usize, tail: u64) -> Option<usize> {
        ways(&self.tails, tail)
            .filter_map(|way| self.all[way].backwards(text, end))
            .min()
    }

    /// Where at the end of a text a value begins that is not all there.
    pub(super) fn begun(&self, text: &str) -> Option<usize> {
        let text = text.as_bytes();
        // The last that count, the last one first.
        let counted = (0..text.len()).rev().filter(|at| counts(text, *at));
        let end: Vec<(usize, u8)> = counted
            .map(|at| (at, text[at]))
            .take(self.longest)
            .collect();
        let beginning = end.windows(TAIL).enumerate().filter(|(from, window)| {
            let head = packed(window.iter().rev().map(|(_, byte)| byte));
            ways(&self.heads, head).any(|way| {
                let way = &self.all[way];
                let rest = end[..from + TAIL].iter().rev().map(|(_, byte)| byte);
                rest.len() < way.text.len()
                    && rest
                        .zip(&way.text)
                        .all(|(is, should)| way.same(*is, *should))
            })
        });
        beginning.map(|(_, window)| window[TAIL - 1].0).min()
    }
}

impl Written {
    fn exactly(text: impl Into<Vec<u8>>) -> Self {
        let text = text.into().into_boxed_slice();
        Self { text, folds: false }
    }

    fn in_any_case(text: impl Into<Vec<u8>>) -> Self {
        let text = text.into().into_boxed_slice();
        Self { text, folds: true }
    }

    /// All its pieces, as they may stand in a text: in both alphabets of base64, and dumped byte by byte.
    fn pieces(&self) -> Vec<u64> {
        let other = |byte: &u8| match byte {
            b'+' => b'-',
            b'/' => b'_',
            byte => *byte,
        };
        let mut texts = vec![self.text.to_vec(), self.text.iter().map(other).collect()];
        if self.folds {
            let bytes: Vec<&[u8]> = self.text.chunks(2).collect();
            texts.extend([bytes.join(&b' '), bytes.join(&b':')]);
        }
        let windows = texts.iter().flat_map(|text| text.windows(PIECE));
        let windows = windows.filter_map(|window| window.try_into().ok());
        windows.map(folded).collect()
    }

    fn same(&self, is: u8, should: u8) -> bool {
        is == should
            || COUNTS[usize::from(is)] == COUNTS[usize::from(should)]
                && (self.folds || !is.is_ascii_alphabetic())
    }

    /// Where it begins, if it ends at `end`.
    fn backwards(&self, text: &[u8], end: usize) -> Option<usize> {
        let mut at = end + 1;
        for should in self.text.iter().rev() {
            let byte = loop {
                at = at.checked_sub(1)?;
                if counts(text, at) {
                    break text[at];
                }
            };
            if !self.same(byte, *should) {
                return None;
            }
        }
        Some(at)
    }
}

/// The ways in which a value is looked for over several lines.
fn written(secret: &str) -> Vec<Written> {
    let mut ways = Vec::new();
    if secret
        .bytes()
        .all(|byte| COUNTS[usize::from(byte)] != NOTHING)
    {
        ways.push(Written::exactly(secret));
    }
    ways.extend(spellings::base64(secret.as_bytes()).map(Written::exactly));
    let key = SecretKey::from_hex(secret).or_else(|_| SecretKey::from_bech32(secret));
    if let Ok(key) = key {
        // These stand in the place of what is the same in this case only.
        ways.retain(|way| way.text[..] != *secret.as_bytes());
        ways.extend(spellings::base64(key.as_secret_bytes()).map(Written::exactly));
        ways.push(Written::in_any_case(key.to_secret_hex()));
        ways.push(Written::in_any_case(secret));
    }
    ways.retain(|way| way.text.len() >= SHORTEST);
    ways
}

/// Whether a character counts: not the `n` of `\n`, as a line break is written within strings.
fn counts(text: &[u8], at: usize) -> bool {
    COUNTS[usize::from(text[at])] != NOTHING
        && !(at > 0 && text[at - 1] == b'\\' && is_escape(text, at))
}

fn is_escape(text: &[u8], at: usize) -> bool {
    matches!(text.get(at), Some(b'n' | b'r' | b't'))
}

fn packed<'a>(text: impl IntoIterator<Item = &'a u8>) -> u64 {
    text.into_iter().fold(0, |packed, byte| {
        packed << 6 | u64::from(COUNTS[usize::from(*byte)])
    })
}

fn ways(ends: &[(u64, usize)], end: u64) -> impl Iterator<Item = usize> {
    let first = ends.partition_point(|(is, _)| *is < end);
    let same = ends[first..].iter().take_while(move |(is, _)| *is == end);
    same.map(|(_, way)| *way)
}

/// A piece in small letters; what becomes of other characters does not matter, as long as it is always the same.
const fn folded(piece: [u8; PIECE]) -> u64 {
    u64::from_le_bytes(piece) | 0x2020_2020_2020_2020
}

/// Tells of most numbers that they are not among some.
struct Table(Box<[u64]>);

impl Table {
    const fn bit(number: u64) -> usize {
        (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as usize
    }

    fn may_have(&self, number: u64) -> bool {
        let bit = Self::bit(number);
        self.0[bit / 64] >> (bit % 64) & 1 == 1
    }
}

impl FromIterator<u64> for Table {
    fn from_iter<T: IntoIterator<Item = u64>>(numbers: T) -> Self {
        let mut table = vec![0; (1 << BITS) / 64].into_boxed_slice();
        for number in numbers {
            let bit = Self::bit(number);
            table[bit / 64] |= 1 << (bit % 64);
        }
        Self(table)
    }
}

#[cfg(test)]
mod tests {
    use nostr::{
        Keys, ToBech32 as _,
        base64::{Engine as _, engine::general_purpose as base64},
    };

    use super::*;

    /// Ways in which people and programs write a key.
    fn ways(keys: &Keys) -> Vec<String> {
        let (hex, nsec) = (
            keys.secret_key().to_secret_hex(),
            keys.secret_key().to_bech32().unwrap(),
        );
        let bytes = keys.secret_key().as_secret_bytes();
        let mixed = hex.chars().enumerate().map(|(at, c)| match at % 3 {
            0 => c.to_ascii_uppercase(),
            _ => c,
        });
        vec![
            hex.to_uppercase(),
            mixed.collect(),
            nsec.to_uppercase(),
            base64::STANDARD.encode(bytes),
            base64::STANDARD_NO_PAD.encode(bytes),
            base64::URL_SAFE.encode(bytes),
            base64::STANDARD.encode(&hex),
            base64::STANDARD.encode(format!("a{nsec}")),
            hex,
            nsec,
        ]
    }

    /// The same as it may stand in a text: in one piece, wrapped, quoted, dumped byte by byte.
    fn stands(way: &str) -> Vec<String> {
        let pieces = |size: usize, with: &str| {
            let bytes = way.as_bytes().chunks(size);
            let pieces: Vec<_> = bytes
                .map(|piece| std::str::from_utf8(piece).unwrap())
                .collect();
            pieces.join(with)
        };
        vec![
            way.to_owned(),
            pieces(way.len() / 2 + 1, "\n"),
            pieces(20, "\r\n    "),
            pieces(16, "\",\n \""),
            pieces(76, "\\n"),
            pieces(24, "\\\\r\\\\n"),
            pieces(17, "\u{a0}"),
        ]
    }

    #[test]
    fn a_key_is_found_however_its_bytes_are_written() {
        for _ in 0..20 {
            let keys = Keys::generate();
            let redactor = super::super::Redactor::new(crate::keys::keyring::spellings(&keys));
            for way in ways(&keys) {
                let mut stands = stands(&way);
                if way.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    let bytes: Vec<_> = (0..32).map(|at| &way[2 * at..2 * at + 2]).collect();
                    stands.extend([bytes.join(" "), bytes.join(":")]);
                }
                for stands in stands {
                    let clean = redactor
                        .redact(&format!("It is <{stands}>, \u{e9}."))
                        .into_owned();
                    let (before, after) =
                        clean.split_once(MARK).unwrap_or_else(|| panic!("{stands}"));
                    // Of base64 the ends stay that depend on what is beside it.
                    assert!(before.len() < 24 && after.len() < 24, "{stands}: {clean}");
                    assert_eq!(redactor.redact(&clean), clean);
                }
            }
            // Not what is known of everybody.
            let public = keys.public_key().to_hex();
            assert_eq!(redactor.redact(&public), public);
        }
    }

    #[test]
    fn a_key_that_is_still_being_written_is_held_back_at_a_line_break() {
        let keys = Keys::generate();
        let redactor = super::super::Redactor::new(crate::keys::keyring::spellings(&keys));
        for way in ways(&keys) {
            let (first, second) = way.split_at(way.len() / 2);
            let text = format!("Here it is: {first}\n{second} and that was it.\n");
            for end in text.char_indices().map(|(at, _)| at) {
                let shown = redactor.shown(&text[..end]).unwrap_or_default();
                assert!(!shown.contains(&first[..TAIL + 4]), "{shown}");
            }
            let shown = redactor.shown(&text).unwrap();
            assert!(
                shown.contains(MARK) && shown.contains("that was it"),
                "{shown}"
            );
        }
    }

    #[test]
    fn what_no_value_ends_with_stays() {
        let token = "tok-0123456789abcdefghijklmnopqrstuv".to_owned();
        let spread = Spread::of(&[token.clone(), "a short one".to_owned()]);
        let redact = |text: &str| spread.redact(Cow::Borrowed(text)).into_owned();
        assert_eq!(
            redact("tok-01234\n  56789abcdefghijklmnopqrstuv."),
            format!("{MARK}.")
        );
        // Its own case counts, and all of it has to be there.
        for innocent in [
            token.to_uppercase(),
            token[1..].to_owned(),
            token[..token.len() - 1].to_owned(),
            "a short\none".to_owned(),
        ] {
            assert_eq!(redact(&innocent), innocent);
        }
        let twice = format!("{token}{token} {token}");
        assert_eq!(redact(&twice), format!("{MARK}{MARK} {MARK}"));
    }
}
