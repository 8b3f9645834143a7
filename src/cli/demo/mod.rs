//! `treefort demo`: the first minute, on a machine that has no model.
//!
//! Everything is real but the model: the relay, the container, the record. The answers are written in this
//! file and come from [`scripted`], and the command says so.

mod page;

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    Context,
    error::{CommandError, Kind, Problem},
    gather::{self, Target},
    home::Home,
    launch::{self, Connection, Own},
    output, run, status, timeline, verify, view,
};
use crate::{
    agent::registry::Registry,
    config::Config,
    model::{local::Local, scripted},
    nips::kind,
    sandbox::{ChosenRuntime, Runtime as _},
    server::Role,
};

/// How long the session's end may come after its answer.
const END: Duration = Duration::from_secs(5);

/// How long looking for a model may take.
const LOOK: Duration = Duration::from_secs(2);

/// What the demo asks.
const QUESTION: &str = "What keeps an AI agent from breaking things in here?";

/// What the script answers.
const ANSWER: &str = "\
Three things.

1. I run in a sandbox of my own, without a network: I cannot reach your files, your other programs or the internet.
2. I hold none of your passwords. What I do is written down and signed outside, by treefort, as it happens.
3. The record is chained: if a step were left out or changed, `treefort verify` would say so.

(A script wrote this answer. With a model of your own, an agent thinks for itself.)
";

/// Shows a short session without any model: real sandbox, real record, scripted answers.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shows it in the browser, with something that was built, and stays until Ctrl-C.
    #[arg(long)]
    page: bool,
    /// For programs: prints links to the page, one now and one for each line on stdin, and ends with stdin.
    #[arg(long, requires = "page")]
    json: bool,
}

/// A throw-away home with a scripted model.
struct Demo {
    home: Home,
    config: Config,
    _serving: scripted::Scripted,
    /// The last to go.
    _temporary: Temporary,
}

impl Demo {
    async fn new() -> Result<Self, CommandError> {
        let temporary = Temporary::new()?;
        let home = Home::open(Some(&temporary.path))?;
        let script: scripted::Script = Arc::new(|_| scripted::Answer::new(ANSWER));
        let (url, serving) = scripted::Scripted::start(script).await?;
        let mut config = Config::default();
        launch::fleeting(&mut config);
        config.model.ollama = url;
        config.model.default = scripted::MODEL.to_owned();
        // An agent of the demo needs programs: where treefort makes sandboxes itself, nothing has to be built for that.
        let mut own = config.sandbox.clone();
        "embedded".clone_into(&mut own.runtime);
        if ChosenRuntime::new("demo", home.dir(), &own)
            .probe()
            .await
            .is_ok()
        {
            config.sandbox = own;
        }
        Ok(Self {
            home,
            config,
            _serving: serving,
            _temporary: temporary,
        })
    }

    /// It is looked at for a while.
    fn for_a_while(&mut self) {
        self.config.sessions = Config::default().sessions;
    }

    async fn start(&self) -> Result<Own, CommandError> {
        Ok(Own::start(&self.home, self.config.clone(), Role::Working).await?)
    }
}

/// Runs the command.
///
/// # Errors
/// When there is nothing to run an agent in.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let mut demo = Demo::new().await?;
    if args.page {
        demo.for_a_while();
        if !args.json {
            introduce();
        }
        return Box::pin(page::run(demo, args.json)).await;
    }
    introduce();
    let own = demo.start().await?;
    launch::with_own(&demo.home, own, async |connection| {
        Box::pin(show(connection, context.verbose)).await
    })
    .await?;
    output::line(next_steps(model_here(context).await.as_deref()))?;
    Ok(())
}

/// Says what is real and what is not.
fn introduce() {
    let bold = anstyle::Style::new().bold();
    let intro = "A demo of treefort. The model is a script that is part of this program; \
                 the sandbox, the agent and the record are real.";
    for (number, line) in super::text::wrap(intro, output::progress_columns())
        .iter()
        .enumerate()
    {
        match number {
            0 => output::progress(format!("{bold}{line}{bold:#}")),
            _ => output::progress(line),
        }
    }
    output::progress("");
}

