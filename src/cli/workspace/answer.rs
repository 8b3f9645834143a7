//! `treefort answer`: what an agent asks its owner, and what the owner says.

use nostr::EventId;

use crate::{
    cli::{
        Context,
        error::{CommandError, Kind, Problem},
        launch::{self, Connection},
        output,
        text::{one_line, sanitize, wrap},
        view::short,
    },
    nips::workspace::{Operation, OptionLine, Outcome, QuestionLine, Task, Which, WorkLine},
};

/// Lines of a question that are shown.
const LINES: usize = 60;

/// Answers an agent that asks for a permission (`treefort run --ask`); without an answer, shows what is asked.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The answer: y, n, a (always), the number of an option or its name.
    answer: Option<String>,
    /// The question, when there are several: the first characters of its id.
    #[arg(long, value_name = "ID")]
    question: Option<String>,
    /// The session, when several agents are at work.
    #[arg(long)]
    session: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When nobody asks, or the answer is none of the options.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    launch::with_jobs(context, async |connection| {
        let asked = open(connection, args.session.as_deref()).await?;
        match &args.answer {
            None if args.json => {
                let questions: Vec<&QuestionLine> = asked.iter().map(|(_, it)| it).collect();
                Ok(output::json(&serde_json::json!({"questions": questions}))?)
            }
            None => show(&asked, args.session.is_some()),
            Some(word) => {
                let (work, question) = pick(&asked, args.question.as_deref())?;
                let option = choose(&question.options, word).ok_or_else(|| {
                    CommandError::new(Kind::Usage, Problem::NoOption(one_line(word)))
                        .hint(format!("the agent offers: {}", offered(&question.options)))
                })?;
                let task = Task {
                    which: Which::Session(work.session),
                    operation: answer(&question.question, option)?,
                };
                let answer = super::request(connection, &task).await?;
                if args.json {
                    return Ok(output::json(&serde_json::json!(answer))?);
                }
                output::progress(format!("the agent was told: {}", one_line(&option.name)));
                Ok(())
            }
        }
    })
    .await
}

/// The task that answers a question.
///
/// # Errors
/// When the question has no id.
pub(in crate::cli) fn answer(
    question: &str,
    option: &OptionLine,
) -> Result<Operation, CommandError> {
    Ok(Operation::Answer {
        question: EventId::from_hex(question)
            .map_err(|_| CommandError::new(Kind::Failed, Problem::NoQuestion))?,
        option: option.id.clone(),
    })
}

/// What is asked right now, with who asks it.
async fn open(
    connection: &mut Connection,
    session: Option<&str>,
) -> Result<Vec<(WorkLine, QuestionLine)>, CommandError> {
    // Of one alone more is told.
    let which = match session {
        Some(_) => super::which(connection, session).await?,
        None => Which::Newest,
    };
    let task = Task {
        which,
        operation: Operation::AtWork,
    };
    let answer = super::request(connection, &task).await?;
    let Outcome::AtWork { sessions, total } = answer.outcome else {
        return Ok(Vec::new());
    };
    for note in left_out(&sessions, total) {
        output::progress(note);
    }
    Ok(sessions
        .into_iter()
        .flat_map(|work| {
            let questions = work.questions.clone();
            questions
                .into_iter()
                .map(move |question| (work.clone(), question))
        })
        .collect())
}

/// What the list does not tell.
fn left_out(sessions: &[WorkLine], total: usize) -> Vec<String> {
    let mut notes = Vec::new();
    for work in sessions {
        let agent = format!(
            "{} ({})",
            one_line(&work.agent),
            short(&work.session.to_hex())
        );
        if work.silent {
            notes.push(format!(
                "{agent} is busy with its files and did not say what it asks; try again in a moment"
            ));
        }
        if work.more_questions > 0 {
            let more = work.more_questions;
            notes.push(format!(
                "{agent} asks {more} more, which there is no room for here"
            ));
        }
    }
    let more = total.saturating_sub(sessions.len());
    if more > 0 {
        notes.push(format!(
            "{more} more agents are at work; name one to see what it asks: --session KEY"
        ));
    }
    notes
}

fn pick<'q>(
    asked: &'q [(WorkLine, QuestionLine)],
    id: Option<&str>,
) -> Result<&'q (WorkLine, QuestionLine), CommandError> {
    let begins = |question: &QuestionLine| {
        id.is_none_or(|id| question.question.starts_with(&id.to_ascii_lowercase()))
    };
    let mut fitting = asked.iter().filter(|(_, question)| begins(question));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(CommandError::new(Kind::Failed, Problem::NoQuestion)),
        (Some(_), Some(_)) => Err(CommandError::new(
            Kind::Usage,
            Problem::SeveralQuestions(asked.len()),
        )
        .hint("`treefort answer` shows them; name one with --question ID")),
    }
}

