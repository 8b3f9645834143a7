//! `treefort run`: one question to an agent, answered on stdout.
//!
//! The command is a customer like any other: it signs a job with the operator's key, follows what the
//! coordinator and the session say about it, and withdraws the job when the person presses Ctrl-C.

mod args;
mod asking;
mod attach;
mod earlier;
mod flow;
mod gone;
mod network;
mod progress;
mod prompt;
mod several;
mod work;

pub use self::args::Args;
pub(super) use self::{prompt::without_secrets, work::Starting};

use std::time::Duration;

use nostr::{Event, EventId, Filter, Kind as EventKind, PublicKey, Timestamp};
use tokio::time::{Instant, sleep_until};

use self::{
    asking::Asking,
    progress::{Heard, Progress},
    several::picks::Ready,
    work::Work,
};
use super::{
    Context,
    client::Update,
    error::{CommandError, Kind, Problem},
    gather,
    launch::{self, Connection},
    output, status,
    text::one_line,
};
use crate::{
    agent::registry::Registry,
    config::Config,
    nips::{Draft, Reference, kind},
};

/// The most agents or models that a hint names.
const MAX_NAMES: usize = 8;
/// How long a cancelled job may take to end.
const CANCEL: Duration = Duration::from_secs(2);
/// How long the job's end may come after its result.
const WIND_UP: Duration = Duration::from_secs(5);

/// How a job ended.
#[derive(Debug)]
enum End {
    /// With the session that gave it.
    Answered(Box<Event>, Option<PublicKey>),
    Failed {
        sentence: String,
        code: Option<String>,
        /// Whether there was a session, and so a timeline.
        began: bool,
    },
    Cancelled,
    TimedOut(u64),
}

/// Runs the command.
///
/// # Errors
/// When the job fails; the class follows from the feedback's `code`.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let outcome = match prompt::read(&args.prompt) {
        Ok(prompt) => {
            let agents = Registry::load(Some(context.home.dir())).0;
            asked(&args, &prompt, &agents, context).await
        }
        Err(error) => Err(error),
    };
    match &outcome {
        // A program that reads stdout gets one object in either case.
        Err(error) if args.json && !error.is_told() && error.kind() != Kind::OutputClosed => {
            output::json(&error.json())?;
        }
        _ => {}
    }
    outcome
}

/// Asks one, or several.
async fn asked(
    args: &Args,
    prompt: &str,
    agents: &Registry,
    context: &Context,
) -> Result<(), CommandError> {
    let home = context.home.dir();
    let picks = several::picks::picks(args, agents)?;
    // What is certain to be refused is refused before anything starts.
    let ready = several::picks::ready(args, &picks, agents, home)?;
    let config = Config::load(home)?;
    launch::with_jobs(context, async |connection| match ready {
        Ready::One(args, starting) => {
            Box::pin(ask(&args, prompt, agents, starting, connection)).await
        }
        Ready::Several(starting) => {
            Box::pin(several::ask(
                args, &picks, prompt, agents, starting, &config, connection,
            ))
            .await
        }
    })
    .await
}

/// Asks, shows what happens, and writes the answer.
///
/// # Errors
/// When the job fails.
pub(super) async fn ask(
    args: &Args,
    prompt: &str,
    agents: &Registry,
    starting: Starting,
    connection: &mut Connection,
) -> Result<(), CommandError> {
    let prompt = without_secrets(prompt, connection);
    let earlier = match args.go_on.as_deref() {
        None => None,
        Some("") => Some(earlier::last_conversation(args, agents, connection).await?),
        Some(session) => Some(earlier::last_result(connection, session).await?),
    };
    if let Some(earlier) = &earlier {
        earlier.say();
    }
    let before = earlier
        .as_ref()
        .and_then(|earlier| earlier.agent.as_deref());
    let work = Work::of(args, before, agents)?;
    let earlier = earlier.as_ref().map(|earlier| &earlier.result);
    let job = draft(args, &work, &prompt, connection, earlier)
        .tags(starting.files.iter().map(attach::Kept::tag))
        .sign(connection.keyring.operator(), Timestamp::now().as_secs())
        .map_err(super::client::Error::from)?;
    match attend(args, starting, connection, &job).await? {
        End::Answered(result, session) => {
            if args.json {
                output::event(&result)?;
            } else {
                work.what_next(session, connection).await?;
            }
            work::exit_of(&result)
        }
        End::Failed {
            sentence,
            code,
            began,
        } => {
            let error = failure(sentence, code.as_deref(), began);
            Err(with_choices(error, args, code.as_deref(), connection).await)
        }
        End::Cancelled => {
            Err(CommandError::new(Kind::Failed, Problem::Cancelled).word(Some("cancelled")))
        }
        End::TimedOut(after) => {
            Err(CommandError::new(Kind::Failed, Problem::TimedOut(after)).word(Some("timeout")))
        }
    }
}

