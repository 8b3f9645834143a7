//! The table of a comparison: one line for each who was asked, or a few where the terminal is narrow.

use anstyle::{AnsiColor, Style};

use super::contest::{Contest, Entry};
use crate::cli::{
    figures::{clock, dollars, thousands},
    text::{columns_of, one_line, truncate},
    view::JobState,
};

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();
const PLAIN: Style = Style::new();

/// The columns that a name gets at most.
const NAME: usize = 40;
/// The columns that a name needs at least, beside the figures.
const SHORT_NAME: usize = 16;
/// What stands where nothing is known.
const NOTHING: &str = "–";

/// What stands in one place of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    fn new(style: Style, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }

    fn write(&self, width: usize, right: bool) -> String {
        let Self { text, style } = self;
        let gap = width.saturating_sub(columns_of(text));
        match right {
            true => format!("{:gap$}{style}{text}{style:#}", ""),
            false => format!("{style}{text}{style:#}{:gap$}", ""),
        }
    }
}

/// A state as a symbol and a word.
pub(in crate::cli) fn outcome(state: &JobState) -> (&'static str, &'static str, Style) {
    match state {
        JobState::Waiting => ("·", "waiting", DIM),
        JobState::Working => ("▶", "working", PLAIN),
        JobState::Done => ("✓", "done", GOOD),
        JobState::Failed(_) => ("!", "failed", BAD),
        JobState::Cancelled => ("×", "cancelled", WARN),
    }
}

/// How many checks an entry passed, of how many.
pub(in crate::cli) fn checks(entry: &Entry) -> Option<(usize, usize)> {
    let passed = entry.checks.iter().filter(|check| check.passed()).count();
    (!entry.checks.is_empty()).then_some((passed, entry.checks.len()))
}

/// The lines of the table.
pub(in crate::cli) fn lines(contest: &Contest, columns: usize) -> Vec<String> {
    let best = Best::of(&contest.entries);
    let rows: Vec<Vec<Cell>> = contest
        .entries
        .iter()
        .map(|entry| cells(entry, &best))
        .collect();
    // A column in which nobody has anything is left out.
    let shown: Vec<usize> = (0..HEAD.len())
        .filter(|at| *at < 2 || rows.iter().any(|row| row[*at].text != NOTHING))
        .collect();
    let width = |at: usize| {
        let cells = rows.iter().map(|row| columns_of(&row[at].text));
        cells.max().unwrap_or(0).max(columns_of(HEAD[at]))
    };
    let figures: usize = shown.iter().map(|at| width(*at) + 2).sum();
    let names: Vec<String> = contest.entries.iter().map(Entry::name).collect();
    let longest = names.iter().map(|name| columns_of(name)).max().unwrap_or(0);
    let number = contest.entries.len().to_string().len();
    let room = columns.saturating_sub(number + 2 + figures).min(NAME);
    if room < longest.min(SHORT_NAME) {
        return narrow(contest, &rows, &shown, columns);
    }
    let room = room.min(longest);
    let mut head = format!("{:number$}  {:room$}", "", "");
    for at in &shown {
        head.push_str("  ");
        head.push_str(&Cell::new(DIM, HEAD[*at]).write(width(*at), *at > 0));
    }
    let mut all = vec![head.trim_end().to_owned()];
    for ((entry, row), name) in contest.entries.iter().zip(&rows).zip(&names) {
        let n = entry.n.to_string();
        let mut line = format!("{DIM}{n:>number$}{DIM:#}  ");
        line.push_str(&Cell::new(BOLD, truncate(name, room)).write(room, false));
        for at in &shown {
            line.push_str("  ");
            line.push_str(&row[*at].write(width(*at), *at > 0));
        }
        all.push(line.trim_end().to_owned());
    }
    all
}

