//! What a relay says that nobody asked for is borne for a while, and not for ever.

use std::time::Instant;

/// Messages, and bytes of them: at once, and in a second after that.
const MESSAGES: Bound = Bound {
    burst: 500.0,
    rate: 10.0,
};
const BYTES: Bound = Bound {
    burst: 8_388_608.0,
    rate: 262_144.0,
};

struct Bound {
    burst: f64,
    rate: f64,
}

/// How much more of it is borne on a connection.
#[derive(Debug)]
pub(super) struct Patience {
    messages: f64,
    bytes: f64,
    at: Instant,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            messages: MESSAGES.burst,
            bytes: BYTES.burst,
            at: now,
        }
    }

    /// Bears a message of so many bytes; false when that was too much.
    pub(super) fn bears(&mut self, bytes: usize, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        let left = |bound: &Bound, left: f64| passed.mul_add(bound.rate, left).min(bound.burst);
        self.messages = left(&MESSAGES, self.messages) - 1.0;
        self.bytes = left(&BYTES, self.bytes) - bytes as f64;
        self.messages >= 0.0 && self.bytes >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_little_is_borne_for_ever_and_a_flood_is_not() {
        let now = Instant::now();
        let mut patience = Patience::new(now);
        for second in 0..10_000 {
            let now = now + Duration::from_secs(second);
            assert!((0..10).all(|_| patience.bears(1000, now)));
        }
        let later = now + Duration::from_secs(20_000);
        assert!((0..500).all(|_| patience.bears(10, later)));
        assert!(!patience.bears(10, later));
        let mut patience = Patience::new(now);
        assert!(patience.bears(4 << 20, now) && patience.bears(4 << 20, now));
        assert!(!patience.bears(4 << 20, now));
    }
}
