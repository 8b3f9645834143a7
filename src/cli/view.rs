//! Reading events for people: names, prompts and states, out of tags.

use nostr::{Event, EventId, Filter, Keys, Kind, PublicKey};

use super::text;
use crate::nips::{
    kind,
    nip90::{Scheme, Status},
};

/// The characters of an id that people see.
pub const SHORT: usize = 8;

/// The short name of a session or job: the first characters of its id.
#[must_use]
pub fn short(hex: &str) -> String {
    hex.chars().take(SHORT).collect()
}

/// The tags of a name, as slices.
pub fn tags<'a>(event: &'a Event, name: &'a str) -> impl Iterator<Item = &'a [String]> {
    event
        .tags
        .iter()
        .map(nostr::Tag::as_slice)
        .filter(move |tag| tag.first().is_some_and(|first| first == name))
}

/// The event ids that tags of a name point at.
pub fn ids<'a>(event: &'a Event, name: &'a str) -> impl Iterator<Item = EventId> {
    tags(event, name).filter_map(|tag| EventId::from_hex(tag.get(1)?).ok())
}

/// The public keys in `p` tags.
pub fn people(event: &Event) -> impl Iterator<Item = PublicKey> {
    tags(event, "p").filter_map(|tag| PublicKey::from_hex(tag.get(1)?).ok())
}

/// What a job asks for, as plain text; encrypted jobs say so.
#[must_use]
pub fn prompt(job: &Event) -> String {
    if Scheme::of(job).is_private() {
        return "(private)".to_owned();
    }
    let inputs: Vec<String> = tags(job, "i")
        .filter(|tag| {
            !matches!(
                tag.get(2).map(String::as_str),
                Some("job" | "event" | "url")
            )
        })
        .filter_map(|tag| match tag.get(2).map(String::as_str) {
            // A file is named, not shown.
            Some("blob") => tag.get(4).map(|name| format!("[{}]", text::one_line(name))),
            _ => tag.get(1).map(|input| text::sanitize(input)),
        })
        .collect();
    if inputs.is_empty() {
        text::sanitize(&job.content)
    } else {
        inputs.join("\n")
    }
}

/// What a feedback says: its status, its sentence and its machine word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// One of NIP-90's words.
    pub status: Status,
    /// For people; sanitized, one line, may be empty.
    pub sentence: String,
    /// For programs, on errors.
    pub code: Option<String>,
}

impl Feedback {
    /// Reads a kind 7000; encrypted ones and foreign words are none.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        if event.kind.as_u16() != kind::JOB_FEEDBACK {
            return None;
        }
        let all: Vec<Vec<String>> = event
            .tags
            .iter()
            .map(|tag| tag.as_slice().to_vec())
            .collect();
        Self::said(&all)
    }

    /// As [`Self::of`], also when it is encrypted to `keys`.
    #[must_use]
    pub fn to(event: &Event, keys: &Keys) -> Option<Self> {
        let scheme = Scheme::of(event);
        if event.kind.as_u16() != kind::JOB_FEEDBACK || !scheme.is_private() {
            return Self::of(event);
        }
        Self::said(&scheme.decrypt_tags(keys, event).ok()?)
    }

    fn said(tags: &[Vec<String>]) -> Option<Self> {
        let named = |name: &str| {
            let mut tags = tags.iter();
            tags.find(|tag| tag.first().is_some_and(|first| first == name))
        };
        let status = named("status")?;
        Some(Self {
            status: Status::parse(status.get(1)?)?,
            sentence: status
                .get(2)
                .map(|said| text::one_line(said))
                .unwrap_or_default(),
            code: named("code")
                .and_then(|tag| tag.get(1))
                .map(|code| text::one_line(code)),
        })
    }
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Nobody took it yet.
    Waiting,
    /// An agent is at it.
    Working,
    /// It has its answer.
    Done,
    /// It ended without an answer; why.
    Failed(String),
    /// Its customer withdrew it.
    Cancelled,
}

