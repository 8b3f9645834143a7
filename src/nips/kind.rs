//! Every event kind that treefort writes or reads, in one registry.
//!
//! The numbers come from the NIPs named beside them; 478x and 34780 are ours (`nips/agent-session.md`).

use nostr::Kind;

/// Profile (NIP-01).
pub const PROFILE: u16 = 0;
/// Short text note (NIP-10): the thread that any client shows.
pub const NOTE: u16 = 1;
/// Deletion request (NIP-09); from a customer on its own job, a cancellation (NIP-90).
pub const DELETION: u16 = 5;
/// Request to vanish (NIP-62).
pub const VANISH: u16 = 62;
/// Gift wrap (NIP-59).
pub const GIFT_WRAP: u16 = 1059;
/// Comment (NIP-22).
pub const COMMENT: u16 = 1111;
/// Reaction (NIP-25).
pub const REACTION: u16 = 7;
/// A version of a recipe.
pub const RECIPE: u16 = 4780;
/// The newest version of a recipe.
pub const RECIPE_HEAD: u16 = 34780;
/// Session start.
pub const SESSION_START: u16 = 4781;
/// Action: a message, a command, a file change.
pub const ACTION: u16 = 4782;
/// Checkpoint.
pub const CHECKPOINT: u16 = 4783;
/// Error.
pub const ERROR: u16 = 4784;
/// Session end.
pub const SESSION_END: u16 = 4785;
/// Settlement receipt.
pub const RECEIPT: u16 = 4786;
/// Settlement verification.
pub const VERIFICATION: u16 = 4787;
/// Text generation request (NIP-90).
pub const TEXT_GENERATION: u16 = 5050;
/// Agent task request (NIP-90); also the inner hop from the coordinator to a session.
pub const AGENT_TASK: u16 = 5870;
/// Agent task result (NIP-90).
pub const AGENT_TASK_RESULT: u16 = 6870;
/// Workspace task request (NIP-90): the owner looks at, undoes, takes home or discards what an agent did.
pub const WORKSPACE_TASK: u16 = 5871;
/// Workspace task result (NIP-90).
pub const WORKSPACE_TASK_RESULT: u16 = 6871;
/// Job feedback (NIP-90).
pub const JOB_FEEDBACK: u16 = 7000;
/// Relay list (NIP-65).
pub const RELAY_LIST: u16 = 10002;
/// Client authentication (NIP-42). Never stored.
pub const CLIENT_AUTH: u16 = 22242;
/// HTTP authentication (NIP-98); also the signed answer to a challenge at `/.well-known/treefort`. Never stored.
pub const HTTP_AUTH: u16 = 27235;
/// Text that is still being written (ephemeral).
pub const LIVE_DELTA: u16 = 24135;
/// Follow set (NIP-51); `d` = `treefort/allowed` holds the admitted keys.
pub const FOLLOW_SET: u16 = 30000;
/// Application data (NIP-78); `d` = `treefort/status` says how the coordinator is.
pub const APP_DATA: u16 = 30078;
/// Handler information (NIP-89).
pub const HANDLER: u16 = 31990;

/// First and last job request kind (NIP-90).
pub const JOB_REQUESTS: std::ops::RangeInclusive<u16> = 5000..=5999;
/// First and last job result kind (NIP-90).
pub const JOB_RESULTS: std::ops::RangeInclusive<u16> = 6000..=6999;
/// Session records that only the owner's own purge may erase.
pub const RECORDS: std::ops::RangeInclusive<u16> = 4781..=4787;

/// Whether a kind is a NIP-90 job request.
#[must_use]
pub fn is_job_request(kind: Kind) -> bool {
    JOB_REQUESTS.contains(&kind.as_u16())
}

/// Whether a kind is a NIP-90 job result.
#[must_use]
pub fn is_job_result(kind: Kind) -> bool {
    JOB_RESULTS.contains(&kind.as_u16())
}

/// The result kind of a request kind (NIP-90: 1000 higher).
#[must_use]
pub fn result_of(request: Kind) -> Kind {
    Kind::from(request.as_u16().saturating_add(1000))
}
