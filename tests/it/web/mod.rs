//! The page's server side over the wire: raw HTTP and raw WebSocket frames against the real program.

mod access;
mod assets;
mod command;
mod files;
mod limits;
mod share;
mod sign;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{harness::Treefort, jobs::AT_ONCE, model_server::ModelServer};

/// An answer over HTTP, as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().filter_map(|line| {
            let (is, value) = line.split_once(": ")?;
            is.eq_ignore_ascii_case(name).then_some(value)
        });
        let value = values.next();
        assert!(values.next().is_none(), "{name} twice: {}", self.head);
        value
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The word of a refusal.
    fn code(&self) -> String {
        let json = self.json();
        assert!(!json["error"].as_str().unwrap().is_empty());
        json["code"].as_str().unwrap().to_owned()
    }
}

/// Sends one request as it is, and reads the answer to its end.
async fn raw(address: &str, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A body that is refused is not read to its end.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(60), read).await;
    let _ = read.expect("an answer");
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&answer)));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body: answer[end + 4..].to_vec(),
    }
}

/// A running treefort and a page that was let in.
struct Page {
    treefort: Treefort,
    bearer: String,
}

impl Page {
    async fn open(model: &ModelServer) -> Self {
        Self::of(Treefort::start_with(model, &[], AT_ONCE)).await
    }

    async fn of(treefort: Treefort) -> Self {
        let mut page = Self {
            treefort,
            bearer: String::new(),
        };
        let answer = page.enter(&page.code().await).await;
        page.bearer = answer.json()["bearer"].as_str().unwrap().to_owned();
        page
    }

    fn address(&self) -> &str {
        &self.treefort.address
    }

    /// A fresh link, as the command prints it.
    async fn link(&self) -> String {
        let printed = self.treefort.command(&["page", "--print"]).await;
        assert!(printed.status.success(), "{printed:?}");
        String::from_utf8(printed.stdout).unwrap().trim().to_owned()
    }

    async fn code(&self) -> String {
        let link = self.link().await;
        let prefix = format!("http://{}/#t=", self.address());
        link.strip_prefix(&prefix).unwrap().to_owned()
    }

    async fn enter(&self, code: &str) -> Answer {
        self.send(
            "POST",
            "/api/enter",
            "",
            &json!({ "code": code }).to_string(),
        )
        .await
    }

    /// A request with these further header lines and a body of JSON.
    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let json = match body.is_empty() || headers.to_lowercase().contains("content-type:") {
            true => "",
            false => "Content-Type: application/json\r\n",
        };
        let host = match headers.contains("Host:") {
            true => String::new(),
            false => format!("Host: {}\r\n", self.address()),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nConnection: close\r\n{host}{json}{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        raw(self.address(), request.as_bytes()).await
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.bearer)
    }

    /// What the page asks: its bearer, and what a browser says about it.
    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = format!(
            "{}Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n",
            self.bearer(),
            self.address()
        );
        self.send(method, path, &headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &body.to_string()).await
    }
}
