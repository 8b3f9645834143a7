//! An agent's requests for permission, and when they are answered.
//!
//! Usually at once, as [`PermissionPolicy`] says. With [`super::acp::Limits::permission_wait`] the answer
//! waits for whoever reads the claims, so that something can be done first, such as a checkpoint: until
//! [`Answer::give`], until the claim is dropped, or until the time is over.
//! Invariants: every request is answered exactly once; one whose session is being cancelled is answered
//! "cancelled", whoever answers it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::acp::{PermissionPolicy, SessionId};

/// The sessions that are being cancelled.
pub(super) type Cancelling = HashSet<SessionId>;

/// The answer to one request. Clones share it.
#[derive(Debug, Clone)]
pub struct Answer(Arc<Handle>);

/// When the last clone goes, nobody will answer any more, and the policy does.
#[derive(Debug)]
struct Handle(Arc<Request>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.answer(self.0.policy);
    }
}

impl Answer {
    /// Answers now, as the policy says; returns the kind of the option that the agent was told
    /// (`allow_once`, …), now or before, and `None` for "cancelled".
    pub fn give(&self) -> Option<&'static str> {
        let Handle(request) = &*self.0;
        request.answer(request.policy)
    }
}

/// By what the agent was told.
impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        self.0.0.told() == other.0.0.told()
    }
}

/// The kind and the id of an option; `None` for "cancelled".
type Choice = Option<(&'static str, Value)>;

#[derive(Debug)]
pub(super) struct Request {
    /// Kinds and ids, in the agent's order.
    options: Vec<(String, Value)>,
    session: Option<SessionId>,
    policy: PermissionPolicy,
    cancelling: watch::Receiver<Cancelling>,
    told: Mutex<Option<Choice>>,
    answered: CancellationToken,
}

impl Request {
    /// Reads a request's parameters.
    pub(super) fn new(
        params: &Value,
        policy: PermissionPolicy,
        cancelling: watch::Receiver<Cancelling>,
    ) -> Arc<Self> {
        let session = params.get("sessionId").and_then(Value::as_str);
        let options = params.get("options").and_then(Value::as_array);
        let read = |option: &Value| {
            let kind = option.get("kind")?.as_str()?.to_owned();
            Some((kind, option.get("optionId")?.clone()))
        };
        Arc::new(Self {
            options: options.into_iter().flatten().filter_map(read).collect(),
            session: session.map(|id| SessionId(id.to_owned())),
            policy,
            cancelling,
            told: Mutex::default(),
            answered: CancellationToken::new(),
        })
    }

    /// What goes to whoever reads the claims.
    pub(super) fn handle(self: &Arc<Self>) -> Answer {
        Answer(Arc::new(Handle(Arc::clone(self))))
    }

    fn told(&self) -> Option<Choice> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    fn is_cancelled(&self) -> bool {
        let cancelling = self.cancelling.borrow();
        self.session
            .as_ref()
            .is_some_and(|session| cancelling.contains(session))
    }

    /// The first answer counts.
    fn answer(&self, policy: PermissionPolicy) -> Option<&'static str> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let choice = told.get_or_insert_with(|| {
            if self.is_cancelled() {
                return None;
            }
            policy.kinds().into_iter().find_map(|kind| {
                let option = self.options.iter().find(|(of, _)| of == kind)?;
                Some((kind, option.1.clone()))
            })
        });
        let kind = choice.as_ref().map(|(kind, _)| *kind);
        drop(told);
        self.answered.cancel();
        kind
    }

    /// Waits until it is answered, cancelled, or the time is over.
    pub(super) async fn wait(&self, at_most: Duration) {
        let mut cancelling = self.cancelling.clone();
        let cancelled = cancelling.wait_for(|sessions| {
            self.session
                .as_ref()
                .is_some_and(|session| sessions.contains(session))
        });
        tokio::select! {
            () = self.answered.cancelled() => {}
            Ok(_) = cancelled => {}
            () = tokio::time::sleep(at_most) => {
                tracing::warn!("nobody answered the agent's request for permission in time");
            }
        }
    }

    /// The result for the agent; answers as the policy says if nobody has.
    pub(super) fn result(&self) -> Value {
        self.answer(self.policy);
        let outcome = match self.told().flatten() {
            Some((_, option)) => json!({"outcome": "selected", "optionId": option}),
            None => json!({"outcome": "cancelled"}),
        };
        json!({"outcome": outcome})
    }
}
