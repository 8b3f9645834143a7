//! What the fuzzers run, one function a target. `tests/it/fuzz.rs` runs the same functions on what they kept.
//!
//! A function panics when the code under test panics or breaks what it promises.

use std::{collections::HashSet, ops::ControlFlow};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::{Event, JsonUtil, Keys, SecretKey, Url};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use treefort::{
    agent::{
        acp::{Limits, Peer},
        claims,
        journal::Journal,
        jsonrpc,
    },
    ndjson::Lines,
    nips::{
        nip01::{self, ClientMessage},
        nip09, nip40, nip42, nip50, nip70, nip90, nip98,
        reference::{self, Reference},
        session, workspace,
    },
    preview, relay,
    sandbox::{Tail, mux::Driver},
};

type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: [(&str, Target); 8] = [
    ("message", message),
    ("filter", filter),
    ("event", event),
    ("negentropy", negentropy),
    ("mux", mux),
    ("acp", acp),
    ("words", words),
    ("head", head),
];

/// A text frame of a client.
pub fn message(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match ClientMessage::parse(text) {
        Ok(ClientMessage::Event(raw) | ClientMessage::Auth(raw)) => event(raw.get().as_bytes()),
        Ok(ClientMessage::Req { filters, .. } | ClientMessage::Count { filters, .. }) => {
            for filter in &filters {
                look_at(filter);
            }
        }
        Ok(_) => {}
        Err(error) => assert!(error.to_string().len() < 4096 + text.len()),
    }
}

/// A filter.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(filter) = nip01::parse_filter(text) {
        look_at(&filter);
    }
}

fn look_at(filter: &nostr::Filter) {
    let again = nip01::parse_filter(&filter.as_json());
    assert_eq!(
        again.ok().as_ref(),
        Some(filter),
        "what is written is read again"
    );
    let note = sample();
    if nip01::matches(filter, &note) {
        assert!(nip01::is_satisfiable(filter), "what matches can match");
    }
}

/// A signed note that some filters match.
fn sample() -> Event {
    const JSON: &str = include_str!("sample.json");
    Event::from_json(JSON).expect("the sample is an event")
}

/// An event's JSON, and everything that is made of one without a key.
pub fn event(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let claimed = nip01::claimed_id(text);
    let Ok(event) = Event::from_json(text) else {
        return;
    };
    assert_eq!(claimed, Some(event.id));
    let again = Event::from_json(event.as_json()).expect("what is written is read again");
    assert_eq!(again, event);
    let keys = Keys::new(SecretKey::from_slice(&[1; 32]).expect("a key"));
    let _ = nip01::identifier(&event);
    let _ = nip01::first_tag(&event, "d");
    let _ = nip09::targets(&event).count();
    let _ = nip40::is_expired(&event, 1_700_000_000);
    let _ = nip70::is_protected(&event);
    // Refusals are what this is about.
    let _ = nip42::check(&event, "challenge", &["127.0.0.1:4869"], 1_700_000_000);
    let _ = nip98::is_for(&event, "http://127.0.0.1:4869/", "GET", 1_700_000_000);
    let _ = reference::named_keys(&event);
    let _ = Reference::first(&event, "e");
    drop(session::Record::parse(&event));
    if let Ok(request) = nip90::JobRequest::parse(&event, &keys) {
        drop(workspace::Task::parse(&request));
    }
    let words = nip50::set_of(&event);
    assert!(words.len() <= nip50::MAX_WORDS);
    let filter = nostr::Filter::new().id(event.id);
    assert!(nip01::matches(&filter, &event));
}

/// A message of NIP-77 to the set that a relay holds. The first bytes choose the set and the size of an answer.
pub fn negentropy(data: &[u8]) {
    let [count, size, messages @ ..] = data else {
        return;
    };
    let mut storage = NegentropyStorageVector::new();
    for number in 0..u64::from(*count) {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
        storage
            .insert(1_700_000_000 + number / 3, Id::from_byte_array(id))
            .expect("an id of 32 bytes");
    }
    storage.seal().expect("sealed once");
    let frame = 4096 + 256 * u64::from(*size);
    let mut ours = Negentropy::owned(storage, frame).expect("a frame of 4096 bytes or more");
    for message in messages.split(|byte| *byte == 0xff) {
        if let Ok(answer) = ours.reconcile(message) {
            assert!(answer.len() as u64 <= frame + 1024, "an answer is bounded");
        }
    }
}

