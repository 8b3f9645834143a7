//! A comparison for people and for programs: the table, answers, differences, and which one is taken home.

use serde_json::{Value, json};

use super::{
    contest::{Contest, Entry},
    summary, table,
};
use crate::cli::{
    error::CommandError,
    keyboard,
    launch::Connection,
    output,
    text::{one_line, sanitize, truncate, wrap},
    view::short,
    workspace,
};

/// Lines of an answer that are shown beside others.
const ANSWER: usize = 6;
/// Of so many the beginnings are shown at once.
const FEW: usize = 6;
/// Files of a difference that are named beside others.
const FILES: usize = 6;
/// Columns that are read with ease.
const COLUMNS: usize = 100;

const BOLD: anstyle::Style = anstyle::Style::new().bold();
const DIM: anstyle::Style = anstyle::Style::new().dimmed();

/// How wide the table may be: a terminal as it is, a file as a wide one.
fn columns() -> usize {
    if output::is_terminal() {
        output::terminal_columns().saturating_sub(1).max(40)
    } else {
        120
    }
}

/// Writes the table, what it comes to, and what went wrong.
///
/// # Errors
/// When stdout is closed.
pub(in crate::cli) fn table(contest: &Contest) -> Result<(), CommandError> {
    for line in table::lines(contest, columns()) {
        output::line(line)?;
    }
    for line in summary::lines(contest) {
        output::line(format!("{BOLD}∑{BOLD:#} {line}"))?;
    }
    for line in table::troubles(contest) {
        let bad = anstyle::AnsiColor::Red.on_default();
        for line in output::hanging(&format!("{bad}!{bad:#} "), &line, columns()) {
            output::line(line)?;
        }
    }
    Ok(())
}

/// Writes the beginning of each answer, and what changed.
///
/// # Errors
/// When stdout is closed.
pub(in crate::cli) fn beginnings(contest: &Contest) -> Result<(), CommandError> {
    if contest.entries.len() > FEW {
        let id = short(&contest.id.to_hex());
        workspace::aside(&format!(
            "what each of them changed: treefort compare {id} --diff"
        ));
        return Ok(());
    }
    let columns = columns().min(COLUMNS);
    for entry in contest
        .entries
        .iter()
        .filter(|entry| entry.answer.is_some())
    {
        output::line("")?;
        output::line(heading(entry))?;
        let answer = sanitize(entry.answer.as_deref().unwrap_or_default());
        let lines = wrap(answer.trim(), columns.saturating_sub(4));
        for line in lines.iter().take(ANSWER) {
            output::line(format!("    {line}").trim_end())?;
        }
        if lines.len() > ANSWER {
            let more = lines.len() - ANSWER;
            output::line(format!("    {DIM}… and {more} more lines{DIM:#}"))?;
        }
        if let Some(changed) = &entry.changed {
            let shown = &changed.files[..changed.files.len().min(FILES)];
            for line in workspace::diff::stat(shown, changed.in_all) {
                output::line(format!("  {line}"))?;
            }
        }
    }
    Ok(())
}

fn heading(entry: &Entry) -> String {
    let (symbol, _, style) = table::outcome(&entry.state);
    format!(
        "{style}{symbol}{style:#} {DIM}{}.{DIM:#} {BOLD}{}{BOLD:#}",
        entry.n,
        entry.name()
    )
}

/// Writes the whole answer of one.
///
/// # Errors
/// When stdout is closed.
pub(in crate::cli) fn answer(entry: &Entry) -> Result<(), CommandError> {
    output::line(heading(entry))?;
    let answer = entry.answer.as_deref().unwrap_or("(no answer)");
    for line in wrap(sanitize(answer).trim(), columns().min(COLUMNS)) {
        output::line(line)?;
    }
    Ok(())
}

