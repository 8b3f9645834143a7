//! Forgetting: what the owner purged leaves the state, and the disk.
//!
//! sled keeps what was removed until it writes over the place where it was. So the state is written anew, into a folder
//! beside it (`state.1`, `state.2`, …), which counts as soon as it is whole ([`WHOLE`]); those before it are removed,
//! now or at the next start.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::PoisonError,
    time::{Duration, Instant},
};

use nostr::{EventId, PublicKey};

use super::{SessionRecord, State, StateError, Trees};
use crate::job::JobRecord;

/// The file in a folder that says that everything is in it.
const WHOLE: &str = "whole";
/// How long one that was just closed may still be locked.
const LETTING_GO: Duration = Duration::from_secs(1);

impl Trees {
    pub(super) fn open(path: &Path, generation: u64) -> Result<Self, StateError> {
        let config = sled::Config::new()
            .path(folder(path, generation))
            .cache_capacity(8 << 20)
            .flush_every_ms(None);
        let began = Instant::now();
        let db = loop {
            match config.open() {
                // Whoever had it open before is given a moment: sled lets go of it in a thread of its own.
                Err(sled::Error::Io(_)) if began.elapsed() < LETTING_GO => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                opened => break opened?,
            }
        };
        Ok(Self {
            generation,
            jobs: db.open_tree("jobs-1")?,
            open_jobs: db.open_tree("open-jobs-1")?,
            open_sessions: db.open_tree("open-sessions-1")?,
            results: db.open_tree("results-1")?,
            refused: db.open_tree("refused-1")?,
            sessions: db.open_tree("sessions-1")?,
            meta: db.open_tree("meta-1")?,
            sync: db.open_tree("sync-1")?,
            db,
        })
    }
}

/// Where a state is, by how often it was written anew.
fn folder(path: &Path, generation: u64) -> PathBuf {
    if generation == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{generation}"));
    PathBuf::from(name)
}

/// Every folder of a state that there is, and of which generation.
fn folders(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let (Some(parent), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?.file_name();
        let rest = entry.to_str().and_then(|entry| entry.strip_prefix(name));
        let generation = match rest {
            Some("") => Some(0),
            Some(rest) => rest
                .strip_prefix('.')
                .and_then(|number| number.parse().ok()),
            None => None,
        };
        if let Some(generation) = generation {
            found.push((generation, folder(path, generation)));
        }
    }
    Ok(found)
}

