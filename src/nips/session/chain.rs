//! Checks that a session's records are whole: signatures, `seq`, `prev`, one start, one end, honest counts.

use nostr::{Event, EventId};

use super::{Body, Record, RecordError};
use crate::nips::reference::tag_value;

/// What a whole session holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ChainReport {
    /// All records.
    pub records: u64,
    /// 4782.
    pub actions: u64,
    /// 4783.
    pub checkpoints: u64,
    /// 4784.
    pub errors: u64,
    /// Whether the session has ended.
    pub ended: bool,
}

/// What is wrong with a session's records.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// There are none.
    #[error("there are no session records")]
    Empty,
    /// An id or a signature is wrong.
    #[error("record {id} does not verify")]
    Signature {
        /// The record.
        id: EventId,
        /// What the check said.
        #[source]
        source: nostr::event::Error,
    },
    /// A record cannot be read.
    #[error("record {id} cannot be read")]
    Record {
        /// The record.
        id: EventId,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// Another key signed a record.
    #[error("record {0} belongs to another session than the start")]
    Author(EventId),
    /// The numbering has a gap or a double.
    #[error(
        "after record {expected} of the session comes {found}: a record was left out or put in"
    )]
    Seq {
        /// The number that should follow.
        expected: u64,
        /// The number that is there.
        found: u64,
    },
    /// `prev` names another record.
    #[error("record {0} does not name the one before it")]
    Prev(u64),
    /// It does not begin with a start.
    #[error("the first record is not a session start")]
    NoStart,
    /// A start or something after the end.
    #[error("record {0} stands after the session's end, or is a second start")]
    Order(u64),
    /// The end's own count is another one.
    #[error("the session's end counts {claimed} {what}, the records are {found}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// What the end says.
        claimed: u64,
        /// What is there.
        found: u64,
    },
}

/// Checks the records of one session, in any order.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_chain<'a>(
    events: impl IntoIterator<Item = &'a Event>,
) -> Result<ChainReport, ChainError> {
    let mut records = Vec::new();
    for event in events {
        event.verify().map_err(|source| ChainError::Signature {
            id: event.id,
            source,
        })?;
        let record = Record::parse(event).map_err(|source| ChainError::Record {
            id: event.id,
            source,
        })?;
        records.push((event, record));
    }
    records.sort_by_key(|(_, record)| record.seq);
    let author = records.first().ok_or(ChainError::Empty)?.0.pubkey;
    let mut report = ChainReport::default();
    let mut before: Option<EventId> = None;
    for (expected, (event, record)) in (0u64..).zip(&records) {
        if event.pubkey != author {
            return Err(ChainError::Author(event.id));
        }
        if record.seq != expected {
            return Err(ChainError::Seq {
                expected,
                found: record.seq,
            });
        }
        if record.prev != before {
            return Err(ChainError::Prev(expected));
        }
        let start = matches!(record.body, Body::Start(_));
        if expected == 0 && !start {
            return Err(ChainError::NoStart);
        }
        if report.ended || (expected > 0 && start) {
            return Err(ChainError::Order(expected));
        }
        match &record.body {
            Body::Start(_) => {}
            Body::Action(_) => report.actions += 1,
            Body::Checkpoint(_) => report.checkpoints += 1,
            Body::Error(_) => report.errors += 1,
            Body::End(_) => {
                report.ended = true;
                check_counts(event, &report)?;
            }
        }
        report.records += 1;
        before = Some(event.id);
    }
    Ok(report)
}

fn check_counts(end: &Event, report: &ChainReport) -> Result<(), ChainError> {
    for (what, found) in [
        ("actions", report.actions),
        ("checkpoints", report.checkpoints),
        ("errors", report.errors),
    ] {
        if let Some(claimed) = tag_value(end, what).and_then(|count| count.parse().ok())
            && claimed != found
        {
            return Err(ChainError::Count {
                what,
                claimed,
                found,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Vec<Event> {
        let vectors: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(include_str!("../../../tests/it/fixtures/events.json")).unwrap();
        vectors
            .into_iter()
            .map(|(_, value)| serde_json::from_value::<Event>(value).unwrap())
            .filter(|event| (4781..=4785).contains(&event.kind.as_u16()))
            .collect()
    }

    #[test]
    fn the_golden_session_is_whole_in_any_order() {
        let mut events = golden();
        events.reverse();
        let report = check_chain(&events).unwrap();
        assert_eq!((report.records, report.actions, report.ended), (7, 3, true));
    }

    #[test]
    fn an_omission_shows() {
        for left_out in 0..7 {
            let mut events = golden();
            events.sort_by_key(|event| Record::parse(event).unwrap().seq);
            events.remove(left_out);
            let result = check_chain(&events);
            if left_out == 6 {
                assert!(!result.unwrap().ended);
            } else {
                assert!(matches!(result, Err(ChainError::Seq { .. })), "{left_out}");
            }
        }
    }

    #[test]
    fn a_changed_word_shows() {
        let mut events = golden();
        events[3].content.push('!');
        assert!(matches!(
            check_chain(&events),
            Err(ChainError::Signature { .. })
        ));
    }
}
