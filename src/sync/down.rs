//! What comes from other relays: what is said to us, answers to what was asked of others, jobs for this treefort, and
//! cancellations of those.
//!
//! It enters by the relay's one door, marked with where it came from. A job has to be for this treefort alone, from
//! somebody who is admitted, and fresh: a relay that repeats old ones wakes nobody.

mod wanted;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Instant,
};

use nostr::{Event, EventId, Filter, JsonUtil as _, Kind, PublicKey, Timestamp};
use serde_json::{Value, json};

use super::{
    Error, Hub, Link,
    queue::Queue,
    talk::{Ended, Talk},
    wire::Heard,
};
use crate::{
    bucket::{Limit, Rate},
    nips::kind,
    relay::Accepted,
};

/// Kinds that somebody may say to us.
pub(super) const SAID: [u16; 3] = [kind::NOTE, kind::COMMENT, kind::REACTION];
/// Kinds of jobs that are done for others.
pub(super) const JOBS: [u16; 2] = [kind::TEXT_GENERATION, kind::AGENT_TASK];
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
/// How many events a relay may send.
const SENT: Rate = Rate {
    per_s: 50.0,
    most: 2000.0,
};

/// What is listened for on one connection.
pub(super) struct Listening<'a> {
    hub: &'a Hub,
    link: &'a Link,
    on: bool,
    since: u64,
    /// The time of the newest event that came in, in Unix seconds.
    newest: u64,
    /// Whether all was told that the relay had when it was asked last.
    told: bool,
    /// The subscription and the keys that it names.
    open: Option<(String, BTreeSet<PublicKey>)>,
    /// The same for jobs that may be cancelled.
    cancels: Option<(String, VecDeque<EventId>)>,
    /// The newest last.
    jobs: VecDeque<EventId>,
    /// The same for where those read who spoke to us, when what is said to them may go there.
    lists: Option<(String, BTreeSet<PublicKey>)>,
    room: Limit,
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
            newest: 0,
            told: false,
            open: None,
            cancels: None,
            jobs: VecDeque::new(),
            lists: None,
            room: Limit::new(SENT, Instant::now()),
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
            self.told = false;
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

    /// The keys that others speak to. Of a session only when its start has left: else its key is nobody's business, and
    /// nobody knows whom to speak to.
    async fn keys(&self) -> Result<BTreeSet<PublicKey>, Error> {
        let around = &self.hub.around;
        let starts = Filter::new()
            .kind(Kind::from(kind::SESSION_START))
            .limit(SESSIONS);
        let mut keys = BTreeSet::from([
            around.keyring.operator().public_key(),
            around.keyring.coordinator().public_key(),
        ]);
        let links = self.hub.links();
        for start in around.relay.query(starts).await? {
            if !around.state.is_session(&start.pubkey)? {
                continue;
            }
            let Some(stored) = around.relay.stored(start.id).await? else {
                continue;
            };
            for link in &links {
                let row = around.state.sync_entry(link.id, stored.seq)?;
                if row.is_some_and(|row| row.is_there()) {
                    keys.insert(start.pubkey);
                    break;
                }
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
                if !self.room.takes(1, Instant::now()) {
                    return Err(Ended::Flood);
                }
                let Ok(event) = Event::from_json(&json) else {
                    return Ok(());
                };
                self.take_in(talk, queue, event, json.len()).await
            }
            Heard::EndOfStored(of) if self.open.as_ref().is_some_and(|(name, _)| *name == of) => {
                self.told = true;
                self.note(queue);
                talk.bear(0)
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
            Heard::Alive => Ok(()),
            // Once is enough.
            _ => talk.bear(0),
        }
    }

    async fn take_in(
        &mut self,
        talk: &mut Talk<'_>,
        queue: &mut Queue,
        event: Event,
        bytes: usize,
    ) -> Result<(), Ended> {
        let (id, at) = (event.id, event.created_at.as_secs());
        let is_job = kind::is_job_request(event.kind);
        let is_list = event.kind.as_u16() == kind::RELAY_LIST;
        let around = &self.hub.around;
        // Before anything of it is looked up.
        if let Err(rejection) = around.relay.check_received(&event) {
            tracing::debug!(%id, %rejection, "not taken in");
            return Ok(());
        }
        if event.verify().is_err() {
            return Ok(());
        }
        if let Err(unwanted) = self.wanted(&event).await? {
            tracing::debug!(%id, %unwanted, "not taken in");
            return Ok(());
        }
        // What is here already is told again with every question.
        let is_new = around.relay.get(id).await.map_err(Error::from)?.is_none();
        if is_new && SAID.contains(&event.kind.as_u16()) && !self.may_say(&event, bytes)? {
            tracing::debug!(%id, "a stranger says too much");
            let words =
                "strangers say more to you there than is kept in a day; the rest stays there";
            self.link.say(|said| said.problem = Some(words.to_owned()));
            return Ok(());
        }
        // The mark is there before anybody sees the event. What is here already came from elsewhere.
        let marked = is_new && {
            let mark = around.state.sync_mark(&id, self.link.url.as_str());
            mark.map_err(Error::from)?
        };
        match around.relay.receive(event).await {
            Ok(Accepted::New { .. }) => tracing::debug!(%id, "taken in from a relay"),
            Ok(_) => {}
            Err(rejection) => {
                tracing::debug!(%id, %rejection, "not taken in");
                if marked {
                    around.state.sync_unmark(&id).map_err(Error::from)?;
                }
                return Ok(());
            }
        }
        if is_list {
            return Ok(());
        }
        self.listen_for_lists(talk).await?;
        self.newest = self.newest.max(at.min(Timestamp::now().as_secs()));
        self.note(queue);
        if is_job && !self.jobs.contains(&id) {
            if self.jobs.len() >= CANCELLED {
                self.jobs.pop_front();
            }
            self.jobs.push_back(id);
            self.listen_for_cancels(talk)?;
        }
        Ok(())
    }

    /// Remembers until when everything was heard. Relays tell the newest first: before the last of it was told, what is
    /// older may still be missing.
    fn note(&self, queue: &mut Queue) {
        let newest = self.newest;
        if self.told && newest > queue.remembered.heard_until {
            queue.remember(|remembered| remembered.heard_until = newest);
        }
    }

    /// Whether whoever says something may say that much today: the owner and whom he let in may.
    fn may_say(&self, event: &Event, bytes: usize) -> Result<bool, Error> {
        let (author, now) = (event.pubkey, Timestamp::now().as_secs());
        Ok(self.hub.admission.is_admitted(&author)
            || self.hub.around.is_ours(&author)?
            || self.hub.strangers.may_say(author, bytes, now))
    }
}

fn hexes(keys: &BTreeSet<PublicKey>) -> Value {
    json!(keys.iter().map(PublicKey::to_hex).collect::<Vec<_>>())
}
