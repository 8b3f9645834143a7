//! One conversation with a relay: what is said, what is heard, and proving who we are when it asks (NIP-42).

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use nostr::{EventId, JsonUtil as _, Timestamp};
use serde_json::json;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Error, Hub, Link,
    address::NamedBy,
    answer,
    flood::Patience,
    wire::{Dialler, Ear, Heard, WireError},
};
use crate::nips::{Draft, kind};

/// How long a relay may take to answer a question.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Messages that wait for the socket.
const SPOKEN: usize = 512;
/// Messages that are set aside, and bytes of events in them.
const ASIDE: usize = 2000;
const ASIDE_BYTES: usize = 32 << 20;

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The connection.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Something on this side.
    #[error(transparent)]
    Here(#[from] Error),
    /// The relay takes too long.
    #[error("it takes too long to answer")]
    Slow,
    /// The relay does not let us in.
    #[error("it does not let your key in: {0}")]
    NotLetIn(String),
    /// The relay sends more than anybody listens to.
    #[error("it sends too much at once")]
    Flood,
    /// The program stops.
    #[error("stopped")]
    Stopped,
}

/// How far the proof is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// Nobody asked.
    No,
    /// It was asked for, and there is no challenge yet.
    Asked(Instant),
    /// It was given.
    Given(EventId, Instant),
    /// It was accepted.
    Yes,
}

/// See the module.
pub(super) struct Talk<'a> {
    pub(super) hub: &'a Hub,
    pub(super) link: &'a Link,
    mouth: mpsc::Sender<String>,
    ear: Ear,
    _speaking: AbortOnDropHandle<()>,
    challenge: Option<String>,
    proof: Proof,
    subscriptions: u64,
    /// Those that are open: what is said of others is for nobody.
    open: HashSet<String>,
    patience: Patience,
    last_heard: Instant,
    /// What came while somebody waited for something else.
    aside: VecDeque<Heard>,
    aside_bytes: usize,
}

impl<'a> Talk<'a> {
    /// Opens a conversation.
    pub(super) async fn open(
        hub: &'a Hub,
        link: &'a Link,
        dialler: &Dialler,
    ) -> Result<Self, Ended> {
        let (mut mouth, ear) = dialler.open(&link.url, link.by).await?;
        let (sender, mut said) = mpsc::channel::<String>(SPOKEN);
        // The socket may be full while the relay waits for us to read: so one speaks while another hears.
        let speaking = tokio::spawn(async move {
            let mut beat = tokio::time::interval(PATIENCE);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let done = tokio::select! {
                    text = said.recv() => match text {
                        Some(text) => mouth.say(text).await,
                        None => break mouth.close().await,
                    },
                    _ = beat.tick() => mouth.ping().await,
                };
                if done.is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            hub,
            link,
            mouth: sender,
            ear,
            _speaking: AbortOnDropHandle::new(speaking),
            challenge: None,
            proof: Proof::No,
            subscriptions: 0,
            open: HashSet::new(),
            patience: Patience::new(std::time::Instant::now()),
            last_heard: Instant::now(),
            aside: VecDeque::new(),
            aside_bytes: 0,
        })
    }

