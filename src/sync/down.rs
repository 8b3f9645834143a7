//! What comes from other relays: what is said to us, answers to what was asked of others, jobs for this treefort, and
//! cancellations of those.
//!
//! It enters by the relay's one door, marked with where it came from. A job has to be for this treefort alone, from
//! somebody who is admitted, and fresh: a relay that repeats old ones wakes nobody.

use std::collections::{BTreeSet, VecDeque};

use nostr::{Event, EventId, Filter, JsonUtil as _, Kind, PublicKey, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Error, Hub, Link,
    queue::Queue,
    talk::{Ended, Talk},
    wire::Heard,
};
use crate::{
    keys::Admit,
    nips::{
        kind,
        nip01::{self, first_tag},
        nip40,
        nip90::Scheme,
        reference::named_keys,
    },
    relay::Accepted,
};

/// Kinds that somebody may say to us.
const SAID: [u16; 3] = [kind::NOTE, kind::COMMENT, kind::REACTION];
/// Kinds of jobs that are done for others.
const JOBS: [u16; 2] = [kind::TEXT_GENERATION, kind::AGENT_TASK];
/// Answers to jobs of ours that others do.
const ANSWERS: [u16; 3] = [
    kind::JOB_FEEDBACK,
    kind::TEXT_GENERATION + 1000,
    kind::AGENT_TASK_RESULT,
];
/// Session keys that are listened for, the newest first.
const SESSIONS: usize = 200;
/// Jobs whose cancellation is listened for.
const CANCELLED: usize = 100;
/// People whose lists of relays are listened for.
const SPEAKERS: usize = 100;
/// How far back is asked at the first contact, and how much of what was heard is asked again.
const FIRST: u64 = 30 * 24 * 3600;
const AGAIN: u64 = 24 * 3600;
/// Events that a relay is asked for at once.
const LIMIT: usize = 500;
/// How many events a relay may send: at once, and in a second after that.
const BURST: f64 = 2000.0;
const RATE: f64 = 50.0;
/// How far a job may be ahead of our clock, in seconds.
const AHEAD: u64 = 120;

/// Why something that a relay sent is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwanted {
    #[error("nobody asked for this kind")]
    Kind,
    #[error("this treefort wrote it")]
    Ours,
    #[error("it is not said to anybody here")]
    NotForUs,
    #[error("it is a job that is not for this treefort alone")]
    OtherJob,
    #[error("it is a private job, and its answer could not go back")]
    Private,
    #[error("whoever asks is not admitted")]
    NotAdmitted,
    #[error("it is old, or from the future")]
    Stale,
    #[error("it answers nothing that was asked of its author")]
    NotAsked,
    #[error("it takes back what is not here")]
    Nothing,
    #[error("no stream from this relay takes it")]
    Stream,
}

/// What is listened for on one connection.
pub(super) struct Listening<'a> {
    hub: &'a Hub,
    link: &'a Link,
    on: bool,
    since: u64,
    /// The subscription and the keys that it names.
    open: Option<(String, BTreeSet<PublicKey>)>,
    /// The same for jobs that may be cancelled.
    cancels: Option<(String, VecDeque<EventId>)>,
    /// The newest last.
    jobs: VecDeque<EventId>,
    /// The same for where those read who spoke to us, when what is said to them may go there.
    lists: Option<(String, BTreeSet<PublicKey>)>,
    room: f64,
    counted: Instant,
}

impl<'a> Listening<'a> {
    pub(super) fn new(hub: &'a Hub, link: &'a Link, heard_until: u64) -> Self {
        let now = Timestamp::now().as_secs();
        let since = match heard_until {
            0 => now.saturating_sub(FIRST),
            until => until.min(now).saturating_sub(AGAIN),
        };
        Self {
            hub,
            link,
            on: hub.comes_down(&link.url),
            since,
            open: None,
            cancels: None,
            jobs: VecDeque::new(),
            lists: None,
            room: BURST,
            counted: Instant::now(),
        }
    }

