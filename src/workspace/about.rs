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
    /// The agent that began it.
    pub agent: String,
    /// When it began, in Unix seconds.
    pub created_at: u64,
    /// The project as it was: what an apply compares with. After an apply, what was applied.
    pub base: Option<ObjectId>,
    /// The apply that went last.
    pub applied: Option<Applied>,
}

/// An apply that can be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The commit that holds the project's files as they were.
    pub backup: ObjectId,
    /// What `base` was before.
    pub base: ObjectId,
    /// When, in Unix seconds.
    pub at: u64,
}

impl About {
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
            agent: "opencode".into(),
            created_at: 7,
            base: None,
            applied: None,
        };
        about.write(dir.path()).unwrap();
        assert_eq!(About::read(dir.path()).unwrap(), about);
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
