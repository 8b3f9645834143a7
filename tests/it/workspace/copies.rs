//! What of a folder an agent gets, which folders it never gets, and that the person's own files stay as they are.

use super::*;

/// What `find` says about the copy, from inside of the agent's container.
async fn seen(fort: &Fort, more: &[&str]) -> Vec<String> {
    let mut arguments = vec!["run", "--agent", "shell"];
    arguments.extend(more);
    arguments.push("find . -path ./.git -prune -o ! -type d -print | sort");
    let said = fort.say(&arguments).await.ok();
    said.out.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn untracked_and_uncommitted_files_come_along_and_ignored_ones_when_asked_for() {
    let fort = Fort::start().await;
    fort.write(".gitignore", "secret.env\n/out/\n");
    fort.write("secret.env", "TOKEN=1\n");
    fort.write("out/built.o", "o\n");
    fort.write("untracked.txt", "u\n");
    fort.write("staged.txt", "s\n");
    fort.git(&["add", "staged.txt"]);
    fort.write("a.txt", "changed, not committed\n");
    fort.write("sub/.git/config", "[core]\n");
    fort.write("sub/in.txt", "in\n");
    std::os::unix::fs::symlink("/etc/passwd", fort.path("out-link")).unwrap();
    let git = tree(&fort.path(".git"));

    let usual = [
        "./.gitignore",
        "./a.txt",
        "./out-link",
        "./src/b.txt",
        "./staged.txt",
        "./sub/in.txt",
        "./untracked.txt",
    ];
    assert_eq!(seen(&fort, &[]).await, usual);
    let copy = fort.copy().await;
    assert_eq!(
        std::fs::read_to_string(copy.join("a.txt")).unwrap(),
        "changed, not committed\n"
    );
    assert!(copy.join("out-link").is_symlink());
    let start = fort.session().await.remove(0);
    assert_eq!(tag(&start, "ignored").unwrap(), "2", "{start:?}");
    assert_eq!(tag(&start, "skipped").unwrap(), "sub/.git", "{start:?}");

    let all = seen(&fort, &["--ignored"]).await;
    assert!(
        all.contains(&"./secret.env".to_owned()) && all.contains(&"./out/built.o".to_owned()),
        "{all:?}"
    );
    assert_eq!(tree(&fort.path(".git")), git);
}

#[tokio::test(flavor = "multi_thread")]
async fn git_works_in_the_copy_and_never_in_the_persons_own_repository() {
    let fort = Fort::start().await;
    fort.write("a.txt", "not committed\n");
    let git = tree(&fort.path(".git"));
    let script = "git status --short; git log --oneline | wc -l; git branch --show-current; \
                  echo more >> src/b.txt; git add -A; git -c user.name=a -c user.email=a@b commit -qm theirs; \
                  git config core.fsmonitor ./evil; mkdir -p .git/hooks; echo bad > .git/hooks/pre-commit; \
                  chmod +x .git/hooks/pre-commit";
    let said = fort.say(&["run", "--agent", "shell", script]).await.ok();
    assert_eq!(said.out, "1\nmain\n");
    fort.say(&["diff"]).await.ok();
    fort.say(&["checkpoints"]).await.ok();
    fort.say(&["apply", "--yes"]).await.ok();
    assert_eq!(fort.read("src/b.txt"), "b\nmore\n");
    fort.say(&["undo", "1"]).await.ok();
    fort.say(&["apply", "--take-back"]).await.ok();
    assert_eq!(fort.read("src/b.txt"), "b\n");
    fort.say(&["discard", "--yes"]).await.ok();
    // Not a byte, not a right, not a file more: hooks, index, config, objects.
    assert_eq!(tree(&fort.path(".git")), git);
    assert_eq!(fort.git(&["status", "--short"]), " M a.txt\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_hold_more_than_one_project_are_refused() {
    let fort = Fort::start().await;
    let person = fort.treefort.home().parent().unwrap().join("nobody");
    let home = fort.treefort.home().to_str().unwrap().to_owned();
    let refused = async |folder: &str, sentence: &str| {
        let said = fort
            .say(&[
                "run",
                "--agent",
                "scripted",
                "--workspace",
                folder,
                "says hi",
            ])
            .await;
        said.fails(1, sentence);
    };
    refused("/", "it is the whole machine").await;
    refused("/proc/self", "it belongs to the system").await;
    let user = std::env::var("HOME").unwrap();
    if Path::new(&user)
        .canonicalize()
        .is_ok_and(|home| home.parent().is_some())
    {
        refused(&user, "it is your home directory").await;
    }
    refused(&home, "treefort's own home").await;
    refused(&format!("{home}/keys"), "treefort's own home").await;
    let above = Path::new(&home).parent().unwrap().to_str().unwrap();
    // Whose home is in it as well depends on the machine.
    refused(above, " home").await;
    refused(fort.path("a.txt").to_str().unwrap(), "is not a folder").await;
    // What is not there never becomes a job.
    let nowhere = person.to_str().unwrap();
    let arguments = [
        "run",
        "--agent",
        "scripted",
        "--workspace",
        nowhere,
        "says hi",
    ];
    fort.say(&arguments).await.fails(2, "nobody");
    let said = fort
        .say(&["run", "--agent", "chat", "--workspace", ".", "hi"])
        .await;
    said.fails(2, "treefort run --agent opencode");
    // And nothing of it all stays.
    nothing_left(&fort).await;
    assert!(fort.sessions().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_starts_leave_nothing_behind() {
    let fort = Fort::start().await;
    // More bytes than are copied; they take no room.
    let large = std::fs::File::create(fort.path("large")).unwrap();
    large.set_len(3 << 30).unwrap();
    for agent in ["shell", "scripted"] {
        let said = fort.say(&["run", "--agent", agent, "true"]).await;
        said.fails(1, "list what the agent does not need in .gitignore");
        nothing_left(&fort).await;
    }
    std::fs::remove_file(fort.path("large")).unwrap();
    // One that is withdrawn while it starts: at several moments.
    for ms in [150, 400, 700, 1000] {
        let mut client = fort.client().await;
        let job = treefort::nips::Draft::new(5870)
            .tag(["i", "says hi", "text"])
            .tag(["p", &fort.treefort.coordinator().to_hex()])
            .tag(["param", "agent", "scripted"])
            .tag(["param", "workspace", fort.project.path().to_str().unwrap()]);
        let (job, _) = client.publish(&job).await;
        tokio::time::sleep(Duration::from_millis(ms)).await;
        client.publish(&fort.treefort.cancellation(&job)).await;
        fort.treefort.wait_for_no_containers().await;
        // One that had begun has a session with its end, and its copy.
        let begun: Vec<String> = fort.sessions().await.into_keys().collect();
        wait("the folders of sessions that never began to go", || {
            folders(&fort).iter().all(|folder| begun.contains(folder))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_warm_serves_a_job_or_goes() {
    let mut fort = Fort::start_with("[sessions]\nidle_s = 0\nwarm = 1\n").await;
    fort.run("says first").await.ok();
    let copy = fort.copy().await;
    let id = copy.parent().unwrap().file_name().unwrap();
    let mut known = vec![id.to_str().unwrap().to_owned()];
    // The agent was used, so another one waits, with an empty folder.
    let warm = async |known: &[String]| {
        wait("a warm one", || {
            folders(&fort).iter().any(|folder| !known.contains(folder))
        })
        .await;
        let mut all = folders(&fort);
        all.retain(|folder| !known.contains(folder));
        assert_eq!(all.len(), 1);
        let container = format!("treefort-scripted-{}", &all[0][..12]);
        wait("its container", || {
            fort.treefort.containers().contains(&container)
        })
        .await;
        // Its agent has to say that it is ready, and what it serves is looked for.
        let journal = fort
            .treefort
            .home()
            .join(format!("journal/{}.jsonl", all[0]));
        wait("its agent", || {
            std::fs::read_to_string(&journal).is_ok_and(|said| said.contains("agentCapabilities"))
        })
        .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        all.remove(0)
    };
    let waiting = warm(&known).await;
    // It gets the job, with the project in its folder.
    let said = fort.run("says $(cat src/b.txt)").await.ok();
    assert_eq!(said.out.trim(), "b");
    assert!(fort.copy().await.to_str().unwrap().contains(&waiting));
    // The next one gets a job that may not be: it goes, with its key.
    known.push(waiting.clone());
    let next = warm(&known).await;
    let mut client = fort.client().await;
    let draft = treefort::nips::Draft::new(5870)
        .tag(["i", "says hi", "text"])
        .tag(["p", &fort.treefort.coordinator().to_hex()])
        .tag(["param", "agent", "scripted"])
        .tag(["param", "workspace", "/"]);
    let (_, answers) = client.do_job(&draft).await;
    let said = &answers.last().unwrap().content;
    assert!(said.contains("the whole machine"), "{said}");
    let key = fort
        .treefort
        .home()
        .join(format!("keys/sessions/{next}.key"));
    wait("it to go", || {
        !folders(&fort).contains(&next) && !key.exists()
    })
    .await;
    // So does the one that waits at a crash.
    known.push(next);
    let last = warm(&known).await;
    fort.treefort.kill();
    assert!(folders(&fort).contains(&last));
    fort.treefort.up();
    wait("it to go", || !folders(&fort).contains(&last)).await;
    assert!(folders(&fort).contains(&waiting));
}

fn folders(fort: &Fort) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(fort.treefort.home().join("workspaces")) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// No folder, no key, no container of a session.
async fn nothing_left(fort: &Fort) {
    fort.treefort.wait_for_no_containers().await;
    wait("the folders to go", || folders(fort).is_empty()).await;
    let keys = std::fs::read_dir(fort.treefort.home().join("keys/sessions"));
    let keys = keys.map_or(0, |keys| keys.count());
    assert_eq!(keys, 0, "keys of sessions that never were");
}
