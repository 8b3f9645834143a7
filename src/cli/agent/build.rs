//! `treefort agent build`: the image now instead of at the first job. Without Docker there is none to build: then
//! it says what the agent runs from instead.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::super::{
    Context,
    error::{CommandError, Kind},
    output,
    text::{one_line, truncate},
};
use crate::{
    agent::{
        image::{self, Asked},
        registry::Registry,
    },
    config::Config,
    keys::Keyring,
    sandbox::{self, ChosenRuntime, Found, Image, Runtime as _},
};

/// Lines of a build that wait to be shown.
const LINES: usize = 256;
/// How often the seconds on the screen go on.
const TICK: Duration = Duration::from_millis(500);

/// Runs the command.
///
/// # Errors
/// When there is no such agent, no engine, or the build fails.
pub(super) async fn run(context: &Context, name: &str, quiet: bool) -> Result<(), CommandError> {
    Ok(output::line(made(context, name, quiet).await?)?)
}

/// Makes it, and says what there is now.
///
/// # Errors
/// As [`run`].
pub(super) async fn made(
    context: &Context,
    name: &str,
    quiet: bool,
) -> Result<String, CommandError> {
    let agents = super::agents(context)?;
    let Some(agent) = agents.get(name) else {
        return Err(super::unknown(context, name));
    };
    let described = image::of(agent, agents.base(), Asked::ByName)
        .map_err(|error| CommandError::new(Kind::Failed, error))?;
    let runtime = runtime(context)?;
    let there = match runtime.find(&described).await.map_err(failed)? {
        Found::Host { program } => {
            let tag = runtime.prepare(&described, None).await.map_err(failed)?;
            let said = if quiet {
                tag.to_string()
            } else {
                let from = from_here(&described, program.as_deref());
                format!("nothing to build: without Docker {name} is {from}")
            };
            return Ok(said);
        }
        Found::Image { .. } => true,
        Found::NotBuilt => false,
    };
    let began = Instant::now();
    let (lines, shown) = mpsc::channel(LINES);
    let mut screen = Screen::new(quiet || there, context.verbose);
    let built = {
        let mut prepare = runtime.prepare(&described, Some(lines));
        let mut shown = Some(shown);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                line = next(&mut shown) => match line {
                    Some(line) => screen.line(&line),
                    None => shown = None,
                },
                built = &mut prepare => break built,
                _ = tick.tick() => screen.tick(),
            }
        }
    };
    screen.clear();
    let tag = built.map_err(|error| {
        if let sandbox::Error::ImageBuild { last, .. } = &error
            && !screen.shows_all()
        {
            output::progress("the last lines of the build:");
            for line in last {
                output::progress(format!("  {}", one_line(line)));
            }
        }
        failed(error)
    })?;
    let size = match runtime.find(&described).await.map_err(failed)? {
        Found::Image { bytes, .. } => megabytes(bytes),
        Found::NotBuilt | Found::Host { .. } => megabytes(0),
    };
    let tag = tag.to_string();
    Ok(if quiet {
        tag
    } else if there {
        format!("{tag} is there already ({size})")
    } else {
        let seconds = began.elapsed().as_secs_f64();
        format!("{tag} built in {seconds:.1} s ({size})")
    })
}

