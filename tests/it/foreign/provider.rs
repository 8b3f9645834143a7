//! A provider and its relay in a hundred lines, right or wrong on purpose.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use nostr::{
    Event, JsonUtil, Keys, PublicKey, Timestamp,
    nips::{nip04, nip44},
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::AbortOnDropHandle;
use treefort::nips::Draft;

/// What the provider does wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    None,
    /// The feedback of an encrypted job is a sentence and no array of tags.
    BareText,
    /// Another event is the first `e`.
    OtherJobFirst,
    /// `request` is not what was signed.
    OtherRequest,
    /// No fault: the job is refused.
    Refuses,
}

/// A running provider; dropping it ends it.
pub(super) struct Provider {
    address: SocketAddr,
    keys: Keys,
    _task: AbortOnDropHandle<()>,
}

impl Provider {
    pub(super) async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let keys = Keys::generate();
        let task = tokio::spawn(accept(listener, keys.clone(), fault));
        Self {
            address,
            keys,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub(super) fn public_key(&self) -> PublicKey {
        self.keys.public_key()
    }
}

async fn accept(listener: TcpListener, keys: Keys, fault: Fault) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, keys.clone(), fault));
    }
}

/// One customer with one subscription and one job, in whatever order they come.
async fn serve(stream: TcpStream, keys: Keys, fault: Fault) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let (mut subscription, mut job) = (None, None);
    while let Some(Ok(message)) = socket.next().await {
        let Ok(text) = message.into_text() else {
            continue;
        };
        let Ok(Value::Array(frame)) = serde_json::from_str(&text) else {
            continue;
        };
        let reply = match frame[0].as_str() {
            Some("REQ") => {
                subscription = Some(frame[1].clone());
                json!(["EOSE", frame[1]])
            }
            Some("EVENT") => {
                job = Some(Event::from_json(frame[1].to_string()).unwrap());
                json!(["OK", frame[1]["id"], true, ""])
            }
            _ => continue,
        };
        let mut frames = vec![reply];
        if let (Some(subscription), Some(job)) =
            (&subscription, job.take_if(|_| subscription.is_some()))
        {
            for answer in answers(&job, &keys, fault) {
                let answer: Value = serde_json::from_str(&answer.as_json()).unwrap();
                frames.push(json!(["EVENT", subscription, answer]));
            }
        }
        for frame in frames {
            if socket.send(Message::text(frame.to_string())).await.is_err() {
                return;
            }
        }
    }
}

fn answers(job: &Event, keys: &Keys, fault: Fault) -> Vec<Event> {
    let encrypted = job.tags.iter().any(|tag| tag.as_slice()[0] == "encrypted");
    let legacy = job.content.contains("?iv=");
    let (secret, peer) = (keys.secret_key(), &job.pubkey);
    let decrypt = || match (encrypted, legacy) {
        (false, _) => serde_json::to_string(&job.tags).unwrap(),
        (true, true) => nip04::decrypt(secret, peer, &job.content).unwrap(),
        (true, false) => nip44::decrypt(secret, peer, &job.content).unwrap(),
    };
    let encrypt = |text: &str| match (encrypted, legacy) {
        (false, _) => text.to_owned(),
        (true, true) => nip04::encrypt(secret, peer, text).unwrap(),
        (true, false) => nip44::encrypt(secret, peer, text, nip44::Version::V2).unwrap(),
    };
    let tags: Vec<Vec<String>> = serde_json::from_str(&decrypt()).unwrap();
    let prompt = &tags.iter().find(|tag| tag[0] == "i").unwrap()[1];

    let mut addressed = vec![vec!["e".to_owned(), job.id.to_hex()]];
    if matches!(fault, Fault::OtherJobFirst) {
        addressed.insert(0, vec!["e".to_owned(), "ab".repeat(32)]);
    }
    addressed.push(vec!["p".to_owned(), job.pubkey.to_hex()]);
    addressed.extend(encrypted.then(|| vec!["encrypted".to_owned()]));

    let feedback = |status: &str, code: Option<&str>| {
        let mut said = vec![vec!["status".to_owned(), status.to_owned()]];
        said.extend(code.map(|code| vec!["code".to_owned(), code.to_owned()]));
        let draft = Draft::new(7000).tags(addressed.clone());
        match (encrypted, fault) {
            (false, _) => draft.tags(said),
            (true, Fault::BareText) => draft.content(encrypt("at work")),
            (true, _) => draft.content(encrypt(&json!(said).to_string())),
        }
    };
    let request = match fault {
        Fault::OtherRequest => job.as_json().replace("Hello", "Goodbye"),
        _ => job.as_json(),
    };
    let result = Draft::new(job.kind.as_u16() + 1000)
        .tags(addressed.clone())
        .tag(["request", &request])
        .content(encrypt(&format!("You said: {prompt}")));
    // The way in which a broken customer is noticed must not depend on its patience.
    let last = match fault {
        Fault::BareText => Draft::new(7000)
            .tags(
                addressed
                    .iter()
                    .filter(|tag| tag[0] != "encrypted")
                    .cloned(),
            )
            .tag(["status", "success"]),
        _ => feedback("success", None),
    };
    let drafts = match fault {
        Fault::Refuses => vec![feedback("error", Some("input"))],
        _ => vec![feedback("processing", None), result, last],
    };
    let now = Timestamp::now().as_secs();
    drafts
        .iter()
        .map(|draft| draft.sign(keys, now).unwrap())
        .collect()
}
