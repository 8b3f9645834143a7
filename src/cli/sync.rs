//! `treefort sync`, `publish` and `unpublish`: what leaves this machine, what has left, and asking for it back.
//!
//! The program that holds the record answers, to a request that the owner's key signed ([`crate::sync::PATH`]).

mod lines;

use std::time::Duration;

use nostr::{EventId, Timestamp};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use self::lines::{preview_lines, publish_lines, status_lines, unpublish_lines};
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
    sync::{PATH, Preview, Shared, Status, Wish},
};

/// How long an answer may take: the whole record is looked through.
const PATIENCE: Duration = Duration::from_secs(120);
/// No answer is longer.
const MAX_ANSWER: usize = 256 << 20;

/// Shows what is shared with others, and what would be.
///
/// Nothing leaves this machine unless you say so, in `sync.toml` in treefort's home: which relays, and what.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treefort sync preview
  treefort sync
  treefort publish 3f2a9c01")]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// As JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum What {
    /// Prints exactly what would leave; connects to nobody.
    Preview,
    /// Says what has left, and how it stands with each relay.
    Status,
}

/// Shares one session, or one event, with those that `sync.toml` names.
///
/// A session goes with all that its agent said and did. What belongs to something private stays, and so does what seems
/// to hold a password. What was asked stays too. Once something has left nobody can promise to get it back.
#[derive(Debug, clap::Args)]
pub struct PublishArgs {
    /// The session or job, or an event by its whole id.
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
    /// The session or job, or an event by its whole id.
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
    #[error("nothing is shared with anybody: sync.toml names no relay")]
    Off,
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
    launch::with(context, async |connection| {
        match args.what {
            Some(What::Preview) => {
                let preview: Preview = ask(connection, &Wish::Preview).await?;
                if args.json {
                    return Ok(output::json(&serde_json::json!(preview))?);
                }
                print(preview_lines(&preview))
            }
            Some(What::Status) | None => {
                let mut status: Status = ask(connection, &Wish::Status).await?;
                // A treefort of this command's own ends with it.
                status.running &= connection.running;
                if args.json {
                    return Ok(output::json(&serde_json::json!(status))?);
                }
                print(status_lines(&status, Timestamp::now().as_secs()))
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
            lines: publish_lines,
        };
        let wish = |look| Wish::Publish {
            what: what.clone(),
            look,
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
            lines: unpublish_lines,
        };
        let wish = |look| Wish::Unpublish {
            what: what.clone(),
            look,
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
    /// What is shown: of what would happen, and with `true` of what does.
    lines: fn(&Shared, bool) -> Vec<String>,
}

impl Ask<'_> {
    /// Says what it comes to, and has it done unless there is nothing to do.
    ///
    /// # Errors
    /// When there is no such thing, or it is not confirmed.
    async fn settle(
        &self,
        connection: &mut Connection,
        wish: impl Fn(bool) -> Wish,
    ) -> Result<Shared, CommandError> {
        let shared: Shared = ask(connection, &wish(!self.yes)).await?;
        check(&shared, self.named)?;
        if self.json {
            output::json(&serde_json::json!(shared))?;
            return Ok(shared);
        }
        print((self.lines)(&shared, self.yes))?;
        if shared.goes.is_empty() || self.yes {
            return Ok(shared);
        }
        let said = confirmed(self.question)?;
        if said != Said::Yes {
            not_confirmed(said, "the same command with --yes")?;
            return Ok(shared);
        }
        let shared: Shared = ask(connection, &wish(false)).await?;
        print((self.lines)(&shared, true))?;
        Ok(shared)
    }
}

fn check(shared: &Shared, what: &str) -> Result<(), CommandError> {
    if !shared.on {
        return Err(CommandError::new(Kind::Failed, Problem::Off)
            .hint("relay-config/sync.toml in treefort's sources shows how; put yours into treefort's home (`treefort status` says where)"));
    }
    if !shared.found {
        let nothing = Problem::Nothing(one_line(what));
        return Err(CommandError::new(Kind::Failed, nothing).hint(
            "`treefort jobs` lists sessions; `treefort timeline --verbose` shows the ids of events",
        ));
    }
    Ok(())
}

/// The whole id of what a person named.
async fn resolve(connection: &mut Connection, what: &str) -> Result<String, CommandError> {
    if let Ok(id) = EventId::parse(what) {
        // An event by its whole id; a session's key has the same form.
        return Ok(id.to_hex());
    }
    let coordinator = connection.coordinator();
    Ok(
        match gather::resolve(&mut connection.client, coordinator, Some(what)).await? {
            Target::Session(key) => key.to_hex(),
            Target::Job(id) => {
                let starts = view::of_kind(kind::SESSION_START).custom_tag(ROOT, id.to_hex());
                let start = connection.client.newest(starts, 1).await?;
                start
                    .first()
                    .map_or_else(|| id.to_hex(), |start| start.pubkey.to_hex())
            }
        },
    )
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

fn print(lines: Vec<String>) -> Result<(), CommandError> {
    for line in lines {
        output::line(line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
