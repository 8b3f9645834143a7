//! Why the relay could not be asked, or said no.

use std::net::SocketAddr;

use nostr::message::MachineReadablePrefix;
use tokio_tungstenite::tungstenite;

use crate::nips::draft::SignError;

/// Why the relay could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens, or it is no WebSocket.
    #[error("cannot connect to treefort at {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: tungstenite::Error,
    },
    /// The challenge could not be asked.
    #[error("cannot ask treefort at {address} who it is")]
    Challenge {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// What listens is not the treefort of this home.
    #[error("the program at {address} is not the treefort of this home")]
    Imposter {
        /// Where.
        address: SocketAddr,
    },
    /// The connection broke.
    #[error("the connection to treefort broke")]
    Broken(#[source] tungstenite::Error),
    /// treefort stopped while it was asked.
    #[error("treefort stopped")]
    Stopped,
    /// treefort closed the connection.
    #[error("treefort closed the connection: {0}")]
    Closed(String),
    /// No answer came in time.
    #[error("treefort did not answer in time")]
    Silent,
    /// treefort said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// More came than was asked for.
    #[error("treefort sent more than this command can hold")]
    Flooded,
    /// More events share one second than one answer can carry.
    #[error("more than {limit} entries share one second; they cannot all be read")]
    TooDense {
        /// The most that one answer carries.
        limit: usize,
    },
    /// An event could not be signed.
    #[error("cannot sign")]
    Sign(#[from] SignError),
}

/// The relay's `OK false` or `CLOSED`, with its words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("treefort refused: {message}")]
pub struct Refused {
    /// The reason, after NIP-01's machine-readable prefix where there is one.
    pub message: String,
    prefix: Option<MachineReadablePrefix>,
}

impl Refused {
    pub(super) fn new(message: &str) -> Self {
        Self {
            message: crate::cli::text::one_line(message),
            prefix: MachineReadablePrefix::parse(message),
        }
    }

    /// Whether the key is not one of those that may.
    #[must_use]
    pub fn is_not_admitted(&self) -> bool {
        matches!(
            self.prefix,
            Some(MachineReadablePrefix::Restricted | MachineReadablePrefix::Blocked)
        ) || self.wants_auth()
    }

    /// Whether it was said because treefort stops.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.message.ends_with("is stopping")
    }

    pub(super) fn wants_auth(&self) -> bool {
        matches!(self.prefix, Some(MachineReadablePrefix::AuthRequired))
    }
}
