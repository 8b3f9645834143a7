//! Why a model call failed, as one enum for the session, the meter and the owner.

use std::time::Duration;

use hyper::StatusCode;

/// Why a model call failed. The sentences name no address of the host: the session reads them.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No connection.
    #[error("no model server answers")]
    Unreachable(#[source] reqwest::Error),
    /// The server does not have the session's model.
    #[error("the model server does not have the model {model}")]
    NotFound {
        /// The model.
        model: String,
    },
    /// The server refuses the request (4xx).
    #[error("the model server refuses the request: {message}")]
    Rejected {
        /// The server's status.
        status: u16,
        /// The server's sentence.
        message: String,
    },
    /// The server failed (5xx, or anything but an answer).
    #[error("the model server failed: {message}")]
    Server {
        /// The server's status.
        status: u16,
        /// The server's sentence.
        message: String,
    },
    /// An error line inside the answer.
    #[error("the model failed: {message}")]
    InStream {
        /// The server's sentence.
        message: String,
    },
    /// The answer did not begin in time.
    #[error("the model did not begin to answer within {} s", after.as_secs())]
    FirstByte {
        /// The bound.
        after: Duration,
    },
    /// The answer stood still.
    #[error("the model's answer stood still for {} s", after.as_secs())]
    Idle {
        /// The bound.
        after: Duration,
    },
    /// The answer ended before its end.
    #[error("the model's answer was cut off")]
    Cut(#[source] Option<reqwest::Error>),
    /// The answer is not what the API promises.
    #[error("the model server's answer cannot be read")]
    Malformed,
    /// The session's tokens are used up.
    #[error("the session's budget of {limit} tokens is used up")]
    Tokens {
        /// The budget.
        limit: u64,
    },
    /// The session's time is used up.
    #[error("the session's budget of {limit} s of the model's time is used up")]
    Seconds {
        /// The budget.
        limit: u64,
    },
    /// The session ended the call.
    #[error("the call was cancelled")]
    Cancelled,
}

impl ModelError {
    /// The machine word (CONTRACTS: `no-model`, `model`, `quota`, `timeout`, `cancelled`).
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::NotFound { .. } => "no-model",
            Self::FirstByte { .. } | Self::Idle { .. } => "timeout",
            Self::Tokens { .. } | Self::Seconds { .. } => "quota",
            Self::Cancelled => "cancelled",
            Self::Rejected { .. }
            | Self::Server { .. }
            | Self::InStream { .. }
            | Self::Cut(_)
            | Self::Malformed => "model",
        }
    }

    /// The HTTP status that the session gets when nothing was answered yet.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Rejected { .. } => StatusCode::BAD_REQUEST,
            Self::FirstByte { .. } | Self::Idle { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Tokens { .. } | Self::Seconds { .. } => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// What the server's status means. `message` is bounded and stripped here.
    pub(super) fn from_status(status: u16, message: &str, model: &str) -> Self {
        let message = sentence(message);
        match status {
            404 => Self::NotFound {
                model: model.to_owned(),
            },
            400..=499 => Self::Rejected { status, message },
            _ => Self::Server { status, message },
        }
    }

    pub(super) fn in_stream(message: &str) -> Self {
        Self::InStream {
            message: sentence(message),
        }
    }
}

/// A foreign sentence: at most 500 characters, none of them control characters.
fn sentence(text: &str) -> String {
    let clean = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    let clean: String = clean.take(500).collect();
    if clean.is_empty() {
        "no reason given".to_owned()
    } else {
        clean
    }
}