/// Writes the difference of one.
///
/// # Errors
/// When stdout is closed.
pub(in crate::cli) fn difference(entry: &Entry) -> Result<(), CommandError> {
    output::line(heading(entry))?;
    match &entry.changed {
        None => output::line("no copy of a folder is there, or it is gone")?,
        Some(changed) if changed.in_all == 0 => output::line("nothing changed")?,
        Some(changed) => {
            workspace::diff::show(&changed.text, &changed.files, changed.in_all)?;
            if changed.cut {
                let id = entry
                    .session
                    .map(|key| short(&key.to_hex()))
                    .unwrap_or_default();
                workspace::aside(&format!("This is not all of it: treefort open {id}"));
            }
        }
    }
    Ok(())
}

/// One contestant for programs.
pub(in crate::cli) fn entry_json(contest: &Contest, entry: &Entry) -> Value {
    let (files, added, removed) = entry.changes();
    let why = match &entry.state {
        crate::cli::view::JobState::Failed(why) => Some(why.as_str()),
        _ => None,
    };
    let checks: Vec<Value> = entry
        .checks
        .iter()
        .map(
            |check| json!({"command": check.command, "exit": check.exit(), "passed": check.passed()}),
        )
        .collect();
    json!({
        "comparison": contest.id.to_hex(),
        "n": entry.n,
        "agent": entry.agent(),
        "model": entry.model(),
        "job": entry.job.to_hex(),
        "session": entry.session.map(|key| key.to_hex()),
        "outcome": table::outcome(&entry.state).1,
        "why": why,
        "ms": entry.ms(),
        "tokens_read": entry.figures.read,
        "tokens_written": entry.figures.written,
        "microusd": entry.figures.cost(),
        "steps": entry.figures.steps,
        "files": files,
        "added": added,
        "removed": removed,
        "checks": checks,
        "answer": entry.answer,
        "result": entry.content(),
    })
}

/// Writes all of it for programs: a line for each, and one for what it comes to.
///
/// # Errors
/// When stdout is closed.
pub(in crate::cli) fn json_lines(contest: &Contest, diff: bool) -> Result<(), CommandError> {
    for entry in &contest.entries {
        let mut line = entry_json(contest, entry);
        if diff && let Some(changed) = &entry.changed {
            line["diff"] = json!(changed.text);
            line["diff_cut"] = json!(changed.cut);
        }
        output::json(&line)?;
    }
    Ok(output::json(&json!({"summary": summary::json(contest)}))?)
}

/// What a person can do with it, where nobody is asked.
pub(in crate::cli) fn what_next(contest: &Contest) {
    for entry in takeable(contest) {
        let Some(session) = entry.session else {
            continue;
        };
        workspace::aside(&format!(
            "to bring {}. home ({}): treefort apply {}",
            entry.n,
            entry.name(),
            short(&session.to_hex())
        ));
    }
    workspace::aside(&format!(
        "to see it again: treefort compare {id} · with differences: treefort compare {id} --diff",
        id = short(&contest.id.to_hex())
    ));
}

/// Those whose changes can be taken home.
fn takeable(contest: &Contest) -> impl Iterator<Item = &Entry> {
    contest.entries.iter().filter(|entry| {
        let changed = entry
            .changed
            .as_ref()
            .is_some_and(|changed| changed.in_all > 0);
        changed && entry.session.is_some()
    })
}

/// What a person chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    None,
    Apply(u16),
    Difference(u16),
    Answer(u16),
    What,
}

impl Choice {
    fn read(line: &str) -> Self {
        let line = line.trim().to_ascii_lowercase();
        let number = |word: &str| word.trim().trim_end_matches('.').parse::<u16>().ok();
        if line.is_empty() || line == "q" {
            return Self::None;
        }
        let (how, rest): (fn(u16) -> Self, &str) = match line.as_bytes()[0] {
            b'd' => (Self::Difference, &line[1..]),
            b'o' => (Self::Answer, &line[1..]),
            _ => (Self::Apply, &line),
        };
        number(rest).map_or(Self::What, how)
    }
}

/// Numbers as a person writes them: `1–3, 5`.
fn ranges(numbers: &[u16]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    let run = |run: &[u16]| match run {
        [one] => one.to_string(),
        [one, two] => format!("{one}, {two}"),
        [first, .., last] => format!("{first}–{last}"),
        [] => String::new(),
    };
    runs.map(run).collect::<Vec<_>>().join(", ")
}

