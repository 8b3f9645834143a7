//! The life of one relay: connect when there is something to do, find out what is there, send what is not, listen.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use nostr::{EventId, Timestamp};

use super::{
    Error, Hub, Link,
    address::NamedBy,
    allowance::Allowance,
    answer::{self, Backoff},
    down::Listening,
    leave::{send, sift},
    queue::{Answered, Queue},
    talk::{Ended, Talk},
    there::{Found, Question, Reply, Way},
    wire::{Dialler, Heard},
};
use crate::store::state::sync::{Entry, Sending};

/// Between attempts to reach a relay, and one that others named.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
const RETRY_OTHERS: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(3600));
/// A connection on which nothing is to do is ended after this, unless it is listened on.
const IDLE: Duration = Duration::from_secs(20);
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
    if queue.introduced() {
        hub.listen_again();
    }
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
    let mut asked = look(&mut talk, dialler, way, queue).await?;
    let mut listening = Listening::new(hub, link, queue.remembered.heard_until);
    listening.open(&mut talk).await?;
    let mut took: Vec<EventId> = Vec::new();
    let mut idle_since = Instant::now();
    let mut allowance = Allowance::of(link.by, Instant::now());
    loop {
        let now = Instant::now();
        // What its owner put in a row's place meanwhile is found by this, and leaves now.
        queue.store_some(now)?;
        let mut more = false;
        if !talk.is_proving() {
            // Only a few, then what was said meanwhile: a last look takes time, and the relay's answers wait for it.
            let rows = queue.next_some(now, allowance.room(now))?;
            more = !rows.is_empty();
            allowance.take(rows.len(), now);
            send(&talk, queue, rows).await?;
            // While it is answered, what was compared before leaves.
            match &mut asked {
                Some(asked) => asked.question.repeat(&mut talk)?,
                None if queue.wants_look() => {
                    asked = look(&mut talk, dialler, way, queue).await?;
                    more |= asked.is_none();
                }
                None => {}
            }
        }
        let now = Instant::now();
        queue.store_some(now)?;
        if queue.introduced() {
            hub.listen_again();
        }
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
        // Whatever else is due waits that moment, too.
        let until = match allowance.wait(now).filter(|_| !queue.is_idle()) {
            Some(wait) => now + wait,
            None => until,
        };
        if !listening.is_on() && queue.is_idle() && until <= now {
            return Ok(());
        }
        let until = asked
            .as_ref()
            .map_or(until, |asked| until.min(asked.question.until().into()));
        tokio::select! {
            biased;
            heard = talk.next() => match answers(&mut asked, &mut talk, way, queue, heard?)? {
                None => {}
                Some(Heard::Ok(id, taken, words)) => {
                    let Ok(id) = EventId::from_hex(&id) else { continue };
                    let verdict = answer::read(taken, &words);
                    let sent = verdict == answer::Verdict::Sent;
                    match queue.answered(&id, verdict, Instant::now()) {
                        // Not of what was sent: to be asked about it would tell the relay what is on the record.
                        Answered::Unknown => talk.bear(words.len())?,
                        Answered::WhoAreYou => talk.asked_who()?,
                        Answered::Settled => {
                            if sent && took.len() < LOOKED_FOR {
                                took.push(id);
                            }
                        }
                    }
                }
                Some(heard) => listening.take(&mut talk, queue, heard).await?,
            },
            () = link.wake.notified() => {
                queue.refresh();
                listening.open(&mut talk).await?;
            }
            // Nothing was said: so an answer that is overdue is not one that waits here to be heard.
            () = tokio::time::sleep_until(until.into()) => {
                let now = Instant::now();
                if asked.as_ref().is_some_and(|asked| asked.question.until() <= now.into()) {
                    return Err(way.silent());
                }
                if queue.is_overdue(now) {
                    return Err(Ended::Slow);
                }
            }
        }
    }
}

/// Rows of which the relay was asked whether it has them.
struct Asked {
    question: Question,
    rows: Vec<(u64, Entry)>,
}

/// Finds out what of that which leaves next is there already, or asks.
async fn look(
    talk: &mut Talk<'_>,
    dialler: &Dialler,
    way: &mut Way,
    queue: &mut Queue,
) -> Result<Option<Asked>, Ended> {
    // A relay that nothing waits for is not asked how it is asked.
    let mut rows = queue.to_look_at(1)?;
    if !rows.is_empty() {
        rows = queue.to_look_at(way.at_once(talk, dialler).await)?;
    }
    if rows.is_empty() {
        queue.looked(0);
        return Ok(None);
    }
    match way.of(talk, dialler, rows).await? {
        Found::Asked(rows, question) => Ok(Some(Asked { question, rows })),
        Found::Known(rows, there) => {
            compared(queue, rows, &there)?;
            Ok(None)
        }
    }
}

/// What a message is when it does not answer the question.
fn answers(
    asked: &mut Option<Asked>,
    talk: &mut Talk<'_>,
    way: &mut Way,
    queue: &mut Queue,
    heard: Heard,
) -> Result<Option<Heard>, Ended> {
    let Some(Asked { question, rows }) = asked else {
        return Ok(Some(heard));
    };
    match question.hear(talk, heard)? {
        Reply::Else(heard) => return Ok(Some(heard)),
        Reply::Nothing => {}
        Reply::Known(there) => {
            way.answered();
            compared(queue, std::mem::take(rows), &there.unwrap_or_default())?;
            *asked = None;
        }
    }
    Ok(None)
}

/// Rows may leave now, those that are not there.
fn compared(
    queue: &mut Queue,
    rows: Vec<(u64, Entry)>,
    there: &HashSet<EventId>,
) -> Result<(), Ended> {
    let now = Instant::now();
    let last = rows.last().map_or(0, |(seq, _)| *seq);
    for (seq, entry) in rows {
        // Its owner may have taken it back meanwhile.
        if there.contains(&entry.id) && queue.still_waits(seq, entry.id)? {
            queue.settle(seq, entry, Sending::There, now);
        }
    }
    queue.store()?;
    queue.looked(last);
    Ok(())
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
