//! A timeline that a person enjoys reading: one line an action, with its time and a symbol.
//!
//! [`Renderer`] takes events oldest first and yields lines; it knows nothing of terminals but how wide they
//! are. Every word that comes from an event is sanitized (`cli::text`). Keys, kinds and numbers of the wire
//! show with `verbose` only.

mod check;

use std::collections::HashSet;

use anstyle::{AnsiColor, Style};
use nostr::{Event, EventId, PublicKey};

use super::{
    text::{self, columns_of, one_line, sanitize, truncate, wrap},
    view::{self, Feedback, short},
};
use crate::nips::{
    kind,
    nip90::{Scheme, Status},
    reference::tag_value,
    session::{Action, ActionKind, Body, End, Outcome, Record, Start},
};

/// The columns before the text of an entry: time, symbol and the spaces around them.
const INDENT: usize = 11;
/// The paths that one line names without `verbose`.
const MAX_PATHS: usize = 3;
/// The lines of a text that are shown without `verbose`.
const MAX_LINES: usize = 24;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const CALM: Style = AnsiColor::Cyan.on_default();

/// How to show a timeline.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// The columns of the terminal.
    pub columns: usize,
    /// Kinds, ids and numbers too, and texts in full.
    pub verbose: bool,
    /// The present, in seconds since 1970.
    pub now: u64,
}

/// Renders the events of one session or job, oldest first.
#[derive(Debug)]
pub struct Renderer {
    view: View,
    base: Option<u64>,
    coordinator: Option<PublicKey>,
    /// The requests that were shown.
    asked: HashSet<EventId>,
    /// What was said last, so that a result that repeats it is not shown twice.
    said: String,
}

/// One entry before it is laid out.
struct Entry {
    symbol: &'static str,
    style: Style,
    head: String,
    body: String,
}

impl Entry {
    fn new(symbol: &'static str, style: Style, head: impl Into<String>) -> Self {
        Self {
            symbol,
            style,
            head: head.into(),
            body: String::new(),
        }
    }

    fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }
}

impl Renderer {
    /// A renderer; with the coordinator's key, jobs that it handed on are told from customers' jobs.
    #[must_use]
    pub fn new(view: View, coordinator: Option<PublicKey>) -> Self {
        Self {
            view,
            base: None,
            coordinator,
            asked: HashSet::new(),
            said: String::new(),
        }
    }

    /// Counts time from a moment, instead of from the first event.
    #[must_use]
    pub fn since(mut self, base: u64) -> Self {
        self.base = Some(base);
        self
    }

    /// The title of a session: who works, with what, since when.
    #[must_use]
    pub fn title(&self, start: &Event) -> String {
        let name = short(&start.pubkey.to_hex());
        let ago = text::ago(start.created_at.as_secs(), self.view.now);
        let who = match Record::parse(start).map(|record| record.body) {
            Ok(Body::Start(start)) => {
                format!("{} {}", one_line(&start.role), with(&start.model))
            }
            _ => "an agent".to_owned(),
        };
        let mut title = format!("{BOLD}Session {name}{BOLD:#} · {who} · {DIM}{ago}{DIM:#}");
        if self.view.verbose {
            title.push_str(&format!("\n{DIM}key {}{DIM:#}", start.pubkey.to_hex()));
        }
        title
    }

    /// The lines of one event; nothing when it is of no interest to a person.
    pub fn entry(&mut self, event: &Event) -> Option<String> {
        let at = event.created_at.as_secs();
        let entry = self.read(event);
        let entry = match (entry, self.view.verbose) {
            (Some(entry), _) => entry,
            (None, true) => Entry::new("·", DIM, self.fallback(event)),
            (None, false) => return None,
        };
        let base = *self.base.get_or_insert(at);
        Some(self.lay_out(&entry, at.saturating_sub(base), event))
    }

