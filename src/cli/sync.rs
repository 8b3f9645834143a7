//! `treefort sync`, `publish` and `unpublish`: what leaves this machine, what has left, and asking for it back.
//!
//! The program that holds the record answers, to a request that the owner's key signed ([`crate::sync::PATH`]).

mod shown;
mod steps;
mod words;

use std::time::Duration;

use nostr::{EventId, Timestamp};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use self::words::{CHANGED, Show, preview_lines, publish_lines, status_lines, unpublish_lines};
use super::{
    Context,
    error::{CommandError, Kind},
    gather::{self, ROOT, Target},
    launch::{self, Connection},
    output,
    text::one_line,
    view,
    workspace::{Said, confirmed, not_confirmed},
};
use crate::{
    nips::{kind, nip98},
    sync::{LEAST_DIGITS, PATH, Preview, Shared, Status, Wish},
};

/// How long an answer may take: the whole record is looked through.
const PATIENCE: Duration = Duration::from_secs(120);
/// No answer is longer.
const MAX_ANSWER: usize = 256 << 20;

/// Shows what is shared with others, and what would be.
///
/// Nothing leaves this machine unless you say so: you write into `sync.toml` in treefort's home (`treefort status` says where
/// that is) which relays get what. A relay is a server that keeps what it is sent and passes it on to others.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A sync.toml that shares that work was done and how it ended, and no words of what you asked:
  [[stream]]
  name = \"public\"
  dir = \"up\"
  relays = [\"wss://relay.example\"]
treefort reads it when it starts, and shares while `treefort up` runs.

Examples:
  treefort sync preview
  treefort sync --list
  treefort publish 3f2a9c01")]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Also what has left, the newest first: the last 200 for each relay.
    #[arg(long)]
    list: bool,
    /// As JSON: also the events that would leave, and the last 200 that each relay got.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum What {
    /// Prints what would leave, with --verbose all words of it; connects to nobody.
    Preview,
    /// Says how much has left, and how it stands with each relay.
    Status,
}

/// Shares one session, or one event, with those that `sync.toml` names.
///
/// A session goes with all that its agent said and did. The request itself stays, and yet what was asked may leave: what
/// a shell agent was told to do is what it did, and other agents repeat what they are told. What belongs to something
/// private stays, and so does what seems to hold a password. You are shown what would leave before anything does, with
/// --verbose all words of it. Once something has left nobody can promise to get it back.
#[derive(Debug, clap::Args)]
pub struct PublishArgs {
    /// The session or job, or an event: how its id begins, with 8 digits or more.
    #[arg(value_name = "SESSION|EVENT")]
    what: String,
    /// Does not ask.
    #[arg(long, short)]
    yes: bool,
    /// As JSON: what would leave, or with --yes what is to leave.
    #[arg(long)]
    json: bool,
}

/// Asks others to delete what you shared. They may or may not.
///
/// Every relay that got it is asked to delete it. That is a request: nobody can promise that a relay follows it, and
/// whoever has read or copied it has it still. Your own record stays as it is; `treefort purge` deletes that.
#[derive(Debug, clap::Args)]
pub struct UnpublishArgs {
    /// The session or job, or an event: how its id begins, with 8 digits or more.
    #[arg(value_name = "SESSION|EVENT")]
    what: String,
    /// Does not ask.
    #[arg(long, short)]
    yes: bool,
    /// As JSON: what would be asked back, or with --yes what is.
    #[arg(long)]
    json: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("treefort did not answer")]
    Silent(#[source] reqwest::Error),
    #[error("treefort did not answer: {0}")]
    Refused(String),
    #[error("sharing is off: sync.toml names no relay, so there is nobody to share with")]
    Off,
    #[error("no stream in sync.toml goes up, so there is nobody to share with")]
    NoneUp,
    #[error("{0}")]
    Changed(&'static str),
    #[error("nobody can be asked: sync.toml does not name who has it: {0}")]
    Unnamed(String),
    #[error("there is nothing called {0} on record")]
    Nothing(String),
    #[error("none of it can leave")]
    AllStays,
}

/// Runs `sync`.
///
/// # Errors
/// When treefort cannot be asked.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let mut show = Show::of(context);
    show.list = args.list;
    launch::with(context, async |connection| {
        match args.what {
            Some(What::Preview) => {
                let whole = context.verbose || args.json;
                let preview: Preview = ask(connection, &Wish::Preview { whole }).await?;
                if args.json {
                    return Ok(output::json(&serde_json::json!(preview))?);
                }
                print(preview_lines(&preview, &show))
            }
            Some(What::Status) | None => {
                let mut status: Status = ask(connection, &Wish::Status).await?;
                // A treefort of this command's own ends with it.
                status.running &= connection.running;
                if args.json {
                    return Ok(output::json(&serde_json::json!(status))?);
                }
                print(status_lines(&status, &show, Timestamp::now().as_secs()))
            }
        }
    })
    .await
}

