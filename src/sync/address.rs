//! A relay's address: how the owner writes it, and which network addresses it may lead to.
//!
//! `wss://` goes anywhere. `ws://` can be read on its way, so it goes to this computer and the home network only. What a
//! name leads to is looked up once, all of it is checked, and the connection goes to what was checked.
//!
//! What others name ([`NamedBy::Other`]) is held to more: a name on the internet, encrypted, and nothing that is near
//! behind it. The owner may mean the computer beside this one; nobody else has a say about what that is asked.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use nostr::Url;
use tokio::{net::TcpStream, time::timeout};

use crate::egress::address::{Reach, is_own, reach};

/// How long a look-up and one connection may take.
const LOOK: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(8);
/// Addresses of one name that are tried.
const TRIED: usize = 6;
/// Characters of an address that others name.
const MAX_NAMED: usize = 200;
/// The port of `wss://`; below [`FREE_PORTS`] others may name no other one, where mail and the like live.
const TLS_PORT: u16 = 443;
const FREE_PORTS: u16 = 1024;

/// Who wrote an address down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// The owner, in `sync.toml`.
    Owner,
    /// Somebody else, in a job or in a list of relays.
    Other,
}

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
    #[error("{0} is not a relay's address; one is written like wss://relay.example")]
    NotOne(String),
    /// It names nobody.
    #[error("{0}: a name is missing after the //, as in wss://relay.example")]
    NoName(String),
    /// Its port cannot be one.
    #[error("{0}: the port after the name has to be a number from 1 to 65535")]
    Port(String),
    /// Not encrypted, and not near.
    #[error(
        "{0}: ws:// is not encrypted and only for this computer and the home network; use wss://"
    )]
    Plain(String),
    /// Something in it has no place there.
    #[error("{0}: leave out user names, passwords and what follows a #")]
    Extra(String),
    /// The owner may name it, others may not.
    #[error("{0} is none that others may name")]
    NotForOthers(String),
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
        let mut url = Url::parse(text.trim()).map_err(|_| unread(text))?;
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
        if port == 0 {
            return Err(AddressError::Port(text.to_owned()));
        }
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

    /// Reads an address that somebody else wrote: encrypted, a name that can be one on the internet, a port of its own
    /// kind, and nothing in it that would make many relays out of one.
    ///
    /// # Errors
    /// When it is none, or the owner alone could name it.
    pub fn parse_of_others(text: &str) -> Result<Self, AddressError> {
        let shown: String = text.chars().take(MAX_NAMED).collect();
        let refused = || AddressError::NotForOthers(shown.clone());
        if shown.len() != text.len() {
            return Err(refused());
        }
        let address = Self::parse(text)?;
        // A look-up leads to no onion, and only tells others who asks for it.
        let is_name = address.host.parse::<IpAddr>().is_err()
            && !is_near(&address.host)
            && !address.host.ends_with(".onion");
        let is_port = address.port == TLS_PORT || address.port >= FREE_PORTS;
        let is_whole = !address.text.contains(['?', '%']);
        match address.tls && is_name && is_port && is_whole {
            true => Ok(address),
            false => Err(refused()),
        }
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
    pub async fn connect(&self, by: NamedBy) -> Result<TcpStream, Unreached> {
        let name = || self.text.clone();
        let looked = tokio::net::lookup_host((self.host.as_str(), self.port));
        let found: Vec<SocketAddr> = match timeout(LOOK, looked).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => return Err(Unreached::Unknown(name())),
        };
        if let Some(wrong) = found.iter().find(|at| !self.may_lead_to(by, at.ip())) {
            return Err(Unreached::Forbidden(name(), wrong.ip()));
        }
        let mut last = None;
        for at in found.into_iter().take(TRIED) {
            match timeout(CONNECT, TcpStream::connect(at)).await {
                Ok(Ok(stream)) => {
                    // Where it comes out at the address that it left from, it never left this computer.
                    let left = stream.local_addr().map(|local| local.ip());
                    if by == NamedBy::Other && left.is_ok_and(|left| left == at.ip()) {
                        return Err(Unreached::Forbidden(name(), at.ip()));
                    }
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

    /// Whether the name may lead to an address. When the owner wrote it, what is near may be meant.
    fn may_lead_to(&self, by: NamedBy, ip: IpAddr) -> bool {
        match (reach(ip), by) {
            (Reach::Public, NamedBy::Owner) => self.tls,
            // An address of this computer's own is near, whatever network it is in.
            (Reach::Public, NamedBy::Other) => self.tls && !is_own(ip),
            (Reach::Private, by) => by == NamedBy::Owner,
            (Reach::Never, _) => false,
        }
    }
}

/// What is wrong with an address that cannot be read. A password in it is not repeated.
fn unread(text: &str) -> AddressError {
    let (scheme, rest) = text.trim().split_once("://").unwrap_or(("", ""));
    let (at, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = at.rsplit_once('@').map_or(at, |(_, host)| host);
    let shown = match scheme {
        "" => text.to_owned(),
        _ => format!("{scheme}://{host}{path}"),
    };
    let port = host.rsplit_once(':').map(|(_, port)| port);
    match (scheme, host, port) {
        ("ws" | "wss", "", _) => AddressError::NoName(shown),
        ("ws" | "wss", _, Some(port)) if !port.ends_with(']') && port.parse::<u16>().is_err() => {
            AddressError::Port(shown)
        }
        _ => AddressError::NotOne(shown),
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
        for none in ["http://relay.example", "relay.example", "wss://a b", ""] {
            let error = AddressError::NotOne(none.to_owned());
            assert_eq!(RelayUrl::parse(none), Err(error));
        }
        for nobody in ["wss://", "ws://", "wss:///path"] {
            let said = RelayUrl::parse(nobody);
            assert!(!matches!(said, Err(AddressError::NotOne(_))), "{said:?}");
        }
        assert_eq!(
            RelayUrl::parse("wss://"),
            Err(AddressError::NoName("wss://".to_owned()))
        );
        for port in [
            "ws://127.0.0.1:99999",
            "wss://relay.example:0",
            "ws://[::1]:x/a",
        ] {
            let error = AddressError::Port(port.to_owned());
            assert_eq!(RelayUrl::parse(port), Err(error));
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
        let unread = RelayUrl::parse("wss://me:hush@r.example:99999/x").unwrap_err();
        assert_eq!(
            unread,
            AddressError::Port("wss://r.example:99999/x".to_owned())
        );
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
        let by_owner = |url: &RelayUrl, text: &str| url.may_lead_to(NamedBy::Owner, ip(text));
        assert!(by_owner(&tls, "1.1.1.1") && !by_owner(&plain, "1.1.1.1"));
        for near in ["127.0.0.1", "10.0.0.1", "192.168.0.1", "::1", "fd00::1"] {
            assert!(by_owner(&tls, near) && by_owner(&plain, near));
        }
        for never in ["169.254.169.254", "fe80::1", "0.0.0.0", "::ffff:127.0.0.1"] {
            assert!(!by_owner(&tls, never), "{never}");
        }
    }

    #[test]
    fn what_others_name_leads_to_the_internet_alone() {
        let url = RelayUrl::parse_of_others("wss://relay.example").unwrap();
        let leads = |text: &str| url.may_lead_to(NamedBy::Other, text.parse().unwrap());
        for public in ["1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"] {
            assert!(leads(public), "{public}");
        }
        for near in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:1.1.1.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::a00:1",
            "64:ff9b:1::101:101",
            "2002:7f00:1::",
            "2001::1",
        ] {
            assert!(!leads(near), "{near}");
        }
    }

    #[test]
    fn others_name_relays_on_the_internet_in_one_spelling_each() {
        let of = |text: &str| RelayUrl::parse_of_others(text);
        for same in [
            "wss://Relay.Example",
            " WSS://relay.example:443/ ",
            "wss://relay.example.",
            "wss:relay.example",
            "wss:\\\\relay.example\\",
            "wss://relay\u{3002}example",
            "wss://\u{ff52}elay.example",
            "wss://relay.example/a/..",
        ] {
            let parsed = of(same).unwrap();
            assert_eq!(parsed.as_str(), "wss://relay.example/", "{same}");
        }
        assert_eq!(
            of("wss://b\u{fc}cher.example").unwrap().as_str(),
            "wss://xn--bcher-kva.example/"
        );
        for good in ["wss://relay.example:8443", "wss://relay.example/inbox"] {
            assert!(of(good).is_ok(), "{good}");
        }
        let long = format!("wss://relay.example/{}", "a".repeat(200));
        for bad in [
            // Not encrypted, or no relay.
            "ws://relay.example",
            "ws://127.0.0.1:7",
            "http://relay.example",
            "https://relay.example",
            "relay.example",
            "",
            // Who asks.
            "wss://me@relay.example",
            "wss://me:pw@relay.example",
            "wss://relay.example@evil.example",
            // Addresses in every spelling, and names that are near.
            "wss://127.0.0.1",
            "wss://127.1",
            "wss://2130706433",
            "wss://0x7f.0.0.1",
            "wss://0177.0.0.1",
            "wss://1.1.1.1",
            "wss://[::1]",
            "wss://[::ffff:127.0.0.1]",
            "wss://[2606:4700::1111]",
            "wss://localhost",
            "wss://localhost.",
            "wss://a.localhost",
            "wss://printer",
            "wss://printer.local",
            "wss://nas.lan",
            "wss://metadata.google.internal",
            "wss://box.home.arpa",
            "wss://abc.onion",
            // Ports of other services, and many relays out of one.
            "wss://relay.example:25",
            "wss://relay.example:0",
            "wss://relay.example:80",
            "wss://relay.example/?a=1",
            "wss://relay.example/%61",
            "wss://relay.example/#a",
            "wss://relay.example/a b",
            &long,
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
