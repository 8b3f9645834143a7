//! Queries, and places for them: quick ones never wait for those that go through much of what is stored.
//!
//! A query begins where it is asked, without a change of threads, for as long as verifying a handful of events takes. What
//! that is not enough for begins anew in the quick lane and has a moment there; one that needs longer, and one that is
//! known to, waits for a place among the slow ones. That holds for any store, as long as it keeps to a query's deadline.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use nostr::{Event, Filter, PublicKey, Timestamp};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

use super::{Error, Shared, rights};
use crate::{
    nips::nip01,
    store::{EventStore, Hit, Query, Search},
};

/// Bytes of stored events that one subscription holds in memory; the rest is read page by page.
const QUERY_BUDGET: usize = 2 << 20;

/// How long a query may take where it is asked.
const AT_ONCE: Duration = Duration::from_micros(300);
/// How long a query may take in the quick lane.
const MOMENT: Duration = Duration::from_millis(200);

/// Where a query begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// Where it is asked.
    AtOnce,
    /// Among the quick ones: it may wait for a disk.
    Quick,
    /// Among the slow ones: it goes through much.
    Slow,
}

/// Two kinds of places.
pub(super) struct Lanes {
    quick: Semaphore,
    slow: Semaphore,
}

/// A place for a query, and until when it holds.
pub(super) struct Place<'a> {
    _permit: SemaphorePermit<'a>,
    pub(super) until: Instant,
}

impl Lanes {
    /// Shares places out: one in four is slow, at least one of each.
    pub(super) fn new(places: usize) -> Self {
        let slow = (places / 4).max(1);
        Self {
            quick: Semaphore::new(places.saturating_sub(slow).max(1)),
            slow: Semaphore::new(slow),
        }
    }

    /// A place for a moment, and for no longer than a deadline.
    pub(super) async fn quick(&self, deadline: Instant) -> Result<Place<'_>, AcquireError> {
        let permit = self.quick.acquire().await?;
        Ok(Place {
            _permit: permit,
            until: deadline.min(Instant::now() + MOMENT),
        })
    }

    /// A place for as long as a query may take.
    pub(super) async fn slow(&self, timeout: Duration) -> Result<Place<'_>, AcquireError> {
        let permit = self.slow.acquire().await?;
        Ok(Place {
            _permit: permit,
            until: Instant::now() + timeout,
        })
    }
}

/// Where a query for *all* that matches begins: it may be long, unless it is narrowed to some events or to what points
/// to one.
fn all(filters: &[Filter]) -> Begin {
    let is_long = |filter: &Filter| {
        nip01::is_satisfiable(filter) && filter.ids.is_none() && filter.generic_tags.is_empty()
    };
    match filters.iter().any(is_long) {
        true => Begin::Slow,
        false => Begin::AtOnce,
    }
}

impl Shared {
    /// Runs a query in its lane; it gives up at the time that it is given.
    async fn laned<T: Send + 'static, E>(
        &self,
        begin: Begin,
        work: impl Fn(&dyn EventStore, Instant) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<T, Error>
    where
        Error: From<E>,
    {
        let timeout = Duration::from_secs(self.config.query_timeout_s);
        if begin == Begin::AtOnce {
            match work(&*self.store, Instant::now() + AT_ONCE).map_err(Error::from) {
                Err(error) if error.is_deadline() => {}
                done => return done,
            }
        }
        let work = Arc::new(work);
        if begin != Begin::Slow {
            let place = self.lanes.quick(Instant::now() + timeout).await;
            let place = place.map_err(|_| Error::Stopping)?;
            let (work, until) = (Arc::clone(&work), place.until);
            match self.blocking(move |store| Ok(work(store, until)?)).await {
                Err(error) if error.is_deadline() => {}
                done => return done,
            }
        }
        let place = self.lanes.slow(timeout).await;
        let place = place.map_err(|_| Error::Stopping)?;
        let until = place.until;
        self.blocking(move |store| Ok(work(store, until)?)).await
    }

    /// The stored part of a subscription, for holders of `keys`.
    pub(super) async fn hits(
        &self,
        filters: Vec<Filter>,
        up_to: u64,
        keys: Vec<PublicKey>,
    ) -> Result<Vec<Hit>, Error> {
        let search = self.search(&filters, up_to).await?;
        let (default_limit, max_limit) = (self.config.default_limit, self.config.max_limit);
        let begin = match search {
            Some(_) => Begin::Quick,
            None => Begin::AtOnce,
        };
        self.laned(begin, move |store, until| -> Result<_, Error> {
            let query = Query {
                filters: &filters,
                default_limit,
                max_limit,
                up_to,
                now: Timestamp::now().as_secs(),
                visible: &|event| rights::visible_to(event, &keys),
                guarded: rights::is_private,
                deadline: Some(until),
                budget: QUERY_BUDGET,
            };
            Ok(match &search {
                Some(search) => search.find(&query)?,
                None => store.query(&query)?,
            })
        })
        .await
    }