    fn read(&mut self, event: &Event) -> Option<Entry> {
        match event.kind.as_u16() {
            kind::SESSION_START..=kind::SESSION_END => Some(self.record(event)),
            kind if kind::JOB_REQUESTS.contains(&kind) => {
                let inner = self.coordinator == Some(event.pubkey);
                let known = inner && view::ids(event, "E").any(|root| self.asked.contains(&root));
                self.asked.insert(event.id);
                // A request that was withdrawn is gone; what was handed on still says what it was.
                (!known).then(|| Entry::new("›", BOLD, "asked").body(view::prompt(event)))
            }
            kind if kind::JOB_RESULTS.contains(&kind) => self.result(event),
            kind::JOB_FEEDBACK => feedback(event),
            kind::DELETION => Some(Entry::new("×", BAD, "cancelled by whoever asked")),
            _ => None,
        }
    }

    fn result(&mut self, event: &Event) -> Option<Entry> {
        if Scheme::of(event).is_private() {
            return Some(Entry::new("✓", GOOD, "answered (private)"));
        }
        let content = sanitize(&event.content);
        // An agent that was told something else meanwhile said it in parts.
        let said = self.said.trim();
        if content.trim() == said || (!said.is_empty() && content.trim().ends_with(said)) {
            return None;
        }
        self.said.clone_from(&content);
        Some(Entry::new("✓", GOOD, "answered").body(content))
    }

    fn record(&mut self, event: &Event) -> Entry {
        let content = sanitize(&event.content);
        let Ok(record) = Record::parse(event) else {
            return Entry::new("?", BAD, "a record that cannot be read");
        };
        let alt = record.alt.as_deref().map(one_line).unwrap_or_default();
        match record.body {
            Body::Start(start) => started(&start),
            Body::Action(action) => self.action(&action, content, alt),
            Body::Checkpoint(checkpoint) => {
                let without: Vec<String> = checkpoint
                    .detail
                    .iter()
                    .filter(|tag| tag[0] == "uncovered")
                    .filter_map(|tag| tag.get(1).map(|path| text::name(path)))
                    .collect();
                let mut head = or(alt, "checkpoint");
                if !without.is_empty() {
                    let shown = if self.view.verbose {
                        without.len()
                    } else {
                        MAX_PATHS
                    };
                    let mut named = without[..without.len().min(shown)].join(", ");
                    if without.len() > shown {
                        named.push_str(&format!(" and {} more", without.len() - shown));
                    }
                    head.push_str(&format!("  {DIM}without {named}{DIM:#}"));
                }
                Entry::new("◆", CALM, head)
            }
            Body::Error(fault) => {
                let head = if fault.recoverable {
                    "problem"
                } else {
                    "failed"
                };
                Entry::new("!", BAD, head).body(or(content, &alt))
            }
            Body::End(end) => ended(&end),
        }
    }

