//! An agent's requests for permission, and when they are answered.
//!
//! Usually at once, as the [`PermissionPolicy`] says that holds in that moment. With
//! [`super::acp::Limits::permission_wait`] the answer waits for whoever reads the claims, so that something can be done
//! first, such as a checkpoint: until [`Answer::give`], until the claim is dropped, or until the time is over. Who has
//! to ask a person takes the answer into its own hands ([`Answer::hold`]): then there is no such time any more.
//! Invariants: every request is answered exactly once, and the first answer counts; one whose session is being
//! cancelled is answered "cancelled", whoever answers it; one that is held is answered by its holder, or as the policy
//! says when that is gone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::acp::{PermissionPolicy, SessionId};

/// Options of a request that are read, and bytes of a kind and of a name that are kept.
const OPTIONS: usize = 32;
const KIND_BYTES: usize = 64;
const NAME_BYTES: usize = 512;

/// The protocol's kinds of options; whatever else an agent says is the last of them.
const KINDS: [&str; 5] = [
    "allow_once",
    "allow_always",
    "reject_once",
    "reject_always",
    "other",
];

/// How requests are answered right now.
#[derive(Debug, Clone, Default)]
pub(super) struct Stance {
    /// Where nobody else answers.
    pub(super) policy: PermissionPolicy,
    /// The sessions that are being cancelled.
    pub(super) cancelling: HashSet<SessionId>,
}

/// The answer to one request. Clones share it.
#[derive(Debug, Clone)]
pub struct Answer(Arc<Handle>);

/// One of the options that an agent gives; its place in the list is its name on our side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The agent's word: `allow_once`, …, or any other.
    pub kind: String,
    /// For people.
    pub name: String,
    /// What the agent calls it.
    id: Value,
}

/// When the last clone goes, nobody will answer any more, and the policy does.
#[derive(Debug)]
struct Handle(Arc<Request>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.answer(By::Policy);
    }
}

impl Answer {
    /// Answers now, as the policy says; returns the kind of the option that the agent was told
    /// (`allow_once`, …), now or before, and `None` for "cancelled".
    pub fn give(&self) -> Option<&'static str> {
        self.answer(By::Policy)
    }

    /// The options, in the agent's order.
    #[must_use]
    pub fn options(&self) -> &[Choice] {
        &self.0.0.options
    }

    /// Takes the answer into the caller's hands: it waits for the caller as long as that takes. No when the agent was
    /// told already.
    #[must_use]
    pub fn hold(&self) -> bool {
        let mut state = self.0.0.state();
        state.held = state.told.is_none();
        state.held
    }

    /// Answers with the option at this place of the list; returns what the agent was told, as [`Self::give`].
    pub fn choose(&self, place: usize) -> Option<&'static str> {
        self.answer(By::Choice(place))
    }

    /// Answers "cancelled".
    pub fn cancel(&self) {
        self.answer(By::Nobody);
    }

    /// The place of the option that stands for no: to this once, else for ever.
    #[must_use]
    pub fn no(&self) -> Option<usize> {
        self.0.0.by_policy(PermissionPolicy::Reject)
    }

    fn answer(&self, by: By) -> Option<&'static str> {
        let Handle(request) = &*self.0;
        request.answer(by)
    }
}

/// By what the agent was told.
impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        self.0.0.state().told == other.0.0.state().told
    }
}

/// Who answers.
#[derive(Debug, Clone, Copy)]
enum By {
    Policy,
    Choice(usize),
    Nobody,
}

/// What became of a request.
#[derive(Debug, Default)]
struct State {
    /// The place of the option that the agent was told; nothing in it means "cancelled".
    told: Option<Option<usize>>,
    /// Whether somebody took the answer into their hands.
    held: bool,
}

#[derive(Debug)]
pub(super) struct Request {
    options: Vec<Choice>,
    session: Option<SessionId>,
    stance: watch::Receiver<Stance>,
    state: Mutex<State>,
    answered: CancellationToken,
}

impl Request {
    /// Reads a request's parameters.
    pub(super) fn new(params: &Value, stance: watch::Receiver<Stance>) -> Arc<Self> {
        let session = params.get("sessionId").and_then(Value::as_str);
        let options = params.get("options").and_then(Value::as_array);
        let cut = |text: &str, bytes: usize| text[..text.floor_char_boundary(bytes)].to_owned();
        let read = |option: &Value| {
            let kind = cut(option.get("kind")?.as_str()?, KIND_BYTES);
            let name = option.get("name").and_then(Value::as_str);
            Some(Choice {
                name: cut(name.unwrap_or(&kind), NAME_BYTES),
                kind,
                id: option.get("optionId")?.clone(),
            })
        };
        let options = options.into_iter().flatten().take(OPTIONS);
        Arc::new(Self {
            options: options.filter_map(read).collect(),
            session: session.map(|id| SessionId(id.to_owned())),
            stance,
            state: Mutex::default(),
            answered: CancellationToken::new(),
        })
    }

    /// What goes to whoever reads the claims.
    pub(super) fn handle(self: &Arc<Self>) -> Answer {
        Answer(Arc::new(Handle(Arc::clone(self))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_policy(&self, policy: PermissionPolicy) -> Option<usize> {
        let of = |kind| self.options.iter().position(|option| option.kind == kind);
        policy.kinds().into_iter().find_map(of)
    }

    /// The first answer counts.
    fn answer(&self, by: By) -> Option<&'static str> {
        let mut state = self.state();
        let told = self.tell(&mut state, by);
        drop(state);
        self.answered.cancel();
        let kind = &self.options.get(told?)?.kind;
        KINDS
            .into_iter()
            .find(|known| known == kind)
            .or(KINDS.last().copied())
    }

    fn tell(&self, state: &mut State, by: By) -> Option<usize> {
        *state.told.get_or_insert_with(|| {
            let stance = self.stance.borrow();
            let is_cancelled = self
                .session
                .as_ref()
                .is_some_and(|session| stance.cancelling.contains(session));
            match by {
                _ if is_cancelled => None,
                By::Nobody => None,
                By::Choice(place) => Some(place).filter(|place| *place < self.options.len()),
                By::Policy => self.by_policy(stance.policy),
            }
        })
    }

    /// Waits until it is answered, cancelled, or the time is over and nobody holds it.
    pub(super) async fn wait(&self, at_most: Duration) {
        let mut stance = self.stance.clone();
        let cancelled = stance.wait_for(|stance| {
            self.session
                .as_ref()
                .is_some_and(|session| stance.cancelling.contains(session))
        });
        let too_late = async {
            tokio::time::sleep(at_most).await;
            if !self.expire() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = self.answered.cancelled() => {}
            Ok(_) = cancelled => {}
            () = too_late => {}
        }
    }

    /// Nobody can take it into their hands any more, unless somebody has; whether nobody had.
    fn expire(&self) -> bool {
        let mut state = self.state();
        if state.held {
            return false;
        }
        self.tell(&mut state, By::Policy);
        tracing::warn!("nobody answered the agent's request for permission in time");
        true
    }

    /// The result for the agent; answers as the policy says if nobody has.
    pub(super) fn result(&self) -> Value {
        let told = self.tell(&mut self.state(), By::Policy);
        let outcome = match told.and_then(|place| self.options.get(place)) {
            Some(option) => json!({"outcome": "selected", "optionId": option.id}),
            None => json!({"outcome": "cancelled"}),
        };
        json!({"outcome": outcome})
    }
}
