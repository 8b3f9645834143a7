//! `treefort verify`: is a record what was signed, and all of it?
//!
//! A file is checked without treefort and without a network; the answer rests on signatures alone.

use std::{
    collections::{BTreeMap, HashSet},
    io::{BufRead, Read as _},
    path::{Path, PathBuf},
};

use nostr::{Event, EventId, JsonUtil as _, PublicKey};
use serde_json::json;

use super::{
    Context,
    error::{CommandError, Kind, Problem},
    gather, launch, output, render,
    view::short,
};
use crate::{
    nips::{
        kind,
        session::{ChainReport, check_chain},
    },
    web::share,
};

/// A file that begins with so many lines of something else is no record.
const MAX_STRANGE: usize = 100;
/// An event is never longer on its line.
const MAX_LINE: u64 = 16 << 20;
/// A shared session in an HTML file is never longer.
const MAX_PAGE: u64 = 1 << 30;

/// Checks that a session's record is whole: signatures, order, nothing left out, honest counts.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A session or job, or a file that `treefort export` or the page wrote, also an HTML file (`-` is stdin); the last session when nothing is named.
    target: Option<String>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// What a check found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// All events.
    pub events: u64,
    /// Whole sessions.
    pub sessions: Vec<(PublicKey, ChainReport)>,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
    /// Texts of private jobs that their owner added in the clear, which nobody signed so.
    pub words: u64,
    /// Entries of others, which no session among them has to do with.
    pub strays: u64,
    /// Of an HTML file: whether the page around the record is the one that this program writes.
    pub page: Option<bool>,
}

/// Runs the command.
///
/// # Errors
/// When something is wrong with the record, or it cannot be read.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let target = args.target.as_deref();
    let file = target
        .map(PathBuf::from)
        .filter(|path| path.exists() && !path.is_dir());
    let findings = match file {
        _ if target == Some("-") => check_input(std::io::stdin().lock())
            .map_err(|source| unreadable(Path::new("-"), source))?,
        Some(path) => check_file(&path)?,
        None if target.is_some_and(|name| !gather::may_name(name)) => {
            let name = target.unwrap_or_default().to_owned();
            return Err(CommandError::new(Kind::Usage, Problem::NoFile(name)));
        }
        None => {
            let events = launch::with(context, async |connection| {
                let coordinator = connection.coordinator();
                let client = &mut connection.client;
                let target = gather::resolve(client, coordinator, args.target.as_deref()).await?;
                Ok(gather::story(client, coordinator, target).await?)
            })
            .await?;
            check(&events, false)
        }
    };
    report(&findings, args.json)
}

/// Shows findings; what is wrong is an error.
///
/// # Errors
/// When something is wrong with the record.
pub fn report(findings: &Findings, as_json: bool) -> Result<(), CommandError> {
    show(findings, as_json)?;
    match findings.problems.first() {
        None => Ok(()),
        Some(first) => Err(CommandError::new(
            Kind::Failed,
            Problem::NotVerified(match findings.problems.len() {
                1 => first.clone(),
                n => format!("{first} (and {} more)", n - 1),
            }),
        )),
    }
}

