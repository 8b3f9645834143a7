//! `treefort up`: relay, coordinator and model gateway in one process, until it is stopped.

use std::{net::SocketAddr, time::Duration};

use super::{
    Context,
    error::CommandError,
    interrupt,
    launch::{self, Own},
    output, sharing, status,
    text::one_line,
};
use crate::{config::Config, keys::Admit, nips::nip89::StatusReport, server::Role};

/// How long the ready line waits for models and sandbox to be looked at.
const LOOK: Duration = Duration::from_millis(1500);

/// Runs treefort until Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:4869].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Whose jobs run: yours and those of whom you allow, or anyone's within limits [default: owner].
    #[arg(long, value_name = "WHO")]
    admit: Option<Who>,
}

/// `--admit`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Who {
    /// You, and whom you allow.
    Owner,
    /// Anyone, within limits.
    Anyone,
}

/// Runs the command.
///
/// # Errors
/// When the home or the port is in use, or treefort fails.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let mut config = Config::load(context.home.dir())?;
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    match args.admit {
        Some(Who::Owner) => config.jobs.admit = Admit::Owner,
        Some(Who::Anyone) => config.jobs.admit = Admit::Anyone,
        None => {}
    }
    let shares = sharing::line(&config.sync);
    let stopped = interrupt::stopped()?;
    tokio::pin!(stopped);
    let mut own = Own::start(&context.home, config, Role::Working)
        .await
        .map_err(|error| launch::not_started(&context.home, error))?;
    // The link is a secret until it is used: it goes to a person and into no log.
    let page = own.page();
    let link = match output::is_terminal() && page.is_served() {
        true => Some(page.fresh()?),
        false => None,
    };
    let address = format!("http://{}", own.address());
    let place = link.as_ref().unwrap_or(&address);
    tokio::select! {
        report = look(context) => {
            for line in ready_lines(place, &report, shares.as_deref()) {
                output::line(line)?;
            }
            if link.is_some() {
                output::progress("that link opens the page once; `treefort page` opens it again");
            }
            if let Some(taken) = own.taken() {
                output::sentence(&taken);
            }
        }
        failed = own.failed() => return failed,
        () = &mut stopped => return stop(own).await,
    }
    tokio::select! {
        failed = own.failed() => failed,
        () = stopped => stop(own).await,
    }
}

async fn stop(own: Own) -> Result<(), CommandError> {
    own.stop_now().await?;
    output::progress("treefort stopped");
    Ok(())
}

/// What the ready line says is what `treefort status` says.
async fn look(context: &Context) -> StatusReport {
    let looking = async {
        let relay = launch::running(&context.home).await.ok()??;
        let connected = launch::connection(&context.home, relay, true).await;
        let mut connection = connected.ok()?;
        let report = status::report(&mut connection).await.ok()?;
        connection.client.close().await;
        report
    };
    let report = tokio::time::timeout(LOOK, looking).await;
    report.ok().flatten().unwrap_or_default()
}

/// Where it is, on a line of its own so that the link can be clicked; then what there is, and what is missing.
fn ready_lines(place: &str, report: &StatusReport, shares: Option<&str>) -> Vec<String> {
    let agents: Vec<String> = report
        .agents
        .iter()
        .map(|agent| one_line(&agent.name))
        .collect();
    let mut parts = Vec::new();
    if !agents.is_empty() {
        parts.push(format!("agents: {}", agents.join(", ")));
    }
    parts.push(match &report.default_model {
        Some(model) => format!("model: {}", one_line(model)),
        None => "no model".to_owned(),
    });
    parts.push(if report.runtime.ok {
        format!("sandbox: {}", one_line(&report.runtime.kind))
    } else {
        "no sandbox".to_owned()
    });
    let missing = match (report.runtime.ok, &report.default_model) {
        (true, Some(_)) => None,
        (true, None) => Some(match &report.model_problem {
            Some(problem) => format!("There is no model yet: {}", one_line(problem)),
            None => "There is no model yet: `treefort doctor` says what to do.".to_owned(),
        }),
        (false, _) => {
            Some("Agents cannot run yet: `treefort doctor` says what is missing.".to_owned())
        }
    };
    let first = match missing {
        None => format!("treefort is ready at {place}"),
        Some(_) => format!("treefort is running at {place}"),
    };
    let mut lines = vec![first];
    lines.extend(output::hanging("  ", &parts.join("; "), output::columns()));
    let more = [shares.map(str::to_owned), missing];
    for line in more.into_iter().flatten() {
        lines.extend(output::hanging("", &line, output::columns()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nips::nip89::{AgentReport, RuntimeReport};

    #[test]
    fn the_ready_line_says_what_is_there_and_what_is_not() {
        let link = "http://127.0.0.1:4869/#t=0123";
        let address = "http://127.0.0.1:4869";
        let full = StatusReport {
            runtime: RuntimeReport {
                kind: "docker".into(),
                ok: true,
                ..RuntimeReport::default()
            },
            default_model: Some("qwen2.5-coder:7b".into()),
            agents: vec![AgentReport {
                name: "chat".into(),
                ..AgentReport::default()
            }],
            ..StatusReport::default()
        };
        let no_model = StatusReport {
            default_model: None,
            model_problem: Some("no model server answers at http://x. Start it".into()),
            ..full.clone()
        };
        let lines = [
            ready_lines(link, &full, None).join("\n"),
            ready_lines(address, &StatusReport::default(), Some("Sharing is on.")).join("\n"),
            ready_lines(address, &no_model, None).join("\n"),
        ];
        insta::assert_snapshot!(lines.join("\n"), @"
        treefort is ready at http://127.0.0.1:4869/#t=0123
          agents: chat; model: qwen2.5-coder:7b; sandbox: docker
        treefort is running at http://127.0.0.1:4869
          no model; no sandbox
        Sharing is on.
        Agents cannot run yet: `treefort doctor` says what is missing.
        treefort is running at http://127.0.0.1:4869
          agents: chat; no model; sandbox: docker
        There is no model yet: no model server answers at http://x. Start it
        ");
    }
}
