//! Why a model call failed, as one enum for the session, the meter and the owner.

use std::time::Duration;

use hyper::StatusCode;

use super::provider::Target;

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
    /// The session's money is used up.
    #[error("the session's budget of {} US dollars is used up", dollars(*limit))]
    Money {
        /// The budget, in micro-dollars.
        limit: u64,
    },
    /// A budget in money cannot be held.
    #[error("nobody said what {provider} costs, so a budget in money cannot be held")]
    NoPrice {
        /// The provider.
        provider: String,
    },
    /// The provider's key is not there.
    #[error("{provider} needs a key, and the environment of treefort has none in {env}")]
    NoKey {
        /// The provider.
        provider: String,
        /// Where its key should be.
        env: String,
    },
    /// The provider does not take the key (401, 403).
    #[error("{provider} does not accept treefort's key: {message}")]
    KeyRefused {
        /// The provider.
        provider: String,
        /// Where its key is.
        env: String,
        /// The provider's sentence.
        message: String,
    },
    /// The provider wants no more calls now (429).
    #[error("the model server takes no more calls at the moment: {message}")]
    Limited {
        /// The server's sentence.
        message: String,
    },
    /// The client for the providers.
    #[error("treefort cannot open connections to cloud models")]
    Client(#[source] super::ConfigError),
    /// The session ended the call.
    #[error("the call was cancelled")]
    Cancelled,
}

impl ModelError {
    /// The machine word (CONTRACTS: `no-model`, `model`, `quota`, `timeout`, `cancelled`).
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_)
            | Self::NotFound { .. }
            | Self::NoKey { .. }
            | Self::KeyRefused { .. }
            | Self::Client(_) => "no-model",
            Self::FirstByte { .. } | Self::Idle { .. } => "timeout",
            Self::Tokens { .. }
            | Self::Seconds { .. }
            | Self::Money { .. }
            | Self::NoPrice { .. } => "quota",
            Self::Cancelled => "cancelled",
            Self::Rejected { .. }
            | Self::Server { .. }
            | Self::InStream { .. }
            | Self::Limited { .. }
            | Self::Cut(_)
            | Self::Malformed => "model",
        }
    }

    /// Whether a budget is the reason: the session cannot go on.
    #[must_use]
    pub fn is_budget(&self) -> bool {
        self.code() == "quota"
    }

    /// What the owner can do about it, in one sentence; `None` where trying again is all that there is.
    #[must_use]
    pub fn fix(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable(_) => {
                "Check that the model server runs, and that it can be reached; `treefort doctor` looks.".to_owned()
            }
            Self::NotFound { model } => format!(
                "Run `treefort models` to see which there are, or `treefort models pull {model}`."
            ),
            Self::NoKey { env, .. } => {
                format!("Set {env} in the environment of treefort, and start it again.")
            }
            Self::KeyRefused { env, .. } => {
                format!("Check the key in {env}, set it right, and start treefort again.")
            }
            Self::Tokens { .. } | Self::Seconds { .. } | Self::Money { .. } => {
                "Continue with a larger budget.".to_owned()
            }
            Self::NoPrice { provider } => format!(
                "Set price_in and price_out under [model.providers.{provider}] in treefort.toml."
            ),
            Self::FirstByte { .. } | Self::Idle { .. } => {
                "Use a smaller model, or raise first_byte_s and idle_s under [model] in treefort.toml.".to_owned()
            }
            Self::Client(_) => "Install the system's certificates (ca-certificates).".to_owned(),
            _ => return None,
        })
    }

    /// Whether another model may be asked in its place: it is not there, or does not work now.
    pub(super) fn may_fall_back(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::NotFound { .. }
            | Self::Server { .. }
            | Self::InStream { .. }
            | Self::FirstByte { .. }
            | Self::Idle { .. }
            | Self::Cut(_)
            | Self::Malformed
            | Self::NoKey { .. }
            | Self::KeyRefused { .. }
            | Self::Limited { .. }
            | Self::Client(_) => true,
            Self::Rejected { .. }
            | Self::Tokens { .. }
            | Self::Seconds { .. }
            | Self::Money { .. }
            | Self::NoPrice { .. }
            | Self::Cancelled => false,
        }
    }

    /// Whether the server may have read the prompt before this happened: then it was used.
    pub(super) fn after_reading(&self) -> bool {
        matches!(
            self,
            Self::FirstByte { .. }
                | Self::Idle { .. }
                | Self::InStream { .. }
                | Self::Cut(_)
                | Self::Malformed
                | Self::Tokens { .. }
                | Self::Seconds { .. }
                | Self::Money { .. }
                | Self::Cancelled
        )
    }

    /// The HTTP status that the session gets when nothing was answered yet.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Rejected { .. } => StatusCode::BAD_REQUEST,
            Self::Limited { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::FirstByte { .. } | Self::Idle { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Tokens { .. }
            | Self::Seconds { .. }
            | Self::Money { .. }
            | Self::NoPrice { .. } => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// What the server's status means. `message` is bounded and stripped here.
    pub(super) fn from_status(status: u16, message: &str, target: &Target) -> Self {
        let message = sentence(message);
        let provider = &target.provider;
        match status {
            404 => Self::NotFound {
                model: target.name().0,
            },
            401 | 403 if provider.key().is_some() => Self::KeyRefused {
                provider: provider.name().to_owned(),
                env: provider.key_env().to_owned(),
                message,
            },
            408 | 429 => Self::Limited { message },
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

/// Micro-dollars as a person reads them.
fn dollars(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let text = text.trim_end_matches('0');
    match text.strip_suffix('.') {
        Some(whole) => whole.to_owned(),
        None => text.to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_as_dollars() {
        for (micros, text) in [
            (1, "0.000001"),
            (2_500_000, "2.5"),
            (0, "0"),
            (3_000_000, "3"),
        ] {
            assert_eq!(dollars(micros), text);
        }
    }
}
