//! `treefort watch`: everything that is at work, as it happens.
//!
//! `Board` reads events and knows what each agent is doing; `Area` keeps the
//! lines that change at the bottom of a terminal. What is over scrolls by above them and stays.

pub(super) mod agent;
pub(super) mod area;
mod board;

use std::time::Duration;

use nostr::{Event, EventId, Filter, Kind, PublicKey, Timestamp};

use self::{area::Area, board::Board};
use super::{
    Context,
    client::{Client, Update},
    error::CommandError,
    gather::{self, Target},
    interrupt,
    keyboard::Quiet,
    launch, output, view,
};
use crate::nips::kind;

/// How far back agents may have been given work that they are still at.
const RECENT_S: u64 = 24 * 60 * 60;
/// The most agents that are looked at for being at work still.
const MAX_RECENT: usize = 100;
/// What of an agent's record is shown when the watching begins.
const LAST_STEPS: usize = 8;
/// How often the bottom lines are drawn anew at most.
const FRAME: Duration = Duration::from_millis(80);

/// Shows everything that agents do, as it happens, until Ctrl-C.
///
/// On a terminal, the last lines say what each agent is doing right now: how long, how many steps, how much
/// the model read and wrote, what it costs, and the text that is being written. Into a file or another
/// program go the steps alone, one a line.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treefort watch             all agents
  treefort watch 3f2a91c0    one session or job
  treefort watch --json     for programs")]
pub struct Args {
    /// A session or job, by the first characters of its id; everything when nothing is named.
    target: Option<String>,
    /// The record itself, as JSON: one entry a line, as it comes.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When nothing is called so, or treefort cannot be reached.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    launch::with(context, async |connection| {
        let coordinator = connection.coordinator();
        let client = &mut connection.client;
        let only = match &args.target {
            Some(needle) => Some(gather::resolve(client, coordinator, Some(needle)).await?),
            None => None,
        };
        // Subscribed before anything is read, so that nothing falls between the two.
        client.subscribe(live(coordinator)).await?;
        let mut board = Board::new(coordinator, only, context.verbose);
        let mut screen = Screen::new(args.json);
        let before = at_work(client, coordinator, only).await?;
        for (event, shown) in &before {
            let lines = board.hear(event, Timestamp::now().as_secs());
            if *shown {
                screen.show(event, lines)?;
            }
        }
        if board.is_empty() && !args.json {
            output::progress(
                "Nothing is at work. What begins from now on shows here; Ctrl-C ends the watching.",
            );
        }
        follow(client, &mut board, &mut screen).await
    })
    .await
}

/// Whatever may happen from now on.
fn live(coordinator: PublicKey) -> Vec<Filter> {
    // A little overlap: the board knows what it has heard.
    let since = Timestamp::now() - 2u64;
    let records = (kind::SESSION_START..=kind::SESSION_END).chain([kind::LIVE_DELTA]);
    vec![
        Filter::new().kinds(records.map(Kind::from)).since(since),
        Filter::new().author(coordinator).since(since),
    ]
}

/// The events of those who are at work already, oldest first, each with whether it is shown.
async fn at_work(
    client: &mut Client,
    coordinator: PublicKey,
    only: Option<Target>,
) -> Result<Vec<(Event, bool)>, CommandError> {
    let since = Timestamp::now() - RECENT_S;
    let handed = view::of_kind(kind::AGENT_TASK).author(coordinator);
    let handed = match only {
        Some(Target::Session(key)) => client.newest(handed.pubkey(key), MAX_RECENT).await?,
        Some(Target::Job(id)) => {
            let of_job = handed.custom_tag(gather::ROOT, id.to_hex());
            client.newest(of_job, MAX_RECENT).await?
        }
        None => client.newest(handed.since(since), MAX_RECENT).await?,
    };
    let mut events: Vec<(Event, bool)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for task in &handed {
        let Some(session) = view::people(task).next().filter(|key| seen.insert(*key)) else {
            continue;
        };
        let mut records = client.query(view::records(session)).await?;
        gather::sort_oldest_first(&mut records);
        let over = records
            .last()
            .is_some_and(|last| last.kind.as_u16() == kind::SESSION_END);
        if over && only.is_none() {
            continue;
        }
        let tasks = handed
            .iter()
            .filter(|task| view::people(task).next() == Some(session));
        events.extend(tasks.map(|task| (task.clone(), true)));
        let quiet = records.len().saturating_sub(LAST_STEPS);
        events.extend(
            records
                .into_iter()
                .enumerate()
                .map(|(n, record)| (record, n == 0 || n >= quiet)),
        );
    }
    // Stable: a session's own order stays where the seconds are the same.
    events.sort_by_key(|(event, _)| (event.created_at, event.kind.as_u16() != kind::AGENT_TASK));
    Ok(events)
}

async fn follow(
    client: &mut Client,
    board: &mut Board,
    screen: &mut Screen,
) -> Result<(), CommandError> {
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let _quiet = screen.area.is_terminal().then(Quiet::begin);
    let stopped = interrupt::stopped()?;
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            update = client.next() => {
                if let Update::Event(event) = update?.1 {
                    let lines = board.hear(&event, Timestamp::now().as_secs());
                    screen.show(&event, lines)?;
                }
            }
            _ = frames.tick() => screen.draw(board),
            () = &mut stopped => {
                screen.area.clear();
                return Ok(());
            }
        }
    }
}

/// Where it all goes.
struct Screen {
    json: bool,
    area: Area,
    shown: std::collections::HashSet<EventId>,
}

impl Screen {
    fn new(json: bool) -> Self {
        Self {
            json,
            area: Area::new(!json && output::is_terminal()),
            shown: std::collections::HashSet::new(),
        }
    }

    /// Shows what an event added; `None` is nothing of ours.
    fn show(&mut self, event: &Event, lines: Option<Vec<String>>) -> Result<(), CommandError> {
        let Some(lines) = lines else { return Ok(()) };
        if self.json {
            if self.shown.insert(event.id) {
                output::event(event)?;
            }
            return Ok(());
        }
        Ok(self.area.above(&lines)?)
    }

    fn draw(&mut self, board: &Board) {
        let columns = output::terminal_columns();
        self.area
            .draw(|| board.rows(Timestamp::now().as_secs(), columns));
    }
}
