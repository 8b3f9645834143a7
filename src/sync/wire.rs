//! A connection to another relay: dialled to an address that was checked, TLS over it, WebSocket over that.
//!
//! What arrives is bounded, and read as JSON without trusting a word of it.

use std::{io, sync::Arc, time::Duration};

use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, body::Bytes, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, ClientConfig, RootCertStore, pki_types::ServerName},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, protocol::WebSocketConfig},
};

use super::address::{NamedBy, RelayUrl, Unreached};

/// How long TLS, the WebSocket's beginning and what a relay says of itself may each take.
const SHAKE: Duration = Duration::from_secs(15);
/// No message of a relay is longer.
const MAX_MESSAGE: usize = 4 << 20;
/// No event that it shows, and none of its words, names and challenges.
const MAX_EVENT: usize = 1 << 20;
const MAX_WORDS: usize = 1000;
/// What a relay says of itself is no longer.
const MAX_INFORMATION: usize = 256 << 10;

/// Any stream of bytes.
trait Bytestream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytestream for T {}
type Stream = Box<dyn Bytestream>;

/// Why there is no conversation.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// There is no connection.
    #[error(transparent)]
    Unreached(#[from] Unreached),
    /// It is not encrypted as it has to be.
    #[error("{0} cannot prove who it is: {1}")]
    Tls(String, io::Error),
    /// It does not encrypt at all.
    #[error(
        "{0} does not answer in TLS, which wss:// needs; ws:// is for a relay on this computer or in the home network"
    )]
    NoTls(String),
    /// It does not speak as a relay does.
    #[error("{0} answers, and not as a relay does: {1}")]
    WebSocket(String, Box<tungstenite::Error>),
    /// It takes too long.
    #[error("{0} takes too long")]
    Slow(String),
    /// It ended the connection.
    #[error("{0} ended the connection")]
    Ended(String),
    /// This machine trusts nobody.
    #[error("this machine has no list of whom to trust for TLS")]
    NoRoots,
}

/// Dials relays.
#[derive(Clone)]
pub(super) struct Dialler {
    tls: Option<Arc<ClientConfig>>,
}

impl Dialler {
    /// Trusts whom the machine trusts.
    pub(super) fn new() -> Self {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (good, bad) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(good, bad, "certificates of the machine");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = (good > 0)
            .then(|| {
                ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map(|builder| {
                        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
                    })
                    .inspect_err(|error| tracing::error!(%error, "TLS cannot be used"))
                    .ok()
            })
            .flatten();
        Self { tls }
    }

