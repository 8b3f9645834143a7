//! `treefort open`: where an agent's copy is.

use crate::{
    cli::{Context, error::CommandError, launch, output},
    nips::workspace::{Operation, Outcome},
};

/// Says where an agent's copy is, for `cd "$(treefort open)"` or an editor.
///
/// Its `.git` is made anew when no agent works there, so that your git runs nothing of the agent's. Be careful with
/// the rest: building it or opening it in an editor may run what an agent left.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The session; the newest one of this folder when left out.
    session: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When there is no copy.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let answer = launch::with_jobs(context, async |connection| {
        super::ask(connection, args.session.as_deref(), Operation::Locate).await
    })
    .await?;
    if matches!(answer.outcome, Outcome::Locate { agents_git: true }) {
        super::aside(
            "The agent can still write in this copy's .git, and its settings could run the agent's programs: \
             run no git there until the agent has ended, then say `treefort open` again.",
        );
    }
    Ok(output::line(crate::cli::text::sanitize(
        answer.path.as_deref().unwrap_or_default(),
    ))?)
}
