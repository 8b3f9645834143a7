//! A session as something to hand on: lines of JSON, or one HTML file that shows the session and checks its signatures
//! in the browser of whoever opens it.
//!
//! [`Bundle::of`] chooses what belongs to one session and leaves out what nobody else is to read; [`Bundle::lines`] and
//! [`Bundle::html`] write it. The viewer is built from `src/web/page/src/share` and asks nothing of any network. What a
//! file holds is read back by [`record_of`].

use std::collections::{BTreeMap, BTreeSet};

use nostr::{Event, EventId, PublicKey, Tag};
use serde::{Deserialize, Serialize};

use crate::{
    nips::{
        kind,
        nip90::{Scheme, Status},
        session::{Body, Record},
    },
    recorder::Redactor,
};

/// The viewer, with places for the title and the record.
const VIEWER: &str = include_str!("assets/share.html");
const TITLE: &str = "{{TITLE}}";
const RECORD: &str = "{{RECORD}}";
/// The line before the record, and the one after it.
const BEGIN: &str = "<script type=\"application/jsonl\" id=\"record\">";
const END: &str = "</script>";
/// The most characters of a title.
const TITLE_CHARS: usize = 80;

/// Why a session cannot be handed on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShareError {
    /// There is no start of this session.
    #[error("there is no record of this session")]
    NoSession,
    /// A signed record cannot be changed any more.
    #[error(
        "step {0} of this session holds what is known to be a secret by now. It was signed before that, so it cannot be cut out, and the session is not written"
    )]
    Secret(u64),
}

/// What is handed on of one session.
#[derive(Debug)]
pub struct Bundle {
    /// The session.
    pub session: PublicKey,
    /// Its records, and what was signed around them, in the order in which it happened.
    pub events: Vec<Event>,
    /// Whether its job was private, so that only its records are here, which say nothing of the words.
    pub private: bool,
    /// Requests, answers and names that were left out because they hold a secret.
    pub left_out: usize,
    /// What encrypted events say, where the owner wants it to be known. Nobody signed it in this form.
    pub words: Vec<Words>,
    /// Encrypted requests and answers of a private job.
    hidden: Vec<Event>,
    title: String,
}

/// What an encrypted event says: a request its tags, a result its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// The event.
    pub of: EventId,
    /// Its content in the clear.
    pub plain: String,
}

impl Bundle {
    /// Chooses from events what belongs to a session: its records, the jobs that it did with their answers, and the
    /// names of those who signed these. Of a private job only the records. Nothing of another session.
    ///
    /// # Errors
    /// When the session is not there, or a record holds what must not get out.
    pub fn of(
        session: PublicKey,
        events: impl IntoIterator<Item = Event>,
        redactor: &Redactor,
    ) -> Result<Self, ShareError> {
        let events: BTreeMap<EventId, Event> =
            events.into_iter().map(|event| (event.id, event)).collect();
        let belonging = Belonging::of(session, events.values())?;
        let (mut kept, mut hidden, mut left_out) = (Vec::new(), Vec::new(), 0);
        let mut signers = BTreeSet::new();
        for event in events.values().filter(|event| belonging.holds(event)) {
            if belonging.private && !is_record(event) {
                hidden.push(event.clone());
            } else if !holds_secret(event, redactor) {
                signers.insert(event.pubkey);
                kept.push(event.clone());
            } else if is_record(event) {
                return Err(ShareError::Secret(seq(event)));
            } else {
                left_out += 1;
            }
        }
        for event in events.values() {
            let profile = event.kind.as_u16() == kind::PROFILE && signers.contains(&event.pubkey);
            if profile && !holds_secret(event, redactor) {
                kept.push(event.clone());
            }
        }
        kept.sort_by_key(|event| (event.created_at, rank(event), seq(event), event.id));
        let title = if belonging.private {
            "A private session".to_owned()
        } else {
            title(&kept).unwrap_or_else(|| "A session".to_owned())
        };
        Ok(Self {
            session,
            events: kept,
            private: belonging.private,
            left_out,
            words: Vec::new(),
            hidden,
            title,
        })
    }