/// Names what could have been asked instead of an agent or model that is not there.
async fn with_choices(
    error: CommandError,
    args: &Args,
    code: Option<&str>,
    connection: &mut Connection,
) -> CommandError {
    let (list, command) = match (code, &args.agent, args.model.first()) {
        (Some("unsupported"), Some(_), _) => ("agents", "treefort agents"),
        (Some("no-model"), _, Some(_)) => ("models", "treefort models"),
        _ => return error,
    };
    // Without the list, the command that shows it is hint enough.
    let report = status::report(connection).await.ok().flatten();
    let report = report.unwrap_or_default();
    let names: Vec<String> = match list {
        "agents" => report
            .agents
            .iter()
            .map(|agent| one_line(&agent.name))
            .collect(),
        _ => report.models.iter().map(|model| one_line(model)).collect(),
    };
    if names.is_empty() {
        return error;
    }
    let more = names.len().saturating_sub(MAX_NAMES);
    let mut named = names[..names.len().min(MAX_NAMES)].join(", ");
    if more > 0 {
        named.push_str(&format!(" and {more} more"));
    }
    error.instead(format!("there are these {list}: {named} (`{command}`)"))
}

fn failure(sentence: String, code: Option<&str>, began: bool) -> CommandError {
    let kind = Kind::of_job_code(code);
    let sentence = match sentence.as_str() {
        "" => "the job failed and no reason was given".to_owned(),
        _ => sentence,
    };
    let error = CommandError::new(kind, Problem::Job(sentence)).word(code);
    // The sentence of a missing model or sandbox says itself what to do about it.
    match kind {
        Kind::NoModel => error.hint("to look around without a model: treefort demo"),
        Kind::NoSandbox => {
            error.hint("`treefort doctor` checks sandboxes, `treefort agents` what agents run from")
        }
        // The sentence says who can change it.
        Kind::NotAdmitted => error,
        // Nothing happened that a timeline could show.
        _ if matches!(code, Some("workspace" | "gone")) || !began => error,
        _ => error.hint("`treefort timeline` shows what happened"),
    }
}

/// The job as an event, before it is signed.
fn draft(
    args: &Args,
    work: &Work,
    prompt: &str,
    connection: &Connection,
    earlier: Option<&Event>,
) -> Draft {
    let relay = connection.client.relay().url();
    job_draft(
        prompt,
        connection.coordinator(),
        work,
        args.model.first().map(String::as_str),
        earlier.map(|result| Reference::to(result, &relay)).as_ref(),
    )
}

fn job_draft(
    prompt: &str,
    coordinator: PublicKey,
    work: &Work,
    model: Option<&str>,
    earlier: Option<&Reference>,
) -> Draft {
    Draft::new(work.kind)
        .tag(["i", prompt, "text"])
        .tag(["p", &coordinator.to_hex()])
        .tags(work.params())
        .tag_opt(model.map(|model| ["param", "model", model]))
        .tag(["output", "text/markdown"])
        // The same question twice in one second is two questions.
        .tag([
            "moment".to_owned(),
            std::time::UNIX_EPOCH
                .elapsed()
                .unwrap_or_default()
                .as_nanos()
                .to_string(),
        ])
        .tags(earlier.map(|result| result.tag("e")))
}

