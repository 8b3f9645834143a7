//! The head of a request to the proxy: `CONNECT host:port`, or a plain request with a whole address. Pure.
//!
//! Read once and strictly: what has two readings is refused, and what goes on is written anew.

use super::host::{Host, Odd, Place};

/// Bytes of a head, and headers in it.
pub(super) const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// The port of plain requests.
const PLAIN: u16 = 80;

/// Headers between two neighbours, which go no further; what frames the body is written anew.
const HOP: [&str; 14] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "content-length",
    "host",
    "forwarded",
    "via",
];

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Where.
    pub(super) place: Place,
    /// The request as it goes on, and the bytes of its body; nothing for `CONNECT`.
    pub(super) plain: Option<Plain>,
    /// Bytes that it took.
    pub(super) bytes: usize,
}

/// A plain request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plain {
    /// Its head for the host itself.
    pub(super) head: Vec<u8>,
    /// Its head for a further proxy.
    pub(super) whole: Vec<u8>,
    /// Bytes of its body.
    pub(super) body: u64,
}

/// Why a request is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Bad {
    #[error("the head of the request is too long")]
    Long,
    #[error("the request is no HTTP that can be read in one way only")]
    Http,
    #[error(
        "this is a proxy: it takes CONNECT host:port, and plain requests with a whole http:// address"
    )]
    Form,
    #[error("the address that is asked for is not a plain one: {0}")]
    Address(#[from] Odd),
    #[error("the header Host names another host than the address")]
    Host,
    #[error("a request's body needs one Content-Length, and no other framing")]
    Body,
}

/// Looks for the end of a head in what came until now; `from` is where an earlier look ended.
pub(super) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(3);
    memchr::memmem::find(&bytes[from..], b"\r\n\r\n").map(|at| from + at + 4)
}

/// Reads a head that ends where [`end`] says.
///
/// # Errors
/// When it is none that is done.
pub(super) fn read(bytes: &[u8]) -> Result<Head, Bad> {
    // Line ends are two bytes, everywhere.
    let lone = |at: usize, byte: u8| match byte {
        b'\n' => at == 0 || bytes[at - 1] != b'\r',
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        byte => byte == 0,
    };
    if bytes.iter().enumerate().any(|(at, byte)| lone(at, *byte)) {
        return Err(Bad::Http);
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(read)) if read == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Bad::Long),
        _ => return Err(Bad::Http),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Bad::Http);
    };
    let plain_method = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
    if method.len() > 20
        || !method.bytes().all(plain_method)
        || !target.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Bad::Form);
    }
    let (place, plain) = if method == "CONNECT" {
        let place = Place::parse(target, None)?;
        names(request.headers, &place, place.port)?;
        if framing(request.headers)?.is_some_and(|bytes| bytes > 0) {
            return Err(Bad::Body);
        }
        (place, None)
    } else {
        let (place, path) = absolute(target)?;
        names(request.headers, &place, PLAIN)?;
        let body = framing(request.headers)?;
        let plain = Plain {
            head: anew(method, &path, &place, request.headers, body),
            whole: anew(
                method,
                &format!("http://{place}{path}"),
                &place,
                request.headers,
                body,
            ),
            body: body.unwrap_or(0),
        };
        (place, Some(plain))
    };
    Ok(Head {
        place,
        plain,
        bytes: bytes.len(),
    })
}

/// The place and the path of `http://host/path`.
fn absolute(target: &str) -> Result<(Place, String), Bad> {
    let scheme = target.get(..7).ok_or(Bad::Form)?;
    if !scheme.eq_ignore_ascii_case("http://") {
        return Err(Bad::Form);
    }
    let rest = &target[7..];
    // Some programs end a host at these, and some do not.
    if rest.contains(['#', '\\']) {
        return Err(Bad::Address(Odd::Character));
    }
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    Ok((Place::parse(host, Some(PLAIN))?, path))
}

/// Whether the header `Host`, where there is one, says the same as the address.
fn names(headers: &[httparse::Header<'_>], place: &Place, usual: u16) -> Result<(), Bad> {
    let mut hosts = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("host"));
    let Some(host) = hosts.next() else {
        return Ok(());
    };
    let said = std::str::from_utf8(host.value).ok().map(str::trim);
    let said = said.and_then(|said| Place::parse(said, Some(usual)).ok());
    match said.as_ref() == Some(place) && hosts.next().is_none() {
        true => Ok(()),
        false => Err(Bad::Host),
    }
}

