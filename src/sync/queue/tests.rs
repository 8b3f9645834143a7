//! The queue's rules, without a relay.

use nostr::Keys;

use super::*;
use crate::{nips::Draft, store::state::sync::Cursor};

struct Case {
    _home: tempfile::TempDir,
    state: State,
    relay: RelayId,
}

impl Case {
    /// Rows 1 to `count`, of the kind that `kind` gives.
    fn new(count: u64, kind: impl Fn(u64) -> u16) -> Self {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(home.path()).unwrap();
        let relay = RelayId::of("wss://relay.example/");
        let rows: Vec<(u64, Entry)> = (1..=count)
            .map(|seq| {
                let event = Draft::new(kind(seq)).sign(&Keys::generate(), seq).unwrap();
                (seq, Entry::waiting(&event, false, 1))
            })
            .collect();
        let cursor = Cursor::new("wss://relay.example/", count, "");
        state.sync_take(relay, &rows, &cursor).unwrap();
        Self {
            _home: home,
            state,
            relay,
        }
    }

    /// All of its rows were compared with what the relay has.
    fn queue(&self) -> Queue {
        let mut queue = Queue::new(self.state.clone(), self.relay).unwrap();
        queue.looked(u64::MAX);
        queue
    }

    fn state_of(&self, seq: u64) -> Sending {
        let entry = self.state.sync_entry(self.relay, seq).unwrap();
        entry.unwrap().state
    }
}

/// Sends all that may leave now; gives which.
fn fly(queue: &mut Queue, now: Instant) -> Vec<(u64, EventId)> {
    let mut flown = Vec::new();
    while let Some((seq, entry)) = queue.next(now).unwrap() {
        flown.push((seq, entry.id));
        queue.sent(seq, entry, now);
    }
    flown
}

#[test]
fn all_leave_once_the_oldest_first_and_in_a_window() {
    let case = Case::new(700, |_| 4785);
    let mut queue = case.queue();
    let now = Instant::now();
    let mut order = Vec::new();
    loop {
        let flown = fly(&mut queue, now);
        assert!(flown.len() <= WINDOW);
        if flown.is_empty() {
            break;
        }
        for (seq, id) in flown {
            order.push(seq);
            assert_eq!(queue.answered(&id, Verdict::Sent, now), Answered::Settled);
            // An answer that is repeated, or that nobody waits for, is nothing.
            let again = Verdict::Again("x".into());
            assert_eq!(queue.answered(&id, again, now), Answered::Unknown);
        }
        queue.refresh();
    }
    assert_eq!(order, (1..=700).collect::<Vec<_>>());
    queue.store().unwrap();
    assert!(queue.is_idle() && queue.settled == 700);
    assert!(fly(&mut case.queue(), now).is_empty());
}

#[test]
fn what_was_not_answered_leaves_again_and_what_was_does_not() {
    let case = Case::new(3, |_| 4785);
    let now = Instant::now();
    let mut queue = case.queue();
    let flown = fly(&mut queue, now);
    queue.answered(&flown[1].1, Verdict::There, now);
    queue.cut(now).unwrap();
    // The oldest that was under way is suspected: it leaves last, and alone.
    let mut queue = case.queue();
    let again: Vec<u64> = fly(&mut queue, now).iter().map(|one| one.0).collect();
    assert_eq!(again, [3]);
    assert_eq!(case.state_of(2), Sending::There);
    queue.answered(&flown[2].1, Verdict::Sent, now);
    assert_eq!(fly(&mut queue, now)[0].0, 1);
}

#[test]
fn an_event_that_ends_every_connection_is_given_up() {
    let case = Case::new(1, |_| 4785);
    let now = Instant::now();
    for _ in 0..CUTS {
        let mut queue = case.queue();
        assert_eq!(fly(&mut queue, now).len(), 1);
        queue.cut(now).unwrap();
    }
    assert!(matches!(case.state_of(1), Sending::Failed { .. }));
    assert!(fly(&mut case.queue(), now).is_empty());
}

#[test]
fn too_much_at_once_waits_and_begins_where_it_was() {
    let case = Case::new(100, |_| 4785);
    let mut queue = case.queue();
    let now = Instant::now();
    let flown = fly(&mut queue, now);
    assert_eq!(flown.len(), WINDOW);
    for (_, id) in &flown {
        queue.answered(id, Verdict::Later, now);
    }
    assert!(fly(&mut queue, now).is_empty());
    let due = queue.due().unwrap();
    assert!(due > now && due <= now + Duration::from_secs(2));
    let again = fly(&mut queue, due);
    assert_eq!(again.len(), 1, "it is careful at first");
    assert_eq!(again[0].0, 1);
}

#[test]
fn a_refusal_is_kept_and_a_refused_kind_is_not_sent_again() {
    let case = Case::new(9, |seq| if seq % 2 == 0 { 4781 } else { 4785 });
    let mut queue = case.queue();
    let now = Instant::now();
    let flown = fly(&mut queue, now);
    let words = "restricted: members only".to_owned();
    queue.answered(&flown[0].1, Verdict::Refused(words.clone()), now);
    assert_eq!(queue.refuses(4785), None);
    let kind = "blocked: kind 4781".to_owned();
    queue.answered(&flown[1].1, Verdict::RefusedKind(kind.clone()), now);
    assert_eq!(queue.refuses(4781), Some(kind.as_str()));
    // One after the other, with none taken: it is the kind, although nobody says so.
    queue.answered(&flown[2].1, Verdict::Refused(words.clone()), now);
    queue.answered(&flown[4].1, Verdict::Refused(words.clone()), now);
    assert_eq!(queue.refuses(4785), Some(words.as_str()));
    queue.store().unwrap();
    assert_eq!(case.state_of(1), Sending::Refused { words });
    assert!(case.queue().refuses(4781).is_some(), "after a restart too");
}

