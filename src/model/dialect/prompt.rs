//! How long a prompt is, before a server has counted it: from below, to see whether one was cut, and from above
//! as far as that can be said without the model's own vocabulary, to hold a budget against.

use serde_json::{Map, Value};

/// The parts of a request that a model reads.
const READ: &[&str] = &[
    "messages",
    "contents",
    "input",
    "instructions",
    "system",
    "systemInstruction",
    "tools",
    "format",
    "response_format",
];
/// What is thought, called or named is left out of some models' prompts, so it counts from above only.
const NOT_ALWAYS_READ: &[&str] = &[
    "thinking",
    "reasoning_content",
    "signature",
    "tool_calls",
    "images",
    "image_url",
    "source",
    "inlineData",
    "data",
    "arguments",
    "encrypted_content",
    "file_data",
];
/// A word of more bytes than this is no word of a language: base64, hexadecimal, a key.
const WORD_BYTES: usize = 48;
/// What a picture is at the most for most models, whatever its file's size.
const PICTURE_TOKENS: u64 = 1_600;
/// Bytes of base64 for one token of a document: pages are mostly layout and pictures.
const DOCUMENT_BYTES: u64 = 16;

/// The tokens of a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::model) struct Prompt {
    /// Fewer than it has in any language.
    pub(in crate::model) least: u64,
    /// About as many as it has, and rather more.
    pub(in crate::model) estimate: u64,
}

impl Prompt {
    /// Of a request as it goes to a server.
    pub(in crate::model) fn of(body: &Value) -> Self {
        let parts = || {
            READ.iter()
                .filter_map(|name| Some((*name, body.get(*name)?)))
        };
        let text =
            |(name, _): &(&str, &Value)| !matches!(*name, "tools" | "format" | "response_format");
        let characters: u64 = parts().filter(text).map(|(_, part)| characters(part)).sum();
        let quarters = parts().map(|(_, part)| quarters(part));
        Self {
            least: characters / 5,
            estimate: quarters.fold(0, u64::saturating_add).div_ceil(4),
        }
    }
}

/// Characters of every text in a value that a model reads as text.
fn characters(value: &Value) -> u64 {
    match value {
        // One long word may be a picture that a model without eyes does not read.
        Value::String(text) if text.len() > 4096 && is_one_word(text) => 0,
        Value::String(text) => text.chars().map(|_| 1).sum(),
        Value::Array(items) => items.iter().map(characters).sum(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !NOT_ALWAYS_READ.contains(&name.as_str()) && *name != "role")
            .map(|(_, field)| characters(field))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn is_one_word(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte))
}

/// Quarters of a token of everything in a value, with the names of its fields.
fn quarters(value: &Value) -> u64 {
    match value {
        Value::String(text) => text_quarters(text),
        Value::Array(items) => items.iter().map(quarters).fold(0, u64::saturating_add),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| match blob(fields, name, field) {
                Some(tokens) => tokens.saturating_mul(4),
                None => text_quarters(name).saturating_add(quarters(field)),
            })
            .fold(0, u64::saturating_add),
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
    }
}

/// Tokens of a picture or a document in base64, in the place where a dialect has it.
fn blob(fields: &Map<String, Value>, name: &str, value: &Value) -> Option<u64> {
    match (name, value) {
        ("images", Value::Array(images)) if fields.contains_key("role") => {
            Some(PICTURE_TOKENS.saturating_mul(u64::try_from(images.len()).unwrap_or(u64::MAX)))
        }
        ("url" | "image_url", Value::String(url)) if url.starts_with("data:image/") => {
            Some(PICTURE_TOKENS)
        }
        ("data", Value::String(data)) if is_one_word(data) => {
            let kind = fields
                .get("media_type")
                .or_else(|| fields.get("mimeType"))?;
            let kind = kind.as_str()?;
            if kind.starts_with("image/") {
                return Some(PICTURE_TOKENS);
            }
            let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
            let tokens = (bytes / DOCUMENT_BYTES).max(PICTURE_TOKENS);
            // A text is read letter by letter.
            (!kind.starts_with("text/")).then_some(tokens)
        }
        _ => None,
    }
}

/// Quarters of a token: four letters make one, two digits or signs do, and two bytes of other scripts
/// (a sign of Chinese has three); what is no word has few letters to a token.
fn text_quarters(text: &str) -> u64 {
    let words = text.split_inclusive(|c: char| c.is_ascii_whitespace());
    let word = |word: &str| {
        let dense = word.len() > WORD_BYTES;
        let byte = |byte: u8| match byte {
            _ if dense && byte.is_ascii() => 3,
            b'a'..=b'z' | b'A'..=b'Z' | b' ' => 1,
            _ => 2,
        };
        word.bytes().map(byte).sum::<u64>()
    };
    words.map(word).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(text: &str) -> Prompt {
        Prompt::of(&json!({"model": "m", "messages": [{"role": "user", "content": text}]}))
    }

    #[test]
    fn no_text_is_free_however_it_is_written() {
        let base64 = "aGVsbG8gd29ybGQh".repeat(4096);
        let chinese = "我们今天去公园散步".repeat(1000);
        let cyrillic = "привет мир ".repeat(1000);
        for (text, least, estimate) in [
            ("word ".repeat(8_000), 8_000, 10_000),
            (base64, 0, 40_000),
            (chinese, 1_800, 9_000),
            (cyrillic, 2_200, 9_000),
            ("0123456789 ".repeat(1000), 2_200, 5_000),
            ("x".repeat(100_000), 0, 60_000),
        ] {
            let prompt = said(&text);
            let name = &text[..6];
            assert!(prompt.estimate >= estimate, "{name} {prompt:?}");
            assert!(prompt.estimate <= estimate * 2, "{name} {prompt:?}");
            assert_eq!(prompt.least, least, "{name} {prompt:?}");
        }
    }

    #[test]
    fn tools_system_texts_and_pictures_count() {
        let long = "what it does ".repeat(400);
        let message = json!([{"role": "user", "content": "hi"}]);
        let little = Prompt::of(&json!({"messages": message})).estimate;
        for body in [
            json!({"tools": [{"type": "function", "function": {"name": "f", "description": long}}]}),
            json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"properties": {&*long: {}}}}]}]}),
            json!({"system": [{"type": "text", "text": long}]}),
            json!({"systemInstruction": {"parts": [{"text": long}]}}),
            json!({"format": {"properties": {"x": {"description": long}}}}),
            json!({"messages": [{"role": "user", "content": "", "images": ["aGk="]}]}),
            json!({"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": long}}]}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}]}),
            json!({"messages": [{"content": [{"type": "image", "source": {"media_type": "image/png", "data": "aGk="}}]}]}),
            json!({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}]}),
        ] {
            assert!(Prompt::of(&body).estimate > little + 1_200, "{body}");
        }
        let picture = "A".repeat(3_000_000);
        let body = json!({"messages": [{"role": "user", "content": "", "images": [picture]}]});
        assert!(Prompt::of(&body).estimate < 2_000);
        assert_eq!(Prompt::of(&body).least, 0);
    }
}
