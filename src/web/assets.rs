//! The built page, inside the program: who has only cargo needs no Node.
//!
//! `src/web/page` is what it is built from; `sources.sha256` beside the built files says from which state of it.

use std::sync::LazyLock;

use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use sha2::{Digest as _, Sha256};

use super::{
    admit,
    reply::{self, Refusal},
};
use crate::relay::{HttpReply, Sender};

struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 4] = [
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        bytes: include_bytes!("assets/index.html"),
    },
    Asset {
        path: "/app.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/app.js"),
    },
    Asset {
        path: "/app.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("assets/app.css"),
    },
    Asset {
        path: "/icon.svg",
        content_type: "image/svg+xml",
        bytes: include_bytes!("assets/icon.svg"),
    },
];

/// One for each of [`ASSETS`].
static TAGS: LazyLock<[String; 4]> = LazyLock::new(|| {
    ASSETS.map(|asset| format!("\"{}\"", hex::encode(Sha256::digest(asset.bytes))))
});

pub(super) fn answer(request: &Request<Incoming>, sender: &Sender) -> Result<HttpReply, Refusal> {
    let path = request.uri().path();
    admit::asset(sender, request.headers(), path == "/")?;
    let (asset, tag) = ASSETS
        .iter()
        .zip(&*TAGS)
        .find(|(asset, _)| asset.path == path)
        .ok_or_else(|| Refusal::missing("There is nothing here."))?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::method("GET, HEAD"));
    }
    let known = knows(request.headers(), tag);
    let mut reply = reply::bytes(
        asset.content_type,
        if known { &[][..] } else { asset.bytes },
    );
    if known {
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
        reply.headers_mut().remove(header::CONTENT_TYPE);
    }
    // Asked for again each time, and sent again only when it is another: an update shows at once.
    reply::set(&mut reply, header::CACHE_CONTROL, "no-cache");
    if let Ok(tag) = HeaderValue::from_str(tag) {
        reply.headers_mut().insert(header::ETAG, tag);
    }
    Ok(reply)
}

/// Whether the browser has this already.
fn knows(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known.strip_prefix("W/").unwrap_or(known) == tag)
}
