//! The blocks at the bottom of a terminal: one for each who was asked, as high as there is room.

use anstyle::{AnsiColor, Style};

use super::race::{End, Lane, Race};
use crate::cli::text::{columns_of, one_line, truncate};

const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();

/// The lines of one block at most: who, what it did last, what it does.
const BLOCK: usize = 5;
/// What of a terminal is left for what was there before, and for the last line.
const KEPT: usize = 3;

/// The blocks, none of their lines wider than the terminal, and not more of them than it is high.
pub(super) fn rows(race: &Race, now: u64, columns: usize, height: usize) -> Vec<String> {
    let columns = columns.saturating_sub(1).max(20);
    let room = height.saturating_sub(KEPT).max(3);
    let lanes = &race.lanes;
    let each = (room / lanes.len().max(1)).clamp(1, BLOCK);
    let mut rows = Vec::new();
    if lanes.len() <= room {
        for lane in lanes {
            block(lane, now, columns, each, &mut rows);
        }
        return rows;
    }
    // More than the terminal has lines: those at work are shown, the rest is counted.
    let at_work = |lane: &&Lane| lane.end.is_none() && lane.since.is_some();
    let shown = room.saturating_sub(1);
    let working = lanes.iter().filter(at_work).count();
    let each = (shown / working.max(1)).clamp(1, BLOCK);
    for lane in lanes.iter().filter(at_work).take(shown) {
        block(lane, now, columns, each, &mut rows);
    }
    let count = |is: &dyn Fn(&Lane) -> bool| lanes.iter().filter(|lane| is(lane)).count();
    let waiting = count(&|lane| lane.end.is_none() && lane.since.is_none());
    let done = count(&|lane| lane.end == Some(End::Answered));
    let ended = count(&|lane| lane.end.is_some()) - done;
    let mut said = vec![format!("{done} of {} done", lanes.len())];
    if ended > 0 {
        said.push(format!("{ended} without an answer"));
    }
    if waiting > 0 {
        said.push(format!("{waiting} waiting"));
    }
    let line = truncate(&said.join(" · "), columns);
    rows.push(format!("{DIM}{line}{DIM:#}"));
    rows
}

fn symbol(lane: &Lane) -> (&'static str, Style) {
    match &lane.end {
        None if lane.since.is_none() => ("○", DIM),
        None => ("●", lane.agent.colour.on_default().bold()),
        Some(End::Answered) => ("✓", GOOD.bold()),
        Some(End::Failed { .. } | End::TimedOut(_)) => ("!", BAD.bold()),
        Some(End::Cancelled) => ("×", WARN.bold()),
    }
}

/// One who was asked, in at most so many lines.
fn block(lane: &Lane, now: u64, columns: usize, lines: usize, rows: &mut Vec<String>) {
    let (symbol, style) = symbol(lane);
    let notes = lane.notes(now);
    let name = truncate(&lane.agent.name, columns.saturating_sub(12).max(8));
    let beside = columns.saturating_sub(columns_of(&name) + 4);
    let (head, below) = fitting(&notes, beside, lines >= 3);
    let mut gap = beside.saturating_sub(columns_of(&head));
    // On a line that it has for itself, what it does stands between its name and its figures.
    let mut between = String::new();
    if lines == 1 && gap > 8 {
        let doing = doing(lane, gap - 4);
        gap -= columns_of(&doing) + 2;
        between = format!("  {DIM}{doing}{DIM:#}");
    }
    rows.push(format!(
        "{style}{symbol} {name}{style:#}{between}{:gap$}  {DIM}{head}{DIM:#}",
        ""
    ));
    let mut left = lines - 1;
    if left > 0 && !below.is_empty() {
        rows.push(format!("  {DIM}{}{DIM:#}", truncate(&below, columns - 2)));
        left -= 1;
    }
    if left == 0 {
        return;
    }
    if lane.end.is_some() {
        left = 1;
    }
    if left == 1 {
        let doing = doing(lane, columns.saturating_sub(2));
        rows.push(format!("  {DIM}{doing}{DIM:#}"));
        return;
    }
    let steps: Vec<&str> = lane.agent.recent().collect();
    for step in &steps[steps.len().saturating_sub(left - 1)..] {
        let step = truncate(step, columns.saturating_sub(4));
        rows.push(format!("  {DIM}›{DIM:#} {step}"));
    }
    rows.push(lane.agent.activity(columns));
}

