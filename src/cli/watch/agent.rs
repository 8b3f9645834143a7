//! What one agent is doing.

use std::collections::VecDeque;

use anstyle::{AnsiColor, Style};
use nostr::Event;

use crate::{
    cli::{
        figures::{Figures, clock, dollars, thousands},
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
/// The last steps that are kept of an agent.
const RECENT: usize = 4;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// One session.
pub(in crate::cli) struct Agent {
    pub(in crate::cli) renderer: Renderer,
    pub(in crate::cli) colour: AnsiColor,
    pub(in crate::cli) name: String,
    /// Whether the name says already which agent it is.
    named: bool,
    task: String,
    /// What it was asked, until it is known who it is.
    pub(super) waiting: Option<String>,
    began: u64,
    /// When the last turn began.
    turn: u64,
    pub(in crate::cli) figures: Figures,
    pub(in crate::cli) doing: String,
    text: String,
    next_delta: u64,
    /// What it did last, oldest first.
    recent: VecDeque<String>,
    pub(in crate::cli) state: State,
}

/// How an agent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum State {
    /// It has not begun.
    Waiting,
    Working,
    /// It answered, and may be asked again.
    Idle,
    /// Its session has ended.
    Over,
}

impl Agent {
    pub(in crate::cli) fn new(
        renderer: Renderer,
        colour: AnsiColor,
        name: String,
        at: u64,
    ) -> Self {
        Self {
            renderer,
            colour,
            name,
            task: String::new(),
            waiting: None,
            began: at,
            turn: at,
            named: false,
            figures: Figures::default(),
            doing: String::new(),
            text: String::new(),
            next_delta: 0,
            recent: VecDeque::new(),
            state: State::Waiting,
        }
    }

    /// The name is a whole one, and stays.
    pub(in crate::cli) fn named(mut self) -> Self {
        self.named = true;
        self
    }

    /// A job was handed to it.
    pub(in crate::cli) fn asked(&mut self, task: &Event) {
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
    pub(in crate::cli) fn delta(&mut self, event: &Event) {
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
    pub(in crate::cli) fn record(&mut self, event: &Event) -> Option<String> {
        let record = Record::parse(event).ok()?;
        "working".clone_into(&mut self.doing);
        self.figures.take(&record);
        match &record.body {
            Body::Start(start) => {
                if !self.named {
                    self.name = format!("{} {}", one_line(&start.role), self.name);
                }
                self.state = State::Working;
            }
            Body::Action(action) if action.kind == ActionKind::Message => self.text.clear(),
            Body::Action(_) => {}
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
        let began = matches!(record.body, Body::Start(_));
        if !began && let Some(did) = tag_value(event, "alt") {
            if self.recent.len() >= RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(one_line(did));
        }
        self.renderer.entry(event)
    }

    /// What it did last, oldest first.
    pub(in crate::cli) fn recent(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.recent.iter().map(String::as_str)
    }

    /// Seconds since it was asked.
    pub(in crate::cli) fn seconds(&self, now: u64) -> u64 {
        now.saturating_sub(self.turn)
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
        let figures = &self.figures;
        let mut notes = vec![clock(self.seconds(now))];
        if figures.steps > 0 {
            notes.push(render::plural(figures.steps, "step"));
        }
        if figures.tokens() > 0 {
            notes.push(format!("{} tokens", thousands(figures.tokens())));
        }
        if figures.microusd > 0 {
            notes.push(dollars(figures.microusd));
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
        rows.push(self.activity(columns));
    }

    /// Whether text of it is on its way.
    pub(in crate::cli) fn is_writing(&self) -> bool {
        !self.text.trim().is_empty()
    }

    /// What it does right now, on one line: what is being written, or in words.
    pub(in crate::cli) fn activity(&self, columns: usize) -> String {
        let doing = self.doing_now(columns.saturating_sub(2));
        format!("  {DIM}{doing}{DIM:#}")
    }

    /// The same in so many columns, with its symbol.
    pub(in crate::cli) fn doing_now(&self, columns: usize) -> String {
        let writing = self.text.trim_end().lines().next_back().unwrap_or_default();
        let (symbol, line) = if writing.trim().is_empty() {
            ("…", self.doing.as_str())
        } else {
            ("✎", writing)
        };
        let room = columns.saturating_sub(2);
        // Of a long line, its end is what is being written.
        if columns_of(line) <= room {
            return format!("{symbol} {line}");
        }
        let tail: Vec<char> = line
            .chars()
            .rev()
            .take(room.saturating_sub(1) / 2)
            .collect();
        format!("{symbol} …{}", tail.into_iter().rev().collect::<String>())
    }
}
