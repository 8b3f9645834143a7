//! `treefort timeline`: what an agent did, step by step.

use std::collections::HashSet;

use nostr::{Event, EventId, Filter, PublicKey, Timestamp};

use super::{
    Context,
    client::{Client, Update},
    error::CommandError,
    gather::{self, Target},
    launch::{self, Connection},
    output,
    render::{Renderer, View},
    view,
};
use crate::nips::kind;

/// Shows what an agent did, step by step.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A session or job, by the first characters of its id; the last session when nothing is named.
    target: Option<String>,
    /// Goes on showing what happens, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// The record itself, as JSON: one entry a line, as it was signed.
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
        let target = gather::resolve(client, coordinator, args.target.as_deref()).await?;
        let mut printer = Printer::new(args.json, context.verbose, coordinator);
        // Subscribed before the story is read, so that nothing falls between the two.
        if args.follow {
            client.subscribe(live(target, coordinator)).await?;
        }
        printer.story(&gather::story(client, coordinator, target).await?)?;
        if args.follow {
            follow(client, coordinator, target, &mut printer).await?;
        }
        Ok(())
    })
    .await
}

/// Prints the story of a target so far.
///
/// # Errors
/// When treefort cannot be asked.
pub async fn print(
    connection: &mut Connection,
    target: Target,
    verbose: bool,
) -> Result<(), CommandError> {
    let coordinator = connection.coordinator();
    let story = gather::story(&mut connection.client, coordinator, target).await?;
    Printer::new(false, verbose, coordinator).story(&story)
}

/// What may still happen to a target.
fn live(target: Target, coordinator: PublicKey) -> Vec<Filter> {
    let since = Timestamp::now() - 60u64;
    match target {
        Target::Session(key) => vec![
            Filter::new().author(key).since(since),
            Filter::new().author(coordinator).since(since),
        ],
        Target::Job(id) => vec![
            Filter::new().custom_tag(gather::ROOT, id.to_hex()),
            Filter::new().author(coordinator).event(id),
        ],
    }
}

async fn follow(
    client: &mut Client,
    coordinator: PublicKey,
    target: Target,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let mut members = HashSet::new();
    let mut jobs = HashSet::new();
    match target {
        Target::Session(key) => members.insert(key),
        Target::Job(id) => jobs.insert(id),
    };
    loop {
        let event = tokio::select! {
            update = client.next() => match update?.1 {
                Update::Event(event) => event,
                Update::Live => continue,
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let known = jobs.len();
        let ours = belongs(&event, coordinator, target, &mut members, &mut jobs);
        // A conversation went on: what was said about the new job before it reached the session counts too.
        if jobs.len() > known {
            printer.story(&gather::story(client, coordinator, target).await?)?;
        }
        if ours {
            printer.show(&event)?;
        }
    }
}

/// Whether a live event is part of the story; learns whom the coordinator hands the job.
fn belongs(
    event: &Event,
    coordinator: PublicKey,
    target: Target,
    members: &mut HashSet<PublicKey>,
    jobs: &mut HashSet<EventId>,
) -> bool {
    if event.pubkey == coordinator {
        let handed = event.kind.as_u16() == kind::AGENT_TASK;
        let concerns = view::ids(event, "E").any(|id| jobs.contains(&id))
            || view::ids(event, "e").any(|id| jobs.contains(&id))
            || view::people(event).any(|key| members.contains(&key));
        if handed && concerns {
            match target {
                Target::Job(_) => members.extend(view::people(event)),
                Target::Session(_) => jobs.extend(view::ids(event, "E")),
            }
        }
        return concerns;
    }
    if !members.contains(&event.pubkey) {
        return false;
    }
    if let Target::Session(_) = target {
        jobs.extend(view::ids(event, "E"));
    }
    true
}

/// Prints each event once, as lines for people or as JSON.
struct Printer {
    json: bool,
    renderer: Renderer,
    titled: HashSet<PublicKey>,
    shown: HashSet<EventId>,
}

impl Printer {
    fn new(json: bool, verbose: bool, coordinator: PublicKey) -> Self {
        let view = View {
            columns: output::columns(),
            verbose,
            now: Timestamp::now().as_secs(),
        };
        Self {
            json,
            renderer: Renderer::new(view, Some(coordinator)),
            titled: HashSet::new(),
            shown: HashSet::new(),
        }
    }

    /// What happened so far, under the titles of the sessions that took part.
    fn story(&mut self, events: &[Event]) -> Result<(), CommandError> {
        for event in events {
            self.title(event)?;
        }
        for event in events {
            self.show(event)?;
        }
        Ok(())
    }

    fn title(&mut self, event: &Event) -> Result<(), CommandError> {
        let start = event.kind.as_u16() == kind::SESSION_START;
        if start && !self.json && self.titled.insert(event.pubkey) {
            output::line(self.renderer.title(event))?;
        }
        Ok(())
    }

    fn show(&mut self, event: &Event) -> Result<(), CommandError> {
        let number = event.kind.as_u16();
        // Text that is still being written is no part of the record.
        if number == kind::LIVE_DELTA || !self.shown.insert(event.id) {
            return Ok(());
        }
        if self.json {
            return Ok(output::event(event)?);
        }
        self.title(event)?;
        if let Some(lines) = self.renderer.entry(event) {
            output::line(lines)?;
        }
        Ok(())
    }
}