fn show(asked: &[(WorkLine, QuestionLine)], of_one: bool) -> Result<(), CommandError> {
    if asked.is_empty() {
        output::progress("no agent asks anything");
    }
    for (work, question) in asked {
        output::line(format!(
            "{} asks ({}):",
            one_line(&work.agent),
            short(&question.question)
        ))?;
        for line in lines(&question.text, output::columns()) {
            output::line(line)?;
        }
        if question.cut > 0 {
            let session = short(&work.session.to_hex());
            let hint = match of_one {
                true => String::new(),
                false => format!("; more of it: treefort answer --session {session}"),
            };
            output::line(format!("  … {} more bytes{hint}", question.cut))?;
        }
        output::line(format!("  {}", offered(&question.options)))?;
    }
    if let [(_, question)] = asked
        && let Some((key, _)) = keys(&question.options).into_iter().next()
    {
        super::aside(&format!("to answer: treefort answer {key}"));
    }
    Ok(())
}

/// A question for a terminal.
pub(in crate::cli) fn lines(text: &str, columns: usize) -> Vec<String> {
    let text = sanitize(text);
    let mut lines: Vec<String> = wrap(&text, columns.saturating_sub(2))
        .into_iter()
        .map(|line| format!("  {line}"))
        .collect();
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("  … {more} more lines"));
    }
    lines
}

/// What a person types for each option: a letter for what every agent offers, else its number.
pub(in crate::cli) fn keys(options: &[OptionLine]) -> Vec<(String, &OptionLine)> {
    let mut used = std::collections::HashSet::new();
    let key = |option: &OptionLine| match option.kind.as_str() {
        "allow_once" => Some("y"),
        "allow_always" => Some("a"),
        "reject_once" => Some("n"),
        "reject_always" => Some("never"),
        _ => None,
    };
    options
        .iter()
        .map(|option| {
            let letter = key(option).filter(|letter| used.insert(*letter));
            (letter.unwrap_or(&option.id).to_owned(), option)
        })
        .collect()
}

/// The options in one line.
pub(in crate::cli) fn offered(options: &[OptionLine]) -> String {
    let keys = keys(options).into_iter();
    let named: Vec<String> = keys
        .map(|(key, option)| format!("[{}] {}", one_line(&key), one_line(&option.name)))
        .collect();
    named.join("  ")
}

/// The option that a word means.
pub(in crate::cli) fn choose<'o>(options: &'o [OptionLine], word: &str) -> Option<&'o OptionLine> {
    let word = word.trim().to_lowercase();
    let short = match word.as_str() {
        "yes" | "allow" => "y",
        "no" | "reject" => "n",
        "always" => "a",
        other => other,
    };
    let of_key = keys(options).into_iter().find(|(key, _)| key == short);
    of_key.map(|(_, option)| option).or_else(|| {
        options.iter().find(|option| {
            option.id == word || option.kind == word || option.name.trim().to_lowercase() == word
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(id: &str, kind: &str, name: &str) -> OptionLine {
        OptionLine {
            id: id.into(),
            kind: kind.into(),
            name: name.into(),
        }
    }

    #[test]
    fn an_answer_is_a_letter_a_number_or_the_options_own_name() {
        let options = [
            option("1", "allow_always", "Always allow"),
            option("2", "allow_once", "Allow"),
            option("3", "allow_once", "Allow, and tell me"),
            option("4", "reject_once", "Re\u{1b}ject"),
            option("5", "explain", "Explain first"),
        ];
        let of = |word: &str| choose(&options, word).map(|option| option.id.as_str());
        for (word, id) in [
            ("y", "2"),
            ("YES", "2"),
            ("a", "1"),
            ("always", "1"),
            ("n", "4"),
            ("3", "3"),
            ("5", "5"),
            ("explain", "5"),
            (" explain first\n", "5"),
            ("reject_once", "4"),
        ] {
            assert_eq!(of(word), Some(id), "{word}");
        }
        for none in ["", "never", "6", "maybe"] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(
            offered(&options),
            "[a] Always allow  [y] Allow  [3] Allow, and tell me  [n] Reject  [5] Explain first"
        );
    }
}