/// One below the other: who, and what it took.
fn narrow(contest: &Contest, rows: &[Vec<Cell>], shown: &[usize], columns: usize) -> Vec<String> {
    let mut all = Vec::new();
    for (entry, row) in contest.entries.iter().zip(rows) {
        let state = &row[0];
        let room = columns.saturating_sub(columns_of(&state.text) + 6).max(8);
        let name = truncate(&entry.name(), room);
        let Cell { text, style } = state;
        all.push(format!(
            "{DIM}{:>2}{DIM:#}  {BOLD}{name}{BOLD:#}  {style}{text}{style:#}",
            entry.n
        ));
        let mut line = String::new();
        for at in shown.iter().skip(1).filter(|at| row[**at].text != NOTHING) {
            let figure = match HEAD[*at] {
                "time" => row[*at].text.clone(),
                "cost" if row[*at].text.starts_with('$') => row[*at].text.clone(),
                head => format!("{head} {}", row[*at].text),
            };
            if columns_of(&line) + columns_of(&figure) + 7 > columns {
                all.push(format!("    {DIM}{line}{DIM:#}"));
                line.clear();
            }
            if !line.is_empty() {
                line.push_str(" · ");
            }
            line.push_str(&figure);
        }
        if !line.is_empty() {
            all.push(format!("    {DIM}{line}{DIM:#}"));
        }
    }
    all
}

const HEAD: [&str; 7] = ["", "time", "tokens", "cost", "steps", "files", "checks"];

/// The least that one of those who are done took; where all took the same, nobody stands out.
struct Best {
    ms: Option<u64>,
    tokens: Option<u64>,
    cost: Option<u64>,
}

impl Best {
    fn of(entries: &[Entry]) -> Self {
        let least = |figure: &dyn Fn(&Entry) -> Option<u64>| {
            let figures: Vec<u64> = entries
                .iter()
                .filter(|entry| entry.done())
                .filter_map(figure)
                .collect();
            let least = *figures.iter().min()?;
            (figures.iter().any(|figure| *figure != least)).then_some(least)
        };
        Self {
            ms: least(&Entry::ms),
            tokens: least(&|entry| {
                Some(entry.figures.tokens()).filter(|_| entry.figures.calls > 0)
            }),
            cost: least(&|entry| entry.figures.cost()),
        }
    }
}

fn cells(entry: &Entry, best: &Best) -> Vec<Cell> {
    let figures = &entry.figures;
    let (symbol, word, style) = outcome(&entry.state);
    let stands_out = |figure: Option<u64>, best: Option<u64>| match entry.done()
        && figure.is_some()
        && figure == best
    {
        true => GOOD.bold(),
        false => PLAIN,
    };
    let calls = figures.calls > 0;
    let tokens = Some(figures.tokens()).filter(|_| calls);
    let cost = match figures.cost() {
        Some(cost) => dollars(cost),
        None if calls => "?".to_owned(),
        None => NOTHING.to_owned(),
    };
    let (files, added, removed) = entry.changes();
    let checks = checks(entry);
    vec![
        Cell::new(style, format!("{symbol} {word}")),
        Cell::new(
            stands_out(entry.ms(), best.ms),
            entry.ms().map_or(NOTHING.to_owned(), time),
        ),
        Cell::new(
            stands_out(tokens, best.tokens),
            match tokens {
                Some(_) => format!(
                    "{} / {}",
                    thousands(figures.read),
                    thousands(figures.written)
                ),
                None => NOTHING.to_owned(),
            },
        ),
        Cell::new(stands_out(figures.cost(), best.cost), cost),
        Cell::new(
            PLAIN,
            match figures.steps {
                0 => NOTHING.to_owned(),
                steps => steps.to_string(),
            },
        ),
        Cell::new(
            PLAIN,
            match files {
                0 => NOTHING.to_owned(),
                files => format!("{files} +{added} −{removed}"),
            },
        ),
        match checks {
            None => Cell::new(PLAIN, NOTHING),
            Some((passed, of)) => {
                let style = if passed == of { GOOD } else { BAD };
                Cell::new(style, format!("{passed} of {of}"))
            }
        },
    ]
}