#[test]
fn failures_of_a_relay_are_tried_again_and_not_for_ever() {
    let case = Case::new(1, |_| 4785);
    let mut queue = case.queue();
    let mut now = Instant::now();
    for _ in 0..TRIES {
        let flown = fly(&mut queue, now);
        assert_eq!(flown.len(), 1);
        queue.answered(&flown[0].1, Verdict::Again("error: disk".into()), now);
        queue.store().unwrap();
        now = queue.due().unwrap_or(now);
    }
    let words = "error: disk".to_owned();
    assert_eq!(case.state_of(1), Sending::Failed { words });
}

#[test]
fn what_waited_before_leaves_after_it_was_compared_and_what_is_new_at_once() {
    let case = Case::new(5, |_| 4785);
    let mut queue = Queue::new(case.state.clone(), case.relay).unwrap();
    let now = Instant::now();
    let seqs = |flown: Vec<(u64, EventId)>| flown.iter().map(|(seq, _)| *seq).collect::<Vec<_>>();
    assert!(fly(&mut queue, now).is_empty() && queue.wants_look() && !queue.is_idle());
    // Two at a time; the first is there already.
    let rows = queue.to_look_at(2).unwrap();
    let [(1, first), (2, _)] = &rows[..] else {
        panic!("{rows:?}");
    };
    queue.settle(1, first.clone(), Sending::There, now);
    queue.looked(2);
    assert_eq!(seqs(fly(&mut queue, now)), [2]);
    assert!(queue.wants_look());
    queue.looked(queue.to_look_at(9).unwrap().last().unwrap().0);
    assert_eq!(seqs(fly(&mut queue, now)), [3, 4, 5]);
    assert!(!queue.wants_look());
    // One that is written now leaves at once; an old one that was lined up later does not.
    let row = |seq: u64, at: u64| {
        let event = Draft::new(4785).sign(&Keys::generate(), at).unwrap();
        (seq, Entry::waiting(&event, false, 1))
    };
    let fresh = row(6, Timestamp::now().as_secs() + 1);
    case.state.sync_put(case.relay, &[fresh]).unwrap();
    queue.refresh();
    assert_eq!(seqs(fly(&mut queue, now)), [6]);
    assert!(!queue.wants_look());
    case.state.sync_put(case.relay, &[row(7, 1)]).unwrap();
    queue.refresh();
    assert!(fly(&mut queue, now).is_empty() && queue.wants_look());
    queue.looked(7);
    assert_eq!(seqs(fly(&mut queue, now)), [7]);
}

#[test]
fn a_session_is_known_there_when_it_is_stored_that_it_is() {
    let case = Case::new(3, |seq| if seq == 1 { 4781 } else { 4785 });
    let mut queue = case.queue();
    let now = Instant::now();
    let flown = fly(&mut queue, now);
    queue.answered(&flown[0].1, Verdict::Sent, now);
    queue.store_some(now).unwrap();
    assert_eq!(case.state_of(1), Sending::Waiting);
    assert!(!queue.introduced(), "whoever looks now does not find it");
    queue.store_some(now + STORE_AFTER).unwrap();
    assert_eq!(case.state_of(1), Sending::Sent);
    assert!(queue.introduced() && !queue.introduced());
    queue.answered(&flown[1].1, Verdict::Sent, now);
    queue.store().unwrap();
    assert!(!queue.introduced(), "an end introduces nobody");
}

#[test]
fn who_took_something_back_or_renewed_it_meanwhile_has_the_last_word() {
    let case = Case::new(4, |_| 5);
    let mut queue = case.queue();
    let now = Instant::now();
    let flown = fly(&mut queue, now);
    let row = |seq: u64| case.state.sync_entry(case.relay, seq).unwrap().unwrap();
    let other = Draft::new(5).sign(&Keys::generate(), 9).unwrap();
    let other = Entry::waiting(&other, true, 9);
    let mut asked = row(3);
    asked.asked = true;
    let rows = [
        (1, row(1).held("taken back".to_owned(), 9)),
        (2, other.clone()),
        (3, asked),
        (4, row(4).held("taken back".to_owned(), 9)),
    ];
    case.state.sync_put(case.relay, &rows).unwrap();
    queue.refresh();
    assert!(fly(&mut queue, now).is_empty());
    let words = "error: a bad day".to_owned();
    let verdicts = [
        Verdict::Again(words.clone()),
        Verdict::Sent,
        Verdict::Refused(words),
        Verdict::Sent,
    ];
    for ((_, id), verdict) in flown.iter().zip(verdicts) {
        queue.answered(id, verdict, now);
    }
    queue.store().unwrap();
    let held = |seq| matches!(row(seq).state, Sending::Held { .. });
    assert!(held(1), "a failure does not bring back what was taken back");
    assert_eq!(row(2), other, "what is there in its place is to leave");
    assert!(row(3).waits() && row(3).asked, "it was asked for again");
    assert_eq!(row(4).state, Sending::Sent, "what is there is there");
    // What takes the place of another leaves as soon as that is known.
    let (seq, id) = flown[0];
    let again = fly(&mut queue, now);
    assert_eq!(again, [(2, other.id), (3, row(3).id)]);
    assert!(!queue.still_waits(seq, id).unwrap());
}