/// Runs `publish`.
///
/// # Errors
/// When there is no such thing, none of it can leave, or it is not confirmed.
pub async fn publish(args: PublishArgs, context: &Context) -> Result<(), CommandError> {
    launch::with(context, async |connection| {
        let what = resolve(connection, &args.what).await?;
        let ask = Ask {
            named: &args.what,
            yes: args.yes,
            json: args.json,
            question: "Share all of this? Once it has left, nobody can promise to get it back.",
            kept: "nothing was shared",
            lines: publish_lines,
            check: can_share,
            show: Show::of(context),
        };
        let wish = |look, until| Wish::Publish {
            what: what.clone(),
            look,
            until,
            whole: context.verbose || args.json,
        };
        let shared = ask.settle(connection, wish).await?;
        match shared.goes.is_empty() && shared.before == 0 && !args.json {
            true => Err(CommandError::new(Kind::Failed, Problem::AllStays)),
            false => Ok(()),
        }
    })
    .await
}

/// Runs `unpublish`.
///
/// # Errors
/// When there is no such thing, or it is not confirmed.
pub async fn unpublish(args: UnpublishArgs, context: &Context) -> Result<(), CommandError> {
    launch::with(context, async |connection| {
        let what = resolve(connection, &args.what).await?;
        let ask = Ask {
            named: &args.what,
            yes: args.yes,
            json: args.json,
            question: "Ask for all of this back?",
            kept: "nobody was asked",
            lines: unpublish_lines,
            check: can_be_asked,
            show: Show::of(context),
        };
        let wish = |look, until| Wish::Unpublish {
            what: what.clone(),
            look,
            until,
            whole: context.verbose || args.json,
        };
        ask.settle(connection, wish).await.map(drop)
    })
    .await
}

/// How a person is shown what would happen, and asked whether it is to.
struct Ask<'a> {
    /// What was typed.
    named: &'a str,
    yes: bool,
    json: bool,
    question: &'a str,
    /// What is said to a no.
    kept: &'a str,
    /// What is shown: of what would happen, and with `true` of what does.
    lines: fn(&Shared, &Show, bool) -> Vec<String>,
    /// Whether anything can be done at all.
    check: fn(&Shared, &Show) -> Result<(), CommandError>,
    show: Show,
}

impl Ask<'_> {
    /// Says what it comes to, and has it done unless there is nothing to do.
    ///
    /// # Errors
    /// When there is no such thing, or it is not confirmed.
    async fn settle(
        &self,
        connection: &mut Connection,
        wish: impl Fn(bool, Option<u64>) -> Wish,
    ) -> Result<Shared, CommandError> {
        let shared: Shared = ask(connection, &wish(!self.yes, None)).await?;
        is_one(&shared, self.named)?;
        (self.check)(&shared, &self.show)?;
        if shared.changed {
            output::progress(CHANGED);
        }
        if self.json {
            output::json(&serde_json::json!(shared))?;
            return Ok(shared);
        }
        print((self.lines)(&shared, &self.show, self.yes))?;
        if shared.goes.is_empty() || self.yes {
            return Ok(shared);
        }
        match confirmed(self.question)? {
            Said::Yes => {}
            Said::No => {
                output::progress(self.kept);
                return Ok(shared);
            }
            Said::Nobody => {
                return not_confirmed(Said::Nobody, "the same command with --yes").map(|()| shared);
            }
        }
        // What a session did since is not what was shown.
        let until = Some(shared.until);
        let shared: Shared = ask(connection, &wish(false, until)).await?;
        is_one(&shared, self.named)?;
        print((self.lines)(&shared, &self.show, true))?;
        Ok(shared)
    }
}

/// Whether what was typed names one thing.
fn is_one(shared: &Shared, what: &str) -> Result<(), CommandError> {
    if !shared.several.is_empty() {
        let events = shared.several.iter();
        let problem = super::error::Problem::Ambiguous {
            needle: one_line(what),
            candidates: events
                .map(|id| format!("event {}", &id.to_hex()[..16]))
                .collect(),
        };
        return Err(CommandError::new(Kind::Usage, problem));
    }
    if !shared.found {
        let nothing = Problem::Nothing(one_line(what));
        return Err(CommandError::new(Kind::Failed, nothing).hint(
            "`treefort jobs` lists sessions; `treefort timeline --verbose` shows the ids of events",
        ));
    }
    Ok(())
}

