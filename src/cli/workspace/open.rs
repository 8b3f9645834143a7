//! `treefort open`: where an agent's copy is.

use crate::{
    cli::{Context, error::CommandError, launch, output, text::name},
    nips::workspace::{Operation, Outcome},
};

/// Says where an agent's copy is, for `cd "$(treefort open)"` or an editor.
///
/// The `.git` at its top is made anew when no agent works there, so that your git runs nothing of the agent's there.
/// Repositories further down are named and left as they are. Be careful with the rest: building it or opening it in an
/// editor may run what an agent left.
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
    if let Outcome::Locate {
        agents_git: true, ..
    } = answer.outcome
    {
        super::aside(
            "The agent can still write in this copy's .git, and its settings could run the agent's programs: \
             run no git there until the agent has ended, then say `treefort open` again.",
        );
    }
    if let Outcome::Locate { repositories, .. } = &answer.outcome
        && !repositories.is_empty()
    {
        let named: Vec<String> = repositories.iter().map(|path| name(path)).collect();
        super::aside(&format!(
            "There are repositories in this copy that treefort did not make: {}. Their settings could run the agent's programs: run no git there.",
            named.join(", ")
        ));
    }
    Ok(output::line(crate::cli::text::sanitize(
        answer.path.as_deref().unwrap_or_default(),
    ))?)
}
