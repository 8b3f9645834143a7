//! Rows leave: each is as it was signed, may still leave, and holds no secret, at the moment in which it does.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use nostr::{Event, EventId, Filter, JsonUtil as _, Timestamp};

use super::{
    Error, Hub, Link,
    facts::Seen,
    policy::{Stays, may_leave},
    queue::Queue,
    talk::{Ended, Talk},
};
use crate::store::state::sync::{Entry, Sending};

/// Rows that are looked through at once.
const SIFTED: usize = 100;

/// Sends rows, those that still may leave.
pub(super) async fn send(
    talk: &Talk<'_>,
    queue: &mut Queue,
    rows: Vec<(u64, Entry)>,
) -> Result<(), Ended> {
    let mut leaving = Vec::with_capacity(rows.len());
    for (seq, entry) in rows {
        // Its owner may have taken it back a moment ago.
        if !queue.still_waits(seq, entry.id)? {
            continue;
        }
        if let Some(words) = queue.refuses(entry.kind) {
            let words = format!("nothing of this kind is taken there: {words}");
            let state = Sending::Refused { words };
            queue.settle(seq, entry, state, Instant::now());
            continue;
        }
        leaving.push((seq, entry));
    }
    let mut signed = signed(talk.hub, &leaving).await?;
    for (seq, entry) in leaving {
        match last_look(talk.hub, talk.link, &entry, signed.remove(&entry.id)).await? {
            Ok(json) => {
                // The look took a moment.
                if !queue.still_waits(seq, entry.id)? {
                    continue;
                }
                talk.say(format!(r#"["EVENT",{json}]"#))?;
                queue.sent(seq, entry, Instant::now());
            }
            Err(why) => {
                tracing::warn!(id = %entry.id, why, "an event stays here");
                queue.settle(seq, entry, Sending::Held { why }, Instant::now());
            }
        }
    }
    Ok(())
}

/// The events of rows, as they are on the record. They are looked up together: each look-up is a wait for the store.
async fn signed(hub: &Hub, rows: &[(u64, Entry)]) -> Result<HashMap<EventId, Event>, Error> {
    let mut found = HashMap::with_capacity(rows.len());
    let mut stored = BTreeSet::new();
    for (_, entry) in rows {
        match &entry.own {
            Some(json) => found.extend(Event::from_json(json).ok().map(|own| (entry.id, own))),
            None => drop(stored.insert(entry.id)),
        }
    }
    if !stored.is_empty() {
        let events = hub.around.relay.query(Filter::new().ids(stored)).await?;
        found.extend(events.into_iter().map(|event| (event.id, event)));
    }
    Ok(found)
}

/// The event as it was signed, or why it stays after all: the settings changed, it was removed, or it holds a secret.
async fn last_look(
    hub: &Hub,
    link: &Link,
    entry: &Entry,
    event: Option<Event>,
) -> Result<Result<String, String>, Error> {
    let Some(event) = event else {
        return Ok(Err("it is no longer on the record".to_owned()));
    };
    // Its signature was verified when it came in, and the record has a checksum of its bytes.
    if event.id != entry.id || !event.verify_id() {
        return Ok(Err("it is not as it was signed".to_owned()));
    }
    // A request to delete holds nothing but ids, and was asked for.
    if entry.own.is_none() {
        let facts = hub.around.facts(&event, &mut Seen::default()).await?;
        let sight = hub.sight(&link.url, Timestamp::now().as_secs());
        if let Err(stays) = may_leave(&event, &facts, sight, entry.asked) {
            return Ok(Err(stays.to_string()));
        }
    }
    if (hub.scanner)(&event) {
        return Ok(Err(Stays::Secret.to_string()));
    }
    Ok(Ok(event.as_json()))
}

/// Settles what may no longer leave for a relay that others named, so that nobody is connected to for its sake: the owner
/// changed his mind, or it was tried for long enough.
pub(super) async fn sift(hub: &Hub, link: &Link) -> Result<(), Error> {
    let state = &hub.around.state;
    let mut after = None;
    loop {
        let rows = state.sync_waiting(link.id, after, SIFTED)?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        after = Some(*last);
        let mut held = Vec::new();
        let mut signed = signed(hub, &rows).await?;
        for (seq, entry) in rows {
            let event = signed.remove(&entry.id);
            if let Err(why) = last_look(hub, link, &entry, event).await? {
                let at = Timestamp::now().as_secs();
                held.push((seq, entry.held(why, at)));
            }
        }
        state.sync_settle(link.id, &held)?;
    }
}