fn show(findings: &Findings, as_json: bool) -> Result<(), CommandError> {
    if as_json {
        let sessions: Vec<_> = findings
            .sessions
            .iter()
            .map(|(key, report)| json!({"session": key.to_hex(), "report": report}))
            .collect();
        output::json(&json!({
            "ok": findings.problems.is_empty(),
            "events": findings.events,
            "sessions": sessions,
            "problems": findings.problems,
            "words": findings.words,
            "strays": findings.strays,
            "page": findings.page.map(|ours| if ours { "ours" } else { "other" }),
        }))?;
        return Ok(());
    }
    for (key, report) in &findings.sessions {
        let ended = if report.ended { "" } else { ", still going on" };
        output::row(
            "✓ ",
            &format!(
                "session {}: {}, {}, {}, {}{ended}",
                short(&key.to_hex()),
                render::plural(report.records, "record"),
                render::plural(report.actions, "action"),
                render::plural(report.checkpoints, "checkpoint"),
                render::plural(report.errors, "problem"),
            ),
        )?;
    }
    for problem in &findings.problems {
        output::row("✗ ", problem)?;
    }
    if findings.problems.is_empty() {
        output::row("✓ ", &summary(findings))?;
    }
    if findings.words > 0 {
        output::row(
            "! ",
            &format!(
                "{} of a private job in the clear: its owner added it, and the signatures cover only what it was encrypted to",
                render::plural(findings.words, "text")
            ),
        )?;
    }
    if findings.strays > 0 {
        output::row(
            "! ",
            &format!(
                "{} of somebody who has nothing to do with these sessions: anybody can have put that in",
                render::entries(findings.strays)
            ),
        )?;
    }
    match findings.page {
        Some(true) => output::row(
            "✓ ",
            "the page around it is the one that this treefort writes",
        )?,
        Some(false) => output::row(
            "! ",
            "the page around it is not the one that this treefort writes: it is of another version, or was changed, \
             and may show something else than the record that was checked here",
        )?,
        None => {}
    }
    Ok(())
}