    /// Who answers these filters, if one of them searches; everything up to `up_to` can be found then.
    async fn search(&self, filters: &[Filter], up_to: u64) -> Result<Option<Arc<Search>>, Error> {
        if filters.iter().all(|filter| filter.search.is_none()) {
            return Ok(None);
        }
        let Some(search) = self.search.get() else {
            return Ok(None);
        };
        search.reached(up_to).await?;
        Ok(Some(Arc::clone(search)))
    }

    /// Ids and times of what holders of `keys` may see, at most `most`, without their JSON.
    pub(super) async fn known(
        &self,
        filter: Filter,
        most: usize,
        keys: Vec<PublicKey>,
    ) -> Result<Vec<Hit>, Error> {
        let filters = [filter];
        self.laned(all(&filters), move |store, until| {
            store.query(&Query {
                default_limit: most,
                max_limit: most,
                visible: &|event| rights::visible_to(event, &keys),
                guarded: rights::is_private,
                deadline: Some(until),
                budget: 0,
                ..Query::all(&filters, Timestamp::now().as_secs())
            })
        })
        .await
    }

    /// The JSON of a row, if it still exists.
    pub(super) async fn read(&self, seq: u64) -> Result<Option<Bytes>, Error> {
        self.blocking(move |store| Ok(store.read(seq)?)).await
    }

    /// Counts what holders of `keys` may see; everything when there are none to ask for.
    pub(super) async fn count(
        &self,
        filters: Vec<Filter>,
        keys: Option<Vec<PublicKey>>,
    ) -> Result<u64, Error> {
        let search = self.search(&filters, self.store.last_seq()).await?;
        let begin = match search {
            Some(_) => Begin::Quick,
            None => all(&filters),
        };
        self.laned(begin, move |store, until| -> Result<_, Error> {
            let visible = |event: &Event| {
                keys.as_ref()
                    .is_none_or(|keys| rights::visible_to(event, keys))
            };
            let query = Query {
                visible: &visible,
                guarded: rights::is_private,
                deadline: Some(until),
                ..Query::all(&filters, Timestamp::now().as_secs())
            };
            Ok(match &search {
                Some(search) => search.count(&query)?,
                None => store.count(&query)?,
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{
        keys::{Admission, Admit},
        relay::{Config, Identity, Relay},
        store,
    };

    #[tokio::test]
    async fn there_is_a_place_of_each_kind() {
        for (places, quick, slow) in [(0, 1, 1), (1, 1, 1), (2, 1, 1), (8, 6, 2), (9, 7, 2)] {
            let lanes = Lanes::new(places);
            assert_eq!(lanes.quick.available_permits(), quick, "{places}");
            assert_eq!(lanes.slow.available_permits(), slow, "{places}");
        }
        let lanes = Lanes::new(1);
        let _long = lanes.slow(Duration::from_secs(30)).await.unwrap();
        let soon = Instant::now() + Duration::from_millis(1);
        assert_eq!(lanes.quick(soon).await.unwrap().until, soon);
        let late = Instant::now() + Duration::from_secs(30);
        assert!(lanes.quick(late).await.unwrap().until < late);
    }

    #[tokio::test]
    async fn a_query_that_needs_longer_goes_on_among_the_slow_ones() {
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(store::LogStore::open(home.path()).unwrap());
        let keys = nostr::Keys::generate();
        let admission = Admission::new(keys.public_key(), Admit::Owner);
        let identity = Identity {
            keys,
            description: String::new(),
        };
        let relay = Relay::start(Config::default(), store, identity, Arc::new(admission)).unwrap();
        let calls = AtomicUsize::new(0);
        let work = move |_: &dyn EventStore, until: Instant| {
            let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
            let long = until > Instant::now() + 2 * MOMENT;
            long.then_some(call).ok_or(store::Error::Deadline)
        };
        let _full = relay.shared.lanes.slow.acquire_many(1).await.unwrap();
        assert_eq!(relay.shared.laned(Begin::AtOnce, work).await.unwrap(), 3);
        relay.shutdown().await;
    }

    #[test]
    fn what_is_narrowed_is_not_long() {
        for (filter, begin) in [
            ("{}", Begin::Slow),
            (r#"{"kinds":[1]}"#, Begin::Slow),
            (r#"{"kinds":[]}"#, Begin::AtOnce),
            (r##"{"#e":["x"]}"##, Begin::AtOnce),
        ] {
            let filter = nip01::parse_filter(filter).unwrap();
            assert_eq!(all(&[filter]), begin);
        }
    }
}
