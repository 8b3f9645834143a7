//! `treefort discard`: deletes an agent's copy.

use crate::{
    cli::{
        Context,
        error::CommandError,
        launch, output,
        text::{one_line, size},
    },
    nips::workspace::{Operation, Outcome},
};

/// Deletes an agent's copy with all its checkpoints. Your folder stays as it is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The session; the newest one of this folder when left out.
    session: Option<String>,
    /// Does not ask.
    #[arg(long, short)]
    yes: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When there is no copy, an agent still works on it, or it is not confirmed.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let answer = launch::with_jobs(context, async |connection| {
        let session = args.session.as_deref();
        if !args.yes {
            let found = super::ask(connection, session, Operation::Locate).await?;
            let question = format!(
                "Delete {} and everything that the agent did there?",
                one_line(found.path.as_deref().unwrap_or_default())
            );
            if !super::confirmed(&question)? {
                return Err(super::not_confirmed("treefort discard --yes"));
            }
        }
        super::ask(connection, session, Operation::Discard).await
    })
    .await?;
    if args.json {
        return Ok(output::json(&serde_json::json!(answer))?);
    }
    if let Outcome::Discard { bytes, files } = answer.outcome {
        output::line(format!("deleted: {} in {files} files", size(bytes)))?;
    }
    Ok(())
}
