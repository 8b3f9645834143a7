//! A relay's address: how the owner writes it, and which network addresses it may lead to.
//!
//! `wss://` goes anywhere. `ws://` can be read on its way, so it goes to this computer and the home network only. What a
//! name leads to is looked up once, all of it is checked, and the connection goes to what was checked.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use nostr::Url;
use tokio::{net::TcpStream, time::timeout};

use crate::egress::address::{Reach, reach};

/// How long a look-up and one connection may take.
const LOOK: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(8);
/// Addresses of one name that are tried.
const TRIED: usize = 6;

/// The address of a relay, in one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayUrl {
    text: String,
    host: String,
    port: u16,
    tls: bool,
}

/// Why an address is not that of a relay which may be spoken to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an address.
    #[error("{0} is not a relay's address; one begins with wss://")]
    NotOne(String),
    /// Not encrypted, and not near.
    #[error(
        "{0}: ws:// is not encrypted and only for this computer and the home network; use wss://"
    )]
    Plain(String),
    /// Something in it has no place there.
    #[error("{0}: leave out user names, passwords and what follows a #")]
    Extra(String),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    /// It leads where it must not.
    #[error("{0} leads to {1}, where it must not go")]
    Forbidden(String, IpAddr),
    /// Nobody knows the name.
    #[error("nobody knows the name {0}")]
    Unknown(String),
    /// Nobody answers.
    #[error("{0} does not answer")]
    Silent(String),
    /// It answers with an error.
    #[error("{0} cannot be reached: {1}")]
    Failed(String, io::Error),
}

impl RelayUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is none, or goes unencrypted over networks of others.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let not_one = || AddressError::NotOne(text.to_owned());
        let mut url = Url::parse(text.trim()).map_err(|_| not_one())?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            // What is said ends up in logs, where a password has no place.
            let _ = url.set_username("").and_then(|()| url.set_password(None));
            url.set_fragment(None);
            return Err(AddressError::Extra(url.to_string()));
        }
        let tls = match url.scheme() {
            "wss" => true,
            "ws" => false,
            _ => return Err(not_one()),
        };
        let bare = url.host_str().ok_or_else(not_one)?.trim_end_matches('.');
        if bare.is_empty() {
            return Err(not_one());
        }
        let host = bare.to_owned();
        url.set_host(Some(&host)).map_err(|_| not_one())?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().ok_or_else(not_one)?;
        let address = Self {
            text: url.to_string(),
            host,
            port,
            tls,
        };
        // A name is looked at again when it is looked up.
        let near = match address.host.parse::<IpAddr>() {
            Ok(ip) => reach(ip) == Reach::Private,
            Err(_) => is_near(&address.host),
        };
        if !tls && !near {
            return Err(AddressError::Plain(text.to_owned()));
        }
        Ok(address)
    }

    /// Its one spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host's name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is spoken to encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Where it says over HTTP what it is (NIP-11): path and query.
    #[must_use]
    pub fn path(&self) -> String {
        let Ok(url) = Url::parse(&self.text) else {
            return "/".to_owned();
        };
        match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        }
    }

    /// The `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        format!("{host}:{}", self.port)
    }

    /// Looks the name up, checks everything that it leads to, and connects to that.
    ///
    /// # Errors
    /// When it leads where it must not, or nobody answers.
    pub async fn connect(&self) -> Result<TcpStream, Unreached> {
        let name = || self.text.clone();
        let looked = tokio::net::lookup_host((self.host.as_str(), self.port));
        let found: Vec<SocketAddr> = match timeout(LOOK, looked).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => return Err(Unreached::Unknown(name())),
        };
        if let Some(wrong) = found.iter().find(|at| !self.may_lead_to(at.ip())) {
            return Err(Unreached::Forbidden(name(), wrong.ip()));
        }
        let mut last = None;
        for at in found.into_iter().take(TRIED) {
            match timeout(CONNECT, TcpStream::connect(at)).await {
                Ok(Ok(stream)) => {
                    stream
                        .set_nodelay(true)
                        .map_err(|error| Unreached::Failed(name(), error))?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some(error),
                Err(_) => {}
            }
        }
        Err(match last {
            Some(error) => Unreached::Failed(name(), error),
            None => Unreached::Silent(name()),
        })
    }

    /// Whether the name may lead to an address: the owner wrote it, so that what is near may be meant.
    fn may_lead_to(&self, ip: IpAddr) -> bool {
        match reach(ip) {
            Reach::Public => self.tls,
            Reach::Private => true,
            Reach::Never => false,
        }
    }
}

/// Whether a name is one of this computer or a home network.
fn is_near(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || !name.contains('.')
        || [".local", ".lan", ".home.arpa", ".internal", ".localhost"]
            .iter()
            .any(|end| name.ends_with(end))
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_relay_has_one_spelling() {
        let of = |text: &str| RelayUrl::parse(text).unwrap();
        assert_eq!(of("wss://Relay.Example"), of(" wss://relay.example:443/ "));
        assert_eq!(of("wss://relay.example."), of("wss://relay.example"));
        assert_ne!(of("wss://relay.example/a"), of("wss://relay.example/b"));
        assert_eq!(of("wss://relay.example/a?b=c").path(), "/a?b=c");
        assert_eq!(of("ws://[::1]:7").authority(), "[::1]:7");
    }

    #[test]
    fn what_is_not_encrypted_stays_near() {
        for near in [
            "ws://127.0.0.1:7",
            "ws://localhost:7",
            "ws://[::1]:7",
            "ws://192.168.1.9",
            "ws://box.local",
            "ws://nas",
        ] {
            assert!(RelayUrl::parse(near).is_ok(), "{near}");
        }
        for far in [
            "ws://relay.example",
            "ws://1.1.1.1",
            "ws://169.254.169.254",
            "ws://0.0.0.0:7",
        ] {
            assert_eq!(
                RelayUrl::parse(far),
                Err(AddressError::Plain(far.to_owned()))
            );
        }
        for none in ["http://relay.example", "relay.example", "wss://", ""] {
            let error = AddressError::NotOne(none.to_owned());
            assert_eq!(RelayUrl::parse(none), Err(error));
        }
        for extra in ["wss://me:pw@relay.example", "wss://relay.example/#x"] {
            assert!(matches!(
                RelayUrl::parse(extra),
                Err(AddressError::Extra(_))
            ));
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_repeated() {
        for address in ["wss://me:hush@r.example/x", "https://me:hush@r.example/x"] {
            let said = RelayUrl::parse(address).unwrap_err().to_string();
            assert!(said.contains("r.example/x: leave out"), "{said}");
            assert!(!said.contains("hush") && !said.contains("me:"), "{said}");
        }
    }

    #[test]
    fn a_name_leads_to_no_address_that_it_must_not() {
        let tls = RelayUrl::parse("wss://relay.example").unwrap();
        let plain = RelayUrl::parse("ws://box.local").unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(tls.may_lead_to(ip("1.1.1.1")) && !plain.may_lead_to(ip("1.1.1.1")));
        for near in ["127.0.0.1", "10.0.0.1", "192.168.0.1", "::1", "fd00::1"] {
            assert!(tls.may_lead_to(ip(near)) && plain.may_lead_to(ip(near)));
        }
        for never in ["169.254.169.254", "fe80::1", "0.0.0.0", "::ffff:127.0.0.1"] {
            assert!(!tls.may_lead_to(ip(never)), "{never}");
        }
    }
}
