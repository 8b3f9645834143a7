//! What a session uses: one [`ModelCall`] per call, whatever became of it, and the totals that its
//! budget is held against.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::OwnedPermit;

use super::{Budget, ModelError, ModelName};

/// How a call ended.
#[derive(Debug)]
pub enum CallStatus {
    /// The model said that it is done.
    Ok,
    /// It did not.
    Failed(ModelError),
}

/// One model call as the host saw it: a fact of the session's record.
#[derive(Debug)]
pub struct ModelCall {
    /// The model.
    pub model: ModelName,
    /// How it ended.
    pub status: CallStatus,
    /// Tokens read, as the server counted them; 0 when it did not say.
    pub prompt_tokens: u64,
    /// Tokens written: the server's count, or the pieces that came when it did not say.
    pub output_tokens: u64,
    /// Milliseconds to the answer's first piece.
    pub latency_first_ms: Option<u64>,
    /// Milliseconds to the end.
    pub latency_total_ms: u64,
    /// Milliseconds that the server spent loading the model.
    pub load_ms: Option<u64>,
    /// The prompt did not fit the context: the model did not read all of it.
    pub truncated: bool,
}

/// What a session has used so far.
#[derive(Debug, Default)]
pub(super) struct Totals {
    tokens: AtomicU64,
    millis: AtomicU64,
}

impl Totals {
    /// How much of the model's time is left.
    ///
    /// # Errors
    ///
    /// When a budget is used up.
    pub(super) fn check(&self, budget: Budget) -> Result<Option<Duration>, ModelError> {
        self.check_tokens(budget)?;
        let Some(limit) = budget.seconds else {
            return Ok(None);
        };
        let used = Duration::from_millis(self.millis.load(Ordering::Relaxed));
        match Duration::from_secs(limit).checked_sub(used) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(ModelError::Seconds { limit }),
        }
    }

    /// # Errors
    ///
    /// When the tokens are used up.
    pub(super) fn check_tokens(&self, budget: Budget) -> Result<(), ModelError> {
        match budget.tokens {
            Some(limit) if self.tokens.load(Ordering::Relaxed) >= limit => {
                Err(ModelError::Tokens { limit })
            }
            _ => Ok(()),
        }
    }
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
    model: ModelName,
    num_ctx: u64,
    least_tokens: u64,
    started: Instant,
    first: Option<Duration>,
    pieces: u64,
}

impl Running {
    pub(super) fn start(
        permit: OwnedPermit<ModelCall>,
        totals: Arc<Totals>,
        model: ModelName,
        num_ctx: u32,
        least_tokens: u64,
    ) -> Self {
        Self {
            permit: Some(permit),
            totals,
            model,
            num_ctx: u64::from(num_ctx),
            least_tokens,
            started: Instant::now(),
            first: None,
            pieces: 0,
        }
    }

    /// A piece of the answer came. Ollama sends one token in each, so it counts at once.
    pub(super) fn piece(&mut self) {
        self.first.get_or_insert_with(|| self.started.elapsed());
        self.pieces += 1;
        self.totals.tokens.fetch_add(1, Ordering::Relaxed);
    }

    /// The answer is whole.
    pub(super) fn done(&mut self, counts: Counts) {
        self.first.get_or_insert_with(|| self.started.elapsed());
        self.end(CallStatus::Ok, counts);
    }

    /// The call failed; `error` is for the record.
    pub(super) fn fail(&mut self, error: ModelError) {
        self.end(CallStatus::Failed(error), Counts::default());
    }

    fn end(&mut self, status: CallStatus, counts: Counts) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let total = self.started.elapsed();
        let read = counts.prompt.unwrap_or(0);
        let written = counts.output.unwrap_or(self.pieces);
        // A call that was ended early has cost its prompt too, or cancelling would be free.
        let begun = self.first.is_some();
        let charged = if begun {
            read.max(self.least_tokens)
        } else {
            read
        };
        let charge = charged + written.saturating_sub(self.pieces);
        self.totals.tokens.fetch_add(charge, Ordering::Relaxed);
        self.totals
            .millis
            .fetch_add(millis(total), Ordering::Relaxed);
        permit.send(ModelCall {
            model: self.model.clone(),
            status,
            prompt_tokens: read,
            output_tokens: written,
            latency_first_ms: self.first.map(millis),
            latency_total_ms: millis(total),
            load_ms: counts.load_nanos.map(|nanos| nanos / 1_000_000),
            truncated: truncated(counts.prompt, self.num_ctx, self.least_tokens),
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(CallStatus::Failed(ModelError::Cancelled), Counts::default());
    }
}

/// Ollama drops the oldest messages of a prompt that does not fit, and says nothing. It shows in the
/// count: the context is full, or far fewer tokens were read than the prompt must have. (Old versions
/// leave cached tokens out of the count, hence the second test's condition that it could not fit.)
fn truncated(read: Option<u64>, num_ctx: u64, least_tokens: u64) -> bool {
    let Some(read) = read else { return false };
    read + 1 >= num_ctx || (least_tokens >= num_ctx && read * 2 < least_tokens)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
        let mut running = Running::start(permit, Arc::clone(&totals), "m".into(), 8192, 10);
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
            seconds: None,
        };
        assert!(totals.check(budget(12)).is_ok());
        assert!(matches!(
            totals.check(budget(11)),
            Err(ModelError::Tokens { limit: 11 })
        ));
    }
}
