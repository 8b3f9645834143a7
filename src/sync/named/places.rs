//! The few places of relays that others name: who gets one, and who loses it.

use std::collections::BTreeMap;

use crate::{
    store::state::sync::{NamedRelay, Naming},
    sync::{address::RelayUrl, config::NamedConfig},
};

/// What became of a naming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sync) enum Placed {
    /// It had its place before; with `true` this naming is new.
    Had(bool),
    /// It has one now, and this one lost its.
    Now(Option<String>),
    /// All that it could have are taken.
    Full,
}

/// See the module. A place is for the sake of a key, so that nobody takes all of them; one on which nothing waits can be
/// given to somebody else.
#[derive(Debug, Default)]
pub(in crate::sync) struct Places {
    relays: BTreeMap<String, NamedRelay>,
}

impl Places {
    pub(in crate::sync) fn new(known: Vec<NamedRelay>) -> Self {
        let relays = known.into_iter().map(|relay| (relay.url.clone(), relay));
        Self {
            relays: relays.collect(),
        }
    }

    pub(in crate::sync) fn get(&self, url: &str) -> Option<&NamedRelay> {
        self.relays.get(url)
    }

    /// Takes in that somebody names a relay. `waits` says whether something is still to leave for one.
    pub(in crate::sync) fn name(
        &mut self,
        url: &RelayUrl,
        naming: Naming,
        config: &NamedConfig,
        waits: impl Fn(&str) -> bool,
    ) -> Placed {
        if let Some(known) = self.relays.get_mut(url.as_str()).filter(|known| known.open) {
            return Placed::Had(known.name(naming));
        }
        let host_of = |relay: &NamedRelay| {
            RelayUrl::parse(&relay.url).is_ok_and(|other| other.host() == url.host())
        };
        let open = || self.relays.values().filter(|relay| relay.open);
        let own: Vec<&NamedRelay> = open().filter(|relay| relay.holder == naming.key).collect();
        // The first bound that is reached says out of which places one has to become free.
        let candidates: Vec<&NamedRelay> = if let Some(same) = own.iter().find(|one| host_of(one)) {
            vec![same]
        } else if own.len() >= config.per_key {
            own
        } else if open().count() >= config.most {
            open().collect()
        } else {
            Vec::new()
        };
        let mut lost = None;
        if !candidates.is_empty() {
            let idle = candidates.into_iter().filter(|relay| !waits(&relay.url));
            match idle.min_by_key(|relay| relay.at()) {
                Some(idle) => lost = Some(idle.url.clone()),
                None => return Placed::Full,
            }
        }
        if let Some(lost) = lost.as_ref().and_then(|lost| self.relays.get_mut(lost)) {
            lost.open = false;
        }
        let relay = NamedRelay::new(url.as_str(), naming);
        self.relays.insert(relay.url.clone(), relay);
        Placed::Now(lost)
    }
}

#[cfg(test)]
mod tests {
    use nostr::{EventId, Keys, PublicKey};

    use super::*;

    fn url(n: usize) -> RelayUrl {
        RelayUrl::parse(&format!("wss://r{n}.example")).unwrap()
    }

    fn by(key: PublicKey, at: u64) -> Naming {
        let mut event = [0; 32];
        event[..8].copy_from_slice(&at.to_be_bytes());
        Naming {
            event: EventId::from_byte_array(event),
            key,
            at,
        }
    }

    const CONFIG: NamedConfig = NamedConfig {
        jobs: true,
        readers: false,
        per_job: 3,
        per_key: 4,
        most: 6,
        days: 7,
    };

    #[test]
    fn nobody_takes_the_places_of_all() {
        let (greedy, honest) = (Keys::generate().public_key(), Keys::generate().public_key());
        let mut places = Places::default();
        for n in 0..100 {
            let placed = places.name(&url(n), by(greedy, n as u64), &CONFIG, |_| true);
            let wanted = if n < 4 {
                Placed::Now(None)
            } else {
                Placed::Full
            };
            assert_eq!(placed, wanted, "{n}");
        }
        for n in 200..210 {
            let placed = places.name(&url(n), by(honest, n as u64), &CONFIG, |_| true);
            let wanted = if n < 202 {
                Placed::Now(None)
            } else {
                Placed::Full
            };
            assert_eq!(placed, wanted, "{n}");
        }
        // A relay that has its place is named by others, too.
        let again = places.name(&url(0), by(honest, 300), &CONFIG, |_| true);
        assert_eq!(again, Placed::Had(true));
        let again = places.name(&url(0), by(honest, 300), &CONFIG, |_| true);
        assert_eq!(again, Placed::Had(false));
        assert_eq!(places.get("wss://r0.example/").unwrap().by.len(), 2);
    }

    #[test]
    fn a_place_on_which_nothing_waits_goes_to_who_comes() {
        let keys: Vec<PublicKey> = (0..7).map(|_| Keys::generate().public_key()).collect();
        let mut places = Places::default();
        for (n, key) in keys.iter().take(6).enumerate() {
            places.name(&url(n), by(*key, n as u64), &CONFIG, |_| true);
        }
        let waits = |url: &str| url != "wss://r3.example/" && url != "wss://r2.example/";
        let placed = places.name(&url(9), by(keys[6], 9), &CONFIG, waits);
        assert_eq!(placed, Placed::Now(Some("wss://r2.example/".to_owned())));
        // It is remembered: what left for it can be asked back.
        assert!(!places.get("wss://r2.example/").unwrap().open);
        let back = places.name(&url(2), by(keys[2], 10), &CONFIG, waits);
        assert_eq!(back, Placed::Now(Some("wss://r3.example/".to_owned())));
    }

    #[test]
    fn one_key_has_one_place_at_a_host() {
        let key = Keys::generate().public_key();
        let mut places = Places::default();
        let path = |n: usize| RelayUrl::parse(&format!("wss://victim.example/{n}")).unwrap();
        assert_eq!(
            places.name(&path(0), by(key, 0), &CONFIG, |_| true),
            Placed::Now(None)
        );
        for n in 1..50 {
            let placed = places.name(&path(n), by(key, n as u64), &CONFIG, |_| true);
            assert_eq!(placed, Placed::Full);
        }
    }
}
