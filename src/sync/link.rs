//! The life of one relay: connect when there is something to do, find out what is there, send what is not, listen.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use nostr::{Event, EventId, Filter, JsonUtil as _, Timestamp};

use super::{
    Error, Hub, Link,
    address::NamedBy,
    answer::{self, Backoff},
    down::Listening,
    facts::Seen,
    policy::may_leave,
    queue::Queue,
    talk::{Ended, Talk},
    there::Way,
    wire::{Dialler, Heard},
};
use crate::store::state::sync::{Entry, Sending};

/// Between attempts to reach a relay, and one that others named.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
const RETRY_OTHERS: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(3600));
/// A connection on which nothing is to do is ended after this, unless it is listened on.
const IDLE: Duration = Duration::from_secs(20);
/// Events that are sent before anything is heard.
const AT_ONCE: usize = 16;
/// Rows that are looked through at once.
const SIFTED: usize = 100;
/// Of what a relay took in a conversation, so many are looked for when all is done.
const LOOKED_FOR: usize = 50;

/// Keeps up with one relay until the program stops.
pub(super) async fn run(hub: Arc<Hub>, link: Arc<Link>, dialler: Dialler) {
    let mut retry = match link.by {
        NamedBy::Owner => RETRY,
        NamedBy::Other => RETRY_OTHERS,
    };
    let mut way = Way::default();
    let listens = hub.comes_down(&link.url);
    loop {
        if link.by == NamedBy::Other
            && let Err(error) = sift(&hub, &link).await
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the rows of a relay cannot be looked through"
            );
        }
        if !listens {
            match hub.around.state.sync_waiting(link.id, None, 1) {
                Ok(waiting) if waiting.is_empty() => {
                    hub.freed.notify_one();
                    tokio::select! {
                        () = hub.stop.cancelled() => return,
                        () = link.over.cancelled() => return,
                        () = link.wake.notified() => continue,
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "the rows of a relay cannot be read"),
            }
        }
        let began = Instant::now();
        let (ended, settled) = Box::pin(converse(&hub, &link, &dialler, &mut way)).await;
        link.say(|said| said.connected = false);
        let ended = match ended {
            Ok(()) => {
                retry.reset();
                continue;
            }
            Err(Ended::Stopped) => return,
            Err(ended) => ended,
        };
        if settled > 0 || began.elapsed() > Duration::from_secs(120) {
            retry.reset();
        }
        tracing::info!(reason = %ended, "a relay is tried again later");
        link.say(|said| said.problem = Some(answer::kept(&ended.to_string())));
        tokio::select! {
            () = hub.stop.cancelled() => return,
            () = tokio::time::sleep(retry.next()) => {}
        }
    }
}

/// Settles what may no longer leave for a relay that others named, so that nobody is connected to for its sake: the owner
/// changed his mind, or it was tried for long enough.
async fn sift(hub: &Hub, link: &Link) -> Result<(), Error> {
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
        for (seq, mut entry) in rows {
            let event = signed.remove(&entry.id);
            if let Err(why) = last_look(hub, link, &entry, event).await? {
                entry.state = Sending::Held { why };
                entry.at = Timestamp::now().as_secs();
                held.push((seq, entry));
            }
        }
        if !held.is_empty() {
            state.sync_put(link.id, &held)?;
        }
    }
}

/// One connection, and how many events it settled.
async fn converse(
    hub: &Hub,
    link: &Link,
    dialler: &Dialler,
    way: &mut Way,
) -> (Result<(), Ended>, u64) {
    let mut queue = match Queue::new(hub.around.state.clone(), link.id) {
        Ok(queue) => queue,
        Err(error) => return (Err(error.into()), 0),
    };
    let ended = tokio::select! {
        () = hub.stop.cancelled() => Err(Ended::Stopped),
        // Nothing waits for it.
        () = link.over.cancelled() => Err(Ended::Stopped),
        ended = exchange(hub, link, dialler, way, &mut queue) => ended,
    };
    // What was answered is kept however it ended.
    let kept = match &ended {
        Ok(()) | Err(Ended::Stopped) => queue.store(),
        Err(_) => queue.cut(Instant::now()),
    };
    let settled = queue.settled;
    (ended.and(kept.map_err(Ended::from)), settled)
}

