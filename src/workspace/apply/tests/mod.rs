//! Every way in which base, project and result can differ, and people and agents who do not play by the rules.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::*;
use crate::workspace::testing::{self, Thing, Things, file, lay, link, look, mode, things, tree};

const REF: &str = "refs/treefort/test/apply";
const KEEP: Keep<'_> = Keep {
    name: REF,
    token: "0123456789abcdef",
    at: 1_700_000_000,
};

struct Case {
    _dir: tempfile::TempDir,
    store: Store,
    project: PathBuf,
    base: ObjectId,
    result: ObjectId,
}

impl Case {
    fn new(base: &Things, project: &Things, result: &Things) -> Self {
        let (dir, store) = testing::store();
        let path = dir.path().join("project");
        fs::create_dir(&path).unwrap();
        lay(&path, project);
        Self {
            base: tree(&store, base),
            result: tree(&store, result),
            _dir: dir,
            store,
            project: path,
        }
    }

    fn plan(&self) -> Plan {
        plan(&self.store, &self.base, &self.result, &self.project, &[]).unwrap()
    }

    fn apply(&self, plan: &Plan) -> Result<Applied, Error> {
        apply(&self.store, plan, &self.project, KEEP, |_| Ok(()))
    }

    fn take_back(&self, backup: &ObjectId) -> Result<TakenBack, Error> {
        take_back(&self.store, backup, KEEP.token, &self.project)
    }

    fn look(&self) -> Things {
        look(&self.project)
    }
}

fn actions(plan: &Plan) -> Vec<(String, Action)> {
    plan.steps
        .iter()
        .map(|step| {
            (
                String::from_utf8_lossy(&step.path).into_owned(),
                step.action.clone(),
            )
        })
        .collect()
}

