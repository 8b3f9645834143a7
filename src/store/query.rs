//! Queries: the planner picks the narrowest index, the scan merges its prefixes newest first.
//!
//! Every hit is checked against the filter again, since index hashes may collide. Rows of equal time are
//! ordered by lowest id first, also where a limit cuts: a scan goes on until the time changes.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, hash_map::Entry},
    ops::ControlFlow,
    time::Instant,
};

use bytes::Bytes;
use nostr::{EventId, Filter};

use super::{
    Error, Hit, Query,
    head::Head,
    index::{self, Key, Keyer, Prefix},
    view::{View, parse},
};
use crate::nips::{nip01, nip40};

/// Iterators that are open at once.
const MERGE: usize = 128;
/// The most prefixes that a product of authors and kinds may have.
const PRODUCT: usize = 1024;
/// Rows between two looks at the time.
const PAUSE: u32 = 8;
/// Tags that point to one thing, and so beat an author's events of a kind.
const POINTERS: &[u8] = b"eEaAiIqdh";

pub(super) fn run(view: &impl View, query: &Query<'_>) -> Result<Vec<Hit>, Error> {
    let scan = Scan { view, query };
    let mut found: HashMap<u64, Hit> = HashMap::new();
    for filter in query.filters {
        let limit = filter
            .limit
            .unwrap_or(query.default_limit)
            .min(query.max_limit);
        if limit == 0 || !nip01::is_satisfiable(filter) {
            continue;
        }
        let mut top = Top::new(limit, query.budget);
        scan.filter(filter, &mut top)?;
        if let [_] = query.filters {
            return Ok(ordered(top.hits().collect(), query.budget));
        }
        for hit in top.hits() {
            match found.entry(hit.seq) {
                Entry::Vacant(entry) => {
                    entry.insert(hit);
                }
                Entry::Occupied(mut entry) if entry.get().json.is_none() => {
                    entry.insert(hit);
                }
                Entry::Occupied(_) => {}
            }
        }
    }
    Ok(ordered(found.into_values().collect(), query.budget))
}

/// Newest first, the lowest id first on a tie; JSON as far as the budget goes.
fn ordered(mut hits: Vec<Hit>, budget: usize) -> Vec<Hit> {
    hits.sort_unstable_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
    let mut left = budget;
    for hit in &mut hits {
        match &hit.json {
            Some(json) if json.len() <= left => left -= json.len(),
            _ => {
                hit.json = None;
                left = 0;
            }
        }
    }
    hits
}

pub(super) fn count(view: &impl View, query: &Query<'_>) -> Result<u64, Error> {
    let scan = Scan { view, query };
    let mut all = All(HashSet::new());
    for filter in query.filters {
        if nip01::is_satisfiable(filter) {
            scan.filter(filter, &mut all)?;
        }
    }
    Ok(all.0.len() as u64)
}

/// Takes the rows of a scan.
trait Sink {
    /// Whether rows of this time can still be taken.
    fn wants_time(&self, created_at: u32) -> bool;
    /// Whether a row of this time and id would still be taken.
    fn wants(&self, created_at: u32, id: &EventId) -> bool;
    /// Whether this row is known already.
    fn knows(&self, seq: u64) -> bool;
    /// Takes a row that matches.
    fn take(&mut self, seq: u64, created_at: u32, id: EventId, json: Bytes);
}

/// The newest rows, at most `limit`.
struct Top {
    limit: usize,
    budget: usize,
    used: usize,
    /// The worst row is on top: oldest, then highest id.
    rows: BinaryHeap<(Reverse<u32>, EventId, u64)>,
    /// The JSON of each row, as far as the budget goes.
    bodies: HashMap<u64, Option<Bytes>>,
}

impl Top {
    fn new(limit: usize, budget: usize) -> Self {
        Self {
            limit,
            budget,
            used: 0,
            rows: BinaryHeap::new(),
            bodies: HashMap::new(),
        }
    }

