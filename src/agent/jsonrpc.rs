//! JSON-RPC 2.0 messages on `serde_json::Value`: told apart, and written.
//!
//! Nothing here trusts a message's shape: what is not a request, a notification or a response is
//! [`Incoming::Odd`] and survives as a claim.

use serde_json::{Value, json};

/// The method does not exist or is not offered.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The message is not a valid request in this state.
pub const INVALID_REQUEST: i64 = -32600;
/// The parameters do not fit the method.
pub const INVALID_PARAMS: i64 = -32602;
/// The first of the codes that an implementation may use as it likes; ours carry `data.code`.
pub const SERVER_ERROR: i64 = -32000;

/// What is kept of a foreign error's sentence.
const MESSAGE_CHARS: usize = 1000;

/// The error object of a response.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcError {
    /// The JSON-RPC code.
    pub code: i64,
    /// One sentence.
    pub message: String,
    /// Whatever else was given, `Null` when nothing was.
    pub data: Value,
}

impl RpcError {
    /// An error without data.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: Value::Null,
        }
    }

    /// treefort's machine word in `data.code`, when there is one (`model`, `quota`, …).
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        self.data.get("code").and_then(Value::as_str)
    }

    /// The sentence is bounded and without control characters: it goes into errors and logs.
    fn from_value(mut value: Value) -> Self {
        let message = value.get("message").and_then(Value::as_str);
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        let message: String = message
            .unwrap_or("no message")
            .chars()
            .take(MESSAGE_CHARS + 1)
            .map(clean)
            .collect();
        Self {
            code: value.get("code").and_then(Value::as_i64).unwrap_or(0),
            message: crate::sandbox::beginning(&message, MESSAGE_CHARS).to_owned(),
            data: value.get_mut("data").map_or(Value::Null, Value::take),
        }
    }
}

/// One message of the other side.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// It asks, and waits for an answer to `id` (any JSON value, echoed as it came).
    Request {
        /// Their id.
        id: Value,
        /// The method.
        method: String,
        /// The parameters, `Null` when absent.
        params: Value,
    },
    /// It tells.
    Notification {
        /// The method.
        method: String,
        /// The parameters, `Null` when absent.
        params: Value,
    },
    /// It answers. An id that is not one of ours (we use numbers only) is `None`.
    Response {
        /// Our id.
        id: Option<u64>,
        /// The result or the error.
        outcome: Result<Value, RpcError>,
    },
    /// JSON, but no message.
    Odd(Value),
}

/// Tells what a JSON value is.
#[must_use]
pub fn classify(value: Value) -> Incoming {
    let Value::Object(mut fields) = value else {
        return Incoming::Odd(value);
    };
    if let Some(method) = fields.get("method").and_then(Value::as_str) {
        let method = method.to_owned();
        let params = fields.remove("params").unwrap_or(Value::Null);
        return match fields.remove("id") {
            Some(id) => Incoming::Request { id, method, params },
            None => Incoming::Notification { method, params },
        };
    }
    if !fields.contains_key("id") {
        return Incoming::Odd(Value::Object(fields));
    }
    let id = fields.get("id").and_then(Value::as_u64);
    match (fields.remove("error"), fields.remove("result")) {
        (Some(error), _) if !error.is_null() => Incoming::Response {
            id,
            outcome: Err(RpcError::from_value(error)),
        },
        (_, Some(result)) => Incoming::Response {
            id,
            outcome: Ok(result),
        },
        _ => Incoming::Odd(Value::Object(fields)),
    }
}

/// A request's line, with its newline.
#[must_use]
pub fn request(id: u64, method: &str, params: &Value) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

/// A notification's line, with its newline.
#[must_use]
pub fn notification(method: &str, params: &Value) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

/// A response's line, with its newline.
#[must_use]
pub fn response(id: &Value, outcome: &Result<Value, RpcError>) -> Vec<u8> {
    line(&match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(error) if error.data.is_null() => json!({"jsonrpc": "2.0", "id": id,
            "error": {"code": error.code, "message": error.message}}),
        Err(error) => json!({"jsonrpc": "2.0", "id": id,
            "error": {"code": error.code, "message": error.message, "data": error.data}}),
    })
}

fn line(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_messages_apart() {
        let request = classify(json!({"id": "a", "method": "m"}));
        assert!(
            matches!(request, Incoming::Request { id, params: Value::Null, .. } if id == json!("a"))
        );
        let notification = classify(json!({"method": "m", "params": {}}));
        assert!(matches!(notification, Incoming::Notification { .. }));
        let response = classify(json!({"id": 3, "result": null}));
        assert!(matches!(
            response,
            Incoming::Response {
                id: Some(3),
                outcome: Ok(Value::Null)
            }
        ));
        let error = classify(json!({"id": 3, "error": {"code": -1, "data": {"code": "model"}}}));
        let Incoming::Response {
            outcome: Err(error),
            ..
        } = error
        else {
            panic!("no error")
        };
        assert_eq!((error.code, error.word()), (-1, Some("model")));
        for odd in [
            json!([]),
            json!(1),
            json!({}),
            json!({"id": 1}),
            json!({"method": 1}),
        ] {
            assert!(matches!(classify(odd), Incoming::Odd(_)));
        }
        let foreign = classify(json!({"id": "1", "result": 1}));
        assert!(matches!(foreign, Incoming::Response { id: None, .. }));
    }
}
