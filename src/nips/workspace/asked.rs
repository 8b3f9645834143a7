//! What agents ask, in an answer that holds only so much: texts are cut, and say so; no question leaves unseen.
//!
//! The room is shared between the sessions first and between the questions of each then, and what needs less than its
//! share leaves the rest to the others: an agent that asks much takes nothing from the one beside it.

use serde::Serialize;

use super::{QuestionLine, WorkLine};

/// What stands at the end of a text that was cut.
const DOTS: &str = "…";

/// Cuts what is asked until these lines take at most so many bytes as JSON, as far as texts and names of options can
/// be cut. Of a session's questions that do not even fit without them the first stay, and the others are counted.
pub fn cut_questions(sessions: &mut [WorkLine], most: usize) {
    let asked: Vec<usize> = sessions.iter().map(|line| size(&line.questions)).collect();
    let whole: usize = sessions.iter().map(size).map(|size| size + 1).sum();
    let room = most.saturating_sub(whole.saturating_sub(asked.iter().sum()));
    let share = level(&asked, room);
    for (line, asked) in sessions.iter_mut().zip(asked) {
        if asked > share {
            cut_session(line, share);
        }
    }
}

fn cut_session(line: &mut WorkLine, room: usize) {
    let bare: Vec<usize> = line.questions.iter().map(bare).collect();
    let (mut kept, mut taken) = (0, 0);
    for size in &bare {
        // One is shown in any case.
        if kept > 0 && taken + size > room {
            break;
        }
        kept += 1;
        taken += size;
    }
    line.more_questions += line.questions.len() - kept;
    line.questions.truncate(kept);
    let texts: Vec<usize> = line
        .questions
        .iter()
        .flat_map(texts)
        .map(|text| size(text).saturating_sub(empty()))
        .collect();
    let most = level(&texts, room.saturating_sub(taken));
    for question in &mut line.questions {
        question.cut += cut(&mut question.text, most);
        for option in &mut question.options {
            cut(&mut option.name, most);
        }
    }
}

/// Cuts a text to so many bytes as JSON, beside the mark; gives how many bytes of it went.
fn cut(text: &mut String, most: usize) -> usize {
    if size(text).saturating_sub(empty()) <= most {
        return 0;
    }
    let before = text.len();
    let mut taken = 0;
    let end = text.char_indices().find(|(_, char)| {
        taken += size(char).saturating_sub(empty());
        taken > most
    });
    text.truncate(end.map_or(before, |(at, _)| at));
    let gone = before - text.len();
    text.push_str(DOTS);
    gone
}

/// Leaves something out: half of the longest text, else a question of who asks most; no when nothing is left.
pub(super) fn shrink(sessions: &mut [WorkLine]) -> bool {
    let asked = sessions.iter_mut().flat_map(|line| &mut line.questions);
    let longest = asked.max_by_key(|question| question.text.len());
    if longest.is_some_and(halve) {
        return true;
    }
    let most = sessions.iter_mut().max_by_key(|line| line.questions.len());
    most.is_some_and(|line| {
        let gone = line.questions.pop().is_some();
        line.more_questions += usize::from(gone);
        gone
    })
}

/// Leaves half of a text out, with the mark; no when there is nothing left of it.
fn halve(question: &mut QuestionLine) -> bool {
    let shown = question
        .text
        .strip_suffix(DOTS)
        .filter(|_| question.cut > 0);
    let shown = shown.unwrap_or(&question.text);
    if shown.is_empty() {
        return false;
    }
    let half = shown.floor_char_boundary(shown.len() / 2);
    question.cut += shown.len() - half;
    question.text.truncate(half);
    question.text.push_str(DOTS);
    true
}

/// A question's size when nothing is left of its texts but the mark that they are cut.
fn bare(question: &QuestionLine) -> usize {
    let texts: Vec<&str> = texts(question).collect();
    let marks = texts.len() * (DOTS.len() + "\"cut\":,".len() + 20);
    let long: usize = texts.iter().map(|text| size(text) - empty()).sum();
    size(question) - long + marks + 1
}

fn texts(question: &QuestionLine) -> impl Iterator<Item = &str> {
    let options = question.options.iter();
    let names = options.map(|option| option.name.as_str());
    std::iter::once(question.text.as_str()).chain(names)
}

