//! What strangers say to us through other relays takes little of this machine's disk.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use nostr::PublicKey;

/// Bytes of one event, of one stranger in a day, and of all of them in a day.
const ONE: usize = 16 << 10;
const EACH: usize = 256 << 10;
const ALL: usize = 16 << 20;
/// An event takes at least so much, with what is noted of it.
const LEAST: usize = 1 << 10;
const DAY: u64 = 24 * 3600;

/// What was taken in on one day.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<Day>);

#[derive(Debug, Default)]
struct Day {
    number: u64,
    all: usize,
    each: HashMap<PublicKey, usize>,
}

impl Strangers {
    /// Whether an event of so many bytes may come in; it is counted then. The time is in Unix seconds.
    pub(super) fn may_say(&self, who: PublicKey, bytes: usize, now: u64) -> bool {
        let mut day = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if day.number != now / DAY {
            *day = Day {
                number: now / DAY,
                ..Day::default()
            };
        }
        let takes = bytes.max(LEAST);
        let said = day.each.get(&who).copied().unwrap_or(0) + takes;
        if bytes > ONE || said > EACH || day.all + takes > ALL {
            return false;
        }
        day.all += takes;
        day.each.insert(who, said);
        true
    }
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;

    #[test]
    fn one_stranger_says_little_and_all_of_them_not_much() {
        let strangers = Strangers::default();
        let key = || Keys::generate().public_key();
        let (one, other) = (key(), key());
        assert!(!strangers.may_say(one, ONE + 1, 0));
        let said = (0..1000).filter(|_| strangers.may_say(one, ONE, 0)).count();
        assert_eq!(said, EACH / ONE);
        assert!(!strangers.may_say(one, 1, DAY - 1));
        assert!(strangers.may_say(other, 1, 0));
        assert!(strangers.may_say(one, ONE, DAY));
        // Many who say a little each.
        let day = 5 * DAY;
        let said = (0..2 * ALL / ONE).filter(|_| strangers.may_say(key(), ONE, day));
        assert_eq!(said.count(), ALL / ONE);
        assert!(!strangers.may_say(key(), 1, day));
        assert!(strangers.may_say(key(), 1, day + DAY));
    }
}
