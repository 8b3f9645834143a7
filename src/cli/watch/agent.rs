//! What one agent is doing.

use anstyle::{AnsiColor, Style};
use nostr::Event;

use crate::{
    cli::{
        output,
        render::{self, Renderer},
        text::{columns_of, one_line, sanitize, truncate},
        view,
    },
    nips::{
        reference::tag_value,
        session::{ActionKind, Body, Record},
    },
};

/// The bytes of unfinished text that are kept of an agent.
const MAX_TEXT: usize = 4096;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// One session.
pub(super) struct Agent {
    pub(super) renderer: Renderer,
    pub(super) colour: AnsiColor,
    name: String,
    task: String,
    /// What it was asked, until it is known who it is.
    pub(super) waiting: Option<String>,
    began: u64,
    /// When the last turn began.
    turn: u64,
    steps: u64,
    tokens: u64,
    microusd: u64,
    pub(super) doing: String,
    text: String,
    next_delta: u64,
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Working,
    /// It answered, and may be asked again.
    Idle,
    Over,
}

impl Agent {
    pub(super) fn new(renderer: Renderer, colour: AnsiColor, name: String, at: u64) -> Self {
        Self {
            renderer,
            colour,
            name,
            task: String::new(),
            waiting: None,
            began: at,
            turn: at,
            steps: 0,
            tokens: 0,
            microusd: 0,
            doing: String::new(),
            text: String::new(),
            next_delta: 0,
            state: State::Waiting,
        }
    }

    /// A job was handed to it.
    pub(super) fn asked(&mut self, task: &Event) {
        self.task = one_line(&view::prompt(task));
        self.turn = task.created_at.as_secs();
        self.began = self.began.min(self.turn);
        self.next_delta = 0;
        self.text.clear();
        "waiting for the model".clone_into(&mut self.doing);
        if self.state != State::Waiting {
            self.state = State::Working;
        }
    }

    /// Text that is being written.
    pub(super) fn delta(&mut self, event: &Event) {
        let number = tag_value(event, "stream-seq").and_then(|number| number.parse().ok());
        let Some(number) = number.filter(|number| *number >= self.next_delta) else {
            return;
        };
        self.next_delta = u64::saturating_add(number, 1);
        self.text.push_str(&sanitize(&event.content));
        if self.text.len() > MAX_TEXT {
            let mut cut = self.text.len() - MAX_TEXT / 2;
            while !self.text.is_char_boundary(cut) {
                cut += 1;
            }
            self.text.drain(..cut);
        }
    }

    /// Reads a record of its own.
    pub(super) fn record(&mut self, event: &Event) -> Option<String> {
        let record = Record::parse(event).ok()?;
        "working".clone_into(&mut self.doing);
        match &record.body {
            Body::Start(start) => {
                self.name = format!("{} {}", one_line(&start.role), self.name);
                self.state = State::Working;
            }
            Body::Action(action) => {
                self.steps += 1;
                let number = |name: &str, at: usize| -> u64 {
                    let tag = action.detail.iter().find(|tag| tag[0] == name);
                    let value = tag.and_then(|tag| tag.get(at));
                    value.and_then(|value| value.parse().ok()).unwrap_or(0)
                };
                match &action.kind {
                    ActionKind::Message => self.text.clear(),
                    ActionKind::Other(label) if label == "model" => {
                        let used = number("tokens", 1).saturating_add(number("tokens", 2));
                        self.tokens = self.tokens.saturating_add(used);
                        self.microusd = self.microusd.saturating_add(number("microusd", 1));
                    }
                    _ => {}
                }
            }
            Body::End(_) => {
                self.state = State::Over;
                self.text.clear();
            }
            Body::Checkpoint(_) | Body::Error(_) => {}
        }
        let aside = matches!(&record.body, Body::Action(action)
            if action.kind == ActionKind::Other("model".to_owned()));
        if aside {
            return Some(String::new());
        }
        self.renderer.entry(event)
    }

    /// Lines under the one that says whose they are.
    pub(super) fn under_heading(&self, lines: Option<String>) -> Vec<String> {
        let mut all = vec![self.heading(output::columns())];
        all.extend(lines);
        all
    }

    fn heading(&self, columns: usize) -> String {
        let style = self.colour.on_default().bold();
        let room = columns.saturating_sub(columns_of(&self.name) + 5).max(10);
        let task = truncate(&self.task, room.min(160));
        format!("{style}● {}{style:#}  {DIM}{task}{DIM:#}", self.name)
    }

    pub(super) fn rows(&self, now: u64, columns: usize, rows: &mut Vec<String>) {
        let style = self.colour.on_default().bold();
        let mut notes = vec![clock(now.saturating_sub(self.turn))];
        if self.steps > 0 {
            notes.push(render::plural(self.steps, "step"));
        }
        if self.tokens > 0 {
            notes.push(format!("{} tokens", thousands(self.tokens)));
        }
        if self.microusd > 0 {
            notes.push(dollars(self.microusd));
        }
        let notes = notes.join(" · ");
        let room = columns.saturating_sub(columns_of(&self.name) + columns_of(&notes) + 6);
        let task = truncate(&self.task, room);
        let gap = room.saturating_sub(columns_of(&task));
        let notes_room = columns.saturating_sub(columns_of(&self.name) + 4);
        let notes = truncate(&notes, notes_room);
        rows.push(format!(
            "{style}● {}{style:#}  {BOLD}{task}{BOLD:#}{:gap$}  {DIM}{notes}{DIM:#}",
            self.name, ""
        ));
        let writing = self.text.trim_end().lines().next_back().unwrap_or_default();
        let (symbol, line) = if writing.trim().is_empty() {
            ("…", self.doing.as_str())
        } else {
            ("✎", writing)
        };
        let room = columns.saturating_sub(4);
        // Of a long line, its end is what is being written.
        let line = if columns_of(line) > room {
            let tail: Vec<char> = line
                .chars()
                .rev()
                .take(room.saturating_sub(1) / 2)
                .collect();
            format!("…{}", tail.into_iter().rev().collect::<String>())
        } else {
            line.to_owned()
        };
        rows.push(format!("  {DIM}{symbol} {line}{DIM:#}"));
    }
}

/// `0:07`, `12:30`, `1:02:03`.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// `940`, `41.2k`, `1.3M`.
fn thousands(n: u64) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => format!("{}.{}k", n / 1_000, n % 1_000 / 100),
        _ => format!("{}.{}M", n / 1_000_000, n % 1_000_000 / 100_000),
    }
}

/// Of millionths of a dollar: `$0.03`, and more digits below a cent.
fn dollars(microusd: u64) -> String {
    if microusd >= 10_000 {
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
            [31_000, 1_234_567, 420].map(dollars),
            ["$0.03", "$1.23", "$0.00042"]
        );
    }
}