    /// Says something. To a relay that hung up it is said in vain: what that one said before is heard first, and then that
    /// it is gone.
    pub(super) fn say(&self, text: String) -> Result<(), Ended> {
        match self.mouth.try_send(text) {
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Ended::Slow),
        }
    }

    /// A new name for a subscription, which is open from now on.
    pub(super) fn name(&mut self, what: &str) -> String {
        self.subscriptions += 1;
        let name = format!("{what}{}", self.subscriptions);
        self.open.insert(name.clone());
        name
    }

    /// Keeps a message that is for somebody else.
    pub(super) fn set_aside(&mut self, heard: Heard) -> Result<(), Ended> {
        self.aside_bytes += heard.bytes();
        if self.aside.len() >= ASIDE || self.aside_bytes > ASIDE_BYTES {
            return Err(Ended::Flood);
        }
        self.aside.push_back(heard);
        Ok(())
    }

    /// The next message, those first that were set aside. Cancelling this loses nothing.
    pub(super) async fn next(&mut self) -> Result<Heard, Ended> {
        match self.aside.pop_front() {
            Some(heard) => {
                self.aside_bytes -= heard.bytes();
                Ok(heard)
            }
            None => self.hear().await,
        }
    }

    /// Bears a message of so many bytes that nobody waits for.
    pub(super) fn bear(&mut self, bytes: usize) -> Result<(), Ended> {
        match self.patience.bears(bytes, std::time::Instant::now()) {
            true => Ok(()),
            false => Err(Ended::Flood),
        }
    }

    /// The next message that is not about who we are, and that somebody may wait for. Cancelling this loses nothing.
    pub(super) async fn hear(&mut self) -> Result<Heard, Ended> {
        loop {
            let until = match self.proof {
                Proof::Asked(since) | Proof::Given(_, since) => since + PATIENCE,
                // Pings are answered, if by nothing else.
                Proof::No | Proof::Yes => self.last_heard + PATIENCE * 3,
            };
            let (heard, bytes) = tokio::select! {
                () = self.hub.stop.cancelled() => return Err(Ended::Stopped),
                heard = tokio::time::timeout_at(until, self.ear.hear()) => {
                    heard.map_err(|_| Ended::Slow)??
                }
            };
            self.last_heard = Instant::now();
            let waited_for = match &heard {
                None | Some(Heard::Alive | Heard::Challenge(_) | Heard::Notice(_)) => false,
                // Whether it was under way, the queue knows.
                Some(Heard::Ok(..)) => true,
                Some(
                    Heard::Event(of, _)
                    | Heard::EndOfStored(of)
                    | Heard::Closed(of, _)
                    | Heard::Negentropy(of, _)
                    | Heard::NegentropyError(of, _),
                ) => self.open.contains(of),
            };
            if !waited_for {
                self.bear(bytes)?;
            }
            let Some(heard) = heard else { continue };
            match heard {
                Heard::Alive => return Ok(Heard::Alive),
                _ if !waited_for && !matches!(heard, Heard::Challenge(_) | Heard::Notice(_)) => {}
                Heard::Challenge(challenge) => {
                    self.challenge = Some(challenge);
                    if matches!(self.proof, Proof::Asked(_)) {
                        self.prove()?;
                    }
                }
                Heard::Ok(id, taken, words) => match self.proof {
                    Proof::Given(ours, _) if ours.to_hex() == id => {
                        if !taken {
                            return Err(Ended::NotLetIn(answer::kept(&words)));
                        }
                        self.proof = Proof::Yes;
                        return Ok(Heard::Alive);
                    }
                    _ => return Ok(Heard::Ok(id, taken, words)),
                },
                Heard::Notice(words) => {
                    let words = answer::kept(&words);
                    tracing::debug!(words, "a relay notes");
                    self.link.say(|said| said.notice = Some(words));
                }
                Heard::Closed(of, words) => {
                    self.open.remove(&of);
                    return Ok(Heard::Closed(of, words));
                }
                other => return Ok(other),
            }
        }
    }

    /// The next message, if it comes until then. A relay that only shows that it is alive answers nothing.
    pub(super) async fn hear_until(&mut self, until: Instant) -> Result<Heard, Ended> {
        tokio::time::timeout_at(until, self.hear())
            .await
            .map_err(|_| Ended::Slow)?
    }

    /// The relay wants to know who we are.
    ///
    /// # Errors
    /// When it knows and says so all the same.
    pub(super) fn asked_who(&mut self) -> Result<(), Ended> {
        match self.proof {
            Proof::No => {
                self.proof = Proof::Asked(Instant::now());
                self.prove()
            }
            Proof::Asked(_) | Proof::Given(..) => Ok(()),
            Proof::Yes => Err(Ended::NotLetIn(
                "it asks again after your key was shown".to_owned(),
            )),
        }
    }

    /// Whether the answer to that is still to come.
    pub(super) fn is_proving(&self) -> bool {
        matches!(self.proof, Proof::Asked(_) | Proof::Given(..))
    }

    /// Whether the relay knows who we are.
    pub(super) fn is_known(&self) -> bool {
        self.proof == Proof::Yes
    }

    /// Waits until the relay knows who we are.
    pub(super) async fn until_known(&mut self) -> Result<(), Ended> {
        self.asked_who()?;
        while self.is_proving() {
            // In time: the proof has its own.
            match self.hear().await? {
                Heard::Alive => {}
                other => self.set_aside(other)?,
            }
        }
        Ok(())
    }

    fn prove(&mut self) -> Result<(), Ended> {
        let Some(challenge) = self.challenge.take() else {
            return Ok(());
        };
        let keyring = &self.hub.around.keyring;
        // A relay that others named learns who answers them, which they know, and not who the owner is.
        let keys = match self.link.by {
            NamedBy::Owner => keyring.operator(),
            NamedBy::Other => keyring.coordinator(),
        };
        let event = Draft::new(kind::CLIENT_AUTH)
            .tag(["relay", self.link.url.as_str()])
            .tag(["challenge", &challenge])
            .sign(keys, Timestamp::now().as_secs())
            .map_err(Error::from)?;
        self.proof = Proof::Given(event.id, Instant::now());
        let json = event.as_json();
        self.say(format!(r#"["AUTH",{json}]"#))
    }

    /// `["REQ", subscription, filter…]`
    pub(super) fn request(
        &self,
        subscription: &str,
        filters: &[serde_json::Value],
    ) -> Result<(), Ended> {
        let mut message = vec![json!("REQ"), json!(subscription)];
        message.extend(filters.iter().cloned());
        self.say(json!(message).to_string())
    }

    /// Nothing more is said about it.
    pub(super) fn end(&mut self, subscription: &str) {
        self.open.remove(subscription);
    }

    /// `["CLOSE", subscription]`
    pub(super) fn close(&mut self, subscription: &str) -> Result<(), Ended> {
        self.end(subscription);
        self.say(json!(["CLOSE", subscription]).to_string())
    }
}
