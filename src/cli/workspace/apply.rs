//! `treefort apply`: takes an agent's changes home.

use std::collections::BTreeMap;

use super::Said;
use crate::{
    cli::{
        Context,
        error::{CommandError, Kind, Problem},
        launch::{self, Connection},
        output,
        text::{name, one_line},
    },
    nips::workspace::{Answer, KeptLine, Operation, Outcome, StepLine},
};

/// Shows what an agent's changes would do to your folder, asks, and brings them in.
///
/// Your own changes since then stay: both are merged. Nothing of the project is run, and no file of git's is
/// touched. What a change could run on this machine later is pointed out.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The session; the newest one of this folder when left out.
    session: Option<String>,
    /// Does not ask.
    #[arg(long, short)]
    yes: bool,
    /// With --yes: also when there is more to look at than the preview can show.
    #[arg(long, requires = "yes")]
    flagged: bool,
    /// Takes the last apply back: your files become what they were. What you changed in them since stays. Again: the
    /// apply before it.
    #[arg(long)]
    take_back: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When there is no copy, it is not confirmed, or files are in conflict.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    launch::with_jobs(context, async |connection| {
        if args.take_back {
            take_back(&args, connection).await
        } else {
            take_home(&args, connection).await
        }
    })
    .await
}

/// Takes one session's changes home, after it was asked on the terminal.
///
/// # Errors
/// As [`run`].
pub(in crate::cli) async fn of(
    session: &str,
    connection: &mut Connection,
) -> Result<(), CommandError> {
    let args = Args {
        session: Some(session.to_owned()),
        yes: false,
        flagged: false,
        take_back: false,
        json: false,
    };
    take_home(&args, connection).await
}

async fn take_home(args: &Args, connection: &mut Connection) -> Result<(), CommandError> {
    let session = args.session.as_deref();
    let planned = super::ask(connection, session, Operation::Plan).await?;
    let Outcome::Plan {
        plan,
        steps,
        total,
        conflicts,
        hidden,
        settled,
        unsettled,
        earlier,
    } = &planned.outcome
    else {
        return Ok(());
    };
    if let (Some(files), false) = (settled, args.json) {
        output::progress(format!(
            "the last apply was cut off in the middle, so what it had written was taken back first ({})",
            counted(*files, "file")
        ));
        for line in left_alone(unsettled, unsettled.len()) {
            output::progress(line);
        }
    }
    if *total == 0 {
        if args.json {
            output::json(&serde_json::json!(planned))?;
        } else {
            super::which_one(&planned);
            output::progress(nothing(*earlier));
        }
        return Ok(());
    }
    if !args.json {
        super::which_one(&planned);
        for line in preview(&planned, steps, *total, *conflicts) {
            output::line(line)?;
        }
        if let Some(line) = not_shown(hidden) {
            output::line(line)?;
        }
    }
    // A yes to a preview is a yes to what it shows.
    let unseen = hidden.keys().any(|about| about != LEFT_OUT);
    let command = match unseen {
        true => "treefort apply --yes --flagged",
        false => "treefort apply --yes",
    };
    if !args.yes {
        let project = planned.project.as_deref().unwrap_or("your folder");
        if args.json {
            return Ok(output::json(&serde_json::json!(planned))?);
        }
        let project = one_line(project);
        let said = if unseen {
            super::typed(
                &format!("To apply all of it to {project}, also what is not shown, type"),
                "apply all",
            )?
        } else {
            super::confirmed(&format!("Apply this to {project}?"))?
        };
        if said != Said::Yes {
            return super::not_confirmed(said, &super::again(command, session));
        }
    } else if unseen && !args.flagged {
        let problem = Problem::NotShown(listed(hidden));
        return Err(CommandError::new(Kind::Usage, problem)
            .hint(format!(
                "the copy with all of it: {}",
                super::again("treefort open", session)
            ))
            .hint(format!(
                "to apply it all the same: {}",
                super::again(command, session)
            )));
    }
    let operation = Operation::Apply { plan: plan.clone() };
    let answer = super::ask(connection, session, operation).await?;
    if args.json {
        output::json(&serde_json::json!(answer))?;
    }
    let Outcome::Apply {
        written,
        removed,
        conflicts,
        in_conflict,
    } = answer.outcome
    else {
        return Ok(());
    };
    if !args.json {
        output::line(format!("applied: {written} written, {removed} removed"))?;
    }
    if conflicts.is_empty() {
        let back = super::again("treefort apply --take-back", session);
        super::aside(&format!("to take it back: {back}"));
        return Ok(());
    }
    let mut named: Vec<String> = conflicts.iter().take(10).map(|path| name(path)).collect();
    if in_conflict > named.len() {
        named.push(format!("and {} more", in_conflict - named.len()));
    }
    let error = CommandError::new(Kind::Failed, Problem::Conflicts(named.join(", ")));
    if written + removed == 0 {
        return Err(error.hint("nothing was written, and what the agent has there is offered again by the next `treefort apply`"));
    }
    Err(
        error
            .hint("look for <<<<<<< in them, or for the agent's version beside them (.treefort), and keep what you want")
            .hint(format!(
                "to take all of it back: {}",
                super::again("treefort apply --take-back", session)
            )),
    )
}

