//! `treefort files`: what is in an agent's copy, at any checkpoint.

use std::io::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    cli::{
        Context,
        error::{CommandError, Kind, Problem},
        launch::{self, Connection},
        output,
        text::{one_line, sanitize},
    },
    nips::workspace::{Answer, EntryLine, Operation, Outcome, State, Task, Which},
};

/// Lists the files of an agent's copy, or prints one of them: as they are now, or at a checkpoint.
///
/// Nothing that the agent left is opened or run for it, and no link is followed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder or a file of the copy; all of it when left out.
    #[arg(default_value = "", hide_default_value = true)]
    path: String,
    /// The checkpoint (`treefort checkpoints`); the files as they are now when left out.
    #[arg(long, value_name = "CHECKPOINT")]
    at: Option<String>,
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
/// When there is no copy, no such checkpoint, or nothing at the path.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let at = super::diff::state(args.at.as_deref())?;
    let answer = launch::with_jobs(context, async |connection| {
        let which = super::which(connection, args.session.as_deref()).await?;
        look(connection, which, at, &args.path).await
    })
    .await?;
    if args.json {
        return Ok(output::json(&serde_json::json!(answer))?);
    }
    match &answer.outcome {
        Outcome::Files {
            entries,
            left_out,
            left_out_in_all,
            ..
        } => {
            super::which_one(&answer);
            for entry in entries {
                output::line(line(entry))?;
            }
            super::diff::left_out(left_out, *left_out_in_all);
            Ok(())
        }
        Outcome::File {
            file,
            size,
            text,
            base64,
            redacted,
            withheld,
            ..
        } => {
            if *redacted {
                output::progress("a password or key in this file was left out");
            }
            if let Some(why) = withheld {
                return Err(CommandError::new(Kind::Failed, Problem::Job(one_line(why))));
            }
            show(file, *size, text.as_deref(), base64.as_deref())
        }
        _ => Ok(()),
    }
}

/// A folder's entries or a file's content, all of it: what one answer has no room for is asked for again, at the same
/// checkpoint.
///
/// # Errors
/// When there is no such file, or treefort cannot be asked.
pub(in crate::cli) async fn look(
    connection: &mut Connection,
    which: Which,
    mut at: Option<State>,
    path: &str,
) -> Result<Answer, CommandError> {
    let mut whole: Option<Answer> = None;
    let (mut offset, mut is_file) = (0, false);
    loop {
        let (at_now, path) = (at.clone(), path.to_owned());
        let operation = if is_file {
            Operation::File {
                at: at_now,
                path: path.clone(),
                offset,
            }
        } else {
            Operation::Files {
                at: at_now,
                path: path.clone(),
                offset,
            }
        };
        let which = which.clone();
        let answer = super::request(connection, &Task { which, operation }).await?;
        let next = match &answer.outcome {
            Outcome::Files {
                entries,
                checkpoint,
                next,
                ..
            } => {
                at = Some(State::Number(*checkpoint));
                if is_the_file(entries, &path) {
                    is_file = true;
                    continue;
                }
                *next
            }
            Outcome::File { next, .. } => *next,
            _ => None,
        };
        match &mut whole {
            None => whole = Some(answer),
            Some(whole) => join(&mut whole.outcome, answer.outcome),
        }
        match (next, whole) {
            (Some(next), Some(so_far)) if next > offset => {
                offset = next;
                whole = Some(so_far);
            }
            (_, Some(whole)) => return Ok(whole),
            (_, None) => return Err(CommandError::new(Kind::Failed, Problem::NoSession)),
        }
    }
}

/// Whether this is not a folder's list but the path itself.
fn is_the_file(entries: &[EntryLine], path: &str) -> bool {
    let parts = |path: &str| {
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        parts.map(str::to_owned).collect::<Vec<_>>()
    };
    match entries {
        [one] => one.kind != "folder" && parts(&one.path) == parts(path),
        _ => false,
    }
}

/// Puts what comes after to what was there.
fn join(whole: &mut Outcome, more: Outcome) {
    let add = |text: &mut Option<String>, more: Option<String>| match (text, more) {
        (Some(text), Some(more)) => text.push_str(&more),
        (text, more) => *text = text.take().or(more),
    };
    match (whole, more) {
        (
            Outcome::Files { entries, next, .. },
            Outcome::Files {
                entries: more,
                next: then,
                ..
            },
        ) => {
            entries.extend(more);
            *next = then;
        }
        (
            Outcome::File {
                text, base64, next, ..
            },
            Outcome::File {
                text: more,
                base64: bytes,
                next: then,
                ..
            },
        ) => {
            add(text, more);
            add(base64, bytes);
            *next = then;
        }
        _ => {}
    }
}

/// One entry for a person.
fn line(entry: &EntryLine) -> String {
    let dim = anstyle::Style::new().dimmed();
    let path = one_line(&entry.path);
    match (entry.kind.as_str(), &entry.to) {
        ("folder", _) => format!("{:>10}  {path}/", ""),
        ("link", Some(to)) => format!("{:>10}  {path} {dim}→ {}{dim:#}", "", one_line(to)),
        _ => format!("{dim}{:>10}{dim:#}  {path}", entry.size),
    }
}

/// A file's content: for a person without what a terminal obeys, for a program byte for byte.
fn show(
    file: &str,
    size: u64,
    text: Option<&str>,
    base64: Option<&str>,
) -> Result<(), CommandError> {
    let terminal = output::is_terminal();
    let mut out = std::io::stdout().lock();
    match (text, base64) {
        (Some(text), _) if terminal => out.write_all(sanitize(text).as_bytes())?,
        (Some(text), _) => out.write_all(text.as_bytes())?,
        (None, Some(_)) if terminal => {
            output::progress(format!(
                "{} is no text: {size} bytes. To keep it: treefort files … > FILE",
                one_line(file)
            ));
        }
        (None, Some(base64)) => {
            let bytes = BASE64_STANDARD
                .decode(base64)
                .map_err(|error| CommandError::new(Kind::Failed, error))?;
            out.write_all(&bytes)?;
        }
        (None, None) => {}
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: &str) -> EntryLine {
        EntryLine {
            path: path.into(),
            kind: kind.into(),
            size: 7,
            to: (kind == "link").then(|| "\u{1b}[2J/etc".into()),
        }
    }

    #[test]
    fn a_list_of_one_is_the_file_itself_or_a_folder_with_one_thing_in_it() {
        assert!(is_the_file(&[entry("src/a", "file")], "./src//a"));
        assert!(is_the_file(&[entry("l", "link")], "l"));
        assert!(!is_the_file(&[entry("src/a", "file")], "src"));
        assert!(!is_the_file(&[entry("a", "folder")], "a"));
        assert!(!is_the_file(&[], ""));
    }

    #[test]
    fn a_terminal_gets_no_names_that_it_obeys() {
        let lines = [entry("a\u{1b}[2J", "file"), entry("l", "link")].map(|entry| line(&entry));
        let plain = lines.map(|line| anstream::adapter::strip_str(&line).to_string());
        assert_eq!(plain[0], "         7  a[2J");
        assert_eq!(plain[1], "            l → [2J/etc");
    }
}
