//! `treefort doctor`: is everything there that a job needs?

mod left;

use serde_json::json;

use super::{
    Context, allow,
    client::{self, Client},
    demo::Temporary,
    error::{CommandError, Kind, Problem},
    home::Home,
    launch::{self, Connection, Own},
    output, sharing, status,
    text::one_line,
    view,
};
use crate::{
    config::Config,
    nips::{kind, nip89::StatusReport},
    server::Role,
};

/// The heading of what a sandbox does and does not do.
const HOLDS: &str = "What holds an agent, and what does not";

/// Below so many MiB, no disk is any good, whatever the configuration says.
const LEAST_FREE_MB: u64 = 32;

/// Checks everything that a job needs, and says how to repair what is not right.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
struct Check {
    what: &'static str,
    found: Found,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It is right.
    Fine(String),
    /// It works, and the person may want to know.
    Note(String),
    /// It is not right, with the class of the exit code and what to do.
    Wrong(Kind, String, String),
}

/// Runs the command.
///
/// # Errors
/// The first thing that is not right, with its class.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let imports = left::Imports::of(context.home.dir());
    let mut checks = vec![home_check(&context.home)];
    checks.extend(imports.checks());
    checks.extend(left::exports(context.home.dir()));
    checks.extend(disk_check(&context.home));
    if imports.is_awaited() {
        // A treefort that starts here would make keys, and the home could not be made out of a backup any more.
        checks.extend(elsewhere(Config::default()).await);
        return finish(checks, args.json, context.verbose);
    }
    checks.push(running_check(&context.home).await);
    let reached = launch::with(context, async |connection| {
        let report = status::report(connection).await?;
        let open = is_open(connection).await;
        let allowed = allow::count(connection).await?;
        Ok((report, open, allowed, connection.running))
    })
    .await;
    match reached {
        Ok((report, open, allowed, running)) => {
            let report = report.unwrap_or_default();
            checks.push(sandbox_check(&report));
            checks.push(model_check(&report));
            checks.push(open_check(open));
            checks.push(admission_check(&report, allowed));
            checks.extend(sharing_check(&context.home, running));
            checks.extend(protection_checks(&report));
        }
        Err(error) => {
            let config = Config::load(context.home.dir()).unwrap_or_default();
            checks.push(broken(&error));
            checks.extend(elsewhere(config).await);
        }
    }
    finish(checks, args.json, context.verbose)
}

/// Runs the command where there is no home to look at: the rest is looked at anyway.
///
/// # Errors
/// That there is no home.
pub async fn without_home(args: Args, error: CommandError) -> Result<(), CommandError> {
    let mut checks = vec![Check {
        what: "home",
        ..broken(&error)
    }];
    checks.extend(elsewhere(Config::default()).await);
    finish(checks, args.json, false)
}

fn broken(error: &CommandError) -> Check {
    Check {
        what: "treefort",
        found: Found::Wrong(error.kind(), error.message(), error.first_hint()),
    }
}

/// Looks at sandbox and model server from a home that is made for it, when the person's own cannot be used.
async fn elsewhere(config: Config) -> Vec<Check> {
    match look_elsewhere(config).await {
        Ok(report) => [sandbox_check(&report), model_check(&report)]
            .into_iter()
            .chain(protection_checks(&report))
            .collect(),
        Err(error) => {
            tracing::debug!(error = %error.message(), "nothing can be looked at");
            Vec::new()
        }
    }
}

async fn look_elsewhere(mut config: Config) -> Result<StatusReport, CommandError> {
    let temporary = Temporary::new()?;
    let home = Home::open(Some(&temporary.path))?;
    launch::fleeting(&mut config);
    let own = Own::start(&home, config, Role::Reading).await?;
    let report = launch::with_own(&home, own, status::report).await?;
    Ok(report.unwrap_or_default())
}

fn finish(checks: Vec<Check>, as_json: bool, verbose: bool) -> Result<(), CommandError> {
    let mut group = "";
    for check in &checks {
        if as_json {
            show_json(check)?;
            continue;
        }
        if check.group() != group {
            if !group.is_empty() {
                output::line("")?;
            }
            group = check.group();
            let bold = anstyle::Style::new().bold();
            output::line(format!("{bold}{group}{bold:#}"))?;
        }
        show(check, verbose)?;
    }
    let more = checks.iter().any(|check| check.group() == HOLDS);
    let first = checks.into_iter().find_map(|check| match check.found {
        Found::Wrong(kind, problem, fix) => Some((kind, problem, fix)),
        Found::Fine(_) | Found::Note(_) => None,
    });
    if !as_json {
        if more && !verbose {
            output::line("  more about this: treefort doctor --verbose")?;
        }
        output::line("")?;
    }
    match first {
        None if as_json => Ok(()),
        None => Ok(output::line("Ready.")?),
        Some((kind, problem, fix)) => {
            if !as_json && !fix.is_empty() {
                output::row("Not ready. Do this first: ", &fix)?;
            }
            let first_line = problem.lines().next().unwrap_or_default().to_owned();
            Err(CommandError::new(kind, Problem::NotReady(first_line)))
        }
    }
}

