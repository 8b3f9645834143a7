//! What a relay has already: asked before anything is sent, so that what left before a crash does not leave again.
//!
//! By NIP-77 when the relay knows it, else by asking for the ids. One that does not let itself be asked, or does not answer,
//! is sent to all the same: it knows an event that it has.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::{Event, EventId, JsonUtil as _};
use serde_json::json;
use tokio::time::Instant;

use super::{
    talk::{Ended, PATIENCE, Talk},
    wire::{Dialler, Heard},
};
use crate::store::state::sync::Entry;

/// Ids that are asked for at once: relays allow no more than a few hundred.
const ASKED: usize = 200;
/// Events that are reconciled at once.
const RECONCILED: usize = 10_000;
/// Bytes of one message of NIP-77.
const FRAME: u64 = 60_000;
/// Messages of one reconciliation; every one of them narrows it down.
const ROUNDS: usize = 500;
/// Authors that one filter names.
const AUTHORS: usize = 200;
/// How a relay let itself be asked is remembered for so long.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// After so many questions in a row without an answer there are no more; one may have been lost with its connection.
const SILENCES: u32 = 2;

/// How a relay lets itself be asked, as far as that is known.
#[derive(Debug, Default)]
pub(super) struct Way {
    by: Option<(By, Instant)>,
    silences: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// NIP-77.
    Reconciling,
    /// For ids.
    Ids,
    /// It leaves questions unanswered.
    Nothing,
}

impl Way {
    fn known(&self) -> Option<By> {
        let (by, since) = self.by?;
        (since.elapsed() < REMEMBERED).then_some(by)
    }

    fn is(&mut self, by: By) {
        self.by = Some((by, Instant::now()));
        self.silences = 0;
    }

    async fn by(&mut self, talk: &Talk<'_>, dialler: &Dialler) -> By {
        if let Some(by) = self.known() {
            return by;
        }
        let by = match dialler.knows(&talk.link.url, talk.link.by, 77).await {
            true => By::Reconciling,
            false => By::Ids,
        };
        self.is(by);
        by
    }

    /// How many events are best asked for at once: so many are known before the first of them leaves.
    pub(super) async fn at_once(&mut self, talk: &Talk<'_>, dialler: &Dialler) -> usize {
        match self.by(talk, dialler).await {
            By::Ids => ASKED,
            By::Reconciling | By::Nothing => RECONCILED,
        }
    }

    /// Finds out which of these events the relay has, or begins to: then it is known once the question is answered, and what
    /// was asked for is all that it is about.
    pub(super) async fn of(
        &mut self,
        talk: &mut Talk<'_>,
        dialler: &Dialler,
        mut waiting: Vec<(u64, Entry)>,
    ) -> Result<Found, Ended> {
        if self.by(talk, dialler).await == By::Reconciling {
            // However it fails, also by silence or by hanging up, it is asked for ids next.
            self.is(By::Ids);
            match reconcile(talk, &waiting).await {
                Ok(Some(there)) => {
                    self.is(By::Reconciling);
                    return Ok(Found::Known(waiting, there));
                }
                Ok(None) => {}
                Err(ended) => {
                    self.silences = u32::from(matches!(ended, Ended::Slow));
                    return Err(ended);
                }
            }
        }
        if self.known() == Some(By::Nothing) {
            return Ok(Found::Known(waiting, HashSet::new()));
        }
        waiting.truncate(ASKED);
        let ids: Vec<EventId> = waiting.iter().map(|(_, entry)| entry.id).collect();
        Ok(Found::Asked(waiting, Question::ask(talk, &ids)?))
    }