/// What to hear about a job.
fn filters(jobs: &[EventId], coordinator: PublicKey) -> Vec<Filter> {
    let kinds = |kinds: &[u16]| Filter::new().kinds(kinds.iter().copied().map(EventKind::from));
    let result = |request| kind::result_of(EventKind::from(request)).as_u16();
    let (text, task) = (result(kind::TEXT_GENERATION), result(kind::AGENT_TASK));
    let hexes = || jobs.iter().map(EventId::to_hex);
    let records: Vec<u16> = (kind::SESSION_START..=kind::SESSION_END).collect();
    vec![
        kinds(&[kind::JOB_FEEDBACK, text, task])
            .author(coordinator)
            .events(jobs.iter().copied()),
        kinds(&[kind::AGENT_TASK])
            .author(coordinator)
            .custom_tags(gather::ROOT, hexes()),
        kinds(&records).custom_tags(gather::ROOT, hexes()),
        kinds(&[kind::LIVE_DELTA]).events(jobs.iter().copied()),
    ]
}

async fn attend(
    args: &Args,
    starting: Starting,
    connection: &mut Connection,
    job: &Event,
) -> Result<End, CommandError> {
    let coordinator = connection.coordinator();
    connection
        .client
        .subscribe(filters(&[job.id], coordinator))
        .await?;
    connection.client.publish(job).await?;
    let stream = output::is_terminal() && !args.json;
    let mut progress = Progress::new(job, coordinator, stream);
    let mut asking = Asking::new();
    progress.starting(starting);
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut give_up = args.timeout.map(|seconds| {
        (
            Instant::now() + Duration::from_secs(seconds),
            End::TimedOut(seconds),
        )
    });
    let far = Instant::now() + Duration::from_secs(86_400 * 365);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut withdrawn = false;
    loop {
        let deadline = give_up.as_ref().map_or(far, |(at, _)| *at);
        tokio::select! {
            update = connection.client.next() => {
                let Update::Event(event) = update?.1 else { continue };
                match progress.hear(&event)? {
                    Heard::Nothing => {}
                    Heard::Asks => asking.asks(&event, None),
                    Heard::Answered(question) => asking.answered(&question),
                    Heard::Result => {
                        if args.json {
                            progress.finish()?;
                        } else {
                            progress.answer(&event)?;
                        }
                        // The job's end follows its result; a treefort that runs for this command alone
                        // must not stop before it.
                        give_up = Some((Instant::now() + WIND_UP, End::Answered(event, progress.session())));
                    }
                    Heard::Success => {
                        if let Some((_, end @ End::Answered(..))) = give_up {
                            return Ok(end);
                        }
                    }
                    Heard::Failed { sentence, code } => {
                        progress.finish()?;
                        return Ok(match give_up {
                            Some((_, end)) if withdrawn => end,
                            _ if code.as_deref() == Some("cancelled") => End::Cancelled,
                            _ => End::Failed {
                                sentence,
                                code,
                                began: progress.began(),
                            },
                        });
                    }
                }
            }
            _ = seconds.tick() => progress.tick(),
            line = asking.typed() => {
                if let Some(task) = asking.answer(&line) {
                    asking::send(connection, &task).await?;
                }
            }
            _ = &mut interrupted, if !withdrawn => {
                progress.finish()?;
                if let Some((_, end @ End::Answered(..))) = give_up {
                    return Ok(end);
                }
                output::progress("cancelling …");
                withdraw(connection, job.id, job.kind.as_u16()).await?;
                withdrawn = true;
                give_up = Some((Instant::now() + CANCEL, End::Cancelled));
            }
            () = sleep_until(deadline), if give_up.is_some() => {
                let Some((_, end)) = give_up.take() else { continue };
                match end {
                    End::TimedOut(_) if !withdrawn => {
                        progress.finish()?;
                        withdraw(connection, job.id, job.kind.as_u16()).await?;
                        withdrawn = true;
                        give_up = Some((Instant::now() + CANCEL, end));
                    }
                    end => return Ok(end),
                }
            }
        }
    }
}

/// Withdraws a job (NIP-09, NIP-90).
async fn withdraw(
    connection: &mut Connection,
    job: EventId,
    request: u16,
) -> Result<(), CommandError> {
    let event = Draft::new(kind::DELETION)
        .tag(["e", &job.to_hex()])
        .tag(["k", &request.to_string()])
        .tag(["p", &connection.coordinator().to_hex()])
        .sign(connection.keyring.operator(), Timestamp::now().as_secs())
        .map_err(super::client::Error::from)?;
    Ok(connection.client.publish(&event).await?)
}

#[cfg(test)]
mod tests;
