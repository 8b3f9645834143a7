//! The command line: clap's derive, one file a command.
//!
//! Every command but `up`, `verify FILE`, `key`, `store` and `agent` talks to treefort as a Nostr client ([`client`]), which
//! proves that any client can do what ours does. Data goes to stdout, progress and logs to stderr; a failure
//! is a [`error::CommandError`] with a documented exit code. What comes from an event reaches a terminal
//! through [`text`] only.

pub mod agent;
pub mod allow;
pub mod client;
pub mod compare;
pub mod demo;
pub mod doctor;
pub mod error;
pub mod export;
pub mod figures;
pub mod gather;
pub mod home;
pub mod import;
mod interrupt;
pub mod jobs;
pub mod key;
mod keyboard;
pub mod launch;
mod manual;
pub mod models;
pub mod output;
pub mod page;
pub mod purge;
pub mod render;
pub mod run;
mod sharing;
pub mod status;
pub mod store;
pub mod sync;
pub mod text;
pub mod timeline;
pub mod up;
pub mod verify;
pub mod view;
pub mod watch;
pub mod workspace;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::FromArgMatches as _;
use futures_util::{FutureExt as _, future::BoxFuture};

use self::{
    error::{CommandError, EXIT_CODES},
    home::Home,
};

/// Runs AI agents that can build anything and break nothing.
#[derive(Debug, clap::Parser)]
#[command(name = "treefort", version, after_help = EXIT_CODES)]
struct Cli {
    /// Where treefort keeps its keys and records.
    #[arg(long, global = true, value_name = "DIR", env = "TREEFORT_HOME")]
    home: Option<PathBuf>,
    /// Says more: logs, full texts, keys and ids.
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Manual(manual::Command),
    #[command(flatten)]
    Work(Box<Work>),
}

/// The commands that work on a home.
#[derive(Debug, clap::Subcommand)]
enum Work {
    Up(up::Args),
    Page(page::Args),
    Run(Box<run::Args>),
    Compare(compare::Args),
    Answer(workspace::answer::Args),
    Pause(workspace::steer::PauseArgs),
    Resume(workspace::steer::ResumeArgs),
    Steer(workspace::steer::SteerArgs),
    Status(status::Args),
    Jobs(jobs::Args),
    Watch(watch::Args),
    Timeline(timeline::Args),
    Checkpoints(workspace::checkpoints::Args),
    Diff(workspace::diff::Args),
    Files(workspace::files::Args),
    Undo(workspace::undo::Args),
    Apply(workspace::apply::Args),
    Discard(workspace::discard::Args),
    Open(workspace::open::Args),
    Preview(workspace::preview::Args),
    Clean(workspace::clean::Args),
    Agents(agent::ListArgs),
    Agent(agent::Args),
    Models(models::Args),
    Allow(allow::Args),
    Verify(verify::Args),
    Export(export::Args),
    Import(import::Args),
    Purge(purge::Args),
    Sync(sync::Args),
    Publish(sync::PublishArgs),
    Unpublish(sync::UnpublishArgs),
    Store(store::Args),
    Doctor(doctor::Args),
    Demo(demo::Args),
    Key(key::Args),
}

/// What every command knows.
#[derive(Debug)]
pub struct Context {
    /// The home.
    pub home: Home,
    /// Whether to say more.
    pub verbose: bool,
}

/// The commands that take a session as a word; `--session` before it says the same, as with the others.
const OF_A_SESSION: [&str; 9] = [
    "apply",
    "checkpoints",
    "discard",
    "export",
    "open",
    "preview",
    "timeline",
    "verify",
    "watch",
];

