//! The coordinator's small state in sled: job ledger, session index and the feed's cursor.
//!
//! Every change is flushed before the call returns: sled alone loses acknowledged writes in a crash
//! (DESIGN.md #3). Tree names carry the version of what they hold.

mod rewrite;
pub mod sync;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use nostr::{EventId, PublicKey};
use serde::{Deserialize, Serialize};
use sled::{Transactional, transaction::ConflictableTransactionError};

use crate::job::JobRecord;

/// The coordinator's state.
#[derive(Debug, Clone)]
pub struct State {
    path: PathBuf,
    /// Replaced as a whole when it is written anew ([`State::rewrite`]).
    trees: Arc<RwLock<Trees>>,
    /// Whoever changes a row of [`sync`] by what it is now holds this meanwhile.
    changing: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct Trees {
    db: sled::Db,
    /// Which of the folders it is in; see [`rewrite`].
    generation: u64,
    jobs: sled::Tree,
    /// The jobs that a start has to look at: unfinished, unanswered, or a stranger's.
    open_jobs: sled::Tree,
    results: sled::Tree,
    /// Strangers' jobs that were refused, and those that their owner purged; only their ids.
    refused: sled::Tree,
    sessions: sled::Tree,
    /// The sessions that have no end yet.
    open_sessions: sled::Tree,
    meta: sled::Tree,
    /// What goes to other relays, and what became of it; see [`sync`].
    sync: sled::Tree,
}

/// What is kept of a session, so that a crash cannot leave one without its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Version of this format.
    pub v: u32,
    /// The session's key.
    pub session: PublicKey,
    /// Its agent.
    pub agent: String,
    /// The customer's job that it began with.
    pub job: EventId,
    /// The workspace that it works on: the key of the session that began it.
    #[serde(default)]
    pub workspace: Option<PublicKey>,
    /// When it began, in Unix seconds.
    pub started_at: u64,
    /// Whether its end is on the relay.
    pub ended: bool,
}

