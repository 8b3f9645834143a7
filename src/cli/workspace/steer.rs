//! `treefort pause`, `resume` and `steer`: what is said to an agent while it works.

use crate::{
    cli::{
        Context,
        error::{CommandError, Kind, Problem},
        launch, output,
    },
    nips::workspace::{Operation, Task},
};

/// Has an agent stand still where it is; its time stands still too.
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// The session; the one at work when left out.
    session: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Lets an agent go on that stands still.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// The session; the one at work when left out.
    session: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Interrupts an agent at work and tells it something: it goes on with that, in the same job.
#[derive(Debug, clap::Args)]
pub struct SteerArgs {
    /// What it is told, in quotation marks.
    #[arg(required = true, num_args = 1.., value_name = "TEXT")]
    text: Vec<String>,
    /// The session; the one at work when left out.
    #[arg(long)]
    session: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `pause`.
///
/// # Errors
/// When no agent is at work, or several are and none is named.
pub async fn pause(args: PauseArgs, context: &Context) -> Result<(), CommandError> {
    let said = "the agent stands still; to let it go on: treefort resume";
    say(
        args.session.as_deref(),
        Operation::Pause,
        said,
        args.json,
        context,
    )
    .await
}

/// Runs `resume`.
///
/// # Errors
/// As [`pause`].
pub async fn resume(args: ResumeArgs, context: &Context) -> Result<(), CommandError> {
    let said = "the agent goes on";
    say(
        args.session.as_deref(),
        Operation::Resume,
        said,
        args.json,
        context,
    )
    .await
}

/// Runs `steer`.
///
/// # Errors
/// As [`pause`], and when there is nothing to say.
pub async fn steer(args: SteerArgs, context: &Context) -> Result<(), CommandError> {
    let [text] = args.text.as_slice() else {
        return Err(CommandError::new(Kind::Usage, Problem::PromptInWords));
    };
    if text.trim().is_empty() {
        return Err(CommandError::new(Kind::Usage, Problem::EmptyPrompt));
    }
    let said = "the agent was interrupted and told";
    let session = args.session.as_deref();
    launch::with_jobs(context, async |connection| {
        let text = crate::cli::run::without_secrets(text, connection);
        let which = super::which(connection, session).await?;
        let operation = Operation::Steer { text };
        let answer = super::request(connection, &Task { which, operation }).await?;
        done(&answer, said, args.json)
    })
    .await
}

async fn say(
    session: Option<&str>,
    operation: Operation,
    said: &str,
    json: bool,
    context: &Context,
) -> Result<(), CommandError> {
    launch::with_jobs(context, async |connection| {
        let answer = super::ask(connection, session, operation).await?;
        done(&answer, said, json)
    })
    .await
}

fn done(
    answer: &crate::nips::workspace::Answer,
    said: &str,
    json: bool,
) -> Result<(), CommandError> {
    if json {
        return Ok(output::json(&serde_json::json!(answer))?);
    }
    super::which_one(answer);
    output::progress(said);
    Ok(())
}