/// What a sandbox sends to the multiplexer.
pub fn mux(data: &[u8]) {
    alone(async {
        let (ours, theirs) = tokio::io::duplex(4096);
        let (driver, mut streams) = Driver::new(ours, Tail::default());
        let closing = CancellationToken::new();
        let running = driver.run(closing.clone());
        let serve = async {
            while let Some(mut stream) = streams.http.recv().await {
                let mut buffer = [0; 512];
                while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {
                    // Whoever asked may be gone.
                    drop(stream.write_all(b"x").await);
                }
            }
        };
        let fed = feed(theirs, data);
        tokio::join!(running, serve, fed);
    });
}

/// Sends bytes in pieces, and hears what is answered until the other side ends.
async fn feed(stream: tokio::io::DuplexStream, data: &[u8]) {
    let (mut read, mut write) = tokio::io::split(stream);
    let send = async move {
        for chunk in data.chunks(997) {
            if write.write_all(chunk).await.is_err() {
                break;
            }
        }
        // The other side may have closed first.
        drop(write.shutdown().await);
    };
    let hear = async move {
        let mut sink = [0; 4096];
        while matches!(read.read(&mut sink).await, Ok(count) if count > 0) {}
    };
    tokio::join!(send, hear);
}

/// What an agent says over ACP.
pub fn acp(data: &[u8]) {
    let mut lines = Lines::new(1 << 16);
    let mut split = Lines::new(1 << 16);
    let whole = lines.push(data).is_ok();
    let parts = data.chunks(7).all(|chunk| split.push(chunk).is_ok());
    assert_eq!(whole, parts, "a stream may be cut anywhere");
    while let Some(line) = lines.next_line() {
        assert_eq!(split.next_line().as_ref(), Some(&line));
        if let Ok(value) = serde_json::from_slice::<Value>(&line) {
            let _ = claims::from_update(value.clone());
            let _ = claims::tool(value.clone());
            let _ = jsonrpc::classify(value);
        }
    }
    alone(async {
        let (ours, theirs) = tokio::io::duplex(4096);
        let limits = Limits {
            line_bytes: 1 << 16,
            backlog: 64,
            ..Limits::default()
        };
        let (peer, mut claims) = Peer::connect(ours, Journal::none(), limits);
        let ask = async {
            // Every answer is allowed, and none at all.
            if peer.initialize().await.is_ok()
                && let Ok(session) = peer.new_session("/work", Value::Null).await
            {
                drop(peer.prompt(&session, Vec::new()).await);
            }
            peer.closed().await;
        };
        let listen = async { while claims.recv().await.is_some() {} };
        let fed = feed(theirs, data);
        tokio::join!(ask, listen, fed);
    });
}

/// A text, as an event's and as a search.
pub fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut found = HashSet::new();
    let flow = nip50::words(text, |word| {
        assert!(!word.is_empty() && word.len() <= nip50::MAX_WORD);
        found.insert(word.to_owned());
        ControlFlow::Continue(())
    });
    assert!(flow.is_continue());
    if let Ok(Some(search)) = nip50::Search::parse(text) {
        assert!(search.words().len() <= nip50::MAX_QUERY_WORDS);
        for word in search.words() {
            assert!(
                found.contains(word),
                "{word:?} of a search is in its own text"
            );
        }
    }
    // What is folded stays as it is.
    for word in &found {
        let mut again = HashSet::new();
        let flow = nip50::words(word, |word| {
            again.insert(word.to_owned());
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        assert!(again.contains(word), "{word:?} is folded to {again:?}");
    }
}

/// The headers of a request and of an app's answer, a line each.
pub fn head(data: &[u8]) {
    const HOST: &str = "p1.localhost:4321";
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(&line[..colon]),
            HeaderValue::from_bytes(line[colon + 1..].trim_ascii()),
        ) {
            headers.append(name, value);
        }
    }
    if let Some(event) = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(nip98::read)
    {
        assert!(event.verify().is_ok());
    }
    let _ = relay::single(&headers, HeaderName::from_static("host"));
    let (inward, outward) = preview::passed_on(&headers, HOST, 3000);
    assert_eq!(inward["host"], "localhost:3000");
    let Some(outward) = outward else {
        return;
    };
    assert!(!outward.contains_key("access-control-allow-origin"));
    for cookie in outward.get_all("set-cookie") {
        let text = cookie.to_str().expect("a cookie is text");
        let name = text.split(['=', ';']).next().unwrap_or_default();
        assert!(!name.trim().eq_ignore_ascii_case("__treefort"), "{text}");
    }
    if let Some(location) = outward.get("location") {
        let text = String::from_utf8_lossy(location.as_bytes());
        let here = Url::parse(&format!("http://{HOST}/a/b")).expect("an address");
        let to = here.join(&text).expect("a place of the preview");
        assert_eq!(to.origin(), here.origin(), "{text}");
    }
}

/// Runs until it ends, which it does when its stream ends.
fn alone(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
        .block_on(work);
}