/// Why the state could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// sled failed.
    #[error("failed to use the coordinator's state")]
    Sled(#[from] sled::Error),
    /// Its folder.
    #[error("failed to use the folder of the coordinator's state")]
    Folder(#[from] std::io::Error),
    /// A value cannot be read or written.
    #[error("the coordinator's state holds something unreadable")]
    Format(#[from] serde_json::Error),
}

const CURSOR: &[u8] = b"cursor";

impl State {
    /// Opens the state in a directory.
    ///
    /// # Errors
    /// When sled cannot open it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let generation = rewrite::current(path)?;
        Ok(Self {
            trees: Arc::new(RwLock::new(Trees::open(path, generation)?)),
            changing: Arc::default(),
            path: path.to_owned(),
        })
    }

    fn trees(&self) -> RwLockReadGuard<'_, Trees> {
        self.trees.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores jobs, the ids of strangers' jobs that were refused, and the cursor up to which the feed was
    /// taken in, as one change.
    ///
    /// # Errors
    /// When sled cannot write it; nothing is stored then.
    pub fn commit(
        &self,
        jobs: &[JobRecord],
        refused: &[EventId],
        cursor: Option<u64>,
    ) -> Result<(), StateError> {
        if jobs.is_empty() && refused.is_empty() && cursor.is_none() {
            return Ok(());
        }
        let mut values = Vec::with_capacity(jobs.len());
        for job in jobs {
            values.push((job, serde_json::to_vec(job)?));
        }
        let held = self.trees();
        let trees = (
            &held.jobs,
            &held.open_jobs,
            &held.results,
            &held.refused,
            &held.meta,
        );
        trees
            .transaction(|(job_tree, open, result_tree, refused_tree, meta)| {
                for id in refused {
                    refused_tree.insert(id.as_bytes().as_slice(), &[])?;
                }
                for (job, value) in &values {
                    let id = job.id();
                    job_tree.insert(id.as_bytes().as_slice(), value.as_slice())?;
                    if job.is_settled() && !job.stranger {
                        open.remove(id.as_bytes().as_slice())?;
                    } else {
                        open.insert(id.as_bytes().as_slice(), &[])?;
                    }
                    if let Some(result) = job.result {
                        result_tree
                            .insert(result.as_bytes().as_slice(), job.id().as_bytes().as_slice())?;
                    }
                }
                if let Some(cursor) = cursor {
                    meta.insert(CURSOR, &cursor.to_be_bytes())?;
                }
                Ok::<_, ConflictableTransactionError<sled::Error>>(())
            })
            .map_err(|error| match error {
                sled::transaction::TransactionError::Abort(error)
                | sled::transaction::TransactionError::Storage(error) => error,
            })?;
        held.db.flush()?;
        Ok(())
    }

    /// The cursor of the feed; 0 at first.
    ///
    /// # Errors
    /// When sled cannot read it.
    pub fn cursor(&self) -> Result<u64, StateError> {
        let held = self.trees();
        let value = held.meta.get(CURSOR)?;
        Ok(value
            .and_then(|bytes| bytes.as_ref().try_into().ok().map(u64::from_be_bytes))
            .unwrap_or(0))
    }

    /// One job.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn job(&self, id: &EventId) -> Result<Option<JobRecord>, StateError> {
        let held = self.trees();
        match held.jobs.get(id.as_bytes())? {
            Some(value) => Ok(Some(serde_json::from_slice(&value)?)),
            None => Ok(None),
        }
    }

    /// Whether a job was taken in before, done or refused.
    ///
    /// # Errors
    /// When sled cannot read it.
    pub fn knows(&self, id: &EventId) -> Result<bool, StateError> {
        let held = self.trees();
        Ok(held.jobs.contains_key(id.as_bytes())? || held.refused.contains_key(id.as_bytes())?)
    }

    /// The job that a result belongs to, or the job itself when `id` names one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn job_of(&self, id: &EventId) -> Result<Option<JobRecord>, StateError> {
        let of = self.trees().results.get(id.as_bytes())?;
        match of.and_then(|job| EventId::from_slice(&job).ok()) {
            Some(job) => self.job(&job),
            None => self.job(id),
        }
    }

    /// The jobs that a start has to look at, in no order: unfinished ones, those whose answers may not be
    /// out, and strangers' since `since`, which count against their quota.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn open_jobs(&self, since: u64) -> Result<Vec<JobRecord>, StateError> {
        let held = self.trees();
        let mut jobs = Vec::new();
        for id in held.open_jobs.iter().keys() {
            let id = id?;
            let Some(value) = held.jobs.get(&id)? else {
                continue;
            };
            let job: JobRecord = serde_json::from_slice(&value)?;
            if job.is_settled() && job.accepted_at < since {
                held.open_jobs.remove(&id)?;
            } else {
                jobs.push(job);
            }
        }
        Ok(jobs)
    }

    /// Stores a session.
    ///
    /// # Errors
    /// When sled cannot write it.
    pub fn put_session(&self, session: &SessionRecord) -> Result<(), StateError> {
        let held = self.trees();
        let key = session.session.as_bytes();
        // The list of open ones comes first and goes last: a crash in between leaves one too many on it.
        if !session.ended {
            held.open_sessions.insert(key, &[])?;
        }
        held.sessions.insert(key, serde_json::to_vec(session)?)?;
        if session.ended {
            held.open_sessions.remove(key)?;
        }
        held.db.flush()?;
        Ok(())
    }

    /// Removes what was noted of a session that never began.
    ///
    /// # Errors
    /// When sled cannot write it.
    pub fn forget_session(&self, key: &PublicKey) -> Result<(), StateError> {
        let held = self.trees();
        // As for one that ended: the list of open ones goes last.
        held.sessions.remove(key.as_bytes())?;
        held.open_sessions.remove(key.as_bytes())?;
        held.db.flush()?;
        Ok(())
    }

    /// The sessions whose end is not on the relay.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn open_sessions(&self) -> Result<Vec<SessionRecord>, StateError> {
        let held = self.trees();
        let mut sessions = Vec::new();
        for key in held.open_sessions.iter().keys() {
            let Some(value) = held.sessions.get(key?)? else {
                continue;
            };
            let session: SessionRecord = serde_json::from_slice(&value)?;
            if !session.ended {
                sessions.push(session);
            }
        }
        Ok(sessions)
    }

    /// One session.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn session(&self, key: &PublicKey) -> Result<Option<SessionRecord>, StateError> {
        let held = self.trees();
        match held.sessions.get(key.as_bytes())? {
            Some(value) => Ok(Some(serde_json::from_slice(&value)?)),
            None => Ok(None),
        }
    }

    /// Whether a key is that of a session of this home.
    ///
    /// # Errors
    /// When sled cannot read it.
    pub fn is_session(&self, key: &PublicKey) -> Result<bool, StateError> {
        let held = self.trees();
        Ok(held.sessions.contains_key(key.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::{
        job::{Input, Job},
        nips::{Draft, nip90::Scheme},
    };

    fn record() -> JobRecord {
        let request = Draft::new(5050)
            .tag(["i", "x"])
            .sign(&Keys::generate(), 1)
            .unwrap();
        let mut job = Job::new(request.kind);
        let _ = job.handle(Input::Accepted);
        JobRecord {
            v: JobRecord::VERSION,
            job,
            request,
            scheme: Scheme::Plain,
            agent: "chat".into(),
            stranger: false,
            continues: None,
            session: None,
            result: None,
            accepted_at: 1,
            outbox: Vec::new(),
        }
    }

    #[test]
    fn jobs_and_cursor_survive_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let mut job = record();
        job.result = Some(EventId::all_zeros());
        {
            let state = State::open(home.path()).unwrap();
            state
                .commit(std::slice::from_ref(&job), &[EventId::all_zeros()], Some(7))
                .unwrap();
        }
        let state = State::open(home.path()).unwrap();
        assert_eq!(state.cursor().unwrap(), 7);
        assert!(state.knows(&job.id()).unwrap());
        assert!(state.knows(&EventId::all_zeros()).unwrap());
        assert_eq!(state.job(&job.id()).unwrap(), Some(job.clone()));
        assert_eq!(
            state.job_of(&EventId::all_zeros()).unwrap().unwrap().id(),
            job.id()
        );
        assert_eq!(state.open_jobs(0).unwrap().len(), 1);
    }

    #[test]
    fn a_start_looks_at_what_is_not_settled_and_at_strangers_of_the_hour() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        let done = |job: &mut JobRecord| {
            job.job.state = crate::job::State::Done(crate::job::Outcome::Delivered);
        };
        let (running, mut settled, mut unsent, mut stranger) =
            (record(), record(), record(), record());
        done(&mut settled);
        done(&mut unsent);
        unsent.outbox.push(unsent.request.clone());
        done(&mut stranger);
        stranger.stranger = true;
        stranger.accepted_at = 100;
        state
            .commit(
                &[running.clone(), settled, unsent.clone(), stranger.clone()],
                &[],
                None,
            )
            .unwrap();
        let ids = |since| -> std::collections::HashSet<EventId> {
            state
                .open_jobs(since)
                .unwrap()
                .iter()
                .map(JobRecord::id)
                .collect()
        };
        assert_eq!(ids(100), [running.id(), unsent.id(), stranger.id()].into());
        assert_eq!(ids(101), [running.id(), unsent.id()].into());
    }

    #[test]
    fn an_open_session_is_found_until_it_ended() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        let mut session = SessionRecord {
            v: 1,
            session: Keys::generate().public_key(),
            agent: "chat".into(),
            job: EventId::all_zeros(),
            workspace: None,
            started_at: 1,
            ended: false,
        };
        state.put_session(&session).unwrap();
        assert!(state.is_session(&session.session).unwrap());
        assert_eq!(state.open_sessions().unwrap(), [session.clone()]);
        let never_began = SessionRecord {
            session: Keys::generate().public_key(),
            ..session.clone()
        };
        state.put_session(&never_began).unwrap();
        state.forget_session(&never_began.session).unwrap();
        assert!(!state.is_session(&never_began.session).unwrap());
        assert_eq!(state.open_sessions().unwrap(), [session.clone()]);
        session.ended = true;
        state.put_session(&session).unwrap();
        assert!(state.open_sessions().unwrap().is_empty());
    }
}
