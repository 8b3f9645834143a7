//! What the model calls of a turn cost, as the gateway saw it: facts.

use tokio::time::Instant;

use super::saying::tag;
use crate::{
    job::Failure,
    model::{CallStatus, ModelCall, ModelError},
};

/// Sentences about other models that one turn keeps.
const MOST: usize = 20;

/// The sum of a turn's calls.
#[derive(Debug)]
pub(super) struct Usage {
    /// When the turn began, or the last call ended: from there on it was the agent's time.
    mark: Instant,
    /// Tokens read.
    pub(super) prompt_tokens: u64,
    /// Tokens written.
    pub(super) output_tokens: u64,
    /// Milliseconds to the first piece of the first answer.
    pub(super) first_ms: Option<u64>,
    /// Milliseconds that the model took in all.
    pub(super) model_ms: u64,
    /// Whether a prompt did not fit the model's context.
    pub(super) truncated: bool,
    /// What the calls cost, in micro-dollars; those whose price is not known are left out.
    pub(super) cost_microusd: u64,
    /// Whether the price of a call is not known.
    pub(super) cost_unknown: bool,
    /// Sentences for the record: which model was asked in the place of which, and why.
    pub(super) fell_back: Vec<String>,
    /// Why the last call failed, if it did.
    pub(super) failed: Option<Failure>,
    /// The budget that is used up: the session cannot go on.
    pub(super) exhausted: Option<Failure>,
}

/// A call as a record tells it: details, and a line for people.
pub(super) fn describe(call: &ModelCall, agent_ms: u64) -> (Vec<Vec<String>>, String) {
    let mut detail = vec![
        tag("model", [call.model.to_string()]),
        tag(
            "tokens",
            [
                call.prompt_tokens.to_string(),
                call.output_tokens.to_string(),
            ],
        ),
        tag("ms", [call.latency_total_ms.to_string()]),
        tag("agent_ms", [agent_ms.to_string()]),
    ];
    detail.extend(
        call.latency_first_ms
            .map(|first| tag("first_ms", [first.to_string()])),
    );
    detail.push(tag("provider", [call.provider.clone()]));
    detail.extend(
        call.cost_microusd
            .map(|cost| tag("microusd", [cost.to_string()])),
    );
    let how = match &call.status {
        CallStatus::Ok => String::new(),
        CallStatus::Failed(error) => {
            detail.push(tag("failed", [error.code().to_owned()]));
            ", which failed".to_owned()
        }
    };
    let alt = format!(
        "Asked {}: {} tokens in, {} out, {:.1} s{how}",
        call.model,
        call.prompt_tokens,
        call.output_tokens,
        call.latency_total_ms as f64 / 1000.0
    );
    (detail, alt)
}

impl Usage {
    /// A turn begins.
    pub(super) fn new(began: Instant) -> Self {
        Self {
            mark: began,
            prompt_tokens: 0,
            output_tokens: 0,
            first_ms: None,
            model_ms: 0,
            truncated: false,
            cost_microusd: 0,
            cost_unknown: false,
            fell_back: Vec::new(),
            failed: None,
            exhausted: None,
        }
    }

    /// How long the agent took before this call, which has just ended, in milliseconds; none where calls
    /// overlap.
    pub(super) fn agent_ms(&mut self, call: &ModelCall) -> u64 {
        let now = Instant::now();
        let since = now.duration_since(std::mem::replace(&mut self.mark, now));
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        since.saturating_sub(call.latency_total_ms)
    }

    /// Takes a call in.
    pub(super) fn add(&mut self, call: ModelCall) {
        tracing::info!(
            model = %call.model,
            provider = call.provider,
            cost_microusd = call.cost_microusd,
            prompt_tokens = call.prompt_tokens,
            output_tokens = call.output_tokens,
            first_ms = call.latency_first_ms,
            total_ms = call.latency_total_ms,
            "model call"
        );
        self.prompt_tokens += call.prompt_tokens;
        self.output_tokens += call.output_tokens;
        self.first_ms = self.first_ms.or(call.latency_first_ms);
        self.model_ms += call.latency_total_ms;
        self.truncated |= call.truncated;
        match call.cost_microusd {
            Some(cost) => self.cost_microusd = self.cost_microusd.saturating_add(cost),
            None => self.cost_unknown = true,
        }
        if let Some(from) = &call.fell_back_from
            && self.fell_back.len() < MOST
        {
            let why = self.failed.as_ref().map_or("it failed", |f| &f.sentence);
            let sentence = format!("{} was asked in the place of {from}: {why}", call.model);
            self.fell_back.push(sentence);
        }
        self.failed = match call.status {
            CallStatus::Ok => None,
            CallStatus::Failed(error) => {
                // What only the owner's configuration mends is said with the failure.
                let sentence = match (&error, error.fix()) {
                    (
                        ModelError::NoKey { .. }
                        | ModelError::KeyRefused { .. }
                        | ModelError::NoPrice { .. },
                        Some(fix),
                    ) => format!("{error}. {fix}"),
                    _ => error.to_string(),
                };
                let failure = Failure::new(error.code(), sentence);
                if error.is_budget() {
                    self.exhausted = Some(failure.clone());
                }
                Some(failure)
            }
        };
    }
}
