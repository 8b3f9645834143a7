//! How many events may leave for a relay now.

use std::time::{Duration, Instant};

use super::address::NamedBy;
use crate::bucket::{Limit, Rate};

/// Events that are sent before anything is heard.
const AT_ONCE: usize = 16;
/// Of those for a relay that others named.
const OTHERS: Rate = Rate {
    per_s: 1.0,
    most: 20.0,
};

/// One of the owner's takes what there is, in the pace of its answers; one that others named is no way to flood somebody.
pub(super) struct Allowance(Option<Limit>);

impl Allowance {
    pub(super) fn of(by: NamedBy, now: Instant) -> Self {
        Self((by == NamedBy::Other).then(|| Limit::new(OTHERS, now)))
    }

    /// How long to wait for room; nothing when there is.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        let left = self.0.as_mut()?.left(now);
        (left < 1.0).then(|| Duration::from_secs_f64((1.0 - left) / OTHERS.per_s))
    }

    /// How many may leave at once.
    pub(super) fn room(&mut self, now: Instant) -> usize {
        let left = self.0.as_mut().map(|limit| limit.left(now) as usize);
        left.map_or(AT_ONCE, |left| left.min(AT_ONCE))
    }

    pub(super) fn take(&mut self, events: usize, now: Instant) {
        if let Some(limit) = &mut self.0 {
            limit.takes(events, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_others_name_is_not_flooded() {
        let count = |by: NamedBy| {
            let began = Instant::now();
            let mut allowance = Allowance::of(by, began);
            // Asked every tenth of a second for a minute.
            let mut sent = 0;
            for tenth in 0..600 {
                let now = began + Duration::from_millis(100 * tenth);
                let room = allowance.room(now);
                allowance.take(room, now);
                sent += room;
            }
            sent
        };
        assert_eq!(count(NamedBy::Owner), 600 * AT_ONCE);
        assert!((78..=81).contains(&count(NamedBy::Other)));
    }
}
