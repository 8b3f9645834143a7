//! `treefort jobs`: what was asked, and how it went.

use std::collections::{BTreeMap, HashSet};

use nostr::{Event, EventId, Filter, JsonUtil as _, Kind, PublicKey, Timestamp};
use serde_json::json;

use super::{
    Context,
    client::{self, Client},
    error::CommandError,
    gather, launch, output,
    text::{self, one_line, truncate},
    view::{self, JobState, short},
};
use crate::nips::kind;

/// Columns of a line at most, also in a file.
const WIDEST: usize = 120;

/// Lists the jobs, the newest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many.
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Only jobs with all of these words in them: in what was asked, done or answered. Case and accents do not count.
    /// What is private is not searched.
    #[arg(long, short = 's', value_name = "WORDS")]
    search: Option<String>,
    /// Also what you asked for with copies: undo, diff, apply and the like.
    #[arg(long)]
    all: bool,
    /// One JSON object a line: id, session, state, prompt and the signed request.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When treefort cannot be reached.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    launch::with(context, async |connection| {
        let coordinator = connection.coordinator();
        let operator = connection.keyring.operator().public_key();
        let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
        let client = &mut connection.client;
        let jobs = match &args.search {
            None => gather::jobs(client, coordinator, Some(limit), args.all).await?,
            Some(words) => {
                let found = with_words(client, coordinator, words).await?;
                let mut jobs = gather::jobs(client, coordinator, None, args.all).await?;
                jobs.retain(|job| found.contains(&job.id));
                jobs.truncate(limit);
                jobs
            }
        };
        let now = Timestamp::now().as_secs();
        if jobs.is_empty() && !args.json {
            output::progress(match args.search {
                None => "No jobs yet. Ask something: treefort run \"a question\"",
                Some(_) => "No job has all of these words.",
            });
        }
        let mut sessions = BTreeMap::new();
        if args.json {
            let ids: Vec<EventId> = jobs.iter().map(|job| job.id).collect();
            sessions = gather::given_to(client, coordinator, &ids).await?;
        }
        for job in jobs {
            let keys = connection.keyring.operator();
            let state = JobState::of(job.event.as_ref(), &job.answers, keys);
            let customer = job.event.as_ref().map(|event| event.pubkey);
            let prompt = match &job.event {
                Some(event) => view::prompt(event),
                None => "(withdrawn)".to_owned(),
            };
            let (symbol, word, detail) = describe(&state);
            if args.json {
                let request: Option<serde_json::Value> = job
                    .event
                    .as_ref()
                    .and_then(|event| serde_json::from_str(&event.as_json()).ok());
                output::json(&json!({
                    "id": job.id.to_hex(),
                    "session": sessions.get(&job.id).map(PublicKey::to_hex),
                    "state": word,
                    "detail": detail,
                    "prompt": prompt,
                    "mine": customer.map(|key| key == operator),
                    "request": request,
                }))?;
                continue;
            }
            let from = match customer {
                Some(key) if key != operator => format!("  (from {})", short(&key.to_hex())),
                _ => String::new(),
            };
            let id = short(&job.id.to_hex());
            let ago = text::ago(job.at.as_secs(), now);
            let room = output::columns().saturating_sub(42).min(400);
            let mut asked = truncate(&one_line(&prompt), room.max(20));
            if let Some(detail) = detail {
                asked.push_str(&format!(" · {detail}"));
            }
            let mut line = format!("{symbol} {id}  {ago:<11}  {word:<9}  {asked}{from}");
            if !context.verbose {
                // A list, also where nothing says how wide it may be.
                line = truncate(&line, output::columns().min(WIDEST));
            }
            output::line(line)?;
        }
        Ok(())
    })
    .await
}

/// The jobs with these words in their requests, records and results (NIP-50): the best of these, as many as the relay
/// gives at once.
async fn with_words(
    client: &mut Client,
    coordinator: PublicKey,
    words: &str,
) -> Result<HashSet<EventId>, client::Error> {
    let kinds = [kind::TEXT_GENERATION, kind::AGENT_TASK].map(|asked| [asked, asked + 1000]);
    let records = kind::SESSION_START..=kind::SESSION_END;
    let filter = Filter::new()
        .kinds(kinds.into_iter().flatten().chain(records).map(Kind::from))
        .search(words);
    let found = client.newest(filter, usize::MAX).await?;
    let of = |event: &Event| {
        let root = view::ids(event, "E").next();
        match kind::is_job_request(event.kind) && event.pubkey != coordinator {
            true => Some(event.id),
            false => root.or_else(|| view::ids(event, "e").next()),
        }
    };
    Ok(found.iter().filter_map(of).collect())
}

fn describe(state: &JobState) -> (&'static str, &'static str, Option<&str>) {
    match state {
        JobState::Waiting => ("·", "waiting", None),
        JobState::Working => ("▶", "working", None),
        JobState::Done => ("✓", "done", None),
        JobState::Failed(why) => (
            "!",
            "failed",
            Some(why.as_str()).filter(|why| !why.is_empty()),
        ),
        JobState::Cancelled => ("×", "cancelled", None),
    }
}
