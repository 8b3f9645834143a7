//! Why the relay refuses something, and how it says so on the wire.

/// A refusal. [`Rejection::to_wire`] is the one place where it becomes text for a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A newer version of the address is stored.
    #[error("have a newer version")]
    Superseded,
    /// Its author deleted it.
    #[error("this event was deleted")]
    Deleted,
    /// It has expired (NIP-40).
    #[error("the event has expired")]
    Expired,
    /// It is not an event.
    #[error("not an event: {0}")]
    Malformed(String),
    /// The message is too long.
    #[error("a message has at most {0} bytes")]
    TooLong(usize),
    /// Too many tags.
    #[error("an event has at most {0} tags")]
    TooManyTags(usize),
    /// The content is too long.
    #[error("content has at most {0} characters")]
    ContentTooLong(usize),
    /// `created_at` is too far in the future.
    #[error("created_at is more than {0} seconds in the future")]
    Future(u64),
    /// `created_at` does not fit.
    #[error("created_at is out of range")]
    TimeOutOfRange,
    /// The id is not the hash of the event.
    #[error("the id is not the event's hash")]
    Id,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// An answer to a challenge came as an event.
    #[error("kind 22242 is only for AUTH")]
    AuthEvent,
    /// A protected event of somebody else (NIP-70).
    #[error("this event may only be published by its author")]
    Protected {
        /// Whether the client has proved any key yet.
        authenticated: bool,
    },
    /// The client has to authenticate first.
    #[error("authenticate as a key that the owner admitted")]
    AuthRequired,
    /// The client authenticated, but as nobody who is admitted.
    #[error("this key is not admitted by the owner")]
    NotAdmitted,
    /// Gift wraps are for those that they name (NIP-59).
    #[error("gift wraps are only for the recipient that they name")]
    GiftWraps,
    /// An answer to the challenge does not count.
    #[error("{0}")]
    Auth(#[from] crate::nips::nip42::AuthError),
    /// What came with a request over HTTP proves no key (NIP-98).
    #[error("{0}")]
    Proof(String),
    /// A stream was to go on after a number that the log has not reached.
    #[error(
        "the log ends at {0}: this number is not from here; read what is stored, and go on from there"
    )]
    Ahead(u64),
    /// Too many streams over HTTP.
    #[error("there are {0} streams, and no place for another one")]
    TooManyStreams(usize),
    /// A stream whose reader takes less than comes.
    #[error("too slow: events would have been lost, go on after the last id")]
    TooSlow,
    /// All places for requests are taken.
    #[error("too much is asked at once; try again in a moment")]
    Crowded,
    /// A connection that keeps sending what does not verify.
    #[error("too many events with a wrong signature")]
    WrongSignatures,
    /// Too many subscriptions.
    #[error("a connection has at most {0} subscriptions")]
    TooManySubscriptions(usize),
    /// Too many filters.
    #[error("a subscription has at most {0} filters")]
    TooManyFilters(usize),
    /// Too many keys.
    #[error("a connection authenticates as at most {0} keys")]
    TooManyKeys(usize),
    /// The filters of all subscriptions take too much.
    #[error("the filters of a connection take at most {0} bytes")]
    TooMuchFiltered(usize),
    /// More messages than the rate.
    #[error("slow down: at most {0} messages a second")]
    TooFast(u32),
    /// More events of one author than the rate.
    #[error("slow down: at most {0} events a second by one author")]
    KeyTooFast(u32),
    /// The disk has too little room.
    #[error("the disk is almost full, nothing more is taken until there is room")]
    DiskFull,
    /// The filter is not one.
    #[error("{0}")]
    Filter(String),
    /// This relay has no search (NIP-50).
    #[error("this relay does not search")]
    NoSearch,
    /// The search has not taken in everything yet.
    #[error("the search index is being built; ask again in a moment")]
    SearchBehind,
    /// No exact count can be given.
    #[error("{0}")]
    Uncountable(String),
    /// More events than one reconciliation compares (NIP-77).
    #[error("more than {0} events match; ask about fewer at a time")]
    TooMuch(usize),
    /// Too many reconciliations on one connection.
    #[error("a connection has at most {0} reconciliations")]
    TooManyReconciliations(usize),
    /// Too much is being reconciled, over all connections.
    #[error("too much is being reconciled; try again later")]
    Busy,
    /// A message for a reconciliation that is not open.
    #[error("this reconciliation is not open")]
    NotOpen,
    /// A reconciliation that went silent.
    #[error("you took too long to respond")]
    Silent,
    /// Not a message of negentropy.
    #[error("{0}")]
    Negentropy(String),
    /// The query took too long.
    #[error("the query took too long")]
    Deadline,
    /// The store failed.
    #[error("the store failed")]
    Store,
    /// The relay stops.
    #[error("the relay is stopping")]
    Stopping,
}

impl Rejection {
    /// Whether the same event may be accepted later: the refusal says nothing about the event.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Store
                | Self::Stopping
                | Self::Deadline
                | Self::SearchBehind
                | Self::DiskFull
                | Self::TooFast(_)
                | Self::KeyTooFast(_)
                | Self::WrongSignatures
                | Self::Crowded
        )
    }

    /// The machine-readable prefix of NIP-01 and NIP-42.
    #[must_use]
    pub fn prefix(&self) -> &'static str {
        match self {
            Self::Superseded => "duplicate",
            Self::Deleted | Self::TooMuch(_) => "blocked",
            Self::Expired
            | Self::Malformed(_)
            | Self::TooLong(_)
            | Self::TooManyTags(_)
            | Self::ContentTooLong(_)
            | Self::Future(_)
            | Self::TimeOutOfRange
            | Self::Id
            | Self::Signature
            | Self::AuthEvent
            | Self::Auth(_)
            | Self::TooManyFilters(_)
            | Self::Filter(_)
            | Self::Ahead(_)
            | Self::Negentropy(_) => "invalid",
            Self::TooManySubscriptions(_)
            | Self::TooManyKeys(_)
            | Self::TooMuchFiltered(_)
            | Self::TooFast(_)
            | Self::KeyTooFast(_)
            | Self::TooManyReconciliations(_)
            | Self::TooManyStreams(_)
            | Self::TooSlow
            | Self::Crowded
            | Self::WrongSignatures
            | Self::Busy => "rate-limited",
            Self::NotOpen | Self::Silent => "closed",
            Self::Protected {
                authenticated: false,
            }
            | Self::AuthRequired
            | Self::Proof(_)
            | Self::GiftWraps => "auth-required",
            Self::Protected {
                authenticated: true,
            }
            | Self::NotAdmitted => "restricted",
            Self::NoSearch | Self::Uncountable(_) => "unsupported",
            Self::Deadline | Self::Store | Self::Stopping | Self::SearchBehind | Self::DiskFull => {
                "error"
            }
        }
    }

    /// `prefix: message`, as it stands in OK and CLOSED.
    #[must_use]
    pub fn to_wire(&self) -> String {
        format!("{}: {self}", self.prefix())
    }
}