impl JobState {
    /// The state that the coordinator's answers and the customer's withdrawals add up to.
    ///
    /// A request that its customer withdrew may be gone; the answers are still there. What is encrypted is read with
    /// the customer's `keys`.
    pub fn of<'a>(
        job: Option<&Event>,
        answers: impl IntoIterator<Item = &'a Event>,
        keys: &Keys,
    ) -> Self {
        let mut state = if job.is_some() {
            Self::Waiting
        } else {
            Self::Cancelled
        };
        for event in answers {
            match event.kind.as_u16() {
                kind if kind::JOB_RESULTS.contains(&kind) => return Self::Done,
                kind::DELETION if job.is_some_and(|job| event.pubkey == job.pubkey) => {
                    state = Self::Cancelled
                }
                _ => match Feedback::to(event, keys) {
                    Some(feedback) if feedback.status == Status::Success => return Self::Done,
                    Some(feedback) if feedback.status == Status::Error => {
                        if feedback.code.as_deref() == Some("cancelled") {
                            state = Self::Cancelled;
                        } else if state != Self::Cancelled {
                            state = Self::Failed(feedback.sentence);
                        }
                    }
                    Some(_) if state == Self::Waiting => state = Self::Working,
                    _ => {}
                },
            }
        }
        state
    }
}

/// A filter for one kind.
#[must_use]
pub fn of_kind(kind: u16) -> Filter {
    Filter::new().kind(Kind::from(kind))
}

/// A filter for the records of a session.
#[must_use]
pub fn records(session: PublicKey) -> Filter {
    Filter::new()
        .author(session)
        .kinds((kind::SESSION_START..=kind::SESSION_END).map(Kind::from))
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::nips::Draft;

    fn event(keys: &Keys, draft: &Draft) -> Event {
        draft.sign(keys, 1).unwrap()
    }

    #[test]
    fn a_jobs_state_follows_its_answers() {
        let (customer, provider) = (Keys::generate(), Keys::generate());
        let job = event(&customer, &Draft::new(5050).tag(["i", "hi", "text"]));
        let feedback = |word: &str| {
            event(
                &provider,
                &Draft::new(7000).tag(["status", word, "a\u{1b}[31m"]),
            )
        };
        let (processing, error) = (feedback("processing"), feedback("error"));
        let result = event(&provider, &Draft::new(6050).content("x"));
        let cancel = event(&customer, &Draft::new(5));
        assert_eq!(JobState::of(Some(&job), [], &customer), JobState::Waiting);
        assert_eq!(
            JobState::of(Some(&job), [&processing], &customer),
            JobState::Working
        );
        assert_eq!(
            JobState::of(Some(&job), [&processing, &error], &customer),
            JobState::Failed("a[31m".into())
        );
        assert_eq!(
            JobState::of(Some(&job), [&processing, &cancel, &error], &customer),
            JobState::Cancelled
        );
        assert_eq!(
            JobState::of(Some(&job), [&processing, &result], &customer),
            JobState::Done
        );
    }

    #[test]
    fn that_a_private_job_failed_is_read_with_its_customers_key() {
        let (customer, provider) = (Keys::generate(), Keys::generate());
        let job = event(&customer, &Draft::new(5050).tag(["encrypted"]));
        let said = r#"[["status","error","no model"],["code","no-model"]]"#;
        let hidden = Scheme::Nip44.encrypt(&provider, &customer.public_key(), said);
        let error = Draft::new(7000)
            .tag(["encrypted"])
            .tag(["p", &customer.public_key().to_hex()])
            .content(hidden.unwrap());
        let error = event(&provider, &error);
        let state = JobState::of(Some(&job), [&error], &customer);
        assert_eq!(state, JobState::Failed("no model".into()));
    }

    #[test]
    fn a_private_prompt_stays_private() {
        let job = event(
            &Keys::generate(),
            &Draft::new(5050).tag(["encrypted"]).content("abc?iv=def"),
        );
        assert_eq!(prompt(&job), "(private)");
    }
}
