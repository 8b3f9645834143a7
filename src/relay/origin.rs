//! Who reaches us: the checks of `Host`, `Origin` and `Sec-Fetch-Site`.
//!
//! Any web page can open a WebSocket to this machine, and a name that an attacker controls can point to it.

use std::net::{IpAddr, SocketAddr};

use hyper::{HeaderMap, header};

/// What a request's headers say about where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sender {
    /// The `Host` header.
    pub(super) host: String,
    /// A program on this machine, not a page of another origin and not another machine.
    pub(super) trusted: bool,
    /// The browser says that another site asks.
    pub(super) cross_site: bool,
}

/// Looks at a request; `None` when its `Host` is not ours.
pub(super) fn sender(
    headers: &HeaderMap,
    peer: SocketAddr,
    local: SocketAddr,
    hosts: &[String],
) -> Option<Sender> {
    let host = single(headers, header::HOST)?;
    let name = name(host);
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
        trusted: own_origin && loopback && peer.ip().to_canonical().is_loopback(),
        cross_site: headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site"),
    })
}

/// A header that occurs once.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The name or address of `host`, `host:port` or `[v6]:port`.
fn name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
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
        ] {
            let served = ask(&[("host", host)], "127.0.0.1:9").is_some();
            assert_eq!(served, host == "[::1", "{host}");
        }
        assert!(ask(&[], "127.0.0.1:9").is_none());
        assert!(ask(&[("host", "localhost"), ("host", "x")], "127.0.0.1:9").is_none());
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
