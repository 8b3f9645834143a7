//! What a relay says that nobody asked for is borne for a while, and not for ever.

use std::time::Instant;

use crate::bucket::{Limit, Rate};

/// Messages, and bytes of them.
const MESSAGES: Rate = Rate {
    per_s: 10.0,
    most: 500.0,
};
const BYTES: Rate = Rate {
    per_s: 262_144.0,
    most: 8_388_608.0,
};

/// How much more of it is borne on a connection.
#[derive(Debug)]
pub(super) struct Patience {
    messages: Limit,
    bytes: Limit,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            messages: Limit::new(MESSAGES, now),
            bytes: Limit::new(BYTES, now),
        }
    }

    /// Bears a message of so many bytes; false when that was too much.
    pub(super) fn bears(&mut self, bytes: usize, now: Instant) -> bool {
        self.messages.takes(1, now) && self.bytes.takes(bytes, now)
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
