//! What is known about an event besides what it says: whose it is, what it belongs to, and whether that is private.

mod folders;

use std::{collections::HashMap, sync::Arc};

use nostr::{Alphabet, Event, EventId, Filter, Kind, PublicKey, SingleLetterTag};

use super::{
    Error,
    address::RelayUrl,
    config::NamedConfig,
    named,
    policy::{Asked, Facts, Privacy, is_answer},
};
use crate::{
    keys::{Admission, Admit, Keyring},
    nips::{kind, nip01::first_tag, nip90::Scheme, reference::named_keys},
    relay::Relay,
    store::state::{State, sync::Naming},
};

/// References of one event that are followed.
const FOLLOWED: usize = 32;
/// What somebody says to somebody, beside answers.
const SAID: [u16; 3] = [kind::NOTE, kind::COMMENT, kind::REACTION];
/// Keys that are spoken to in one event and whose lists of relays are looked for.
const READERS: usize = 4;

/// Looks things up in this treefort's own record.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) relay: Relay,
    pub(super) keyring: Arc<Keyring>,
    pub(super) state: State,
    pub(super) admission: Arc<Admission>,
    /// Which relays others may add.
    pub(super) named: NamedConfig,
}

/// What was found out about sessions, for as long as one look through the log takes.
#[derive(Default)]
pub(super) struct Seen {
    sessions: HashMap<PublicKey, Handed>,
    folders: folders::Known,
}

/// What the jobs say that were handed to a session.
#[derive(Clone, Copy, Default)]
struct Handed {
    any: bool,
    private: bool,
}

/// What an event refers to.
#[derive(Default)]
struct References {
    private: bool,
    job: Option<Event>,
    /// The relay that brought the job which an answer is about, when its customer took it back and it is gone.
    brought: Option<String>,
}

impl Surroundings {
    /// Whether a key is one of this treefort's.
    pub(super) fn is_ours(&self, key: &PublicKey) -> Result<bool, Error> {
        Ok(self.is_named(key) || self.state.is_session(key)?)
    }

    /// Whether it is one of those that do not change.
    fn is_named(&self, key: &PublicKey) -> bool {
        let keyring = &self.keyring;
        [keyring.operator(), keyring.coordinator(), keyring.relay()]
            .iter()
            .any(|keys| keys.public_key() == *key)
    }

    /// What is known about an event.
    pub(super) async fn facts(&self, event: &Event, seen: &mut Seen) -> Result<Facts, Error> {
        if !self.is_ours(&event.pubkey)? {
            return Ok(Facts::default());
        }
        let session = self.session_of(event)?;
        let references = self.references(event).await?;
        let handed = match session {
            Some(session) => self.handed(session, seen).await?,
            None => Handed::default(),
        };
        let of = event.kind.as_u16();
        let needs_job = session.is_some()
            || is_answer(of)
            || kind::is_job_request(event.kind) && self.is_coordinator(&event.pubkey)
            || matches!(of, kind::RECEIPT | kind::VERIFICATION);
        let job = references.job.as_ref().map(|job| job.id);
        let folders = self.folders(job, session, &mut seen.folders)?;
        let private = references.private || handed.private || is_private(event);
        let privacy = if private {
            Privacy::Private
        } else if needs_job
            && references.job.is_none()
            && references.brought.is_none()
            && !handed.any
        {
            Privacy::Unknown
        } else {
            Privacy::Clear
        };
        let asked = match (&references.job, references.brought) {
            (Some(job), _) if is_answer(of) => Some(Asked {
                by_us: self.is_ours(&job.pubkey)?,
                from: self.state.sync_came_from(&job.id)?,
            }),
            (None, Some(from)) => Some(Asked {
                by_us: false,
                from: Some(from),
            }),
            _ => None,
        };
        let named = match (&asked, &references.job) {
            (Some(asked), Some(job)) if !asked.by_us => self.named_by_customer(job).await?,
            (None, _) if SAID.contains(&of) => self.named_by_readers(event).await?,
            _ => Vec::new(),
        };
        Ok(Facts {
            ours: true,
            session,
            folders,
            back: self.state.sync_is_back(event.id, session)?,
            privacy,
            asked,
            named,
        })
    }

