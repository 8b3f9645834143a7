//! `treefort export`: everything that belongs to a session or job, as it was signed.

use super::{Context, error::CommandError, gather, launch, output};

/// Writes all that belongs to a session or job as signed events, one a line, oldest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A session or job; the last session when nothing is named.
    target: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When nothing is called so, or treefort cannot be reached.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    launch::with(context, async |connection| {
        let coordinator = connection.coordinator();
        let client = &mut connection.client;
        let target = gather::resolve(client, coordinator, args.target.as_deref()).await?;
        for event in gather::story(client, coordinator, target).await? {
            output::event(&event)?;
        }
        Ok(())
    })
    .await
}