    /// Adds to a private session what was asked and answered, because its owner wants others to read it. `read`
    /// decrypts what it can.
    #[must_use]
    pub fn with_words(
        mut self,
        redactor: &Redactor,
        read: impl Fn(&Event) -> Option<String>,
    ) -> Self {
        for event in std::mem::take(&mut self.hidden) {
            // Feedback says what the record does.
            let talk = event.kind.as_u16() != kind::JOB_FEEDBACK;
            if let Some(plain) = read(&event).filter(|_| talk) {
                let plain = redactor.redact(&plain).into_owned();
                let of = event.id;
                self.words.push(Words { of, plain });
                self.events.push(event);
            }
        }
        self.events
            .sort_by_key(|event| (event.created_at, rank(event), seq(event), event.id));
        self
    }

    /// JSON Lines: each event as it was signed, and after them the words that the owner added.
    #[must_use]
    pub fn lines(&self) -> String {
        use nostr::JsonUtil as _;
        let words = self.words.iter();
        let words = words.filter_map(|words| serde_json::to_string(words).ok());
        let events = self.events.iter().map(Event::as_json);
        events
            .chain(words)
            .flat_map(|line| [line, "\n".to_owned()])
            .collect()
    }

    /// One HTML file that needs nothing else.
    #[must_use]
    pub fn html(&self) -> String {
        let title = format!("{} · treefort", self.title);
        let (head, rest) = VIEWER.split_once(TITLE).unwrap_or((VIEWER, ""));
        let (middle, tail) = rest.split_once(RECORD).unwrap_or((rest, ""));
        let record = inside_html(self.lines().trim_end());
        [head, &escape(&title), middle, &record, tail].concat()
    }
}

/// The record in a shared HTML file, and whether the page around it is the one that this program writes. `None` when
/// there is no record.
#[must_use]
pub fn record_of(html: &str) -> Option<(&str, bool)> {
    let (before, rest) = html.split_once(&format!("{BEGIN}\n"))?;
    let (record, after) = rest.split_once(END)?;
    let (head, middle) = VIEWER.split_once(TITLE)?;
    let (middle, tail) = middle.split_once(RECORD)?;
    let middle = middle.trim_end().strip_suffix(BEGIN)?;
    let tail = tail.trim_start().strip_prefix(END)?;
    let title = before
        .strip_prefix(head)
        .and_then(|rest| rest.strip_suffix(middle));
    // What could be more than a title is a change of the page, and we write no `<` into a record: a browser ends the
    // element at more than the one form of its end that is looked for here.
    let ours =
        title.is_some_and(|title| !title.contains('<')) && !record.contains('<') && after == tail;
    Some((record.trim(), ours))
}

/// Whether a file begins as an HTML page does.
#[must_use]
pub fn is_html(begin: &str) -> bool {
    let begin = begin.trim_start_matches('\u{feff}').trim_start();
    begin
        .get(..9)
        .is_some_and(|word| word.eq_ignore_ascii_case("<!doctype"))
}

/// What belongs to a session.
struct Belonging {
    session: PublicKey,
    /// Who handed it its jobs.
    coordinator: Option<PublicKey>,
    /// Its jobs, as their customers asked for them.
    jobs: BTreeSet<EventId>,
    private: bool,
}

impl Belonging {
    fn of<'a>(
        session: PublicKey,
        events: impl Iterator<Item = &'a Event> + Clone,
    ) -> Result<Self, ShareError> {
        let mut jobs = BTreeSet::new();
        let mut coordinator = None;
        let mut private = false;
        let mut begun = false;
        let records = events.clone().filter(|event| event.pubkey == session);
        for (event, record) in records.filter_map(|event| Some((event, Record::parse(event).ok()?)))
        {
            jobs.extend(record.root.as_ref().map(|root| root.id));
            if let Body::Start(_) = record.body {
                begun = true;
                coordinator = record.parent.as_ref().and_then(|parent| parent.author);
            }
            private |= names(event, "withheld").next().is_some();
        }
        if !begun {
            return Err(ShareError::NoSession);
        }
        private |= events
            .filter(|event| jobs.contains(&event.id) || mentions(event, "E", &jobs))
            .any(|event| event.pubkey != session && Scheme::of(event).is_private());
        Ok(Self {
            session,
            coordinator,
            jobs,
            private,
        })
    }

    fn holds(&self, event: &Event) -> bool {
        if is_record(event) {
            return event.pubkey == self.session;
        }
        let number = event.kind.as_u16();
        let (by_coordinator, by_session) = (
            self.coordinator == Some(event.pubkey),
            event.pubkey == self.session,
        );
        let request = kind::JOB_REQUESTS.contains(&number);
        let result = kind::JOB_RESULTS.contains(&number);
        // The jobs themselves.
        if self.jobs.contains(&event.id) {
            return request;
        }
        // What the coordinator handed on to this session, and what that answered.
        if mentions(event, "E", &self.jobs) {
            let to_session = names(event, "p").any(|key| *key == self.session.to_hex());
            return (request && by_coordinator && to_session) || (result && by_session);
        }
        // What the coordinator answered to whoever asked.
        let answer = result || number == kind::JOB_FEEDBACK;
        by_coordinator && answer && first(event, "e").is_some_and(|id| self.jobs.contains(&id))
    }
}