/// Milliseconds: `0.4 s`, `12.3 s`, `1:12`.
pub(in crate::cli) fn time(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => clock(ms / 1000),
    }
}

/// Why those failed who did, and which checks did not pass; a line each.
pub(in crate::cli) fn troubles(contest: &Contest) -> Vec<String> {
    let mut all = Vec::new();
    for entry in &contest.entries {
        if let JobState::Failed(why) = &entry.state
            && !why.is_empty()
        {
            all.push(format!("{}. {}: {}", entry.n, entry.name(), one_line(why)));
        }
        for check in entry.checks.iter().filter(|check| !check.passed()) {
            all.push(format!(
                "{}. {}: `{}` {}",
                entry.n,
                entry.name(),
                check.command,
                check.how()
            ));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use nostr::{EventId, Timestamp};

    use super::{
        super::contest::{Check, Ended, tests::entry},
        *,
    };

    fn contest() -> Contest {
        let mut first = entry(1, "opencode", 72_000);
        first.figures.calls = 3;
        (first.figures.read, first.figures.written) = (41_000, 900);
        first.figures.microusd = 31_000;
        first.figures.steps = 12;
        first.figures.model = Some("qwen2.5-coder:7b".into());
        first.figures.files.insert("a".into(), (10, 3));
        first.checks = vec![Check {
            command: "cargo test".into(),
            ended: Ended::Exit(0),
        }];
        let mut second = entry(2, "claude-code", 9_100);
        second.figures.calls = 1;
        second.figures.unpriced = true;
        (second.figures.read, second.figures.written) = (100, 20);
        second.checks = vec![Check {
            command: "cargo test".into(),
            ended: Ended::Exit(101),
        }];
        let mut third = entry(3, "chat", 0);
        third.state = JobState::Failed("no \u{1b}model".into());
        Contest {
            id: EventId::all_zeros(),
            at: Timestamp::from(1),
            prompt: "x".into(),
            entries: vec![first, second, third],
        }
    }

    fn plain(lines: &[String]) -> String {
        anstream::adapter::strip_str(&lines.join("\n")).to_string()
    }

    #[test]
    fn figures_stand_below_each_other() {
        insta::assert_snapshot!(plain(&lines(&contest(), 110)), @r"
                                                   time       tokens   cost  steps     files  checks
        1  opencode · qwen2.5-coder:7b  ✓ done     1:12  41.0k / 900  $0.03     12  1 +10 −3  1 of 1
        2  claude-code                  ✓ done    9.1 s     100 / 20      ?      –         –  0 of 1
        3  chat                         ! failed      –            –      –      –         –       –
        ");
    }

    #[test]
    fn on_a_narrow_terminal_each_has_lines_of_its_own() {
        let shown = plain(&lines(&contest(), 60));
        insta::assert_snapshot!(shown, @r"
        1  opencode · qwen2.5-coder:7b  ✓ done
           1:12 · tokens 41.0k / 900 · $0.03 · steps 12
           files 1 +10 −3 · checks 1 of 1
        2  claude-code  ✓ done
           9.1 s · tokens 100 / 20 · cost ? · checks 0 of 1
        3  chat  ! failed
        ");
        assert!(shown.lines().all(|line| columns_of(line) <= 60));
    }

    #[test]
    fn what_went_wrong_is_said_in_words() {
        insta::assert_snapshot!(troubles(&contest()).join("\n"), @r"
        2. claude-code: `cargo test` ended with exit code 101
        3. chat: no model
        ");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for columns in 40..130 {
            for line in lines(&contest(), columns) {
                let line = anstream::adapter::strip_str(&line).to_string();
                assert!(columns_of(&line) <= columns, "{columns}: {line}");
            }
        }
    }
}
