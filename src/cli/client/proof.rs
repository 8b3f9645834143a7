//! Is the program behind a port the treefort of this home?
//!
//! `run.json` names an address and the relay's key. Whoever took the port after treefort died could
//! answer as a relay and collect prompts, so it must first sign a fresh random challenge with that key.

use std::{net::SocketAddr, time::Duration};

use nostr::{Event, JsonUtil as _, PublicKey};

use super::Error;
use crate::{cli::home::Running, nips::kind::HTTP_AUTH};

/// How long the proof may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// No answer is longer.
const MAX_BODY: usize = 64 << 10;
/// What one answer carries at least, when the relay does not say (NIP-11).
const DEFAULT_LIMIT: usize = 500;

/// A relay that proved whose it is.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its own key.
    pub key: PublicKey,
    /// The most events that one answer carries.
    pub max_limit: usize,
    /// The program's version, as it says itself (NIP-11).
    pub version: Option<String>,
}

impl Relay {
    /// Its WebSocket address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The address of its page.
    #[must_use]
    pub fn web(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Challenges what listens at an address, and asks for its limits.
///
/// # Errors
/// [`Error::Challenge`] when nothing answers, [`Error::Imposter`] when the answer is not signed by the
/// relay's key.
pub async fn prove(running: &Running) -> Result<Relay, Error> {
    let address = running.address;
    let imposter = || Error::Imposter { address };
    let mut random = [0u8; 32];
    getrandom::fill(&mut random).map_err(|_| imposter())?;
    let challenge = hex::encode(random);
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .map_err(|source| Error::Challenge { address, source })?;

    let url = format!("http://{address}/.well-known/treefort?challenge={challenge}");
    let proof = get(&http, &url, "application/json")
        .await
        .map_err(|source| Error::Challenge { address, source })?
        .ok_or_else(imposter)?;
    let event = Event::from_json(&proof).map_err(|_| imposter())?;
    if !proves(&event, &running.relay, &challenge) {
        return Err(imposter());
    }

    let information = get(
        &http,
        &format!("http://{address}/"),
        "application/nostr+json",
    )
    .await
    .ok()
    .flatten()
    .and_then(|body| serde_json::from_slice::<serde_json::Value>(&body).ok())
    .unwrap_or_default();
    let max_limit = information["limitation"]["max_limit"]
        .as_u64()
        .and_then(|limit| usize::try_from(limit).ok())
        .filter(|limit| *limit > 0)
        .unwrap_or(DEFAULT_LIMIT);
    Ok(Relay {
        address,
        key: running.relay,
        max_limit,
        version: information["version"]
            .as_str()
            .map(crate::cli::text::one_line),
    })
}

/// Whether an event answers the challenge.
fn proves(event: &Event, key: &PublicKey, challenge: &str) -> bool {
    event.kind.as_u16() == HTTP_AUTH
        && event.pubkey == *key
        && event
            .tags
            .iter()
            .any(|tag| matches!(tag.as_slice(), [name, value, ..] if name == "challenge" && value == challenge))
        && event.verify().is_ok()
}

/// The body of a 200, when it is not too long.
async fn get(
    http: &reqwest::Client,
    url: &str,
    accept: &str,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut response = http.get(url).header("accept", accept).send().await?;
    if !response.status().is_success() {
        return Ok(None);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_BODY {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::nips::Draft;

    fn answer(keys: &Keys, kind: u16, challenge: &str) -> Event {
        Draft::new(kind)
            .tag(["challenge", challenge])
            .sign(keys, 1)
            .unwrap()
    }

    #[test]
    fn accepts_only_the_relays_signature_of_this_challenge() {
        let relay = Keys::generate();
        let key = relay.public_key();
        assert!(proves(&answer(&relay, HTTP_AUTH, "aa"), &key, "aa"));
        assert!(!proves(&answer(&relay, HTTP_AUTH, "bb"), &key, "aa"));
        assert!(!proves(&answer(&relay, 1, "aa"), &key, "aa"));
        assert!(!proves(
            &answer(&Keys::generate(), HTTP_AUTH, "aa"),
            &key,
            "aa"
        ));
    }

    #[tokio::test]
    async fn a_program_that_took_the_port_is_an_imposter() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                .await
                .unwrap();
        });
        let running = Running {
            v: 1,
            address,
            pid: 1,
            relay: Keys::generate().public_key(),
            localhost_is_taken: false,
            sync: None,
        };
        assert!(matches!(prove(&running).await, Err(Error::Imposter { .. })));
        server.await.unwrap();
    }
}