    /// Whether anything is listened for.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Asks for what is for us, again when there are new sessions or jobs.
    pub(super) async fn open(&mut self, talk: &mut Talk<'_>) -> Result<(), Ended> {
        if !self.on {
            return Ok(());
        }
        let keys = self.keys().await?;
        if self.open.as_ref().is_none_or(|(_, known)| *known != keys) {
            let name = match self.open.take() {
                Some((name, _)) => name,
                None => talk.name("in"),
            };
            let now = Timestamp::now().as_secs();
            let fresh = now.saturating_sub(self.hub.max_age_s).max(self.since);
            let said: Vec<u16> = SAID.into_iter().chain(ANSWERS).collect();
            let said =
                json!({"kinds": said, "#p": hexes(&keys), "since": self.since, "limit": LIMIT});
            let jobs = json!({
                "kinds": JOBS,
                "#p": [self.hub.coordinator().to_hex()],
                "since": fresh,
                "limit": LIMIT,
            });
            talk.request(&name, &[said, jobs])?;
            self.open = Some((name, keys));
        }
        if self.cancels.is_none() {
            self.jobs = self.jobs_from_here().await?;
        }
        self.listen_for_cancels(talk)?;
        self.listen_for_lists(talk).await
    }

    /// Asks where those read who spoke to us (NIP-65), if that matters.
    async fn listen_for_lists(&mut self, talk: &mut Talk<'_>) -> Result<(), Ended> {
        if !self.hub.config.named.readers {
            return Ok(());
        }
        let speakers = self.speakers().await?;
        let known = self.lists.as_ref().map(|(_, keys)| keys);
        if speakers.is_empty() || known == Some(&speakers) {
            return Ok(());
        }
        let name = match self.lists.take() {
            Some((name, _)) => name,
            None => talk.name("lists"),
        };
        let filter = json!({"kinds": [kind::RELAY_LIST], "authors": hexes(&speakers)});
        talk.request(&name, &[filter])?;
        self.lists = Some((name, speakers));
        Ok(())
    }

    /// Who asked this treefort or said something to it lately.
    async fn speakers(&self) -> Result<BTreeSet<PublicKey>, Error> {
        let around = &self.hub.around;
        let filter = Filter::new()
            .kinds(SAID.into_iter().chain(JOBS).map(Kind::from))
            .limit(SPEAKERS * 5);
        let mut speakers = BTreeSet::new();
        for event in around.relay.query(filter).await? {
            if speakers.len() < SPEAKERS && !around.is_ours(&event.pubkey)? {
                speakers.insert(event.pubkey);
            }
        }
        Ok(speakers)
    }

    /// Asks for cancellations of the jobs that came from here.
    fn listen_for_cancels(&mut self, talk: &mut Talk<'_>) -> Result<(), Ended> {
        let known = self.cancels.as_ref().map(|(_, jobs)| jobs);
        if self.jobs.is_empty() || known == Some(&self.jobs) {
            return Ok(());
        }
        let name = match self.cancels.take() {
            Some((name, _)) => name,
            None => talk.name("gone"),
        };
        let filter = json!({"kinds": [kind::DELETION], "#e": self.jobs, "limit": LIMIT});
        talk.request(&name, &[filter])?;
        self.cancels = Some((name, self.jobs.clone()));
        Ok(())
    }

    /// The keys that others speak to.
    async fn keys(&self) -> Result<BTreeSet<PublicKey>, Error> {
        let around = &self.hub.around;
        let starts = Filter::new()
            .kind(Kind::from(kind::SESSION_START))
            .limit(SESSIONS);
        let mut keys = BTreeSet::from([
            around.keyring.operator().public_key(),
            around.keyring.coordinator().public_key(),
        ]);
        for start in around.relay.query(starts).await? {
            if around.state.is_session(&start.pubkey)? {
                keys.insert(start.pubkey);
            }
        }
        Ok(keys)
    }

    /// The newest jobs that came from this relay.
    async fn jobs_from_here(&self) -> Result<VecDeque<EventId>, Error> {
        let around = &self.hub.around;
        let filter = Filter::new()
            .kinds(JOBS.map(Kind::from))
            .limit(CANCELLED * 10);
        let mut jobs = VecDeque::new();
        for job in around.relay.query(filter).await? {
            let from = around.state.sync_came_from(&job.id)?;
            if from.as_deref() == Some(self.link.url.as_str()) && jobs.len() < CANCELLED {
                jobs.push_front(job.id);
            }
        }
        Ok(jobs)
    }

