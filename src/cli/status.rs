//! `treefort status`, `agents` and `models`: what this treefort can do right now.

use std::time::Duration;

use nostr::Filter;
use serde_json::json;

use super::{
    Context,
    error::CommandError,
    launch::{self, Connection},
    output, sharing,
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
                "running": connection.running,
                "version": version(&report),
                "relay": connection.running.then(|| relay.url()),
                "web": connection.running.then(|| relay.web()),
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
        let web = connection.running.then(|| relay.web());
        output::row("", &headline(&report, web.as_deref()))?;
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
        if let Some(sharing) = sharing::now(&context.home, connection.running) {
            row("shares", &sharing)?;
        }
        row(
            "record",
            &format!("{events} entries in {}", context.home.dir().display()),
        )?;
        if context.verbose {
            if connection.running {
                row("relay", &relay.url())?;
            }
            row("relay key", &relay.key.to_hex())?;
            row("operator", &keyring.operator().public_key().to_hex())?;
            row("coordinator", &keyring.coordinator().public_key().to_hex())?;
        }
        Ok(())
    })
    .await
}

/// Whether treefort runs and where, and what it lacks to do a job.
fn headline(report: &StatusReport, address: Option<&str>) -> String {
    let missing = match (report.runtime.ok, report.default_model.is_some()) {
        (true, true) => None,
        (false, true) => Some("no sandbox"),
        (true, false) => Some("no model"),
        (false, false) => Some("no sandbox, no model"),
    };
    let version = version(report);
    let repair = "`treefort doctor` says what to do";
    match (address, missing) {
        (Some(address), None) => format!("treefort {version} is running at {address}, ready"),
        (Some(address), Some(missing)) => {
            format!(
                "treefort {version} is running at {address}, but not ready: {missing}; {repair}"
            )
        }
        (None, None) => format!(
            "treefort {version} is not running; commands start it for as long as they take, \
             `treefort up` lets it stay"
        ),
        (None, Some(missing)) => {
            format!("treefort {version} is not running, and not ready: {missing}; {repair}")
        }
    }
}

/// The version of the treefort that answered; our own when it did not say.
fn version(report: &StatusReport) -> String {
    match report.version.as_str() {
        "" => env!("CARGO_PKG_VERSION").to_owned(),
        version => one_line(version),
    }
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
    output::row(&format!("  {dim}{name:<11}{dim:#} "), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_whether_it_runs_and_what_it_lacks() {
        let lacking = StatusReport {
            version: "1.2.3".into(),
            ..StatusReport::default()
        };
        let mut ready = lacking.clone();
        ready.runtime.ok = true;
        ready.default_model = Some("m".into());
        let lines = [
            headline(&ready, Some("http://127.0.0.1:1")),
            headline(&lacking, Some("http://127.0.0.1:1")),
            headline(&ready, None),
            headline(&lacking, None),
        ];
        insta::assert_snapshot!(lines.join("\n"), @"
        treefort 1.2.3 is running at http://127.0.0.1:1, ready
        treefort 1.2.3 is running at http://127.0.0.1:1, but not ready: no sandbox, no model; `treefort doctor` says what to do
        treefort 1.2.3 is not running; commands start it for as long as they take, `treefort up` lets it stay
        treefort 1.2.3 is not running, and not ready: no sandbox, no model; `treefort doctor` says what to do
        ");
    }
}
