//! The same question to several at once: watched side by side, compared, and one of them taken home.
//!
//! Each is a job like any other (`nips/90.md`, *Comparisons*). [`picks`] says who is asked, [`race`] what each of them
//! does, [`rows`] how that looks on a terminal, [`notes`] what any other client shows of it.

mod notes;
pub(super) mod picks;
mod race;
mod rows;

use std::time::{Duration, Instant};

use nostr::{Event, EventId, Filter, Kind as EventKind, Timestamp};

use self::{
    picks::Pick,
    race::{End, Heard, Race, Starter},
};
use super::{Args, Starting, asking::Asking, attach, failure, prompt::without_secrets, work::Work};
use crate::{
    agent::registry::Registry,
    cli::{
        client::{self, Update},
        compare::{
            contest::{Contest, Entry},
            load, show,
        },
        error::{CommandError, Kind, Problem},
        gather, interrupt,
        keyboard::Quiet,
        launch::Connection,
        output,
        watch::area::Area,
    },
    config::Config,
    nips::{Draft, Reference, kind, nip90::Comparison},
};

/// How often the blocks are drawn anew at most.
const FRAME: Duration = Duration::from_millis(80);

/// Asks all of them, shows what happens, compares them, and asks which one is taken home.
///
/// # Errors
/// When none of them has an answer.
pub(super) async fn ask(
    args: &Args,
    picks: &[Pick],
    prompt: &str,
    agents: &Registry,
    starting: Starting,
    config: &Config,
    connection: &mut Connection,
) -> Result<(), CommandError> {
    let prompt = without_secrets(prompt, connection);
    if let Some(note) = &starting.note {
        for line in output::hanging("", note, output::progress_columns()) {
            output::progress(line);
        }
    }
    let asked = asked(args, picks, &prompt, agents, &starting, connection)?;
    let relay = connection.client.relay().url();
    let root = Reference::to(&asked.note, &relay);
    let starters: Vec<Starter<'_>> = asked
        .jobs
        .iter()
        .zip(picks)
        .map(|(job, pick)| Starter {
            job,
            name: pick.name(),
            with_model: pick.model.is_some(),
            round: pick.round,
        })
        .collect();
    let race = Race::new(connection.coordinator(), &starters, config.jobs.max_running);
    let mut following = Following::new(race, root.clone());
    following.follow(args, &asked, connection).await?;
    let interrupted = following.interrupted;

    let found = load::of_jobs(connection, asked.note.id, &asked.jobs).await?;
    let Some(mut contest) = found else {
        return Err(CommandError::new(Kind::Failed, Problem::Cancelled).word(Some("cancelled")));
    };
    load::fill(connection, &mut contest).await?;
    let closing = notes::closing(&root, &contest);
    publish(connection, closing).await?;
    let answered = contest.entries.iter().any(|entry| entry.answer.is_some());
    if args.json {
        show::json_lines(&contest, false)?;
    } else {
        output::progress("");
        show::table(&contest)?;
        show::beginnings(&contest)?;
        output::progress("");
        if answered && following.asking.can_ask() && output::is_terminal() && !interrupted {
            show::choose(&contest, connection).await?;
        } else {
            show::what_next(&contest);
        }
    }
    following.verdict(interrupted, &contest)
}

/// What was signed.
struct Asked {
    note: Event,
    jobs: Vec<Event>,
}

