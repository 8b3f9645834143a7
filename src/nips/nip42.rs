//! NIP-42: a client proves which key it holds.
//! <https://github.com/nostr-protocol/nips/blob/master/42.md>
//!
//! [`check`] looks at everything but id and signature, which the caller verifies as for any event.

use nostr::{Event, Url};

use super::{kind, nip01::first_tag};

/// Seconds that an answer may be old or early.
pub const WINDOW: u64 = 600;

/// Why an answer to a challenge does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Not kind 22242.
    #[error("an answer has kind 22242")]
    Kind,
    /// Too old or too early.
    #[error("created_at is more than 10 minutes away")]
    Time,
    /// Not the challenge of this connection.
    #[error("the challenge is not this connection's")]
    Challenge,
    /// The answer is meant for another relay.
    #[error("the relay tag names another relay")]
    Relay,
}

/// Checks an answer: its kind and time, that it answers this connection's challenge, and that its `relay`
/// tag names one of `authorities` (`host` or `host:port`, as the client reached us).
///
/// # Errors
/// When one of these does not hold.
pub fn check(
    event: &Event,
    challenge: &str,
    authorities: &[&str],
    now: u64,
) -> Result<(), AuthError> {
    if event.kind.as_u16() != kind::CLIENT_AUTH {
        return Err(AuthError::Kind);
    }
    if event.created_at.as_secs().abs_diff(now) > WINDOW {
        return Err(AuthError::Time);
    }
    if first_tag(event, "challenge") != Some(challenge) {
        return Err(AuthError::Challenge);
    }
    let relay = first_tag(event, "relay").unwrap_or_default();
    if authorities.iter().any(|known| names(relay, known)) {
        Ok(())
    } else {
        Err(AuthError::Relay)
    }
}

/// Whether a relay URL leads to `host` or `host:port`; loopback names are one host. A name without a port is
/// reached over the default port of either scheme, so that a proxy may add TLS.
#[must_use]
pub fn names(url: &str, known: &str) -> bool {
    let (Ok(url), Ok(known)) = (Url::parse(url), Url::parse(&format!("ws://{known}"))) else {
        return false;
    };
    let (Some(host), Some(known_host)) = (url.host_str(), known.host_str()) else {
        return false;
    };
    let port = match known.port() {
        Some(port) => url.port_or_known_default() == Some(port),
        None => url.port().is_none(),
    };
    matches!(url.scheme(), "ws" | "wss") && port && canonical(host) == canonical(known_host)
}

/// Whether an answer is for a loopback by a name that may lead to the other one, where another program may be.
#[must_use]
pub fn is_for_localhost(event: &Event) -> bool {
    let relay = first_tag(event, "relay").unwrap_or_default();
    let url = Url::parse(relay).ok();
    let host = url.as_ref().and_then(|url| url.host_str());
    host.is_some_and(|host| host != "127.0.0.1" && canonical(host) == "localhost")
}

fn canonical(host: &str) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match host.as_str() {
        "localhost" | "127.0.0.1" | "[::1]" => "localhost".to_owned(),
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nips::Draft;
    use nostr::Keys;

    fn answer(kind: u16, relay: &str, challenge: &str) -> Event {
        Draft::new(kind)
            .tag(["relay", relay])
            .tag(["challenge", challenge])
            .sign(&Keys::generate(), 10_000)
            .unwrap()
    }

    #[test]
    fn accepts_the_address_we_were_reached_by() {
        for relay in [
            "ws://localhost:4869",
            "ws://127.0.0.1:4869/",
            "ws://LOCALHOST:4869/x",
        ] {
            let event = answer(22242, relay, "c");
            assert_eq!(check(&event, "c", &["localhost:4869"], 10_600), Ok(()));
        }
        for relay in ["wss://relay.example", "ws://relay.example/"] {
            let event = answer(22242, relay, "c");
            assert_eq!(check(&event, "c", &["x", "relay.example"], 10_000), Ok(()));
        }
    }

    #[test]
    fn knows_which_answers_another_loopback_may_have_asked_for() {
        for (relay, is) in [
            ("ws://localhost:4869", true),
            ("ws://LOCALHOST.:4869/", true),
            ("ws://[::1]:4869", true),
            ("ws://127.0.0.1:4869", false),
            ("wss://relay.example", false),
            ("", false),
        ] {
            let event = answer(22242, relay, "c");
            assert_eq!(is_for_localhost(&event), is, "{relay}");
        }
    }

    #[test]
    fn refuses_other_kinds_times_challenges_and_relays() {
        let known = &["localhost:4869"];
        let event = answer(22242, "ws://localhost:4869", "c");
        assert_eq!(check(&event, "c", known, 10_601), Err(AuthError::Time));
        assert_eq!(check(&event, "d", known, 10_000), Err(AuthError::Challenge));
        for relay in [
            "ws://localhost:1",
            "wss://relay.example",
            "localhost:4869",
            "",
        ] {
            let event = answer(22242, relay, "c");
            assert_eq!(check(&event, "c", known, 10_000), Err(AuthError::Relay));
        }
        let event = answer(1, "ws://localhost:4869", "c");
        assert_eq!(check(&event, "c", known, 10_000), Err(AuthError::Kind));
    }
}
