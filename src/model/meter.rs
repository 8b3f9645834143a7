//! What a session uses: one [`ModelCall`] per call, whatever became of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::OwnedPermit;

use super::budget::{Reservation, Totals, millis};
use super::dialect::prompt::Prompt;
use super::provider::{Price, Target};
use super::{Budget, ModelError, ModelName};

/// How a call ended.
#[derive(Debug)]
pub enum CallStatus {
    /// The model said that it is done.
    Ok,
    /// It did not.
    Failed(ModelError),
}

impl CallStatus {
    /// Whether the server had the prompt in its hands and may have read it.
    fn was_read(&self) -> bool {
        match self {
            Self::Ok => true,
            Self::Failed(error) => error.after_reading(),
        }
    }
}

/// One model call as the host saw it: a fact of the session's record.
#[derive(Debug)]
pub struct ModelCall {
    /// The model, with its provider unless that is Ollama.
    pub model: ModelName,
    /// The provider.
    pub provider: String,
    /// Whether nothing left this machine and its network.
    pub local: bool,
    /// The model that was asked before it and failed; that call has a record of its own.
    pub fell_back_from: Option<ModelName>,
    /// How it ended.
    pub status: CallStatus,
    /// Tokens read, as the server counted them; 0 when it did not say.
    pub prompt_tokens: u64,
    /// Tokens written: the server's count, or the pieces that came when it did not say.
    pub output_tokens: u64,
    /// What it cost, in micro-dollars, when the price is known; from below for a call that broke off.
    pub cost_microusd: Option<u64>,
    /// Milliseconds to the answer's first piece.
    pub latency_first_ms: Option<u64>,
    /// Milliseconds to the end.
    pub latency_total_ms: u64,
    /// Milliseconds that the server spent loading the model.
    pub load_ms: Option<u64>,
    /// The prompt did not fit the context: the model did not read all of it.
    pub truncated: bool,
}

/// What the server counted.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    /// Tokens read.
    pub(super) prompt: Option<u64>,
    /// Tokens written.
    pub(super) output: Option<u64>,
    /// Nanoseconds that the server spent loading the model.
    pub(super) load_nanos: Option<u64>,
}

/// A call that runs. However it ends (also by being dropped), its [`ModelCall`] is sent: the room for
/// it was reserved before the call began.
#[derive(Debug)]
pub(super) struct Running {
    permit: Option<OwnedPermit<ModelCall>>,
    totals: Arc<Totals>,
    call: About,
    /// What it holds of the budget; none before it was let in.
    held: Option<Reservation>,
    /// How long its prompt is.
    prompt: Prompt,
    started: Instant,
    first: Option<Duration>,
    pieces: u64,
    counts: Counts,
}

/// What a call is about.
#[derive(Debug)]
pub(super) struct About {
    pub(super) target: Target,
    /// The context that was asked for; `None` where the provider decides.
    pub(super) num_ctx: Option<u32>,
    pub(super) fell_back_from: Option<ModelName>,
}

impl Running {
    pub(super) fn start(permit: OwnedPermit<ModelCall>, totals: Arc<Totals>, call: About) -> Self {
        Self {
            permit: Some(permit),
            totals,
            call,
            held: None,
            prompt: Prompt::default(),
            started: Instant::now(),
            first: None,
            pieces: 0,
            counts: Counts::default(),
        }
    }

    /// Takes what the prompt will use out of the session's budget, for as long as the call runs.
    ///
    /// # Errors
    ///
    /// When that is more than is left.
    pub(super) async fn reserve(
        &mut self,
        budget: Budget,
        prompt: Prompt,
    ) -> Result<(), ModelError> {
        let held = self.totals.reserve(budget, prompt.estimate, self.price());
        self.held = Some(held.await?);
        self.prompt = prompt;
        Ok(())
    }

    /// Whether the session may go on.
    ///
    /// # Errors
    ///
    /// When a budget is used up, with what all running calls have used so far.
    pub(super) fn check(&self, budget: Budget) -> Result<(), ModelError> {
        self.totals.check(budget)
    }

    /// The session's totals.
    pub(super) fn totals(&self) -> Arc<Totals> {
        Arc::clone(&self.totals)
    }

    fn price(&self) -> Option<Price> {
        self.call.target.provider.price()
    }

    /// A piece of the answer came. Ollama sends one token in each, so it counts at once.
    pub(super) fn piece(&mut self) {
        self.first.get_or_insert_with(|| self.started.elapsed());
        self.pieces += 1;
        if let Some(held) = &mut self.held {
            held.token();
        }
    }

