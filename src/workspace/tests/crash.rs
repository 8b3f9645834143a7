//! Real processes, killed while they restore and keep.

use std::{
    env,
    process::Stdio,
    time::{Duration, Instant},
};

use super::*;

const CHILD: &str = "TREEFORT_TEST_UNDO_UNTIL_KILLED";
const FILES: usize = 1000;

fn content(version: usize, number: usize) -> Vec<u8> {
    format!("version {version} of {number}\n")
        .repeat(1 + number % 40)
        .into_bytes()
}

/// Fills a tree with one of two versions that share some files, folders and names.
fn fill(tree: &Path, version: usize) {
    for entry in fs::read_dir(tree).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
    for number in 0..FILES {
        let folder = tree.join(format!("d{}/{version}{}", number % 7, number % 31));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("f{number}")), content(version, number)).unwrap();
        let shared = if number % 3 == 0 { 0 } else { version };
        let path = tree.join(format!("d{}/same{number}", number % 7));
        fs::write(&path, content(shared, number)).unwrap();
        if number % 5 == version {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        }
    }
    // A name that is a folder in one version, and a link in the other.
    if version == 1 {
        symlink("d1", tree.join("swap")).unwrap();
    } else {
        fs::create_dir(tree.join("swap")).unwrap();
        fs::write(tree.join("swap/inside"), "inside").unwrap();
    }
}

/// The part of the child; without its variable it is no test.
#[test]
fn child_that_undoes_until_it_is_killed() {
    let Ok(folder) = env::var(CHILD) else { return };
    let folder = Path::new(&folder);
    let store = Arc::new(Store::open(&folder.join("store")).unwrap());
    let mut workspace = Workspace::open(&folder.join("w"), store, Rules::default(), None).unwrap();
    let checkpoints = workspace.checkpoints().unwrap();
    for round in 0.. {
        workspace.undo(&checkpoints[round % 2].commit, 7).unwrap();
    }
}

#[test]
fn a_killed_process_leaves_one_of_the_kept_states() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let mut states = Vec::new();
    for version in [1, 2] {
        fill(workspace.tree_dir(), version);
        let checkpoint = workspace.checkpoint("filled", 1).unwrap();
        states.push((checkpoint.tree, state(workspace.tree_dir())));
    }
    drop(workspace);
    let mut finished_for_it = 0;
    for _ in 0..10 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "workspace::tests::crash::child_that_undoes_until_it_is_killed",
            ])
            .env(CHILD, home.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        let until = Instant::now()
            + Duration::from_millis(30 + u64::from(u16::from_le_bytes(random)) % 900);
        while Instant::now() < until {
            assert!(
                child.try_wait().unwrap().is_none(),
                "the child ended by itself"
            );
            std::thread::sleep(Duration::from_millis(3));
        }
        child.kill().unwrap();
        child.wait().unwrap();

        finished_for_it += usize::from(home.folder.path().join("w/restore.json").exists());
        let mut workspace = home.open();
        let now = state(workspace.tree_dir());
        let known = states.iter().find(|(_, state)| *state == now);
        let (tree, _) = known.expect("the state is one of those that were kept");
        assert_eq!(
            workspace.checkpoint("after the kill", 8).unwrap().tree,
            *tree
        );
        assert!(!workspace.journal().exists());
    }
    assert!(finished_for_it > 0, "no kill met a restore");
    assert_eq!(home.fsck(), "");
}
