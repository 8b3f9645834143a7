//! What each agent is doing, out of the events that say so. No I/O.

use std::collections::{BTreeMap, HashMap, HashSet};

use anstyle::{AnsiColor, Style};
use nostr::{Event, EventId, PublicKey};

use super::agent::{Agent, State};
use crate::{
    cli::{
        gather::Target,
        output,
        render::{Renderer, View},
        view::{self, Feedback, short},
    },
    nips::{kind, nip90::Status},
};

/// The agents whose lines stand at the bottom at once.
const MAX_ROWS: usize = 8;
/// The agents that are known at once; of more, the ones that are over go first.
const MAX_KNOWN: usize = 4096;

const DIM: Style = Style::new().dimmed();
const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Blue,
    AnsiColor::BrightRed,
];

/// Everything that is watched.
pub(super) struct Board {
    coordinator: PublicKey,
    only: Option<Target>,
    verbose: bool,
    agents: BTreeMap<PublicKey, Agent>,
    /// The jobs that agents were given, and by which agent each is done.
    jobs: HashMap<EventId, PublicKey>,
    heard: HashSet<EventId>,
    /// Whose step was shown last, and how many had one.
    last: Option<PublicKey>,
    colours: usize,
}

impl Board {
    pub(super) fn new(coordinator: PublicKey, only: Option<Target>, verbose: bool) -> Self {
        Self {
            coordinator,
            only,
            verbose,
            agents: BTreeMap::new(),
            jobs: HashMap::new(),
            heard: HashSet::new(),
            last: None,
            colours: 0,
        }
    }

    /// Whether nobody is at work.
    pub(super) fn is_empty(&self) -> bool {
        self.agents.values().all(|agent| agent.state == State::Over)
    }

    /// Takes an event; returns the lines that stay, and `None` when it concerns nobody here.
    pub(super) fn hear(&mut self, event: &Event, now: u64) -> Option<Vec<String>> {
        if event.kind.as_u16() != kind::LIVE_DELTA {
            if self.heard.contains(&event.id) {
                return None;
            }
            if self.heard.len() > 1 << 16 {
                self.heard.clear();
            }
            self.heard.insert(event.id);
        }
        if event.pubkey == self.coordinator {
            return self.hear_coordinator(event, now);
        }
        let several = self.agents.len() > 1;
        let agent = self.agents.get_mut(&event.pubkey)?;
        if event.kind.as_u16() == kind::LIVE_DELTA {
            agent.delta(event);
            return Some(Vec::new());
        }
        let lines = agent.record(event)?;
        if lines.is_empty() {
            return Some(Vec::new());
        }
        let mut all = Vec::new();
        if let Some(asked) = agent.waiting.take() {
            all = agent.under_heading(Some(asked));
        } else if several && self.last != Some(event.pubkey) {
            all = agent.under_heading(None);
        }
        self.last = Some(event.pubkey);
        let bar = several.then_some(agent.colour);
        all.extend(lines.lines().map(|line| match bar {
            Some(colour) => {
                let style = colour.on_default();
                format!("{style}▏{style:#}{line}")
            }
            None => line.to_owned(),
        }));
        Some(all)
    }

    fn hear_coordinator(&mut self, event: &Event, now: u64) -> Option<Vec<String>> {
        match event.kind.as_u16() {
            kind::AGENT_TASK => {
                let session = view::people(event).next()?;
                let root = view::ids(event, "E").next();
                let wanted = match self.only {
                    None => true,
                    Some(Target::Session(key)) => key == session,
                    Some(Target::Job(id)) => root == Some(id),
                };
                if !wanted {
                    return None;
                }
                self.jobs.extend(root.map(|root| (root, session)));
                let new = !self.agents.contains_key(&session);
                if new {
                    self.make_room();
                }
                let view = View {
                    columns: output::columns().saturating_sub(1),
                    verbose: self.verbose,
                    now,
                };
                let (coordinator, colours) = (self.coordinator, &mut self.colours);
                let agent = self.agents.entry(session).or_insert_with(|| {
                    *colours += 1;
                    let colour = COLOURS[(*colours - 1) % COLOURS.len()];
                    let at = event.created_at.as_secs();
                    let renderer = Renderer::new(view, Some(coordinator)).since(at);
                    Agent::new(renderer, colour, short(&session.to_hex()), at)
                });
                agent.asked(event);
                let asked = agent.renderer.entry(event);
                // Who it is stands in the record's first step.
                if new {
                    agent.waiting = asked;
                    return Some(Vec::new());
                }
                self.last = Some(session);
                Some(agent.under_heading(asked))
            }
            kind::JOB_FEEDBACK => {
                let job = view::ids(event, "e").next()?;
                let agent = self.agents.get_mut(self.jobs.get(&job)?)?;
                let feedback = Feedback::of(event)?;
                match feedback.status {
                    Status::Processing if !feedback.sentence.is_empty() => {
                        agent.doing = feedback.sentence;
                        Some(Vec::new())
                    }
                    Status::Error => {
                        agent.state = State::Idle;
                        agent.renderer.entry(event).map(|line| vec![line])
                    }
                    Status::Success => {
                        agent.state = State::Idle;
                        Some(Vec::new())
                    }
                    _ => Some(Vec::new()),
                }
            }
            _ => None,
        }
    }

    /// Forgets agents that are over when there are too many.
    fn make_room(&mut self) {
        if self.agents.len() >= MAX_KNOWN {
            self.agents.retain(|_, agent| agent.state != State::Over);
            let agents = &self.agents;
            self.jobs.retain(|_, session| agents.contains_key(session));
        }
    }

    /// The lines that say what is done right now, none of them wider than the terminal.
    pub(super) fn rows(&self, now: u64, columns: usize) -> Vec<String> {
        let columns = columns.saturating_sub(1).max(20);
        let at_work: Vec<&Agent> = self
            .agents
            .values()
            .filter(|agent| matches!(agent.state, State::Waiting | State::Working))
            .collect();
        let mut rows = Vec::new();
        for agent in at_work.iter().take(MAX_ROWS) {
            agent.rows(now, columns, &mut rows);
        }
        if at_work.len() > MAX_ROWS {
            let more = at_work.len() - MAX_ROWS;
            rows.push(format!("{DIM}and {more} more at work{DIM:#}"));
        }
        if !rows.is_empty() {
            rows.insert(0, String::new());
        }
        rows
    }
}

#[cfg(test)]
mod tests;