    fn action(&mut self, action: &Action, content: String, alt: String) -> Entry {
        let verbose = self.view.verbose;
        let first = |name: &str| detail(&action.detail, name);
        if let ActionKind::Other(label) = &action.kind
            && label == "question"
        {
            let entry = Entry::new("?", BOLD, or(alt, "asks something"));
            return if verbose { entry.body(content) } else { entry };
        }
        if first("claim").is_some() {
            // What an agent says of itself stands back behind what really happened.
            let entry = Entry::new("·", DIM, format!("{DIM}{}{DIM:#}", or(alt, "a tool")));
            return if verbose { entry.body(content) } else { entry };
        }
        match &action.kind {
            ActionKind::Message => {
                self.said.clone_from(&content);
                let from_person = first("role").is_some_and(|role| role == "user");
                let head = if from_person { "you" } else { "said" };
                Entry::new("»", CALM, head).body(or(content, &alt))
            }
            ActionKind::File => {
                let path = first("path").unwrap_or_default();
                let what = match first("op").as_deref() {
                    Some("create") => "created",
                    Some("delete") => "deleted",
                    Some("move" | "rename") => "moved",
                    Some("mode") => "changed the rights of",
                    Some("many") => return Entry::new("✎", CALM, alt).body(content),
                    _ => "edited",
                };
                let lines = action
                    .detail
                    .iter()
                    .find(|tag| tag[0] == "lines")
                    .map(|tag| {
                        format!(
                            "  {DIM}{}{DIM:#}",
                            one_line(&tag[1..].join(" ")).replace('-', "−")
                        )
                    })
                    .unwrap_or_default();
                // A private job's record does not name its files.
                let path = if path.is_empty() {
                    "a file".to_owned()
                } else {
                    path
                };
                let unclaimed = if action.detail.iter().any(|tag| tag[0] == "unclaimed") {
                    format!("  {BAD}the agent did not say so{BAD:#}")
                } else {
                    String::new()
                };
                let entry = Entry::new("✎", CALM, format!("{what} {path}{lines}{unclaimed}"));
                if verbose { entry.body(content) } else { entry }
            }
            ActionKind::Command => {
                let command = action
                    .detail
                    .iter()
                    .find(|tag| tag[0] == "cmd")
                    .map_or(alt, |tag| match &tag[1..] {
                        [sh, c, command] if sh == "sh" && c == "-c" => one_line(command),
                        words => one_line(&words.join(" ")),
                    });
                let exit = first("exit");
                let style = match exit.as_deref() {
                    Some("0") | None => CALM,
                    Some(_) => BAD,
                };
                let mut notes = Vec::new();
                notes.extend(
                    exit.filter(|exit| exit != "0")
                        .map(|exit| format!("exit {exit}")),
                );
                notes.extend(
                    first("ms")
                        .and_then(|ms| ms.parse::<u64>().ok())
                        .map(|ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100)),
                );
                let head = format!("{command}  {DIM}{}{DIM:#}", notes.join(", "));
                let entry = Entry::new("$", style, head);
                if verbose { entry.body(content) } else { entry }
            }
            ActionKind::Git => Entry::new("⎇", CALM, or(alt, &one_line(&content))),
            ActionKind::Other(label) if label == "model" => Entry::new(
                "·",
                DIM,
                format!("{DIM}{}{DIM:#}", or(alt, "asked the model")),
            ),
            ActionKind::Other(label) if label == "check" => {
                check::entry(action, &content, alt, verbose)
            }
            ActionKind::Other(label) if label == "undo" => {
                Entry::new("↶", GOOD, or(alt, "an undo"))
            }
            ActionKind::Other(label) if label == "serve" => {
                Entry::new("⇄", CALM, or(alt, "a port"))
            }
            ActionKind::Other(label) if label == "network" => {
                Entry::new("⇅", CALM, or(alt, "the network"))
            }
            ActionKind::Other(label) if label == "steer" => {
                Entry::new("›", BOLD, "told").body(or(content, &alt))
            }
            ActionKind::Other(label) if label == "pause" => {
                Entry::new("‖", CALM, or(alt, "stands still"))
            }
            ActionKind::Other(label) if label == "resume" => {
                Entry::new("▶", CALM, or(alt, "goes on"))
            }
            ActionKind::Other(label) => Entry::new("·", CALM, or(alt, &one_line(label))),
        }
    }

    /// What `verbose` shows of an event that has no form of its own.
    fn fallback(&self, event: &Event) -> String {
        let said = tag_value(event, "alt").map_or_else(|| one_line(&event.content), one_line);
        truncate(&said, self.view.columns.saturating_sub(INDENT))
    }

    fn lay_out(&self, entry: &Entry, offset: u64, event: &Event) -> String {
        let Entry {
            symbol,
            style,
            head,
            body,
        } = entry;
        let time = format!("{}:{:02}", offset / 60, offset % 60);
        let room = self.view.columns.saturating_sub(INDENT);
        let plain_head = anstream::adapter::strip_str(head).to_string();
        let broken = (!self.view.verbose && columns_of(&plain_head) > room)
            .then(|| wrap(&plain_head, room).join(&format!("\n{:INDENT$}", "")));
        let head = broken.as_deref().unwrap_or(head);
        let mut out = format!("{DIM}{time:>7}{DIM:#}  {style}{symbol}{style:#} {head}");
        if self.view.verbose {
            let seq = tag_value(event, "seq")
                .map(|seq| format!(" seq {}", one_line(seq)))
                .unwrap_or_default();
            let (kind, id) = (event.kind.as_u16(), short(&event.id.to_hex()));
            let by = short(&event.pubkey.to_hex());
            out.push_str(&format!("  {DIM}[{kind}{seq} {id} by {by}]{DIM:#}"));
        }
        let lines = wrap(body, room);
        // A short text stands beside its head, a longer one below it.
        if let [line] = lines.as_slice()
            && !self.view.verbose
            && columns_of(line) + columns_of(&plain_head) + 2 <= room
        {
            if !line.is_empty() {
                out.push_str(&format!(": {line}"));
            }
            return out;
        }
        let shown = if self.view.verbose {
            lines.len()
        } else {
            MAX_LINES
        };
        for line in lines.iter().take(shown) {
            out.push('\n');
            if !line.is_empty() {
                out.push_str(&" ".repeat(INDENT));
                out.push_str(line);
            }
        }
        if lines.len() > shown {
            let more = lines.len() - shown;
            out.push_str(&format!(
                "\n{:INDENT$}{DIM}… {more} more lines (--verbose shows them){DIM:#}",
                ""
            ));
        }
        out
    }
}

