//! What each of several is doing, out of the events that say so. No I/O.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anstyle::AnsiColor;
use nostr::{Event, EventId, PublicKey};

use crate::{
    cli::{
        figures::{clock, dollars, thousands},
        output,
        render::{self, Renderer, View},
        run::progress::ACCEPTED,
        text::one_line,
        view::{self, Feedback},
        watch::agent::{Agent, State},
    },
    nips::{kind, nip90::Status, reference::tag_value},
};

/// The colours that tell them apart.
const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Yellow,
    AnsiColor::Blue,
    AnsiColor::Green,
    AnsiColor::BrightMagenta,
];
/// Bytes of an answer that are shown while others still work.
const SAID: usize = 400;
/// How long the end of a job may come after its result, and after it was withdrawn.
const WIND_UP: Duration = Duration::from_secs(5);

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    Failed {
        sentence: String,
        code: Option<String>,
    },
    Cancelled,
    TimedOut(u64),
}

/// What an event means here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// A step of one, as lines.
    Step(usize, String),
    /// The note that opens the thread of one's session.
    Thread(usize),
    /// One asks its owner something.
    Asks(usize),
    /// A question was answered: its id.
    Answered(String),
    /// One is over.
    Over(usize),
}

/// One who was asked.
pub(super) struct Lane {
    pub(super) job: EventId,
    pub(super) kind: u16,
    pub(super) agent: Agent,
    /// Whether the model is in the name already.
    with_model: bool,
    round: Option<u16>,
    pub(super) end: Option<End>,
    /// Whether nothing more is awaited.
    pub(super) settled: bool,
    /// Since when it may work.
    pub(super) since: Option<Instant>,
    /// When it is not waited for any longer.
    pub(super) until: Option<Instant>,
    pub(super) began: bool,
    /// How long it took, once it is over, in seconds.
    pub(super) took: u64,
    pub(super) threaded: bool,
    /// The beginning of its answer, on one line.
    pub(super) said: String,
    questions: usize,
}

/// All of them.
pub(super) struct Race {
    coordinator: PublicKey,
    pub(super) lanes: Vec<Lane>,
    jobs: HashMap<EventId, usize>,
    sessions: HashMap<PublicKey, usize>,
    /// How many work at the same time.
    at_once: usize,
}

/// One who takes part, as it is known before anything began.
pub(super) struct Starter<'a> {
    pub(super) job: &'a Event,
    pub(super) name: String,
    pub(super) with_model: bool,
    pub(super) round: Option<u16>,
}

impl Race {
    pub(super) fn new(coordinator: PublicKey, starters: &[Starter<'_>], at_once: usize) -> Self {
        let mut race = Self {
            coordinator,
            lanes: Vec::new(),
            jobs: HashMap::new(),
            sessions: HashMap::new(),
            at_once: at_once.max(1),
        };
        for (at, starter) in starters.iter().enumerate() {
            let job = starter.job;
            let asked = job.created_at.as_secs();
            let view = View {
                columns: output::progress_columns(),
                verbose: false,
                now: asked,
            };
            let renderer = Renderer::new(view, Some(coordinator)).since(asked);
            let colour = COLOURS[at % COLOURS.len()];
            race.jobs.insert(job.id, at);
            race.lanes.push(Lane {
                job: job.id,
                kind: job.kind.as_u16(),
                agent: Agent::new(renderer, colour, starter.name.clone(), asked).named(),
                with_model: starter.with_model,
                round: starter.round,
                end: None,
                settled: false,
                since: None,
                until: None,
                began: false,
                took: 0,
                threaded: false,
                said: String::new(),
                questions: 0,
            });
        }
        race
    }

    /// Whether nobody is waited for any more.
    pub(super) fn over(&self) -> bool {
        self.lanes.iter().all(|lane| lane.settled)
    }

    /// Takes an event. What neither the coordinator nor a session of these jobs signed is somebody else's word.
    pub(super) fn hear(&mut self, event: &Event, now: Instant) -> Heard {
        if event.pubkey == self.coordinator {
            return self.hear_coordinator(event, now);
        }
        let Some(at) = self.sessions.get(&event.pubkey).copied() else {
            return Heard::Nothing;
        };
        let lane = &mut self.lanes[at];
        match event.kind.as_u16() {
            kind::LIVE_DELTA => {
                lane.agent.delta(event);
                Heard::Nothing
            }
            kind::SESSION_START..=kind::SESSION_END => lane.record(at, event),
            _ => Heard::Nothing,
        }
    }

    fn hear_coordinator(&mut self, event: &Event, now: Instant) -> Heard {
        let named = |name: &str| {
            let id = view::ids(event, name).next()?;
            self.jobs.get(&id).copied()
        };
        match event.kind.as_u16() {
            kind::AGENT_TASK => {
                let (Some(at), Some(session)) = (named("E"), view::people(event).next()) else {
                    return Heard::Nothing;
                };
                self.sessions.insert(session, at);
                let lane = &mut self.lanes[at];
                lane.began = true;
                lane.agent.asked(event);
                Heard::Step(at, "has the question".to_owned())
            }
            kind::NOTE => match named("q") {
                Some(at) if !self.lanes[at].threaded => {
                    self.lanes[at].threaded = true;
                    Heard::Thread(at)
                }
                _ => Heard::Nothing,
            },
            _ => match named("e") {
                Some(at) => self.lanes[at].answer(at, event, now),
                None => Heard::Nothing,
            },
        }
    }

    /// Sets the clock of those who may work by now, and says what those do of whom nothing was heard.
    pub(super) fn tick(&mut self, now: Instant) {
        let at_it = |lane: &&Lane| lane.end.is_none() && lane.since.is_some();
        let mut free = self
            .at_once
            .saturating_sub(self.lanes.iter().filter(at_it).count());
        let waiting = |lane: &&mut Lane| lane.end.is_none() && lane.since.is_none();
        for lane in self.lanes.iter_mut().filter(waiting) {
            if free > 0 || lane.began {
                free = free.saturating_sub(1);
                lane.since = Some(now);
                if !lane.began {
                    "starting".clone_into(&mut lane.agent.doing);
                }
                continue;
            }
            lane.agent.doing = match self.at_once {
                1 => "waits for its turn: one works at a time".to_owned(),
                n => format!("waits for its turn: {n} work at the same time"),
            };
        }
        for lane in &mut self.lanes {
            if lane.until.is_some_and(|until| now >= until) {
                lane.settled = true;
            }
        }
    }

    /// Those that took longer than they may.
    pub(super) fn late(&mut self, timeout: u64, now: Instant) -> Vec<usize> {
        let late = |lane: &Lane| {
            let since = lane.since.filter(|_| lane.end.is_none());
            since.is_some_and(|since| now - since >= Duration::from_secs(timeout))
        };
        let all = 0..self.lanes.len();
        let late: Vec<usize> = all.filter(|at| late(&self.lanes[*at])).collect();
        for at in &late {
            self.lanes[*at].ends(End::TimedOut(timeout), now);
        }
        late
    }

    /// Ends all that are not over; returns which ones.
    pub(super) fn cancel(&mut self, now: Instant) -> Vec<usize> {
        let all = 0..self.lanes.len();
        let open: Vec<usize> = all.filter(|at| self.lanes[*at].end.is_none()).collect();
        for at in &open {
            self.lanes[*at].ends(End::Cancelled, now);
        }
        open
    }
}

impl Lane {
    fn ends(&mut self, end: End, now: Instant) {
        self.end.get_or_insert(end);
        self.until.get_or_insert(now + WIND_UP);
        let at_work = self.since.map_or(Duration::ZERO, |since| now - since);
        self.took = at_work.as_secs();
        self.agent.state = State::Over;
    }