    /// What the server counted so far.
    pub(super) fn counted(&mut self, counts: Counts) {
        self.counts = counts;
    }

    /// The answer is whole.
    pub(super) fn done(&mut self) {
        self.first.get_or_insert_with(|| self.started.elapsed());
        self.end(CallStatus::Ok);
    }

    /// The call failed; `error` is for the record.
    pub(super) fn fail(&mut self, error: ModelError) {
        self.end(CallStatus::Failed(error));
    }

    fn end(&mut self, status: CallStatus) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let total = self.started.elapsed();
        let counts = self.counts;
        let read = counts.prompt.unwrap_or(0);
        let written = match (&status, counts.output) {
            (CallStatus::Ok, Some(output)) => output,
            // What was counted before the answer broke off is not all.
            (_, output) => output.unwrap_or(0).max(self.pieces),
        };
        let least = self.prompt.least;
        // A call that broke off has cost its prompt all the same, or cancelling would be free.
        let begun = self.first.is_some() || status.was_read();
        let charged = match counts.prompt {
            Some(read) => read.max(least),
            None if begun && self.held.is_some() => self.prompt.estimate,
            None => 0,
        };
        let cost = self.price().map(|price| match counts.prompt {
            Some(read) => price.of(read, written),
            None => price.of(charged, written),
        });
        if let Some(held) = self.held.take() {
            held.settle(charged.saturating_add(written), cost.unwrap_or(0));
        }
        let target = &self.call.target;
        permit.send(ModelCall {
            model: target.name(),
            provider: target.provider.name().to_owned(),
            local: target.is_local(),
            fell_back_from: self.call.fell_back_from.take(),
            status,
            prompt_tokens: read,
            output_tokens: written,
            cost_microusd: cost,
            latency_first_ms: self.first.map(millis),
            latency_total_ms: millis(total),
            load_ms: counts.load_nanos.map(|nanos| nanos / 1_000_000),
            truncated: self
                .call
                .num_ctx
                .is_some_and(|num_ctx| truncated(counts.prompt, u64::from(num_ctx), least)),
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(CallStatus::Failed(ModelError::Cancelled));
    }
}

/// Ollama drops the oldest messages of a prompt that does not fit, and says nothing. It shows in the
/// count: the context is full, or far fewer tokens were read than the prompt must have. (Old versions
/// leave cached tokens out of the count, hence the second test's condition that it could not fit.)
fn truncated(read: Option<u64>, num_ctx: u64, least_tokens: u64) -> bool {
    let Some(read) = read else { return false };
    read + 1 >= num_ctx || (least_tokens >= num_ctx && read * 2 < least_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_prompt_shows_in_the_counts() {
        for (read, num_ctx, least, expected) in [
            (Some(8191), 8192, 9000, true),
            (Some(8190), 8192, 8000, false),
            (Some(100), 8192, 9000, true),
            (Some(100), 8192, 5000, false),
            (None, 8192, 9000, false),
        ] {
            assert_eq!(
                truncated(read, num_ctx, least),
                expected,
                "{read:?} {num_ctx} {least}"
            );
        }
    }

    #[tokio::test]
    async fn a_dropped_call_is_recorded_and_charged() {
        let (calls, mut recorded) = tokio::sync::mpsc::channel(1);
        let totals = Arc::new(Totals::default());
        let permit = calls.reserve_owned().await.unwrap();
        let config = crate::model::Config::default();
        let endpoint = config.endpoint().unwrap();
        let providers =
            crate::model::provider::Providers::new(&config, &endpoint, &|_| None).unwrap();
        let about = About {
            target: providers.resolve("m"),
            num_ctx: Some(8192),
            fell_back_from: None,
        };
        let mut running = Running::start(permit, Arc::clone(&totals), about);
        let prompt = Prompt {
            least: 8,
            estimate: 10,
        };
        running.reserve(Budget::default(), prompt).await.unwrap();
        running.piece();
        drop(running);
        let call = recorded.recv().await.unwrap();
        assert!(matches!(
            call.status,
            CallStatus::Failed(ModelError::Cancelled)
        ));
        assert_eq!(call.output_tokens, 1);
        let budget = |tokens| Budget {
            tokens: Some(tokens),
            ..Budget::default()
        };
        assert!(totals.check(budget(12)).is_ok());
        assert!(matches!(
            totals.check(budget(11)),
            Err(ModelError::Tokens { limit: 11 })
        ));
    }
}