/// One path `f` in the three states, what the plan says of it, and what is there afterwards.
type Row = (
    &'static str,
    Option<Thing>,
    Option<Thing>,
    Option<Thing>,
    Option<Action>,
    Vec<(&'static str, Thing)>,
);

fn table() -> Vec<Row> {
    use Action::{Conflict, Create, Delete, Folder, Link, Merge, Mode, RemoveFolder, Replace};
    let (one, two, three) = (|| file("1\n"), || file("2\n"), || file("3\n"));
    let lines = |a: &str, b: &str| file(&format!("{a}\nx\ny\nz\n{b}\n"));
    let nul = |n: &str| file(&format!("\0{n}"));
    let marked = "<<<<<<< yours\n2\n||||||| before\n1\n=======\n3\n>>>>>>> agent's\n";
    vec![
        (
            "agent creates",
            None,
            None,
            Some(one()),
            Some(Create),
            vec![("f", one())],
        ),
        (
            "both create the same",
            None,
            Some(one()),
            Some(one()),
            None,
            vec![("f", one())],
        ),
        (
            "both create",
            None,
            Some(one()),
            Some(two()),
            Some(Conflict(Why::BothAdded)),
            vec![("f", one()), ("f.treefort", two())],
        ),
        (
            "agent changes",
            Some(one()),
            Some(one()),
            Some(two()),
            Some(Replace),
            vec![("f", two())],
        ),
        (
            "person changes",
            Some(one()),
            Some(two()),
            Some(one()),
            None,
            vec![("f", two())],
        ),
        (
            "both change the same",
            Some(one()),
            Some(two()),
            Some(two()),
            None,
            vec![("f", two())],
        ),
        (
            "both change apart",
            Some(lines("a", "b")),
            Some(lines("A", "b")),
            Some(lines("a", "B")),
            Some(Merge),
            vec![("f", lines("A", "B"))],
        ),
        (
            "both change one line",
            Some(one()),
            Some(two()),
            Some(three()),
            Some(Conflict(Why::Text(1))),
            vec![("f", file(marked))],
        ),
        (
            "both change what is no text",
            Some(nul("1")),
            Some(nul("2")),
            Some(nul("3")),
            Some(Conflict(Why::Binary)),
            vec![("f", nul("2")), ("f.treefort", nul("3"))],
        ),
        (
            "agent deletes",
            Some(one()),
            Some(one()),
            None,
            Some(Delete),
            vec![],
        ),
        (
            "person deletes",
            Some(one()),
            None,
            Some(one()),
            None,
            vec![],
        ),
        ("both delete", Some(one()), None, None, None, vec![]),
        (
            "agent deletes what the person changed",
            Some(one()),
            Some(two()),
            None,
            Some(Conflict(Why::AgentDeleted)),
            vec![("f", two())],
        ),
        (
            "agent changes what the person deleted",
            Some(one()),
            None,
            Some(two()),
            Some(Conflict(Why::YouDeleted)),
            vec![("f.treefort", two())],
        ),
        (
            "agent makes it executable",
            Some(one()),
            Some(one()),
            Some(mode("1\n", 0o755)),
            Some(Mode),
            vec![("f", mode("1\n", 0o755))],
        ),
        (
            "agent makes it executable, person changes it",
            Some(one()),
            Some(two()),
            Some(mode("1\n", 0o755)),
            Some(Mode),
            vec![("f", mode("2\n", 0o755))],
        ),
        (
            "person makes it executable, agent changes it",
            Some(one()),
            Some(mode("1\n", 0o755)),
            Some(two()),
            Some(Replace),
            vec![("f", mode("2\n", 0o755))],
        ),
        (
            "both change its mode",
            Some(one()),
            Some(mode("1\n", 0o600)),
            Some(mode("1\n", 0o755)),
            Some(Conflict(Why::Permissions)),
            vec![("f", mode("1\n", 0o600))],
        ),
        (
            "an agent's mode is never wider than others may",
            None,
            None,
            Some(mode("1\n", 0o6777)),
            Some(Create),
            vec![("f", mode("1\n", 0o755))],
        ),
        (
            "file becomes link",
            Some(one()),
            Some(one()),
            Some(link("g")),
            Some(Link),
            vec![("f", link("g"))],
        ),
        (
            "link becomes file",
            Some(link("g")),
            Some(link("g")),
            Some(one()),
            Some(Replace),
            vec![("f", one())],
        ),
        (
            "link moves",
            Some(link("g")),
            Some(link("g")),
            Some(link("h")),
            Some(Link),
            vec![("f", link("h"))],
        ),
        (
            "both move the link",
            Some(link("g")),
            Some(link("i")),
            Some(link("h")),
            Some(Conflict(Why::Kind)),
            vec![("f", link("i"))],
        ),
        (
            "person makes it a link",
            Some(one()),
            Some(link("g")),
            Some(two()),
            Some(Conflict(Why::Kind)),
            vec![("f", link("g")), ("f.treefort", two())],
        ),
        (
            "agent deletes what is a link now",
            Some(one()),
            Some(link("g")),
            None,
            Some(Conflict(Why::AgentDeleted)),
            vec![("f", link("g"))],
        ),
        (
            "agent makes a folder",
            None,
            None,
            Some(Thing::Folder),
            Some(Folder),
            vec![("f", Thing::Folder)],
        ),
        (
            "agent removes a folder",
            Some(Thing::Folder),
            Some(Thing::Folder),
            None,
            Some(RemoveFolder),
            vec![],
        ),
        (
            "agent creates where a folder is",
            None,
            Some(Thing::Folder),
            Some(one()),
            Some(Conflict(Why::Folder)),
            vec![("f", Thing::Folder), ("f.treefort", one())],
        ),
        (
            "agent makes a folder where a file is",
            None,
            Some(one()),
            Some(Thing::Folder),
            Some(Conflict(Why::Folder)),
            vec![("f", one())],
        ),
    ]
}

#[test]
fn every_case_of_three_states_ends_as_it_should_and_can_be_taken_back() {
    for (what, base, project, result, action, expected) in table() {
        // A neighbour keeps the trees from being empty, and must stay as it is.
        let with = |thing: &Option<Thing>| -> Things {
            let mut all = things([("keep", file("keep"))]);
            all.extend(thing.clone().map(|thing| ("f".to_owned(), thing)));
            all
        };
        let case = Case::new(&with(&base), &with(&project), &with(&result));
        let before = case.look();
        let plan = case.plan();
        assert_eq!(case.look(), before, "{what}: a plan changes nothing");
        let expected_actions: Vec<_> = action
            .iter()
            .map(|action| ("f".to_owned(), action.clone()))
            .collect();
        assert_eq!(actions(&plan), expected_actions, "{what}");
        let applied = case.apply(&plan).unwrap();
        let mut after = things([("keep", file("keep"))]);
        after.extend(
            expected
                .into_iter()
                .map(|(path, thing)| (path.to_owned(), thing)),
        );
        assert_eq!(case.look(), after, "{what}");
        if let Some(backup) = applied.backup {
            assert_eq!(case.store.ref_(REF).unwrap(), Some(backup), "{what}");
            for _ in 0..2 {
                case.take_back(&backup).unwrap();
                assert_eq!(case.look(), before, "{what}: taken back");
            }
        } else {
            assert_eq!(after, before, "{what}: no backup, no change");
        }
    }
}

mod back;
pub(super) mod cut_off;
mod hostile;
mod next;
mod random;

#[test]
fn a_file_becomes_a_folder_and_a_folder_a_file() {
    let base = things([("a", file("a")), ("d/x", file("x")), ("d/e/y", file("y"))]);
    let result = things([("a/inner", file("i")), ("d", file("d"))]);
    let case = Case::new(&base, &base, &result);
    let applied = case.apply(&case.plan()).unwrap();
    assert_eq!(applied.conflicts, [b""; 0]);
    assert_eq!(case.look(), result);
    case.take_back(&applied.backup.unwrap()).unwrap();
    assert_eq!(case.look(), base);
}

#[test]
fn a_folder_with_something_of_the_persons_does_not_go() {
    let base = things([("d/x", file("x")), ("e/x", file("x"))]);
    let mut project = base.clone();
    project.insert("d/mine".to_owned(), file("mine"));
    let case = Case::new(&base, &project, &things([("d", file("d"))]));
    let plan = case.plan();
    assert!(actions(&plan).contains(&("d".to_owned(), Action::Conflict(Why::Folder))));
    case.apply(&plan).unwrap();
    let expected = things([("d/mine", file("mine")), ("d.treefort", file("d"))]);
    assert_eq!(case.look(), expected);
}

#[test]
fn an_ignored_file_of_the_persons_is_not_overwritten_and_gets_no_markers() {
    let ignore = file(".env\n");
    let base = things([(".gitignore", ignore.clone())]);
    let project = things([(".gitignore", ignore.clone()), (".env", file("KEY=1\n"))]);
    let result = things([(".gitignore", ignore.clone()), (".env", file("KEY=fake\n"))]);
    let case = Case::new(&base, &project, &result);
    let plan = case.plan();
    assert_eq!(
        actions(&plan),
        [(".env".to_owned(), Action::Conflict(Why::Ignored))]
    );
    assert_eq!(plan.steps[0].beside.as_deref(), Some(&b".env.treefort"[..]));
    let applied = case.apply(&plan).unwrap();
    assert_eq!(applied.conflicts, [b".env"]);
    let mut expected = project;
    expected.insert(".env.treefort".to_owned(), file("KEY=fake\n"));
    assert_eq!(case.look(), expected);
    // The agent's version is there already, so that a second apply has nothing to write.
    assert_eq!(case.plan().writes, []);
}

#[test]
fn names_that_differ_by_case_only_are_noted() {
    let base = things([
        ("README.md", file("r")),
        ("src/lib.rs", file("l")),
        ("gone", file("g")),
    ]);
    let mut result = base.clone();
    result.remove("gone");
    result.extend(things([
        ("readme.md", file("2")),
        ("SRC/x", file("x")),
        ("Gone", file("g")),
    ]));
    let case = Case::new(&base, &base, &result);
    let collides: Vec<_> = case
        .plan()
        .steps
        .into_iter()
        .filter(|step| !step.collides.is_empty())
        .map(|step| (step.path, step.collides))
        .collect();
    let expected = [("SRC/x", "src"), ("readme.md", "README.md")]
        .map(|(path, other)| (path.as_bytes().to_vec(), vec![other.as_bytes().to_vec()]));
    assert_eq!(collides, expected);
}

#[test]
fn what_the_checkpoint_does_not_cover_is_not_taken_for_deleted() {
    let base = things([("big", file("b")), ("d/x", file("x")), ("gone", file("g"))]);
    let case = Case::new(&base, &base, &things([("keep", file("k"))]));
    let uncovered = [
        (b"big".to_vec(), crate::workspace::Why::TooLarge(1 << 40)),
        (b"d".to_vec(), crate::workspace::Why::Unreadable),
    ]
    .map(|(path, why)| Uncovered::work(path, why));
    let plan = plan(
        &case.store,
        &case.base,
        &case.result,
        &case.project,
        &uncovered,
    )
    .unwrap();
    let refused = [&b"big"[..], b"d"].map(|path| Refused {
        path: path.to_vec(),
        why: Refusal::Uncovered,
    });
    assert_eq!(plan.refused, refused);
    assert_eq!(plan.steps.len(), 2);
    case.apply(&plan).unwrap();
    let expected = things([("big", file("b")), ("d/x", file("x")), ("keep", file("k"))]);
    assert_eq!(case.look(), expected);
}

#[test]
fn a_plan_survives_being_stored_and_notices_being_changed() {
    let case = Case::new(&things([]), &things([]), &things([("a", file("a"))]));
    let text = serde_json::to_string(&case.plan()).unwrap();
    let mut plan: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(plan, case.plan());
    plan.writes[0].path = b"b".to_vec();
    assert!(matches!(case.apply(&plan), Err(Error::Tampered)));
    assert_eq!(case.look(), things([]));
}

#[test]
fn git_in_the_store_shows_what_was_before() {
    let case = Case::new(
        &things([("a", file("1\n"))]),
        &things([("a", file("1\n"))]),
        &things([("a", file("2\n"))]),
    );
    let applied = case.apply(&case.plan()).unwrap();
    let output = std::process::Command::new("git")
        .arg("--git-dir")
        .arg(case.store.path())
        .args(["show", &format!("{}:before/a", applied.backup.unwrap())])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"1\n");
}
