//! `treefort agent`: the agents of this treefort, and making one's own.
//!
//! What an agent runs from is the sandboxes' affair alone, so these commands start no treefort.

mod build;
mod live;

use std::path::{Path, PathBuf};

use serde_json::json;

use self::build::State;
use super::{
    Context,
    error::{CommandError, Kind, Problem},
    output,
    text::{name, one_line},
};
use crate::{
    agent::{
        folder::{self, CreateError, Finding},
        manifest,
        registry::{self, Agent, Registry},
    },
    config::Config,
};

/// Lists the agents: those that come with treefort, and your own.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Builds, makes and checks agents; `treefort agents` lists them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The same as `treefort agents`.
    #[command(hide = true)]
    List(ListArgs),
    /// Builds an agent's image now, so that its first job does not wait for it.
    ///
    /// The first build of a coding agent fetches its program and takes a minute or two. A later one
    /// takes a second, unless something changed. Without Docker there is nothing to build: it says which
    /// program on this computer the agent is, or how to install it.
    Build {
        /// The agent.
        name: String,
        /// Says nothing but the image's name at the end.
        #[arg(long, short)]
        quiet: bool,
    },
    /// Writes a new agent that works as it is, for you to change.
    ///
    /// It consists of a folder with agent.toml, which explains itself, a Dockerfile and a script.
    New {
        /// Its name: a-z, 0-9 and -.
        #[arg(value_parser = agent_name)]
        name: String,
        /// Where the folder goes; treefort finds it in its home only, which is where it goes otherwise.
        dir: Option<PathBuf>,
    },
    /// Checks agents, and says everything that is wrong with them and how to put it right.
    ///
    /// With --live one agent is started in its sandbox and tried with a scripted model: whether it answers, asks its
    /// model within its context, uses tools, says what it does, asks before it acts, stops when it is told to, and
    /// remembers a conversation. Nothing of yours is touched.
    Check {
        /// An agent of yours, or a folder; all of yours when none is named. With --live also one that comes with
        /// treefort.
        #[arg(required_if_eq("live", "true"))]
        what: Option<String>,
        /// Starts it and tries what it can do.
        #[arg(long)]
        live: bool,
        /// With --live: one JSON object a line for each thing that was tried.
        #[arg(long, requires = "live")]
        json: bool,
    },
}

fn agent_name(text: &str) -> Result<String, String> {
    if !manifest::is_name(text) {
        return Err("an agent's name is 1 to 32 of a-z, 0-9 and -".to_owned());
    }
    if registry::is_built_in(text) {
        return Err("an agent of this name comes with treefort".to_owned());
    }
    Ok(text.to_owned())
}

/// Runs the command.
///
/// # Errors
/// When an agent is not right, or its image cannot be built.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    match args.command {
        Command::List(args) => list(args, context).await,
        Command::Build { name, quiet } => build::run(context, &name, quiet).await,
        Command::New { name, dir } => new(context, &name, dir.as_deref()),
        Command::Check {
            what: Some(what),
            live: true,
            json,
        } => live::run(context, &what, json).await,
        Command::Check { what, .. } => check(context, what.as_deref()),
    }
}

fn agents_dir(context: &Context) -> PathBuf {
    context.home.dir().join("agents")
}

/// The agents, on the base that the owner chose.
fn agents(context: &Context) -> Result<Registry, CommandError> {
    let config = Config::load(context.home.dir()).map_err(|error| {
        CommandError::new(Kind::Failed, error)
            .hint("every key is explained in relay-config/treefort.toml")
    })?;
    let (agents, problems) = Registry::load(Some(context.home.dir()));
    for problem in problems {
        output::progress(one_line(&format!("{problem}")));
    }
    Ok(agents.with_base(config.sandbox.base))
}

/// Runs `agents`.
///
/// # Errors
/// When an agent or the settings cannot be read.
pub async fn list(args: ListArgs, context: &Context) -> Result<(), CommandError> {
    let as_json = args.json;
    let agents = agents(context)?;
    let found = build::found(context, &agents).await;
    for (agent, found) in agents.iter().zip(found) {
        let manifest = &agent.manifest;
        let (state, missing) = match found {
            Some(Ok(state)) => (Some(state), None),
            Some(Err(missing)) => (None, Some(missing)),
            None => (None, None),
        };
        if as_json {
            let program = state.as_ref().and_then(|state| state.program.as_ref());
            output::json(&json!({
                "name": manifest.name, "title": manifest.title, "description": manifest.description,
                "version": manifest.version, "kinds": manifest.kinds, "workspace": manifest.workspace,
                "asks": manifest.asks(),
                "folder": agent.folder, "image_bytes": state.as_ref().and_then(|state| state.bytes),
                "program": program, "problem": missing.map(|missing| missing.problem),
            }))?;
            continue;
        }
        let own = if agent.folder.is_some() {
            "yours, "
        } else {
            ""
        };
        let title = one_line(&manifest.description);
        let version = one_line(&manifest.version);
        let about = match state {
            // Which one that is, treefort does not know.
            Some(State {
                words,
                program: Some(_),
                ..
            }) => format!("{own}{words}"),
            Some(State { words, .. }) => format!("{own}{version}, {words}"),
            None => format!("{own}{version}"),
        };
        output::row(&format!("{:<12} ", manifest.name), title.trim())?;
        let dim = anstyle::Style::new().dimmed();
        output::line(format!("{:13}{dim}{}{dim:#}", "", about.trim_end()))?;
        if let Some(missing) = missing {
            output::row(&format!("{:13}✗ ", ""), &one_line(&missing.problem))?;
            output::row(&format!("{:13}→ ", ""), &one_line(&missing.fix))?;
        }
    }
    Ok(())
}

