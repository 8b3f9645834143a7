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

/// Deletes an agent's copy with all its checkpoints, and what could take its applies back. Your folder stays as it is.
///
/// The contents of its checkpoints stay in treefort's store as long as there is another copy of the same folder; `clean`
/// removes them with the last one.
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
                "Delete the agent's copy for “{}” and everything that it did there? Your folder stays as it is.",
                one_line(found.title.as_deref().unwrap_or_default())
            );
            let said = super::confirmed(&question)?;
            if said != super::Said::Yes {
                super::not_confirmed(said, &super::again("treefort discard --yes", session))?;
                return Ok(None);
            }
        }
        super::ask(connection, session, Operation::Discard)
            .await
            .map(Some)
    })
    .await?;
    let Some(answer) = answer else {
        return Ok(());
    };
    if args.json {
        return Ok(output::json(&serde_json::json!(answer))?);
    }
    if let Outcome::Discard { bytes, files } = answer.outcome {
        output::line(format!("deleted: {} in {files} files", size(bytes)))?;
    }
    Ok(())
}
