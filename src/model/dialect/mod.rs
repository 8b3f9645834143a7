//! The APIs that sessions and model servers speak: what passes, and what an answer says.
//!
//! A request is rebuilt from known fields in its own module; [`answer`] reads what comes back;
//! A request passes in its own words where the server speaks them. Otherwise it becomes [`openai::OpenAiChat`], which
//! every server but Ollama takes and [`to_ollama`] makes Ollama's; the answer is read in [`steps`] and said in the
//! session's words by the `answer` of its dialect.

pub(super) mod answer;
pub(super) mod anthropic;
mod fields;
pub(super) mod gemini;
pub(super) mod ollama;
pub(super) mod openai;
pub(super) mod prompt;
pub(super) mod responses;
pub(super) mod sse;
pub(super) mod steps;
pub(super) mod to_ollama;
pub(super) mod to_openai;

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::sse::Frame;
use super::ModelError;

/// An API for conversations with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Ollama's native one.
    Ollama,
    /// OpenAI's chat completions, which most servers speak.
    OpenAi,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Anthropic,
    /// Gemini's `generateContent`.
    Gemini,
}

/// What makes one answer's ids and times.
#[derive(Debug)]
pub(super) struct Clock {
    /// Unix seconds.
    pub(super) seconds: u64,
    /// Unlike any other answer's.
    pub(super) unique: String,
}

impl Clock {
    pub(super) fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut random = [0; 4];
        // An id that is not random is still unlike others by its time.
        if let Err(error) = getrandom::fill(&mut random) {
            tracing::debug!(%error, "no randomness for an answer's id");
        }
        Self {
            seconds: since.as_secs(),
            unique: format!("{:x}{}", since.as_micros(), hex::encode(random)),
        }
    }
}

impl Dialect {
    /// An error as the body of an answer with a status.
    pub(super) fn refusal(self, status: StatusCode, sentence: &str, code: &str) -> Value {
        match self {
            Self::Ollama => json!({"error": sentence, "code": code}),
            Self::OpenAi | Self::Responses => {
                let kind = match status {
                    StatusCode::UNAUTHORIZED => "authentication_error",
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYMENT_REQUIRED => {
                        "insufficient_quota"
                    }
                    status if status.is_client_error() => "invalid_request_error",
                    _ => "server_error",
                };
                json!({"error": {"message": sentence, "type": kind, "param": null, "code": code}})
            }
            Self::Anthropic => {
                let kind = match status.as_u16() {
                    401 => "authentication_error",
                    402 => "billing_error",
                    403 => "permission_error",
                    404 => "not_found_error",
                    413 => "request_too_large",
                    429 => "rate_limit_error",
                    400..500 => "invalid_request_error",
                    504 => "timeout_error",
                    _ => "api_error",
                };
                json!({"type": "error", "error": {"type": kind, "message": sentence}})
            }
            Self::Gemini => {
                let word = match status.as_u16() {
                    401 => "UNAUTHENTICATED",
                    402 | 429 => "RESOURCE_EXHAUSTED",
                    403 => "PERMISSION_DENIED",
                    404 => "NOT_FOUND",
                    400..500 => "INVALID_ARGUMENT",
                    504 => "DEADLINE_EXCEEDED",
                    502 | 503 => "UNAVAILABLE",
                    _ => "INTERNAL",
                };
                json!({"error": {"code": status.as_u16(), "message": sentence, "status": word}})
            }
        }
    }

    /// The status with which an error reaches a session before anything was answered.
    pub(super) fn status(self, error: &ModelError) -> StatusCode {
        match error.status() {
            // Clients of this API try again after 429, and a budget does not come back.
            StatusCode::TOO_MANY_REQUESTS if self != Self::Ollama => StatusCode::PAYMENT_REQUIRED,
            status => status,
        }
    }

    /// An error in this API's words.
    pub(super) fn error(self, error: &ModelError) -> Value {
        self.refusal(self.status(error), &error.to_string(), error.code())
    }

    /// An error inside an answer that has begun.
    pub(super) fn failure(self, error: &ModelError) -> Bytes {
        let body = self.error(error);
        match self {
            Self::Ollama => format!("{body}\n").into(),
            Self::Responses => responses::answer::Encoder::failed(error).into(),
            Self::OpenAi | Self::Anthropic | Self::Gemini => Frame {
                event: (self == Self::Anthropic).then(|| "error".to_owned()),
                data: body.to_string().into_bytes(),
            }
            .encode()
            .into(),
        }
    }

    /// The content type of an answer.
    pub(super) fn content_type(self, stream: bool) -> &'static str {
        match (self, stream) {
            (Self::Ollama, true) => "application/x-ndjson",
            (_, true) => "text/event-stream",
            (_, false) => "application/json",
        }
    }
}