    async fn dial(&self, url: &RelayUrl, by: NamedBy) -> Result<Stream, WireError> {
        let tcp = url.connect(by).await?;
        if !url.is_tls() {
            return Ok(Box::new(tcp));
        }
        let failed = |error: io::Error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            match inner {
                Some(rustls::Error::InvalidMessage(_)) => WireError::NoTls(url.to_string()),
                None if error.kind() == io::ErrorKind::UnexpectedEof => {
                    WireError::NoTls(url.to_string())
                }
                _ => WireError::Tls(url.to_string(), error),
            }
        };
        let config = self.tls.clone().ok_or(WireError::NoRoots)?;
        let name = ServerName::try_from(url.host().to_owned())
            .map_err(|error| failed(io::Error::other(error)))?;
        let shake = TlsConnector::from(config).connect(name, tcp);
        let stream = timeout(SHAKE, shake)
            .await
            .map_err(|_| WireError::Slow(url.to_string()))?
            .map_err(failed)?;
        Ok(Box::new(stream))
    }

    /// Opens a conversation.
    pub(super) async fn open(
        &self,
        url: &RelayUrl,
        by: NamedBy,
    ) -> Result<(Mouth, Ear), WireError> {
        let stream = self.dial(url, by).await?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let shake = tokio_tungstenite::client_async_with_config(url.as_str(), stream, Some(config));
        let (socket, _) = timeout(SHAKE, shake)
            .await
            .map_err(|_| WireError::Slow(url.to_string()))?
            .map_err(|error| WireError::WebSocket(url.to_string(), Box::new(error)))?;
        let (sink, stream) = socket.split();
        let url = url.clone();
        Ok((
            Mouth {
                sink,
                url: url.clone(),
            },
            Ear { stream, url },
        ))
    }

    /// Whether a relay says of itself (NIP-11) that it knows a NIP. One that says nothing knows none.
    pub(super) async fn knows(&self, url: &RelayUrl, by: NamedBy, nip: u64) -> bool {
        let asked = timeout(SHAKE, self.information(url, by)).await;
        let Ok(Some(said)) = asked else { return false };
        let known = said["supported_nips"].as_array();
        known.is_some_and(|known| known.iter().any(|known| known.as_u64() == Some(nip)))
    }

    async fn information(&self, url: &RelayUrl, by: NamedBy) -> Option<Value> {
        let stream = self.dial(url, by).await.ok()?;
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
        let request = Request::get(url.path())
            .header(header::HOST, url.authority())
            .header(header::ACCEPT, "application/nostr+json")
            .body(Empty::<Bytes>::new())
            .ok()?;
        let asking = async move {
            let answer = sender.send_request(request).await.ok()?;
            let body = Limited::new(answer.into_body(), MAX_INFORMATION);
            let bytes = body.collect().await.ok()?.to_bytes();
            serde_json::from_slice(&bytes).ok()
        };
        let asking = std::pin::pin!(asking);
        let connection = std::pin::pin!(connection);
        match futures_util::future::select(asking, connection).await {
            futures_util::future::Either::Left((said, _)) => said,
            futures_util::future::Either::Right((_, asking)) => asking.await,
        }
    }
}

/// Speaks to a relay.
pub(super) struct Mouth {
    sink: SplitSink<WebSocketStream<Stream>, Message>,
    url: RelayUrl,
}

impl Mouth {
    /// Says one message.
    pub(super) async fn say(&mut self, text: String) -> Result<(), WireError> {
        self.send(Message::text(text)).await
    }

    /// Asks whether it still listens.
    pub(super) async fn ping(&mut self) -> Result<(), WireError> {
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), WireError> {
        // A relay that reads nothing must not hold us forever.
        timeout(SHAKE, self.sink.send(message))
            .await
            .map_err(|_| WireError::Slow(self.url.to_string()))?
            .map_err(|_| WireError::Ended(self.url.to_string()))
    }

    /// Ends the conversation.
    pub(super) async fn close(&mut self) {
        // The relay ends it too when this does not reach it.
        let _ = timeout(Duration::from_secs(1), self.sink.close()).await;
    }
}

/// Hears a relay.
pub(super) struct Ear {
    stream: SplitStream<WebSocketStream<Stream>>,
    url: RelayUrl,
}

impl Ear {
    /// The next message, if it makes sense, and how many bytes it has. Cancelling this loses nothing.
    pub(super) async fn hear(&mut self) -> Result<(Option<Heard>, usize), WireError> {
        match self.stream.next().await {
            Some(Ok(Message::Text(text))) => Ok((Heard::read(&text), text.len())),
            Some(Ok(Message::Pong(bytes))) => Ok((Some(Heard::Alive), bytes.len())),
            Some(Ok(Message::Close(_)) | Err(_)) | None => {
                Err(WireError::Ended(self.url.to_string()))
            }
            Some(Ok(other)) => Ok((None, other.len())),
        }
    }
}

/// What a relay says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Heard {
    /// `["OK", id, taken, words]`
    Ok(String, bool, String),
    /// `["EVENT", subscription, event]`, unread.
    Event(String, String),
    /// `["EOSE", subscription]`
    EndOfStored(String),
    /// `["CLOSED", subscription, words]`
    Closed(String, String),
    /// `["AUTH", challenge]`
    Challenge(String),
    /// `["NEG-MSG", subscription, hex]`
    Negentropy(String, String),
    /// `["NEG-ERR", subscription, words]`
    NegentropyError(String, String),
    /// `["NOTICE", words]`
    Notice(String),
    /// It still listens.
    Alive,
}