    /// Asks for ids and waits; nothing when the relay does not answer such questions.
    pub(super) async fn ask(
        &mut self,
        talk: &mut Talk<'_>,
        ids: &[EventId],
    ) -> Result<Option<HashSet<EventId>>, Ended> {
        if self.known() == Some(By::Nothing) {
            return Ok(None);
        }
        let mut question = Question::ask(talk, ids)?;
        loop {
            let heard = match talk.hear_until(question.until()).await {
                Err(Ended::Slow) => return Err(self.silent()),
                heard => heard?,
            };
            match question.hear(talk, heard)? {
                Reply::Known(found) => {
                    self.answered();
                    return Ok(found);
                }
                Reply::Nothing => {}
                Reply::Else(Heard::Alive) if talk.is_known() => question.repeat(talk)?,
                Reply::Else(Heard::Alive) => {}
                Reply::Else(other) => talk.set_aside(other)?,
            }
        }
    }

    /// A question was answered.
    pub(super) fn answered(&mut self) {
        self.silences = 0;
    }

    /// A question was not answered in time; that ends the conversation.
    pub(super) fn silent(&mut self) -> Ended {
        self.silences += 1;
        if self.silences >= SILENCES {
            tracing::debug!("the relay leaves questions unanswered; it is sent to without");
            self.is(By::Nothing);
        }
        Ended::Slow
    }
}

/// What is known of rows.
pub(super) enum Found {
    /// Which of them the relay has.
    Known(Vec<(u64, Entry)>, HashSet<EventId>),
    /// It was asked.
    Asked(Vec<(u64, Entry)>, Question),
}

/// A question for ids that is under way.
pub(super) struct Question {
    name: String,
    wanted: HashSet<EventId>,
    found: HashSet<EventId>,
    until: Instant,
    /// It was not answered to somebody unknown, and is asked again when the relay knows who asks.
    unknown: bool,
}

/// What a message says to a question.
pub(super) enum Reply {
    /// What the relay has; nothing when it does not answer such questions.
    Known(Option<HashSet<EventId>>),
    /// It is for the question, which is still open.
    Nothing,
    /// It is for somebody else.
    Else(Heard),
}

impl Question {
    fn ask(talk: &mut Talk<'_>, ids: &[EventId]) -> Result<Self, Ended> {
        let mut question = Self {
            name: String::new(),
            wanted: ids.iter().copied().collect(),
            found: HashSet::new(),
            until: Instant::now(),
            unknown: false,
        };
        question.say(talk)?;
        Ok(question)
    }

    fn say(&mut self, talk: &mut Talk<'_>) -> Result<(), Ended> {
        self.name = talk.name("ids");
        self.until = Instant::now() + PATIENCE;
        let filter = json!({"ids": self.wanted, "limit": self.wanted.len()});
        talk.request(&self.name, &[filter])
    }

    /// Asks again if the relay wanted to know who asks.
    pub(super) fn repeat(&mut self, talk: &mut Talk<'_>) -> Result<(), Ended> {
        if std::mem::take(&mut self.unknown) {
            self.say(talk)?;
        }
        Ok(())
    }

    /// When the relay has to have said something more.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Takes in a message.
    pub(super) fn hear(&mut self, talk: &mut Talk<'_>, heard: Heard) -> Result<Reply, Ended> {
        match heard {
            Heard::Event(of, json) if of == self.name => {
                // Only whoever has the event can show one that verifies.
                if let Ok(event) = Event::from_json(&json)
                    && self.wanted.contains(&event.id)
                    && !self.found.contains(&event.id)
                    && event.verify().is_ok()
                {
                    self.found.insert(event.id);
                    self.until = Instant::now() + PATIENCE;
                } else {
                    talk.bear(json.len())?;
                }
                Ok(Reply::Nothing)
            }
            Heard::EndOfStored(of) if of == self.name => {
                talk.close(&self.name)?;
                Ok(Reply::Known(Some(std::mem::take(&mut self.found))))
            }
            Heard::Closed(of, words) if of == self.name => {
                if words.starts_with("auth-required:") && !talk.is_known() && !self.unknown {
                    self.unknown = true;
                    talk.asked_who()?;
                    return Ok(Reply::Nothing);
                }
                tracing::debug!(words, "the relay does not say what it has");
                Ok(Reply::Known(None))
            }
            other => Ok(Reply::Else(other)),
        }
    }
}

