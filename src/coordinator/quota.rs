//! Quotas of strangers, and a bound on how many refusals are answered.

use std::collections::{HashSet, VecDeque};

use nostr::EventId;

use super::config::StrangersConfig;
use crate::job::Failure;

/// The window of hourly quotas, in seconds.
pub(super) const HOUR: u64 = 3600;

/// Refusals answered in an hour; a flood beyond it is left unanswered, so that nobody can make us sign
/// without end.
const REFUSALS: usize = 600;

/// Counts what strangers have.
#[derive(Debug)]
pub(super) struct Quota {
    config: StrangersConfig,
    running: HashSet<EventId>,
    accepted: VecDeque<u64>,
    refused: VecDeque<u64>,
}

impl Quota {
    pub(super) fn new(config: StrangersConfig) -> Self {
        Self {
            config,
            running: HashSet::new(),
            accepted: VecDeque::new(),
            refused: VecDeque::new(),
        }
    }

    /// Counts a job that was accepted before a restart.
    pub(super) fn restore(&mut self, job: EventId, accepted_at: u64, running: bool) {
        let at = self.accepted.partition_point(|other| *other <= accepted_at);
        self.accepted.insert(at, accepted_at);
        if running {
            self.running.insert(job);
        }
    }

    /// Takes a stranger's job in, or says which quota is used up.
    pub(super) fn accept(&mut self, job: EventId, now: u64) -> Result<(), Failure> {
        forget(&mut self.accepted, now);
        if self.running.len() >= self.config.at_once {
            return Err(Failure::new(
                "quota",
                format!(
                    "guests may have {} jobs at a time here, and all places are taken: try again later",
                    self.config.at_once
                ),
            ));
        }
        if self.accepted.len() >= self.config.per_hour {
            return Err(Failure::new(
                "quota",
                format!(
                    "guests may have {} jobs an hour here: try again later",
                    self.config.per_hour
                ),
            ));
        }
        self.accepted.push_back(now);
        self.running.insert(job);
        Ok(())
    }

    /// A job ended.
    pub(super) fn done(&mut self, job: &EventId) {
        self.running.remove(job);
    }

    /// Whether one more refusal may be answered.
    pub(super) fn may_refuse(&mut self, now: u64) -> bool {
        forget(&mut self.refused, now);
        let room = self.refused.len() < REFUSALS;
        if room {
            self.refused.push_back(now);
        }
        room
    }
}

fn forget(times: &mut VecDeque<u64>, now: u64) {
    while times.front().is_some_and(|at| at + HOUR <= now) {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> EventId {
        EventId::from_byte_array([n; 32])
    }

    #[test]
    fn counts_jobs_at_once_and_an_hour() {
        let config = StrangersConfig {
            at_once: 2,
            per_hour: 3,
            ..StrangersConfig::default()
        };
        let mut quota = Quota::new(config);
        quota.accept(id(1), 0).unwrap();
        quota.accept(id(2), 0).unwrap();
        assert_eq!(quota.accept(id(3), 1).unwrap_err().code, "quota");
        quota.done(&id(1));
        quota.accept(id(3), 2).unwrap();
        quota.done(&id(2));
        quota.done(&id(3));
        assert!(
            quota
                .accept(id(4), 3)
                .unwrap_err()
                .sentence
                .contains("an hour")
        );
        quota.accept(id(4), HOUR).unwrap();
    }

    #[test]
    fn remembers_the_hour_across_a_restart() {
        let config = StrangersConfig {
            at_once: 9,
            per_hour: 2,
            ..StrangersConfig::default()
        };
        let mut quota = Quota::new(config);
        quota.restore(id(2), 20, false);
        quota.restore(id(1), 10, true);
        assert!(quota.accept(id(3), 30).is_err());
        quota.accept(id(3), HOUR + 10).unwrap();
    }

    #[test]
    fn a_flood_of_refusals_is_bounded() {
        let mut quota = Quota::new(StrangersConfig::default());
        assert_eq!((0..2000).filter(|_| quota.may_refuse(5)).count(), REFUSALS);
        assert!(quota.may_refuse(5 + HOUR));
    }
}
