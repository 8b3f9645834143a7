//! `treefort checkpoints`: the states that can be brought back.

use crate::{
    cli::{
        Context,
        error::CommandError,
        launch, output,
        text::{ago, one_line, truncate},
    },
    nips::workspace::{CheckpointLine, Operation, Outcome},
};

/// Lists the states of an agent's copy that can be brought back.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The session; the newest one of this folder when left out.
    session: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When there is no copy.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let answer = launch::with_jobs(context, async |connection| {
        super::ask(connection, args.session.as_deref(), Operation::Checkpoints).await
    })
    .await?;
    if args.json {
        return Ok(output::json(&serde_json::json!(answer))?);
    }
    super::which_one(&answer);
    let Outcome::Checkpoints {
        checkpoints,
        earlier,
    } = answer.outcome
    else {
        return Ok(());
    };
    if earlier > 0 {
        super::aside(&format!(
            "{earlier} earlier ones are not listed; each comes back by its number"
        ));
    }
    let now = nostr::Timestamp::now().as_secs();
    for line in list(&checkpoints, now) {
        output::line(line)?;
    }
    super::aside(
        "\nchanged since one: treefort diff NUMBER · bring one back: treefort undo NUMBER",
    );
    Ok(())
}

/// One line each; the states that are the same as the one before are left out.
fn list(checkpoints: &[CheckpointLine], now: u64) -> Vec<String> {
    let dim = anstyle::Style::new().dimmed();
    let bold = anstyle::Style::new().bold();
    let current = checkpoints.last().map(|last| &last.tree);
    let last_of = |tree: &String| checkpoints.iter().rev().find(|at| at.tree == *tree);
    let mut lines = Vec::new();
    let mut before: Option<&String> = None;
    for checkpoint in checkpoints {
        if before == Some(&checkpoint.tree) {
            continue;
        }
        before = Some(&checkpoint.tree);
        let files = match checkpoint.changed {
            0 => String::new(),
            1 => "1 file".to_owned(),
            n => format!("{n} files"),
        };
        let here = Some(&checkpoint.tree) == current
            && last_of(&checkpoint.tree).is_some_and(|last| last.tree == checkpoint.tree)
            && checkpoints
                .iter()
                .filter(|at| at.number > checkpoint.number)
                .all(|at| at.tree == checkpoint.tree);
        let room = output::columns().saturating_sub(41).max(20);
        let now_mark = if here { "  ← now" } else { "" };
        lines.push(format!(
            "{bold}{:>4}{bold:#}  {dim}{:>14}{dim:#}  {:<9} {}{now_mark}",
            checkpoint.number,
            ago(checkpoint.at, now),
            files,
            truncate(&one_line(&checkpoint.reason), room),
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_state_is_shown_once_and_the_present_one_is_marked() {
        let at = |number, tree: &str, changed| CheckpointLine {
            number,
            commit: String::new(),
            tree: tree.into(),
            reason: format!("reason {number}"),
            at: 1000,
            changed,
        };
        let all = [at(1, "a", 0), at(2, "b", 2), at(3, "b", 0), at(4, "a", 2)];
        let lines: Vec<String> = list(&all, 1060)
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
           1       1 min ago            reason 1
           2       1 min ago  2 files   reason 2
           4       1 min ago  2 files   reason 4  ← now
        ");
    }
}
