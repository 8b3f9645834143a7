//! A process that is killed at any moment of an apply or of a take-back, and people who go on before the take-back.

use std::{
    cell::Cell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use super::*;

thread_local! {
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Ends the work of this thread when its time is over, without any of its cleaning up.
pub(in crate::workspace::apply) fn moment() {
    LEFT.with(|left| match left.get() {
        Some(0) => resume_unwind(Box::new("killed")),
        Some(more) => left.set(Some(more - 1)),
        None => {}
    });
}

/// Does something for so many moments; whether it came to its end.
pub(super) fn for_moments(moments: usize, work: impl FnOnce()) -> bool {
    LEFT.set(Some(moments));
    let ended = catch_unwind(AssertUnwindSafe(work)).is_ok();
    LEFT.set(None);
    ended
}

fn states() -> (Things, Things) {
    let base = things([
        ("a", file("1\n")),
        ("d/x", file("x")),
        ("d/y", link("x")),
        ("gone/e/z", file("z")),
        ("kind", file("k")),
        ("mode", file("m")),
        ("was/in", file("i")),
    ]);
    let result = things([
        ("a", file("2\n")),
        ("d/x", file("xx")),
        ("d/y", link("z")),
        ("kind/inner", file("new")),
        ("mode", mode("m", 0o755)),
        ("new/f/g", file("g")),
        ("was", file("w")),
    ]);
    (base, result)
}

/// What is in the project, and that nothing unfinished is.
fn clean(case: &Case, what: &str) -> Things {
    let look = case.look();
    let left: Vec<_> = look
        .keys()
        .filter(|path| path.contains(".treefort-"))
        .collect();
    assert!(left.is_empty(), "{what}: {left:?}");
    look
}

#[test]
fn at_every_moment_what_was_written_so_far_can_be_taken_back() {
    let (base, result) = states();
    let mut unfinished = 0;
    for moments in 0.. {
        let case = Case::new(&base, &base, &result);
        let plan = case.plan();
        let mut recorded = None;
        let ended = for_moments(moments, || {
            let record = |backup| {
                recorded = Some(backup);
                Ok(())
            };
            apply(&case.store, &plan, &case.project, KEEP, record).unwrap();
        });
        let backup = recorded.expect("it is on the record before the first write");
        unfinished += usize::from(case.look().keys().any(|path| path.contains(".treefort-")));
        // Somebody's file that only looks like ours.
        let theirs = case.project.join(".treefort-0123456789abcdef");
        fs::write(&theirs, "mine").unwrap();
        let taken = case.take_back(&backup).unwrap();
        assert_eq!(taken.kept, BTreeMap::new(), "{moments}");
        assert_eq!(fs::read(&theirs).unwrap(), b"mine");
        fs::remove_file(&theirs).unwrap();
        assert_eq!(clean(&case, "taken back"), base, "{moments}");
        // And it can come again.
        case.apply(&case.plan()).unwrap();
        assert_eq!(clean(&case, "again"), result, "{moments}");
        if ended {
            assert!(moments > 20 && unfinished > 5, "{moments} {unfinished}");
            return;
        }
    }
}

#[test]
fn a_take_back_that_is_cut_off_can_be_done_again() {
    let (base, result) = states();
    for moments in 0.. {
        let case = Case::new(&base, &base, &result);
        let backup = case.apply(&case.plan()).unwrap().backup.unwrap();
        let ended = for_moments(moments, || {
            case.take_back(&backup).unwrap();
        });
        let taken = case.take_back(&backup).unwrap();
        assert_eq!(taken.kept, BTreeMap::new(), "{moments}");
        assert_eq!(clean(&case, "taken back"), base, "{moments}");
        if ended {
            assert!(moments > 20);
            return;
        }
    }
}

#[test]
fn a_version_that_was_saved_in_the_moment_of_the_cut_is_not_lost() {
    let one = |text: &str| things([("f", file(text))]);
    let case = Case::new(&one("1"), &one("1"), &one("2"));
    let backup = case.apply(&case.plan()).unwrap().backup.unwrap();
    // Swapped, and killed before it was seen that this is not what was expected.
    let name = String::from_utf8(temporary::name(KEEP.token, b"f")).unwrap();
    fs::write(case.project.join(&name), "mine").unwrap();
    case.take_back(&backup).unwrap();
    assert_eq!(clean(&case, "theirs"), one("mine"));
    // Not swapped: what cannot be told apart from anything stays, and is named.
    fs::write(case.project.join("f"), "1").unwrap();
    fs::write(case.project.join(&name), "mine").unwrap();
    let taken = case.take_back(&backup).unwrap();
    assert_eq!(
        taken.kept,
        BTreeMap::from([(name.clone().into_bytes(), Kept::Unfinished)])
    );
    assert_eq!(fs::read(case.project.join(&name)).unwrap(), b"mine");
}

#[test]
fn what_the_person_changed_since_stays_and_the_rest_is_taken_back() {
    let lines = |a: &str, b: &str| file(&format!("{a}\nx\ny\nz\n{b}\n"));
    let base = things([
        ("apart", lines("a", "b")),
        ("away", file("1")),
        ("d/deep", file("1")),
        ("plain", file("1")),
        ("rights", file("1")),
        ("same", file("1\n")),
    ]);
    let result = things([
        ("apart", lines("A", "b")),
        ("away", file("2")),
        ("d", file("now a file")),
        ("new", file("n")),
        ("plain", file("2")),
        ("rights", file("2")),
        ("same", file("2\n")),
    ]);
    let case = Case::new(&base, &base, &result);
    let backup = case.apply(&case.plan()).unwrap().backup.unwrap();
    lay(
        &case.project,
        &things([
            ("apart", lines("A", "B")),
            ("d", file("edited")),
            ("new", file("mine")),
            ("rights", mode("2", 0o600)),
            ("same", file("3\n")),
        ]),
    );
    fs::remove_file(case.project.join("away")).unwrap();
    let expected = things([
        ("apart", lines("a", "B")),
        ("d", file("edited")),
        ("new", file("mine")),
        ("plain", file("1")),
        ("rights", mode("1", 0o600)),
        ("same", file("3\n")),
    ]);
    let taken = case.take_back(&backup).unwrap();
    assert_eq!(case.look(), expected);
    let kept = [
        ("away", Kept::Gone),
        ("d", Kept::Changed),
        ("d/deep", Kept::InTheWay),
        ("new", Kept::Changed),
        ("same", Kept::Changed),
    ]
    .map(|(path, why)| (path.as_bytes().to_vec(), why));
    assert_eq!(taken.kept, BTreeMap::from(kept));
    assert_eq!((taken.written, taken.merged, taken.removed), (3, 2, 0));
    assert!(matches!(
        case.take_back(&case.base),
        Err(Error::NoBackup(_))
    ));
}

#[test]
fn an_empty_folder_of_the_persons_is_in_the_way_of_a_file() {
    let base = things([("b/a", Thing::Folder)]);
    let project = things([("b/a/b", Thing::Folder)]);
    let case = Case::new(&base, &project, &things([("b", file("f"))]));
    let plan = case.plan();
    assert_eq!(
        actions(&plan),
        [("b".to_owned(), Action::Conflict(Why::Folder))]
    );
    case.apply(&plan).unwrap();
    let expected = things([("b/a/b", Thing::Folder), ("b.treefort", file("f"))]);
    assert_eq!(case.look(), expected);
}

#[test]
fn a_failure_in_the_middle_takes_back_what_was_done() {
    let base = things([("a", file("1")), ("b", file("1")), ("gone", file("g"))]);
    let result = things([("a", file("2")), ("b", file("2")), ("new", file("n"))]);
    let case = Case::new(&base, &base, &result);
    let mut plan = case.plan();
    // A content that the store does not have: the last write fails.
    let last = plan.writes.last_mut().unwrap();
    last.put = State::File {
        mode: 0o644,
        id: ObjectId::new([7; 20]),
    };
    plan.id = plan.hash();
    let error = case.apply(&plan).unwrap_err();
    assert!(
        matches!(error, Error::Write { undone: true, .. }),
        "{error:?}"
    );
    assert_eq!(case.look(), base);
}
