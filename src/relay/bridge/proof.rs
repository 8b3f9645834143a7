//! Which key asks: NIP-98, for one request, once.

use hyper::{Request, body::Incoming, header};
use nostr::{PublicKey, Timestamp};

use crate::{
    nips::nip98,
    relay::{Rejection, Shared, Spent, Unspendable, origin, rights::Reached},
};

/// Proofs that are remembered, of admitted keys and of all others.
const MOST: usize = 4096;

/// A key that was proved, and what was promised about the body.
pub(super) struct Proof {
    pub(super) key: PublicKey,
    /// The hash of the body.
    pub(super) payload: Option<String>,
}

/// Proofs that were used. Strangers' have a place of their own, so that they keep nobody out whom the owner admitted.
pub(in crate::relay) struct Proofs {
    admitted: Spent,
    others: Spent,
}

impl Default for Proofs {
    fn default() -> Self {
        Self {
            admitted: Spent::from_now(MOST),
            others: Spent::from_now(MOST),
        }
    }
}

impl Proofs {
    /// The proof of a request, if it has one. It counts once.
    pub(super) fn read(
        &self,
        shared: &Shared,
        request: &Request<Incoming>,
        reached: &Reached,
    ) -> Result<Option<Proof>, Rejection> {
        let headers = request.headers();
        if !headers.contains_key(header::AUTHORIZATION) {
            return Ok(None);
        }
        let wrong = |why: String| Err(Rejection::Proof(why));
        let Some(event) = origin::single(headers, header::AUTHORIZATION).and_then(nip98::read)
        else {
            return wrong(
                "the Authorization header holds no event of NIP-98 that verifies".to_owned(),
            );
        };
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let localhost = shared.is_localhost(reached);
        let urls = urls(reached, &shared.config.hosts, localhost, path);
        let now = Timestamp::now().as_secs();
        let method = request.method().as_str();
        if !(urls.iter()).any(|url| nip98::is_for(&event, url, method, now)) {
            let url = &urls[0];
            return wrong(format!(
                "this event of NIP-98 is not for this request now: method {method}, u {url}"
            ));
        }
        let spent = match shared.admission.is_admitted(&event.pubkey) {
            true => &self.admitted,
            false => &self.others,
        };
        match spent.take(&event) {
            Ok(()) => {}
            Err(Unspendable::Full) => return Err(Rejection::Busy),
            Err(why @ (Unspendable::Before | Unspendable::Again)) => {
                return wrong(format!(
                    "this event of NIP-98 does not count: {why}; sign another one"
                ));
            }
        }
        Ok(Some(Proof {
            key: event.pubkey,
            payload: nip98::payload(&event).map(str::to_owned),
        }))
    }
}

/// The URLs under which a request may be signed: our own address, `localhost` when nobody else can be behind it, and the
/// names that the owner gave, behind which there may be a proxy.
///
/// Neither a port nor an address that is not ours is taken from `Host`: who has it could pass on what was signed for it.
fn urls(reached: &Reached, hosts: &[String], localhost: bool, path: &str) -> Vec<String> {
    let local = std::net::SocketAddr::new(reached.local.ip().to_canonical(), reached.local.port());
    let mut urls = vec![format!("http://{local}{path}")];
    let host = &reached.host;
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (host.as_str(), Some(80)),
    };
    let is_localhost = name.eq_ignore_ascii_case("localhost") || name == "[::1]";
    if hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        urls.push(format!("https://{host}{path}"));
        urls.push(format!("http://{host}{path}"));
    } else if is_localhost && localhost && port == Some(local.port()) {
        urls.push(format!("http://{host}{path}"));
    }
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_for_our_own_port_or_a_name_that_the_owner_gave() {
        let under = |host: &str, localhost: bool| {
            let reached = Reached {
                peer: "127.0.0.1".parse().unwrap(),
                local: "127.0.0.1:4869".parse().unwrap(),
                host: host.to_owned(),
                trusted: true,
            };
            let hosts = ["relay.example".to_owned()];
            urls(&reached, &hosts, localhost, "/events")[1..].to_vec()
        };
        let of = |host: &str| under(host, true);
        assert_eq!(of("localhost:4869"), ["http://localhost:4869/events"]);
        assert_eq!(of("[::1]:4869"), ["http://[::1]:4869/events"]);
        for other in [
            "localhost:4870",
            "localhost",
            "[::1]",
            "127.0.0.1:80",
            // Another user of this machine may listen there.
            "127.0.0.2:4869",
        ] {
            assert!(of(other).is_empty(), "{other}");
        }
        for elsewhere in ["localhost:4869", "LOCALHOST:4869", "[::1]:4869"] {
            assert!(under(elsewhere, false).is_empty(), "{elsewhere}");
        }
        assert_eq!(under("relay.example", false).len(), 2);
        assert_eq!(
            of("relay.example"),
            [
                "https://relay.example/events",
                "http://relay.example/events"
            ]
        );
    }
}
