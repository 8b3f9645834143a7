//! Whether everything that is stored is whole: every row an event that its author signed, every row found by every
//! index, every index entry about a row.

use std::thread;

use bytes::Bytes;
use nostr::{Event, JsonUtil};

use super::{
    Error,
    index::{self, Key},
    view::View,
};

/// How many of one fault are named.
const NAMED: usize = 20;
/// Rows that are looked at together, by as many threads as there are processors.
const TOGETHER: usize = 2048;

/// What a look at everything that is stored found ([`super::EventStore::check`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Rows of the log.
    pub events: u64,
    /// Entries of the indexes.
    pub entries: u64,
    /// Events that an index does not lead to.
    pub unindexed: Faults,
    /// Index entries that lead to no event, or to one that they are not about.
    pub dangling: Faults,
    /// Rows that are no event, or whose id or signature is wrong, and what cannot be read at all.
    pub damaged: Faults,
}

impl Check {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        [&self.unindexed, &self.dangling, &self.damaged]
            .iter()
            .all(|faults| faults.total == 0)
    }
}

/// Faults of one kind: all are counted, the first are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// How many.
    pub total: u64,
    /// Where the first of them are, in words.
    pub first: Vec<String>,
}

impl Faults {
    /// Counts one.
    pub fn add(&mut self, name: impl FnOnce() -> String) {
        self.total += 1;
        if self.first.len() < NAMED {
            self.first.push(name());
        }
    }
}

/// The event of a row, or what is wrong with it.
///
/// # Errors
/// That the row is no event, or not what its author signed.
pub fn sound(json: &[u8]) -> Result<Event, String> {
    let event = Event::from_json(json).map_err(|error| error.to_string())?;
    event.verify().map_err(|error| error.to_string())?;
    Ok(event)
}

/// What one row turned out to be: how many index entries it has, or what is wrong.
enum Row {
    Indexed(u64),
    Unindexed(u64, String),
    Damaged(String),
}

/// Looks at all rows, and at all index entries that lead to rows, in order. What is cut off in the middle of either is
/// damaged.
pub(super) fn check<V: View + Sync, I: Iterator<Item = Result<Key, Error>>>(
    view: &V,
    mut rows: impl Iterator<Item = Result<(u64, Bytes), Error>>,
    entries: impl Fn() -> Result<I, Error>,
) -> Result<Check, Error> {
    let mut found = Check::default();
    let mut matched = 0;
    loop {
        let mut chunk = Vec::with_capacity(TOGETHER);
        let mut unreadable = None;
        for row in rows.by_ref().take(TOGETHER) {
            match row {
                Ok(row) => chunk.push(row),
                Err(error) => {
                    unreadable = Some(error);
                    break;
                }
            }
        }
        found.events += chunk.len() as u64;
        for row in look(view, &chunk)? {
            match row {
                Row::Indexed(keys) => matched += keys,
                Row::Unindexed(keys, name) => {
                    matched += keys;
                    found.unindexed.add(|| name);
                }
                Row::Damaged(name) => found.damaged.add(|| name),
            }
        }
        if let Some(error) = unreadable {
            let after = found.events;
            let rest = || format!("what comes after the first {after} cannot be read: {error}");
            found.damaged.add(rest);
            break;
        }
        if chunk.len() < TOGETHER {
            break;
        }
    }
    for key in entries()? {
        match key {
            Ok(_) => found.entries += 1,
            Err(error) => {
                found
                    .damaged
                    .add(|| format!("the index cannot be read: {error}"));
                return Ok(found);
            }
        }
    }
    // An entry names its row, so that no two events share one: when as many are there as events have, all are right.
    if found.entries != matched {
        for key in entries()? {
            let Ok(key) = key else { break };
            dangling(view, &key, &mut found);
        }
    }
    Ok(found)
}

/// Looks at rows, in their order.
fn look(view: &(impl View + Sync), rows: &[(u64, Bytes)]) -> Result<Vec<Row>, Error> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = rows.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = rows
            .chunks(share)
            .map(|part| {
                scope.spawn(|| {
                    part.iter()
                        .map(|(seq, json)| one(view, *seq, json))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut all = Vec::with_capacity(rows.len());
        for part in parts {
            all.extend(part.join().map_err(|_| Error::Stopped)?);
        }
        Ok(all)
    })
}

fn one(view: &impl View, seq: u64, json: &[u8]) -> Row {
    let event = match sound(json) {
        Ok(event) => event,
        Err(error) => return Row::Damaged(format!("row {seq}: {error}")),
    };
    let Ok(time) = u32::try_from(event.created_at.as_secs()) else {
        return Row::Damaged(format!("row {seq}: its time is out of range"));
    };
    let (mut there, mut missing) = (0, 0);
    for key in view.keyer().keys(&event, time, seq) {
        let found = view.keys(key, key).map(|mut keys| keys.next());
        match found {
            Ok(Some(Ok(_))) => there += 1,
            // A part of the index that cannot be read leads nowhere.
            Ok(Some(Err(_)) | None) | Err(_) => missing += 1,
        }
    }
    match missing {
        0 => Row::Indexed(there),
        _ => Row::Unindexed(there, format!("row {seq}, {}", event.id)),
    }
}

/// Names an entry that is about nothing.
fn dangling(view: &impl View, key: &Key, found: &mut Check) {
    let (_, seq) = index::split(key);
    // One that cannot be read is known to be damaged.
    let Ok(row) = view.row(seq) else {
        return;
    };
    let event = row.and_then(|json| Event::from_json(&*json).ok());
    let is_its = event.is_some_and(|event| {
        u32::try_from(event.created_at.as_secs()).is_ok_and(|time| {
            let keys = view.keyer().keys(&event, time, seq);
            keys.contains(key)
        })
    });
    if !is_its {
        found
            .dangling
            .add(|| format!("{} leads to row {seq}", hex::encode(key)));
    }
}