    /// An entry of its session's record.
    fn record(&mut self, at: usize, event: &Event) -> Heard {
        let lines = self.agent.record(event);
        let label = tag_value(event, "l");
        let figures = &self.agent.figures;
        if !self.with_model
            && let Some(model) = &figures.model
        {
            self.with_model = true;
            let agent = figures.adapter.as_deref().unwrap_or_default();
            let mut name = format!("{} · {}", one_line(agent), one_line(model));
            if let Some(round) = self.round {
                name.push_str(&format!(" #{round}"));
            }
            self.agent.name = name;
        }
        if self.end.is_some() {
            self.agent.state = State::Over;
        }
        match label {
            Some("question") if self.end.is_none() => {
                self.questions += 1;
                "waits for your answer".clone_into(&mut self.agent.doing);
                return Heard::Asks(at);
            }
            Some("answer") => {
                if let Some(question) = tag_value(event, "question") {
                    self.questions = self.questions.saturating_sub(1);
                    return Heard::Answered(question.to_owned());
                }
            }
            _ => {}
        }
        if self.questions > 0 {
            "waits for your answer".clone_into(&mut self.agent.doing);
        }
        match lines.filter(|lines| !lines.is_empty()) {
            Some(lines) => Heard::Step(at, lines),
            None => Heard::Nothing,
        }
    }

    /// What the coordinator says of its job.
    fn answer(&mut self, at: usize, event: &Event, now: Instant) -> Heard {
        if kind::is_job_result(event.kind) {
            let cut = event.content.floor_char_boundary(SAID);
            self.said = one_line(&event.content[..cut]);
            self.ends(End::Answered, now);
            return Heard::Nothing;
        }
        let Some(feedback) = Feedback::of(event) else {
            return Heard::Nothing;
        };
        match feedback.status {
            Status::Success => {
                self.settled = true;
                Heard::Over(at)
            }
            Status::Error => {
                let cancelled = feedback.code.as_deref() == Some("cancelled");
                let end = match cancelled {
                    true => End::Cancelled,
                    false => End::Failed {
                        sentence: feedback.sentence,
                        code: feedback.code,
                    },
                };
                self.ends(end, now);
                self.settled = true;
                Heard::Over(at)
            }
            Status::Processing if self.end.is_none() => {
                let asks = tag_value(event, "question").is_some();
                if asks || matches!(feedback.sentence.as_str(), "" | ACCEPTED) {
                    return Heard::Nothing;
                }
                // It is at it, whoever else is.
                self.since.get_or_insert(now);
                self.agent.doing.clone_from(&feedback.sentence);
                Heard::Step(at, format!("· {}", feedback.sentence))
            }
            _ => Heard::Nothing,
        }
    }

    /// What it used and changed so far, in a few words each.
    pub(super) fn notes(&self, now: u64) -> Vec<String> {
        let figures = &self.agent.figures;
        let seconds = match (&self.end, self.since) {
            (Some(_), _) => self.took,
            (None, Some(since)) if !self.began => since.elapsed().as_secs(),
            _ => self.agent.seconds(now),
        };
        let mut notes = Vec::new();
        if self.since.is_some() {
            notes.push(clock(seconds));
        }
        if figures.steps > 0 {
            notes.push(render::plural(figures.steps, "step"));
        }
        if figures.tokens() > 0 {
            let (read, written) = (thousands(figures.read), thousands(figures.written));
            notes.push(format!("{read} read, {written} written"));
        }
        if figures.microusd > 0 {
            notes.push(dollars(figures.microusd));
        }
        if figures.changed() > 0 {
            let (added, removed) = figures.lines();
            let files = render::plural(figures.changed(), "file");
            notes.push(format!("{files} +{added} −{removed}"));
        }
        notes
    }
}
