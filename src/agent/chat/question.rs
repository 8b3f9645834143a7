//! What a prompt asks: its texts as one, and its pictures.

use serde_json::{Value, json};

use super::message;
use super::model::Message;
use crate::agent::jsonrpc::{INVALID_PARAMS, RpcError};

/// Bytes of pictures, in base64, in one request: the gateway takes 16 MiB in all.
const PICTURES: usize = 9 << 20;
/// What stands in their place.
const FORGOTTEN: &str = "\n\n[The pictures of this question are not shown any more.]";
/// The prompt's blocks as one question, with its pictures. Sound and what nobody knows are refused: nothing is dropped
/// silently.
pub(super) fn question(params: &Value) -> Result<Message, RpcError> {
    let blocks = params.get("prompt").and_then(Value::as_array);
    let blocks = blocks.ok_or_else(|| RpcError::new(INVALID_PARAMS, "the prompt has no blocks"))?;
    let (mut parts, mut images) = (Vec::new(), Vec::new());
    for part in blocks {
        match (part["type"].as_str(), part["data"].as_str()) {
            (Some("image"), Some(data)) if !data.is_empty() => images.push(data.to_owned()),
            _ => parts.push(block(part).ok_or_else(|| RpcError {
                code: INVALID_PARAMS,
                message: "the chat agent reads text and pictures only".to_owned(),
                data: json!({"code": "unsupported"}),
            })?),
        }
    }
    let text = parts.join("\n\n");
    if text.trim().is_empty() && images.is_empty() {
        return Err(RpcError::new(INVALID_PARAMS, "the prompt is empty"));
    }
    Ok(Message {
        images,
        ..message("user", text)
    })
}

/// Leaves out the pictures of earlier questions that one request has no room for, and says so to the model.
pub(super) fn forget_pictures(messages: &mut [Message]) {
    let mut room = PICTURES;
    for message in messages.iter_mut().rev() {
        let size: usize = message.images.iter().map(String::len).sum();
        match room.checked_sub(size) {
            Some(left) => room = left,
            // The question itself goes as it is: who takes it says whether it is too large.
            None if room == PICTURES => room = 0,
            None => {
                message.images.clear();
                message.content.push_str(FORGOTTEN);
                room = 0;
            }
        }
    }
}

fn block(block: &Value) -> Option<String> {
    let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
    match block.get("type")?.as_str()? {
        "text" => text(block, "text"),
        "resource_link" => {
            let uri = text(block, "uri")?;
            let name = text(block, "name").unwrap_or_else(|| uri.clone());
            Some(format!("[{name}]({uri})"))
        }
        "resource" => {
            let resource = block.get("resource")?;
            let uri = text(resource, "uri").unwrap_or_default();
            Some(format!(
                "<attached uri=\"{uri}\">\n{}\n</attached>",
                text(resource, "text")?
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, pictures: &[usize]) -> Message {
        Message {
            images: pictures.iter().map(|size| "x".repeat(*size)).collect(),
            ..message("user", text)
        }
    }

    #[test]
    fn pictures_go_beside_the_text_and_nothing_is_dropped() {
        let picture = json!({"type": "image", "mimeType": "image/png", "data": "aGk="});
        let text = json!({"type": "text", "text": "what is it?"});
        let both = question(&json!({"prompt": [text, picture]})).unwrap();
        assert_eq!(
            (both.content.as_str(), both.images.len()),
            ("what is it?", 1)
        );
        assert!(question(&json!({"prompt": [picture]})).is_ok());
        let sound = json!({"type": "audio", "mimeType": "audio/wav", "data": "aGk="});
        for refused in [json!([text, sound]), json!([{"type": "image"}]), json!([])] {
            assert!(question(&json!({"prompt": refused})).is_err(), "{refused}");
        }
    }

    #[test]
    fn the_oldest_pictures_go_first_and_the_model_is_told() {
        let half = PICTURES / 2;
        let mut messages = [
            with("first", &[half]),
            message("assistant", "said"),
            with("second", &[half]),
            with("third", &[half]),
        ];
        forget_pictures(&mut messages);
        let left: Vec<usize> = messages
            .iter()
            .map(|message| message.images.len())
            .collect();
        assert_eq!(left, [0, 0, 1, 1]);
        assert!(messages[0].content.ends_with("not shown any more.]"));
        assert_eq!(messages[2].content, "second");
        // One that is too large by itself is for the model's server to refuse.
        let mut messages = [with("first", &[1]), with("second", &[PICTURES + 1])];
        forget_pictures(&mut messages);
        assert_eq!(messages.map(|message| message.images.len()), [0, 1]);
    }
}
