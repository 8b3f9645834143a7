//! The ways in which one known secret may be written: as it is, in JSON, in a URL, in base64, in
//! hexadecimal.

/// The shortest piece that is searched for; shorter ones would blank out ordinary words.
const SHORTEST: usize = 8;
/// The same for base64, of which the ends are lost.
const SHORTEST_BASE64: usize = 11;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Every spelling of `secret`, itself first; nothing of one that is too short.
pub(super) fn of(secret: &str) -> Vec<String> {
    if secret.len() < SHORTEST {
        return Vec::new();
    }
    let mut all = vec![secret.to_owned()];
    if let Ok(json) = serde_json::to_string(secret) {
        all.push(json[1..json.len() - 1].to_owned());
        // JSON within JSON, as tools' results are.
        if let Ok(twice) = serde_json::to_string(&json[1..json.len() - 1]) {
            all.push(twice[1..twice.len() - 1].to_owned());
        }
    }
    let encoded = percent(secret);
    all.push(encoded.to_lowercase_escapes());
    all.push(encoded.0);
    let hex = hex::encode(secret);
    all.push(hex.to_uppercase());
    all.push(hex);
    for alphabet in [STANDARD, URL_SAFE] {
        let inner = base64_cores(secret.as_bytes(), alphabet);
        all.extend(inner.filter(|core| core.len() >= SHORTEST_BASE64));
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|spelling| seen.insert(spelling.clone()));
    all
}

/// What is the same in every base64 of a text with these bytes in it, in the standard alphabet.
pub(super) fn base64(bytes: &[u8]) -> impl Iterator<Item = String> {
    base64_cores(bytes, STANDARD)
}

fn base64_cores(bytes: &[u8], alphabet: &'static [u8; 64]) -> impl Iterator<Item = String> {
    (0..3).map(move |shift| base64_core(bytes, shift, alphabet))
}

struct Percent(String);

impl Percent {
    /// The same with `%2f` for `%2F`.
    fn to_lowercase_escapes(&self) -> String {
        let mut pieces = self.0.split('%');
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            text.push('%');
            text.push_str(&piece[..2].to_lowercase());
            text.push_str(&piece[2..]);
        }
        text
    }
}

fn percent(secret: &str) -> Percent {
    let mut text = String::with_capacity(secret.len() * 3);
    for byte in secret.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    Percent(text)
}

/// The characters of a longer text's base64 that depend on `secret` alone, when it begins `shift`
/// bytes after a multiple of three.
fn base64_core(secret: &[u8], shift: usize, alphabet: &[u8; 64]) -> String {
    let bytes: Vec<u8> = std::iter::repeat_n(0, shift)
        .chain(secret.iter().copied())
        .collect();
    let whole = bytes.len() * 8 / 6;
    // The first character whose six bits all lie within the secret.
    let first = (shift * 8).div_ceil(6);
    (first..whole)
        .map(|at| {
            let bit = at * 6;
            let high = u16::from(bytes[bit / 8]) << 8;
            let low = bytes.get(bit / 8 + 1).copied().map_or(0, u16::from);
            let six = (high | low) >> (10 - bit % 8) & 0x3f;
            char::from(alphabet[usize::from(six)])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_found_at_every_offset() {
        // "xyz", "axyz" and "abxyz" in base64, less the characters that others share.
        assert_eq!(base64_core(b"Man", 0, STANDARD), "TWFu");
        assert_eq!(
            base64_core(b"any carnal pleas", 0, STANDARD),
            "YW55IGNhcm5hbCBwbGVhc"
        );
        // "M" + "an" is "TWFu", "Ma" + "n" too.
        assert_eq!(base64_core(b"an", 1, STANDARD), "Fu");
        assert_eq!(base64_core(b"n", 2, STANDARD), "u");
    }

    #[test]
    fn short_values_are_no_secrets() {
        assert!(of("1234567").is_empty());
        assert!(of("12345678").contains(&"12345678".to_owned()));
    }
}
