//! Rows, cursors and marks.

use nostr::Keys;

use super::*;
use crate::nips::Draft;

#[test]
fn the_first_mark_stays_until_it_is_taken_away() {
    let home = tempfile::tempdir().unwrap();
    let state = State::open(home.path()).unwrap();
    let id = EventId::from_byte_array([1; 32]);
    let from = || state.sync_came_from(&id).unwrap();
    assert!(state.sync_mark(&id, "wss://a/").unwrap());
    assert!(!state.sync_mark(&id, "wss://b/").unwrap());
    assert_eq!(from().as_deref(), Some("wss://a/"));
    state.sync_unmark(&id).unwrap();
    assert_eq!(from(), None);
    assert!(state.sync_mark(&id, "wss://b/").unwrap());
}

fn entry(n: u64) -> Entry {
    let event = Draft::new(4785)
        .content(n.to_string())
        .sign(&Keys::generate(), n)
        .unwrap();
    Entry::waiting(&event, false, n)
}

#[test]
fn rows_wait_in_the_order_of_the_log_and_stay_when_they_are_settled() {
    let home = tempfile::tempdir().unwrap();
    let (here, other) = (RelayId::of("wss://a/"), RelayId::of("wss://b/"));
    let rows: Vec<(u64, Entry)> = [5, 300, 2]
        .into_iter()
        .map(|seq| (seq, entry(seq)))
        .collect();
    {
        let state = State::open(home.path()).unwrap();
        state
            .sync_take(here, &rows, &Cursor::new("wss://a/", 300, "x"))
            .unwrap();
        assert!(state.sync_waiting(other, None, 9).unwrap().is_empty());
        let mut sent = rows[2].clone();
        sent.1.state = Sending::Sent;
        state.sync_put(here, &[sent]).unwrap();
        // Looking through the log again brings nothing back.
        state
            .sync_take(here, &rows, &Cursor::new("wss://a/", 301, "y"))
            .unwrap();
    }
    let state = State::open(home.path()).unwrap();
    let waiting = state.sync_waiting(here, None, 9).unwrap();
    assert_eq!(
        waiting.iter().map(|row| row.0).collect::<Vec<_>>(),
        [5, 300]
    );
    assert_eq!(state.sync_waiting(here, Some(5), 9).unwrap()[0].0, 300);
    assert_eq!(state.sync_waiting(here, None, 1).unwrap().len(), 1);
    let tally = state.sync_tally(here).unwrap();
    assert_eq!((tally.waiting, tally.sent), (2, 1));
    assert_eq!(state.sync_cursor(here).unwrap().unwrap().settings, "y");
    assert_eq!(state.sync_cursor(other).unwrap(), None);
}

#[test]
fn what_is_not_on_the_log_comes_last_and_once() {
    let home = tempfile::tempdir().unwrap();
    let state = State::open(home.path()).unwrap();
    let relay = RelayId::of("wss://a/");
    let mut own = entry(1);
    own.own = Some("{}".to_owned());
    for _ in 0..2 {
        state.sync_add_own(relay, &own).unwrap();
    }
    state.sync_add_own(relay, &entry(2)).unwrap();
    let cursor = Cursor::new("wss://a/", 9, "");
    state.sync_take(relay, &[(9, entry(3))], &cursor).unwrap();
    let waiting = state.sync_waiting(relay, None, 9).unwrap();
    let times: Vec<u64> = waiting.iter().map(|row| row.1.created_at).collect();
    assert_eq!(times, [3, 1, 2]);
}

#[test]
fn requests_that_are_added_at_once_have_a_row_each() {
    let home = tempfile::tempdir().unwrap();
    let state = State::open(home.path()).unwrap();
    let relay = RelayId::of("wss://a/");
    std::thread::scope(|scope| {
        for of in 0..4 {
            let state = &state;
            scope.spawn(move || {
                for n in 0..8 {
                    state.sync_add_own(relay, &entry(10 * of + n)).unwrap();
                }
            });
        }
    });
    assert_eq!(state.sync_own_waiting(relay).unwrap().len(), 32);
}