/// The length of the body, where the head says one.
fn framing(headers: &[httparse::Header<'_>]) -> Result<Option<u64>, Bad> {
    let mut length = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Bad::Body);
        }
        if !header.name.eq_ignore_ascii_case("content-length") {
            continue;
        }
        let digits = std::str::from_utf8(header.value).unwrap_or_default();
        let plain =
            (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|_| plain && length.is_none());
        length = Some(number.ok_or(Bad::Body)?);
    }
    Ok(length)
}

/// The head as it goes on: the end of this connection is the end of that one.
fn anew(
    method: &str,
    target: &str,
    place: &Place,
    headers: &[httparse::Header<'_>],
    body: Option<u64>,
) -> Vec<u8> {
    let host = match place {
        Place { host, port: PLAIN } => host.to_string(),
        place => place.to_string(),
    };
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
    let connection = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("connection"));
    let dropped: Vec<&str> = connection
        .filter_map(|header| std::str::from_utf8(header.value).ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .collect();
    for header in headers {
        let name = header.name;
        let hop = HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop));
        if hop
            || dropped
                .iter()
                .any(|dropped| name.eq_ignore_ascii_case(dropped))
        {
            continue;
        }
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(header.value);
        head.extend_from_slice(b"\r\n");
    }
    if let Some(body) = body {
        head.extend_from_slice(format!("Content-Length: {body}\r\n").as_bytes());
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    head
}

/// Whether a further proxy's answer says that the way is open.
pub(super) fn is_open(head: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    matches!(response.parse(head), Ok(httparse::Status::Complete(_)))
        && response.code.is_some_and(|code| (200..300).contains(&code))
}

