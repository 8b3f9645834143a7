//! `treefort diff`: what changed in an agent's copy.

use crate::{
    cli::{
        Context,
        error::{CommandError, Kind},
        gather, launch, output,
        text::{name, reveal},
    },
    nips::workspace::{FileLine, Operation, Outcome, State},
};

/// Shows what changed in an agent's copy: since it began, since a checkpoint, or between two.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The earlier checkpoint; the project as it was when left out. Or the session or job that is meant.
    #[arg(value_name = "A")]
    from: Option<String>,
    /// The later one; the files as they are now when left out.
    #[arg(value_name = "B")]
    to: Option<String>,
    /// The session; when left out the newest one of this folder in which something was changed.
    #[arg(long)]
    session: Option<String>,
    /// Only the names of the files and how much changed in them.
    #[arg(long)]
    stat: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When there is no copy or no such checkpoint.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let (mut from, mut session) = (args.from.as_deref(), args.session.as_deref());
    let checkpoints = (state(from)?, state(args.to.as_deref())?);
    let answer = launch::with_jobs(context, async |connection| {
        if let (Some(State::Id(id)), None, None) = (&checkpoints.0, &checkpoints.1, session) {
            let coordinator = connection.coordinator();
            if gather::named(&mut connection.client, coordinator, id)
                .await?
                .is_some()
            {
                (from, session) = (None, from);
            }
        }
        let operation = Operation::Diff {
            from: state(from)?,
            to: checkpoints.1,
        };
        super::ask(connection, session, operation).await
    })
    .await?;
    if args.json {
        return Ok(output::json(&serde_json::json!(answer))?);
    }
    super::which_one(&answer);
    let Outcome::Diff {
        files,
        changed,
        text,
        cut,
        left_out: uncovered,
        left_out_in_all,
        earlier: _,
    } = answer.outcome
    else {
        return Ok(());
    };
    if changed == 0 {
        output::progress(if left_out_in_all == 0 {
            "nothing changed"
        } else {
            "nothing changed that a checkpoint covers"
        });
        left_out(&uncovered, left_out_in_all);
        return Ok(());
    }
    if args.stat {
        for line in stat(&files, changed) {
            output::line(line)?;
        }
    } else {
        show(&text, &files, changed)?;
    }
    left_out(&uncovered, left_out_in_all);
    if cut && !args.stat {
        super::aside(&format!(
            "The difference is longer than one answer; the files are in {}",
            name(answer.path.as_deref().unwrap_or_default())
        ));
    }
    Ok(())
}

/// Writes a difference, and which files it is about.
///
/// # Errors
/// When stdout is closed.
pub(in crate::cli) fn show(
    text: &str,
    files: &[FileLine],
    changed: usize,
) -> Result<(), CommandError> {
    self::text(text)?;
    output::line("")?;
    for line in stat(files, changed) {
        output::line(line)?;
    }
    Ok(())
}

/// Writes a unified diff.
///
/// # Errors
/// When stdout is closed.
pub(in crate::cli) fn text(text: &str) -> Result<(), CommandError> {
    for line in reveal(text).lines() {
        output::line(coloured(line))?;
    }
    Ok(())
}

/// Says what no checkpoint covers of what the agent did.
pub(in crate::cli) fn left_out(paths: &[String], in_all: u64) {
    if in_all == 0 {
        return;
    }
    output::progress(
        "No checkpoint covers these, so they are neither undone nor applied; they stay in the copy (treefort open):",
    );
    for path in paths {
        output::progress(format!("  {}", name(path)));
    }
    let more = in_all.saturating_sub(paths.len() as u64);
    if more > 0 {
        output::progress(format!("  and {more} more"));
    }
}

/// A state as it was typed.
///
/// # Errors
/// When it cannot name one.
pub(super) fn state(word: Option<&str>) -> Result<Option<State>, CommandError> {
    word.map(State::parse).transpose().map_err(|error| {
        CommandError::new(Kind::Usage, error).hint("`treefort checkpoints` lists them")
    })
}

/// A line of a unified diff in the colours that people know.
fn coloured(line: &str) -> String {
    use anstyle::{AnsiColor, Style};
    let style = match line.as_bytes() {
        [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] | [b'd', b'i', b'f', b'f', ..] => {
            Style::new().bold()
        }
        [b'+', ..] => AnsiColor::Green.on_default(),
        [b'-', ..] => AnsiColor::Red.on_default(),
        [b'@', b'@', ..] => AnsiColor::Cyan.on_default(),
        _ => return line.to_owned(),
    };
    format!("{style}{line}{style:#}")
}

/// Files and how much changed in them.
pub(in crate::cli) fn stat(files: &[FileLine], changed: usize) -> Vec<String> {
    use anstyle::AnsiColor;
    let (plus, minus) = (AnsiColor::Green.on_default(), AnsiColor::Red.on_default());
    let mut lines: Vec<String> = files
        .iter()
        .map(|file| {
            let what = match file.op.as_str() {
                "create" => "new",
                "delete" => "deleted",
                "mode" => "rights",
                "type" => "replaced",
                _ => "changed",
            };
            format!(
                "  {what:<8} {}  {plus}+{}{plus:#} {minus}−{}{minus:#}",
                name(&file.path),
                file.added,
                file.removed
            )
        })
        .collect();
    if changed > files.len() {
        lines.push(format!("  and {} more files", changed - files.len()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_with_what_became_of_them() {
        let files = [FileLine {
            path: "a\u{1b}[2J.txt".into(),
            op: "create".into(),
            added: 3,
            removed: 0,
        }];
        let lines: Vec<String> = stat(&files, 4)
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        assert!(!lines[0].contains('\u{1b}'));
        assert!(lines[0].starts_with("  new "), "{}", lines[0]);
        assert_eq!(lines[1], "  and 3 more files");
    }
}