async fn next(lines: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

/// What each agent runs from, in order: `None` where nobody could look, and the sentences where it is not here.
pub(super) async fn found(
    context: &Context,
    agents: &Registry,
) -> Vec<Option<Result<State, Missing>>> {
    let mut all = Vec::new();
    let mut runtime = runtime(context).ok();
    for agent in agents.iter() {
        let described = image::of(agent, agents.base(), Asked::ByName);
        let (Some(backend), Ok(described)) = (&runtime, described) else {
            all.push(None);
            continue;
        };
        all.push(match backend.find(&described).await {
            Ok(found) => Some(Ok(State::of(found, &described))),
            Err(error) if is_missing(&error) => Some(Err(Missing {
                problem: error.to_string(),
                fix: error.hint(),
            })),
            Err(error) => {
                tracing::info!(%error, "what agents run from cannot be looked at");
                // An engine that is not there is not asked for each agent.
                if error.is_unavailable() {
                    runtime = None;
                }
                None
            }
        });
    }
    all
}

/// What an agent runs from.
pub(super) struct State {
    /// In a word or two.
    pub(super) words: String,
    /// The size of its image.
    pub(super) bytes: Option<u64>,
    /// Its program on this computer.
    pub(super) program: Option<PathBuf>,
}

/// Why it cannot run, and what to do.
pub(super) struct Missing {
    pub(super) problem: String,
    pub(super) fix: String,
}

impl State {
    fn of(found: Found, image: &Image) -> Self {
        let (words, bytes, program) = match found {
            Found::Image { bytes, .. } => {
                (format!("built, {}", megabytes(bytes)), Some(bytes), None)
            }
            Found::NotBuilt => ("not built yet".to_owned(), None, None),
            Found::Host { program } => (from_here(image, program.as_deref()), None, program),
        };
        Self {
            words,
            bytes,
            program,
        }
    }
}

/// What an agent without an image is, as one would say it.
fn from_here(image: &Image, program: Option<&Path>) -> String {
    let host = image.host.as_ref();
    match program {
        Some(path) => one_line(&path.display().to_string()),
        None if host.is_some_and(|host| host.system) => "the programs of this computer".to_owned(),
        None if host.is_some_and(|host| !host.reads.is_empty()) => "its own files".to_owned(),
        None => "a part of treefort".to_owned(),
    }
}

fn runtime(context: &Context) -> Result<ChosenRuntime, CommandError> {
    let keyring = Keyring::open(context.home.dir())?;
    let home_id = &keyring.relay().public_key().to_hex()[..16];
    let config =
        Config::load(context.home.dir()).map_err(|error| CommandError::new(Kind::Failed, error))?;
    Ok(ChosenRuntime::new(
        home_id,
        context.home.dir(),
        &config.sandbox,
    ))
}

/// Whether it is this agent that cannot run here, though others can.
fn is_missing(error: &sandbox::Error) -> bool {
    matches!(
        error,
        sandbox::Error::NoProgram { .. } | sandbox::Error::NeedsEngine { .. }
    )
}

fn failed(error: sandbox::Error) -> CommandError {
    let kind = if is_missing(&error) || error.is_unavailable() {
        Kind::NoSandbox
    } else {
        Kind::Failed
    };
    let hint = match &error {
        // It was just this command.
        sandbox::Error::ImageBuild { .. } => {
            "A build that fetches something needs the network; `[sandbox] base` in treefort.toml names another image to start from.".to_owned()
        }
        other => other.hint(),
    };
    let error = CommandError::new(kind, error);
    if hint.is_empty() {
        error
    } else {
        error.hint(hint)
    }
}

/// Bytes as people say them.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

/// The build as a person sees it: one line that changes on a terminal, the steps elsewhere.
struct Screen {
    silent: bool,
    verbose: bool,
    terminal: bool,
    began: Instant,
    now: String,
}

impl Screen {
    fn new(silent: bool, verbose: bool) -> Self {
        Self {
            silent,
            verbose,
            terminal: std::io::stderr().is_terminal(),
            began: Instant::now(),
            now: String::new(),
        }
    }

    fn shows_all(&self) -> bool {
        self.verbose && !self.silent
    }

    fn line(&mut self, line: &str) {
        let line = one_line(line);
        if self.silent || (!self.verbose && is_noise(&line)) {
            return;
        }
        if self.verbose || !self.terminal {
            self.clear();
            output::progress(&line);
        }
        self.now = line;
        self.tick();
    }

    fn tick(&self) {
        if self.silent || !self.terminal || self.now.is_empty() {
            return;
        }
        let seconds = self.began.elapsed().as_secs();
        let line = format!("{seconds:>4} s  {}", self.now);
        let line = truncate(&line, output::terminal_columns().saturating_sub(1));
        let mut stderr = std::io::stderr().lock();
        // Nobody may be looking any more.
        let _ = write!(stderr, "\r\u{1b}[K{line}").and_then(|()| stderr.flush());
    }

    fn clear(&self) {
        if !self.silent && self.terminal {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r\u{1b}[K").and_then(|()| stderr.flush());
        }
    }
}

/// The engine's talk about its own means.
fn is_noise(line: &str) -> bool {
    line.starts_with("--->") || line.starts_with("Removing intermediate container")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_shown_and_the_engines_own_affairs_are_not() {
        assert!(is_noise("---> Running in 0123"));
        assert!(!is_noise("Step 1/3 : FROM ${BASE}"));
        assert_eq!(megabytes(691_000_001), "692 MB");
    }
}
