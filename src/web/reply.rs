//! Answers, and the headers that all of them carry.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use serde::Serialize;
use serde_json::json;

use crate::relay::HttpReply;

/// Why a request is not answered: a sentence for people, a word for programs.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) sentence: String,
    /// The methods that there are, when it is about that.
    allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, sentence: impl Into<String>) -> Self {
        Self {
            status,
            code,
            sentence: sentence.into(),
            allow: None,
        }
    }

    /// The request is not as it has to be.
    pub(super) fn bad(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", sentence)
    }

    /// There is no such thing.
    pub(super) fn missing(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", sentence)
    }

    /// It exists, and not for this method.
    pub(super) fn method(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                format!("This answers {allow} only."),
            )
        }
    }

    /// Something of ours failed; what it was is in the log.
    pub(super) fn inside(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a request of the page failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "inside",
            "Something went wrong inside treefort; its log says more.",
        )
    }

    /// As the page reads it.
    pub(super) fn json(self) -> HttpReply {
        let body = json!({"error": self.sentence, "code": self.code});
        self.of("application/json", body.to_string())
    }

    /// As a person reads it.
    pub(super) fn plain(self) -> HttpReply {
        let text = self.sentence.clone();
        self.of("text/plain; charset=utf-8", text)
    }

    fn of(self, content_type: &'static str, text: String) -> HttpReply {
        let mut reply = bytes(content_type, text);
        *reply.status_mut() = self.status;
        if let Some(allow) = self.allow {
            set(&mut reply, header::ALLOW, allow);
        }
        reply
    }
}

/// A successful answer that is kept nowhere.
pub(super) fn bytes(content_type: &'static str, body: impl Into<Bytes>) -> HttpReply {
    let mut reply = Response::new(Full::new(body.into()));
    set(&mut reply, header::CONTENT_TYPE, content_type);
    set(&mut reply, header::CACHE_CONTROL, "no-store");
    reply
}

/// A successful answer as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<HttpReply, Refusal> {
    let text = serde_json::to_vec(value).map_err(|error| Refusal::inside(&error))?;
    Ok(bytes("application/json", text))
}

pub(super) fn set(reply: &mut HttpReply, name: HeaderName, value: &'static str) {
    reply
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

/// What holds for every answer: nobody guesses its type, no other page holds, frames or reads it, nothing but our
/// own script runs, and nothing goes anywhere but to us.
pub(super) fn guard(reply: &mut HttpReply, host: &str) {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
         connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'"
    );
    // A host is a name or an address of ours, so it is a legal value; without the policy nothing goes out.
    match HeaderValue::from_str(&policy) {
        Ok(policy) => {
            reply
                .headers_mut()
                .insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        Err(error) => *reply = Refusal::inside(&error).plain(),
    }
    set(reply, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(reply, header::REFERRER_POLICY, "no-referrer");
    for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
        set(reply, HeaderName::from_static(name), "same-origin");
    }
}