/// What is known: a chain shows that none of its records is missing; what stands beside it is only signed.
fn summary(findings: &Findings) -> String {
    let chained: u64 = findings
        .sessions
        .iter()
        .map(|(_, report)| report.records)
        .sum();
    let others = findings.events.saturating_sub(chained);
    let entries = |n: u64, more: &str| match n {
        1 => format!("1 {more}entry, as it was signed"),
        n => format!("{n} {more}entries, each as it was signed"),
    };
    let chains = match findings.sessions.len() {
        0 | 1 => "an unbroken chain".to_owned(),
        n => format!("{n} unbroken chains"),
    };
    match (chained, others) {
        (0, others) => format!("{}; no session is among them", entries(others, "")),
        (n, 0) => format!("{} in {chains}", render::plural(n, "record")),
        (n, others) => format!(
            "{} in {chains}; {}",
            render::plural(n, "record"),
            entries(others, "more ")
        ),
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> CommandError {
    CommandError::new(
        Kind::Failed,
        Problem::File {
            path: path.display().to_string(),
            source,
        },
    )
}

fn check_file(path: &Path) -> Result<Findings, CommandError> {
    std::fs::File::open(path)
        .and_then(|file| check_input(std::io::BufReader::new(file)))
        .map_err(|source| unreadable(path, source))
}

/// Lines of events, or an HTML file with such lines in it.
fn check_input(mut reader: impl BufRead) -> std::io::Result<Findings> {
    let begin = String::from_utf8_lossy(reader.fill_buf()?).into_owned();
    if !share::is_html(&begin) {
        return check_lines(reader);
    }
    let mut html = String::new();
    reader.take(MAX_PAGE).read_to_string(&mut html)?;
    let Some((record, ours)) = share::record_of(&html) else {
        return Ok(Findings {
            problems: vec!["there is no record of a session in this page".to_owned()],
            ..Findings::default()
        });
    };
    let mut findings = check_lines(record.as_bytes())?;
    findings.page = Some(ours);
    if record.contains('<') {
        findings.problems.push(
            "a browser may read the page in another way than it was checked here, so what it shows can be anything"
                .to_owned(),
        );
    }
    Ok(findings)
}

fn check_lines(mut reader: impl BufRead) -> std::io::Result<Findings> {
    let (mut events, mut problems) = (Vec::new(), Vec::new());
    let mut words = 0;
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let mut bounded = reader.by_ref().take(MAX_LINE);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match Event::from_json(&line) {
            Ok(event) => events.push(event),
            Err(_) if serde_json::from_slice::<share::Words>(&line).is_ok() => words += 1,
            Err(_) => problems.push(format!("line {number} is not an entry of a record")),
        }
        if events.is_empty() && problems.len() >= MAX_STRANGE {
            break;
        }
    }
    let mut findings = check(&events, true);
    problems.append(&mut findings.problems);
    if events.is_empty() {
        let what = if problems.is_empty() {
            "there is nothing in it"
        } else {
            "this is not what `treefort export` writes"
        };
        problems = vec![what.to_owned()];
    }
    Ok(Findings {
        problems,
        words,
        ..findings
    })
}

/// Checks events in any order. What was exported is `complete`: a session without an end was cut off.
#[must_use]
pub fn check(events: &[Event], complete: bool) -> Findings {
    let mut findings = Findings::default();
    let mut seen: HashSet<EventId> = HashSet::new();
    let mut sessions: BTreeMap<PublicKey, Vec<&Event>> = BTreeMap::new();
    let mut changed: HashSet<PublicKey> = HashSet::new();
    for event in events {
        findings.events += 1;
        let (id, number) = (short(&event.id.to_hex()), event.kind.as_u16());
        let wrong = if !event.verify_id() {
            "was changed: its text does not give its id"
        } else if !event.verify_signature() {
            "was not signed by whom it names"
        } else {
            ""
        };
        if !wrong.is_empty() {
            findings.problems.push(format!("entry {id} {wrong}"));
            changed.insert(event.pubkey);
            continue;
        }
        let record = (kind::SESSION_START..=kind::SESSION_END).contains(&number);
        if !seen.insert(event.id) {
            if complete {
                findings.problems.push(format!("entry {id} is there twice"));
            }
        } else if record {
            sessions.entry(event.pubkey).or_default().push(event);
        }
    }
    // Where an entry was changed, what its absence breaks is no news.
    sessions.retain(|key, _| !changed.contains(key));
    for (key, records) in sessions {
        let name = short(&key.to_hex());
        match check_chain(records.iter().copied()) {
            Ok(report) if complete && !report.ended => findings.problems.push(format!(
                "session {name} has no end: it was going on, or the end was left out"
            )),
            Ok(report) => findings.sessions.push((key, report)),
            Err(error) => findings.problems.push(format!("session {name}: {error}")),
        }
    }
    if complete && !findings.sessions.is_empty() {
        findings.strays = share::strays(events) as u64;
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Vec<Event> {
        let vectors: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(include_str!("../../tests/it/fixtures/events.json")).unwrap();
        vectors
            .into_iter()
            .map(|(_, value)| serde_json::from_value(value).unwrap())
            .collect()
    }

    fn position(events: &[Event], kind: u16) -> usize {
        events
            .iter()
            .position(|event| event.kind.as_u16() == kind)
            .unwrap()
    }

    #[test]
    fn the_golden_events_are_whole() {
        let findings = check(&golden(), true);
        assert_eq!(findings.problems, Vec::<String>::new());
        assert_eq!((findings.events, findings.sessions.len()), (29, 1));
    }

    #[test]
    fn says_exactly_what_is_wrong() {
        let mut changed = golden();
        let at = position(&changed, kind::SESSION_END);
        changed[at].content.push('!');
        let mut forged = golden();
        let other = forged[0].sig;
        forged[at].sig = other;
        let mut omitted = golden();
        let left_out = position(&omitted, kind::CHECKPOINT);
        omitted.remove(left_out);
        let mut cut = golden();
        cut.remove(at);
        let problems: Vec<String> = [changed, forged, omitted, cut]
            .iter()
            .map(|events| check(events, true).problems.join(" | "))
            .collect();
        insta::assert_snapshot!(problems.join("\n"), @r#"
        entry 1be94177 was changed: its text does not give its id
        entry 1be94177 was not signed by whom it names
        session f28773c2: after record 1 of the session comes 2: a record was left out or put in
        session f28773c2 has no end: it was going on, or the end was left out
        "#);
    }

    #[test]
    fn a_session_that_goes_on_is_no_problem_while_treefort_runs() {
        let mut events = golden();
        let at = position(&events, kind::SESSION_END);
        events.remove(at);
        assert!(check(&events, false).problems.is_empty());
    }

    #[test]
    fn a_file_is_checked_line_by_line() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("session.jsonl");
        let mut lines: Vec<String> = golden().iter().map(Event::as_json).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        assert!(check_file(&path).unwrap().problems.is_empty());
        lines.insert(1, "{\"id\":".to_owned());
        std::fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(
            check_file(&path).unwrap().problems,
            ["line 2 is not an entry of a record"]
        );
        std::fs::write(&path, "").unwrap();
        let nothing = check_file(&path).unwrap().problems;
        assert_eq!(nothing, ["there is nothing in it"]);
        std::fs::write(&path, "# A\n\nnote\n").unwrap();
        let other = check_file(&path).unwrap().problems;
        assert_eq!(other, ["this is not what `treefort export` writes"]);
    }

    #[test]
    fn what_comes_twice_or_from_somebody_else_is_named() {
        let exported = include_str!("../../tests/page/fixtures/builder.jsonl").lines();
        let mut events: Vec<Event> = exported
            .map(|line| Event::from_json(line).unwrap())
            .collect();
        assert_eq!(check(&events, true).strays, 0);
        let job = position(&events, kind::AGENT_TASK);
        let mut draft = crate::nips::Draft::new(kind::AGENT_TASK).content("what was never asked");
        for tag in events[job].tags.iter() {
            draft = draft.tag(tag.as_slice().iter().map(String::as_str));
        }
        events.push(draft.sign(&nostr::Keys::generate(), 1_773_187_310).unwrap());
        assert_eq!(check(&events, true).strays, 1);
        events.push(events[0].clone());
        let problems = check(&events, true).problems;
        assert!(problems[0].contains("twice"), "{problems:?}");
    }

    #[test]
    fn a_shared_session_is_checked_in_either_form() {
        let golden = include_str!("../../tests/page/fixtures/builder.jsonl");
        let events: Vec<Event> = golden
            .lines()
            .map(|line| Event::from_json(line).unwrap())
            .collect();
        let session = events[position(&events, kind::SESSION_START)].pubkey;
        let redactor = crate::recorder::Redactor::new(Vec::new());
        let bundle = share::Bundle::of(session, events, &redactor).unwrap();
        let found = |text: &str| {
            let found = check_input(text.as_bytes()).unwrap();
            (found.problems.join(" | "), found.sessions.len(), found.page)
        };
        assert_eq!(found(&bundle.lines()), (String::new(), 1, None));
        assert_eq!(found(&bundle.html()), (String::new(), 1, Some(true)));
        let changed = bundle.html().replace("water the plants", "water the cat");
        let (problems, sessions, page) = found(&changed);
        assert!(problems.contains("was changed"), "{problems}");
        assert_eq!((sessions, page), (0, Some(true)));
        let other = bundle.html().replace("</body>", "<p>believe me</p></body>");
        assert_eq!(found(&other), (String::new(), 1, Some(false)));
        // A browser ends the element there, wherever we would look for its end.
        for end in ["</script >", "</SCRIPT>"] {
            let record = format!("id=\"record\">\n{{\"{end}<meta http-equiv=refresh>\":1}}\n");
            let cut = bundle.html().replacen("id=\"record\">\n", &record, 1);
            let (problems, _, page) = found(&cut);
            assert!(problems.contains("a browser may read"), "{problems}");
            assert_eq!(page, Some(false));
        }
        let (nothing, _, _) = found("<!doctype html><title>x</title>");
        assert_eq!(nothing, "there is no record of a session in this page");
    }

    #[test]
    fn says_no_more_than_it_knows() {
        let mut events = golden();
        let whole = summary(&check(&events, true));
        events.retain(|event| event.kind.as_u16() == 7000);
        let loose = summary(&check(&events, true));
        insta::assert_snapshot!(format!("{whole}\n{loose}"), @"
        7 records in an unbroken chain; 22 more entries, each as it was signed
        1 entry, as it was signed; no session is among them
        ");
    }
}
