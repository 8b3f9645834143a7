//! What a session has used, what its running calls will at least use, and whether that leaves room.
//!
//! A call reserves its prompt before it is sent, so that calls that run beside each other cannot pass a
//! budget together; its end puts what was really used in the reservation's place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::provider::Price;
use super::{Budget, ModelError};

/// The shortest sleep before a clock is read again.
const TICK: Duration = Duration::from_millis(10);

/// What a session has used so far.
#[derive(Debug, Default)]
pub(super) struct Totals {
    used: Mutex<Used>,
    /// A reservation was given back.
    settled: Notify,
}

#[derive(Debug, Default)]
struct Used {
    tokens: u64,
    millis: u64,
    microusd: u64,
    /// What running calls hold.
    reserved_tokens: u64,
    reserved_microusd: u64,
    /// When they began, by the session's clock.
    running: Vec<Instant>,
    /// How long the session stood still in all until now, and since when it does.
    stood: Duration,
    still: Option<Instant>,
}

/// What a running call holds of its session's budget, until it is settled.
#[derive(Debug)]
pub(super) struct Reservation {
    totals: Arc<Totals>,
    price: Option<Price>,
    /// By the session's clock.
    started: Instant,
    prompt: u64,
    written: u64,
    microusd: u64,
}

impl Used {
    /// The session's clock: it stands still with the session.
    fn clock(&self) -> Instant {
        let now = Instant::now();
        let still = self.still.map_or(Duration::ZERO, |since| now - since);
        now.checked_sub(self.stood + still).unwrap_or(now)
    }

    /// Milliseconds of the model's time with the running calls.
    fn millis(&self, now: Instant) -> u64 {
        let running = self
            .running
            .iter()
            .map(|at| millis(now.saturating_duration_since(*at)));
        running.fold(self.millis, u64::saturating_add)
    }

    /// Whether a call fits beside what is used; `reserved`: and beside what is running.
    fn fits(
        &self,
        budget: Budget,
        prompt: u64,
        cost: u64,
        reserved: bool,
    ) -> Result<(), ModelError> {
        let over = |limit: u64, used: u64, held: u64, more: u64| {
            let used = used.saturating_add(if reserved { held } else { 0 });
            used >= limit || used.saturating_add(more) > limit
        };
        if let Some(limit) = budget.tokens
            && over(limit, self.tokens, self.reserved_tokens, prompt)
        {
            return Err(ModelError::Tokens { limit });
        }
        if let Some(limit) = budget.microusd
            && over(limit, self.microusd, self.reserved_microusd, cost)
        {
            return Err(ModelError::Money { limit });
        }
        Ok(())
    }
}