impl Check {
    /// The heading that it stands under.
    fn group(&self) -> &'static str {
        match self.what {
            "reading" | "jobs" | "sharing" => "Who may read and ask",
            "protected" | "careful" => HOLDS,
            _ => "What a job needs",
        }
    }
}

/// What stands before the first full stop or colon: the long form is for who asks for it.
fn brief(sentence: &str) -> &str {
    let end = [": ", ". "].iter().filter_map(|mark| sentence.find(mark));
    end.min().map_or(sentence, |end| &sentence[..end])
}

fn show_json(check: &Check) -> std::io::Result<()> {
    let Check { what, found } = check;
    let (state, detail, fix) = match found {
        Found::Fine(detail) => ("ok", detail, None),
        Found::Note(detail) => ("note", detail, None),
        Found::Wrong(_, detail, fix) => ("problem", detail, Some(fix)),
    };
    output::json(&json!({"check": what, "state": state, "detail": detail, "fix": fix}))
}

fn show(check: &Check, verbose: bool) -> std::io::Result<()> {
    let Check { what, found } = check;
    let short = check.group() == HOLDS && !verbose;
    let shown = |detail: &str| {
        let detail = if short { brief(detail) } else { detail };
        detail.trim_end_matches('.').to_owned()
    };
    match found {
        Found::Fine(detail) => row("✓", anstyle::AnsiColor::Green, what, &shown(detail)),
        Found::Note(detail) => row("!", anstyle::AnsiColor::Yellow, what, &shown(detail)),
        Found::Wrong(_, problem, fix) => {
            row("✗", anstyle::AnsiColor::Red, what, problem)?;
            if !fix.is_empty() {
                // Unbroken, because it may be a command that is copied.
                output::line(format!("  {:<10} {fix}", "→"))?;
            }
            Ok(())
        }
    }
}

/// One row; what is longer than a line of the terminal goes on below itself.
fn row(mark: &str, colour: anstyle::AnsiColor, what: &str, text: &str) -> std::io::Result<()> {
    let style = colour.on_default();
    let mut lines = text.lines();
    let head = format!("{style}{mark}{style:#} {what:<10} ");
    output::row(&head, lines.next().unwrap_or_default())?;
    for line in lines {
        output::row(&format!("{:13}", ""), line)?;
    }
    Ok(())
}

fn home_check(home: &Home) -> Check {
    let dir = home.dir().display();
    let found = match home.open_to_others() {
        Ok(None) => Found::Fine(format!("{dir}, yours alone")),
        Ok(Some(mode)) => Found::Wrong(
            Kind::Failed,
            format!("{dir} is open to other users (mode {mode:o})"),
            format!("chmod 700 '{dir}'"),
        ),
        Err(error) => {
            let fix = error.hint().unwrap_or_default();
            Found::Wrong(Kind::Failed, error.to_string(), fix)
        }
    };
    Check {
        what: "home",
        found,
    }
}

/// Whether there is room where the home is; nothing where that cannot be asked.
#[cfg(unix)]
fn disk_check(home: &Home) -> Option<Check> {
    let disk = rustix::fs::statvfs(home.dir()).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
    let config = Config::load(home.dir()).unwrap_or_default();
    let needed = config.relay.min_free_mb.max(LEAST_FREE_MB);
    let found = if free < needed {
        Found::Wrong(
            Kind::Failed,
            format!("only {free} MiB are free; treefort keeps nothing new below {needed} MiB"),
            "make room: treefort clean, docker image prune, or whatever else takes it".to_owned(),
        )
    } else {
        Found::Fine(format!("{:.1} GiB are free", free as f64 / 1024.0))
    };
    Some(Check {
        what: "disk",
        found,
    })
}

#[cfg(not(unix))]
fn disk_check(_home: &Home) -> Option<Check> {
    None
}