    fn hits(mut self) -> impl Iterator<Item = Hit> {
        (self.rows.into_iter()).map(move |(Reverse(created_at), id, seq)| Hit {
            seq,
            created_at: u64::from(created_at),
            id,
            json: self.bodies.remove(&seq).flatten(),
        })
    }
}

impl Sink for Top {
    fn wants_time(&self, created_at: u32) -> bool {
        self.rows.len() < self.limit
            || self
                .rows
                .peek()
                .is_some_and(|(Reverse(worst), _, _)| created_at >= *worst)
    }

    fn wants(&self, created_at: u32, id: &EventId) -> bool {
        self.rows.len() < self.limit
            || self
                .rows
                .peek()
                .is_some_and(|(worst, worst_id, _)| (Reverse(created_at), id) < (*worst, worst_id))
    }

    fn knows(&self, seq: u64) -> bool {
        self.bodies.contains_key(&seq)
    }

    fn take(&mut self, seq: u64, created_at: u32, id: EventId, json: Bytes) {
        self.rows.push((Reverse(created_at), id, seq));
        let fits = self.used + json.len() <= self.budget;
        if fits {
            self.used += json.len();
        }
        self.bodies.insert(seq, fits.then_some(json));
        if self.rows.len() > self.limit
            && let Some((_, _, seq)) = self.rows.pop()
            && let Some(body) = self.bodies.remove(&seq).flatten()
        {
            self.used -= body.len();
        }
    }
}

/// Every row once.
struct All(HashSet<u64>);

impl Sink for All {
    fn wants_time(&self, _created_at: u32) -> bool {
        true
    }

    fn wants(&self, _created_at: u32, _id: &EventId) -> bool {
        true
    }

    fn knows(&self, seq: u64) -> bool {
        self.0.contains(&seq)
    }

    fn take(&mut self, seq: u64, _created_at: u32, _id: EventId, _json: Bytes) {
        self.0.insert(seq);
    }
}

struct Scan<'a, V> {
    view: &'a V,
    query: &'a Query<'a>,
}

