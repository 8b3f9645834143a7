//! NIP-98: who asks over HTTP, by a signed event in the `Authorization` header.
//! <https://github.com/nostr-protocol/nips/blob/master/98.md>

use nostr::{
    Event, JsonUtil as _,
    base64::{Engine as _, engine::general_purpose::STANDARD},
};

use super::{Draft, kind, nip01::first_tag};

/// Seconds that an event may be old or early.
pub const WINDOW: u64 = 60;
/// No header is longer.
const MAX_HEADER: usize = 16 << 10;
const SCHEME: &str = "Nostr ";

/// The event for one request, before it is signed.
#[must_use]
pub fn draft(url: &str, method: &str) -> Draft {
    Draft::new(kind::HTTP_AUTH)
        .tag(["u", url])
        .tag(["method", method])
}

/// The header's value.
#[must_use]
pub fn header(event: &Event) -> String {
    format!("{SCHEME}{}", STANDARD.encode(event.as_json()))
}

/// The event in a header's value; `None` when there is none, or it does not verify.
#[must_use]
pub fn read(header: &str) -> Option<Event> {
    let encoded = header.strip_prefix(SCHEME)?;
    if header.len() > MAX_HEADER {
        return None;
    }
    let json = STANDARD.decode(encoded.trim()).ok()?;
    let event = Event::from_json(json).ok()?;
    event.verify().ok()?;
    Some(event)
}

/// Whether an event that verifies is for this request, now. Whose it is, and whether it came before, is for the
/// caller to know.
#[must_use]
pub fn is_for(event: &Event, url: &str, method: &str, now: u64) -> bool {
    event.kind.as_u16() == kind::HTTP_AUTH
        && event.created_at.as_secs().abs_diff(now) <= WINDOW
        && first_tag(event, "u") == Some(url)
        && first_tag(event, "method") == Some(method)
}

/// The SHA-256 of the request's body that the event promises, in hexadecimal.
#[must_use]
pub fn payload(event: &Event) -> Option<&str> {
    first_tag(event, "payload")
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;

    #[test]
    fn an_event_is_for_one_request_at_one_time() {
        let url = "http://127.0.0.1:4869/api/link";
        let event = draft(url, "POST").sign(&Keys::generate(), 1000).unwrap();
        assert_eq!(read(&header(&event)).unwrap(), event);
        assert!(is_for(&event, url, "POST", 1000));
        assert!(is_for(&event, url, "POST", 1060));
        for (url, method, now) in [
            (url, "POST", 1061),
            (url, "POST", 939),
            (url, "GET", 1000),
            ("http://127.0.0.1:4870/api/link", "POST", 1000),
        ] {
            assert!(!is_for(&event, url, method, now), "{url} {method} {now}");
        }
        let mut note = draft(url, "POST");
        note.kind = 1;
        let note = note.sign(&Keys::generate(), 1000).unwrap();
        assert!(!is_for(&note, url, "POST", 1000));
    }

    #[test]
    fn what_does_not_verify_is_no_event() {
        let event = draft("http://x/", "GET")
            .sign(&Keys::generate(), 1)
            .unwrap();
        let forged = event.as_json().replace("http://x/", "http://y/");
        for header in [
            String::new(),
            "Nostr ".to_owned(),
            "Nostr e30=".to_owned(),
            "Nostr !".to_owned(),
            format!("Bearer {}", STANDARD.encode(event.as_json())),
            format!("Nostr {}", STANDARD.encode(forged)),
            format!("Nostr {}", "A".repeat(MAX_HEADER)),
        ] {
            assert!(read(&header).is_none(), "{header}");
        }
    }
}
