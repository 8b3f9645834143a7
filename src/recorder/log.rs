//! A session's log: builds, redacts, signs and chains its records.

use std::sync::Arc;

use nostr::{Event, EventId, Keys, PublicKey};
use sha2::{Digest, Sha256};

use super::redact::Redactor;
use crate::nips::{
    Reference,
    draft::SignError,
    session::{
        self, Action, ActionKind, Body, ChainReport, Checkpoint, End, Fault, Outcome, Record, Start,
    },
};

/// The log of one session under its own key.
///
/// Each method returns the next record, signed; the caller publishes them in this order. Those that could not be
/// published are taken back ([`SessionLog::take_back`]), so that the chain has no gap.
#[derive(Debug)]
pub struct SessionLog {
    keys: Keys,
    redactor: Arc<Redactor>,
    relay: String,
    operator: PublicKey,
    root: Option<Reference>,
    start: Option<Reference>,
    prev: Option<EventId>,
    seq: u64,
    counts: ChainReport,
    began: u64,
    latest: u64,
    tokens: u64,
    model: String,
    role: String,
}

/// A signed record, and what did not fit into it.
#[derive(Debug)]
pub struct Entry {
    /// The record.
    pub event: Event,
    /// The whole redacted content, when the record holds only its beginning: a blob to store.
    pub overflow: Option<String>,
}

/// Who a session belongs to and where its records can be read.
#[derive(Debug, Clone)]
pub struct Belonging {
    /// The owner.
    pub operator: PublicKey,
    /// The root job.
    pub root: Option<Reference>,
    /// The address of the relay.
    pub relay: String,
}

impl SessionLog {
    /// A log that has no record yet.
    #[must_use]
    pub fn new(keys: Keys, redactor: Arc<Redactor>, belonging: Belonging) -> Self {
        Self {
            keys,
            redactor,
            relay: belonging.relay,
            operator: belonging.operator,
            root: belonging.root,
            start: None,
            prev: None,
            seq: 0,
            counts: ChainReport::default(),
            began: 0,
            latest: 0,
            tokens: 0,
            model: String::new(),
            role: String::new(),
        }
    }

    /// A log that goes on where stored records end, to close a session that a crash left open. `None` when
    /// there is nothing to close: no start, or an end already.
    #[must_use]
    pub fn resume(
        keys: Keys,
        redactor: Arc<Redactor>,
        belonging: Belonging,
        stored: &[Event],
    ) -> Option<Self> {
        let mut log = Self::new(keys, redactor, belonging);
        let mut records: Vec<(&Event, Record)> = stored
            .iter()
            .filter_map(|event| Some((event, Record::parse(event).ok()?)))
            .collect();
        records.sort_by_key(|(_, record)| record.seq);
        for (event, record) in &records {
            match &record.body {
                Body::Start(start) => {
                    log.start = Some(Reference::to(event, &log.relay));
                    log.root.clone_from(&record.root);
                    log.model.clone_from(&start.model);
                    log.role.clone_from(&start.role);
                    log.began = event.created_at.as_secs();
                }
                Body::End(_) => return None,
                body => log.count(body),
            }
            log.latest = log.latest.max(event.created_at.as_secs());
            log.prev = Some(event.id);
            log.seq = record.seq + 1;
        }
        log.start.is_some().then_some(log)
    }

    /// The session's key.
    #[must_use]
    pub fn session(&self) -> PublicKey {
        self.keys.public_key()
    }

    /// The session's keys, for what it signs beside its records.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The start of the session, once it was written.
    #[must_use]
    pub fn start_reference(&self) -> Option<&Reference> {
        self.start.as_ref()
    }

    /// The next record takes the place of the first of these, which were not published; nothing else was signed
    /// after them.
    pub fn take_back(&mut self, unpublished: &[Event]) {
        for event in unpublished.iter().rev() {
            // What else a session signs is no part of its chain.
            let Ok(record) = Record::parse(event) else {
                continue;
            };
            if event.pubkey != self.session() || record.seq >= self.seq {
                continue;
            }
            let count = match record.body {
                Body::Action(_) => Some(&mut self.counts.actions),
                Body::Checkpoint(_) => Some(&mut self.counts.checkpoints),
                Body::Error(_) => Some(&mut self.counts.errors),
                Body::Start(_) => {
                    self.start = None;
                    None
                }
                Body::End(_) => None,
            };
            if let Some(count) = count {
                *count = count.saturating_sub(1);
            }
            self.seq = record.seq;
            self.prev = record.prev;
        }
    }

    /// Records belong to this job from here on.
    pub fn turn_to(&mut self, job: Reference) {
        self.root = Some(job);
    }

    /// Counts tokens, for the end.
    pub fn spend(&mut self, tokens: u64) {
        self.tokens += tokens;
    }

