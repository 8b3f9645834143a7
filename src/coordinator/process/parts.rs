//! How a process is spoken to, and what it is started with.

use std::{path::PathBuf, sync::Mutex};

use nostr::Keys;
use tokio::sync::mpsc;

use crate::{
    agent::{acp::Peer, claims::Claim},
    egress::Rules,
    sandbox::{self, AgentIo},
};

/// How an agent is spoken to.
pub(in crate::coordinator) enum Talk {
    /// The Agent Client Protocol: what is asked, and what it says.
    Acp {
        /// The conversation.
        peer: Peer,
        /// What it says.
        claims: mpsc::Receiver<Claim>,
    },
    /// A command that writes and ends.
    Exec {
        /// What it writes; nothing once that was taken.
        output: Mutex<Option<AgentIo>>,
    },
}

/// What a process is started with.
pub(in crate::coordinator) struct Start<'a> {
    /// Which agent.
    pub(in crate::coordinator) agent: &'a str,
    /// The session's keys.
    pub(in crate::coordinator) keys: Keys,
    /// The folder that it works on, when the agent has one.
    pub(in crate::coordinator) tree: Option<PathBuf>,
    /// The folder for what it keeps for its next process.
    pub(in crate::coordinator) state: Option<PathBuf>,
    /// The person's own folder that it was copied from.
    pub(in crate::coordinator) project: Option<PathBuf>,
    /// The command, for an agent that is one.
    pub(in crate::coordinator) command: Option<&'a str>,
    /// What it may reach outside of its sandbox; nothing, as a rule.
    pub(in crate::coordinator) network: Option<Rules>,
    /// Where the lines of its image's build go, should that have to be built first.
    pub(in crate::coordinator) progress: Option<sandbox::Progress>,
}