/// Signs the note that opens the comparison, and the jobs.
fn asked(
    args: &Args,
    picks: &[Pick],
    prompt: &str,
    agents: &Registry,
    starting: &Starting,
    connection: &Connection,
) -> Result<Asked, CommandError> {
    let operator = connection.keyring.operator();
    let now = Timestamp::now().as_secs();
    let names: Vec<String> = picks.iter().map(Pick::name).collect();
    let note = notes::opening(&connection.coordinator(), prompt, &names)
        .sign(operator, now)
        .map_err(client::Error::from)?;
    let relay = connection.client.relay().url();
    let of = u16::try_from(picks.len()).unwrap_or(u16::MAX);
    let mut jobs = Vec::new();
    for (n, pick) in (1..).zip(picks) {
        let args = pick.args(args, agents)?;
        let work = Work::of(&args, None, agents)?;
        let one = Comparison { id: note.id, n, of };
        let job = super::draft(&args, &work, prompt, connection, None)
            .tags(starting.files.iter().map(attach::Kept::tag))
            .tags([one.tag(), one.quote(&relay, &note.pubkey)])
            .sign(operator, now)
            .map_err(client::Error::from)?;
        jobs.push(job);
    }
    Ok(Asked { note, jobs })
}

/// What to hear about the jobs.
fn filters(jobs: &[Event], coordinator: nostr::PublicKey) -> Vec<Filter> {
    let ids: Vec<EventId> = jobs.iter().map(|job| job.id).collect();
    let hexes = || ids.iter().map(EventId::to_hex);
    let mut filters = super::filters(&ids, coordinator);
    filters.push(
        Filter::new()
            .kind(EventKind::from(kind::NOTE))
            .author(coordinator)
            .custom_tags(gather::QUOTE, hexes()),
    );
    filters
}

/// Signs with the owner's key and publishes.
async fn publish(connection: &mut Connection, draft: Draft) -> Result<(), CommandError> {
    let event = draft
        .sign(connection.keyring.operator(), Timestamp::now().as_secs())
        .map_err(client::Error::from)?;
    Ok(connection.client.publish(&event).await?)
}

/// The race as it goes on, and where it is shown.
struct Following {
    race: Race,
    root: Reference,
    asking: Asking,
    area: Area,
    /// Whether blocks are drawn, instead of lines that scroll by.
    blocks: bool,
    /// As long as they are, and nothing is asked.
    quiet: Option<Quiet>,
    interrupted: bool,
}

impl Following {
    fn new(race: Race, root: Reference) -> Self {
        let blocks = output::is_terminal_for_progress();
        Self {
            race,
            root,
            asking: Asking::new(),
            area: Area::of_progress(blocks),
            blocks,
            quiet: None,
            interrupted: false,
        }
    }

    async fn follow(
        &mut self,
        args: &Args,
        asked: &Asked,
        connection: &mut Connection,
    ) -> Result<(), CommandError> {
        let heard = filters(&asked.jobs, connection.coordinator());
        connection.client.subscribe(heard).await?;
        connection.client.publish(&asked.note).await?;
        for job in &asked.jobs {
            connection.client.publish(job).await?;
        }
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let interrupted = interrupt::stopped()?;
        tokio::pin!(interrupted);
        while !self.race.over() {
            tokio::select! {
                update = connection.client.next() => {
                    if let Update::Event(event) = update?.1 {
                        self.hear(&event, connection).await?;
                    }
                }
                _ = frames.tick() => {
                    let now = Instant::now();
                    self.race.tick(now);
                    let late = args.timeout.map(|timeout| self.race.late(timeout, now));
                    self.withdraw(late.unwrap_or_default(), connection).await?;
                    self.draw();
                }
                line = self.asking.typed() => {
                    if let Some(task) = self.asking.answer(&line) {
                        super::asking::send(connection, &task).await?;
                    }
                }
                () = &mut interrupted, if !self.interrupted => {
                    self.interrupted = true;
                    self.say("cancelling …")?;
                    let open = self.race.cancel(Instant::now());
                    self.withdraw(open, connection).await?;
                }
            }
        }
        self.race.tick(Instant::now());
        self.area.clear();
        self.quiet = None;
        Ok(())
    }