    /// 4781.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn start(
        &mut self,
        start: Start,
        job: &Reference,
        content: &str,
        now: u64,
    ) -> Result<Entry, SignError> {
        self.began = now;
        self.model.clone_from(&start.model);
        self.role.clone_from(&start.role);
        let alt = match start.provider.as_str() {
            "none" => format!("Session started: {}", start.role),
            provider => format!(
                "Session started: {} on {} ({provider})",
                start.role, start.model
            ),
        };
        let entry = self.sign(Some(job.clone()), Body::Start(start), alt, content, now)?;
        self.start = Some(Reference::to(&entry.event, &self.relay));
        Ok(entry)
    }

    /// 4782.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn action(
        &mut self,
        kind: ActionKind,
        detail: Vec<Vec<String>>,
        alt: String,
        content: &str,
        now: u64,
    ) -> Result<Entry, SignError> {
        self.sign(
            self.start.clone(),
            Body::Action(Action { kind, detail }),
            alt,
            content,
            now,
        )
    }

    /// 4783.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn checkpoint(
        &mut self,
        detail: Vec<Vec<String>>,
        alt: String,
        content: &str,
        now: u64,
    ) -> Result<Entry, SignError> {
        self.sign(
            self.start.clone(),
            Body::Checkpoint(Checkpoint { detail }),
            alt,
            content,
            now,
        )
    }

    /// 4784.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn error(
        &mut self,
        code: &str,
        recoverable: bool,
        content: &str,
        now: u64,
    ) -> Result<Entry, SignError> {
        let fault = Fault {
            operator: Some(self.operator),
            code: code.to_owned(),
            detail: Vec::new(),
            recoverable,
        };
        let alt = format!("Error: {code}");
        self.sign(self.start.clone(), Body::Error(fault), alt, content, now)
    }

    /// 4785. Nothing comes after it.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn end(
        mut self,
        outcome: Outcome,
        ending: &str,
        content: &str,
        now: u64,
    ) -> Result<Entry, SignError> {
        let duration = now.max(self.latest).saturating_sub(self.began);
        let end = End {
            operator: Some(self.operator),
            behavior: None,
            outcome,
            detail: [
                ("ending", ending.to_owned()),
                ("duration_s", duration.to_string()),
                ("actions", self.counts.actions.to_string()),
                ("checkpoints", self.counts.checkpoints.to_string()),
                ("errors", self.counts.errors.to_string()),
                ("tokens", self.tokens.to_string()),
                ("model", self.model.clone()),
                ("role", self.role.clone()),
            ]
            .into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect(),
        };
        let actions = match self.counts.actions {
            1 => "1 action".to_owned(),
            n => format!("{n} actions"),
        };
        let alt = format!(
            "Session ended: {}, {actions}, {duration} s",
            outcome.as_str()
        );
        self.sign(self.start.clone(), Body::End(end), alt, content, now)
    }

    fn sign(
        &mut self,
        parent: Option<Reference>,
        mut body: Body,
        alt: String,
        content: &str,
        now: u64,
    ) -> Result<Entry, SignError> {
        let content = self.redactor.redact(content).into_owned();
        let (content, overflow) = cap(content, &mut body);
        self.redact_detail(&mut body);
        let record = Record {
            seq: self.seq,
            prev: self.prev,
            parent,
            root: self.root.clone(),
            recipe: None,
            body,
            alt: Some(self.redactor.redact(&alt).into_owned()),
            content,
        };
        // The chain's order is `seq`; times never run backwards beside it, whatever the clock does.
        self.latest = self.latest.max(now);
        let event = record.draft().sign(&self.keys, self.latest)?;
        self.count(&record.body);
        self.seq += 1;
        self.prev = Some(event.id);
        Ok(Entry { event, overflow })
    }

    fn redact_detail(&self, body: &mut Body) {
        let detail = match body {
            Body::Action(action) => &mut action.detail,
            Body::Checkpoint(checkpoint) => &mut checkpoint.detail,
            Body::Error(fault) => &mut fault.detail,
            Body::Start(start) => &mut start.extra,
            Body::End(_) => return,
        };
        for value in detail.iter_mut().flatten() {
            if let std::borrow::Cow::Owned(clean) = self.redactor.redact(value) {
                *value = clean;
            }
        }
    }

    fn count(&mut self, body: &Body) {
        match body {
            Body::Action(_) => self.counts.actions += 1,
            Body::Checkpoint(_) => self.counts.checkpoints += 1,
            Body::Error(_) => self.counts.errors += 1,
            Body::Start(_) | Body::End(_) => {}
        }
    }
}

/// Cuts content at the bound and names the whole by size and hash.
fn cap(content: String, body: &mut Body) -> (String, Option<String>) {
    if content.len() <= session::MAX_CONTENT {
        return (content, None);
    }
    let tag = vec![
        "truncated".to_owned(),
        content.len().to_string(),
        hex::encode(Sha256::digest(&content)),
    ];
    match body {
        Body::Action(action) => action.detail.push(tag),
        Body::Checkpoint(checkpoint) => checkpoint.detail.push(tag),
        Body::Error(fault) => fault.detail.push(tag),
        Body::Start(start) => start.extra.push(tag),
        Body::End(end) => end.detail.push(tag),
    }
    let cut = content.floor_char_boundary(session::MAX_CONTENT);
    (content[..cut].to_owned(), Some(content))
}

#[cfg(test)]
mod tests;
