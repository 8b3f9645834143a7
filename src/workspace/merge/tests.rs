use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn merged(base: &str, yours: &str, agents: &str) -> (String, usize) {
    match merge(
        base.as_bytes(),
        yours.as_bytes(),
        agents.as_bytes(),
        &Limits::default(),
    ) {
        Outcome::Clean(text) => (String::from_utf8(text).unwrap(), 0),
        Outcome::Conflict { text, count } => (String::from_utf8(text).unwrap(), count),
        other => panic!("{other:?}"),
    }
}

#[test]
fn merges_what_does_not_touch() {
    for (base, yours, agents, expected) in [
        ("a\nb\nc\n", "A\nb\nc\n", "a\nb\nC\n", "A\nb\nC\n"),
        ("a\nb\nc\n", "b\nc\n", "a\nb\nc\nd\n", "b\nc\nd\n"),
        ("a\nb\nc\n", "a\nb\nc\n", "", ""),
        ("a\nb\nc\n", "a\nX\nc\n", "a\nX\nc\n", "a\nX\nc\n"),
        ("a\nb\nc\n", "x\na\nb\nc", "a\nb\nc\n", "x\na\nb\nc"),
        ("", "", "new\n", "new\n"),
        ("a\nb\nc", "A\nb\nc", "a\nb\nC", "A\nb\nC"),
    ] {
        assert_eq!(
            merged(base, yours, agents),
            (expected.to_owned(), 0),
            "{base:?} {yours:?} {agents:?}"
        );
    }
}

#[test]
fn shows_what_clashes_between_markers() {
    let (text, count) = merged("a\nb\nc\nd\ne\n", "a\nY\nc\nd\ny\n", "a\nA\nc\nd\nz\n");
    assert_eq!(count, 2);
    assert_eq!(
        text,
        "a\n<<<<<<< yours\nY\n||||||| before\nb\n=======\nA\n>>>>>>> agent's\nc\nd\n\
         <<<<<<< yours\ny\n||||||| before\ne\n=======\nz\n>>>>>>> agent's\n"
    );
    // Ends of lines: markers begin on lines of their own, and end as the person's lines do.
    let (text, _) = merged("a", "b", "c");
    assert_eq!(
        text,
        "<<<<<<< yours\nb\n||||||| before\na\n=======\nc\n>>>>>>> agent's\n"
    );
    let (text, _) = merged("a\r\n", "b\r\n", "c\r\n");
    assert!(
        text.lines().count() == 7
            && text
                .split_inclusive('\n')
                .all(|line| line.ends_with("\r\n"))
    );
    // What both sides begin and end with is outside.
    let (text, _) = merged("1\n", "x\nb\ny\n", "x\nc\ny\n");
    assert!(
        text.starts_with("x\n<<<<<<<") && text.ends_with(">>>>>>> agent's\ny\n"),
        "{text}"
    );
}

#[test]
fn one_side_deletes_what_the_other_changes() {
    let (text, count) = merged("a\nb\nc\n", "a\nc\n", "a\nB\nc\n");
    assert_eq!(count, 1);
    assert_eq!(
        text,
        "a\n<<<<<<< yours\n||||||| before\nb\n=======\nB\n>>>>>>> agent's\nc\n"
    );
}

#[test]
fn what_is_no_text_or_too_much_is_said() {
    let limits = Limits {
        max_input: 100,
        ..Limits::default()
    };
    assert_eq!(merge(b"a", b"b\0", b"c", &limits), Outcome::Binary);
    assert_eq!(merge(b"a", &[b'b'; 101], b"c", &limits), Outcome::TooFar);
}

#[test]
fn hostile_texts_end_within_the_deadline() {
    let lines = |sign: &str| {
        (0..150_000)
            .map(|n| format!("{sign}{n}\n"))
            .collect::<String>()
    };
    let limits = Limits {
        deadline: Duration::from_millis(200),
        ..Limits::default()
    };
    let start = Instant::now();
    let outcome = merge(
        lines("").as_bytes(),
        lines("-").as_bytes(),
        lines("+").as_bytes(),
        &limits,
    );
    assert_eq!(outcome, Outcome::TooFar);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

/// What a text says when every conflict is settled for one side.
fn settled(text: &str, for_agent: bool) -> String {
    let mut out = String::new();
    let mut at = "both";
    for line in text.split_inclusive('\n') {
        at = match line.trim_end() {
            YOURS => "yours",
            BEFORE => "before",
            MIDDLE => "agents",
            AGENTS => "end",
            _ => at,
        };
        let marker = [YOURS, BEFORE, MIDDLE, AGENTS].contains(&line.trim_end());
        let wanted = match at {
            "both" | "end" => true,
            "yours" => !for_agent,
            "agents" => for_agent,
            _ => false,
        };
        if wanted && !marker {
            out.push_str(line);
        }
    }
    out
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec!["a\n", "b\n", "c\n", "{\n", "}\n"]),
        0..12,
    )
    .prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn edits_that_do_not_overlap_are_both_in(
        parts in prop::collection::vec((prop::sample::select(vec![0, 1, 2]), "[a-z]{0,3}"), 1..20),
    ) {
        // Blocks with a line of its own between them; each is changed by nobody, the person or the agent.
        let block = |side: usize| -> String {
            parts
                .iter()
                .enumerate()
                .map(|(n, (who, new))| {
                    let changed = side == 3 && *who != 0 || side == *who && side != 0;
                    let line = if changed { format!("new {new}\nof {n}\n") } else { format!("old {n}\n") };
                    format!("{line}between {n}\n")
                })
                .collect()
        };
        prop_assert_eq!(merged(&block(0), &block(1), &block(2)), (block(3), 0));
    }

    #[test]
    fn any_three_texts_merge_without_loss(base in text(), yours in text(), agents in text()) {
        prop_assert_eq!(merged(&base, &yours, &base), (yours.clone(), 0));
        prop_assert_eq!(merged(&base, &base, &agents), (agents.clone(), 0));
        prop_assert_eq!(merged(&base, &yours, &yours), (yours.clone(), 0));
        let (text, conflicts) = merged(&base, &yours, &agents);
        let (back, mirrored) = merged(&base, &agents, &yours);
        prop_assert_eq!(conflicts, mirrored);
        if conflicts == 0 {
            prop_assert_eq!(&text, &back);
        }
        // Settled for a side, a line of that side is never missing: every line comes at least as often as the side
        // alone has it, less what the other side took out.
        let one = settled(&text, false);
        for line in ["a\n", "b\n", "c\n", "{\n", "}\n"] {
            let count = |text: &str| text.split_inclusive('\n').filter(|other| *other == line).count();
            let taken = count(&base).saturating_sub(count(&agents));
            let removed = count(&base);
            prop_assert!(count(&one) + taken.max(removed) >= count(&yours));
        }
    }
}