fn new(context: &Context, name: &str, dir: Option<&Path>) -> Result<(), CommandError> {
    let home = agents_dir(context);
    let parent = dir.unwrap_or(&home);
    let folder = folder::create(parent, name).map_err(|error| match error {
        CreateError::Exists { .. } => {
            CommandError::new(Kind::Usage, error).hint("choose another name, or remove the folder")
        }
        other @ CreateError::Write { .. } => CommandError::new(Kind::Failed, other),
    })?;
    output::line(folder.display().to_string())?;
    let path = folder.display();
    let next = match dir {
        None => format!(
            "It works as it is: treefort run --agent {name} \"…\"\n\
             Change agent.toml and agent.sh there, then: treefort agent check {name}"
        ),
        Some(_) => {
            format!("Change agent.toml and agent.sh there, then: treefort agent check '{path}'")
        }
    };
    output::progress(next);
    Ok(())
}

fn check(context: &Context, what: Option<&str>) -> Result<(), CommandError> {
    let folders = match what {
        Some(what) => vec![folder_of(context, what)?],
        None => own_folders(&agents_dir(context))?,
    };
    if folders.is_empty() {
        output::progress("you have no agents of your own; `treefort agent new NAME` makes one");
        return Ok(());
    }
    let mut wrong = 0;
    for folder in &folders {
        let findings = folder::check(folder, context.home.dir());
        wrong += findings.len();
        if findings.is_empty() {
            output::line(format!("✓ {}", one_line(&folder.display().to_string())))?;
            for (path, inside) in folder::reads(folder) {
                let (path, inside) = (name(&path), name(&inside));
                output::line(format!("  without Docker it reads {path} as {inside}"))?;
            }
        }
        for finding in &findings {
            show(finding)?;
        }
    }
    match wrong {
        0 => Ok(()),
        1 => Err(not_right("one thing is not right".to_owned())),
        n => Err(not_right(format!("{n} things are not right"))),
    }
}

fn not_right(sentence: String) -> CommandError {
    CommandError::new(Kind::Usage, Problem::NotVerified(sentence))
}

/// In the form that editors make links of: path, line, sentence.
fn show(finding: &Finding) -> std::io::Result<()> {
    let Finding { path, problem } = finding;
    let place = one_line(&format!("{}:{}", path.display(), problem.line));
    let said = one_line(&format!("{} {}", problem.field, problem.message));
    output::line(format!("✗ {place}: {said}"))?;
    if !problem.fix.is_empty() {
        output::line(format!("  → {}", one_line(&problem.fix)))?;
    }
    Ok(())
}

/// The folder that a person means: a path, or an agent's name.
fn folder_of(context: &Context, what: &str) -> Result<PathBuf, CommandError> {
    let own = agents_dir(context).join(what);
    if manifest::is_name(what) && own.is_dir() {
        return Ok(own);
    }
    let path = PathBuf::from(what);
    if path.is_dir() {
        return Ok(path);
    }
    if registry::is_built_in(what) {
        let sentence = format!("{what} comes with treefort, and is right");
        return Err(CommandError::new(
            Kind::Usage,
            Problem::NotVerified(sentence),
        ));
    }
    Err(unknown(context, what))
}

fn own_folders(dir: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>()?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut folders: Vec<_> = entries
        .iter()
        .map(std::fs::DirEntry::path)
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    Ok(folders)
}

fn unknown(context: &Context, name: &str) -> CommandError {
    let (agents, _) = Registry::load(Some(context.home.dir()));
    let names: Vec<_> = agents
        .iter()
        .map(|agent: &Agent| agent.manifest.name.as_str())
        .collect();
    CommandError::new(Kind::Usage, Problem::Unknown(one_line(name)))
        .hint(format!("there are: {}", names.join(", ")))
}