    async fn hear(
        &mut self,
        event: &Event,
        connection: &mut Connection,
    ) -> Result<(), CommandError> {
        match self.race.hear(event, Instant::now()) {
            Heard::Nothing => {}
            Heard::Step(at, lines) => {
                if !self.blocks {
                    let name = &self.race.lanes[at].agent.name;
                    let lines: Vec<String> = lines
                        .lines()
                        .map(|line| format!("[{} {name}] {}", at + 1, line.trim()))
                        .collect();
                    self.say(&lines.join("\n"))?;
                }
            }
            Heard::Thread(at) => {
                let relay = connection.client.relay().url();
                let name = &self.race.lanes[at].agent.name;
                let note = notes::began(&self.root, at + 1, name, event, &relay);
                publish(connection, note).await?;
            }
            Heard::Asks(at) => {
                // What is asked stands at the end, and nothing is drawn over it.
                self.area.clear();
                self.quiet = None;
                let name = format!("{}. {}", at + 1, self.race.lanes[at].agent.name);
                self.asking.asks(event, Some(&name));
            }
            Heard::Answered(question) => self.asking.answered(&question),
            Heard::Over(at) if !self.blocks => {
                let lane = &self.race.lanes[at];
                let how = match &lane.end {
                    Some(End::Failed { sentence, .. }) => format!("! {sentence}"),
                    Some(End::Cancelled) => "× cancelled".to_owned(),
                    Some(End::TimedOut(seconds)) => format!("! took longer than {seconds} s"),
                    _ => "✓ done".to_owned(),
                };
                let line = format!("[{} {}] {how}", at + 1, lane.agent.name);
                self.say(&line)?;
            }
            Heard::Over(_) => {}
        }
        Ok(())
    }

    /// Says something that stays.
    fn say(&mut self, lines: &str) -> Result<(), CommandError> {
        let lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        Ok(self.area.above(&lines)?)
    }

    fn draw(&mut self) {
        if self.asking.is_open() {
            return;
        }
        if self.blocks && self.quiet.is_none() {
            self.quiet = Some(Quiet::begin());
        }
        let (columns, height) = output::terminal_size();
        let now = Timestamp::now().as_secs();
        let race = &self.race;
        self.area.draw(|| rows::rows(race, now, columns, height));
    }

    async fn withdraw(
        &self,
        which: Vec<usize>,
        connection: &mut Connection,
    ) -> Result<(), CommandError> {
        for at in which {
            let lane = &self.race.lanes[at];
            super::withdraw(connection, lane.job, lane.kind).await?;
        }
        Ok(())
    }

    /// How the command ends: well, when one of them is done and passed its checks.
    fn verdict(&self, interrupted: bool, contest: &Contest) -> Result<(), CommandError> {
        if interrupted {
            let cancelled = CommandError::new(Kind::Failed, Problem::Cancelled);
            return Err(cancelled.word(Some("cancelled")));
        }
        let (done, failed): (Vec<&Entry>, _) = contest.entries.iter().partition(|it| it.done());
        if done.iter().any(|entry| entry.passed()) {
            return Ok(());
        }
        if !done.is_empty() {
            let (done, of) = (done.len(), contest.entries.len());
            let problem = Problem::NonePassed { done, of };
            return Err(CommandError::new(Kind::Failed, problem)
                .word(Some("check"))
                .told());
        }
        if let Some(code) = failed.iter().find_map(|entry| entry.exit.clone()) {
            return Err(CommandError::new(Kind::Failed, Problem::Exit(code))
                .word(Some("exit"))
                .told());
        }
        let mut ends = self.race.lanes.iter().map(|lane| (lane, &lane.end));
        Err(match ends.next() {
            Some((lane, Some(End::Failed { sentence, code }))) => {
                failure(sentence.clone(), code.as_deref(), lane.began)
            }
            Some((_, Some(End::TimedOut(after)))) => {
                CommandError::new(Kind::Failed, Problem::TimedOut(*after)).word(Some("timeout"))
            }
            _ => CommandError::new(Kind::Failed, Problem::Cancelled).word(Some("cancelled")),
        })
    }
}
