//! Time that can stand still: what a job may take, and how long an agent waits for an answer. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A year is as good as never, and can be added to any time.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// What is left of a time, and whether it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    left: Duration,
    /// Since when it runs; nothing while it stands still.
    since: Option<Instant>,
}

impl Clock {
    /// So many seconds from now on.
    pub(super) fn new(seconds: u64, now: Instant) -> Self {
        Self {
            left: Duration::from_secs(seconds).min(NEVER),
            since: Some(now),
        }
    }

    /// Has it run or stand still from now on.
    pub(super) fn run(&mut self, runs: bool, now: Instant) {
        match (self.since, runs) {
            (Some(since), false) => {
                self.left = self
                    .left
                    .saturating_sub(now.saturating_duration_since(since));
                self.since = None;
            }
            (None, true) => self.since = Some(now),
            _ => {}
        }
    }

    /// When it is over; nothing while it stands still.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.left)
    }

    /// Whether it is over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }
}

/// Comes at that moment; never when there is none.
pub(super) async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_stands_still_does_not_pass() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut clock = Clock::new(10, at(0));
        assert_eq!(clock.due(), Some(at(10)));
        clock.run(true, at(3));
        assert_eq!(clock.due(), Some(at(10)));
        clock.run(false, at(4));
        clock.run(false, at(50));
        assert_eq!((clock.due(), clock.is_over(at(500))), (None, false));
        clock.run(true, at(100));
        assert_eq!(clock.due(), Some(at(106)));
        assert!(!clock.is_over(at(105)) && clock.is_over(at(106)));
        // More than is left is nothing left.
        clock.run(false, at(200));
        clock.run(true, at(300));
        assert!(clock.is_over(at(300)));
        // The longest time there is can be added to any moment.
        assert!(Clock::new(u64::MAX, at(0)).due().is_some());
    }
}