fn started(start: &Start) -> Entry {
    let named = |name: &str| {
        let value = |part: &String| part.strip_prefix(name)?.strip_prefix('=').map(one_line);
        start.env.iter().find_map(value)
    };
    let sandbox = named("sandbox").map_or_else(
        || "in a container".to_owned(),
        |kind| match kind.as_str() {
            "embedded" => "in a sandbox of its own".to_owned(),
            kind => format!("in a {kind} container"),
        },
    );
    let network = match named("network").as_deref() {
        Some("none") => " without a network",
        Some("proxy") => " with a network of some hosts",
        _ => "",
    };
    let knows = match detail(&start.extra, "resumed").as_deref() {
        Some("agent") => ", with its own memory of the conversation",
        Some("summary") => ", told what was said before",
        _ => "",
    };
    Entry::new(
        "▶",
        GOOD,
        format!(
            "started {} {}  {DIM}{sandbox}{network}{knows}{DIM:#}",
            one_line(&start.role),
            with(&start.model)
        ),
    )
}

/// With which model an agent works; a command asks none.
fn with(model: &str) -> String {
    match model {
        "none" => "without a model".to_owned(),
        model => format!("with {}", one_line(model)),
    }
}

fn ended(end: &End) -> Entry {
    let (symbol, style, word) = match end.outcome {
        Outcome::Success => ("■", GOOD, "done"),
        Outcome::Partial => ("■", CALM, "done in part"),
        Outcome::Failed => ("■", BAD, "failed"),
        Outcome::Abandoned => ("■", BAD, "abandoned when treefort stopped"),
        Outcome::Interrupted => ("■", BAD, "interrupted"),
    };
    let number = |name: &str| detail(&end.detail, name).and_then(|n| n.parse::<u64>().ok());
    let mut notes = Vec::new();
    notes.extend(number("duration_s").map(|s| format!("{s} s")));
    notes.extend(number("actions").map(|n| plural(n, "action")));
    notes.extend(
        number("errors")
            .filter(|n| *n > 0)
            .map(|n| plural(n, "problem")),
    );
    notes.extend(number("tokens").map(|n| plural(n, "token")));
    Entry::new(
        symbol,
        style,
        format!("{word}  {DIM}{}{DIM:#}", notes.join(", ")),
    )
}

fn feedback(event: &Event) -> Option<Entry> {
    let feedback = Feedback::of(event)?;
    match feedback.status {
        Status::Error => Some(Entry::new("!", BAD, "no answer").body(feedback.sentence)),
        // The records tell these better.
        Status::Processing | Status::Partial | Status::Success | Status::PaymentRequired => None,
    }
}

/// A detail of a record, sanitized.
fn detail(details: &[Vec<String>], name: &str) -> Option<String> {
    details
        .iter()
        .find(|tag| tag.first().is_some_and(|first| first == name))
        .and_then(|tag| tag.get(1))
        .map(|value| one_line(value))
}

fn or(text: String, other: &str) -> String {
    if text.trim().is_empty() {
        other.to_owned()
    } else {
        text
    }
}

/// `1 action`, `2 actions`.
#[must_use]
pub fn plural(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// `1 entry`, `2 entries`.
#[must_use]
pub fn entries(n: u64) -> String {
    match n {
        1 => "1 entry".to_owned(),
        n => format!("{n} entries"),
    }
}

#[cfg(test)]
mod tests;
