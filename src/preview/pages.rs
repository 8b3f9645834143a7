//! The pages that a preview shows of its own: what is the matter, and what to do.

use hyper::{
    HeaderMap, Response, StatusCode,
    header::{self, HeaderValue},
};

use super::body::{Body, full};
use crate::sandbox::InwardError;

/// Nothing but these words: no script, no picture, nothing from anywhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">\
    <style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem}</style>";

/// A page of ours.
pub(super) fn page(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    html(
        status,
        format!("{HEAD}<title>{title}</title><h1>{title}</h1><p>{text}</p></html>\n"),
    )
}

fn html(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    plain_headers(response.headers_mut());
    response
}

fn plain_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
        headers.insert(name, HeaderValue::from_static("same-origin"));
    }
}

/// What whoever brought a code gets: the cookie, and a page that leads on. A redirect would count as sent by the site
/// that led here, and the browser would keep the cookie back.
pub(super) fn first(cookie: &str) -> Response<Body> {
    let text = format!(
        "{HEAD}<meta http-equiv=\"refresh\" content=\"0; url=/\"><title>Preview</title>\
         <p><a href=\"/\">The preview opens.</a></p></html>\n"
    );
    let mut response = html(StatusCode::OK, text);
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// The answer to whoever has no key; nothing else is read of what they send.
pub(super) fn locked() -> Response<Body> {
    last(page(
        StatusCode::FORBIDDEN,
        "This preview is locked",
        "It opens from treefort only, by a link that works once: on its page, or with <code>treefort preview</code>.",
    ))
}

/// The answer to another site, or another name.
pub(super) fn foreign() -> Response<Body> {
    last(page(
        StatusCode::FORBIDDEN,
        "Not from here",
        "Other sites and names may not ask a preview for anything.",
    ))
}

fn last(mut response: Response<Body>) -> Response<Body> {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// Why there is no way to the app.
pub(super) fn unreachable(error: InwardError, port: u16) -> Response<Body> {
    match error {
        InwardError::Gone => page(
            StatusCode::GONE,
            "The session has ended",
            "The sandbox that this app ran in is gone. Go on with the conversation and have the agent start the app \
             again, or look at its files: <code>treefort preview --static</code>.",
        ),
        InwardError::Refused | InwardError::Own => page(
            StatusCode::BAD_GATEWAY,
            "Nothing answers",
            &format!(
                "Nothing listens on port {port} in the agent's sandbox any more. If the app is only just starting, \
                 load this page again."
            ),
        ),
        InwardError::Busy => page(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many connections",
            "As many connections into the sandbox are open as there may be. Close a page of the preview, and load \
             this one again.",
        ),
        InwardError::Silent => silent(),
    }
}

/// The app takes too long.
pub(super) fn silent() -> Response<Body> {
    page(
        StatusCode::GATEWAY_TIMEOUT,
        "No answer",
        "The app did not answer in time. It may be busy, or the agent's sandbox stands still because it was \
         paused, its disk is full, or its files are being brought back.",
    )
}

/// What the app said is no answer.
pub(super) fn broken() -> Response<Body> {
    page(
        StatusCode::BAD_GATEWAY,
        "No proper answer",
        "What listens there did not answer as a web server does.",
    )
}

/// The app leads to another place.
pub(super) fn elsewhere(to: &str) -> Response<Body> {
    page(
        StatusCode::FORBIDDEN,
        "It leads elsewhere",
        &format!(
            "The app wants to take you to <code>{}</code>. A preview does not follow: an address can carry data out \
             of the agent's sandbox. If you want to go there, type it yourself.",
            escape(to)
        ),
    )
}

/// Text as it stands in a page; without what has no shape of its own and could make it look like another.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            char if char.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push(char::REPLACEMENT_CHARACTER);
            }
            char => out.push(char),
        }
    }
    out
}

/// There is no such file.
pub(super) fn nothing() -> Response<Body> {
    page(
        StatusCode::NOT_FOUND,
        "There is nothing here",
        "The agent's copy has no file at this address.",
    )
}

/// What is not done in a preview.
pub(super) fn refused(what: &str) -> Response<Body> {
    page(StatusCode::FORBIDDEN, "Not in a preview", what)
}

/// A method that a file does not have.
pub(super) fn read_only() -> Response<Body> {
    page(
        StatusCode::METHOD_NOT_ALLOWED,
        "Read-only",
        "These are files: they can be read, and nothing else.",
    )
}

/// Something went wrong with our own reading.
pub(super) fn unreadable() -> Response<Body> {
    page(
        StatusCode::INTERNAL_SERVER_ERROR,
        "It could not be read",
        "The copy may be about to change, or be gone. Load this page again.",
    )
}
