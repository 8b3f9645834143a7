//! What the database keeps and what goes from it.

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use nostr::{Event, Keys};

use super::{
    super::{EventStore, LogStore, Query, Record, Stored},
    A_MOMENT, CANDIDATES, CLOSING, Error, Scan, Search,
    words::Words,
};
use crate::nips::{Draft, nip50};

fn note(keys: &Keys, content: &str, at: u64) -> Event {
    Draft::new(1).content(content).sign(keys, at).unwrap()
}

fn rows(words: &Words) -> HashMap<Vec<u8>, Vec<u8>> {
    words
        .rows
        .iter()
        .map(|row| {
            let (key, value) = row.into_inner().unwrap();
            (key.to_vec(), value.to_vec())
        })
        .collect()
}

fn store(home: &Path) -> Arc<LogStore> {
    Arc::new(LogStore::open(&home.join("events")).unwrap())
}

#[test]
fn what_is_removed_leaves_no_key_and_counts_no_more() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path());
    let words = Words::open(&home.path().join("search"), &*store).unwrap();
    let before = rows(&words);
    let keys = Keys::generate();
    let stored = |seq, content: &str| Stored {
        seq,
        event: note(&keys, content, 100 + seq),
    };
    words.add(&[stored(1, "one two two")], 1).unwrap();
    let with_one = rows(&words);
    let totals = words.totals();
    assert_eq!((totals.cursor, totals.events, totals.words), (1, 1, 3));
    // The same again changes nothing: the cursor is past it.
    words.add(&[stored(1, "one two two")], 1).unwrap();
    assert_eq!(rows(&words), with_one);
    words
        .add(&[stored(2, "two three"), stored(3, "")], 7)
        .unwrap();
    words.remove(&[2, 3, 99]).unwrap();
    assert_eq!(words.totals().cursor, 7);
    let (mut now, mut then) = (rows(&words), with_one);
    now.remove(&[0, 1][..]);
    then.remove(&[0, 1][..]);
    assert_eq!(now, then);
    words.remove(&[1]).unwrap();
    let totals = words.totals();
    assert_eq!((totals.events, totals.words), (0, 0));
    let mut now = rows(&words);
    now.remove(&[0, 1][..]);
    assert_eq!(now, before);
}

#[test]
fn more_than_are_looked_at_cannot_be_counted_but_found() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path());
    let words = Words::open(&home.path().join("search"), &*store).unwrap();
    let event = note(&Keys::generate(), "word", 100);
    store.append(&[Record::new(event.clone())]).unwrap();
    let last = CANDIDATES as u64;
    let all: Vec<Stored> = (1..=last)
        .map(|seq| Stored {
            seq,
            event: event.clone(),
        })
        .collect();
    for chunk in all.chunks(5000) {
        words.add(chunk, chunk.last().unwrap().seq).unwrap();
    }
    let filters = [nostr::Filter::new().search("word")];
    let query = Query::all(&filters, 200);
    let search = nip50::Search::parse("word").unwrap().unwrap();
    let mut scan = Scan::new(&words, &*store, &query);
    let refused = scan.all(&filters[0], &search, |_| {});
    assert!(matches!(refused, Err(Error::TooMany)));
    let mut scan = Scan::new(&words, &*store, &query);
    let found = scan.best(&filters[0], &search, 10).unwrap();
    // All but the first are not in the store.
    assert_eq!(found.iter().map(|one| one.seq).collect::<Vec<_>>(), [1]);
    assert_eq!(scan.gone.len(), CANDIDATES - 1);
}

#[tokio::test]
async fn what_a_search_finds_gone_is_removed_from_the_index() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path());
    let keys = Keys::generate();
    let (gone, stays) = (note(&keys, "word", 100), note(&keys, "word", 200));
    let batch = [Record::new(gone.clone()), Record::new(stays)];
    store.append(&batch).unwrap();
    let search = Search::start(home.path().join("search"), store.clone()).unwrap();
    search.reached(2).await.unwrap();
    let filters = [nostr::Filter::new().search("word")];
    let query = Query::all(&filters, 300);
    assert_eq!(search.find(&query).unwrap().len(), 2);
    let keys_of = || rows(&search.words().unwrap()).len();
    let both = keys_of();
    store.purge(&[gone.id], b"").unwrap();
    assert_eq!(search.find(&query).unwrap().len(), 1);
    for _ in 0..500 {
        if keys_of() < both {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Its one word, and its row.
    assert_eq!(keys_of(), both - 2);
    search.erase().await.unwrap();
    search.reached(2).await.unwrap();
    assert_eq!(search.find(&query).unwrap().len(), 1);
    assert_eq!(keys_of(), both - 2);
    search.stop();
    assert!(matches!(search.find(&query), Err(Error::Behind)));
}

#[tokio::test]
async fn an_index_that_does_not_close_keeps_nobody_from_stopping() {
    let home = tempfile::tempdir().unwrap();
    let search = Search::start(home.path().join("search"), store(home.path())).unwrap();
    let began = Instant::now();
    let held = loop {
        if let Some(words) = search.words() {
            break words;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it never opens");
        std::thread::sleep(A_MOMENT);
    };
    let began = Instant::now();
    search.stop();
    assert!(began.elapsed() >= CLOSING, "somebody searches still");
    assert!(
        began.elapsed() < 2 * CLOSING,
        "it took {:?}",
        began.elapsed()
    );
    drop(held);
}