/// Whether a treefort runs, and whether what listens is that one.
async fn running_check(home: &Home) -> Check {
    let found = match home.running() {
        Ok(None) => Found::Fine("not running; commands start it when they need it".to_owned()),
        Ok(Some(running)) => match client::prove(&running).await {
            Ok(_) if running.localhost_is_taken => {
                Found::Note(format!("running; {}", launch::taken(running.address)))
            }
            Ok(relay) => Found::Fine(format!("running at {}", relay.web())),
            Err(client::Error::Imposter { address }) => Found::Wrong(
                Kind::Unreachable,
                format!("another program listens at {address}"),
                "stop it, or: treefort up --listen 127.0.0.1:0".to_owned(),
            ),
            Err(_) => Found::Note("not running; the last one did not stop by itself".to_owned()),
        },
        Err(error) => {
            let fix = error.hint().unwrap_or_default();
            Found::Wrong(Kind::Failed, error.to_string(), fix)
        }
    };
    Check {
        what: "treefort",
        found,
    }
}

fn sandbox_check(report: &StatusReport) -> Check {
    let detail = match report.runtime.detail.as_str() {
        "" => "nothing is known about it yet".to_owned(),
        detail => one_line(detail),
    };
    let found = if report.runtime.ok {
        Found::Fine(detail)
    } else {
        let fix = report
            .runtime
            .fix
            .clone()
            .unwrap_or_else(|| super::demo::FIX.to_owned());
        Found::Wrong(Kind::NoSandbox, detail, fix)
    };
    Check {
        what: "sandbox",
        found,
    }
}

/// What the sandbox protects and what it does not: one row each for a person's eyes.
fn protection_checks(report: &StatusReport) -> Vec<Check> {
    let sentences = |sentences: &[String], found: fn(String) -> Found, what| {
        let row = move |sentence: &String| Check {
            what,
            found: found(one_line(sentence)),
        };
        sentences.iter().map(row).collect::<Vec<_>>()
    };
    let mut checks = sentences(&report.runtime.protects, Found::Fine, "protected");
    let exposed = sentences(&report.runtime.exposes, Found::Note, "careful");
    checks.extend(exposed);
    checks
}

fn model_check(report: &StatusReport) -> Check {
    let line = status::models_line(report);
    let found = if report.models.is_empty() {
        let fix = "install Ollama (https://ollama.com), then: ollama pull qwen2.5-coder:7b";
        let line = line.strip_prefix("none: ").unwrap_or(&line);
        let (problem, fix) = line.split_once(". ").unwrap_or((line, fix));
        Found::Wrong(Kind::NoModel, problem.to_owned(), fix.to_owned())
    } else {
        Found::Fine(line)
    };
    Check {
        what: "models",
        found,
    }
}

/// Whether a program without the owner's key can read the record.
async fn is_open(connection: &Connection) -> bool {
    let relay = connection.client.relay().clone();
    let Ok(mut stranger) = Client::connect(relay, None).await else {
        return false;
    };
    let read = stranger.newest(view::of_kind(kind::APP_DATA), 1).await;
    stranger.close().await;
    read.is_ok()
}

fn open_check(open: bool) -> Check {
    let found = if open {
        Found::Note(
            "every program of this computer can read what agents did; to close that: read = \"auth\" in treefort.toml"
                .to_owned(),
        )
    } else {
        Found::Fine("only you and whom you allow can read the record".to_owned())
    };
    Check {
        what: "reading",
        found,
    }
}

fn admission_check(report: &StatusReport, allowed: usize) -> Check {
    let found = match (report.admit.as_str(), allowed) {
        ("anyone", _) => Found::Note("jobs from anyone run, within limits".to_owned()),
        (_, 0) => Found::Fine("your own jobs run, nobody else's".to_owned()),
        (_, n) => Found::Fine(format!("your jobs run, and those of {n} whom you allowed")),
    };
    Check {
        what: "jobs",
        found,
    }
}

/// Whether others get anything; nothing when nobody does.
fn sharing_check(home: &Home, running: bool) -> Option<Check> {
    sharing::now(home, running).map(|said| Check {
        what: "sharing",
        found: Found::Note(said),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nips::nip89::RuntimeReport;

    #[test]
    fn each_missing_part_has_its_exit_code_and_a_fix() {
        let report = StatusReport {
            runtime: RuntimeReport {
                kind: "docker".into(),
                ok: false,
                detail: "Docker does not run\u{1b}[2J".into(),
                ..RuntimeReport::default()
            },
            ..StatusReport::default()
        };
        for (check, kind) in [
            (sandbox_check(&report), Kind::NoSandbox),
            (model_check(&report), Kind::NoModel),
        ] {
            let Found::Wrong(found, problem, fix) = check.found else {
                panic!("{} should be wrong", check.what);
            };
            assert_eq!(found, kind);
            assert!(!problem.contains('\u{1b}') && !fix.is_empty());
        }
    }

    #[test]
    fn an_open_home_is_a_problem() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(Some(&temp.path().join("home"))).unwrap();
        assert!(matches!(home_check(&home).found, Found::Fine(_)));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(home.dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
            assert!(matches!(home_check(&home).found, Found::Wrong(..)));
        }
    }
}
