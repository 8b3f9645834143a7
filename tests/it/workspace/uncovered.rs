//! What no checkpoint covers is said, and a repository that an agent wrote is none that its owner uses.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn work_that_no_checkpoint_covers_is_named_wherever_a_person_looks() {
    let fort = Fort::start().await;
    fort.write("venv/lib.py", "tracked\n");
    fort.git(&["add", "-A"]);
    fort.git(&["commit", "-q", "-m", "a folder with a name that tools use"]);
    // Under a rule, and over the size: nothing else.
    let script =
        "mkdir -p node_modules; echo d > node_modules/d; truncate -s 70000000 big; says Done.";
    let ran = fort.run(script).await.ok();
    assert!(!ran.err.contains("No file changed.\n"), "{ran:?}");
    for said in [
        "No file changed that a checkpoint covers",
        "  big (",
        "  node_modules (",
    ] {
        assert!(ran.err.contains(said), "{said}: {ran:?}");
    }
    let named: Vec<Vec<String>> = fort
        .session()
        .await
        .iter()
        .flat_map(|record| record.tags.iter().map(|tag| tag.as_slice().to_vec()))
        .filter(|tag| tag[0] == "uncovered")
        .map(|tag| tag[1..2].to_vec())
        .collect();
    assert_eq!(named, [["big"], ["node_modules"]]);
    let plan = fort.say(&["apply", "--json"]).await;
    assert!(
        plan.out.contains("left-out") && plan.out.contains("\"big\""),
        "{plan:?}"
    );
    // Copies of one second have no order.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // A folder of the project is covered whatever its name is.
    let ran = fort.run("echo more >> venv/lib.py; says Done.").await.ok();
    assert!(
        ran.err.contains("1 file changed") && ran.err.contains("venv/lib.py"),
        "{ran:?}"
    );
    assert!(!ran.err.contains("No checkpoint covers"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn git_in_an_opened_copy_runs_nothing_of_the_agents() {
    let fort = Fort::start().await;
    let trap = "echo x > new; cp /agent.sh trap.sh; (echo [core]; echo fsmonitor = ./trap.sh) >> .git/config; \
                mkdir -p .git/hooks; says Done.";
    fort.run(trap).await.ok();
    // While the agent is there the repository is its own, and the owner is told so.
    fort.treefort.wait_for_no_containers().await;
    let (mut copy, mut config) = (fort.copy().await, String::new());
    for _ in 0..100 {
        config = std::fs::read_to_string(copy.join(".git/config")).unwrap();
        if !config.contains("fsmonitor") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        copy = fort.copy().await;
    }
    assert!(!config.contains("fsmonitor"), "{config}");
    assert!(copy.join(".git/HEAD").is_file());
}