async fn exchange(
    hub: &Hub,
    link: &Link,
    dialler: &Dialler,
    way: &mut Way,
    queue: &mut Queue,
) -> Result<(), Ended> {
    let mut talk = Talk::open(hub, link, dialler).await?;
    link.say(|said| {
        said.connected = true;
        said.problem = None;
    });
    queue.remember(|remembered| remembered.spoken_at = Timestamp::now().as_secs());
    // Before it is listened to: much may come in then.
    look(&mut talk, dialler, way, queue).await?;
    let mut listening = Listening::new(hub, link, queue.remembered.heard_until);
    listening.open(&mut talk).await?;
    let mut took: Vec<EventId> = Vec::new();
    let mut idle_since = Instant::now();
    let mut allowance = Allowance::of(link.by);
    loop {
        let now = Instant::now();
        let mut more = false;
        if !talk.is_proving() {
            // Only a few, then what was said meanwhile: a last look takes time, and the relay's answers wait for it.
            let rows = queue.next_some(now, allowance.room(now))?;
            more = !rows.is_empty();
            allowance.take(rows.len());
            send(&talk, queue, rows).await?;
            if queue.wants_look() {
                look(&mut talk, dialler, way, queue).await?;
                more = true;
            }
        }
        let now = Instant::now();
        queue.store_some(now)?;
        if !queue.is_idle() {
            idle_since = now;
        } else if !took.is_empty() {
            doubt(&mut talk, way, &mut took).await?;
            continue;
        }
        let until = match (queue.due(), listening.is_on()) {
            _ if more => now,
            _ if talk.is_proving() => now + Duration::from_secs(1),
            (Some(due), _) => due,
            (None, true) => now + Duration::from_secs(60),
            (None, false) => idle_since + IDLE,
        };
        let until = match allowance.wait(now).filter(|_| !queue.is_idle()) {
            Some(wait) => until.min(now + wait),
            None => until,
        };
        if !listening.is_on() && queue.is_idle() && until <= now {
            return Ok(());
        }
        tokio::select! {
            biased;
            heard = talk.next() => match heard? {
                Heard::Ok(id, taken, words) => {
                    let Ok(id) = EventId::from_hex(&id) else { continue };
                    let verdict = answer::read(taken, &words);
                    if verdict == answer::Verdict::Sent && took.len() < LOOKED_FOR {
                        took.push(id);
                    }
                    if queue.answered(&id, verdict, Instant::now()) {
                        talk.asked_who()?;
                    }
                }
                heard => listening.take(&mut talk, queue, heard).await?,
            },
            () = link.wake.notified() => {
                queue.refresh();
                listening.open(&mut talk).await?;
            }
            // Nothing was said: so an answer that is overdue is not one that waits here to be heard.
            () = tokio::time::sleep_until(until.into()) => {
                if queue.is_overdue(Instant::now()) {
                    return Err(Ended::Slow);
                }
            }
        }
    }
}

/// How many events may leave for a relay now. One of the owner's takes what there is, in the pace of its answers; one that
/// others named is no way to flood somebody.
struct Allowance {
    room: Option<f64>,
    at: Instant,
}

impl Allowance {
    const BURST: f64 = 20.0;
    const A_SECOND: f64 = 1.0;

    fn of(by: NamedBy) -> Self {
        Self {
            room: (by == NamedBy::Other).then_some(Self::BURST),
            at: Instant::now(),
        }
    }

    /// How long to wait for room; nothing when there is.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        let room = self.room.as_mut()?;
        *room = passed.mul_add(Self::A_SECOND, *room).min(Self::BURST);
        (*room < 1.0).then(|| Duration::from_secs_f64((1.0 - *room) / Self::A_SECOND))
    }

    /// How many may leave at once.
    fn room(&mut self, now: Instant) -> usize {
        self.wait(now);
        let holds = |events: &usize| self.room.is_none_or(|room| room >= *events as f64);
        (1..=AT_ONCE).take_while(holds).count()
    }

    fn take(&mut self, events: usize) {
        if let Some(room) = &mut self.room {
            *room -= events as f64;
        }
    }
}

/// Finds out what of that which leaves next is there already.
async fn look(
    talk: &mut Talk<'_>,
    dialler: &Dialler,
    way: &mut Way,
    queue: &mut Queue,
) -> Result<(), Ended> {
    // A relay that nothing waits for is not asked how it is asked.
    let mut rows = queue.to_look_at(1)?;
    if !rows.is_empty() {
        rows = queue.to_look_at(way.at_once(talk, dialler).await)?;
    }
    let Some(last) = rows.last().map(|(seq, _)| *seq) else {
        queue.looked(0);
        return Ok(());
    };
    let there = way.of(talk, dialler, &rows).await?;
    let now = Instant::now();
    for (seq, entry) in rows {
        if there.contains(&entry.id) {
            queue.settle(seq, entry, Sending::There, now);
        }
    }
    queue.store()?;
    queue.looked(last);
    Ok(())
}

/// Sends rows, those that still may leave.
async fn send(talk: &Talk<'_>, queue: &mut Queue, rows: Vec<(u64, Entry)>) -> Result<(), Ended> {
    let mut leaving = Vec::with_capacity(rows.len());
    for (seq, entry) in rows {
        // Its owner may have taken it back a moment ago.
        if !queue.still_waits(seq)? {
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
        return Ok(Err(super::policy::Stays::Secret.to_string()));
    }
    Ok(Ok(event.as_json()))
}

/// Looks for some of what the relay says that it took: one that lies is named to the owner. Nothing is sent again.
async fn doubt(talk: &mut Talk<'_>, way: &mut Way, took: &mut Vec<EventId>) -> Result<(), Ended> {
    let asked = std::mem::take(took);
    let mut lasting = Vec::with_capacity(asked.len());
    for id in asked {
        // A newer version may have taken its place.
        let event = talk.hub.around.relay.get(id).await.map_err(Error::from)?;
        if event.is_some_and(|event| event.kind.is_regular()) {
            lasting.push(id);
        }
    }
    if lasting.is_empty() {
        return Ok(());
    }
    let Some(found) = way.ask(talk, &lasting).await? else {
        return Ok(());
    };
    let missing = lasting.iter().filter(|id| !found.contains(id)).count();
    if missing > 0 {
        let words = format!(
            "it said that it took {} and does not show {missing} of them",
            lasting.len()
        );
        tracing::warn!(words, "a relay may not keep what it takes");
        talk.link.say(|said| said.problem = Some(words));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_others_name_is_not_flooded() {
        let count = |by: NamedBy| {
            let mut allowance = Allowance::of(by);
            let began = Instant::now();
            // Asked every tenth of a second for a minute.
            let mut sent = 0;
            for tenth in 0..600 {
                let now = began + Duration::from_millis(100 * tenth);
                let room = allowance.room(now);
                allowance.take(room);
                sent += room;
            }
            sent
        };
        assert_eq!(count(NamedBy::Owner), 600 * AT_ONCE);
        assert!((78..=81).contains(&count(NamedBy::Other)));
    }
}