/// The most that each may have, so that all together have at most `room`.
fn level(sizes: &[usize], room: usize) -> usize {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    let mut left = room;
    for (at, size) in sorted.iter().enumerate() {
        let share = left / (sorted.len() - at);
        if *size > share {
            return share;
        }
        left -= size;
    }
    usize::MAX
}

/// Bytes as JSON; what cannot be written takes all the room there is.
fn size(value: &(impl Serialize + ?Sized)) -> usize {
    serde_json::to_string(value).map_or(usize::MAX / 1024, |text| text.len())
}

/// Bytes of an empty text.
const fn empty() -> usize {
    2
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::nips::workspace::OptionLine;

    fn asks(texts: &[&str]) -> WorkLine {
        let question = |text: &&str| QuestionLine {
            question: "0".repeat(64),
            text: (*text).to_owned(),
            cut: 0,
            options: [("1", "allow_once", "Yes"), ("2", "reject_once", "No")]
                .map(|(id, kind, name)| OptionLine {
                    id: id.to_owned(),
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                })
                .to_vec(),
            until: 1_773_187_400,
        };
        WorkLine {
            session: Keys::generate().public_key(),
            agent: "scripted".to_owned(),
            title: String::new(),
            at: 1,
            workspace: None,
            project: None,
            paused: false,
            questions: texts.iter().map(question).collect(),
            more_questions: 0,
            silent: false,
        }
    }

    fn cut_to(mut sessions: Vec<WorkLine>, most: usize) -> Vec<WorkLine> {
        cut_questions(&mut sessions, most);
        assert!(serde_json::to_string(&sessions).unwrap().len() <= most + 2);
        sessions
    }

    #[test]
    fn long_questions_are_cut_and_say_so_and_none_of_them_is_missing() {
        let long = "rm -rf / \u{1}ü ".repeat(1_700);
        let before = vec![asks(&[&long, "short"]), asks(&["other"]), asks(&[&long])];
        assert_eq!(cut_to(before.clone(), 400_000), before);
        let after = cut_to(before.clone(), 40_000);
        assert_eq!(after[1], before[1]);
        assert_eq!(after[0].questions[1], before[0].questions[1]);
        for question in [&after[0].questions[0], &after[2].questions[0]] {
            let shown = question.text.strip_suffix(DOTS).unwrap();
            assert!(long.starts_with(shown) && shown.len() > 5_000);
            assert_eq!(shown.len() + question.cut, long.len());
            assert_eq!(question.options, before[1].questions[0].options);
        }
    }

    #[test]
    fn an_agent_that_asks_much_takes_nothing_from_the_one_beside_it() {
        let long = "x".repeat(24_000);
        let one = asks(&[&"y".repeat(9_000)]);
        let mut loud = asks(&vec![long.as_str(); 200]);
        let names = loud.questions.iter_mut().flat_map(|it| &mut it.options);
        names.for_each(|option| option.name = "\u{7}".repeat(512));
        let after = cut_to(vec![loud, one.clone()], 40_000);
        assert_eq!(after[1], one);
        let shown = &after[0];
        assert!(shown.questions.len() > 20);
        assert_eq!(shown.questions.len() + shown.more_questions, 200);
        assert!(shown.questions.iter().all(|it| it.text.ends_with(DOTS)));
    }

    #[test]
    fn what_has_to_be_shorter_yet_loses_texts_first_then_questions_and_counts_them() {
        let mut sessions = vec![asks(&["abcdefgh", "b"]), asks(&["c"])];
        assert!(shrink(&mut sessions));
        let first = &sessions[0].questions[0];
        assert_eq!((first.text.as_str(), first.cut), ("abcd…", 4));
        while sessions.iter().all(|line| line.more_questions == 0) {
            assert!(shrink(&mut sessions));
        }
        let first = &sessions[0];
        assert_eq!((first.questions.len(), first.more_questions), (1, 1));
        assert_eq!(
            (first.questions[0].text.as_str(), first.questions[0].cut),
            ("…", 8)
        );
        while shrink(&mut sessions) {}
        assert_eq!(sessions[1].more_questions, 1);
    }
}