/// What it does, did last or ended with, where there is one line for it.
fn doing(lane: &Lane, columns: usize) -> String {
    if let Some(words) = last_words(lane) {
        return truncate(&words, columns);
    }
    let agent = &lane.agent;
    let between_steps = agent.doing == "working" && !agent.is_writing();
    match agent.recent().next_back().filter(|_| between_steps) {
        Some(last) => truncate(&format!("› {last}"), columns),
        None => agent.doing_now(columns),
    }
}

/// As many notes as fit beside the name, and the rest for a line of their own where there is one.
fn fitting(notes: &[String], room: usize, more: bool) -> (String, String) {
    let all = notes.join(" · ");
    if columns_of(&all) <= room {
        return (all, String::new());
    }
    if more {
        let first = notes.first().cloned().unwrap_or_default();
        let rest = notes.get(1..).unwrap_or_default().join(" · ");
        return (first, rest);
    }
    let mut fit = notes.len();
    while fit > 0 && columns_of(&notes[..fit].join(" · ")) > room {
        fit -= 1;
    }
    (notes[..fit].join(" · "), String::new())
}

/// How it ended, in a line.
fn last_words(lane: &Lane) -> Option<String> {
    match lane.end.as_ref()? {
        End::Answered if lane.said.trim().is_empty() => Some("done".to_owned()),
        End::Answered => Some(format!("» {}", lane.said.trim())),
        End::Failed { sentence, .. } if sentence.is_empty() => Some("failed".to_owned()),
        End::Failed { sentence, .. } => Some(one_line(sentence)),
        End::Cancelled => Some("cancelled".to_owned()),
        End::TimedOut(seconds) => Some(format!("took longer than {seconds} s")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use nostr::Keys;

    use super::{
        super::race::{Heard, Starter},
        *,
    };
    use crate::nips::{Draft, kind};

    fn race(names: &[&str], at_once: usize) -> (Race, Keys, Vec<nostr::Event>) {
        let coordinator = Keys::generate();
        let customer = Keys::generate();
        let jobs: Vec<nostr::Event> = (0..names.len())
            .map(|n| {
                let job = Draft::new(5870).tag(["moment".to_owned(), n.to_string()]);
                job.sign(&customer, 100).unwrap()
            })
            .collect();
        let starters: Vec<Starter<'_>> = jobs
            .iter()
            .zip(names)
            .map(|(job, name)| Starter {
                job,
                name: (*name).to_owned(),
                with_model: true,
                round: None,
            })
            .collect();
        let race = Race::new(coordinator.public_key(), &starters, at_once);
        (race, coordinator, jobs)
    }

    fn shown(race: &Race, columns: usize, height: usize) -> String {
        let rows = rows(race, 172, columns, height).join("\n");
        anstream::adapter::strip_str(&rows).to_string()
    }

    fn feedback(job: &nostr::Event, keys: &Keys, tags: &[&[&str]]) -> nostr::Event {
        let mut draft = Draft::new(kind::JOB_FEEDBACK);
        for tag in tags {
            draft = draft.tag(tag.iter().copied());
        }
        let job = job.id.to_hex();
        draft.tag(["e", job.as_str()]).sign(keys, 101).unwrap()
    }

    #[test]
    fn each_has_a_block_and_those_in_line_say_so() {
        let names = ["opencode · qwen2.5:7b", "claude-code · sonnet", "chat"];
        let (mut race, coordinator, jobs) = race(&names, 2);
        let (session, now) = (Keys::generate(), Instant::now());
        race.tick(now);
        let handed = Draft::new(kind::AGENT_TASK)
            .tag(["i", "x", "text"])
            .tag(["p", &session.public_key().to_hex()])
            .tag(["E", &jobs[0].id.to_hex()])
            .sign(&coordinator, 100)
            .unwrap();
        assert!(matches!(race.hear(&handed, now), Heard::Step(0, _)));
        let root = jobs[0].id.to_hex();
        let record = |seq: &str, tags: &[&[&str]]| {
            let mut draft = Draft::new(kind::ACTION)
                .tag(["v", "0"])
                .tag(["seq", seq])
                .tag(["prev", &root])
                .tag(["e", &root])
                .tag(["E", &root])
                .tag(["L", "agent.action"]);
            for tag in tags {
                draft = draft.tag(tag.iter().copied());
            }
            draft.sign(&session, 110).unwrap()
        };
        race.hear(
            &record(
                "1",
                &[
                    &["l", "model", "agent.action"],
                    &["tokens", "41000", "912"],
                    &["microusd", "31000"],
                    &["alt", "Asked the model"],
                ],
            ),
            now,
        );
        race.hear(
            &record(
                "2",
                &[
                    &["l", "file", "agent.action"],
                    &["path", "src/a.rs"],
                    &["op", "edit"],
                    &["lines", "+10", "-3"],
                    &["alt", "Edited src/a.rs (+10 −3)"],
                ],
            ),
            now,
        );
        let refused = feedback(
            &jobs[1],
            &coordinator,
            &[
                &["status", "error", "no \u{1b}[2Jmodel is there"],
                &["code", "no-model"],
            ],
        );
        assert_eq!(
            race.hear(&refused, now + Duration::from_secs(3)),
            Heard::Over(1)
        );
        race.tick(now);
        insta::assert_snapshot!(shown(&race, 100, 40), @r"
        ● opencode · qwen2.5:7b            1:12 · 2 steps · 41.0k read, 912 written · $0.03 · 1 file +10 −3
          › Edited src/a.rs (+10 −3)
          … working
        ! claude-code · sonnet                                                                         0:03
          no [2Jmodel is there
        ● chat                                                                                         0:00
          … starting
        ");
        insta::assert_snapshot!(shown(&race, 60, 12), @r"
        ● opencode · qwen2.5:7b                                1:12
          2 steps · 41.0k read, 912 written · $0.03 · 1 file +10 −3
          › Edited src/a.rs (+10 −3)
        ! claude-code · sonnet                                 0:03
          no [2Jmodel is there
        ● chat                                                 0:00
          … starting
        ");
        insta::assert_snapshot!(shown(&race, 60, 6), @r"
        ● opencode · qwen2.5:7b  › Edited src/a.…    1:12 · 2 steps
        ! claude-code · sonnet  no [2Jmodel is there           0:03
        ● chat  … starting                                     0:00
        ");
        for (columns, height) in (40..120).flat_map(|c| (5..30).map(move |h| (c, h))) {
            let shown = shown(&race, columns, height);
            assert!(shown.lines().count() < height, "{shown}");
            assert!(
                shown.lines().all(|line| columns_of(line) < columns),
                "{columns}\n{shown}"
            );
        }
    }

    #[test]
    fn who_waits_has_no_time_running() {
        let (mut race, _, _) = race(&["a", "b", "c"], 1);
        let now = Instant::now();
        race.tick(now);
        let later = now + Duration::from_secs(60);
        assert_eq!(race.late(30, later), [0]);
        race.tick(later);
        assert_eq!(race.late(30, later), [0; 0]);
        assert_eq!(race.cancel(later), [1, 2]);
        race.tick(later + Duration::from_secs(10));
        assert!(race.over());
    }

    #[test]
    fn a_strangers_word_ends_nothing() {
        let (mut race, coordinator, jobs) = race(&["a", "b"], 4);
        let error: &[&[&str]] = &[&["status", "error", "no"]];
        let forged = feedback(&jobs[0], &Keys::generate(), error);
        assert_eq!(race.hear(&forged, Instant::now()), Heard::Nothing);
        let real = feedback(&jobs[0], &coordinator, error);
        assert_eq!(race.hear(&real, Instant::now()), Heard::Over(0));
        assert!(!race.over());
    }

    #[test]
    fn of_very_many_those_at_work_are_shown() {
        let names: Vec<String> = (0..32).map(|n| format!("agent {n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (mut race, _, _) = race(&names, 4);
        race.tick(Instant::now());
        insta::assert_snapshot!(shown(&race, 60, 24), @r"
        ● agent 0                                              0:00
          … starting
        ● agent 1                                              0:00
          … starting
        ● agent 2                                              0:00
          … starting
        ● agent 3                                              0:00
          … starting
        0 of 32 done · 28 waiting
        ");
    }
}
