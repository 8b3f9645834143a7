//! What is said to somebody and found no place at a relay that they named: it is tried again when one becomes free.
//!
//! It is on the disk, so that a restart forgets none, and bounded, so that nobody fills it: what is over is only counted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use nostr::{PublicKey, Timestamp};

use super::{
    follow::{Lining, Look},
    places::Places,
};
use crate::{
    store::state::sync::Unplaced,
    sync::{Error, Hub, facts::Seen},
};

/// How much is remembered, in all and of one key.
const MOST: usize = 1000;
const OF_A_KEY: usize = 200;

/// Looks for places for all that found none, the oldest first.
pub(super) async fn again(hub: &Arc<Hub>, places: &mut Places) -> Result<Lining, Error> {
    let mut lining = Lining::default();
    let now = Timestamp::now().as_secs();
    let mut seen = Seen::default();
    for (seq, wants) in hub.around.state.sync_unplaced()? {
        // Unless it finds none again.
        lining.unplaced.insert(seq, None);
        if let Some(stored) = hub.around.relay.stored(wants.id).await? {
            lining
                .look(hub, places, &stored, Look::Again, now, &mut seen)
                .await?;
        }
    }
    Ok(lining)
}

/// What of that which found no place is remembered, beside what is already, and how much is not.
pub(super) fn within(
    known: &BTreeMap<u64, Unplaced>,
    found: BTreeMap<u64, Option<Unplaced>>,
) -> (Vec<(u64, Option<Unplaced>)>, u64) {
    let mut of_keys: HashMap<PublicKey, usize> = HashMap::new();
    let mut all = known.len();
    for wants in known.values() {
        *of_keys.entry(wants.key).or_default() += 1;
    }
    let mut over = 0;
    let mut kept = Vec::with_capacity(found.len());
    for (seq, wants) in found {
        if let (Some(new), false) = (wants, known.contains_key(&seq)) {
            let of_key = of_keys.entry(new.key).or_default();
            if all >= MOST || *of_key >= OF_A_KEY {
                over += 1;
                continue;
            }
            *of_key += 1;
            all += 1;
        }
        kept.push((seq, wants));
    }
    (kept, over)
}

#[cfg(test)]
mod tests {
    use nostr::{EventId, Keys};

    use super::*;

    #[test]
    fn nobody_fills_it_and_what_is_over_is_counted() {
        let mut known = BTreeMap::new();
        let mut seq = 0;
        let mut over = 0;
        let mut add = |key: PublicKey, count: usize| {
            let found = (0..count).map(|_| {
                seq += 1;
                (seq, Some(Unplaced::new(EventId::all_zeros(), key)))
            });
            let (kept, more) = within(&known, found.collect());
            known.extend(
                kept.into_iter()
                    .filter_map(|(seq, wants)| Some((seq, wants?))),
            );
            over += more;
            (known.len(), over)
        };
        let greedy = Keys::generate().public_key();
        assert_eq!(add(greedy, 150), (150, 0));
        assert_eq!(add(greedy, 150), (OF_A_KEY, 100));
        for n in 2..=5 {
            assert_eq!(add(Keys::generate().public_key(), 200), (n * 200, 100));
        }
        assert_eq!(add(Keys::generate().public_key(), 1), (MOST, 101));
        // What is known and finds none again stays, and what found one goes.
        let again = known
            .iter()
            .map(|(seq, wants)| (*seq, (*seq != 7).then_some(*wants)));
        let (kept, more) = within(&known, again.collect());
        assert_eq!((kept.len(), more), (MOST, 0));
        assert!(kept.contains(&(7, None)));
    }
}
