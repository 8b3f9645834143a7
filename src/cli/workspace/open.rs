//! `treefort open`: where an agent's copy is.

use crate::{
    cli::{Context, error::CommandError, launch, output},
    nips::workspace::Operation,
};

/// Says where an agent's copy is, for `cd "$(treefort open)"` or an editor.
///
/// Be careful with what an agent left there: building it or opening it in an editor may run it.
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
    Ok(output::line(crate::cli::text::sanitize(
        answer.path.as_deref().unwrap_or_default(),
    ))?)
}
