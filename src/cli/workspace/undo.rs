//! `treefort undo`: brings an earlier state of an agent's copy back.

use crate::{
    cli::{
        Context,
        error::{CommandError, Kind, Problem},
        launch, output,
        text::{name, one_line},
    },
    nips::workspace::{Operation, Outcome, State},
};

/// Brings an earlier state of an agent's copy back. An undo can be undone.
///
/// It covers the copy's files, not the `.git` at its top, and 200,000 files with 2 GiB in all; what it does not cover
/// is named and left as it is.
#[derive(Debug, clap::Args)]
#[command(override_usage = "treefort undo [OPTIONS] <CHECKPOINT|--last>")]
pub struct Args {
    /// The checkpoint: its number (`treefort checkpoints`).
    #[arg(required_unless_present = "last", conflicts_with = "last")]
    checkpoint: Option<String>,
    /// One step back. Twice is two steps.
    #[arg(long)]
    last: bool,
    /// The session; the newest one of this folder when left out.
    #[arg(long)]
    session: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When there is no copy or no such checkpoint.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let to = match super::diff::state(args.checkpoint.as_deref())? {
        Some(state) => state,
        None if args.last => State::Last,
        None => return Err(CommandError::new(Kind::Usage, Problem::NoSession)),
    };
    let answer = launch::with_jobs(context, async |connection| {
        super::ask(connection, args.session.as_deref(), Operation::Undo { to }).await
    })
    .await?;
    if args.json {
        return Ok(output::json(&serde_json::json!(answer))?);
    }
    super::which_one(&answer);
    let Outcome::Undo {
        before,
        to,
        written,
        removed,
        uncovered,
        uncovered_in_all,
        moved,
        unrecorded,
        ..
    } = answer.outcome
    else {
        return Ok(());
    };
    let files = match (written, removed) {
        (0, 0) => "nothing had to change".to_owned(),
        (written, 0) => format!("{written} written"),
        (0, removed) => format!("{removed} removed"),
        (written, removed) => format!("{written} written, {removed} removed"),
    };
    output::line(format!("checkpoint {to} is back ({files})"))?;
    if !uncovered.is_empty() {
        output::line("not covered by checkpoints, so left as they are:")?;
        for path in uncovered.iter().take(10) {
            output::line(format!("  {}", name(path)))?;
        }
        let more = uncovered_in_all
            .max(uncovered.len() as u64)
            .saturating_sub(10);
        if more > 0 {
            output::line(format!("  and {more} more"))?;
        }
    }
    if !moved.is_empty() {
        let copy = std::path::Path::new(answer.path.as_deref().unwrap_or_default());
        let kept = copy.parent().unwrap_or(copy).join("kept");
        output::line(format!(
            "in the way of what came back, so moved to {}:",
            name(&kept.to_string_lossy())
        ))?;
        for path in moved.iter().take(10) {
            output::line(format!("  {}", name(path)))?;
        }
        if moved.len() > 10 {
            output::line(format!("  and {} more", moved.len() - 10))?;
        }
    }
    if let Some(why) = unrecorded {
        output::progress(one_line(&why));
    }
    let back = super::again(&format!("treefort undo {before}"), args.session.as_deref());
    super::aside(&format!("to undo this: {back}"));
    Ok(())
}
