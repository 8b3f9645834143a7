//! What repetitions come to: how often it succeeded, the median and the spread, how many different results.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    contest::{Contest, Entry},
    table::{checks, time},
};
use crate::cli::figures::{dollars, thousands};

/// The jobs of one agent with one model.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) name: String,
    pub(super) entries: Vec<&'a Entry>,
}

/// A figure of several jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spread {
    least: u64,
    median: u64,
    most: u64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = u64>) -> Option<Self> {
        let mut figures: Vec<u64> = figures.collect();
        figures.sort_unstable();
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            1 => figures[middle],
            _ => u64::midpoint(figures[middle - 1], figures[middle]),
        };
        Some(Self {
            least,
            median,
            most,
        })
    }

    fn say(&self, write: impl Fn(u64) -> String) -> String {
        if self.least == self.most {
            return write(self.median);
        }
        format!(
            "{} ({} to {})",
            write(self.median),
            write(self.least),
            write(self.most)
        )
    }

    fn json(&self) -> Value {
        json!({"median": self.median, "least": self.least, "most": self.most})
    }
}

impl Group<'_> {
    fn done(&self) -> usize {
        self.entries.iter().filter(|entry| entry.done()).count()
    }

    /// Of those that have an answer.
    fn spread(&self, figure: impl Fn(&Entry) -> Option<u64>) -> Option<Spread> {
        let done = self.entries.iter().filter(|entry| entry.done());
        Spread::of(done.filter_map(|entry| figure(entry)))
    }

    fn ms(&self) -> Option<Spread> {
        self.spread(Entry::ms)
    }

    fn tokens(&self) -> Option<Spread> {
        self.spread(|entry| (entry.figures.calls > 0).then(|| entry.figures.tokens()))
    }

    fn cost(&self) -> Option<Spread> {
        self.spread(|entry| entry.figures.cost())
    }

    /// How many passed all checks, of how many that had any.
    fn checked(&self) -> Option<(usize, usize)> {
        let all: Vec<(usize, usize)> = self.entries.iter().filter_map(|e| checks(e)).collect();
        let passed = all.iter().filter(|(passed, of)| passed == of).count();
        (!all.is_empty()).then_some((passed, all.len()))
    }

    fn results(&self) -> usize {
        results(self.entries.iter().copied())
    }

    fn say(&self) -> String {
        let mut said = vec![format!("{} of {} done", self.done(), self.entries.len())];
        let mut add = |name: &str, spread: Option<Spread>, write: &dyn Fn(u64) -> String| {
            said.extend(spread.map(|spread| format!("{name} {}", spread.say(write))));
        };
        add("time", self.ms(), &time);
        add("tokens", self.tokens(), &thousands);
        add("cost", self.cost().filter(|cost| cost.most > 0), &dollars);
        said.extend(
            self.checked()
                .map(|(passed, of)| format!("checks passed {passed} of {of}")),
        );
        if self.done() > 1 {
            said.push(match self.results() {
                1 => "all came to the same result".to_owned(),
                n => format!("{n} different results"),
            });
        }
        format!("{}: {}", self.name, said.join(" · "))
    }
}

/// How many different results there are, by content.
fn results<'a>(entries: impl Iterator<Item = &'a Entry>) -> usize {
    let contents: BTreeSet<String> = entries.filter_map(Entry::content).collect();
    contents.len()
}

/// The jobs by agent and model, in the order in which these were asked first.
pub(super) fn groups(contest: &Contest) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for entry in &contest.entries {
        let name = entry.name();
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.entries.push(entry),
            None => groups.push(Group {
                name,
                entries: vec![entry],
            }),
        }
    }
    groups
}

/// What it comes to, a line each; nothing where everybody was asked once.
pub(in crate::cli) fn lines(contest: &Contest) -> Vec<String> {
    let groups = groups(contest);
    if groups.iter().all(|group| group.entries.len() == 1) {
        return Vec::new();
    }
    groups.iter().map(Group::say).collect()
}

/// The same for programs.
pub(in crate::cli) fn json(contest: &Contest) -> Value {
    let count = |state: &str| {
        let entries = contest.entries.iter();
        entries
            .filter(|entry| super::table::outcome(&entry.state).1 == state)
            .count()
    };
    let groups: Vec<Value> = groups(contest)
        .iter()
        .map(|group| {
            let first = group.entries.first();
            let spread = |spread: Option<Spread>| spread.map(|spread| spread.json());
            json!({
                "agent": first.map(|entry| entry.agent()),
                "model": first.and_then(|entry| entry.model()),
                "jobs": group.entries.len(),
                "done": group.done(),
                "ms": spread(group.ms()),
                "tokens": spread(group.tokens()),
                "microusd": spread(group.cost()),
                "checks_passed": group.checked().map(|(passed, _)| passed),
                "checked": group.checked().map(|(_, of)| of),
                "different_results": group.results(),
            })
        })
        .collect();
    json!({
        "comparison": contest.id.to_hex(),
        "prompt": contest.prompt,
        "at": contest.at.as_secs(),
        "jobs": contest.entries.len(),
        "done": count("done"),
        "failed": count("failed"),
        "cancelled": count("cancelled"),
        "different_results": results(contest.entries.iter()),
        "groups": groups,
    })
}

#[cfg(test)]
mod tests {
    use nostr::{EventId, Timestamp};

    use super::{
        super::contest::{Check, Ended, tests::entry},
        *,
    };
    use crate::cli::view::JobState;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |figures: &[u64]| Spread::of(figures.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3, 1, 2]).unwrap().median, 2);
        assert_eq!(of(&[u64::MAX, u64::MAX - 2]).unwrap().median, u64::MAX - 1);
        assert_eq!(of(&[5, 5]).unwrap().say(|n| n.to_string()), "5");
    }

    #[test]
    fn repetitions_are_summed_up_for_each_agent() {
        let mut entries: Vec<Entry> = [
            (1, "a", 10_000),
            (2, "a", 30_000),
            (3, "a", 20_000),
            (4, "b", 1_000),
        ]
        .into_iter()
        .map(|(n, agent, ms)| entry(n, agent, ms))
        .collect();
        entries[0].figures.tree = Some("t1".into());
        entries[1].figures.tree = Some("t1".into());
        entries[2].state = JobState::Failed("no".into());
        let check = |exit| {
            vec![Check {
                command: "x".into(),
                ended: Ended::Exit(exit),
            }]
        };
        (entries[0].checks, entries[1].checks) = (check(0), check(1));
        let contest = Contest {
            id: EventId::all_zeros(),
            at: Timestamp::from(1),
            prompt: "x".into(),
            entries,
        };
        insta::assert_snapshot!(lines(&contest).join("\n"), @r"
        a: 2 of 3 done · time 20.0 s (10.0 s to 30.0 s) · checks passed 1 of 2 · all came to the same result
        b: 1 of 1 done · time 1.0 s
        ");
        let json = json(&contest);
        assert_eq!(json["done"], 3);
        assert_eq!(json["different_results"], 2);
        assert_eq!(
            json["groups"][0]["ms"],
            serde_json::json!({"median": 20_000, "least": 10_000, "most": 30_000})
        );
    }

    #[test]
    fn where_everybody_was_asked_once_there_is_nothing_to_sum_up() {
        let contest = Contest {
            id: EventId::all_zeros(),
            at: Timestamp::from(1),
            prompt: "x".into(),
            entries: vec![entry(1, "a", 1), entry(2, "b", 2)],
        };
        assert!(lines(&contest).is_empty());
    }
}