/// The newest whole one; all others are removed.
pub(super) fn current(path: &Path) -> io::Result<u64> {
    let found = folders(path)?;
    let whole = found
        .iter()
        .filter(|(generation, folder)| *generation > 0 && folder.join(WHOLE).exists());
    let current = whole.map(|(generation, _)| *generation).max().unwrap_or(0);
    for (generation, folder) in found {
        if generation != current {
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(current)
}

impl State {
    /// Every job that was taken in.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn all_jobs(&self) -> Result<Vec<JobRecord>, StateError> {
        let held = self.trees();
        let values = held.jobs.iter().values();
        values
            .map(|value| Ok(serde_json::from_slice(&value?)?))
            .collect()
    }

    /// Every session.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn all_sessions(&self) -> Result<Vec<SessionRecord>, StateError> {
        let held = self.trees();
        let values = held.sessions.iter().values();
        values
            .map(|value| Ok(serde_json::from_slice(&value?)?))
            .collect()
    }

    /// Forgets jobs and sessions, but that there were jobs of these ids. [`Self::rewrite`] takes them off the disk.
    ///
    /// # Errors
    /// When sled cannot write it.
    pub fn forget(
        &self,
        jobs: &HashSet<EventId>,
        sessions: &[PublicKey],
    ) -> Result<(), StateError> {
        let held = self.trees();
        for id in jobs {
            held.refused.insert(id.as_bytes(), &[])?;
            held.open_jobs.remove(id.as_bytes())?;
            held.jobs.remove(id.as_bytes())?;
        }
        for entry in held.results.iter() {
            let (result, job) = entry?;
            if EventId::from_slice(&job).is_ok_and(|job| jobs.contains(&job)) {
                held.results.remove(result)?;
            }
        }
        for key in sessions {
            held.sessions.remove(key.as_bytes())?;
            held.open_sessions.remove(key.as_bytes())?;
        }
        held.db.flush()?;
        Ok(())
    }

    /// Writes what is kept into a new folder and removes the one before, with what was removed and replaced in it.
    ///
    /// # Errors
    /// When sled or the disk cannot; then everything is as before.
    pub fn rewrite(&self) -> Result<(), StateError> {
        let mut held = self.trees.write().unwrap_or_else(PoisonError::into_inner);
        let generation = held.generation + 1;
        let target = folder(&self.path, generation);
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        let new = Trees::open(&self.path, generation)?;
        for name in held.db.tree_names() {
            let (from, to) = (held.db.open_tree(&name)?, new.db.open_tree(&name)?);
            for entry in from.iter() {
                let (key, value) = entry?;
                to.insert(key, value)?;
            }
        }
        new.db.flush()?;
        File::create_new(target.join(WHOLE))?.sync_all()?;
        File::open(&target)?.sync_all()?;
        let before = folder(&self.path, held.generation);
        // From here on the new one counts.
        *held = new;
        drop(held);
        if let Some(parent) = self.path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(fs::remove_dir_all(before)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(agent: &str) -> SessionRecord {
        SessionRecord {
            v: 1,
            session: nostr::Keys::generate().public_key(),
            agent: agent.to_owned(),
            job: EventId::all_zeros(),
            workspace: None,
            started_at: 1,
            ended: true,
        }
    }

    fn holds(folder: &Path, text: &str) -> bool {
        fs::read_dir(folder).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => holds(&path, text),
                false => String::from_utf8_lossy(&fs::read(path).unwrap()).contains(text),
            }
        })
    }

    #[test]
    fn what_is_forgotten_leaves_the_disk_and_the_rest_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state");
        let (gone, stays) = (session("a-canary-agent"), session("other"));
        let job = EventId::from_byte_array([7; 32]);
        {
            let state = State::open(&path).unwrap();
            for one in [&gone, &stays] {
                state.put_session(one).unwrap();
            }
            state.commit(&[], &[], Some(5)).unwrap();
            state
                .forget(&HashSet::from([job]), &[gone.session])
                .unwrap();
            assert!(holds(home.path(), "a-canary-agent"));
            for _ in 0..2 {
                state.rewrite().unwrap();
                assert!(!holds(home.path(), "a-canary-agent"));
                assert_eq!(state.all_sessions().unwrap(), std::slice::from_ref(&stays));
            }
            state.commit(&[], &[], Some(6)).unwrap();
        }
        let state = State::open(&path).unwrap();
        assert_eq!(state.cursor().unwrap(), 6);
        assert_eq!(state.all_sessions().unwrap(), [stays]);
        assert!(state.knows(&job).unwrap() && !state.is_session(&gone.session).unwrap());
        assert!(!holds(home.path(), "a-canary-agent"));
    }

    #[test]
    fn a_folder_that_was_not_finished_does_not_count() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state");
        let one = session("x");
        State::open(&path).unwrap().put_session(&one).unwrap();
        drop(Trees::open(&path, 1).unwrap());
        let state = State::open(&path).unwrap();
        assert_eq!(state.all_sessions().unwrap(), std::slice::from_ref(&one));
        assert!(!home.path().join("state.1").exists());
        // One that was finished does, and the one before it goes.
        state.rewrite().unwrap();
        drop(state);
        drop(Trees::open(&path, 0).unwrap());
        let state = State::open(&path).unwrap();
        assert_eq!(state.all_sessions().unwrap(), [one]);
        assert!(!path.exists());
    }
}