impl Totals {
    fn used(&self) -> MutexGuard<'_, Used> {
        // Numbers that a panic left are numbers still.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a prompt. When only running calls are in its way, it waits for their ends: they may use less than
    /// they hold.
    ///
    /// # Errors
    ///
    /// When a budget is used up, or the prompt is more than is left of it.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        budget: Budget,
        prompt: u64,
        price: Option<Price>,
    ) -> Result<Reservation, ModelError> {
        let microusd = price.map_or(0, |price| price.of(prompt, 0));
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            {
                let mut used = self.used();
                let started = used.clock();
                used.fits(budget, prompt, microusd, false)?;
                check_time(&used, budget, started)?;
                if used.fits(budget, prompt, microusd, true).is_ok() {
                    used.reserved_tokens = used.reserved_tokens.saturating_add(prompt);
                    used.reserved_microusd = used.reserved_microusd.saturating_add(microusd);
                    used.running.push(started);
                    return Ok(Reservation {
                        totals: Arc::clone(self),
                        price,
                        started,
                        prompt,
                        written: 0,
                        microusd,
                    });
                }
            }
            settled.await;
        }
    }

    /// Forgets what was used; what runs still holds what it holds.
    pub(super) fn clear(&self) {
        let mut used = self.used();
        (used.tokens, used.millis, used.microusd) = (0, 0, 0);
    }

    /// The session stands still from now on, and its time with it, or goes on.
    pub(super) fn stand_still(&self, still: bool) {
        let mut used = self.used();
        match (used.still, still) {
            (None, true) => used.still = Some(Instant::now()),
            (Some(since), false) => {
                used.stood += since.elapsed();
                used.still = None;
            }
            _ => {}
        }
    }

    /// Whether the session may go on.
    ///
    /// # Errors
    ///
    /// When a budget is used up.
    pub(super) fn check(&self, budget: Budget) -> Result<(), ModelError> {
        let used = self.used();
        used.fits(budget, 0, 0, true)?;
        check_time(&used, budget, used.clock())
    }

    /// Waits until the session's time is used up, by whichever of its calls.
    pub(super) async fn out_of_time(&self, budget: Budget) -> ModelError {
        let Some(limit) = budget.seconds else {
            return std::future::pending().await;
        };
        loop {
            let (left, calls) = {
                let used = self.used();
                let spent = used.millis(used.clock());
                let left = limit.saturating_mul(1000).saturating_sub(spent);
                (Duration::from_millis(left), used.running.len())
            };
            if left.is_zero() {
                return ModelError::Seconds { limit };
            }
            let calls = u32::try_from(calls).unwrap_or(u32::MAX).max(1);
            // Another call may begin meanwhile and share what is left.
            tokio::time::sleep((left / calls).clamp(TICK, Duration::from_millis(250))).await;
        }
    }
}

fn check_time(used: &Used, budget: Budget, now: Instant) -> Result<(), ModelError> {
    match budget.seconds {
        Some(limit) if used.millis(now) >= limit.saturating_mul(1000) => {
            Err(ModelError::Seconds { limit })
        }
        _ => Ok(()),
    }
}

impl Reservation {
    /// A token of the answer came: it is used, whatever the end says.
    pub(super) fn token(&mut self) {
        self.written += 1;
        let cost = self
            .price
            .map_or(0, |price| price.of(self.prompt, self.written));
        let mut used = self.totals.used();
        used.reserved_tokens += 1;
        used.reserved_microusd += cost.saturating_sub(self.microusd);
        drop(used);
        self.microusd = self.microusd.max(cost);
    }

    /// Puts what the call really used in the place of what it held.
    pub(super) fn settle(self, tokens: u64, microusd: u64) {
        let mut used = self.totals.used();
        let held = self.prompt.saturating_add(self.written);
        used.reserved_tokens = used.reserved_tokens.saturating_sub(held);
        used.reserved_microusd = used.reserved_microusd.saturating_sub(self.microusd);
        if let Some(at) = used.running.iter().position(|at| *at == self.started) {
            used.running.swap_remove(at);
        }
        used.tokens = used.tokens.saturating_add(tokens);
        used.microusd = used.microusd.saturating_add(microusd);
        let took = used.clock().saturating_duration_since(self.started);
        used.millis = used.millis.saturating_add(millis(took));
        drop(used);
        self.totals.settled.notify_waiters();
    }
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_that_stands_still_uses_no_time() {
        let totals = Arc::new(Totals::default());
        let budget = Budget {
            seconds: Some(1),
            ..Budget::default()
        };
        let call = totals.reserve(budget, 1, None).await.unwrap();
        totals.stand_still(true);
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert!(totals.check(budget).is_ok());
        totals.stand_still(true);
        totals.stand_still(false);
        assert!(totals.check(budget).is_ok());
        let waited = Instant::now();
        let error = totals.out_of_time(budget).await;
        assert!(matches!(error, ModelError::Seconds { limit: 1 }));
        assert!(waited.elapsed() > Duration::from_millis(700));
        call.settle(1, 0);
        assert!(totals.used().millis < 1200 + 1000);
    }
}