impl Heard {
    /// The bytes of an event in it: all else is short.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Event(_, json) => json.len(),
            _ => 0,
        }
    }

    /// Reads a message; nothing when it is none, or one that is longer than anybody needs.
    fn read(text: &str) -> Option<Self> {
        let parts: Vec<&serde_json::value::RawValue> = serde_json::from_str(text).ok()?;
        let string =
            |at: usize| -> Option<String> { serde_json::from_str(parts.get(at)?.get()).ok() };
        let words = |at: usize| -> String {
            let whole = string(at).unwrap_or_default();
            whole.chars().take(MAX_WORDS).collect()
        };
        // An event, a subscription or a challenge.
        let name = |at: usize| string(at).filter(|name| name.len() <= MAX_WORDS);
        Some(match name(0)?.as_str() {
            "OK" => {
                let taken = serde_json::from_str(parts.get(2)?.get()).ok()?;
                Self::Ok(name(1)?, taken, words(3))
            }
            "EVENT" => {
                let event = parts.get(2)?.get();
                if event.len() > MAX_EVENT {
                    return None;
                }
                Self::Event(name(1)?, event.to_owned())
            }
            "EOSE" => Self::EndOfStored(name(1)?),
            "CLOSED" => Self::Closed(name(1)?, words(2)),
            "AUTH" => Self::Challenge(name(1)?),
            "NEG-MSG" => Self::Negentropy(name(1)?, string(2)?),
            "NEG-ERR" => Self::NegentropyError(name(1)?, words(2)),
            "NOTICE" => Self::Notice(words(1)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_relays_say_and_nothing_else() {
        let text = |text: &str| text.to_owned();
        for (said, heard) in [
            (
                r#"["OK","ab",true,""]"#,
                Heard::Ok(text("ab"), true, text("")),
            ),
            (
                r#"["OK","ab",false]"#,
                Heard::Ok(text("ab"), false, text("")),
            ),
            (
                r#"["EVENT","s",{"a": 1}]"#,
                Heard::Event(text("s"), text(r#"{"a": 1}"#)),
            ),
            (r#"["EOSE","s"]"#, Heard::EndOfStored(text("s"))),
            (
                r#"["CLOSED","s","x: y"]"#,
                Heard::Closed(text("s"), text("x: y")),
            ),
            (r#"["AUTH","c"]"#, Heard::Challenge(text("c"))),
            (
                r#"["NEG-MSG","s","61"]"#,
                Heard::Negentropy(text("s"), text("61")),
            ),
            (
                r#"["NEG-ERR","s","x"]"#,
                Heard::NegentropyError(text("s"), text("x")),
            ),
            (r#"["NOTICE","x"]"#, Heard::Notice(text("x"))),
        ] {
            assert_eq!(Heard::read(said), Some(heard), "{said}");
        }
        let long = "x".repeat(MAX_EVENT);
        let cut = Heard::read(&format!(r#"["OK","ab",true,"{long}"]"#));
        assert_eq!(
            cut,
            Some(Heard::Ok(text("ab"), true, "x".repeat(MAX_WORDS)))
        );
        for message in [
            format!(r#"["EVENT","s",{{"a":"{long}"}}]"#),
            format!(r#"["EVENT","{long}",{{}}]"#),
            format!(r#"["AUTH","{long}"]"#),
        ] {
            assert_eq!(Heard::read(&message), None);
        }
        for none in [
            "",
            "{}",
            "[]",
            "[1]",
            r#"["OK"]"#,
            r#"["OK","a","true"]"#,
            r#"["X"]"#,
        ] {
            assert_eq!(Heard::read(none), None, "{none}");
        }
    }
}
