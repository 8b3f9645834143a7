//! How fast somebody may send: buckets of tokens that fill up again, for addresses and for keys.
//!
//! Programs of this machine and everybody else have buckets of their own, so that a web page that floods the relay
//! takes nothing from its owner's programs. Buckets are bounded in number; who waits long enough has a full one, which
//! is the same as none.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nostr::PublicKey;

use super::{Config, Rejection, rights::Reached};
use crate::bucket::{Bucket, Limit, Rate};

/// Buckets of one kind.
const MOST: usize = 4096;
/// Wrong signatures of one connection, in how many seconds.
const MINUTE: f64 = 60.0;
/// The longest that a flood is not read at a time.
const PAUSE: Duration = Duration::from_secs(1);

/// `None` is no limit.
fn rate(per_s: u32, burst_s: u32) -> Option<Rate> {
    let per_s = f64::from(per_s);
    (per_s > 0.0).then(|| Rate {
        per_s,
        most: (per_s * f64::from(burst_s)).max(1.0),
    })
}

/// Buckets under one rate.
struct Buckets<K> {
    rate: Option<Rate>,
    all: Mutex<HashMap<K, Bucket>>,
}

impl<K: Eq + Hash + Copy> Buckets<K> {
    fn new(rate: Option<Rate>) -> Self {
        Self {
            rate,
            all: Mutex::default(),
        }
    }

    fn take(&self, key: K, wanted: usize, now: Instant) -> usize {
        let Some(rate) = self.rate else {
            return wanted;
        };
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(&key) {
            make_room(&mut all, rate, now);
        }
        let bucket = all.entry(key).or_insert_with(|| rate.full(now));
        rate.take(bucket, wanted, now)
    }
}

/// Full buckets go; when there are none, those that are fullest.
fn make_room<K: Eq + Hash + Copy>(all: &mut HashMap<K, Bucket>, rate: Rate, now: Instant) {
    let mut left: Vec<(f64, K)> = all
        .iter_mut()
        .map(|(key, bucket)| (rate.left(bucket, now), *key))
        .collect();
    left.retain(|(left, key)| {
        let is_full = *left >= rate.most;
        if is_full {
            all.remove(key);
        }
        !is_full
    });
    if all.len() < MOST {
        return;
    }
    left.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (_, key) in left.iter().take(MOST / 8) {
        all.remove(key);
    }
}

/// The relay's rates.
pub(super) struct Rates {
    local: Buckets<IpAddr>,
    foreign: Buckets<IpAddr>,
    keys: Buckets<PublicKey>,
    per_s: (u32, u32, u32),
}

impl Rates {
    pub(super) fn new(config: &Config) -> Self {
        let rate = |per_s| rate(per_s, config.rate_burst_s);
        Self {
            local: Buckets::new(rate(config.max_local_rate)),
            foreign: Buckets::new(rate(config.max_foreign_rate)),
            keys: Buckets::new(rate(config.max_key_rate)),
            per_s: (
                config.max_local_rate,
                config.max_foreign_rate,
                config.max_key_rate,
            ),
        }
    }

    /// How many of so many messages of a connection may be answered now.
    pub(super) fn messages(&self, from: &Reached, wanted: usize) -> usize {
        let buckets = match from.trusted {
            true => &self.local,
            false => &self.foreign,
        };
        buckets.take(network(from.peer), wanted, Instant::now())
    }

    /// What is said to who sends more messages, and how long it is not listened to.
    pub(super) fn too_fast(&self, from: &Reached, refused: usize) -> (Rejection, Duration) {
        let per_s = match from.trusted {
            true => self.per_s.0,
            false => self.per_s.1,
        };
        let wait = refused as f64 / f64::from(per_s.max(1));
        let wait = Duration::try_from_secs_f64(wait).unwrap_or(PAUSE);
        (Rejection::TooFast(per_s), wait.min(PAUSE))
    }

    /// Whether this author may publish one more now; programs of this machine bring events of anybody.
    pub(super) fn author(&self, from: &Reached, author: &PublicKey) -> Result<(), Rejection> {
        if from.trusted || self.keys.take(*author, 1, Instant::now()) == 1 {
            Ok(())
        } else {
            Err(Rejection::KeyTooFast(self.per_s.2))
        }
    }
}

/// Wrong signatures of one connection: each costs a verification, and an honest program has few.
pub(super) struct Patience(Option<Limit>);

impl Patience {
    pub(super) fn new(config: &Config) -> Self {
        let most = f64::from(config.max_wrong_signatures);
        let rate = Rate {
            per_s: most / MINUTE,
            most,
        };
        Self((most > 0.0).then(|| Limit::new(rate, Instant::now())))
    }

    /// One more; false when it was one too many.
    pub(super) fn another(&mut self) -> bool {
        let takes = |limit: &mut Limit| limit.takes(1, Instant::now());
        self.0.as_mut().is_none_or(takes)
    }
}

/// Whoever has one IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_up_again_and_never_beyond_its_bound() {
        let buckets = Buckets::new(rate(10, 2));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(buckets.take(1, 15, at(0)), 15);
        assert_eq!(buckets.take(1, 15, at(0)), 5);
        assert_eq!(buckets.take(2, 15, at(0)), 15, "another one has its own");
        assert_eq!(buckets.take(1, 5, at(300)), 3);
        assert_eq!(buckets.take(1, 99, at(900_000)), 20);
        // A clock that goes back gives nothing.
        assert_eq!(buckets.take(1, 1, at(0)), 0);
        assert_eq!(Buckets::new(rate(0, 2)).take(1, 1 << 30, at(0)), 1 << 30);
        let least = Buckets::new(rate(1, 0));
        assert_eq!(
            least.take(1, 5, at(0)),
            1,
            "a rate lets at least one through"
        );
    }

    #[test]
    fn however_many_come_their_number_is_bounded_and_who_has_sent_much_stays_known() {
        let buckets = Buckets::new(rate(1, 10));
        let now = Instant::now();
        assert_eq!(buckets.take(u32::MAX, 99, now), 10);
        for key in 0..3 * MOST as u32 {
            assert_eq!(buckets.take(key, 1, now), 1);
            assert!(buckets.all.lock().unwrap().len() <= MOST);
        }
        assert_eq!(buckets.take(u32::MAX, 1, now), 0);
    }

    #[test]
    fn a_network_of_ipv6_is_one_sender() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