/// Which of these events a relay has, by NIP-77; nothing when it did not work out.
async fn reconcile(
    talk: &mut Talk<'_>,
    waiting: &[(u64, Entry)],
) -> Result<Option<HashSet<EventId>>, Ended> {
    let name = talk.name("neg");
    let there = narrow_down(talk, &name, waiting).await;
    talk.end(&name);
    there
}

async fn narrow_down(
    talk: &mut Talk<'_>,
    name: &str,
    waiting: &[(u64, Entry)],
) -> Result<Option<HashSet<EventId>>, Ended> {
    let mut storage = NegentropyStorageVector::with_capacity(waiting.len());
    let mut ids = HashSet::with_capacity(waiting.len());
    for (_, entry) in waiting {
        if ids.insert(entry.id)
            && let Err(error) =
                storage.insert(entry.created_at, Id::from_byte_array(entry.id.to_bytes()))
        {
            tracing::debug!(%error, "a row cannot be reconciled");
            return Ok(None);
        }
    }
    let begun = storage
        .seal()
        .and_then(|()| Negentropy::owned(storage, FRAME))
        .and_then(|mut ours| ours.initiate().map(|first| (ours, first)));
    let Ok((mut ours, first)) = begun else {
        return Ok(None);
    };
    talk.say(json!(["NEG-OPEN", name, filter(waiting), hex::encode(first)]).to_string())?;
    let mut missing: HashSet<EventId> = HashSet::new();
    let (mut rounds, mut until) = (0, Instant::now() + PATIENCE);
    while rounds < ROUNDS {
        let said = match talk.hear_until(until).await? {
            Heard::Negentropy(of, said) if of == name => said,
            Heard::NegentropyError(of, words) | Heard::Closed(of, words) if of == name => {
                tracing::debug!(words, "the relay does not reconcile");
                return Ok(None);
            }
            Heard::Alive => continue,
            other => {
                talk.set_aside(other)?;
                continue;
            }
        };
        rounds += 1;
        until = Instant::now() + PATIENCE;
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let next = hex::decode(said)
            .ok()
            .and_then(|said| ours.reconcile_with_ids(&said, &mut have, &mut need).ok());
        let Some(next) = next else {
            tracing::debug!("the relay reconciles in a way that makes no sense");
            let _ended = talk.say(json!(["NEG-CLOSE", name]).to_string());
            return Ok(None);
        };
        missing.extend(
            have.iter()
                .map(|id| EventId::from_byte_array(*id.as_bytes())),
        );
        match next {
            Some(next) => {
                talk.say(json!(["NEG-MSG", name, hex::encode(next)]).to_string())?;
            }
            None => {
                talk.say(json!(["NEG-CLOSE", name]).to_string())?;
                return Ok(Some(ids.difference(&missing).copied().collect()));
            }
        }
    }
    Ok(None)
}

/// All that waits, as narrow as a filter says it.
fn filter(waiting: &[(u64, Entry)]) -> serde_json::Value {
    let kinds: BTreeSet<u16> = waiting.iter().map(|(_, entry)| entry.kind).collect();
    let times = waiting.iter().map(|(_, entry)| entry.created_at);
    let mut filter = json!({
        "kinds": kinds,
        "since": times.clone().min().unwrap_or(0),
        "until": times.max().unwrap_or(0),
    });
    let authors: Option<BTreeSet<String>> = waiting
        .iter()
        .map(|(_, entry)| entry.author.map(|author| author.to_hex()))
        .collect();
    if let Some(authors) = authors.filter(|authors| authors.len() <= AUTHORS) {
        filter["authors"] = json!(authors);
    }
    filter
}