    /// Takes in a message, if it is for a subscription of ours.
    pub(super) async fn take(
        &mut self,
        talk: &mut Talk<'_>,
        queue: &mut Queue,
        heard: Heard,
    ) -> Result<(), Ended> {
        let is_ours = |of: &str| {
            let named = |open: Option<&str>| open == Some(of);
            named(self.open.as_ref().map(|(name, _)| name.as_str()))
                || named(self.cancels.as_ref().map(|(name, _)| name.as_str()))
                || named(self.lists.as_ref().map(|(name, _)| name.as_str()))
        };
        match heard {
            Heard::Event(of, json) if is_ours(&of) => {
                self.count()?;
                let Ok(event) = Event::from_json(&json) else {
                    return Ok(());
                };
                self.take_in(talk, queue, event).await
            }
            Heard::Closed(of, words) if is_ours(&of) => {
                if words.starts_with("auth-required:") && !talk.is_known() {
                    talk.until_known().await?;
                    self.open = None;
                    self.cancels = None;
                    self.lists = None;
                    return self.open(talk).await;
                }
                let words = super::answer::kept(&words);
                self.link.say(|said| {
                    said.problem = Some(format!("it does not let itself be listened to: {words}"));
                });
                self.on = false;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn take_in(
        &mut self,
        talk: &mut Talk<'_>,
        queue: &mut Queue,
        event: Event,
    ) -> Result<(), Ended> {
        let (id, at) = (event.id, event.created_at.as_secs());
        let is_job = kind::is_job_request(event.kind);
        let is_list = event.kind.as_u16() == kind::RELAY_LIST;
        if let Err(unwanted) = self.wanted(&event).await? {
            tracing::debug!(%id, %unwanted, "not taken in");
            return Ok(());
        }
        let around = &self.hub.around;
        if event.verify().is_err() {
            return Ok(());
        }
        // The mark is there before anybody sees the event. What is here already came from elsewhere.
        if around.relay.get(id).await.map_err(Error::from)?.is_none() {
            let mark = around.state.sync_mark(&id, self.link.url.as_str());
            mark.map_err(Error::from)?;
        }
        match around.relay.receive(event).await {
            Ok(Accepted::New { .. }) => tracing::debug!(%id, "taken in from a relay"),
            Ok(_) => {}
            Err(rejection) => {
                tracing::debug!(%id, %rejection, "not taken in");
                return Ok(());
            }
        }
        if is_list {
            return Ok(());
        }
        self.listen_for_lists(talk).await?;
        let heard_until = at.min(Timestamp::now().as_secs());
        if heard_until > queue.remembered.heard_until {
            queue.remember(|remembered| remembered.heard_until = heard_until);
        }
        if is_job && !self.jobs.contains(&id) {
            if self.jobs.len() >= CANCELLED {
                self.jobs.pop_front();
            }
            self.jobs.push_back(id);
            self.listen_for_cancels(talk)?;
        }
        Ok(())
    }

    /// Whether an event may come in.
    async fn wanted(&self, event: &Event) -> Result<Result<(), Unwanted>, Error> {
        let around = &self.hub.around;
        let operator = around.keyring.operator().public_key();
        let of = event.kind.as_u16();
        let ours = around.is_ours(&event.pubkey)?;
        if ours && event.pubkey != operator {
            return Ok(Err(Unwanted::Ours));
        }
        let takes = self.hub.config.of(&self.link.url).any(|stream| {
            stream.dir.is_down()
                && (stream.filter.as_ref()).is_none_or(|filter| nip01::matches(filter, event))
        });
        if !takes {
            return Ok(Err(Unwanted::Stream));
        }
        if of == kind::RELAY_LIST {
            let asked = self.lists.as_ref();
            let asked = asked.is_some_and(|(_, keys)| keys.contains(&event.pubkey));
            return Ok(if asked { Ok(()) } else { Err(Unwanted::Kind) });
        }
        if SAID.contains(&of) {
            for key in named_keys(event) {
                if around.is_ours(&key)? {
                    return Ok(Ok(()));
                }
            }
            return Ok(Err(Unwanted::NotForUs));
        }
        if ANSWERS.contains(&of) {
            return self.was_asked(event).await;
        }
        if JOBS.contains(&of) {
            let admission = &self.hub.admission;
            let admitted =
                admission.is_admitted(&event.pubkey) || admission.mode() == Admit::Anyone;
            let now = Timestamp::now().as_secs();
            return Ok(job(
                event,
                self.hub.coordinator(),
                admitted,
                self.hub.max_age_s,
                now,
            ));
        }
        if of == kind::DELETION {
            return self.takes_back(event).await;
        }
        Ok(Err(Unwanted::Kind))
    }

    /// Whether an event answers a job of ours, and whoever signed it is who the job was for.
    async fn was_asked(&self, event: &Event) -> Result<Result<(), Unwanted>, Error> {
        let around = &self.hub.around;
        let named = first_tag(event, "e").and_then(|id| EventId::from_hex(id).ok());
        let job = match named {
            Some(id) => around.relay.get(id).await?,
            None => None,
        };
        let Some(job) = job.filter(|job| kind::is_job_request(job.kind)) else {
            return Ok(Err(Unwanted::NotAsked));
        };
        let asked = around.is_ours(&job.pubkey)? && named_keys(&job).contains(&event.pubkey);
        Ok(if asked {
            Ok(())
        } else {
            Err(Unwanted::NotAsked)
        })
    }

    /// Whether a request to delete takes back jobs that came from other relays, and nothing else: what is here by its
    /// author, the owner's own above all, is not deleted from afar.
    async fn takes_back(&self, event: &Event) -> Result<Result<(), Unwanted>, Error> {
        let around = &self.hub.around;
        let mut any = false;
        for tag in event.tags.iter().map(nostr::Tag::as_slice) {
            match tag[0].as_str() {
                "a" => return Ok(Err(Unwanted::Nothing)),
                "e" => {}
                _ => continue,
            }
            let named = tag.get(1).and_then(|id| EventId::from_hex(id).ok());
            let Some(id) = named else { continue };
            let Some(job) = around.relay.get(id).await? else {
                continue;
            };
            let came = around.state.sync_came_from(&id)?.is_some();
            if !came || !kind::is_job_request(job.kind) || job.pubkey != event.pubkey {
                return Ok(Err(Unwanted::Nothing));
            }
            any = true;
        }
        Ok(if any { Ok(()) } else { Err(Unwanted::Nothing) })
    }

    /// Counts what a relay sends.
    fn count(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        let passed = now.duration_since(self.counted).as_secs_f64();
        self.counted = now;
        self.room = passed.mul_add(RATE, self.room).min(BURST) - 1.0;
        if self.room < 0.0 {
            return Err(Ended::Flood);
        }
        Ok(())
    }
}

/// Whether a job from another relay may come in. It names this treefort and no other one: of two that are asked at once
/// and follow each other, both would do it.
fn job(
    event: &Event,
    coordinator: PublicKey,
    admitted: bool,
    max_age_s: u64,
    now: u64,
) -> Result<(), Unwanted> {
    let named: BTreeSet<PublicKey> = named_keys(event).into_iter().collect();
    if named != BTreeSet::from([coordinator]) {
        return Err(Unwanted::OtherJob);
    }
    if !admitted {
        return Err(Unwanted::NotAdmitted);
    }
    if Scheme::of(event).is_private() {
        return Err(Unwanted::Private);
    }
    let at = event.created_at.as_secs();
    if at.saturating_add(max_age_s) < now
        || at > now.saturating_add(AHEAD)
        || nip40::is_expired(event, now)
    {
        return Err(Unwanted::Stale);
    }
    Ok(())
}

fn hexes(keys: &BTreeSet<PublicKey>) -> Value {
    json!(keys.iter().map(PublicKey::to_hex).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::nips::Draft;

    #[test]
    fn a_job_comes_in_that_is_for_us_alone_and_fresh() {
        let (us, other) = (Keys::generate().public_key(), Keys::generate().public_key());
        let to = |keys: &[&PublicKey]| {
            keys.iter().fold(Draft::new(5050), |draft, key| {
                draft.tag(["p", &key.to_hex()])
            })
        };
        let is = |draft: &Draft, at: u64, admitted: bool| {
            let event = draft.sign(&Keys::generate(), at).unwrap();
            job(&event, us, admitted, 3600, 10_000)
        };
        assert_eq!(is(&to(&[&us]), 9000, true), Ok(()));
        assert_eq!(is(&to(&[&us, &us]), 9000, true), Ok(()));
        for keys in [vec![], vec![&other], vec![&us, &other]] {
            assert_eq!(is(&to(&keys), 9000, true), Err(Unwanted::OtherJob));
        }
        assert_eq!(is(&to(&[&us]), 9000, false), Err(Unwanted::NotAdmitted));
        for at in [6399, 10_121] {
            assert_eq!(is(&to(&[&us]), at, true), Err(Unwanted::Stale));
        }
        let expired = to(&[&us]).tag(["expiration", "9999"]);
        assert_eq!(is(&expired, 9000, true), Err(Unwanted::Stale));
        let private = to(&[&us]).tag(["encrypted"]);
        assert_eq!(is(&private, 9000, true), Err(Unwanted::Private));
    }
}
