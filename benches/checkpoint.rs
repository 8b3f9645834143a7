//! Checkpoints and restores (DESIGN.md §6), beside git on the same tree, in turns so that both meet the same
//! machine.
//!
//! A tree of 10,000 files in 500 folders. What is measured of us is durable when it returns; git syncs
//! nothing of the files that it checks out. *undo* is all of it: the checkpoint before, the restore, its
//! syncs, the checkpoint after.
//!
//! Run with `cargo bench --bench checkpoint`. Needs git.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark reports to a person and fails by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use treefort::workspace::{ObjectId, Rules, Workspace, objects::Store};

const FILES: usize = 10_000;
const FOLDERS: usize = 500;
const CHANGED: usize = 1_000;
const ROUNDS: usize = 15;
const FIRST_ROUNDS: usize = 5;

fn path(tree: &Path, number: usize) -> PathBuf {
    let folder = number % FOLDERS;
    tree.join(format!(
        "src/module{}/part{folder}/file{number}.rs",
        folder % 25
    ))
}

/// Some two kilobytes of something like source code.
fn text(number: usize, version: usize) -> String {
    let line = |at: usize| {
        format!(
            "    let value{at} = call_{}({number}, {version});\n",
            at * number % 97
        )
    };
    (0..20 + number % 50).map(line).collect()
}

fn write(tree: &Path, numbers: impl Iterator<Item = usize>, version: usize) {
    for number in numbers {
        fs::write(path(tree, number), text(number, version)).unwrap();
    }
}

fn fill(tree: &Path) {
    for number in 0..FOLDERS {
        fs::create_dir_all(path(tree, number).parent().unwrap()).unwrap();
    }
    write(tree, 0..FILES, 0);
}

/// git with a repository beside the tree, as a checkpoint by git would have it.
struct Git {
    repository: PathBuf,
    tree: PathBuf,
}

impl Git {
    fn new(folder: &Path, name: &str) -> Self {
        let git = Self {
            repository: folder.join(format!("{name}.git")),
            tree: folder.join(name),
        };
        fs::create_dir(&git.tree).unwrap();
        git.run(&["init", "-q"]);
        git
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .arg("--git-dir")
            .arg(&self.repository)
            .arg("--work-tree")
            .arg(&self.tree)
            .args(["-c", "gc.auto=0", "-c", "safe.directory=*"])
            .args(arguments)
            .current_dir(&self.tree)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn checkpoint(&self) -> String {
        self.run(&["add", "-A"]);
        self.run(&["write-tree"])
    }
}

fn workspace(folder: &Path, name: &str) -> Workspace {
    let store = Store::open(&folder.join(format!("{name}.store"))).unwrap();
    Workspace::create(&folder.join(name), Arc::new(store), Rules::default(), None).unwrap()
}

fn time<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = work();
    times.push(began.elapsed());
    result
}

fn report(name: &str, ours: &mut [Duration], gits: &mut [Duration], bar: Option<f64>) {
    ours.sort();
    gits.sort();
    let ms = |times: &[Duration], at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1000.0;
    let half = ours.len() / 2;
    let bar = bar.map_or(String::new(), |bar| format!("   bar {bar} ms"));
    println!(
        "{name:<34} treefort p50 {:7.1} ms  p90 {:7.1} ms   git p50 {:7.1} ms  p90 {:7.1} ms   n {}{bar}",
        ms(ours, half),
        ms(ours, ours.len() * 9 / 10),
        ms(gits, half),
        ms(gits, gits.len() * 9 / 10),
        ours.len()
    );
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();

    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    for round in 0..FIRST_ROUNDS {
        let mut workspace = workspace(folder, &format!("first{round}"));
        fill(workspace.tree_dir());
        let git = Git::new(folder, &format!("git-first{round}"));
        fill(&git.tree);
        time(&mut ours, || workspace.checkpoint("first", 1).unwrap());
        time(&mut gits, || git.checkpoint());
        time(&mut Vec::new(), || {
            fs::remove_dir_all(workspace.dir()).unwrap()
        });
    }
    report("first checkpoint, 10k files", &mut ours, &mut gits, None);

    let mut workspace = workspace(folder, "w");
    let tree = workspace.tree_dir().to_owned();
    fill(&tree);
    let git = Git::new(folder, "git");
    fill(&git.tree);
    std::thread::sleep(Duration::from_millis(50));
    workspace.checkpoint("first", 1).unwrap();
    git.checkpoint();

    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        time(&mut ours, || workspace.checkpoint("unchanged", 1).unwrap());
        time(&mut gits, || git.checkpoint());
    }
    report(
        "checkpoint, nothing changed",
        &mut ours,
        &mut gits,
        Some(100.0),
    );

    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        for tree in [&tree, &git.tree] {
            write(tree, (0..10).map(|at| at * 991), round);
        }
        time(&mut ours, || workspace.checkpoint("ten", 1).unwrap());
        time(&mut gits, || git.checkpoint());
    }
    report("checkpoint, 10 files changed", &mut ours, &mut gits, None);

    let mut trees: Vec<(ObjectId, String)> = Vec::new();
    for version in [100, 101] {
        for tree in [&tree, &git.tree] {
            write(tree, (0..CHANGED).map(|at| at * 7), version);
        }
        let ours = workspace.checkpoint("thousand", 1).unwrap();
        trees.push((ours.commit, git.checkpoint()));
    }
    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    let mut written = 0;
    for round in 0..ROUNDS {
        let (target, git_target) = &trees[round % 2];
        let undone = time(&mut ours, || workspace.undo(target, 2).unwrap());
        written = undone.written;
        time(&mut gits, || {
            git.checkpoint();
            git.run(&["read-tree", "--reset", "-u", git_target]);
            git.checkpoint()
        });
    }
    assert_eq!(written, CHANGED as u64);
    report(
        "undo of 1k changed files",
        &mut ours,
        &mut gits,
        Some(500.0),
    );

    let mut ours = Vec::new();
    let mut gits = Vec::new();
    for round in 0..FIRST_ROUNDS {
        time(&mut ours, || workspace.plant_git("main", 1).unwrap());
        let target = folder.join(format!("planted{round}"));
        time(&mut gits, || {
            fs::create_dir(&target).unwrap();
            Command::new("sh")
                .args(["-c", "git init -q . && git add -A && git -c user.name=x -c user.email=x commit -qm x"])
                .current_dir(&git.tree)
                .env("GIT_DIR", &target)
                .env("GIT_WORK_TREE", &git.tree)
                .status()
                .unwrap()
        });
    }
    report("the disposable repository", &mut ours, &mut gits, None);
}
