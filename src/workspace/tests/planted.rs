//! The disposable repository, as the real git sees it.

use super::*;

fn project(tree: &Path) {
    fs::create_dir_all(tree.join("src/deep/er")).unwrap();
    fs::create_dir_all(tree.join("empty/folder")).unwrap();
    fs::create_dir_all(tree.join("vendor/lib/.git")).unwrap();
    fs::write(tree.join("vendor/lib/.git/config"), "[core]\n").unwrap();
    fs::write(tree.join("vendor/lib/code.c"), "int x;\n").unwrap();
    fs::write(tree.join("src/main.rs"), "fn main() {}\r\n").unwrap();
    fs::write(tree.join("src/deep/er/script"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(
        tree.join("src/deep/er/script"),
        fs::Permissions::from_mode(0o750),
    )
    .unwrap();
    fs::write(
        tree.join(".gitattributes"),
        "* text=auto eol=lf\n*.bin filter=lfs\n",
    )
    .unwrap();
    fs::write(tree.join("x.bin"), [0, 1, 2]).unwrap();
    fs::write(tree.join("src-file"), "sorts between").unwrap();
    fs::write(tree.join("ümlaut \n \""), "odd name").unwrap();
    symlink("src/main.rs", tree.join("link")).unwrap();
    symlink("/nowhere", tree.join("dangling")).unwrap();
    for number in 0..200 {
        fs::write(
            tree.join(format!("src/deep/f{number}")),
            format!("{number}"),
        )
        .unwrap();
    }
}

fn tidy(tree: &Path) {
    assert_eq!(
        git(tree, &["status", "--porcelain", "--untracked-files=all"]),
        ""
    );
    assert_eq!(git(tree, &["fsck", "--strict"]), "");
    assert_eq!(
        git(tree, &["log", "--format=%s"]),
        "The project as it was\n"
    );
}

#[test]
fn git_in_the_tree_is_clean_and_works() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    project(&tree);
    workspace.checkpoint("imported", 100).unwrap();
    workspace.plant_git("feature/odd-name", 100).unwrap();
    tidy(&tree);
    assert_eq!(
        git(&tree, &["branch", "--show-current"]),
        "feature/odd-name\n"
    );
    fs::write(tree.join("src/main.rs"), "changed\n").unwrap();
    fs::write(tree.join("new"), "new").unwrap();
    assert_eq!(
        git(&tree, &["status", "--porcelain"]),
        " M src/main.rs\n?? new\n"
    );
    git(&tree, &["commit", "-qam", "mine"]);
    assert_eq!(git(&tree, &["status", "--porcelain"]), "?? new\n");
}

#[test]
fn the_index_knows_the_files_so_that_git_reads_none() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    project(&tree);
    std::thread::sleep(std::time::Duration::from_millis(30));
    workspace.checkpoint("imported", 100).unwrap();
    workspace.plant_git("main", 100).unwrap();
    let listed = git(&tree, &["ls-files", "--debug", "-z", "src/main.rs"]);
    let size = listed.split("size: ").nth(1).unwrap();
    assert!(size.starts_with("14"), "{listed}");
}

#[test]
fn a_repository_that_was_removed_or_replaced_comes_back_with_an_undo() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    project(&tree);
    let first = workspace.checkpoint("imported", 100).unwrap();
    workspace.plant_git("main", 100).unwrap();
    let outside = home.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("HEAD"), "precious").unwrap();
    for replacement in ["nothing", "file", "link", "folder", "fifo"] {
        for entry in fs::read_dir(&tree).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        match replacement {
            "file" => fs::write(tree.join(".git"), "gitdir: /etc").unwrap(),
            "link" => symlink(&outside, tree.join(".git")).unwrap(),
            "folder" => fs::create_dir_all(tree.join(".git/hooks")).unwrap(),
            "fifo" => hostile::fifo(&tree.join(".git")),
            _ => {}
        }
        let done = workspace.undo(&first.commit, 200).unwrap();
        assert_eq!(done.after.tree, first.tree, "{replacement}");
        tidy(&tree);
    }
    assert_eq!(fs::read(outside.join("HEAD")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn the_owner_gets_a_repository_that_no_agent_wrote() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    project(&tree);
    workspace.checkpoint("imported", 100).unwrap();
    workspace.plant_git("main", 100).unwrap();
    let ran = home.folder.path().join("ran");
    let program = home.folder.path().join("program");
    fs::write(&program, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let trap = || {
        git(
            &tree,
            &["config", "core.fsmonitor", program.to_str().unwrap()],
        )
    };
    trap();
    git(&tree, &["status"]);
    assert!(ran.exists(), "the trap is none");
    fs::remove_file(&ran).unwrap();

    workspace.take_git_from_the_agent().unwrap();
    tidy(&tree);
    assert!(!ran.exists(), "the agent's program ran");
    // What the owner does there stays when they look again, until an agent comes.
    git(&tree, &["commit", "-q", "--allow-empty", "-m", "mine"]);
    workspace.take_git_from_the_agent().unwrap();
    assert!(git(&tree, &["log", "--format=%s"]).starts_with("mine\n"));
    give_git_to_the_agent(workspace.dir()).unwrap();
    trap();
    workspace.take_git_from_the_agent().unwrap();
    tidy(&tree);
    assert!(!ran.exists(), "the agent's program ran");
}

/// A repository as deep as an agent likes is removed on no more stack than any other.
#[test]
fn a_bottomless_repository_is_taken_from_the_agent_and_removed() {
    let home = Home::new();
    let workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    fs::create_dir_all(tree.join(".git")).unwrap();
    let mut at = beneath::open_root(&tree.join(".git")).unwrap();
    for _ in 0..16_000 {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = beneath::open_dir(&at, b"d").unwrap();
    }
    drop(at);
    workspace.take_git_from_the_agent().unwrap();
    give_git_to_the_agent(workspace.dir()).unwrap();
    workspace.take_git_from_the_agent().unwrap();
    assert!(!tree.join(".git").exists());
    let left = fs::read_dir(workspace.dir()).unwrap();
    let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.starts_with("git.")).collect();
    assert!(
        left.iter().all(|name| !name.starts_with("git.agent")),
        "{left:?}"
    );
}
