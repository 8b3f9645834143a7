//! What treefort remembers of a workspace beside its files: `about.json` in the workspace's folder, outside
//! of what an agent can see.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use super::ObjectId;

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
    #[serde(default)]
    pub private: bool,
    /// The agent that began it.
    pub agent: String,
    /// When it began, in Unix seconds.
    pub created_at: u64,
    /// The project as it was: what an apply compares with. After an apply, what was applied.
    pub base: Option<ObjectId>,
    /// The applies that can be taken back, the last one last.
    #[serde(default, deserialize_with = "one_or_many")]
    pub applied: Vec<Applied>,
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
    /// What the names of its unfinished files follow from; empty in what an earlier version wrote.
    #[serde(default)]
    pub token: String,
    /// Whether it was begun and its end is not known: the process may have been killed in the middle.
    #[serde(default)]
    pub unfinished: bool,
}

/// Earlier versions remembered one apply, or none.
fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Applied>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Many(Vec<Applied>),
        One(Option<Applied>),
    }
    Ok(match Either::deserialize(from)? {
        Either::Many(all) => all,
        Either::One(one) => one.into_iter().collect(),
    })
}

impl About {
    /// An apply begins.
    pub fn begin_apply(&mut self, applied: Applied) {
        self.applied.push(applied);
        let over = self.applied.len().saturating_sub(MAX_APPLIED);
        self.applied.drain(..over);
    }

    /// The apply with this token is done; `result` is what was applied.
    pub fn end_apply(&mut self, token: &str, result: ObjectId) {
        if let Some(applied) = self.applied.iter_mut().find(|one| one.token == token) {
            applied.unfinished = false;
        }
        self.base = Some(result);
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
        use io::Write as _;
        let new = dir.join("about.json.new");
        let mut file = fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&new, dir.join(FILE))?;
        fs::File::open(dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
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
            base: None,
            applied: vec![Applied {
                backup: "11".repeat(20).parse().unwrap(),
                base: "22".repeat(20).parse().unwrap(),
                at: 8,
                token: "t".into(),
                unfinished: true,
            }],
        };
        about.write(dir.path()).unwrap();
        assert_eq!(About::read(dir.path()).unwrap(), about);
        // As an earlier version wrote it.
        let mut json = serde_json::to_value(&about).unwrap();
        let one = serde_json::json!({"backup": "11".repeat(20), "base": "22".repeat(20), "at": 8});
        for (applied, expected) in [(one, 1), (serde_json::Value::Null, 0)] {
            json["applied"] = applied;
            fs::write(dir.path().join(FILE), json.to_string()).unwrap();
            let read = About::read(dir.path()).unwrap();
            assert_eq!(read.applied.len(), expected);
            assert!(read.applied.iter().all(|one| !one.unfinished));
        }
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