    /// The relays that whoever asked wants the answers on. The owner's own words are not taken for it: programs add such
    /// tags by themselves, and answers to the owner stay here.
    async fn named_by_customer(&self, job: &Event) -> Result<Vec<(RelayUrl, Naming)>, Error> {
        let may = self.admission.is_admitted(&job.pubkey) || self.admission.mode() == Admit::Anyone;
        if !may || !self.named.is_on() {
            return Ok(Vec::new());
        }
        let naming = |event: &Event| Naming {
            event: event.id,
            key: job.pubkey,
            at: job.created_at.as_secs(),
        };
        if self.named.jobs {
            let found = named::of_job(job, self.named.per_job);
            if !found.is_empty() {
                return Ok(found.into_iter().map(|url| (url, naming(job))).collect());
            }
        }
        Ok(match self.list_of(&job.pubkey).await? {
            Some(list) => named::of_list(&list, self.named.per_job)
                .into_iter()
                .map(|url| (url, naming(&list)))
                .collect(),
            None => Vec::new(),
        })
    }

    /// Where those read whom something is said to.
    async fn named_by_readers(&self, event: &Event) -> Result<Vec<(RelayUrl, Naming)>, Error> {
        let mut found: Vec<(RelayUrl, Naming)> = Vec::new();
        if !self.named.readers {
            return Ok(found);
        }
        for key in named_keys(event).into_iter().take(READERS) {
            if self.is_ours(&key)? {
                continue;
            }
            let Some(list) = self.list_of(&key).await? else {
                continue;
            };
            let naming = Naming {
                event: list.id,
                key,
                at: event.created_at.as_secs(),
            };
            for url in named::of_list(&list, self.named.per_job) {
                if found.len() < self.named.per_job && !found.iter().any(|(known, _)| *known == url)
                {
                    found.push((url, naming));
                }
            }
        }
        Ok(found)
    }

    /// The list of relays of somebody, if it is on record and may be followed.
    async fn list_of(&self, key: &PublicKey) -> Result<Option<Event>, Error> {
        if !self.named.readers {
            return Ok(None);
        }
        let filter = Filter::new()
            .kind(Kind::from(kind::RELAY_LIST))
            .author(*key)
            .limit(1);
        Ok(self.relay.query(filter).await?.into_iter().next())
    }

    fn is_coordinator(&self, key: &PublicKey) -> bool {
        *key == self.keyring.coordinator().public_key()
    }

    /// The session that signed an event, or that a job of the coordinator's is for.
    fn session_of(&self, event: &Event) -> Result<Option<PublicKey>, Error> {
        if self.state.is_session(&event.pubkey)? {
            return Ok(Some(event.pubkey));
        }
        if kind::is_job_request(event.kind) && self.is_coordinator(&event.pubkey) {
            for key in named_keys(event) {
                if self.state.is_session(&key)? {
                    return Ok(Some(key));
                }
            }
        }
        Ok(None)
    }

    /// Follows what an event refers to: the customer's job, and whether anything of it is private.
    async fn references(&self, event: &Event) -> Result<References, Error> {
        let ids = event
            .tags
            .iter()
            .map(nostr::Tag::as_slice)
            .filter(|tag| matches!(tag[0].as_str(), "E" | "e" | "q"))
            .filter_map(|tag| EventId::from_hex(tag.get(1)?).ok());
        let mut found = References::default();
        for id in ids.take(FOLLOWED) {
            let Some(referred) = self.relay.get(id).await? else {
                continue;
            };
            found.private |= is_private(&referred);
            let is_customers =
                kind::is_job_request(referred.kind) && !self.is_coordinator(&referred.pubkey);
            if is_customers && found.job.is_none() {
                found.job = Some(referred);
            }
        }
        // What a relay brought was in the clear, and not ours: whoever took it back is still told how it ended.
        if found.job.is_none()
            && is_answer(event.kind.as_u16())
            && let Some(id) = first_tag(event, "e").and_then(|id| EventId::from_hex(id).ok())
            && self.relay.get(id).await?.is_none()
        {
            found.brought = self.state.sync_came_from(&id)?;
        }
        Ok(found)
    }

    /// The jobs that the coordinator handed to a session.
    async fn handed(&self, session: PublicKey, seen: &mut Seen) -> Result<Handed, Error> {
        if let Some(known) = seen.sessions.get(&session) {
            return Ok(*known);
        }
        let filter = Filter::new()
            .kind(Kind::from(kind::AGENT_TASK))
            .author(self.keyring.coordinator().public_key())
            .custom_tag(SingleLetterTag::lowercase(Alphabet::P), session.to_hex());
        let jobs = self.relay.query(filter).await?;
        let handed = Handed {
            any: !jobs.is_empty(),
            private: jobs.iter().any(is_private),
        };
        seen.sessions.insert(session, handed);
        Ok(handed)
    }
}

/// Whether an event itself is hidden, or says that something was withheld because it is.
fn is_private(event: &Event) -> bool {
    Scheme::of(event).is_private() || first_tag(event, "withheld").is_some()
}
