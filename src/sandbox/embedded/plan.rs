//! What a sandbox is to be made of: the host writes it, the two processes that build the sandbox read it.
//!
//! It travels over the standard input of the sandbox's first process, in front of the multiplexer: neither
//! an argument list nor an environment holds the session's token.

use std::io::{self, Read};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Bytes that a plan may have.
const MOST: u32 = 4 << 20;

/// Who writes the sandbox's map of users. The first byte that the sandbox reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maps {
    /// The sandbox itself: the one user that treefort is becomes [`crate::sandbox::AGENT_ID`] inside.
    Own,
    /// treefort, which is root: the agent is an ordinary user inside and outside.
    Host,
}

impl Maps {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Own => b'o',
            Self::Host => b'h',
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Own, Self::Host]
            .into_iter()
            .find(|maps| maps.byte() == byte)
    }
}

/// What the sandbox says when its namespaces are there and their maps may be written.
pub(super) const UNMAPPED: u8 = b'm';
/// What the host answers when it wrote them.
pub(super) const MAPPED: u8 = b'g';

/// What PID 1 says when it is there and may be put into its control group.
pub(super) const STARTED: u8 = b'p';

/// A file or folder of the host that can be read inside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Shown {
    /// Where it is on the host, without links in the path.
    pub(super) source: PathBuf,
    /// Where it is inside.
    pub(super) target: PathBuf,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The agent's command.
    pub(super) argv: Vec<String>,
    /// Its whole environment.
    pub(super) env: Vec<(String, String)>,
    /// The treefort program, on the host.
    pub(super) program: PathBuf,
    /// What it may read.
    pub(super) shown: Vec<Shown>,
    /// What must not be reached though it lies in what is shown: covered with nothing, where it is inside.
    pub(super) covered: Vec<PathBuf>,
    /// Links: where they are, and what they say.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// Files that are made for it: where they are, and their text.
    pub(super) files: Vec<(PathBuf, String)>,
    /// The folder that it works on.
    pub(super) workspace: Option<PathBuf>,
    /// The folder for what it keeps.
    pub(super) state: Option<PathBuf>,
    /// Whether it becomes another user at the end ([`Maps::Host`]).
    pub(super) becomes: bool,
    /// MiB of `/tmp`, and of its home.
    pub(super) scratch_mb: u32,
    /// MiB of memory that one process may map to write to, where no cgroup limits what they use together.
    pub(super) process_mb: Option<u32>,
    /// Bytes that one file may have.
    pub(super) file_bytes: u64,
    /// Processes and threads.
    pub(super) pids: u32,
}

impl Plan {
    /// Its bytes on the wire: length, then JSON.
    ///
    /// # Errors
    /// When a path is not UTF-8, or it is too long.
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let len = u32::try_from(json.len()).ok().filter(|len| *len <= MOST);
        let len = len.ok_or(io::ErrorKind::InvalidInput)?;
        let mut bytes = len.to_be_bytes().to_vec();
        bytes.extend(json);
        Ok(bytes)
    }

    /// Reads one, and not a byte more.
    ///
    /// # Errors
    /// When it is not one.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut len = [0; 4];
        from.read_exact(&mut len)?;
        let len = u32::from_be_bytes(len);
        if len > MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut json = vec![0; len as usize];
        from.read_exact(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_plan_is_left_for_others() {
        let plan = Plan {
            argv: vec!["/bin/true".into()],
            env: vec![("A".into(), "b".into())],
            program: "/bin/treefort".into(),
            shown: vec![Shown {
                source: "/usr".into(),
                target: "/usr".into(),
            }],
            covered: vec!["/usr/socket".into()],
            links: vec![("/bin".into(), "usr/bin".into())],
            files: vec![("/etc/hosts".into(), "127.0.0.1 localhost\n".into())],
            workspace: None,
            state: None,
            becomes: true,
            scratch_mb: 1,
            process_mb: Some(5),
            file_bytes: 6,
            pids: 7,
        };
        let mut bytes = plan.to_bytes().unwrap();
        bytes.extend(b"mux");
        let mut from = bytes.as_slice();
        assert_eq!(Plan::read(&mut from).unwrap(), plan);
        assert_eq!(from, b"mux");
        let mut long = &b"\xff\xff\xff\xff{}"[..];
        assert!(Plan::read(&mut long).is_err());
    }
}
