//! `treefort status`, `agents` and `models`: what this treefort can do right now.

use std::time::Duration;

use nostr::Filter;
use serde_json::json;

use super::{
    Context,
    error::CommandError,
    launch::{self, Connection},
    output,
    text::one_line,
    view,
};
use crate::nips::{
    kind,
    nip89::{STATUS, StatusReport},
};

/// How long a treefort that just started may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// Says whether treefort runs, and what it can do right now.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Lists the agents.
#[derive(Debug, clap::Args)]
pub struct AgentsArgs {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Lists the models.
#[derive(Debug, clap::Args)]
pub struct ModelsArgs {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// What the coordinator says about itself; waits for it when treefort has only just started.
///
/// # Errors
/// When treefort cannot be asked.
pub async fn report(connection: &mut Connection) -> Result<Option<StatusReport>, CommandError> {
    let filter = view::of_kind(kind::APP_DATA)
        .author(connection.coordinator())
        .identifier(STATUS);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let events = connection.client.newest(filter.clone(), 1).await?;
        let found = events
            .first()
            .and_then(|event| serde_json::from_str(&event.content).ok());
        if found.is_some() || tokio::time::Instant::now() >= deadline {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Runs `status`.
///
/// # Errors
/// When treefort cannot be reached.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    launch::with(context, async |connection| {
        let report = report(connection).await?.unwrap_or_default();
        let events = connection.client.count(Filter::new()).await?;
        let relay = connection.client.relay().clone();
        let keyring = &connection.keyring;
        if args.json {
            output::json(&json!({
                "version": report.version,
                "relay": relay.url(),
                "web": relay.web(),
                "operator": keyring.operator().public_key().to_hex(),
                "coordinator": keyring.coordinator().public_key().to_hex(),
                "relay_self": relay.key.to_hex(),
                "runtime": report.runtime,
                "models": report.models,
                "default_model": report.default_model,
                "model_problem": report.model_problem,
                "agents": report.agents,
                "admit": report.admit,
                "events": events,
                "home": context.home.dir(),
            }))?;
            return Ok(());
        }
        output::line(format!(
            "treefort {} is ready at {}",
            one_line(&report.version),
            relay.web()
        ))?;
        row(
            "agents",
            &names(report.agents.iter().map(|agent| agent.name.as_str())),
        )?;
        row("models", &models_line(&report))?;
        let state = if report.runtime.ok { "" } else { "not ready: " };
        let detail = one_line(&report.runtime.detail);
        row(
            "sandbox",
            &format!("{}, {state}{detail}", one_line(&report.runtime.kind)),
        )?;
        let open = match report.admit.as_str() {
            "anyone" => "jobs from anyone, within limits",
            _ => "your jobs, and those of whom you allow",
        };
        row("takes", open)?;
        row(
            "record",
            &format!("{events} entries in {}", context.home.dir().display()),
        )?;
        if context.verbose {
            row("relay", &relay.url())?;
            row("relay key", &relay.key.to_hex())?;
            row("operator", &keyring.operator().public_key().to_hex())?;
            row("coordinator", &keyring.coordinator().public_key().to_hex())?;
        }
        Ok(())
    })
    .await
}

/// Runs `agents`.
///
/// # Errors
/// When treefort cannot be reached.
pub async fn agents(args: AgentsArgs, context: &Context) -> Result<(), CommandError> {
    launch::with(context, async |connection| {
        for agent in report(connection).await?.unwrap_or_default().agents {
            if args.json {
                output::json(&json!(agent))?;
                continue;
            }
            let mut line = format!(
                "{:<12} {}",
                one_line(&agent.name),
                one_line(&agent.description)
            );
            if context.verbose {
                line.push_str(&format!("  {:?}", agent.kinds));
            }
            output::line(line)?;
        }
        Ok(())
    })
    .await
}

/// Runs `models`.
///
/// # Errors
/// When treefort cannot be reached.
pub async fn models(args: ModelsArgs, context: &Context) -> Result<(), CommandError> {
    launch::with(context, async |connection| {
        let report = report(connection).await?.unwrap_or_default();
        for model in &report.models {
            let default = report.default_model.as_ref() == Some(model);
            if args.json {
                output::json(&json!({"name": model, "default": default}))?;
            } else {
                let note = if default {
                    "  (used unless you name another)"
                } else {
                    ""
                };
                output::line(format!("{}{note}", one_line(model)))?;
            }
        }
        if let Some(problem) = report.model_problem.filter(|_| report.models.is_empty()) {
            output::progress(one_line(&problem));
        }
        Ok(())
    })
    .await
}

/// The models in one line, or why there is none.
#[must_use]
pub fn models_line(report: &StatusReport) -> String {
    if report.models.is_empty() {
        let problem = report.model_problem.as_deref().unwrap_or("none yet");
        return format!("none: {}", one_line(problem));
    }
    let mut all: Vec<&str> = report.models.iter().map(String::as_str).collect();
    // The one that is used unless another is named comes first.
    all.sort_by_key(|model| report.default_model.as_deref() != Some(*model));
    names(all.into_iter())
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(one_line).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn row(name: &str, value: &str) -> std::io::Result<()> {
    let dim = anstyle::Style::new().dimmed();
    output::line(format!("  {dim}{name:<11}{dim:#} {value}"))
}
