//! What an agent used and changed so far, out of its records; and how figures are written for people.

use std::collections::BTreeMap;

use crate::nips::session::{Action, ActionKind, Body, Record};

/// The changed files that are told apart.
const MAX_FILES: usize = 10_000;

/// Figures of a session, or of a job of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Everything that it did.
    pub steps: u64,
    /// Calls of the model.
    pub calls: u64,
    /// Tokens that the model read.
    pub read: u64,
    /// Tokens that it wrote.
    pub written: u64,
    /// What is known of the cost, in millionths of a dollar.
    pub microusd: u64,
    /// Whether a call had no price.
    pub unpriced: bool,
    /// Milliseconds that its turns took.
    pub ms: u64,
    /// The lines that were added to and taken from each changed file, in all steps together.
    pub files: BTreeMap<String, (u64, u64)>,
    /// Changed files that have no record of their own.
    pub more_files: u64,
    /// What its files are by now, by content.
    pub tree: Option<String>,
    /// The agent that it is.
    pub adapter: Option<String>,
    /// The model that it asks.
    pub model: Option<String>,
}

impl Figures {
    /// Adds what a record says.
    pub fn take(&mut self, record: &Record) {
        match &record.body {
            Body::Start(start) => {
                self.adapter = Some(start.adapter.clone());
                self.model = Some(start.model.clone()).filter(|model| model != "none");
            }
            Body::Checkpoint(checkpoint) => {
                let tree = named(&checkpoint.detail, "tree").and_then(|tag| tag.get(1).cloned());
                self.tree = tree.or(self.tree.take());
            }
            Body::Action(action) => self.action(action),
            Body::Error(_) | Body::End(_) => {}
        }
    }

    fn action(&mut self, action: &Action) {
        self.steps += 1;
        let number = |name: &str, at: usize| -> Option<u64> {
            named(&action.detail, name)?.get(at)?.parse().ok()
        };
        match &action.kind {
            ActionKind::Other(label) if label == "model" => {
                self.calls += 1;
                let add = |sum: &mut u64, more: Option<u64>| {
                    *sum = sum.saturating_add(more.unwrap_or(0));
                };
                add(&mut self.read, number("tokens", 1));
                add(&mut self.written, number("tokens", 2));
                let cost = number("microusd", 1);
                add(&mut self.microusd, cost);
                self.unpriced |= cost.is_none();
            }
            ActionKind::Message => {
                self.ms = self.ms.saturating_add(number("ms", 1).unwrap_or(0));
            }
            ActionKind::File => self.file(action),
            _ => {}
        }
    }

    fn file(&mut self, action: &Action) {
        let many = named(&action.detail, "files").and_then(|tag| tag.get(1)?.parse::<u64>().ok());
        if let Some(many) = many {
            self.more_files = self.more_files.saturating_add(many);
            return;
        }
        let path = named(&action.detail, "path").and_then(|tag| tag.get(1).cloned());
        let path = path.unwrap_or_default();
        let lines = named(&action.detail, "lines");
        let count = |at: usize| -> u64 {
            let word = lines.and_then(|tag| tag.get(at));
            let word = word.map(|word| word.trim_start_matches(['+', '-']));
            word.and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let (added, removed) = (count(1), count(2));
        if self.files.len() >= MAX_FILES && !self.files.contains_key(&path) {
            self.more_files = self.more_files.saturating_add(1);
            return;
        }
        let file = self.files.entry(path).or_default();
        file.0 = file.0.saturating_add(added);
        file.1 = file.1.saturating_add(removed);
    }

    /// Tokens, read and written.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.read.saturating_add(self.written)
    }

    /// What it cost, when that is known of all calls.
    #[must_use]
    pub fn cost(&self) -> Option<u64> {
        (self.calls > 0 && !self.unpriced).then_some(self.microusd)
    }

    /// How many files changed.
    #[must_use]
    pub fn changed(&self) -> u64 {
        (self.files.len() as u64).saturating_add(self.more_files)
    }

    /// The lines that were added and taken away.
    #[must_use]
    pub fn lines(&self) -> (u64, u64) {
        self.files.values().fold((0, 0), |sum, file| {
            (sum.0.saturating_add(file.0), sum.1.saturating_add(file.1))
        })
    }
}

fn named<'a>(detail: &'a [Vec<String>], name: &str) -> Option<&'a Vec<String>> {
    let mut tags = detail.iter();
    tags.find(|tag| tag.first().is_some_and(|first| first == name))
}

/// `0:07`, `12:30`, `1:02:03`.
#[must_use]
pub fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// `940`, `41.2k`, `1.3M`.
#[must_use]
pub fn thousands(n: u64) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => format!("{}.{}k", n / 1_000, n % 1_000 / 100),
        _ => format!("{}.{}M", n / 1_000_000, n % 1_000_000 / 100_000),
    }
}

/// Of millionths of a dollar: `$0.03`, and more digits below a cent.
#[must_use]
pub fn dollars(microusd: u64) -> String {
    if microusd == 0 {
        "$0".to_owned()
    } else if microusd >= 10_000 {
        format!(
            "${}.{:02}",
            microusd / 1_000_000,
            microusd % 1_000_000 / 10_000
        )
    } else {
        format!("$0.{microusd:06}").trim_end_matches('0').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!((clock(7), clock(3723)), ("0:07".into(), "1:02:03".into()));
        assert_eq!(
            [940, 41_212, 1_300_000].map(thousands),
            ["940", "41.2k", "1.3M"]
        );
        assert_eq!(
            [31_000, 1_234_567, 420, 0].map(dollars),
            ["$0.03", "$1.23", "$0.00042", "$0"]
        );
    }

    #[test]
    fn a_files_steps_are_one_file() {
        let mut figures = Figures::default();
        let file = |path: &str, plus: &str, minus: &str| Action {
            kind: ActionKind::File,
            detail: vec![
                vec!["path".into(), path.into()],
                vec!["op".into(), "edit".into()],
                vec!["lines".into(), plus.into(), minus.into()],
            ],
        };
        figures.action(&file("a", "+3", "-1"));
        figures.action(&file("a", "+2", "-0"));
        figures.action(&file("b", "+x", "-99999999999999999999999"));
        figures.action(&Action {
            kind: ActionKind::File,
            detail: vec![
                vec!["op".into(), "many".into()],
                vec!["files".into(), "7".into()],
            ],
        });
        assert_eq!(
            (figures.changed(), figures.lines(), figures.steps),
            (9, (5, 1), 4)
        );
    }

    #[test]
    fn a_cost_is_known_when_every_call_has_one() {
        let call = |cost: Option<&str>| Action {
            kind: ActionKind::Other("model".into()),
            detail: [
                Some(vec!["tokens".to_owned(), "10".into(), "2".into()]),
                cost.map(|cost| vec!["microusd".to_owned(), cost.into()]),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        let mut figures = Figures::default();
        assert_eq!(figures.cost(), None);
        figures.action(&call(Some("5")));
        assert_eq!((figures.cost(), figures.tokens()), (Some(5), 12));
        figures.action(&call(None));
        assert_eq!(figures.cost(), None);
    }
}
