//! A browser, byte by byte, so that a test can be a hostile one.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// An opened preview.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Its name and port.
    pub(super) host: String,
    /// `__treefort=…`.
    pub(super) cookie: String,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Its headers; several of one name on lines of their own.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Reads a head, and gives what came after it.
    fn of(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let mut headers = BTreeMap::<String, String>::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            let all = headers.entry(name.to_ascii_lowercase()).or_default();
            if !all.is_empty() {
                all.push('\n');
            }
            all.push_str(value.trim());
        }
        let body = &bytes[end + 4..];
        let chunked = headers
            .get("transfer-encoding")
            .is_some_and(|how| how == "chunked");
        Self {
            status: status.parse().unwrap(),
            headers,
            body: match chunked {
                true => together(body),
                false => body.to_vec(),
            },
        }
    }
}

/// A body that came in pieces; as far as it came.
fn together(mut pieces: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = pieces.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(&pieces[..end]);
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        pieces = &pieces[end + 2..];
        body.extend(&pieces[..size.min(pieces.len())]);
        pieces = pieces.get(size + 2..).unwrap_or_default();
    }
    body
}

/// The address, `Host` and path of a link.
pub(super) fn parts(url: &str) -> (SocketAddr, String, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let (name, port) = host.rsplit_once(':').unwrap();
    let ip = if name.ends_with(".localhost") {
        "127.0.0.1"
    } else {
        name
    };
    let address = format!("{ip}:{port}").parse().unwrap();
    (address, host.to_owned(), format!("/{path}"))
}

/// Sends bytes and reads to the end.
pub(super) async fn send(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes));
    // A connection that breaks off has said what it had to say.
    drop(read.await.expect("an answer in time"));
    Answer::of(&bytes)
}

/// A request with these headers.
pub(super) fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text + "\r\n"
}

impl Opened {
    /// Brings the code.
    pub(super) async fn by(url: &str) -> Self {
        let (address, host, path) = parts(url);
        let headers = [("Host", host.as_str()), ("Connection", "close")];
        let answer = send(address, &request("GET", &path, &headers)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let cookie = &answer.headers["set-cookie"];
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
            "{cookie}"
        );
        assert!(!cookie.contains("Domain"), "{cookie}");
        assert!(answer.text().contains("url=/\""), "{}", answer.text());
        Self {
            address,
            host,
            cookie: cookie.split(';').next().unwrap().to_owned(),
        }
    }

    /// As the preview's own page asks.
    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    pub(super) async fn ask(&self, method: &str, path: &str, more: &[(&str, &str)]) -> Answer {
        let mut headers = vec![
            ("Host", self.host.as_str()),
            ("Cookie", self.cookie.as_str()),
            ("Connection", "close"),
        ];
        headers.extend(more);
        send(self.address, &request(method, path, &headers)).await
    }

    /// A connection that has asked for something and not read anything.
    pub(super) async fn begin(&self, path: &str, more: &[(&str, &str)]) -> TcpStream {
        let mut headers = vec![
            ("Host", self.host.as_str()),
            ("Cookie", self.cookie.as_str()),
        ];
        headers.extend(more);
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let text = request("GET", path, &headers);
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

/// Reads until these bytes have come; gives all.
pub(super) async fn read_until(stream: &mut TcpStream, wanted: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = async {
        loop {
            let mut piece = [0; 4096];
            let n = stream.read(&mut piece).await.unwrap();
            assert_ne!(n, 0, "ended: {}", String::from_utf8_lossy(&bytes));
            bytes.extend(&piece[..n]);
            if bytes.windows(wanted.len()).any(|some| some == wanted) {
                return;
            }
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(30), reading).await;
    assert!(read.is_ok(), "not there: {wanted:?}");
    bytes
}
