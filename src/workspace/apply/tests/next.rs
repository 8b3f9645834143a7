//! Where the next plan begins.

use super::*;

/// Applies and plans again from where that one ended.
fn again(case: &mut Case) -> (Plan, Applied, Plan) {
    let first = case.plan();
    let applied = case.apply(&first).unwrap();
    case.base = first.next;
    let second = case.plan();
    (first, applied, second)
}

#[test]
fn what_could_not_be_written_is_offered_again() {
    let base = things([("gone", file("1\n")), ("l", link("a"))]);
    let result = things([("l", link("b")), ("out/new", file("work\n"))]);
    let project = things([
        ("gone", file("mine\n")),
        ("l", link("c")),
        ("out", link("elsewhere")),
    ]);
    let mut case = Case::new(&base, &project, &result);
    let (first, applied, second) = again(&mut case);
    assert_eq!((applied.written, applied.conflicts.len()), (0, 3));
    assert_eq!(first.next, first.base);
    assert_eq!(actions(&second), actions(&first));
    // The way is free: now it comes home.
    fs::remove_file(case.project.join("out")).unwrap();
    let third = case.plan();
    assert!(actions(&third).contains(&("out/new".to_owned(), Action::Create)));
}

#[test]
fn of_a_mixed_plan_only_the_rest_is_offered_again() {
    let base = things([("f", file("1\n")), ("d/kept", file("1\n"))]);
    let result = things([
        ("f", file("2\n")),
        ("d", file("now a file\n")),
        ("out/new", file("work\n")),
        ("out/b/new", file("work\n")),
    ]);
    let project = things([
        ("f", file("1\n")),
        ("d/kept", file("mine\n")),
        ("out", link("elsewhere")),
    ]);
    let mut case = Case::new(&base, &project, &result);
    let (_, applied, second) = again(&mut case);
    assert_eq!(applied.written, 2, "f, and d beside");
    let mut left: Vec<String> = actions(&second).into_iter().map(|(path, _)| path).collect();
    left.dedup();
    assert_eq!(left, ["d", "d/kept", "out/b/new", "out/new"]);
    // Nothing new is written, and the same is left again.
    assert!(second.writes.is_empty());
    assert_eq!(second.next, second.base);
}