async fn take_back(args: &Args, connection: &mut Connection) -> Result<(), CommandError> {
    let answer = super::ask(connection, args.session.as_deref(), Operation::TakeBack).await?;
    if args.json {
        return Ok(output::json(&serde_json::json!(answer))?);
    }
    let Outcome::TakeBack {
        restored,
        merged,
        kept,
        kept_in_all,
        earlier,
    } = answer.outcome
    else {
        return Ok(());
    };
    let is = if restored == 1 {
        "is as it was"
    } else {
        "are as they were"
    };
    let also = match merged {
        0 => String::new(),
        merged => format!(", {merged} of them with what you changed since"),
    };
    output::line(format!(
        "taken back: {} {is} before{also}",
        counted(restored, "file")
    ))?;
    for line in left_alone(&kept, kept_in_all) {
        output::line(line)?;
    }
    if earlier > 0 {
        let back = super::again("treefort apply --take-back", args.session.as_deref());
        super::aside(&format!("to take the apply before it back too: {back}"));
    }
    Ok(())
}

/// What a take-back left as it is, a line each.
fn left_alone(kept: &[KeptLine], in_all: usize) -> Vec<String> {
    if kept.is_empty() {
        return Vec::new();
    }
    let mut lines = vec!["left as they are:".to_owned()];
    lines.extend(
        kept.iter()
            .take(10)
            .map(|line| format!("  {}: {}", name(&line.path), one_line(&line.why))),
    );
    if in_all > 10 {
        lines.push(format!("  and {} more", in_all - 10));
    }
    lines
}

/// What a plan without a step says, after so many applies.
const fn nothing(earlier: usize) -> &'static str {
    match earlier {
        0 => "there is nothing to apply: your folder has all that the agent changed",
        _ => "there is nothing to apply: nothing is new since the last apply",
    }
}

/// How many of something.
fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    }
}

/// What an answer calls steps that nobody can take home; there is nothing to be afraid of in them.
const LEFT_OUT: &str = "left out";

/// What there is no room to show, by what it is about.
fn listed(hidden: &BTreeMap<String, usize>) -> String {
    let counts = hidden
        .iter()
        .map(|(about, count)| format!("{count}: {}", one_line(about)));
    counts.collect::<Vec<_>>().join("; ")
}

fn not_shown(hidden: &BTreeMap<String, usize>) -> Option<String> {
    let bad = anstyle::AnsiColor::Red.on_default();
    (!hidden.is_empty()).then(|| format!("\n{bad}Not shown{bad:#}: {}", listed(hidden)))
}

/// What an apply would do, for people: what needs a look comes last, next to the question.
fn preview(planned: &Answer, steps: &[StepLine], total: usize, conflicts: usize) -> Vec<String> {
    use anstyle::AnsiColor;
    let bold = anstyle::Style::new().bold();
    let (warn, bad) = (AnsiColor::Yellow.on_default(), AnsiColor::Red.on_default());
    let project = planned.project.as_deref().unwrap_or("your folder");
    let mut lines = vec![format!("{bold}Changes for {}{bold:#}", one_line(project))];
    for step in steps {
        let word = match step.action.as_str() {
            "create" => "new",
            "replace" => "changed",
            "merge" => "merged",
            "delete" => "deleted",
            "mode" => "rights",
            "link" => "link",
            "folder" => "folder",
            "remove-folder" => "folder removed",
            "left-out" => "left out",
            _ => "conflict",
        };
        let style = if word == "conflict" {
            bad
        } else {
            anstyle::Style::new()
        };
        lines.push(format!("  {style}{word:<9}{style:#} {}", name(&step.path)));
    }
    if total > steps.len() {
        lines.push(format!("  and {} more", total - steps.len()));
    }
    let noted: Vec<&StepLine> = steps.iter().filter(|step| !step.notes.is_empty()).collect();
    if !noted.is_empty() {
        lines.push(format!("\n{warn}Look at these before you say yes{warn:#}"));
        for step in noted {
            lines.push(format!(
                "  {}: {}",
                name(&step.path),
                one_line(&step.notes.join("; "))
            ));
        }
    }
    if conflicts > 0 {
        lines.push(format!(
            "\n{bad}{conflicts} in conflict{bad:#}: above is what will be written where."
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;

    #[test]
    fn the_preview_points_out_what_would_run_later() {
        let steps = vec![
            StepLine {
                path: "src/a.rs".into(),
                action: "replace".into(),
                notes: Vec::new(),
            },
            StepLine {
                path: ".envrc".into(),
                action: "create".into(),
                notes: vec!["runs when you enter the folder with direnv".into()],
            },
        ];
        let planned = Answer {
            workspace: Some(Keys::generate().public_key()),
            project: Some("/home/me/shop".into()),
            path: None,
            title: None,
            at: None,
            passed_over: 0,
            outcome: Outcome::Locate {
                agents_git: false,
                repositories: Vec::new(),
            },
        };
        let text = preview(&planned, &steps, 2, 0).join("\n");
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string(), @r"
        Changes for /home/me/shop
          changed   src/a.rs
          new       .envrc

        Look at these before you say yes
          .envrc: runs when you enter the folder with direnv
        ");
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        assert_eq!(not_shown(&BTreeMap::new()), None);
        let hidden = BTreeMap::from([
            ("in conflict".to_owned(), 3),
            ("git runs it".to_owned(), 12),
        ]);
        let line = not_shown(&hidden).unwrap();
        let line = anstream::adapter::strip_str(&line).to_string();
        assert_eq!(line, "\nNot shown: 12: git runs it; 3: in conflict");
    }
}