/// Takes `--session` out where the session is a word anyway.
fn with_session(mut args: Vec<OsString>) -> Vec<OsString> {
    let is = |arg: &OsString, names: &[&str]| names.iter().any(|name| arg == name);
    let Some(command) = args.iter().skip(1).position(|arg| is(arg, &OF_A_SESSION)) else {
        return args;
    };
    // A word of a prompt is no command.
    let before = &args[1..=command];
    let globals = ["--home", "-v", "--verbose"];
    let is_value = |at: usize| at > 0 && is(&before[at - 1], &["--home"]);
    let mut words = before.iter().enumerate();
    if words.any(|(at, arg)| !is(arg, &globals) && !is_value(at)) {
        return args;
    }
    for at in command + 2..args.len() {
        if args[at] == "--session" {
            args.remove(at);
            break;
        }
        let named = args[at]
            .to_str()
            .and_then(|arg| arg.strip_prefix("--session="));
        if let Some(named) = named {
            args[at] = named.into();
            break;
        }
    }
    args
}

/// Runs the program with its arguments, the name first.
#[must_use]
pub fn main(args: Vec<OsString>) -> ExitCode {
    let parsed = manual::command()
        .try_get_matches_from(with_session(args))
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error; nobody is left to tell when that is closed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let Cli {
        home,
        verbose,
        command: Some(command),
    } = cli
    else {
        // Nobody is left to tell when that is closed.
        let _ = manual::command().print_help();
        return ExitCode::SUCCESS;
    };
    let command = match command {
        Command::Work(command) => *command,
        Command::Manual(command) => {
            return manual::run(&command)
                .map_or_else(|error| error.report(), |()| ExitCode::SUCCESS);
        }
    };
    // What treefort writes is its owner's alone, also what libraries write for it.
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    init_logs(verbose);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CommandError::from)
        .and_then(|runtime| runtime.block_on(dispatch(home, verbose, command).boxed()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

async fn dispatch(home: Option<PathBuf>, verbose: bool, command: Work) -> Result<(), CommandError> {
    // What cannot be done leaves no empty home behind.
    let makes = match &command {
        Work::Import(_) | Work::Store(_) => false,
        Work::Export(args) => !args.is_of_a_home(),
        _ => true,
    };
    let found = match makes {
        true => Home::open(home.as_deref()),
        false => Home::at(home.as_deref()),
    };
    let home = match found {
        Ok(home) => home,
        Err(error) => {
            return match command {
                Work::Doctor(args) => doctor::without_home(args, error.into()).await,
                _ => Err(error.into()),
            };
        }
    };
    let context = Context { home, verbose };
    // Boxed: what runs a future is compiled for each kind of future.
    let work: BoxFuture<'_, _> = match command {
        Work::Up(args) => up::run(args, &context).boxed(),
        Work::Page(args) => page::run(args, &context).boxed(),
        Work::Run(args) => run::run(*args, &context).boxed(),
        Work::Compare(args) => compare::run(args, &context).boxed(),
        Work::Answer(args) => workspace::answer::run(args, &context).boxed(),
        Work::Pause(args) => workspace::steer::pause(args, &context).boxed(),
        Work::Resume(args) => workspace::steer::resume(args, &context).boxed(),
        Work::Steer(args) => workspace::steer::steer(args, &context).boxed(),
        Work::Status(args) => status::run(args, &context).boxed(),
        Work::Jobs(args) => jobs::run(args, &context).boxed(),
        Work::Watch(args) => watch::run(args, &context).boxed(),
        Work::Timeline(args) => timeline::run(args, &context).boxed(),
        Work::Checkpoints(args) => workspace::checkpoints::run(args, &context).boxed(),
        Work::Diff(args) => workspace::diff::run(args, &context).boxed(),
        Work::Files(args) => workspace::files::run(args, &context).boxed(),
        Work::Undo(args) => workspace::undo::run(args, &context).boxed(),
        Work::Apply(args) => workspace::apply::run(args, &context).boxed(),
        Work::Discard(args) => workspace::discard::run(args, &context).boxed(),
        Work::Open(args) => workspace::open::run(args, &context).boxed(),
        Work::Preview(args) => workspace::preview::run(args, &context).boxed(),
        Work::Clean(args) => workspace::clean::run(args, &context).boxed(),
        Work::Agents(args) => agent::list(args, &context).boxed(),
        Work::Agent(args) => agent::run(args, &context).boxed(),
        Work::Models(args) => models::run(args, &context).boxed(),
        Work::Allow(args) => allow::run(args, &context).boxed(),
        Work::Verify(args) => verify::run(args, &context).boxed(),
        Work::Export(args) => export::run(args, &context).boxed(),
        Work::Import(args) => import::run(args, &context).boxed(),
        Work::Purge(args) => purge::run(args, &context).boxed(),
        Work::Sync(args) => sync::run(args, &context).boxed(),
        Work::Publish(args) => sync::publish(args, &context).boxed(),
        Work::Unpublish(args) => sync::unpublish(args, &context).boxed(),
        Work::Store(args) => store::run(args, &context).boxed(),
        Work::Doctor(args) => doctor::run(args, &context).boxed(),
        Work::Demo(args) => demo::run(args, &context).boxed(),
        Work::Key(args) => key::run(args, &context).boxed(),
    };
    work.await
}

/// Logs go to stderr: errors, with `--verbose` what happens, and whatever `RUST_LOG` says.
fn init_logs(verbose: bool) {
    use std::io::IsTerminal as _;
    let default = if verbose {
        "treefort=info,warn"
    } else {
        "error"
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .init();
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn continue_takes_a_session_only_after_an_equals_sign() {
        let cli = Cli::try_parse_from(["treefort", "run", "--continue", "and then?"]).unwrap();
        insta::assert_snapshot!(format!("{:?}", cli.command.unwrap()), @r#"
        Work(Run(Args { prompt: ["and then?"], agent: None, agents: [], model: [], repeat: None, go_on: Some(""), workspace: None, ignored: false, attach: [], ask: false, network: Network { network: [] }, check: [], budget_tokens: None, budget_usd: None, timeout: None, json: false }))
        "#);
        let cli = Cli::try_parse_from([
            "treefort",
            "run",
            "--continue=f28773c2",
            "-",
            "--timeout",
            "5",
        ]);
        insta::assert_snapshot!(format!("{:?}", cli.unwrap().command.unwrap()), @r#"
        Work(Run(Args { prompt: ["-"], agent: None, agents: [], model: [], repeat: None, go_on: Some("f28773c2"), workspace: None, ignored: false, attach: [], ask: false, network: Network { network: [] }, check: [], budget_tokens: None, budget_usd: None, timeout: Some(5), json: false }))
        "#);
    }

    #[test]
    fn wrong_arguments_are_a_usage_error() {
        for args in [
            vec!["treefort", "run"],
            vec!["treefort", "allow"],
            vec!["treefort", "allow", "--list", "npub1x"],
            vec!["treefort", "run", "x", "--timeout", "0"],
            vec!["treefort", "nonsense"],
        ] {
            let error = Cli::try_parse_from(&args).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}");
        }
    }

    #[test]
    fn help_documents_the_exit_codes_and_no_protocol_words() {
        let help = Cli::command().render_long_help().to_string();
        for code in 0..=6 {
            assert!(help.contains(&format!("\n  {code}  ")), "{code}");
        }
        for word in ["Nostr", "NIP-", "relay"] {
            assert!(!help.contains(word), "{word}");
        }
    }

    #[test]
    fn a_session_is_named_as_a_word_or_as_an_option() {
        let read = |line: &str| {
            let args = line.split(' ').map(OsString::from).collect();
            let args = with_session(args).into_iter();
            args.map(|arg| arg.into_string().unwrap())
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (typed, meant) in [
            ("treefort timeline --session 3f2a", "treefort timeline 3f2a"),
            (
                "treefort --home h apply --yes --session=3f2a",
                "treefort --home h apply --yes 3f2a",
            ),
            (
                "treefort diff --session 3f2a",
                "treefort diff --session 3f2a",
            ),
            (
                "treefort run open --session x",
                "treefort run open --session x",
            ),
            ("treefort --home open run a", "treefort --home open run a"),
        ] {
            assert_eq!(read(typed), meant);
        }
    }
}