/// Whether there is somebody to share with.
fn can_share(shared: &Shared, show: &Show) -> Result<(), CommandError> {
    if shared.on && !shared.relays.is_empty() {
        return Ok(());
    }
    let (problem, hint) = match (shared.changed, shared.on) {
        (true, _) => (Problem::Changed(CHANGED), AGAIN.to_owned()),
        (false, false) => (
            Problem::Off,
            format!(
                "write into {} with whom; `treefort sync --help` shows how",
                show.file
            ),
        ),
        (false, true) => (
            Problem::NoneUp,
            format!(
                "in {} a stream with dir = \"up\" or \"both\" says with whom; then start treefort again",
                show.file
            ),
        ),
    };
    Err(CommandError::new(Kind::Failed, problem).hint(hint))
}

/// Whether somebody who has it can be asked.
fn can_be_asked(shared: &Shared, show: &Show) -> Result<(), CommandError> {
    if !shared.goes.is_empty() || shared.unnamed.is_empty() {
        return Ok(());
    }
    if shared.changed {
        return Err(CommandError::new(Kind::Failed, Problem::Changed(CHANGED)).hint(AGAIN));
    }
    let relays: Vec<String> = shared.unnamed.iter().map(|url| one_line(url)).collect();
    let problem = Problem::Unnamed(relays.join(", "));
    Err(CommandError::new(Kind::Failed, problem).hint(format!(
        "name it in {} in a stream with dir = \"up\" (with `kinds = []` below [policy] nothing else leaves), start treefort \
         again, then ask again",
        show.file
    )))
}

/// What to do once the settings changed.
const AGAIN: &str = "end `treefort up` with Ctrl-C and start it again, then say this again";

/// The whole id of what a person named, or how the id of an event begins.
async fn resolve(connection: &mut Connection, what: &str) -> Result<String, CommandError> {
    if let Ok(id) = EventId::parse(what) {
        // An event by its whole id; a session's key has the same form.
        return Ok(id.to_hex());
    }
    let coordinator = connection.coordinator();
    let client = &mut connection.client;
    Ok(match gather::named(client, coordinator, what).await? {
        Some(Target::Session(key)) => key.to_hex(),
        Some(Target::Job(id)) => {
            let starts = view::of_kind(kind::SESSION_START).custom_tag(ROOT, id.to_hex());
            let start = client.newest(starts, 1).await?;
            start
                .first()
                .map_or_else(|| id.to_hex(), |start| start.pubkey.to_hex())
        }
        None if what.len() >= LEAST_DIGITS => what.to_owned(),
        None => {
            let problem = super::error::Problem::Unknown(one_line(what));
            return Err(CommandError::new(Kind::Failed, problem).hint(format!(
                "`treefort jobs` lists sessions; an event is named by {LEAST_DIGITS} digits of its id or more"
            )));
        }
    })
}

/// Asks the treefort that holds the record, as its owner.
async fn ask<T: DeserializeOwned>(connection: &Connection, wish: &Wish) -> Result<T, CommandError> {
    let silent = |error| CommandError::new(Kind::Unreachable, Problem::Silent(error));
    let url = format!("{}{PATH}", connection.client.relay().web());
    let body = serde_json::json!(wish).to_string();
    let mut nonce = [0u8; 16];
    getrandom::fill(&mut nonce).map_err(|error| CommandError::new(Kind::Failed, error))?;
    let signed = nip98::draft(&url, "POST")
        .tag(["payload", &hex::encode(Sha256::digest(&body))])
        .tag(["nonce", &hex::encode(nonce)])
        .sign(connection.keyring.operator(), Timestamp::now().as_secs())
        .map_err(super::client::Error::from)?;
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .map_err(silent)?;
    let mut response = http
        .post(&url)
        .header("authorization", nip98::header(&signed))
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .map_err(silent)?;
    let good = response.status().is_success();
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(silent)? {
        if answer.len() + chunk.len() > MAX_ANSWER {
            let refused = Problem::Refused("its answer is too long".to_owned());
            return Err(CommandError::new(Kind::Failed, refused));
        }
        answer.extend_from_slice(&chunk);
    }
    if !good {
        let said: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        let said = said["error"]
            .as_str()
            .unwrap_or("it said nothing that makes sense");
        return Err(CommandError::new(
            Kind::Failed,
            Problem::Refused(one_line(said)),
        ));
    }
    serde_json::from_slice(&answer).map_err(|error| CommandError::new(Kind::Failed, error))
}

/// Prints lines; one that is too long for a terminal goes on below itself, two columns further in.
fn print(lines: Vec<String>) -> Result<(), CommandError> {
    for line in lines {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let mut wrapped = output::hanging("", text, output::columns().saturating_sub(indent + 2));
        if let Some(first) = wrapped.first_mut() {
            *first = format!("{:indent$}{first}", "");
        }
        for more in wrapped.iter_mut().skip(1) {
            *more = format!("{:indent$}  {more}", "");
        }
        for line in wrapped {
            output::line(line)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
