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
        apply(&self.store, plan, &self.project, REF, 1_700_000_000)
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
                take_back(&case.store, &backup, &case.project).unwrap();
                assert_eq!(case.look(), before, "{what}: taken back");
            }
        } else {
            assert_eq!(after, before, "{what}: no backup, no change");
        }
    }
}
