//! What treefort remembers of a workspace beside its files: `about.json` in the workspace's folder, outside
//! of what an agent can see.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nostr::{EventId, PublicKey};
use serde::{Deserialize, Serialize};

use super::{ObjectId, objects::write_durably};

/// The version that this program writes.
pub const VERSION: u32 = 1;

const FILE: &str = "about.json";

/// What treefort remembers of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Version of this format.
    pub v: u32,
    /// Its id: the key of the session that began it.
    pub id: PublicKey,
    /// The folder that it is a copy of; none when the agent began with nothing.
    pub project: Option<PathBuf>,
    /// The branch that the project was on.
    pub branch: Option<String>,
    /// The beginning of what was asked for first.
    pub title: String,
    /// Whether a private job worked on it: nothing of its files may be readable on the relay.
    pub private: bool,
    /// The agent that began it.
    pub agent: String,
    /// When it began, in Unix seconds.
    pub created_at: u64,
    /// The nanoseconds of that second, for the order of copies.
    pub created_ns: u32,
    /// The project as it was: what an apply compares with. After an apply, what was applied.
    pub base: Option<ObjectId>,
    /// The applies that can be taken back, the last one last.
    #[serde(default)]
    pub applied: Vec<Applied>,
    /// What its last agent itself remembers, in the folder `state` beside the files.
    #[serde(default)]
    pub memory: Option<Memory>,
    /// The comparison that it was made for: several copies that were asked the same.
    #[serde(default)]
    pub comparison: Option<EventId>,
    /// When a later question last went on in it, in Unix seconds and the nanoseconds of that second.
    #[serde(default)]
    pub gone_on: Option<(u64, u32)>,
}

/// What an agent itself remembers of the conversation about a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The agent.
    pub agent: String,
    /// Which program that was: another one may not understand what this one kept.
    pub version: String,
    /// Its own name for the conversation.
    pub session: String,
    /// The job that it heard last.
    pub heard: EventId,
    /// The job that it answered last.
    pub answered: Option<EventId>,
    /// The last checkpoint that it knows of: an undo after that was made behind its back.
    pub checkpoint: u32,
}

/// The most applies that are remembered.
const MAX_APPLIED: usize = 100;

/// An apply that can be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The commit that holds the project's files as they were.
    pub backup: ObjectId,
    /// What `base` was before.
    pub base: ObjectId,
    /// When, in Unix seconds.
    pub at: u64,
    /// What the names of its unfinished files follow from.
    pub token: String,
    /// Whether it was begun and its end is not known: the process may have been killed in the middle.
    pub unfinished: bool,
}

impl About {
    /// When it was last asked something: for the order of copies.
    #[must_use]
    pub fn last_asked(&self) -> (u64, u32) {
        let began = (self.created_at, self.created_ns);
        self.gone_on.map_or(began, |at| at.max(began))
    }

    /// When its owner last chose it among several that were asked the same: brought it home, or went on in it.
    #[must_use]
    pub fn chosen_at(&self) -> Option<(u64, u32)> {
        let applied = self.applied.last().map(|last| (last.at, 0));
        self.gone_on.max(applied)
    }

    /// An apply begins.
    pub fn begin_apply(&mut self, applied: Applied) {
        self.applied.push(applied);
        let over = self.applied.len().saturating_sub(MAX_APPLIED);
        self.applied.drain(..over);
    }

    /// The apply with this token is done; the next one compares with `next`.
    pub fn end_apply(&mut self, token: &str, next: ObjectId) {
        if let Some(applied) = self.applied.iter_mut().find(|one| one.token == token) {
            applied.unfinished = false;
        }
        self.base = Some(next);
    }

    /// Nothing of this apply is in the project any more.
    pub fn forget_apply(&mut self, applied: &Applied) {
        self.applied.retain(|one| one != applied);
        self.base = Some(applied.base);
    }

    /// Reads it from a workspace's folder.
    ///
    /// # Errors
    /// When it is missing, unreadable, or of a version that this program does not know.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let about: Self =
            serde_json::from_slice(&fs::read(dir.join(FILE))?).map_err(io::Error::other)?;
        if about.v != VERSION {
            return Err(io::Error::other(format!(
                "written by another version of treefort (format {})",
                about.v
            )));
        }
        Ok(about)
    }

    /// Writes it, durably and at once.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write_durably(&dir.join(FILE), &serde_json::to_vec(self)?).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn reads_back_what_was_written_and_refuses_other_versions() {
        let dir = tempfile::tempdir().unwrap();
        let mut about = About {
            v: VERSION,
            id: nostr::Keys::generate().public_key(),
            project: Some("/tmp/a project".into()),
            branch: Some("main".into()),
            title: "make it blue".into(),
            private: false,
            agent: "opencode".into(),
            created_at: 7,
            created_ns: 0,
            base: None,
            applied: vec![Applied {
                backup: "11".repeat(20).parse().unwrap(),
                base: "22".repeat(20).parse().unwrap(),
                at: 8,
                token: "t".into(),
                unfinished: true,
            }],
            memory: None,
            comparison: None,
            gone_on: Some((9, 1)),
        };
        about.write(dir.path()).unwrap();
        assert_eq!(About::read(dir.path()).unwrap(), about);
        // Nobody else is told what somebody works on.
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        about.v = 2;
        about.write(dir.path()).unwrap();
        assert!(
            About::read(dir.path())
                .unwrap_err()
                .to_string()
                .contains("format 2")
        );
    }
}