/// The model that a question would get on this machine.
async fn model_here(context: &Context) -> Option<String> {
    let config = Config::load(context.home.dir()).ok()?;
    let local = Local::new(&config.model).ok()?;
    let model = local.choose(&config.model.default);
    let model = tokio::time::timeout(LOOK, model).await.ok()?.ok()?;
    Some(super::text::one_line(&model.name.0))
}

/// Whether there is anything to run an agent in.
async fn ready(connection: &mut Connection) -> Result<(), CommandError> {
    let Some(report) = status::report(connection).await? else {
        let detail = "treefort still looks what this computer allows".to_owned();
        return Err(
            CommandError::new(Kind::NoSandbox, Problem::NoSandbox(detail))
                .hint("is the computer very busy, or Docker stuck? Then try again in a moment."),
        );
    };
    let runtime = report.runtime;
    if !runtime.ok {
        let detail = super::text::one_line(&runtime.detail);
        let fix = runtime
            .fix
            .as_deref()
            .map_or(FIX.to_owned(), super::text::one_line);
        return Err(CommandError::new(Kind::NoSandbox, Problem::NoSandbox(detail)).hint(fix));
    }
    Ok(())
}

async fn show(connection: &mut Connection, verbose: bool) -> Result<(), CommandError> {
    ready(connection).await?;
    output::progress(format!("› {QUESTION}"));
    let (agents, _) = Registry::load(None);
    run::ask(
        &run::Args::question(QUESTION),
        QUESTION,
        &agents,
        run::Starting::default(),
        connection,
    )
    .await?;
    output::line("\nWhat happened, step by step:\n")?;
    let session = ended_session(connection).await?;
    timeline::print(connection, Target::Session(session), verbose).await?;
    let coordinator = connection.coordinator();
    let story = gather::story(
        &mut connection.client,
        coordinator,
        Target::Session(session),
    )
    .await?;
    output::line("\nIs the record whole?\n")?;
    verify::report(&verify::check(&story, false), false)
}

/// What to do without Docker, when the sandbox does not say it itself.
pub(super) const FIX: &str = "install Docker Engine (Debian, Ubuntu: sudo apt install docker.io), start it, and \
     join its group: sudo usermod -aG docker \"$USER\"";

/// The session of the demo, once its end is written.
async fn ended_session(connection: &mut Connection) -> Result<nostr::PublicKey, CommandError> {
    let coordinator = connection.coordinator();
    let session = gather::last_session(&mut connection.client, coordinator)
        .await?
        .ok_or_else(|| CommandError::new(Kind::Failed, Problem::NoSession))?;
    let deadline = tokio::time::Instant::now() + END;
    let end = view::of_kind(kind::SESSION_END).author(session);
    while connection.client.newest(end.clone(), 1).await?.is_empty()
        && tokio::time::Instant::now() < deadline
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(session)
}

fn next_steps(model: Option<&str>) -> String {
    let bold = anstyle::Style::new().bold();
    let mut lines = vec![
        format!(
            "\nThe demo's record is thrown away now; those of your own sessions are kept.\n\n\
             {bold}What to try next{bold:#}"
        ),
        step("treefort doctor", "what is there, and what is missing"),
    ];
    let answers = match model {
        Some(model) => format!("an answer from {model}"),
        None => {
            lines.push(step(
                "ollama pull qwen2.5:3b",
                "a model of your own (https://ollama.com)",
            ));
            "an answer from it".to_owned()
        }
    };
    lines.push(step("treefort run \"Explain TLS to me\"", &answers));
    lines.push(step(
        "treefort timeline",
        "then: what happened in that session",
    ));
    lines.push(step(
        "treefort up",
        "stays there, and shows its page in your browser",
    ));
    lines.join("\n")
}

fn step(command: &str, what: &str) -> String {
    format!("  {command:<33} {what}")
}

/// A home that goes when the command ends.
pub(super) struct Temporary {
    pub(super) path: PathBuf,
}

impl Temporary {
    pub(super) fn new() -> Result<Self, CommandError> {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(|error| CommandError::new(Kind::Failed, error))?;
        let name = format!("treefort-{}", hex::encode(random));
        Ok(Self {
            path: std::env::temp_dir().join(name),
        })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::debug!(%error, "a temporary home was not removed");
        }
    }
}
