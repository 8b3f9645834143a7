//! What the page asks: one row a request, and who may ask it.

use std::{collections::BTreeMap, net::SocketAddr};

use hyper::{HeaderMap, Method, Request, StatusCode, body::Incoming, header};
use nostr::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    LINK, Page, admit,
    body::{self, Size},
    files, folders, handing, link,
    reply::{self, Refusal},
    sign,
};
use crate::{
    nips::nip98,
    relay::{HttpReply, Sender, single},
};

/// What a new page learns about whose it is.
#[derive(Serialize)]
struct Who {
    operator: String,
    coordinator: String,
    relay: String,
    version: &'static str,
    home: String,
    /// What to type for a fresh link.
    ask: &'static str,
    /// How many agents work at the same time.
    at_once: usize,
    /// Lists of hosts that a job may be let reach.
    networks: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Enter {
    code: String,
}

pub(super) async fn answer(
    page: &Page,
    request: Request<Incoming>,
    sender: &Sender,
) -> Result<HttpReply, Refusal> {
    admit::api(sender)?;
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let reads = body::is_read(&method);
    let posts = method == Method::POST;
    match path.as_str() {
        "/api/enter" if !posts => return Err(Refusal::method("POST")),
        "/api/enter" => return enter(page, request).await,
        "/api/link" if !posts => return Err(Refusal::method("POST")),
        "/api/link" => return fresh_link(page, request.headers(), sender).await,
        _ => {}
    }
    // Who holds no bearer does not learn what there is.
    owner(page, request.headers()).await?;
    let post = |right| {
        if right {
            Ok(())
        } else {
            Err(Refusal::method("POST"))
        }
    };
    let get = |right| {
        if right {
            Ok(())
        } else {
            Err(Refusal::method("GET, HEAD"))
        }
    };
    match path.as_str() {
        "/api/who" => {
            get(reads)?;
            reply::json(&who(page))
        }
        "/api/sign" => {
            post(posts)?;
            let _place = page.places.take(Size::Draft).await?;
            let draft = body::json(request, Size::Draft).await?;
            sign::sign(page, draft, sender).await
        }
        "/api/decrypt" => {
            post(posts)?;
            let _place = page.places.take(Size::Events).await?;
            let events = body::json(request, Size::Events).await?;
            sign::decrypt(page, events).await
        }
        "/api/folders" => {
            get(reads)?;
            folders::list(page, request.uri().query()).await
        }
        "/api/demo" => {
            post(posts)?;
            page.demo.link().await
        }
        "/api/files" => {
            if method != Method::PUT {
                return Err(Refusal::method("PUT"));
            }
            files::put(page, request).await
        }
        _ => {
            let (blob, session) = (
                path.strip_prefix("/api/blob/"),
                path.strip_prefix("/api/share/"),
            );
            match (blob, session) {
                (Some(hash), _) => {
                    get(reads)?;
                    files::get(page, hash).await
                }
                (_, Some(session)) => {
                    get(reads)?;
                    handing::get(page, session, request.uri().query()).await
                }
                _ => Err(Refusal::missing("There is nothing here.")),
            }
        }
    }
}

fn who(page: &Page) -> Who {
    let keyring = &page.keyring;
    Who {
        operator: keyring.operator().public_key().to_hex(),
        coordinator: keyring.coordinator().public_key().to_hex(),
        relay: keyring.relay().public_key().to_hex(),
        version: env!("CARGO_PKG_VERSION"),
        home: page.home.display().to_string(),
        ask: page.ask,
        at_once: page.offers.at_once,
        networks: page.offers.networks.clone(),
    }
}

/// A code for a bearer.
async fn enter(page: &Page, request: Request<Incoming>) -> Result<HttpReply, Refusal> {
    // Whoever sends it slowly takes no place from the owner.
    let Enter { code } = body::json(request, Size::Code).await?;
    if !page.tokens.redeem(&code) {
        let refusal = Refusal::new(
            StatusCode::UNAUTHORIZED,
            "code",
            format!(
                "This link was used before, or it is too old. `{}` in a terminal makes a fresh one.",
                page.ask
            ),
        );
        return Err(page.places.slowly(refusal).await);
    }
    let bearer = page
        .tokens
        .bearer(Timestamp::now().as_secs())
        .map_err(|error| Refusal::inside(&error))?;
    let mut answer = json!(who(page));
    answer["bearer"] = bearer.into();
    reply::json(&answer)
}

/// Another link, for who holds a bearer or the owner's key.
async fn fresh_link(
    page: &Page,
    headers: &HeaderMap,
    sender: &Sender,
) -> Result<HttpReply, Refusal> {
    let signed = single(headers, header::AUTHORIZATION).and_then(nip98::read);
    match signed {
        // The address is ours and not what `Host` says: who took our old port could pass it on.
        Some(event) => {
            let local = SocketAddr::new(sender.local.ip().to_canonical(), sender.local.port());
            let url = format!("http://{local}/api/link");
            let now = Timestamp::now().as_secs();
            if !page.tokens.is_owner(&event, &url, "POST", now) {
                return Err(locked(page).await);
            }
        }
        None => owner(page, headers).await?,
    }
    let code = page
        .tokens
        .code(LINK, false)
        .map_err(|error| Refusal::inside(&error))?;
    reply::json(&json!({"url": link(&sender.host, &code)}))
}

/// Whether a request carries a bearer.
async fn owner(page: &Page, headers: &HeaderMap) -> Result<(), Refusal> {
    let bearer =
        single(headers, header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    match bearer {
        Some(bearer) if page.tokens.is_bearer(bearer, Timestamp::now().as_secs()) => Ok(()),
        _ => Err(locked(page).await),
    }
}

/// The answer to who is not the owner.
async fn locked(page: &Page) -> Refusal {
    let refusal = Refusal::new(
        StatusCode::UNAUTHORIZED,
        "locked",
        format!(
            "This page is locked. `{}` in a terminal opens it.",
            page.ask
        ),
    );
    page.places.slowly(refusal).await
}