/// Asks which one is taken home, on a terminal, and takes it.
///
/// # Errors
/// When that fails.
pub(in crate::cli) async fn choose(
    contest: &Contest,
    connection: &mut Connection,
) -> Result<(), CommandError> {
    let numbers: Vec<u16> = takeable(contest).map(|entry| entry.n).collect();
    if numbers.is_empty() {
        what_next(contest);
        return Ok(());
    }
    keyboard::forget();
    // From here on Ctrl-C means no, to whatever is asked.
    let declines = tokio::spawn(async {
        while tokio::signal::ctrl_c().await.is_ok() {
            keyboard::give_up();
        }
    });
    let outcome = choosing(contest, connection, &numbers).await;
    declines.abort();
    outcome
}

async fn choosing(
    contest: &Contest,
    connection: &mut Connection,
    numbers: &[u16],
) -> Result<(), CommandError> {
    output::progress("");
    let (n, shown) = (numbers.first().copied().unwrap_or(1), ranges(numbers));
    loop {
        output::asked(&format!(
            "{BOLD}Bring which one home?{BOLD:#} {shown}  {DIM}(d {n}: its difference, o {n}: its answer, Enter: none){DIM:#} > "
        ));
        let choice = Choice::read(&keyboard::line().await.unwrap_or_default());
        let find = |n: u16| contest.entries.iter().find(|entry| entry.n == n);
        match choice {
            Choice::None => {
                output::progress("");
                what_next(contest);
                return Ok(());
            }
            Choice::Difference(n) if find(n).is_some() => {
                find(n).map_or(Ok(()), difference)?;
            }
            Choice::Answer(n) if find(n).is_some() => {
                find(n).map_or(Ok(()), answer)?;
            }
            Choice::Apply(n) if numbers.contains(&n) => {
                let session = find(n).and_then(|entry| entry.session);
                let Some(session) = session else { continue };
                return workspace::apply::of(&short(&session.to_hex()), connection).await;
            }
            _ => output::progress(format!("Type one of these numbers: {shown}.")),
        }
    }
}

/// A comparison on one line of a list.
pub(super) fn listed(contest: &Contest, now: u64) -> String {
    let mut names: Vec<String> = summary::groups(contest)
        .into_iter()
        .map(|group| match group.entries.len() {
            1 => group.name,
            n => format!("{} ×{n}", group.name),
        })
        .collect();
    let more = names.len().saturating_sub(4);
    names.truncate(4);
    let mut names = names.join(", ");
    if more > 0 {
        names.push_str(&format!(" and {more} more"));
    }
    let done = contest.entries.iter().filter(|entry| entry.done()).count();
    let id = short(&contest.id.to_hex());
    let ago = crate::cli::text::ago(contest.at.as_secs(), now);
    let room = columns().saturating_sub(40).max(20);
    let prompt = truncate(&one_line(&contest.prompt), room);
    let head = format!(
        "{id}  {ago:<11}  {done} of {} done  “{prompt}”",
        contest.entries.len()
    );
    format!(
        "{head}\n          {DIM}{}{DIM:#}",
        truncate(&names, columns().saturating_sub(10))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_a_range() {
        assert_eq!(ranges(&[1, 2, 3, 5, 7, 8]), "1–3, 5, 7, 8");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn a_number_takes_one_home_and_letters_look_at_it() {
        for (line, choice) in [
            ("", Choice::None),
            (" \n", Choice::None),
            ("2", Choice::Apply(2)),
            ("2.", Choice::Apply(2)),
            ("d 2", Choice::Difference(2)),
            ("D2", Choice::Difference(2)),
            ("o 1", Choice::Answer(1)),
            ("yes", Choice::What),
            ("d", Choice::What),
            ("99999999", Choice::What),
            ("ü", Choice::What),
        ] {
            assert_eq!(Choice::read(line), choice, "{line:?}");
        }
    }
}
