//! Who reaches us: the checks of `Host`, `Origin` and `Sec-Fetch-Site`.
//!
//! Any web page can open a WebSocket to this machine, and a name that an attacker controls can point to it.

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap,
    header::{self, HeaderValue},
};

/// Where a request comes from: its headers, and the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The `Host` header, which names us.
    pub host: String,
    /// Our end of the connection.
    pub local: SocketAddr,
    /// A program on this machine or our own page, not a page of another origin and not another machine.
    pub trusted: bool,
    /// What the browser says about who asks.
    pub site: Site,
}

/// `Sec-Fetch-Site`: what a browser says about the page that asks. A page cannot set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// Nothing: a program, or a browser from before 2023.
    Unknown,
    /// Our own page.
    Own,
    /// A person, who typed the address or opened a bookmark.
    Person,
    /// Another page: of another site, or of another port of this machine.
    Other,
}

impl Site {
    fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all("sec-fetch-site").iter();
        match (values.next().map(HeaderValue::as_bytes), values.next()) {
            (None, _) => Self::Unknown,
            (Some(b"same-origin"), None) => Self::Own,
            (Some(b"none"), None) => Self::Person,
            _ => Self::Other,
        }
    }
}

/// Looks at a request; `None` when its `Host` is not ours.
pub(super) fn sender(
    headers: &HeaderMap,
    peer: SocketAddr,
    local: SocketAddr,
    hosts: &[String],
) -> Option<Sender> {
    let host = single(headers, header::HOST)?;
    let name = name(host)?;
    let loopback = is_loopback(name);
    let ours = loopback
        || name.parse::<IpAddr>().is_ok_and(|ip| ip == local.ip())
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name));
    if !ours {
        return None;
    }
    let own_origin = match headers.get_all(header::ORIGIN).iter().count() {
        0 => true,
        1 => single(headers, header::ORIGIN)
            .is_some_and(|origin| origin.eq_ignore_ascii_case(&format!("http://{host}"))),
        _ => false,
    };
    Some(Sender {
        host: host.to_owned(),
        local,
        trusted: own_origin && loopback && peer.ip().to_canonical().is_loopback(),
        site: Site::of(headers),
    })
}

/// A header that occurs once.
#[must_use]
pub fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The name or address of `host`, `host:port` or `[v6]:port`.
fn name(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    port.then_some(name)
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(headers: &[(&'static str, &str)], peer: &str) -> Option<Sender> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        sender(
            &map,
            peer.parse().unwrap(),
            "10.0.0.5:4869".parse().unwrap(),
            &["relay.example".to_owned()],
        )
    }

    #[test]
    fn only_our_own_hosts_are_served() {
        for host in [
            "localhost:4869",
            "LOCALHOST",
            "127.0.0.1:1",
            "127.5.5.5",
            "[::1]:4869",
            "10.0.0.5:4869",
            "relay.example",
        ] {
            assert!(ask(&[("host", host)], "127.0.0.1:9").is_some(), "{host}");
        }
        for host in [
            "evil.example:4869",
            "localhost.evil.example",
            "10.0.0.6",
            "",
            "127.0.0.1.nip.io",
            "[::1",
            "[::1]x",
            "[::1]; script-src *",
            "127.0.0.1:1; script-src *",
            "127.0.0.1:1:2",
        ] {
            assert!(ask(&[("host", host)], "127.0.0.1:9").is_none(), "{host}");
        }
        assert!(ask(&[], "127.0.0.1:9").is_none());
        assert!(ask(&[("host", "localhost"), ("host", "x")], "127.0.0.1:9").is_none());
    }

    #[test]
    fn a_page_of_another_port_is_another_page() {
        let site = |values: &[&'static str]| {
            let mut headers = vec![("host", "localhost:4869")];
            headers.extend(values.iter().map(|value| ("sec-fetch-site", *value)));
            ask(&headers, "127.0.0.1:9").unwrap().site
        };
        assert_eq!(site(&[]), Site::Unknown);
        assert_eq!(site(&["same-origin"]), Site::Own);
        assert_eq!(site(&["none"]), Site::Person);
        for other in ["same-site", "cross-site", "", "Same-Origin", "nonsense"] {
            assert_eq!(site(&[other]), Site::Other, "{other}");
        }
        assert_eq!(site(&["same-origin", "none"]), Site::Other);
    }

    #[test]
    fn trusts_local_programs_and_the_own_page_only() {
        let trusted = |headers: &[(&'static str, &str)], peer| ask(headers, peer).unwrap().trusted;
        let host = ("host", "localhost:4869");
        assert!(trusted(&[host], "127.0.0.1:9"));
        assert!(trusted(&[host], "[::1]:9"));
        assert!(trusted(&[host], "[::ffff:127.0.0.1]:9"));
        assert!(trusted(
            &[host, ("origin", "http://localhost:4869")],
            "127.0.0.1:9"
        ));
        for origin in [
            "null",
            "",
            "https://evil.example",
            "http://localhost:3000",
            "https://localhost:4869",
            "http://localhost:4869.evil.example",
        ] {
            assert!(
                !trusted(&[host, ("origin", origin)], "127.0.0.1:9"),
                "{origin}"
            );
        }
        assert!(!trusted(&[host], "10.0.0.9:9"));
        assert!(!trusted(&[("host", "relay.example")], "127.0.0.1:9"));
    }
}