#[test]
fn a_row_becomes_what_it_is_to_be_by_what_it_is_now_or_stays() {
    let home = tempfile::tempdir().unwrap();
    let state = State::open(home.path()).unwrap();
    let relay = RelayId::of("wss://a/");
    state
        .sync_put(relay, &[(1, entry(1)), (2, entry(2))])
        .unwrap();
    let mut saw = Vec::new();
    state
        .sync_change(relay, [(1, 1), (2, 2), (3, 3)], |seq, now| {
            saw.push((seq, now.as_ref().map(|now| now.created_at)));
            now.filter(|_| seq == 1)
                .map(|now| now.held("no".to_owned(), 9))
        })
        .unwrap();
    assert_eq!(saw, [(1, Some(1)), (2, Some(2)), (3, None)]);
    let waiting = state.sync_waiting(relay, None, 9).unwrap();
    assert_eq!(waiting.iter().map(|row| row.0).collect::<Vec<_>>(), [2]);
    assert_eq!(state.sync_entry(relay, 1).unwrap().unwrap().at, 9);
    assert_eq!(state.sync_entry(relay, 3).unwrap(), None);
}

#[test]
fn where_an_event_came_from_is_kept_also_when_the_state_is_written_anew() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state");
    let state = State::open(&path).unwrap();
    let id = entry(1).id;
    state.sync_mark(&id, "wss://a/").unwrap();
    state.sync_mark(&id, "wss://b/").unwrap();
    let mut remembered = Remembered::default();
    remembered.refused_kinds.insert(4785, "no".to_owned());
    let relay = RelayId::of("wss://a/");
    state.sync_remember(relay, &remembered).unwrap();
    state.rewrite().unwrap();
    assert_eq!(
        state.sync_came_from(&id).unwrap().as_deref(),
        Some("wss://a/")
    );
    let after = state.sync_remembered(relay).unwrap();
    assert_eq!(after.refused_kinds, remembered.refused_kinds);
    assert_eq!(state.sync_came_from(&entry(2).id).unwrap(), None);
}

#[test]
fn relays_that_others_named_are_kept_with_their_rows_and_no_row_is_made_twice() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state");
    let naming = |n: u8| Naming {
        event: EventId::from_byte_array([n; 32]),
        key: Keys::generate().public_key(),
        at: u64::from(n),
    };
    let mut relay = NamedRelay::new("wss://a/", naming(1));
    let id = RelayId::of("wss://a/");
    {
        let state = State::open(&path).unwrap();
        let rows = [(id, 7, entry(7))];
        let cursor = Cursor::new("", 7, "x");
        state
            .sync_take_named(&[relay.clone()], &rows, &[], &cursor)
            .unwrap();
        let mut sent = entry(7);
        sent.state = Sending::Sent;
        state.sync_put(id, &[(7, sent)]).unwrap();
        // It is looked through again, under other settings.
        state
            .sync_take_named(&[], &rows, &[], &Cursor::new("", 8, "y"))
            .unwrap();
    }
    let state = State::open(&path).unwrap();
    assert_eq!(state.sync_named().unwrap(), [relay.clone()]);
    assert!(state.sync_waiting(id, None, 9).unwrap().is_empty());
    let cursor = state.sync_cursor(RelayId::of_others()).unwrap().unwrap();
    assert_eq!((cursor.seq, cursor.settings.as_str()), (8, "y"));
    for n in 2..100 {
        assert!(relay.name(naming(n)));
    }
    assert!(!relay.name(naming(99)));
    assert_eq!((relay.by.len(), relay.at()), (8, 99));
}

#[test]
fn what_found_no_place_is_known_until_it_has_one_or_is_taken_back() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state");
    let wants = |n: u64| Unplaced::new(entry(n).id, Keys::generate().public_key());
    let cursor = Cursor::new("", 9, "x");
    let (first, second, third) = (wants(1), wants(2), wants(3));
    {
        let state = State::open(&path).unwrap();
        let found = [(7, Some(first)), (8, Some(second)), (9, Some(third))];
        state.sync_take_named(&[], &[], &found, &cursor).unwrap();
        state
            .sync_take_named(&[], &[], &[(8, None)], &cursor)
            .unwrap();
    }
    let state = State::open(&path).unwrap();
    let known = state.sync_unplaced().unwrap();
    assert_eq!(Vec::from_iter(known), [(7, first), (9, third)]);
    assert!(state.sync_forget_unplaced(9).unwrap());
    assert!(!state.sync_forget_unplaced(9).unwrap());
    assert_eq!(state.sync_unplaced().unwrap().len(), 1);
    // It is no row of any relay.
    assert_eq!(
        state.sync_tally(RelayId::of_others()).unwrap(),
        Tally::default()
    );
}