impl<V: View> Scan<'_, V> {
    fn filter(&self, filter: &Filter, sink: &mut impl Sink) -> Result<(), Error> {
        let since = filter.since.map_or(0, |since| since.as_secs());
        let Ok(since) = u32::try_from(since) else {
            return Ok(());
        };
        let until = filter.until.map_or(u64::MAX, |until| until.as_secs());
        let until = u32::try_from(until).unwrap_or(u32::MAX);
        for prefixes in plan(self.view.keyer(), filter).chunks(MERGE) {
            self.merge(filter, prefixes, since, until, sink)?;
        }
        Ok(())
    }

    /// Merges some prefixes newest first.
    fn merge(
        &self,
        filter: &Filter,
        prefixes: &[Prefix],
        since: u32,
        until: u32,
        sink: &mut impl Sink,
    ) -> Result<(), Error> {
        let open = |prefix: &Prefix| {
            let newest = index::key(prefix, !until, 0);
            let oldest = index::key(prefix, !since, index::MAX_SEQ);
            self.view.keys(newest, oldest)
        };
        let mut iters = prefixes.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut heads = BinaryHeap::with_capacity(iters.len());
        for (at, iter) in iters.iter_mut().enumerate() {
            if let Some((time, seq)) = advance(iter)? {
                heads.push(Reverse((time, seq, at)));
            }
        }
        let mut steps = 0_u32;
        while let Some(Reverse((time, seq, at))) = heads.pop() {
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(PAUSE)
                && self.query.deadline.is_some_and(|at| Instant::now() >= at)
            {
                return Err(Error::Deadline);
            }
            if self.row(filter, !time, seq, sink)?.is_break() {
                return Ok(());
            }
            if let Some((time, seq)) = advance(&mut iters[at])? {
                heads.push(Reverse((time, seq, at)));
            }
        }
        Ok(())
    }

    fn row(
        &self,
        filter: &Filter,
        created_at: u32,
        seq: u64,
        sink: &mut impl Sink,
    ) -> Result<ControlFlow<()>, Error> {
        if !sink.wants_time(created_at) {
            return Ok(ControlFlow::Break(()));
        }
        if seq > self.query.up_to || sink.knows(seq) {
            return Ok(ControlFlow::Continue(()));
        }
        let Some(json) = self.view.row(seq)? else {
            return Ok(ControlFlow::Continue(()));
        };
        // Most rows need not be parsed to know that they are cut off, or that they match.
        let head = Head::of(&json);
        if head.is_some_and(|head| !sink.wants(created_at, &head.id)) {
            return Ok(ControlFlow::Continue(()));
        }
        let id = match head.filter(|head| self.tells_all(filter, head)) {
            Some(head) => head.matches(filter).then_some(head.id),
            None => {
                let event = parse(seq, &json)?;
                (nip01::matches(filter, &event)
                    && !nip40::is_expired(&event, self.query.now)
                    && (self.query.visible)(&event))
                .then_some(event.id)
            }
        };
        if let Some(id) = id {
            sink.take(seq, created_at, id, json);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether a row's head says whether it matches and may be seen.
    fn tells_all(&self, filter: &Filter, head: &Head<'_>) -> bool {
        filter.generic_tags.is_empty()
            && filter.search.is_none()
            && !(self.query.guarded)(head.kind)
            && !head.may_expire()
    }
}

fn advance(
    keys: &mut impl Iterator<Item = Result<Key, Error>>,
) -> Result<Option<(u32, u64)>, Error> {
    Ok(keys.next().transpose()?.map(|key| index::split(&key)))
}

/// The prefixes of the narrowest index for a filter.
fn plan(keyer: Keyer, filter: &Filter) -> Vec<Prefix> {
    if let Some(ids) = &filter.ids {
        return ids.iter().map(|id| keyer.id(id)).collect();
    }
    let authors = filter.authors.as_ref();
    let kinds = filter.kinds.as_ref();
    let fewest = |pointers: bool| {
        filter
            .generic_tags
            .iter()
            .filter(|(letter, _)| {
                letter.as_str().bytes().all(|byte| POINTERS.contains(&byte)) == pointers
            })
            .min_by_key(|(_, values)| values.len())
    };
    let tags =
        |(letter, values): (&nostr::SingleLetterTag, &std::collections::BTreeSet<String>)| {
            let letter = letter.as_str().bytes().next().unwrap_or_default();
            values
                .iter()
                .map(|value| keyer.tag(letter, value))
                .collect()
        };
    if let (Some(authors), Some(kinds)) = (authors, kinds) {
        if let Some((_, identifiers)) = filter
            .generic_tags
            .iter()
            .find(|(letter, _)| letter.as_str() == "d")
            && kinds.iter().all(nostr::Kind::is_addressable)
            && authors.len() * kinds.len() * identifiers.len() <= PRODUCT
        {
            let mut prefixes = Vec::new();
            for author in authors {
                for kind in kinds {
                    for identifier in identifiers {
                        prefixes.push(keyer.address(*kind, author, identifier));
                    }
                }
            }
            return prefixes;
        }
        if let Some(tag) = fewest(true) {
            return tags(tag);
        }
        if authors.len() * kinds.len() <= PRODUCT {
            let mut prefixes = Vec::new();
            for author in authors {
                for kind in kinds {
                    prefixes.push(keyer.author_kind(author, *kind));
                }
            }
            return prefixes;
        }
    }
    if let Some(tag) = fewest(true).or_else(|| fewest(false)) {
        return tags(tag);
    }
    if let Some(authors) = authors {
        return authors.iter().map(|author| keyer.author(author)).collect();
    }
    match kinds {
        Some(kinds) => kinds.iter().map(|kind| keyer.kind(*kind)).collect(),
        None => vec![Keyer::time()],
    }
}