/// What a further proxy is asked.
pub(super) fn connect(host: &Host, port: u16) -> Vec<u8> {
    format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Result<Head, Bad> {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let end = end(&bytes, 0).expect("a head has an end");
        read(&bytes[..end])
    }

    #[test]
    fn connect_is_a_host_and_a_port() {
        let head = ask("CONNECT Registry.npmjs.org:443 HTTP/1.1\nHost: registry.npmjs.org:443\nProxy-Authorization: Basic x\n\n").unwrap();
        assert_eq!(
            (head.place.to_string().as_str(), head.plain),
            ("registry.npmjs.org:443", None)
        );
        // Some clients leave the port out.
        assert!(ask("CONNECT a.com:443 HTTP/1.0\nHost: a.com\n\n").is_ok());
        assert!(ask("CONNECT a.com:443 HTTP/1.1\n\n").is_ok());
    }

    #[test]
    fn a_plain_request_is_written_anew_without_what_is_for_the_proxy() {
        let head = ask(
            "POST http://deb.debian.org?x=1 HTTP/1.1\nHost: deb.debian.org\nUser-Agent: apt\nProxy-Authorization: Basic secret\n\
             Connection: keep-alive, X-Hop, content-length\nX-Hop: 1\nKeep-Alive: 5\nUpgrade: h2c\nContent-Length: 3\nAccept: */*\n\n",
        )
        .unwrap();
        let plain = head.plain.unwrap();
        assert_eq!(
            String::from_utf8(plain.head).unwrap(),
            "POST /?x=1 HTTP/1.1\r\nHost: deb.debian.org\r\nUser-Agent: apt\r\nAccept: */*\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
        );
        assert!(
            plain
                .whole
                .starts_with(b"POST http://deb.debian.org:80/?x=1 HTTP/1.1\r\n")
        );
        assert_eq!(plain.body, 3);
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        let http = "Host: a.com\n\n";
        for (head, why) in [
            (
                "CONNECT a.com HTTP/1.1\n\n".to_owned(),
                Bad::Address(Odd::Port),
            ),
            (
                "CONNECT a.com.:443 HTTP/1.1\n\n".to_owned(),
                Bad::Address(Odd::Dot),
            ),
            (
                "CONNECT evil.com:443#a.com:443 HTTP/1.1\n\n".to_owned(),
                Bad::Address(Odd::Port),
            ),
            (
                "CONNECT evil.com#a.com:443 HTTP/1.1\n\n".to_owned(),
                Bad::Address(Odd::Character),
            ),
            (
                "CONNECT a.com@evil.com:443 HTTP/1.1\n\n".to_owned(),
                Bad::Address(Odd::Character),
            ),
            (
                "CONNECT a.com:443@evil.com:443 HTTP/1.1\n\n".to_owned(),
                Bad::Address(Odd::Port),
            ),
            (
                "CONNECT 0x7f.1:443 HTTP/1.1\n\n".to_owned(),
                Bad::Address(Odd::Number),
            ),
            (
                "CONNECT 2130706433:443 HTTP/1.1\n\n".to_owned(),
                Bad::Address(Odd::Number),
            ),
            (
                "CONNECT a.com:443 HTTP/1.1\nHost: evil.com:443\n\n".to_owned(),
                Bad::Host,
            ),
            (
                "CONNECT a.com:443 HTTP/1.1\nHost: a.com:8443\n\n".to_owned(),
                Bad::Host,
            ),
            (
                "CONNECT a.com:443 HTTP/1.1\nHost: a.com\nHost: a.com\n\n".to_owned(),
                Bad::Host,
            ),
            (
                "CONNECT a.com:443 HTTP/1.1\nContent-Length: 5\n\n".to_owned(),
                Bad::Body,
            ),
            (
                "CONNECT a.com:443 HTTP/1.1\nTransfer-Encoding: chunked\n\n".to_owned(),
                Bad::Body,
            ),
            ("connect a.com:443 HTTP/1.1\n\n".to_owned(), Bad::Form),
            (format!("GET / HTTP/1.1\n{http}"), Bad::Form),
            (format!("GET https://a.com/ HTTP/1.1\n{http}"), Bad::Form),
            (
                format!("GET file:///etc/passwd HTTP/1.1\n{http}"),
                Bad::Form,
            ),
            (format!("GET http://evil.com/ HTTP/1.1\n{http}"), Bad::Host),
            (
                format!("GET http://evil.com#a.com/ HTTP/1.1\n{http}"),
                Bad::Address(Odd::Character),
            ),
            (
                format!("GET http://evil.com\\@a.com/ HTTP/1.1\n{http}"),
                Bad::Address(Odd::Character),
            ),
            (
                format!("GET http://a.com@evil.com/ HTTP/1.1\n{http}"),
                Bad::Address(Odd::Character),
            ),
            (
                format!("GET http://a.com:80:80/ HTTP/1.1\n{http}"),
                Bad::Address(Odd::Port),
            ),
            (
                format!("GET http:///a.com HTTP/1.1\n{http}"),
                Bad::Address(Odd::Empty),
            ),
            (
                "POST http://a.com/ HTTP/1.1\nContent-Length: 5\nContent-Length: 6\n\n".to_owned(),
                Bad::Body,
            ),
            (
                "POST http://a.com/ HTTP/1.1\nContent-Length: 5\nTransfer-Encoding: chunked\n\n"
                    .to_owned(),
                Bad::Body,
            ),
            (
                "POST http://a.com/ HTTP/1.1\nContent-Length: +5\n\n".to_owned(),
                Bad::Body,
            ),
            (
                "POST http://a.com/ HTTP/1.1\nContent-Length: 5, 5\n\n".to_owned(),
                Bad::Body,
            ),
            (
                "GET http://a.com/ HTTP/1.1\nHost : evil.com\n\n".to_owned(),
                Bad::Http,
            ),
            (
                "GET http://a.com/ HTTP/1.1\nX: 1\n Host: evil.com\n\n".to_owned(),
                Bad::Http,
            ),
            ("GET http://a.com/ HTTP/2.0\n\n".to_owned(), Bad::Http),
            (
                "GET http://a.com/ HTTP/1.1\nX: a\0b\n\n".to_owned(),
                Bad::Http,
            ),
            (
                format!("GET http://a.com/ HTTP/1.1\n{}\n", "X: 1\n".repeat(65)),
                Bad::Long,
            ),
        ] {
            assert_eq!(ask(&head), Err(why), "{head:?}");
        }
        // Line ends of one byte would hide a header from one of two readers.
        for bytes in [
            &b"GET http://a.com/ HTTP/1.1\nHost: evil.com\r\n\r\n"[..],
            b"GET http://a.com/ HTTP/1.1\r\nX: 1\rHost: b\r\n\r\n",
        ] {
            assert_eq!(read(bytes), Err(Bad::Http));
        }
    }

    #[test]
    fn the_end_is_found_whichever_way_the_bytes_come() {
        let bytes = b"CONNECT a.com:443 HTTP/1.1\r\n\r\nrest";
        for cut in 0..bytes.len() {
            let first = end(&bytes[..cut], 0);
            let found = first.or_else(|| end(bytes, cut));
            assert_eq!(found, Some(30), "{cut}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            let _ = read(&bytes);
            let mut head = b"GET http://a.com/ HTTP/1.1\r\n".to_vec();
            head.extend_from_slice(&bytes);
            head.extend_from_slice(b"\r\n\r\n");
            if let Ok(Head { plain: Some(plain), .. }) = read(&head) {
                // One host, one end of the head, and it comes last.
                let text = String::from_utf8_lossy(&plain.head).to_ascii_lowercase();
                assert_eq!(text.matches("\r\nhost:").count(), 1);
                assert_eq!(end(&plain.head, 0), Some(plain.head.len()));
                assert!(!text.contains("\r\ntransfer-encoding"));
            }
        }
    }
}