/// How many of these events have nothing to do with a session among them, by what its records say: anybody can have put
/// them in.
#[must_use]
pub fn strays(events: &[Event]) -> usize {
    let starts = events
        .iter()
        .filter(|event| event.kind.as_u16() == kind::SESSION_START);
    let sessions: BTreeSet<PublicKey> = starts.map(|event| event.pubkey).collect();
    let belongings: Vec<Belonging> = sessions
        .into_iter()
        .filter_map(|session| Belonging::of(session, events.iter()).ok())
        .collect();
    let held = |event: &Event| belongings.iter().any(|belonging| belonging.holds(event));
    let signers: BTreeSet<PublicKey> = events
        .iter()
        .filter(|event| held(event))
        .map(|event| event.pubkey)
        .collect();
    let stray = |event: &&Event| !held(event) && !signers.contains(&event.pubkey);
    events.iter().filter(stray).count()
}

fn is_record(event: &Event) -> bool {
    (kind::SESSION_START..=kind::SESSION_END).contains(&event.kind.as_u16())
}

fn seq(event: &Event) -> u64 {
    names(event, "seq")
        .next()
        .and_then(|seq| seq.parse().ok())
        .unwrap_or(0)
}

/// Within one second: who is who, what was asked, what was done, what was answered.
fn rank(event: &Event) -> u8 {
    let over = || names(event, "status").any(|word| Status::parse(word) == Some(Status::Success));
    match event.kind.as_u16() {
        kind::PROFILE => 0,
        number if kind::JOB_REQUESTS.contains(&number) => 1,
        kind::JOB_FEEDBACK if over() => 6,
        kind::JOB_FEEDBACK => 2,
        kind::SESSION_START..=kind::SESSION_END => 3,
        number if kind::JOB_RESULTS.contains(&number) => 4,
        _ => 5,
    }
}

/// The first values of all tags of a name.
fn names<'a>(event: &'a Event, name: &'a str) -> impl Iterator<Item = &'a String> {
    event
        .tags
        .iter()
        .map(Tag::as_slice)
        .filter(move |tag| tag.first().is_some_and(|first| first == name))
        .filter_map(|tag| tag.get(1))
}

fn first(event: &Event, name: &str) -> Option<EventId> {
    EventId::from_hex(names(event, name).next()?).ok()
}

fn mentions(event: &Event, name: &str, ids: &BTreeSet<EventId>) -> bool {
    names(event, name).any(|id| EventId::from_hex(id).is_ok_and(|id| ids.contains(&id)))
}

/// Whether something in an event is known to be a secret. What others signed was not redacted by us.
fn holds_secret(event: &Event, redactor: &Redactor) -> bool {
    let secret = |text: &str| redactor.redact(text) != text;
    // Ciphertext is nobody's to read.
    if Scheme::of(event).is_private() {
        return false;
    }
    let mut values = event
        .tags
        .iter()
        .flat_map(|tag| tag.as_slice().iter().skip(1));
    secret(&event.content) || values.any(|value| secret(value))
}

/// The beginning of what was asked for.
fn title(events: &[Event]) -> Option<String> {
    let asked = events
        .iter()
        .find(|event| kind::JOB_REQUESTS.contains(&event.kind.as_u16()))?;
    let text = names(asked, "i").next().unwrap_or(&asked.content);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let mut title: String = line
        .chars()
        .filter(|c| !c.is_control())
        .take(TITLE_CHARS)
        .collect();
    if line.chars().count() > TITLE_CHARS {
        title.push('…');
    }
    (!title.is_empty()).then_some(title)
}

/// Text between tags.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// JSON between tags: the same JSON, without a character that could end the element. In JSON such characters stand
/// in strings only.
fn inside_html(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests;
