//! Files and long texts that no event names: they are removed.
//!
//! A file that its owner attaches is kept before the job that names it is asked, and a long text before the record
//! that names it is signed. What is still named by nothing a day later was taken out of the field again, or belonged
//! to what was deleted since. What names it is any event, wherever in it the hash stands, also in what is encrypted
//! between this host and somebody; it is looked for in the whole log, and only when there is something to look for.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use nostr::{Event, Keys};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::{
    nips::nip90::Scheme,
    store::{self, Feed, blobs::Blobs},
};

/// How long what nothing names yet is kept: a person may write the question tomorrow.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// When it is looked for: after what an earlier run left to be published was published, and then now and again.
const FIRST: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(6 * 3600);
/// Whom an event may be encrypted for.
const PEOPLE: usize = 8;

/// Why it could not be looked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the folder of kept files cannot be read")]
    Folder(#[from] std::io::Error),
}

/// Removes what no event names, at the start and now and again, until the program stops.
pub(super) async fn keep_removing(context: Arc<Context>, shutdown: CancellationToken) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = AGAIN;
        let before = SystemTime::now()
            .checked_sub(KEPT)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let removing = remove_old(
            context.relay.feed(0),
            context.keyring.coordinator(),
            &context.blobs,
            before,
        );
        let removed = tokio::select! {
            () = shutdown.cancelled() => return,
            removed = removing => removed,
        };
        match removed {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed kept files that nothing names"),
            Err(error) => {
                tracing::warn!(%error, "could not look for kept files that nothing names")
            }
        }
    }
}

/// Removes what was kept last before a time and is named by no event of a log, which the feed begins; gives how many.
///
/// # Errors
/// When log or folder cannot be read.
async fn remove_old(
    log: Feed,
    keys: &Keys,
    blobs: &Blobs,
    before: SystemTime,
) -> Result<usize, Error> {
    let kept = blobs.clone();
    let old = tokio::task::spawn_blocking(move || kept.older(before)).await;
    let old = old.map_err(|_| store::Error::Stopped)??;
    remove(log, keys, blobs, old, before).await
}

/// Removes those of these that no event of a log names, and that were not kept once more since a time; gives how
/// many. After events were removed this is for what only they named ([`each_named`]): with the time of now.
///
/// # Errors
/// When log or folder cannot be read.
pub(super) async fn remove(
    mut log: Feed,
    keys: &Keys,
    blobs: &Blobs,
    mut hashes: HashSet<String>,
    before: SystemTime,
) -> Result<usize, Error> {
    while !hashes.is_empty()
        && let Some(events) = log.next_now().await?
    {
        let keys = keys.clone();
        let looked = tokio::task::spawn_blocking(move || {
            for stored in events {
                each_named(&stored.event, &keys, &mut |hash| {
                    hashes.remove(hash);
                });
            }
            hashes
        });
        hashes = looked.await.map_err(|_| store::Error::Stopped)?;
    }
    let blobs = blobs.clone();
    let removing = tokio::task::spawn_blocking(move || {
        let mut removed = 0;
        for hash in hashes {
            removed += usize::from(blobs.remove_older(&hash, before)?);
        }
        Ok(removed)
    });
    removing.await.map_err(|_| store::Error::Stopped)?
}

/// What an event may name, wherever in it: everything that looks like a hash, in small letters.
pub(super) fn each_named(event: &Event, keys: &Keys, take: &mut impl FnMut(&str)) {
    for text in event.tags.iter().flat_map(|tag| tag.as_slice()) {
        hashes(text, take);
    }
    hashes(&event.content, take);
    let scheme = Scheme::of(event);
    if !scheme.is_private() {
        return;
    }
    // What this host wrote is for whom it names, everything else is from its author.
    let mut people = vec![event.pubkey];
    if event.pubkey == keys.public_key() {
        people = event.tags.public_keys().copied().take(PEOPLE).collect();
    }
    for peer in people {
        if let Ok(text) = scheme.decrypt(keys, &peer, &event.content) {
            hashes(&text, take);
        }
    }
}

/// Every run of exactly 64 hexadecimal digits, in small letters.
fn hashes(text: &str, take: &mut impl FnMut(&str)) {
    let runs = text.split(|char: char| !char.is_ascii_hexdigit());
    for run in runs.filter(|run| run.len() == 64) {
        if run.bytes().any(|byte| byte.is_ascii_uppercase()) {
            take(&run.to_ascii_lowercase());
        } else {
            take(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        nips::Draft,
        store::{EventStore as _, LogStore, Record},
    };

    #[tokio::test]
    async fn what_no_event_names_goes_and_everything_else_stays() {
        let home = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(home.path().join("blobs"));
        let store = Arc::new(LogStore::open(&home.path().join("events")).unwrap());
        let (host, owner) = (Keys::generate(), Keys::generate());
        let keep = |text: &str| blobs.put(text.as_bytes()).unwrap();
        let hidden = |keys: &Keys, to: &Keys, scheme: Scheme, hash: &str| {
            let tags = format!("[[\"i\",\"{hash}\",\"blob\"]]");
            let to = to.public_key();
            Draft::new(5870)
                .tag(["encrypted"])
                .tag(["p", &to.to_hex()])
                .content(scheme.encrypt(keys, &to, &tags).unwrap())
                .sign(keys, 1)
                .unwrap()
        };
        let clear = |draft: Draft| draft.sign(&owner, 1).unwrap();
        let kept: Vec<String> = ["tag", "content", "44", "04", "own"].map(keep).to_vec();
        let events = [
            clear(Draft::new(4782).tag(["x", &kept[0], "content"])),
            clear(Draft::new(1).content(format!("see {}.", kept[1].to_uppercase()))),
            hidden(&owner, &host, Scheme::Nip44, &kept[2]),
            hidden(&owner, &host, Scheme::Nip04, &kept[3]),
            hidden(&host, &owner, Scheme::Nip44, &kept[4]),
            clear(Draft::new(1).content("ff".repeat(4000))),
        ];
        let records: Vec<Record> = events.map(Record::new).to_vec();
        store.append(&records).unwrap();
        let gone: Vec<String> = ["taken out", "of the field"].map(keep).to_vec();
        let remove = async |before| {
            let log = Feed::new(store.clone(), 0);
            remove_old(log, &host, &blobs, before).await.unwrap()
        };
        // What came a moment ago may still be named.
        let day_ago = SystemTime::now() - KEPT;
        assert_eq!(remove(day_ago).await, 0);
        let later = SystemTime::now() + Duration::from_secs(60);
        assert_eq!(remove(later).await, gone.len());
        assert!(gone.iter().all(|hash| blobs.get(hash).is_err()));
        assert!(kept.iter().all(|hash| blobs.get(hash).is_ok()));
        assert_eq!(remove(later).await, 0);
    }
}
