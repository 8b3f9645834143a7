//! How many events may leave for a relay now.

use std::time::{Duration, Instant};

use super::address::NamedBy;

/// Events that are sent before anything is heard.
const AT_ONCE: usize = 16;

/// One of the owner's takes what there is, in the pace of its answers; one that others named is no way to flood somebody.
pub(super) struct Allowance {
    room: Option<f64>,
    at: Instant,
}

impl Allowance {
    const BURST: f64 = 20.0;
    const A_SECOND: f64 = 1.0;

    pub(super) fn of(by: NamedBy) -> Self {
        Self {
            room: (by == NamedBy::Other).then_some(Self::BURST),
            at: Instant::now(),
        }
    }

    /// How long to wait for room; nothing when there is.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        let room = self.room.as_mut()?;
        *room = passed.mul_add(Self::A_SECOND, *room).min(Self::BURST);
        (*room < 1.0).then(|| Duration::from_secs_f64((1.0 - *room) / Self::A_SECOND))
    }

    /// How many may leave at once.
    pub(super) fn room(&mut self, now: Instant) -> usize {
        self.wait(now);
        let holds = |events: &usize| self.room.is_none_or(|room| room >= *events as f64);
        (1..=AT_ONCE).take_while(holds).count()
    }

    pub(super) fn take(&mut self, events: usize) {
        if let Some(room) = &mut self.room {
            *room -= events as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_others_name_is_not_flooded() {
        let count = |by: NamedBy| {
            let mut allowance = Allowance::of(by);
            let began = Instant::now();
            // Asked every tenth of a second for a minute.
            let mut sent = 0;
            for tenth in 0..600 {
                let now = began + Duration::from_millis(100 * tenth);
                let room = allowance.room(now);
                allowance.take(room);
                sent += room;
            }
            sent
        };
        assert_eq!(count(NamedBy::Owner), 600 * AT_ONCE);
        assert!((78..=81).contains(&count(NamedBy::Other)));
    }
}
